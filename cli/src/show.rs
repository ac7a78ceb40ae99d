//! What people and machines read.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_api_key::{rejection::Reason, verify::Record};

use crate::{Failure, when};

/// How a key stands, in a word.
pub(crate) fn state(record: &Record, now: SystemTime) -> &'static str {
    match record.refused_at(now) {
        None if record.retires().is_some() => "rotated",
        None => "active",
        Some(Reason::Revoked) => "revoked",
        Some(Reason::NotYetValid) => "not yet",
        Some(_) if ended_by_rotation(record) => "rotated",
        Some(_) => "expired",
    }
}

/// Whether a key ended because it was rotated, and not because its own time was over.
fn ended_by_rotation(record: &Record) -> bool {
    let own_end = record.expires();
    record.rotated().and(record.retires()).is_some_and(|end| own_end.is_none_or(|own| end <= own))
}

/// When a key ends or has ended.
pub(crate) fn end(record: &Record) -> Option<SystemTime> {
    record.revoked().or([record.expires(), record.retires()].into_iter().flatten().min())
}

/// A record for machines.
pub(crate) fn json(record: &Record, now: SystemTime) -> Value {
    let time = |time: Option<SystemTime>| time.map(rfc3339);
    let client = record.client();
    json!({
        "id": record.id(),
        "client": client.id(),
        "name": client.name(),
        "scopes": client.granted().collect::<Vec<_>>(),
        "state": state(record, now),
        "created": time(record.created()),
        "not_before": time(record.begins()),
        "expires": time(record.expires()),
        "rotated": time(record.rotated()),
        "retires": time(record.retires()),
        "replaced_by": record.replaced_by(),
        "revoked": time(record.revoked()),
        "prefix": record.key_format().map(|format| format.prefix()),
        "note": record.noted(),
    })
}

/// Lines of text in columns, in human words on a terminal; with tabs and exact times elsewhere.
pub(crate) fn table(records: &[Record], now: SystemTime) -> Result<(), Failure> {
    let out = io::stdout();
    let is_for_people = out.is_terminal();
    let time = |time: Option<SystemTime>| match time {
        None => "-".to_owned(),
        Some(time) if is_for_people => words(time, now),
        Some(time) => rfc3339(time),
    };
    let mut rows =
        vec![["ID", "CLIENT", "STATE", "CREATED", "ENDS", "SCOPES", "NOTE"].map(str::to_owned)];
    rows.extend(records.iter().map(|record| {
        let client = record.client();
        let scopes: Vec<_> = client.granted().collect();
        [
            record.id().unwrap_or("-").to_owned(),
            printable(client.id()),
            state(record, now).to_owned(),
            time(record.created()),
            time(end(record)),
            if scopes.is_empty() { "-".to_owned() } else { scopes.join(" ") },
            printable(record.noted().unwrap_or("-")),
        ]
    }));
    if !is_for_people {
        return lines(rows.iter().map(|row| row.join("\t")));
    }
    let widths = [0, 1, 2, 3, 4, 5, 6]
        .map(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let is_coloured = is_coloured(&out);
    lines(rows.iter().map(|row| {
        let cells = row.iter().zip(widths).map(|(cell, width_of_column)| {
            let blanks = " ".repeat(width_of_column - width(cell));
            format!("{}{blanks}", if is_coloured { coloured(cell) } else { cell.clone() })
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }))
}

/// Writes lines to standard output. Whoever closes the pipe has read enough.
pub(crate) fn lines(mut lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines.try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Says something beside the output. Where standard error is closed, nobody listens.
pub(crate) fn say(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

/// Warns people in words, and machines in JSON.
pub(crate) fn warn(text: &str, json: bool) {
    if json {
        say(&escaped(&json!({ "warning": text })));
    } else {
        say(&format!("warning: {text}"));
    }
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339(time).to_string()
}

/// `3 days ago` or `in 3 days`.
pub(crate) fn words(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        // A minute more, so that what was set to 90 days just now reads so.
        Ok(left) if !left.is_zero() => {
            format!("in {}", rough(now, time + Duration::from_secs(59)))
        }
        Ok(_) => "now".to_owned(),
        Err(_) => format!("{} ago", rough(time, now)),
    }
}

/// The two largest of few units say enough to plan by.
fn rough(from: SystemTime, to: SystemTime) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let count =
        |number: u64, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
    let seconds = to.duration_since(from).unwrap_or_default().as_secs();
    match when::years_and_days(from, to) {
        Some((years @ 1.., 0)) => return count(years, "year"),
        Some((years @ 1.., days)) => {
            return format!("{} {}", count(years, "year"), count(days, "day"));
        }
        _ => {}
    }
    let found = UNITS.into_iter().find(|(unit, _)| seconds >= *unit);
    found.map_or("less than a minute".to_owned(), |(unit, name)| count(seconds / unit, name))
}

/// A text in one line that looks like no other text. The rest is written as Rust writes it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut printable, char| {
        let escaped = char.escape_debug();
        if !must_be_escaped(char) && char != '\\' {
            printable.push(char);
        } else if escaped.len() > 1 {
            printable.extend(escaped);
        } else {
            printable.extend(char.escape_unicode());
        }
        printable
    })
}

/// JSON without the characters that `serde_json` leaves alone and a terminal could misread.
pub(crate) fn escaped(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut escaped, char| {
        if must_be_escaped(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(char);
        }
        escaped
    })
}

/// Whether a terminal could obey a character, hide it, or merge it with the one before.
///
/// `escape_debug` escapes controls, blanks, marks of format, unassigned characters and combining marks.
/// It leaves letters and symbols without a shape alone.
fn must_be_escaped(char: char) -> bool {
    let has_no_shape = matches!(
        char,
        '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{1D159}'
    );
    has_no_shape || (!matches!(char, ' '..='~') && char.escape_debug().len() > 1)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn coloured(cell: &str) -> String {
    let code = match cell {
        "active" => "32",
        "rotated" | "not yet" => "33",
        "revoked" | "expired" => "31",
        "ID" | "CLIENT" | "STATE" | "CREATED" | "ENDS" | "SCOPES" | "NOTE" => "1",
        _ => return cell.to_owned(),
    };
    format!("\x1b[{code}m{cell}\x1b[0m")
}

/// On a terminal that knows colours, unless somebody wants none: <https://no-color.org>.
pub(crate) fn is_coloured(stream: &impl io::IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
