//! The tables and their versions.

use std::{sync::Arc, time::Duration};

use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::{connection::Connection, endpoint::Endpoint, error::MIGRATE};

/// One step from a version of the tables to the next.
struct Migration {
    sql: &'static str,
    /// The oldest version whose programs can use the tables after this step.
    compatible: i32,
}

/// The steps in their order. A step that was released never changes.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("schema/1_keys.sql"), compatible: 1 },
    Migration { sql: include_str!("schema/2_usage.sql"), compatible: 1 },
];

/// The version of new tables.
pub(crate) const NEWEST: i32 = MIGRATIONS.len() as i32;

/// The oldest version for this program.
const OLDEST: i32 = 1;

/// The longest time of a migration, which waits for other programs that use the tables.
const DEADLINE: Duration = Duration::from_secs(60);

/// The functions of the triggers keep this path, so that they find the tables whichever path a writer has.
const PATH: &str =
    "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);";

const VERSION_TABLE: &str = "\
CREATE TABLE api_keys_schema (
    one        integer PRIMARY KEY CHECK (one = 1),
    version    integer NOT NULL, -- of these tables
    compatible integer NOT NULL  -- the oldest version whose programs can use these tables
);
INSERT INTO api_keys_schema VALUES (1, 0, 0);
";

const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '50s'";
/// Two migrations at a time run one after the other. The number is that of `api_key` in ASCII.
const LOCK: &str = "SELECT pg_advisory_xact_lock(27426670615684473)";
const TABLES: &str = "SELECT to_regclass('api_keys_schema') IS NOT NULL, to_regclass('api_keys') IS NOT NULL, current_schema()";
const VERSION: &str = "SELECT version, compatible, pg_is_in_recovery() FROM api_keys_schema";

/// The version of the tables of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) version: i32,
    pub(crate) compatible: i32,
}

/// Returns the statements that create the newest version of the tables.
pub(crate) fn sql() -> String {
    let steps: Vec<_> = MIGRATIONS.iter().map(|step| step.sql).collect();
    let compatible = MIGRATIONS.last().map_or(0, |step| step.compatible);
    let version =
        format!("UPDATE api_keys_schema SET version = {NEWEST}, compatible = {compatible};\n");
    format!("BEGIN;\n{PATH}\n{VERSION_TABLE}\n{}\n{version}COMMIT;\n", steps.join("\n"))
}

/// Checks that this program can use the server and its tables, and returns the version of the tables.
pub(crate) async fn check(endpoint: &Endpoint, connection: &Connection) -> Result<i32, StoreError> {
    let doing = "read the version of the tables";
    let rows = connection.query(doing, VERSION, &[]).await?;
    let Some(row) = rows.first() else { return Err(missing(endpoint)) };
    let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (version, compatible, is_standby) =
        read().map_err(|error| connection.failed(doing, &error))?;
    if is_standby {
        return Err(standby(endpoint));
    }
    check_version(endpoint, Version { version, compatible })?;
    Ok(version)
}

pub(crate) fn standby(endpoint: &Endpoint) -> StoreError {
    let text = "the server is a standby, whose keys can be old. Give the URL of the primary";
    endpoint.error(StoreErrorKind::Unavailable, text)
}

pub(crate) fn missing(endpoint: &Endpoint) -> StoreError {
    let text = format!("the database has no tables of keys. {MIGRATE}");
    endpoint.error(StoreErrorKind::UnsupportedVersion, &text)
}

/// Checks that this program can use tables of a version.
pub(crate) fn check_version(endpoint: &Endpoint, version: Version) -> Result<(), StoreError> {
    check_newer(endpoint, version)?;
    require(endpoint, version.version, OLDEST)
}

/// Checks that the tables are not too old.
pub(crate) fn require(endpoint: &Endpoint, version: i32, oldest: i32) -> Result<(), StoreError> {
    if version >= oldest {
        return Ok(());
    }
    let text =
        format!("the tables have version {version}, and this program requires {oldest}. {MIGRATE}");
    Err(endpoint.error(StoreErrorKind::UnsupportedVersion, &text))
}

fn check_newer(endpoint: &Endpoint, version: Version) -> Result<(), StoreError> {
    if version.compatible <= NEWEST {
        return Ok(());
    }
    let text = format!(
        "the tables have version {}, and this program knows only versions up to {NEWEST}. Use a newer program",
        version.version
    );
    Err(endpoint.error(StoreErrorKind::UnsupportedVersion, &text))
}

/// Creates or upgrades the tables in one transaction. Returns the version before.
pub(crate) async fn migrate(endpoint: Endpoint) -> Result<Option<i32>, StoreError> {
    let endpoint = Arc::new(endpoint);
    let connection = Connection::open(&endpoint).await?;
    let run = async |sql: &str| {
        let doing = "change the tables";
        connection.within(DEADLINE, doing, connection.client.batch_execute(sql)).await
    };
    run(BEGIN).await?;
    run(LOCK).await?;
    let before = read(&endpoint, &connection).await?;
    if before.is_none() {
        run(PATH).await?;
        run(VERSION_TABLE).await?;
    } else {
        run(&format!("{PATH} LOCK TABLE api_keys_schema IN SHARE ROW EXCLUSIVE MODE")).await?;
    }
    let from = before.unwrap_or_default();
    for (version, step) in (1..).zip(MIGRATIONS) {
        if version > from {
            run(step.sql).await?;
            let compatible = step.compatible;
            run(&format!(
                "UPDATE api_keys_schema SET version = {version}, compatible = {compatible}"
            ))
            .await?;
        }
    }
    run("COMMIT").await?;
    Ok(before)
}

async fn read(endpoint: &Endpoint, connection: &Connection) -> Result<Option<i32>, StoreError> {
    let doing = "read the version of the tables";
    let rows = connection.query(doing, TABLES, &[]).await?;
    let found = rows.first().map(|row| {
        let schema = row.try_get::<_, Option<&str>>(2)?;
        Ok((row.try_get(0)?, row.try_get(1)?, schema.is_some()))
    });
    let found = found.transpose().map_err(|error| connection.failed(doing, &error))?;
    match found {
        Some((true, _, _)) => check(endpoint, connection).await.map(Some),
        Some((false, true, _)) => {
            let text = "the database has a table `api_keys` of another program. Choose another schema by \
                `?options=-csearch_path%3D…` in the URL";
            Err(endpoint.error(StoreErrorKind::Corrupt, text))
        }
        Some((false, false, false)) => {
            let text = "no schema of the search path exists. Create one with `CREATE SCHEMA`";
            Err(endpoint.error(StoreErrorKind::Unavailable, text))
        }
        _ => Ok(None),
    }
}
