//! The tables and their versions.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::database::Database;

/// One step from a version of the tables to the next.
struct Migration {
    sql: &'static str,
    /// The oldest version whose programs can use the tables after this step.
    compatible: u32,
}

/// The steps in their order. A step that was released never changes.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("schema/1_keys.sql"), compatible: 1 },
    Migration { sql: include_str!("schema/2_usage.sql"), compatible: 1 },
];

/// The version of new tables.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// The oldest version for this program.
const OLDEST: u32 = 1;

/// The oldest version with tables of usage.
#[cfg(feature = "usage")]
pub(crate) const USAGE: u32 = 2;

/// The version of the tables, beside them. `PRAGMA user_version` may belong to another program that shares
/// the database.
const VERSION_TABLE: &str = "\
CREATE TABLE api_key_schema (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    version    INTEGER NOT NULL, -- of these tables
    compatible INTEGER NOT NULL  -- the oldest version whose programs can use these tables
) STRICT;
INSERT INTO api_key_schema VALUES (1, 0, 0);
";

/// The version of the tables of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    version: u32,
    compatible: u32,
}

/// Returns the statements that create the newest version of the tables.
pub(crate) fn sql() -> String {
    let steps: Vec<_> = MIGRATIONS.iter().map(|step| step.sql).collect();
    let compatible = MIGRATIONS.last().map_or(0, |step| step.compatible);
    let version =
        format!("UPDATE api_key_schema SET version = {NEWEST}, compatible = {compatible};\n");
    format!("{VERSION_TABLE}\n{}\n{version}", steps.join("\n"))
}

/// Checks that this program can use the tables, and returns their version.
pub(crate) fn check(database: &Database, connection: &Connection) -> Result<u32, StoreError> {
    let Some(version) = read(database, connection)? else {
        return Err(database.error(
            StoreErrorKind::UnsupportedVersion,
            "the database has no tables of keys. Create them with `apikey migrate` or `Sqlite::migrate`",
        ));
    };
    check_newer(database, version)?;
    require(database, version.version, OLDEST)?;
    Ok(version.version)
}

/// Checks that the tables are not too old.
pub(crate) fn require(database: &Database, version: u32, oldest: u32) -> Result<(), StoreError> {
    if version >= oldest {
        return Ok(());
    }
    let text = format!(
        "the tables have version {version}, and this program requires {oldest}. Run `apikey migrate`, or \
         call `Sqlite::migrate`"
    );
    Err(database.error(StoreErrorKind::UnsupportedVersion, &text))
}

fn check_newer(database: &Database, version: Version) -> Result<(), StoreError> {
    if version.compatible <= NEWEST {
        return Ok(());
    }
    let text = format!(
        "the tables have version {}, and this program knows only versions up to {NEWEST}. Use a newer program",
        version.version
    );
    Err(database.error(StoreErrorKind::UnsupportedVersion, &text))
}

fn read(database: &Database, connection: &Connection) -> Result<Option<Version>, StoreError> {
    let read = || {
        if !has_table(connection, "api_key_schema")? {
            return Ok(None);
        }
        let sql = "SELECT version, compatible FROM api_key_schema";
        connection
            .query_row(sql, (), |row| Ok(Version { version: row.get(0)?, compatible: row.get(1)? }))
            .optional()
    };
    read().map_err(database.failed("read the version of the tables"))
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    connection.query_row(sql, [name], |row| row.get::<_, u32>(0)).map(|count| count > 0)
}

/// Creates or upgrades the tables in one transaction. Returns the version before.
pub(crate) fn migrate(
    database: &Database,
    connection: &mut Connection,
) -> Result<Option<u32>, StoreError> {
    let failed = || database.failed("change the tables");
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed())?;
    let before = read(database, &transaction)?;
    let from = match before {
        Some(version) => {
            check_newer(database, version)?;
            version.version
        }
        None => {
            if has_table(&transaction, "api_key").map_err(failed())? {
                let text = "the database has a table `api_key` of another program";
                return Err(database.error(StoreErrorKind::Corrupt, text));
            }
            transaction.execute_batch(VERSION_TABLE).map_err(failed())?;
            0
        }
    };
    upgrade(&transaction, from).map_err(failed())?;
    transaction.commit().map_err(failed())?;
    Ok(before.map(|version| version.version))
}

fn upgrade(transaction: &Transaction<'_>, from: u32) -> rusqlite::Result<()> {
    for (version, step) in (1..).zip(MIGRATIONS) {
        if version > from {
            transaction.execute_batch(step.sql)?;
            let sql = "UPDATE api_key_schema SET version = ?1, compatible = ?2";
            transaction.execute(sql, (version, step.compatible))?;
        }
    }
    Ok(())
}
