//! One change in one transaction.

use tokio_postgres::Row;
use tower_api_key::store::{Change, Changed, StoreError, StoreErrorKind};

use crate::{connection::Connection, endpoint::Endpoint, pool::Pool, query, row::unsigned, write};

/// The first version of this transaction.
pub(crate) const VERSION: &str = "SELECT min(version) FROM ( \
    SELECT version FROM api_keys WHERE w = pg_current_xact_id() \
    UNION ALL SELECT version FROM api_keys_gone WHERE w = pg_current_xact_id()) AS own";
/// Each later write of a locked row has a greater version.
const LAST_VERSION: &str = "SELECT last_value FROM api_keys_version";

/// Makes a change.
pub(crate) async fn run(pool: &Pool, change: &Change) -> Result<Changed, StoreError> {
    let endpoint = pool.endpoint();
    let lease = pool.begin(&begin(endpoint)).await?;
    let result = transaction(endpoint, &lease, change).await;
    pool.end(lease, &result).await;
    result
}

async fn transaction(
    endpoint: &Endpoint,
    connection: &Connection,
    change: &Change,
) -> Result<Changed, StoreError> {
    let draft = change.apply(query::lock(endpoint, connection, change.target()).await?)?;
    if draft.writes().is_empty() {
        let last = version(connection, LAST_VERSION).await?;
        connection.run("end a change", "ROLLBACK").await?;
        return Ok(draft.committed(last));
    }
    write::all(endpoint, connection, draft.writes()).await?;
    let version = version(connection, VERSION).await?;
    let commit = connection.client.batch_execute("COMMIT");
    match tokio::time::timeout(endpoint.deadline(), commit).await {
        Ok(Ok(())) => Ok(draft.committed(version)),
        Ok(Err(error)) => Err(connection.commit_failed(&error)),
        Err(_) => {
            let text = "cannot commit the change: the server did not answer in time";
            Err(endpoint.error(StoreErrorKind::OutcomeUnknown, text))
        }
    }
}

/// Begins a transaction. If this process is gone, the server ends the transaction after the same time.
pub(crate) fn begin(endpoint: &Endpoint) -> String {
    let millis = endpoint.deadline().as_millis().clamp(10, 1_000_000_000);
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = {millis}; \
         SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {millis}",
        millis * 9 / 10
    )
}

async fn version(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    let doing = "read the version of the change";
    let rows = connection.query(doing, sql, &[]).await?;
    let version = |row: &Row| row.try_get::<_, Option<i64>>(0);
    let version = rows.first().map(version).transpose();
    let version = version.map_err(|error| connection.failed(doing, &error))?;
    Ok(unsigned(version.flatten().unwrap_or_default()))
}
