//! The row of a record.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{Postgres, QueryBuilder, Row as _, postgres::PgRow, types::Json};
use tower_api_key::{Client, KeyDigest, key::KeyFormat, record::Record};

type SetText = fn(Record, &str) -> Option<Record>;
type SetTime = fn(Record, SystemTime) -> Record;

const TEXTS: [(&str, SetText); 7] = [
    ("prefix", |record, text| Some(record.with_format(KeyFormat::new(text).ok()?))),
    ("note", |record, text| Some(record.with_note(text))),
    ("issued_by", |record, text| Some(record.with_issued_by(text))),
    ("replaced_by", |record, text| record.with_replaced_by(text).ok()),
    ("rotated_reason", |record, text| Some(record.with_rotated_reason(text))),
    ("revoked_by", |record, text| Some(record.with_revoked_by(text))),
    ("revoked_reason", |record, text| Some(record.with_revoked_reason(text))),
];

const TIMES: [(&str, SetTime); 7] = [
    ("created", |record, time| record.with_created(time)),
    ("not_before", |record, time| record.with_not_before(time)),
    ("expires", |record, time| record.with_expires(time)),
    ("rotated", |record, time| record.with_rotated(time)),
    ("retires", |record, time| record.with_retires(time)),
    ("paused", |record, time| record.with_paused(time)),
    ("revoked", Record::with_revoked),
];

/// Reads the version and the digest of a row. `None` means that no key can have this row.
pub(crate) fn position(row: &PgRow) -> Option<(u64, KeyDigest)> {
    let digest: [u8; 32] = row.try_get::<&[u8], _>("digest").ok()?.try_into().ok()?;
    let version: i64 = row.try_get("version").ok()?;
    Some((version.unsigned_abs(), KeyDigest::from_bytes(digest)))
}

/// Reads the record of a row. `None` means that the row is not valid.
pub(crate) fn record(row: &PgRow) -> Option<Record> {
    let text = |column| row.try_get::<Option<&str>, _>(column).ok();
    let (_, digest) = position(row)?;
    let Json(metadata) = row.try_get::<Json<BTreeMap<String, String>>, _>("metadata").ok()?;
    let mut client = Client::new(text("client")??).with_scopes(text("scopes")??.split_whitespace());
    if let Some(name) = text("name")? {
        client = client.with_name(name);
    }
    let client =
        metadata.iter().fold(client, |client, (key, value)| client.with_metadata(key, value));
    let mut record = Record::new(digest, client).with_id(text("key_id")??).ok()?;
    for (column, set) in TEXTS {
        if let Some(text) = text(column)? {
            record = set(record, text)?;
        }
    }
    for (column, set) in TIMES {
        if let Some(time) = row.try_get::<Option<i64>, _>(column).ok()? {
            record = set(record, UNIX_EPOCH + Duration::from_micros(time.try_into().ok()?));
        }
    }
    record.validate().ok().map(|()| record)
}

/// Builds the statement that inserts records, with the values in the order of the columns.
pub(crate) fn insert(records: &[&Record], version: i64) -> QueryBuilder<'static, Postgres> {
    let mut query = QueryBuilder::new("INSERT INTO app_keys ");
    query.push_values(records, |mut values, record| {
        let client = record.client();
        let metadata =
            client.metadata_entries().map(|(key, value)| (key.to_owned(), value.to_owned()));
        values.push_bind(record.digest().to_bytes().to_vec()).push_bind(version);
        for text in [
            record.id(),
            Some(client.id()),
            client.name(),
            Some(&*client.scopes().collect::<Vec<_>>().join(" ")),
            record.format().map(KeyFormat::prefix),
            record.note(),
            record.issued_by(),
            record.replaced_by(),
            record.rotated_reason(),
            record.revoked_by(),
            record.revoked_reason(),
        ] {
            values.push_bind(text.map(str::to_owned));
        }
        for time in [
            record.created(),
            record.not_before(),
            record.expires(),
            record.rotated(),
            record.retires(),
            record.paused(),
            record.revoked(),
        ] {
            values.push_bind(time.map(micros));
        }
        values.push_bind(Json(metadata.collect::<BTreeMap<_, _>>()));
    });
    query
}

/// Returns the form of a time in the tables.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or(i64::MAX)
}
