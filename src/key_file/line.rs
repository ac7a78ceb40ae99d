use std::{
    borrow::Cow,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Fault;
use crate::{Client, KeyDigest, key::KeyFormat, verify::Record};

/// The version of a file that uses no field of [`NEWEST`].
const OLDEST: u64 = 1;

/// The version with `rotated` and `replaced_by`.
const NEWEST: u64 = 2;

/// One key, as it is written. Times are RFC 3339, in UTC.
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
    revoked: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    prefix: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    note: Option<Text<'a>>,
}

/// The fields of a line, and whether a key needs them.
const FIELDS: [(&str, bool); 14] = [
    ("id", true),
    ("client", true),
    ("digest", true),
    ("created", true),
    ("expires", false),
    ("not_before", false),
    ("retires", false),
    ("rotated", false),
    ("replaced_by", false),
    ("revoked", false),
    ("scopes", false),
    ("name", false),
    ("prefix", false),
    ("note", false),
];

/// A string, borrowed where nothing in it is escaped.
#[derive(Serialize, Deserialize)]
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

/// serde takes a list of values in the place of an object.
fn check_object(text: &str) -> Result<(), Fault> {
    if text.starts_with('[') { Err(Fault::NotAnObject) } else { Ok(()) }
}

/// Reads keys, one after another: those of one format share it.
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
        for (field, value) in [("rotated", &line.rotated), ("replaced_by", &line.replaced_by)] {
            if value.is_some() && self.version < NEWEST {
                return Err(Fault::NewField(field));
            }
        }
        let mut client = Client::new(line.client.0);
        if !line.scopes.is_empty() {
            client = client.scopes(line.scopes.into_iter().map(|scope| scope.0));
        }
        if let Some(name) = line.name {
            client = client.with_name(name.0);
        }
        let mut record = Record::new(KeyDigest::parse(&line.digest.0)?, client)
            .with_id(&line.id.0)?
            .created_at(time("created", &line.created)?);
        for (field, value, set) in [
            ("expires", line.expires, Record::expires_at as fn(Record, SystemTime) -> Record),
            ("not_before", line.not_before, Record::not_before),
            ("retires", line.retires, Record::retires_at),
            ("rotated", line.rotated, Record::with_rotated),
            ("revoked", line.revoked, Record::revoked_at),
        ] {
            if let Some(value) = value {
                record = set(record, time(field, &value)?);
            }
        }
        if let Some(id) = line.replaced_by {
            record = record.with_replaced_by(&id.0)?;
        }
        if let Some(prefix) = line.prefix {
            record = record.format(self.format(&prefix.0)?);
        }
        if let Some(note) = line.note {
            record = record.note(note.0);
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

/// The version that a file with these keys has at least.
pub(super) fn version_of<'r>(records: impl IntoIterator<Item = &'r Record>) -> u64 {
    let is_new = |record: &Record| record.rotated().is_some() || record.replaced_by().is_some();
    if records.into_iter().any(is_new) { NEWEST } else { OLDEST }
}

/// The first line, without its line break.
pub(super) fn header(version: u64) -> String {
    format!("{{\"v\":{version}}}")
}

/// Writes a key, with a line break behind it.
pub(super) fn write(to: &mut String, record: &Record) {
    let text = |text: &str| Text(Cow::Owned(text.to_owned()));
    let time = |time: SystemTime| Text(humantime::format_rfc3339(time).to_string().into());
    let client = record.client();
    let line = Line {
        id: text(record.id().unwrap_or_default()),
        client: text(client.id()),
        digest: Text(record.digest().encode().into()),
        created: time(record.created().unwrap_or(UNIX_EPOCH)),
        expires: record.expires().map(time),
        not_before: record.begins().map(time),
        retires: record.retires().map(time),
        rotated: record.rotated().map(time),
        replaced_by: record.replaced_by().map(text),
        revoked: record.revoked().map(time),
        scopes: client.granted().map(text).collect(),
        name: client.name().map(text),
        prefix: record.key_format().map(|format| text(format.prefix())),
        note: record.noted().map(text),
    };
    // Strings alone can always be written.
    let line = serde_json::to_string(&line).unwrap_or_default();
    _ = writeln!(to, "{line}");
}

fn time(field: &'static str, text: &Text<'_>) -> Result<SystemTime, Fault> {
    let parsed = humantime::parse_rfc3339(&text.0).map_err(|_| Fault::Time(field))?;
    // What a record holds begins with 1970.
    let since = parsed.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(UNIX_EPOCH + since)
}

/// What is wrong with a line, without a word of it: serde's own texts repeat what they read.
fn explain(text: &str, error: &serde_json::Error) -> Fault {
    let column = error.column();
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Fault::Json { column };
    };
    let Some(object) = value.as_object() else { return Fault::NotAnObject };
    for (field, is_needed) in FIELDS {
        let value = object.get(field);
        let is_strings =
            |value: &Value| value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        // `null` stands for nothing, as far as a field can be left out.
        let is_text = |value: &Value| value.is_string() || (value.is_null() && !is_needed);
        match value {
            None if is_needed => return Fault::NoField(field),
            Some(value) if field == "scopes" && !is_strings(value) => {
                return Fault::NotStrings(field);
            }
            Some(value) if field != "scopes" && !is_text(value) => return Fault::NotAString(field),
            _ => {}
        }
    }
    Fault::Field { column }
}
