use std::time::{Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension as _};
use tower_api_key::{
    store::StoreError,
    usage::{Subject, UsageBatch, UsageRow},
};

use crate::{
    database::{Database, Opened},
    row::micros,
    schema,
};

pub(super) const FLUSHED: &str = "SELECT sequence FROM api_key_flush WHERE instance = ?1";
const SET_FLUSHED: &str = "INSERT INTO api_key_flush VALUES (?1, ?2, ?3) \
    ON CONFLICT DO UPDATE SET sequence = excluded.sequence, at = excluded.at";
const SET_SINCE: &str = "INSERT OR IGNORE INTO api_key_usage_since VALUES (1, ?1, NULL)";
/// The last use goes forward only.
const ADD: &str = "INSERT INTO api_key_usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
    ON CONFLICT DO UPDATE SET accepted = accepted + excluded.accepted, \
    rejected = rejected + excluded.rejected, limited = limited + excluded.limited, \
    forbidden = forbidden + excluded.forbidden, \
    last_used = max(ifnull(last_used, excluded.last_used), ifnull(excluded.last_used, last_used))";

pub(super) const OLDEST_HOUR: &str = "SELECT min(hour) FROM api_key_usage";
pub(super) const KEEP_LAST_USE: &str = "INSERT INTO api_key_last_use \
    SELECT key_id, client, kind, last_used FROM api_key_usage WHERE hour = ?1 AND last_used IS NOT NULL \
    ON CONFLICT DO UPDATE SET at = max(at, excluded.at)";
pub(super) const REMOVE_HOUR: &str = "DELETE FROM api_key_usage WHERE hour = ?1";
const SET_ROWS_SINCE: &str = "UPDATE api_key_usage_since SET rows = max(ifnull(rows, ?1), ?1)";
/// No process tries again to write a batch after so many microseconds (30 days).
const REMOVE_FLUSHED: &str = "DELETE FROM api_key_flush WHERE at < ?1 - 2592000000000";

const HOUR_IN_MICROS: i64 = 3_600_000_000;

/// Adds a batch to the usage, unless it was added before.
pub(super) fn batch(
    database: &Database,
    opened: &mut Opened,
    batch: &UsageBatch,
    deadline: Instant,
) -> Result<(), StoreError> {
    schema::require(database, opened.version, schema::USAGE)?;
    let failed = database.failed("write usage");
    // A power loss can undo the batch. The sync of each change of a key includes all commits before it.
    opened.connection.pragma_update(None, "synchronous", "NORMAL").map_err(&failed)?;
    let result = (|| {
        let transaction = database.begin_write(opened, deadline)?;
        if add(&transaction, batch).map_err(&failed)? {
            transaction.commit().map_err(&failed)?;
        }
        Ok(())
    })();
    // If this fails, the connection is closed, so that no change of a key is made without a sync.
    opened.connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
    result
}

/// Returns `false` if the batch was added before.
fn add(connection: &Connection, batch: &UsageBatch) -> rusqlite::Result<bool> {
    let mut flushed = connection.prepare_cached(FLUSHED)?;
    let last: Option<i64> = flushed.query_row([batch.instance()], |row| row.get(0)).optional()?;
    let sequence = signed(batch.sequence());
    if last.is_some_and(|last| last >= sequence) {
        return Ok(false);
    }
    let now = micros(SystemTime::now());
    connection.prepare_cached(SET_FLUSHED)?.execute((batch.instance(), sequence, now))?;
    connection.prepare_cached(SET_SINCE)?.execute([now])?;
    let mut add = connection.prepare_cached(ADD)?;
    for row in batch.rows() {
        let (kind, client, key_id) = subject(row);
        let counts = row.counts();
        add.execute((
            micros(row.hour()),
            key_id,
            client,
            kind,
            signed(counts.accepted),
            signed(counts.rejected),
            signed(counts.limited),
            signed(counts.forbidden),
            row.last_used().map(micros),
        ))?;
    }
    Ok(true)
}

/// Returns the kind, the client and the id of the key.
fn subject(row: &UsageRow) -> (&'static str, &str, &str) {
    match row.subject() {
        Subject::Key { id, client, .. } => ("key", client.as_deref().unwrap_or_default(), id),
        Subject::Client { id, .. } => ("client", id, ""),
        Subject::Unknown => ("unknown", "", ""),
        // A total of a later version has no other name here.
        _ => ("overflow", "", ""),
    }
}

fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Removes the oldest hour if it ends before a time. Returns `false` if there is no such hour.
pub(super) fn remove_hour(
    database: &Database,
    opened: &mut Opened,
    before: i64,
    deadline: Instant,
) -> Result<bool, StoreError> {
    let failed = database.failed("remove old usage");
    let transaction = database.begin_write(opened, deadline)?;
    let removed = (|| {
        let hour: Option<i64> =
            transaction.prepare_cached(OLDEST_HOUR)?.query_row((), |row| row.get(0))?;
        let Some(hour) = hour.filter(|hour| hour.saturating_add(HOUR_IN_MICROS) <= before) else {
            return Ok(false);
        };
        transaction.prepare_cached(KEEP_LAST_USE)?.execute([hour])?;
        transaction.prepare_cached(REMOVE_HOUR)?.execute([hour])?;
        transaction
            .prepare_cached(SET_ROWS_SINCE)?
            .execute([hour.saturating_add(HOUR_IN_MICROS)])?;
        transaction.execute(REMOVE_FLUSHED, [micros(SystemTime::now())])?;
        Ok(true)
    })()
    .map_err(&failed)?;
    if removed {
        transaction.commit().map_err(&failed)?;
    }
    Ok(removed)
}
