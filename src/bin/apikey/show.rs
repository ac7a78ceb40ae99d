//! What people and machines read.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_api_key::{rejection::Reason, verify::Record};

use crate::Failure;

/// How a key stands, in a word.
pub(crate) fn state(record: &Record, now: SystemTime) -> &'static str {
    match record.refused_at(now) {
        None if record.retires().is_some() => "rotated",
        None => "active",
        Some(Reason::Revoked) => "revoked",
        Some(Reason::NotYetValid) => "not yet",
        Some(_) => "expired",
    }
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
        "retires": time(record.retires()),
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
    let is_coloured = is_coloured();
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

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339(time).to_string()
}

/// `3 days ago` or `in 3 days`.
pub(crate) fn words(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        // A minute more, so that what was set to 90 days just now reads so.
        Ok(left) if !left.is_zero() => format!("in {}", rough(left + Duration::from_secs(59))),
        Ok(_) => "now".to_owned(),
        Err(past) => format!("{} ago", rough(past.duration())),
    }
}

/// The two largest of few units say enough to plan by.
fn rough(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] =
        [(365 * 86_400, "year"), (86_400, "day"), (3600, "hour"), (60, "minute")];
    let seconds = duration.as_secs();
    let found = UNITS.into_iter().find(|(unit, _)| seconds >= *unit);
    let Some((unit, name)) = found else { return "less than a minute".to_owned() };
    let count =
        |number: u64, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
    match (seconds / unit, name) {
        (years, "year") => {
            let days = seconds % unit / 86_400;
            let rest = if days == 0 { String::new() } else { format!(" {}", count(days, "day")) };
            count(years, name) + &rest
        }
        (number, name) => count(number, name),
    }
}

/// Without what would take hold of a terminal or break a line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut printable, char| {
        if takes_hold(char) {
            printable.extend(char.escape_default());
        } else {
            printable.push(char);
        }
        printable
    })
}

/// JSON, without what `serde_json` leaves alone and a terminal does not.
pub(crate) fn escaped(value: &Value) -> String {
    value.to_string().chars().fold(String::new(), |mut escaped, char| {
        if takes_hold(char) {
            // All of them are below U+10000.
            escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            escaped.push(char);
        }
        escaped
    })
}

/// Controls, breaks of lines, and marks that turn the direction of what follows.
fn takes_hold(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
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
fn is_coloured() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
