//! Statements to read and write keys.

use rusqlite::{Connection, OptionalExtension as _, Params, Row, ToSql, types::Value};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Page, StoreError, StoreErrorKind, Target, Write},
};

use crate::{
    database::Database,
    error,
    position::Position,
    row::{self, KeyRow, RowReader, select, unsigned},
};

/// The number of keys up to which it is faster to sort those that end soon than to search all keys in order.
const MAX_SORTED: i64 = 1_000;

pub(crate) const LAST: &str =
    "SELECT version, mark FROM api_key_history ORDER BY version DESC LIMIT 1";
pub(crate) const MARK: &str = "SELECT mark FROM api_key_history WHERE version = ?1";
pub(crate) const REMOVED: &str = "SELECT version, removed FROM api_key_history \
    WHERE version > ?1 AND removed IS NOT NULL ORDER BY version";
pub(crate) const REMOVE: &str = "DELETE FROM api_key WHERE digest = ?1";
pub(crate) const COUNT: &str = "SELECT count(*) FROM api_key";
pub(crate) const COUNT_ENDING: &str = "SELECT count(*) FROM (SELECT 1 FROM api_key \
    WHERE ends < ?1 AND ends < 9223372036854775807 LIMIT ?2)";

/// Statements for [`Keys::each`].
pub(crate) const BY_DIGEST: &str = select!("WHERE digest = ?1");
pub(crate) const BY_ID: &str = select!("WHERE key_id = ?1");
pub(crate) const BY_CLIENT: &str = select!("WHERE client = ?1");
pub(crate) const DEAD_BEFORE: &str = select!("WHERE dead < ?1 AND dead < 9223372036854775807");
pub(crate) const CHANGED_AFTER: &str = select!("WHERE version > ?1 ORDER BY version");
pub(crate) const ALL: &str = select!("ORDER BY rowid");

/// The keys of a database, as a connection sees them.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) database: &'a Database,
    pub(crate) connection: &'a Connection,
}

impl Keys<'_> {
    pub(crate) fn find(&self, digest: &KeyDigest) -> Result<Option<Record>, StoreError> {
        Ok(self.records(BY_DIGEST, [digest.to_bytes()])?.pop())
    }

    /// Returns the records that a page selects, in the order of their ids.
    pub(crate) fn list(&self, page: &Page) -> Result<Vec<Record>, StoreError> {
        let ends_before = page.ends_before().map(row::micros_from);
        let are_few_ending = match ends_before {
            Some(time) if page.key_id().is_none() && page.client().is_none() => {
                self.count_ending(time)? < MAX_SORTED
            }
            _ => false,
        };
        let (sql, values) = list(page, ends_before, are_few_ending);
        self.records(&sql, rusqlite::params_from_iter(values))
    }

    /// Returns the number of keys.
    pub(crate) fn count(&self) -> Result<usize, StoreError> {
        let count = self.connection.query_row(COUNT, (), |row| row.get::<_, u32>(0));
        count.map(|count| count as usize).map_err(self.database.failed("count the keys"))
    }

    fn count_ending(&self, time: i64) -> Result<i64, StoreError> {
        let count = || {
            let mut statement = self.connection.prepare_cached(COUNT_ENDING)?;
            statement.query_row((time, MAX_SORTED), |row| row.get(0))
        };
        count().map_err(self.database.failed("list keys"))
    }

    /// Returns the records of the target of a change.
    pub(crate) fn target(&self, target: &Target) -> Result<Vec<Record>, StoreError> {
        match target {
            Target::Digests(digests) => {
                let found = digests.iter().map(|digest| self.find(digest));
                found.filter_map(Result::transpose).collect()
            }
            Target::KeyId(id) => self.records(BY_ID, [id]),
            Target::Client(client) => self.records(BY_CLIENT, [client]),
            Target::DeadBefore(time) => self.records(DEAD_BEFORE, [row::micros_from(*time)]),
        }
    }

    fn records(&self, sql: &str, values: impl Params) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        self.each(sql, values, |row| {
            let record = row.record.map_err(|column| self.corrupt(row.key_id, column));
            record.map(|record| records.push(record))
        })?;
        Ok(records)
    }

    /// Calls a closure for each row of a statement.
    pub(crate) fn each<E: From<StoreError>>(
        &self,
        sql: &str,
        values: impl Params,
        mut visit: impl FnMut(KeyRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = self.database.failed("read the keys");
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query(values).map_err(&failed)?;
        let mut reader = RowReader::default();
        while let Some(row) = rows.next().map_err(&failed)? {
            if let Some(row) = reader.read(row) {
                visit(row)?;
            }
        }
        Ok(())
    }

    /// Calls a closure for each key that was removed after a version.
    pub(crate) fn each_removed<E: From<StoreError>>(
        &self,
        after: i64,
        mut visit: impl FnMut(u64, KeyDigest) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = self.database.failed("read the removed keys");
        let mut statement = self.connection.prepare_cached(REMOVED).map_err(&failed)?;
        let mut rows = statement.query([after]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let version = row.get(0).map_err(&failed)?;
            // A blob of another length is no digest, so that no key has it.
            if let Ok(digest) = row.get(1) {
                visit(unsigned(version), KeyDigest::from_bytes(digest))?;
            }
        }
        Ok(())
    }

    /// Returns the error of a row that is no record. It names the key by its public id.
    pub(crate) fn corrupt(&self, key_id: &str, column: &str) -> StoreError {
        let key_id = key_id.escape_debug();
        let text = format!("the row of the key \"{key_id}\" has an invalid value of {column}");
        self.database.error(StoreErrorKind::Corrupt, &text)
    }

    /// Returns the position of the last write.
    pub(crate) fn last(&self) -> Result<Position, StoreError> {
        let last = || {
            let mut statement = self.connection.prepare_cached(LAST)?;
            let read = |row: &Row<'_>| Ok(Position { version: row.get(0)?, mark: row.get(1)? });
            statement.query_row((), read).optional()
        };
        last().map_err(self.database.failed("read the last change"))?.ok_or_else(|| {
            let text = "the history of changes is empty";
            self.database.error(StoreErrorKind::Corrupt, text)
        })
    }

    /// Returns whether a position is in the history, so that all later changes are known.
    pub(crate) fn knows(&self, position: Position) -> Result<bool, StoreError> {
        let mark = || {
            let mut statement = self.connection.prepare_cached(MARK)?;
            statement.query_row([position.version], |row| row.get(0)).optional()
        };
        let mark = mark().map_err(self.database.failed("read the history of changes"))?;
        Ok(mark == Some(position.mark))
    }

    /// Makes one write. The triggers of the tables give it a version.
    pub(crate) fn write(&self, write: &Write) -> Result<(), StoreError> {
        let execute = |sql: &str, parameters: &[&dyn ToSql]| {
            self.connection.prepare_cached(sql)?.execute(parameters)
        };
        let failed = self.database.failed("change a key");
        let done = match write {
            Write::Insert(record) => {
                row::with_parameters(record, |parameters| execute(row::INSERT, parameters))
                    .map_err(|error| error::insert_failed(self.database.file(), &error))?
            }
            Write::Update(record) => {
                row::with_parameters(record, |parameters| execute(row::UPDATE, parameters))
                    .map_err(failed)?
            }
            Write::Remove(digest) => execute(REMOVE, &[&digest.to_bytes()]).map_err(failed)?,
        };
        match done {
            1 => Ok(()),
            _ => {
                let text = "the row of a key has changed within the transaction";
                Err(self.database.error(StoreErrorKind::Corrupt, text))
            }
        }
    }
}

/// Returns the statement of a list and its parameters.
pub(crate) fn list(
    page: &Page,
    ends_before: Option<i64>,
    are_few_ending: bool,
) -> (String, Vec<Value>) {
    // Without statistics, the engine cannot know which index is best.
    let index = match (page.key_id(), page.client()) {
        (Some(_), _) => "api_key_id",
        (None, Some(_)) => "api_key_client",
        (None, None) if are_few_ending => "api_key_ends",
        (None, None) => "api_key_id",
    };
    let limit = i64::try_from(page.limit()).unwrap_or(i64::MAX);
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (condition, value) in [
        ("key_id = ?", page.key_id().map(|id| id.to_owned().into())),
        ("client = ?", page.client().map(|client| client.to_owned().into())),
        ("key_id > ?", page.after().map(|id| id.to_owned().into())),
        // The index has only keys that end.
        ("ends < 9223372036854775807 AND ends < ?", ends_before.map(Value::Integer)),
    ] {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    }
    values.push(Value::Integer(limit));
    let filter = match &*conditions {
        [] => String::new(),
        conditions => format!("WHERE {}", conditions.join(" AND ")),
    };
    (format!("{} INDEXED BY {index} {filter} ORDER BY key_id LIMIT ?", select!("")), values)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::schema;

    pub(crate) fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&schema::sql()).unwrap();
        connection
    }

    /// Returns the steps that the engine takes for a statement.
    pub(crate) fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let (mut rows, mut steps) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get::<_, String>(3).unwrap());
        }
        steps.join("; ")
    }

    /// The statements of the triggers, which `EXPLAIN` leaves out.
    const TRIGGERS: [(&str, &str); 4] = [
        (
            "SELECT 1 FROM api_key WHERE key_id = ?",
            "SEARCH api_key USING COVERING INDEX api_key_id (key_id=?)",
        ),
        (
            "SELECT 1 FROM api_key WHERE digest = ?",
            "SEARCH api_key USING COVERING INDEX api_key_digest (digest=?)",
        ),
        (
            "UPDATE api_key SET version = (SELECT max(version) FROM api_key_history) WHERE rowid = ?",
            "SEARCH api_key USING INTEGER PRIMARY KEY (rowid=?); SCALAR SUBQUERY 1; SEARCH api_key_history",
        ),
        (
            "DELETE FROM api_key_history WHERE version <= ? - 100000",
            "SEARCH api_key_history USING INTEGER PRIMARY KEY (rowid<?)",
        ),
    ];

    #[test]
    fn each_statement_of_a_trigger_uses_an_index() {
        let connection = tables();
        for (sql, expected) in TRIGGERS {
            assert_eq!(plan(&connection, sql), expected, "{sql}");
        }
    }

    #[test]
    fn each_statement_uses_an_index() {
        let connection = tables();
        let page = |page: Page, are_few_ending| {
            let ends_before = page.ends_before().map(row::micros_from);
            list(&page, ends_before, are_few_ending).0
        };
        let ending = || Page::new().with_ends_before(UNIX_EPOCH);
        for (sql, expected) in [
            (BY_DIGEST.to_owned(), "SEARCH api_key USING INDEX api_key_digest (digest=?)"),
            (BY_ID.to_owned(), "SEARCH api_key USING INDEX api_key_id (key_id=?)"),
            (BY_CLIENT.to_owned(), "SEARCH api_key USING INDEX api_key_client (client=?)"),
            (DEAD_BEFORE.to_owned(), "SEARCH api_key USING INDEX api_key_dead (dead<?)"),
            (CHANGED_AFTER.to_owned(), "SEARCH api_key USING INDEX api_key_version (version>?)"),
            (ALL.to_owned(), "SCAN api_key"),
            (COUNT.to_owned(), "SCAN api_key USING COVERING INDEX api_key_version"),
            (row::UPDATE.to_owned(), "SEARCH api_key USING INDEX api_key_id (key_id=?)"),
            (REMOVE.to_owned(), "SEARCH api_key USING INDEX api_key_digest (digest=?)"),
            (LAST.to_owned(), "SCAN api_key_history"),
            (MARK.to_owned(), "SEARCH api_key_history USING INTEGER PRIMARY KEY (rowid=?)"),
            (REMOVED.to_owned(), "SEARCH api_key_history USING INTEGER PRIMARY KEY (rowid>?)"),
            (
                COUNT_ENDING.to_owned(),
                "CO-ROUTINE (subquery-1); SEARCH api_key USING INDEX api_key_ends (ends<?); \
                 SCAN (subquery-1)",
            ),
            (page(Page::new(), false), "SCAN api_key USING INDEX api_key_id"),
            (
                page(Page::new().with_after("a"), false),
                "SEARCH api_key USING INDEX api_key_id (key_id>?)",
            ),
            (
                page(Page::new().with_key_id("a").with_client("b"), false),
                "SEARCH api_key USING INDEX api_key_id (key_id=?)",
            ),
            (
                page(ending().with_client("b").with_after("a"), false),
                "SEARCH api_key USING INDEX api_key_client (client=? AND key_id>?)",
            ),
            (
                page(ending().with_after("a"), false),
                "SEARCH api_key USING INDEX api_key_id (key_id>?)",
            ),
            (
                page(ending().with_after("a"), true),
                "SEARCH api_key USING INDEX api_key_ends (ends<?); USE TEMP B-TREE FOR ORDER BY",
            ),
        ] {
            assert_eq!(plan(&connection, &sql), expected, "{sql}");
        }
    }
}
