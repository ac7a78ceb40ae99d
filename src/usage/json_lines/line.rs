//! The lines of a usage file.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{error::Fault, runs::Run};
use crate::usage::{Counts, LastUse, Subject, UsageRow};

/// The maximum length of a line. A client's id can be long, if a verifier of the user's own has chosen it.
pub(super) const MAX_LINE: usize = 1 << 20;

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct HeaderLine<'a> {
    v: u32,
    kind: Cow<'a, str>,
    since: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows_since: Option<Cow<'a, str>>,
}

/// The time since which a file has every last use, and since which it has every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) since: SystemTime,
    /// `None` if the file has every row since then.
    pub(super) rows_since: Option<SystemTime>,
}

const KIND: &str = "usage";

impl Header {
    pub(super) fn write(&self, text: &mut String) {
        let rows_since = self.rows_since.map(|time| format(time).into());
        let (kind, since) = (KIND.into(), format(self.since).into());
        push(text, &HeaderLine { v: 1, kind, since, rows_since });
    }

    pub(super) fn read(line: &str) -> Result<Self, Fault> {
        let header: HeaderLine<'_> = serde_json::from_str(line).map_err(|_| Fault::Header)?;
        if header.kind != KIND {
            return Err(Fault::Header);
        }
        if header.v != 1 {
            return Err(Fault::Version);
        }
        let rows_since = header.rows_since.map(|time| parse(&time, "rows_since")).transpose()?;
        Ok(Self { since: parse(&header.since, "since")?, rows_since })
    }
}

/// A line with counts, or without an `hour` a line with a last use or a run of a process.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    /// The name of a total, which has no key and no client.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    total: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    hour: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_zero")]
    accepted: u64,
    #[serde(skip_serializing_if = "is_zero")]
    rejected: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limited: u64,
    #[serde(skip_serializing_if = "is_zero")]
    forbidden: u64,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    last_used: Option<Cow<'a, str>>,
    /// A process counted from this time on, at least until `ran_until`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ran_from: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ran_until: Option<Cow<'a, str>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

const UNKNOWN: &str = "unknown";
const OVERFLOW: &str = "overflow";

impl<'a> Line<'a> {
    fn of(subject: &'a Subject) -> Self {
        let total = match subject {
            Subject::Unknown => Some(UNKNOWN),
            Subject::Overflow => Some(OVERFLOW),
            _ => None,
        };
        Self {
            key: subject.key_id().map(Into::into),
            client: subject.client().map(Into::into),
            total: total.map(Into::into),
            ..Self::default()
        }
    }

    fn subject(&self) -> Result<Subject, Fault> {
        match (self.total.as_deref(), &self.key, &self.client) {
            (Some(UNKNOWN), None, None) => Ok(Subject::Unknown),
            (Some(OVERFLOW), None, None) => Ok(Subject::Overflow),
            (None, Some(id), client) => Ok(Subject::key(&**id, client.as_deref())),
            (None, None, Some(client)) => Ok(Subject::client_alone(&**client)),
            _ => Err(Fault::Subject),
        }
    }
}

pub(super) fn write_row(text: &mut String, row: &UsageRow) {
    let Counts { accepted, rejected, limited, forbidden } = row.counts();
    let (hour, last_used) = (Some(format(row.hour()).into()), row.last_used());
    let last_used = last_used.map(|time| format(time).into());
    let subject = Line::of(row.subject());
    push(text, &Line { hour, accepted, rejected, limited, forbidden, last_used, ..subject });
}

pub(super) fn write_last_use(text: &mut String, last_use: &LastUse) {
    let last_used = Some(format(last_use.at()).into());
    push(text, &Line { last_used, ..Line::of(last_use.subject()) });
}

pub(super) fn write_run(text: &mut String, run: &Run) {
    let (from, until) = (Some(format(run.start).into()), Some(format(run.end).into()));
    push(text, &Line { ran_from: from, ran_until: until, ..Line::default() });
}

fn push(text: &mut String, line: &impl Serialize) {
    // Only a map with keys other than strings fails, and a structure is no map.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}

/// A line that was read.
pub(super) enum Entry {
    Row(UsageRow),
    LastUse(LastUse),
    Run(Run),
}

pub(super) fn read(line: &str) -> Result<Entry, Fault> {
    let line: Line<'_> =
        serde_json::from_str(line).map_err(|error| Fault::Json { column: error.column() })?;
    if let Some(from) = &line.ran_from {
        let until = line.ran_until.as_deref().ok_or(Fault::NoField("ran_until"))?;
        return Ok(Entry::Run(parse(from, "ran_from")?..parse(until, "ran_until")?));
    }
    let subject = line.subject()?;
    let last_used = line.last_used.as_deref().map(|time| parse(time, "last_used")).transpose()?;
    match (&line.hour, last_used) {
        (Some(hour), last_used) => {
            let Line { accepted, rejected, limited, forbidden, .. } = line;
            let counts = Counts { accepted, rejected, limited, forbidden };
            Ok(Entry::Row(UsageRow::new(subject, parse(hour, "hour")?, counts, last_used)))
        }
        (None, Some(at)) => Ok(Entry::LastUse(LastUse::new(subject, at))),
        (None, None) => Err(Fault::NoField("hour")),
    }
}

/// Returns the current time in whole seconds, as a line has it.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Formats a time in whole seconds. RFC 3339 has no year before 0 and none after 9999.
fn format(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);

    humantime::format_rfc3339_seconds(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)).to_string()
}

fn parse(text: &str, field: &'static str) -> Result<SystemTime, Fault> {
    humantime::parse_rfc3339(text).map_err(|_| Fault::Time(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: [&str; 6] =
        ["ci", "a \"b\" \\", "line\nbreak\u{0}", "\u{202e}\u{1b}[31m", "", "é\u{1f600}"];

    #[test]
    fn every_client_survives_a_line() {
        let hour = UNIX_EPOCH + Duration::from_secs(1_795_953_600);
        for client in CLIENTS {
            let subjects = [
                Subject::key("0a1B2c3D", Some(client)),
                Subject::client_alone(client),
                Subject::key(client, None),
                Subject::Unknown,
                Subject::Overflow,
            ];
            for subject in subjects {
                let counts = Counts { accepted: 1, rejected: 0, limited: u64::MAX, forbidden: 3 };
                for last_used in [None, Some(hour)] {
                    let row = UsageRow::new(subject.clone(), hour, counts, last_used);
                    let mut text = String::new();
                    write_row(&mut text, &row);
                    assert_eq!(text.lines().count(), 1, "{text}");
                    assert!(matches!(read(&text), Ok(Entry::Row(read)) if read == row), "{text}");
                }
                let last_use = LastUse::new(subject, hour);
                let mut text = String::new();
                write_last_use(&mut text, &last_use);
                assert!(matches!(read(&text), Ok(Entry::LastUse(read)) if read == last_use));
            }
        }
    }

    #[test]
    fn a_wrong_line_is_an_error() {
        for line in [
            "",
            "{}",
            "[]",
            r#"{"key":"a"}"#,
            r#"{"key":"a","hour":"noon"}"#,
            r#"{"hour":"2026-11-28T12:00:00Z"}"#,
            r#"{"total":"all","hour":"2026-11-28T12:00:00Z"}"#,
            r#"{"total":"unknown","key":"a","hour":"2026-11-28T12:00:00Z"}"#,
            r#"{"key":"a","hour":"2026-11-28T12:00:00Z","accepted":-1}"#,
            r#"{"key":"a","hour":"2026-11-28T12:00:00Z"} {}"#,
            r#"{"ran_from":"2026-11-28T12:00:00Z"}"#,
            r#"{"ran_from":"2026-11-28T12:00:00Z","ran_until":"noon"}"#,
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        for line in
            ["", "{}", r#"{"v":1}"#, r#"{"v":2,"kind":"usage","since":"2026-11-28T12:00:00Z"}"#]
        {
            assert!(Header::read(line).is_err(), "{line}");
        }
    }
}
