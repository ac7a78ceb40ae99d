//! The row of a record.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{
    Row, ToSql,
    types::{FromSql, ValueRef},
};
use tower_api_key::{KeyDigest, key::KeyFormat, record::Record};

use crate::shared_clients::{ClientColumns, SharedClients};

/// Returns the statement that reads keys with a condition. [`RowReader::read`] reads its rows.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT version, digest, key_id, client, name, scopes, metadata, prefix, note, created, issued_by, ",
            "not_before, expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, ",
            "revoked_reason FROM api_key ",
            $condition
        )
    };
}

pub(crate) use select;

pub(crate) const INSERT: &str = "INSERT INTO api_key (digest, key_id, client, name, scopes, metadata, prefix, note, \
    created, issued_by, not_before, expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, \
    revoked_reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";

pub(crate) const UPDATE: &str = "UPDATE api_key SET client = ?3, name = ?4, scopes = ?5, metadata = ?6, prefix = ?7, \
    note = ?8, created = ?9, issued_by = ?10, not_before = ?11, expires = ?12, rotated = ?13, retires = ?14, \
    replaced_by = ?15, rotated_reason = ?16, paused = ?17, revoked = ?18, revoked_by = ?19, revoked_reason = ?20 \
    WHERE digest = ?1 AND key_id = ?2";

/// The content of a row.
pub(crate) struct KeyRow<'a> {
    pub(crate) version: u64,
    pub(crate) digest: KeyDigest,
    /// Empty if the column is no text.
    pub(crate) key_id: &'a str,
    /// If the row is no record, the name of the column that is invalid.
    pub(crate) record: Result<Record, &'static str>,
}

/// Reads rows. Rows with the same prefix or client share it in memory, because most clients have several keys.
#[derive(Default)]
pub(crate) struct RowReader {
    format: Option<KeyFormat>,
    clients: SharedClients,
}

impl RowReader {
    /// Reads a row of [`select!`]. Returns `None` if its digest is not a digest, so that no key has this row.
    pub(crate) fn read<'a>(&mut self, row: &'a Row<'_>) -> Option<KeyRow<'a>> {
        let digest: [u8; 32] = row.get_ref(1).ok()?.as_blob().ok()?.try_into().ok()?;
        let digest = KeyDigest::from_bytes(digest);
        let version = unsigned(row.get(0).ok()?);
        let record = self.record(row, digest);
        let key_id = Columns(row).text(2, "key_id").ok().flatten().unwrap_or_default();
        Some(KeyRow { version, digest, key_id, record })
    }

    fn record(&mut self, row: &Row<'_>, digest: KeyDigest) -> Result<Record, &'static str> {
        let row = Columns(row);
        let client = self.clients.get(&ClientColumns {
            id: row.text(3, "client")?.unwrap_or_default(),
            name: row.text(4, "name")?,
            scopes: row.text(5, "scopes")?.unwrap_or_default(),
            metadata: row.text(6, "metadata")?,
        })?;
        let mut record = Record::new(digest, client)
            .with_id(row.text(2, "key_id")?.unwrap_or_default())
            .map_err(|_| "key_id")?;
        if let Some(prefix) = row.text(7, "prefix")? {
            record = record.with_format(self.format(prefix)?);
        }
        for (at, column, set) in TIMES {
            if let Some(time) = row.time(at, column)? {
                record = set(record, time);
            }
        }
        for (at, column, set) in TEXTS {
            if let Some(text) = row.text(at, column)? {
                record = set(record, text);
            }
        }
        if let Some(key_id) = row.text(15, "replaced_by")? {
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
struct Columns<'a>(&'a Row<'a>);

impl<'a> Columns<'a> {
    fn get<T: FromSql>(&self, at: usize, column: &'static str) -> Result<T, &'static str> {
        self.0.get(at).map_err(|_| column)
    }

    fn text(&self, at: usize, column: &'static str) -> Result<Option<&'a str>, &'static str> {
        match self.0.get_ref(at).map_err(|_| column)? {
            ValueRef::Null => Ok(None),
            value => value.as_str().map(Some).map_err(|_| column),
        }
    }

    fn time(&self, at: usize, column: &'static str) -> Result<Option<SystemTime>, &'static str> {
        let micros: Option<i64> = self.get(at, column)?;
        let Some(micros) = micros else { return Ok(None) };
        if micros < 0 { Err(column) } else { Ok(Some(time(micros))) }
    }
}

/// Calls a closure with the parameters of [`INSERT`] and [`UPDATE`].
pub(crate) fn with_parameters<T>(record: &Record, run: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
    let client = record.client();
    let scopes = client.scopes().collect::<Vec<_>>().join(" ");
    let metadata: BTreeMap<_, _> = client.metadata_entries().collect();
    // A map of strings can always be written.
    let metadata =
        (!metadata.is_empty()).then(|| serde_json::to_string(&metadata).unwrap_or_default());
    let [created, not_before, expires, rotated, retires, paused, revoked] = [
        record.created(),
        record.not_before(),
        record.expires(),
        record.rotated(),
        record.retires(),
        record.paused(),
        record.revoked(),
    ]
    .map(|time| time.map(micros));
    run(&[
        &record.digest().to_bytes(),
        &record.id(),
        &client.id(),
        &client.name(),
        &scopes,
        &metadata,
        &record.format().map(KeyFormat::prefix),
        &record.note(),
        &created.unwrap_or_default(),
        &record.issued_by(),
        &not_before,
        &expires,
        &rotated,
        &retires,
        &record.replaced_by(),
        &record.rotated_reason(),
        &paused,
        &revoked,
        &record.revoked_by(),
        &record.revoked_reason(),
    ])
}

/// Returns the microseconds since 1970.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or(i64::MAX)
}

/// Returns the time of a number of microseconds since 1970.
pub(crate) fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(unsigned(micros))
}

/// Returns the microseconds since 1970, rounded up.
pub(crate) fn micros_from(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().div_ceil(1000).try_into().unwrap_or(i64::MAX)
}

/// Converts a version. A version is never negative.
pub(crate) fn unsigned(version: i64) -> u64 {
    version.try_into().unwrap_or_default()
}
