//! Statements to read keys.

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Page, StoreError, StoreErrorKind, Target},
};

use crate::{
    connection::{Connection, Parameter},
    endpoint::Endpoint,
    row::{RowReader, select},
    time::rounded_up,
};

pub(crate) const BY_DIGEST: &str = select!("WHERE digest = $1");
pub(crate) const ALL: &str = select!("");
pub(crate) const CHANGED: &str = select!(
    "WHERE w >= pg_snapshot_xmin($1::text::pg_snapshot) AND w < pg_snapshot_xmax(pg_current_snapshot()) \
     AND NOT pg_visible_in_snapshot(w, $1::text::pg_snapshot)"
);
/// A key that is there with the same id was removed and inserted again. So its removal is no news.
pub(crate) const REMOVED: &str = "SELECT version, digest FROM api_keys_gone g \
    WHERE w >= pg_snapshot_xmin($1::text::pg_snapshot) AND w < pg_snapshot_xmax(pg_current_snapshot()) \
    AND NOT pg_visible_in_snapshot(w, $1::text::pg_snapshot) \
    AND NOT EXISTS (SELECT FROM api_keys k WHERE k.digest = g.digest AND k.key_id = g.key_id)";

/// Statements that lock rows. All lock in the same order, so that two changes do not wait for each other.
pub(crate) const LOCK_DIGESTS: &str = select!("WHERE digest = ANY($1) ORDER BY key_id FOR UPDATE");
pub(crate) const LOCK_ID: &str = select!("WHERE key_id = $1 FOR UPDATE");
pub(crate) const LOCK_CLIENT: &str = select!("WHERE client = $1 ORDER BY key_id FOR UPDATE");
pub(crate) const LOCK_DEAD: &str = select!("WHERE dead < $1 ORDER BY key_id FOR UPDATE");

/// Returns the record of a digest from the rows of [`BY_DIGEST`].
pub(crate) fn found(endpoint: &Endpoint, rows: &[Row]) -> Result<Option<Record>, StoreError> {
    Ok(records(endpoint, rows)?.pop())
}

/// Returns the records of rows.
pub(crate) fn records(endpoint: &Endpoint, rows: &[Row]) -> Result<Vec<Record>, StoreError> {
    let mut reader = RowReader::default();
    let rows = rows.iter().filter_map(|row| reader.read(row));
    rows.map(|row| row.record.map_err(|column| corrupt(endpoint, &row.key_id, column))).collect()
}

/// Returns the error of a row that is no record. It names the key by its public id.
pub(crate) fn corrupt(endpoint: &Endpoint, key_id: &str, column: &str) -> StoreError {
    let key_id = key_id.escape_debug();
    let text = format!("the row of the key \"{key_id}\" has an invalid value of {column}");
    endpoint.error(StoreErrorKind::Corrupt, &text)
}

/// Returns the records of the target of a change, and locks them against other writers.
pub(crate) async fn lock(
    endpoint: &Endpoint,
    connection: &Connection,
    target: &Target,
) -> Result<Vec<Record>, StoreError> {
    let query = async |sql: &str, parameter: Parameter<'_>| {
        connection.query("read the keys", sql, &[parameter]).await
    };
    let rows = match target {
        Target::Digests(digests) if digests.is_empty() => Vec::new(),
        Target::Digests(digests) => {
            let digests: Vec<_> = digests.iter().map(KeyDigest::to_bytes).collect();
            let digests: Vec<&[u8]> = digests.iter().map(|it| &it[..]).collect();
            query(LOCK_DIGESTS, (&digests, Type::BYTEA_ARRAY)).await?
        }
        Target::KeyId(id) if id.contains('\0') => Vec::new(),
        Target::KeyId(id) => query(LOCK_ID, (id, Type::TEXT)).await?,
        Target::Client(client) if client.contains('\0') => Vec::new(),
        Target::Client(client) => query(LOCK_CLIENT, (client, Type::TEXT)).await?,
        Target::DeadBefore(time) => {
            query(LOCK_DEAD, (&rounded_up(*time), Type::TIMESTAMPTZ)).await?
        }
    };
    records(endpoint, &rows)
}

/// A value that is part of a statement.
pub(crate) type Value = (Box<dyn ToSql + Send + Sync>, Type);

pub(crate) fn value(value: impl ToSql + Send + Sync + 'static, of: Type) -> Value {
    (Box::new(value), of)
}

/// Returns the statement of a list and its parameters.
pub(crate) fn list(page: &Page) -> (String, Vec<Value>) {
    let text = |text: Option<&str>| {
        // The database has no text with this character, so that no row can be equal.
        text.map(|text| value(text.replace('\0', "\u{1}"), Type::TEXT))
    };
    let ends_before = page.ends_before().map(|time| value(rounded_up(time), Type::TIMESTAMPTZ));
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (condition, value) in [
        ("key_id =", text(page.key_id())),
        ("client =", text(page.client())),
        ("key_id >", text(page.after())),
        ("ends <", ends_before),
    ] {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{condition} ${}", values.len()));
        }
    }
    let limit = i64::try_from(page.limit()).unwrap_or(i64::MAX);
    values.push(value(limit, Type::INT8));
    let filter = match &*conditions {
        [] => String::new(),
        conditions => format!("WHERE {}", conditions.join(" AND ")),
    };
    (format!("{}{filter} ORDER BY key_id LIMIT ${}", select!(""), values.len()), values)
}

/// Returns values as parameters of a statement.
pub(crate) fn parameters(values: &[Value]) -> Vec<Parameter<'_>> {
    values.iter().map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone())).collect()
}
