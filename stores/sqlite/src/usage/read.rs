use rusqlite::{Connection, OptionalExtension as _, Row};
use tower_api_key::{
    store::StoreError,
    usage::{Counts, LastUse, Subject, UsageHistory, UsageRow},
};

use crate::{
    database::{Database, Opened},
    row::{time, unsigned},
    schema,
};

pub(super) const ROWS: &str = "SELECT kind, client, key_id, hour, accepted, rejected, limited, forbidden, last_used \
    FROM api_key_usage WHERE hour >= ?1";
pub(super) const LAST_USES: &str = "SELECT kind, client, key_id, max(at) FROM ( \
    SELECT kind, client, key_id, last_used AS at FROM api_key_usage WHERE last_used IS NOT NULL \
    UNION ALL SELECT kind, client, key_id, at FROM api_key_last_use) GROUP BY kind, client, key_id";
const SINCE: &str = "SELECT uses, rows FROM api_key_usage_since";

/// Reads the hours that begin at a time or later, and the last use of each key.
pub(super) fn history(
    database: &Database,
    opened: &mut Opened,
    since: i64,
) -> Result<UsageHistory, StoreError> {
    schema::require(database, opened.version, schema::USAGE)?;
    let transaction = database.begin_read(opened)?;
    read(&transaction, since).map_err(database.failed("read usage"))
}

fn read(connection: &Connection, since: i64) -> rusqlite::Result<UsageHistory> {
    let mut rows = connection.prepare_cached(ROWS)?;
    let rows: Vec<_> = rows.query_map([since], row)?.collect::<Result<_, _>>()?;
    let mut uses = connection.prepare_cached(LAST_USES)?;
    let uses = uses.query_map((), |row| Ok(LastUse::new(subject(row)?, time(row.get(3)?))))?;
    let uses: Vec<_> = uses.collect::<Result<_, _>>()?;
    let known = |row: &Row<'_>| Ok((time(row.get(0)?), row.get::<_, Option<_>>(1)?.map(time)));
    let known = connection.query_row(SINCE, (), known).optional()?;
    let history = UsageHistory::new(rows, uses);
    Ok(match known {
        Some((uses, rows)) => history.with_since(uses).with_rows_since(rows.unwrap_or(uses)),
        None => history,
    })
}

fn row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    let mut counts = Counts::default();
    counts.accepted = unsigned(row.get(4)?);
    counts.rejected = unsigned(row.get(5)?);
    counts.limited = unsigned(row.get(6)?);
    counts.forbidden = unsigned(row.get(7)?);
    let last_used = row.get::<_, Option<_>>(8)?.map(time);
    Ok(UsageRow::new(subject(row)?, time(row.get(3)?), counts, last_used))
}

fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    let text = |at| row.get::<_, String>(at);
    let client = text(1)?;
    Ok(match &*text(0)? {
        "key" => Subject::key(text(2)?, Some(&*client).filter(|client| !client.is_empty())),
        "client" => Subject::client_alone(client),
        "unknown" => Subject::Unknown,
        _ => Subject::Overflow,
    })
}
