//! The writes of a change, many rows in one statement.

use std::{collections::BTreeMap, time::SystemTime};

use tokio_postgres::types::Type;
use tower_api_key::{
    key::KeyFormat,
    record::Record,
    store::{StoreError, StoreErrorKind, Write},
};

use crate::{
    connection::Connection,
    endpoint::Endpoint,
    query::{self, Value, value},
};

/// The number of rows in a statement.
const BATCH: usize = 1_000;

/// The rows of parameters.
macro_rules! rows {
    () => {
        "unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) AS r \
         (digest, key_id, client, name, scopes, metadata, prefix, note, issued_by, replaced_by, rotated_reason, \
         revoked_by, revoked_reason, created, not_before, expires, rotated, retires, paused, revoked)"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO api_keys (digest, key_id, client, name, scopes, metadata, prefix, note, issued_by, replaced_by, \
     rotated_reason, revoked_by, revoked_reason, created, not_before, expires, rotated, retires, paused, revoked) \
     SELECT digest, key_id, client, name, string_to_array(scopes, ' '), metadata::jsonb, prefix, note, issued_by, \
     replaced_by, rotated_reason, revoked_by, revoked_reason, created, not_before, expires, rotated, retires, paused, \
     revoked FROM ",
    rows!()
);

const UPDATE: &str = concat!(
    "UPDATE api_keys k SET client = r.client, name = r.name, scopes = string_to_array(r.scopes, ' '), \
     metadata = r.metadata::jsonb, prefix = r.prefix, note = r.note, issued_by = r.issued_by, \
     replaced_by = r.replaced_by, rotated_reason = r.rotated_reason, revoked_by = r.revoked_by, \
     revoked_reason = r.revoked_reason, created = r.created, not_before = r.not_before, expires = r.expires, \
     rotated = r.rotated, retires = r.retires, paused = r.paused, revoked = r.revoked FROM ",
    rows!(),
    " WHERE k.digest = r.digest AND k.key_id = r.key_id"
);

pub(crate) const REMOVE: &str = "DELETE FROM api_keys WHERE digest = ANY($1)";

/// Makes the writes in their order. The triggers of the tables give each a version.
pub(crate) async fn all(
    endpoint: &Endpoint,
    connection: &Connection,
    writes: &[Write],
) -> Result<(), StoreError> {
    let is_same_kind =
        |one: &Write, two: &Write| std::mem::discriminant(one) == std::mem::discriminant(two);
    for batch in writes.chunk_by(is_same_kind).flat_map(|writes| writes.chunks(BATCH)) {
        let (sql, values) = statement(endpoint, batch)?;
        let doing = match batch {
            [Write::Insert(_), ..] => "insert a key",
            _ => "change a key",
        };
        let parameters = query::parameters(&values);
        let execute = connection.client.execute_typed(sql, &parameters);
        let done = connection.within(endpoint.deadline(), doing, execute).await?;
        if done != batch.len() as u64 {
            let text = "the row of a key has changed within the transaction";
            return Err(endpoint.error(StoreErrorKind::Corrupt, text));
        }
    }
    Ok(())
}

/// Returns a statement for writes of one kind, and its parameters.
pub(crate) fn statement(
    endpoint: &Endpoint,
    writes: &[Write],
) -> Result<(&'static str, Vec<Value>), StoreError> {
    let (mut records, mut removed) = (Vec::new(), Vec::new());
    let mut sql = REMOVE;
    for write in writes {
        match write {
            Write::Insert(record) => {
                sql = INSERT;
                records.push(record);
            }
            Write::Update(record) => {
                sql = UPDATE;
                records.push(record);
            }
            Write::Remove(digest) => removed.push(digest.to_bytes().to_vec()),
        }
    }
    if sql == REMOVE {
        return Ok((sql, vec![value(removed, Type::BYTEA_ARRAY)]));
    }
    if records.iter().any(|record| has_nul(record)) {
        let text =
            "PostgreSQL cannot hold a text with the character NUL. Remove it from the record";
        return Err(endpoint.error(StoreErrorKind::Refused, text));
    }
    Ok((sql, columns(&records)))
}

type Text = fn(&Record) -> Option<String>;
type Time = fn(&Record) -> Option<SystemTime>;

/// Texts of a record, in the order of the parameters.
const TEXTS: [Text; 12] = [
    |it| it.id().map(str::to_owned),
    |it| Some(it.client().id().to_owned()),
    |it| it.client().name().map(str::to_owned),
    |it| Some(it.client().scopes().collect::<Vec<_>>().join(" ")),
    metadata,
    |it| it.format().map(KeyFormat::prefix).map(str::to_owned),
    |it| it.note().map(str::to_owned),
    |it| it.issued_by().map(str::to_owned),
    |it| it.replaced_by().map(str::to_owned),
    |it| it.rotated_reason().map(str::to_owned),
    |it| it.revoked_by().map(str::to_owned),
    |it| it.revoked_reason().map(str::to_owned),
];

/// Times of a record, in the order of the parameters.
const TIMES: [Time; 7] = [
    Record::created,
    Record::not_before,
    Record::expires,
    Record::rotated,
    Record::retires,
    Record::paused,
    Record::revoked,
];

fn columns(records: &[&Record]) -> Vec<Value> {
    let digests: Vec<_> = records.iter().map(|it| it.digest().to_bytes().to_vec()).collect();
    let mut values = vec![value(digests, Type::BYTEA_ARRAY)];
    for text in TEXTS {
        let column: Vec<_> = records.iter().map(|record| text(record)).collect();
        values.push(value(column, Type::TEXT_ARRAY));
    }
    for time in TIMES {
        let column: Vec<_> = records.iter().map(|record| time(record)).collect();
        values.push(value(column, Type::TIMESTAMPTZ_ARRAY));
    }
    values
}

fn metadata(record: &Record) -> Option<String> {
    let metadata: BTreeMap<_, _> = record.client().metadata_entries().collect();
    // A map of strings can always be written.
    (!metadata.is_empty()).then(|| serde_json::to_string(&metadata).unwrap_or_default())
}

fn has_nul(record: &Record) -> bool {
    let mut entries = record.client().metadata_entries();
    let in_metadata = entries.any(|(key, value)| key.contains('\0') || value.contains('\0'));
    in_metadata || TEXTS.iter().any(|text| text(record).is_some_and(|text| text.contains('\0')))
}
