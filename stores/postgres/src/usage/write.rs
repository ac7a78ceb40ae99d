use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;
use tower_api_key::{
    store::StoreError,
    usage::{Counts, Subject, UsageBatch, UsageRow},
};

use crate::{
    change::begin,
    connection::{Connection, Parameter},
    endpoint::Endpoint,
    pool::Pool,
};

/// The number of rows in a statement.
const BATCH: usize = 5_000;

/// It changes no row if the batch was added before.
pub(crate) const SET_FLUSHED: &str = "INSERT INTO api_key_flush AS old VALUES ($1, $2, now()) \
    ON CONFLICT (instance) DO UPDATE SET sequence = excluded.sequence, at = excluded.at \
    WHERE old.sequence < excluded.sequence";
const SET_SINCE: &str =
    "INSERT INTO api_key_usage_since VALUES (1, now(), NULL) ON CONFLICT DO NOTHING";
/// The last use goes forward only.
const ADD: &str = "INSERT INTO api_key_usage AS old (hour, key_id, client, kind, accepted, rejected, limited, forbidden, \
    last_used) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (hour, key_id, client, kind) DO UPDATE SET accepted = old.accepted + excluded.accepted, \
    rejected = old.rejected + excluded.rejected, limited = old.limited + excluded.limited, \
    forbidden = old.forbidden + excluded.forbidden, last_used = GREATEST(old.last_used, excluded.last_used)";

/// Another process that removes hours now goes on alone. The number is that of `api_usag` in ASCII.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(7021227677783908711)";
pub(crate) const OLDEST_HOUR: &str = "SELECT min(hour) FROM api_key_usage";
pub(crate) const REMOVE: &str = "WITH removed AS (DELETE FROM api_key_usage WHERE ctid = ANY(ARRAY( \
    SELECT ctid FROM api_key_usage WHERE hour = $1 LIMIT 10000)) RETURNING key_id, client, kind, last_used) \
    INSERT INTO api_key_last_use AS old SELECT key_id, client, kind, last_used FROM removed \
    WHERE last_used IS NOT NULL ORDER BY key_id, client, kind \
    ON CONFLICT (key_id, client, kind) DO UPDATE SET at = GREATEST(old.at, excluded.at)";
const SET_ROWS_SINCE: &str =
    "UPDATE api_key_usage_since SET rows = GREATEST(rows, $1 + interval '1 hour')";
/// No process tries again to write a batch after that time.
const REMOVE_FLUSHED: &str = "DELETE FROM api_key_flush WHERE at < now() - interval '30 days'";

const HOUR: Duration = Duration::from_secs(3600);
const WRITING: &str = "write usage";
const REMOVING: &str = "remove old usage";

/// Adds a batch to the usage, unless it was added before.
pub(super) async fn batch(pool: &Pool, batch: &UsageBatch) -> Result<(), StoreError> {
    let endpoint = pool.endpoint();
    let lease = pool.begin(&begin(endpoint)).await?;
    let result = add(endpoint, &lease, batch).await;
    pool.end(lease, &result).await;
    result
}

async fn add(
    endpoint: &Endpoint,
    connection: &Connection,
    batch: &UsageBatch,
) -> Result<(), StoreError> {
    let execute = async |sql: &str, parameters: &[Parameter<'_>]| {
        let execute = connection.client.execute_typed(sql, parameters);
        connection.within(endpoint.deadline(), WRITING, execute).await
    };
    let (instance, sequence) = (batch.instance(), signed(batch.sequence()));
    let flushed = &[(&instance as _, Type::TEXT), (&sequence as _, Type::INT8)];
    if execute(SET_FLUSHED, flushed).await? == 0 {
        return connection.run(WRITING, "ROLLBACK").await;
    }
    execute(SET_SINCE, &[]).await?;
    // Every process locks rows in the order of their key.
    let mut rows: Vec<_> = batch.rows().iter().collect();
    rows.sort_by_key(|row| (row.hour(), subject(row)));
    for rows in rows.chunks(BATCH) {
        let subjects: Vec<_> = rows.iter().map(|row| subject(row)).collect();
        let key_ids: Vec<_> = subjects.iter().map(|[key_id, _, _]| *key_id).collect();
        let clients: Vec<_> = subjects.iter().map(|[_, client, _]| *client).collect();
        let kinds: Vec<_> = subjects.iter().map(|[_, _, kind]| *kind).collect();
        let hours: Vec<_> = rows.iter().map(|row| row.hour()).collect();
        let last_used: Vec<_> = rows.iter().map(|row| row.last_used()).collect();
        let counts: [fn(Counts) -> u64; 4] =
            [|it| it.accepted, |it| it.rejected, |it| it.limited, |it| it.forbidden];
        let counts =
            counts.map(|of| rows.iter().map(|row| signed(of(row.counts()))).collect::<Vec<_>>());
        let [accepted, rejected, limited, forbidden] = &counts;
        execute(
            ADD,
            &[
                (&hours, Type::TIMESTAMPTZ_ARRAY),
                (&key_ids, Type::TEXT_ARRAY),
                (&clients, Type::TEXT_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (accepted, Type::INT8_ARRAY),
                (rejected, Type::INT8_ARRAY),
                (limited, Type::INT8_ARRAY),
                (forbidden, Type::INT8_ARRAY),
                (&last_used, Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    }
    connection.run(WRITING, "COMMIT").await
}

/// Returns the id of the key, the client and the kind.
fn subject(row: &UsageRow) -> [&str; 3] {
    match row.subject() {
        Subject::Key { id, client, .. } => [id, client.as_deref().unwrap_or_default(), "key"],
        Subject::Client { id, .. } => ["", id, "client"],
        Subject::Unknown => ["", "", "unknown"],
        // A total of a later version has no other name here.
        _ => ["", "", "overflow"],
    }
}

fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Removes some rows of the oldest hour if it ends before a time. Returns `false` if there is no such hour, or if another
/// process does this now.
pub(super) async fn remove_some(pool: &Pool, before: SystemTime) -> Result<bool, StoreError> {
    let lease = pool.begin(&begin(pool.endpoint())).await?;
    let result = remove(&lease, before).await;
    pool.end(lease, &result).await;
    result
}

async fn remove(connection: &Connection, before: SystemTime) -> Result<bool, StoreError> {
    let locked = connection.query(REMOVING, LOCK, &[]).await?;
    let is_locked = locked.first().is_some_and(|row| row.try_get(0).unwrap_or(false));
    let oldest = connection.query(REMOVING, OLDEST_HOUR, &[]).await?;
    let oldest: Option<SystemTime> = oldest.first().and_then(|row| row.try_get(0).ok()?);
    let Some(hour) = oldest.filter(|hour| is_locked && *hour + HOUR <= before) else {
        connection.run(REMOVING, "ROLLBACK").await?;
        return Ok(false);
    };
    for sql in [SET_ROWS_SINCE, REMOVE] {
        connection.query(REMOVING, sql, &[(&hour, Type::TIMESTAMPTZ)]).await?;
    }
    connection.query(REMOVING, REMOVE_FLUSHED, &[]).await?;
    connection.run(REMOVING, "COMMIT").await?;
    Ok(true)
}
