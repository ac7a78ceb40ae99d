use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{error::Fault, line_fault::explain};
use crate::{Client, KeyDigest, key::KeyFormat, record::Record};

/// The version of a file that uses no field of [`NEWEST`].
const OLDEST: u64 = 1;

/// The newest version that this code reads.
const NEWEST: u64 = 2;

/// One key, as a line holds it. Times are RFC 3339, in UTC.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    client: Text<'a>,
    #[serde(borrow)]
    digest: Text<'a>,
    #[serde(borrow)]
    created: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    issued_by: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    expires: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    not_before: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    retires: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    rotated: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    rotated_reason: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    paused: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    revoked_by: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    revoked_reason: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<Text<'a>, Text<'a>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    prefix: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    note: Option<Text<'a>>,
}

impl Line<'_> {
    /// Returns the first field that a file of version 1 cannot have.
    fn new_field(&self) -> Option<&'static str> {
        [
            ("issued_by", self.issued_by.is_some()),
            ("rotated", self.rotated.is_some()),
            ("replaced_by", self.replaced_by.is_some()),
            ("rotated_reason", self.rotated_reason.is_some()),
            ("paused", self.paused.is_some()),
            ("revoked_by", self.revoked_by.is_some()),
            ("revoked_reason", self.revoked_reason.is_some()),
            ("metadata", self.metadata.is_some()),
        ]
        .into_iter()
        .find_map(|(field, is_there)| is_there.then_some(field))
    }
}

/// A string, borrowed if it has no escapes.
#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    v: u64,
}

/// Reads the version from the first line.
pub(super) fn read_header(text: &str) -> Result<u64, Fault> {
    check_object(text).map_err(|_| Fault::Header)?;
    match serde_json::from_str(text) {
        Ok(Header { v: version @ OLDEST..=NEWEST }) => Ok(version),
        Ok(Header { .. }) => Err(Fault::Version),
        Err(_) => Err(Fault::Header),
    }
}

/// Rejects a list, because serde would read a list of values as an object.
fn check_object(text: &str) -> Result<(), Fault> {
    if text.starts_with('[') { Err(Fault::NotAnObject) } else { Ok(()) }
}

/// Reads lines one after another. If keys have equal formats, they share one.
#[derive(Default)]
pub(super) struct Reader {
    version: u64,
    format: Option<KeyFormat>,
}

impl Reader {
    pub(super) fn of_version(version: u64) -> Self {
        Self { version, format: None }
    }

    pub(super) fn read(&mut self, text: &str) -> Result<Record, Fault> {
        check_object(text)?;
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
        if let Some(field) = line.new_field().filter(|_| self.version < NEWEST) {
            return Err(Fault::NewField(field));
        }
        let mut client = Client::new(line.client.0);
        if !line.scopes.is_empty() {
            client = client.with_scopes(line.scopes.into_iter().map(|scope| scope.0));
        }
        if let Some(name) = line.name {
            client = client.with_name(name.0);
        }
        for (key, value) in line.metadata.into_iter().flatten() {
            client = client.with_metadata(key.0, value.0);
        }
        let mut record = Record::new(KeyDigest::parse(&line.digest.0)?, client)
            .with_id(&line.id.0)?
            .with_created(time("created", &line.created)?);
        for (field, value, set) in [
            ("expires", line.expires, Record::with_expires as fn(Record, SystemTime) -> Record),
            ("not_before", line.not_before, Record::with_not_before),
            ("retires", line.retires, Record::with_retires),
            ("rotated", line.rotated, Record::with_rotated),
            ("paused", line.paused, Record::with_paused),
            ("revoked", line.revoked, Record::with_revoked),
        ] {
            if let Some(value) = value {
                record = set(record, time(field, &value)?);
            }
        }
        for (value, set) in [
            (line.note, Record::with_note as fn(Record, String) -> Record),
            (line.issued_by, Record::with_issued_by),
            (line.rotated_reason, Record::with_rotated_reason),
            (line.revoked_by, Record::with_revoked_by),
            (line.revoked_reason, Record::with_revoked_reason),
        ] {
            if let Some(value) = value {
                record = set(record, value.0.into_owned());
            }
        }
        if let Some(id) = line.replaced_by {
            record = record.with_replaced_by(&id.0)?;
        }
        if let Some(prefix) = line.prefix {
            record = record.with_format(self.format(&prefix.0)?);
        }
        Ok(record)
    }

    fn format(&mut self, prefix: &str) -> Result<KeyFormat, Fault> {
        match &self.format {
            Some(last) if last.prefix() == prefix => Ok(last.clone()),
            _ => Ok(self.format.insert(KeyFormat::new(prefix)?).clone()),
        }
    }
}

/// Returns the lowest version of a file with these keys.
pub(super) fn version_of<'r>(records: impl IntoIterator<Item = &'r Record>) -> u64 {
    let is_new = |record: &Record| {
        record.issued_by().is_some()
            || record.rotated().is_some()
            || record.replaced_by().is_some()
            || record.rotated_reason().is_some()
            || record.paused().is_some()
            || record.revoked_by().is_some()
            || record.revoked_reason().is_some()
            || record.client().metadata_entries().next().is_some()
    };
    if records.into_iter().any(is_new) { NEWEST } else { OLDEST }
}

/// Returns the first line, without its line break.
pub(super) fn header(version: u64) -> String {
    format!("{{\"v\":{version}}}")
}

/// Writes a key and a line break.
pub(super) fn write(to: &mut String, record: &Record) {
    // A line of strings can always be written.
    let line = serde_json::to_string(&Line::of(record)).unwrap_or_default();
    _ = writeln!(to, "{line}");
}

fn time(field: &'static str, text: &Text<'_>) -> Result<SystemTime, Fault> {
    let parsed = humantime::parse_rfc3339(&text.0).map_err(|_| Fault::Time(field))?;
    // The times of a record begin with 1970.
    let since = parsed.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(UNIX_EPOCH + since)
}

impl<'r> Line<'r> {
    fn of(record: &'r Record) -> Self {
        let text = |text: &'r str| Text(Cow::Borrowed(text));
        let time = |time: SystemTime| Text(humantime::format_rfc3339(time).to_string().into());
        let client = record.client();
        let metadata: BTreeMap<_, _> =
            client.metadata_entries().map(|(key, value)| (text(key), text(value))).collect();
        Self {
            id: text(record.id().unwrap_or_default()),
            client: text(client.id()),
            digest: Text(record.digest().encode().into()),
            created: time(record.created().unwrap_or(UNIX_EPOCH)),
            issued_by: record.issued_by().map(text),
            expires: record.expires().map(time),
            not_before: record.not_before().map(time),
            retires: record.retires().map(time),
            rotated: record.rotated().map(time),
            replaced_by: record.replaced_by().map(text),
            rotated_reason: record.rotated_reason().map(text),
            paused: record.paused().map(time),
            revoked: record.revoked().map(time),
            revoked_by: record.revoked_by().map(text),
            revoked_reason: record.revoked_reason().map(text),
            scopes: client.scopes().map(text).collect(),
            name: client.name().map(text),
            metadata: (!metadata.is_empty()).then_some(metadata),
            prefix: record.format().map(|format| text(format.prefix())),
            note: record.note().map(text),
        }
    }
}
