//! The row of a record.

use std::time::SystemTime;

use tokio_postgres::{Row, types::FromSql};
use tower_api_key::{KeyDigest, key::KeyFormat, record::Record};

use crate::{
    clients::{ClientColumns, SharedClients},
    time::DbTime,
};

/// Returns the statement that reads keys with a condition. [`RowReader::read`] reads its rows.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT version, digest, key_id, client, name, scopes, metadata::text, prefix, note, created, issued_by, ",
            "not_before, expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, ",
            "revoked_reason FROM api_keys ",
            $condition
        )
    };
}

pub(crate) use select;

/// The content of a row.
pub(crate) struct KeyRow {
    pub(crate) version: u64,
    pub(crate) digest: KeyDigest,
    /// Empty if the column is no text.
    pub(crate) key_id: String,
    /// If the row is no record, the name of the column that is invalid.
    pub(crate) record: Result<Record, &'static str>,
}

/// Reads rows. Rows with the same prefix or client share it in memory.
#[derive(Default)]
pub(crate) struct RowReader {
    format: Option<KeyFormat>,
    clients: SharedClients,
}

impl RowReader {
    /// Reads a row of [`select!`]. Returns `None` if its digest is not a digest, so that no key has this row.
    pub(crate) fn read(&mut self, row: &Row) -> Option<KeyRow> {
        let digest: [u8; 32] = row.try_get::<_, &[u8]>(1).ok()?.try_into().ok()?;
        let digest = KeyDigest::from_bytes(digest);
        let version = unsigned(row.try_get(0).ok()?);
        let record = self.record(&Columns(row), digest);
        let key_id = row.try_get(2).unwrap_or_default();
        Some(KeyRow { version, digest, key_id, record })
    }

    fn record(&mut self, row: &Columns<'_>, digest: KeyDigest) -> Result<Record, &'static str> {
        let client = self.clients.get(ClientColumns {
            id: row.get(3, "client")?,
            name: row.get(4, "name")?,
            scopes: row.get(5, "scopes")?,
            metadata: row.get(6, "metadata")?,
        })?;
        let key_id = row.get(2, "key_id")?;
        let mut record = Record::new(digest, client).with_id(key_id).map_err(|_| "key_id")?;
        if let Some(prefix) = row.get(7, "prefix")? {
            record = record.with_format(self.format(prefix)?);
        }
        for (at, column, set) in TIMES {
            if let Some(time) = row.get::<Option<DbTime>>(at, column)? {
                record = set(record, time.system_time().ok_or(column)?);
            }
        }
        for (at, column, set) in TEXTS {
            if let Some(text) = row.get(at, column)? {
                record = set(record, text);
            }
        }
        if let Some(key_id) = row.get(15, "replaced_by")? {
            record = record.with_replaced_by(key_id).map_err(|_| "replaced_by")?;
        }
        record.validate().map_err(|_| "client, scopes, or a time")?;
        Ok(record)
    }

    fn format(&mut self, prefix: &str) -> Result<KeyFormat, &'static str> {
        match &self.format {
            Some(last) if last.prefix() == prefix => Ok(last.clone()),
            _ => Ok(self.format.insert(KeyFormat::new(prefix).map_err(|_| "prefix")?).clone()),
        }
    }
}

type SetTime = fn(Record, SystemTime) -> Record;
type SetText = fn(Record, &str) -> Record;

const TIMES: [(usize, &str, SetTime); 7] = [
    (9, "created", |record, time| record.with_created(time)),
    (11, "not_before", |record, time| record.with_not_before(time)),
    (12, "expires", |record, time| record.with_expires(time)),
    (13, "rotated", |record, time| record.with_rotated(time)),
    (14, "retires", |record, time| record.with_retires(time)),
    (17, "paused", |record, time| record.with_paused(time)),
    (18, "revoked", Record::with_revoked),
];

const TEXTS: [(usize, &str, SetText); 5] = [
    (8, "note", |record, text| record.with_note(text)),
    (10, "issued_by", |record, text| record.with_issued_by(text)),
    (16, "rotated_reason", |record, text| record.with_rotated_reason(text)),
    (19, "revoked_by", |record, text| record.with_revoked_by(text)),
    (20, "revoked_reason", |record, text| record.with_revoked_reason(text)),
];

/// The columns of a row. An error is the name of the column.
struct Columns<'a>(&'a Row);

impl<'a> Columns<'a> {
    fn get<T: FromSql<'a>>(&self, at: usize, column: &'static str) -> Result<T, &'static str> {
        self.0.try_get(at).map_err(|_| column)
    }
}

/// Converts a version. A version is never negative.
pub(crate) fn unsigned(version: i64) -> u64 {
    version.try_into().unwrap_or_default()
}
