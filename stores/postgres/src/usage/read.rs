use std::time::SystemTime;

use tokio_postgres::{Error, Row, types::Type};
use tower_api_key::{
    store::StoreError,
    usage::{Counts, LastUse, Subject, UsageHistory, UsageRow},
};

use crate::{connection::Connection, pool::Pool, row::unsigned};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(crate) const ROWS: &str = "SELECT kind, client, key_id, hour, accepted, rejected, limited, forbidden, last_used \
    FROM api_key_usage WHERE hour >= $1";
const LAST_USES: &str = "SELECT kind, client, key_id, max(at) FROM ( \
    SELECT kind, client, key_id, last_used AS at FROM api_key_usage WHERE last_used IS NOT NULL \
    UNION ALL SELECT kind, client, key_id, at FROM api_key_last_use) AS uses GROUP BY kind, client, key_id \
    ORDER BY key_id, client, kind";
const SINCE: &str = "SELECT uses, rows FROM api_key_usage_since";
const DOING: &str = "read usage";

/// Reads the hours that begin at a time or later, and the last use of each key.
pub(super) async fn history(pool: &Pool, since: SystemTime) -> Result<UsageHistory, StoreError> {
    let lease = pool.begin(BEGIN).await?;
    let result = read(&lease, since).await;
    pool.end(lease, &result).await;
    result
}

async fn read(connection: &Connection, since: SystemTime) -> Result<UsageHistory, StoreError> {
    let rows = connection.query(DOING, ROWS, &[(&since, Type::TIMESTAMPTZ)]).await?;
    let uses = connection.query(DOING, LAST_USES, &[]).await?;
    let known = connection.query(DOING, SINCE, &[]).await?;
    connection.run(DOING, "COMMIT").await?;
    to_history(&rows, &uses, &known).map_err(|error| connection.failed(DOING, &error))
}

fn to_history(rows: &[Row], uses: &[Row], known: &[Row]) -> Result<UsageHistory, Error> {
    let rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let uses = uses.iter().map(|row| Ok(LastUse::new(subject(row)?, row.try_get(3)?)));
    let history = UsageHistory::new(rows, uses.collect::<Result<Vec<_>, _>>()?);
    let Some(known) = known.first() else { return Ok(history) };
    let (uses, rows): (SystemTime, Option<SystemTime>) = (known.try_get(0)?, known.try_get(1)?);
    Ok(history.with_since(uses).with_rows_since(rows.unwrap_or(uses)))
}

fn row(row: &Row) -> Result<UsageRow, Error> {
    let mut counts = Counts::default();
    counts.accepted = unsigned(row.try_get(4)?);
    counts.rejected = unsigned(row.try_get(5)?);
    counts.limited = unsigned(row.try_get(6)?);
    counts.forbidden = unsigned(row.try_get(7)?);
    Ok(UsageRow::new(subject(row)?, row.try_get(3)?, counts, row.try_get(8)?))
}

fn subject(row: &Row) -> Result<Subject, Error> {
    let (client, key_id): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    Ok(match row.try_get(0)? {
        "key" => Subject::key(key_id, Some(client).filter(|client| !client.is_empty())),
        "client" => Subject::client_alone(client),
        "unknown" => Subject::Unknown,
        _ => Subject::Overflow,
    })
}
