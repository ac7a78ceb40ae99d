//! Prints records, messages and JSON.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tower_api_key::{record::Record, rejection::Reason};

use crate::{Failure, escape, prompt, store::Store, time_args};

/// Returns the state of a key in one word.
pub(crate) fn classify(record: &Record, now: SystemTime) -> &'static str {
    match record.check(now).err() {
        None if record.retires().is_some() => "rotated",
        None => "active",
        Some(Reason::Revoked) => "revoked",
        Some(Reason::Paused) => "paused",
        Some(Reason::NotYetValid) => "not yet",
        Some(_) if expired_by_rotation(record) => "rotated",
        Some(_) => "expired",
    }
}

/// Returns whether a rotation made the key expire before its own expiry.
fn expired_by_rotation(record: &Record) -> bool {
    let expires = record.expires();
    record.rotated().and(record.retires()).is_some_and(|end| expires.is_none_or(|own| end <= own))
}

/// Returns the time from which the key is not valid any more.
pub(crate) fn find_end(record: &Record) -> Option<SystemTime> {
    record.revoked().or([record.expires(), record.retires()].into_iter().flatten().min())
}

/// Converts a record to JSON.
pub(crate) fn to_json(record: &Record, now: SystemTime) -> Value {
    let time = |time: Option<SystemTime>| time.map(format_rfc3339);
    let client = record.client();
    json!({
        "id": record.id(),
        "client": client.id(),
        "name": client.name(),
        "scopes": client.scopes().collect::<Vec<_>>(),
        "metadata": client.metadata_entries().collect::<BTreeMap<_, _>>(),
        "state": classify(record, now),
        "created": time(record.created()),
        "issued_by": record.issued_by(),
        "not_before": time(record.not_before()),
        "expires": time(record.expires()),
        "rotated": time(record.rotated()),
        "rotated_reason": record.rotated_reason(),
        "retires": time(record.retires()),
        "replaced_by": record.replaced_by(),
        "paused": time(record.paused()),
        "revoked": time(record.revoked()),
        "revoked_by": record.revoked_by(),
        "revoked_reason": record.revoked_reason(),
        "prefix": record.format().map(|format| format.prefix()),
        "note": record.note(),
    })
}

/// A table, whose first row names the columns.
///
/// On a terminal, the table has columns and relative times. Elsewhere it has tabs and exact times.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    pub(crate) is_for_people: bool,
    now: SystemTime,
}

impl Table {
    pub(crate) fn new(names: &[&str], now: SystemTime) -> Self {
        let names = names.iter().copied().map(str::to_owned).collect();
        Self { rows: vec![names], is_for_people: io::stdout().is_terminal(), now }
    }

    pub(crate) fn push<const COLUMNS: usize>(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row.into());
    }

    pub(crate) fn format_time(&self, time: Option<SystemTime>) -> String {
        match time {
            None => "-".to_owned(),
            Some(time) if self.is_for_people => format_relative(time, self.now),
            Some(time) => format_rfc3339(time),
        }
    }

    pub(crate) fn print(self) -> Result<(), Failure> {
        if !self.is_for_people {
            return print_lines(self.rows.iter().map(|row| row.join("\t")));
        }
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(row.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = measure_width(cell).max(*width);
            }
        }
        let is_coloured = supports_colour(&io::stdout());
        print_lines(self.rows.iter().enumerate().map(|(number, row)| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let blanks = " ".repeat(width - measure_width(cell));
                match is_coloured {
                    true if number == 0 => format!("\x1b[1m{cell}\x1b[0m{blanks}"),
                    true => format!("{}{blanks}", colour(cell)),
                    false => format!("{cell}{blanks}"),
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        }))
    }
}

/// Prints lines to standard output. If the reader closes the pipe, this is not an error.
pub(crate) fn print_lines(mut lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines.try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints a message to standard error. If standard error is closed, the message is dropped.
pub(crate) fn print_message(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

/// Prints a warning to standard error, as text or as JSON.
pub(crate) fn warn(text: &str, json: bool) {
    if json {
        print_message(&escape::json(&json!({ "warning": text })));
    } else {
        print_message(&format!("warning: {text}"));
    }
}

/// Adds the path of a key file or the name of a database to JSON.
pub(crate) fn add_place(mut record: Value, store: &Store) -> Value {
    match store.file() {
        Some(path) => record["file"] = path.to_string_lossy().into(),
        None => record["store"] = store.place().into(),
    }
    record
}

/// Adds to JSON whether the change has created the key file.
pub(crate) fn add_is_new(mut record: Value, store: &Store, is_new: bool) -> Value {
    if store.file().is_some() {
        record["file_created"] = is_new.into();
    }
    record
}

/// Prints the keys that a change affects, before the change. A script with `--json` gets no preview.
pub(crate) fn preview<'a>(json: bool, title: &str, records: impl IntoIterator<Item = &'a Record>) {
    if json && !prompt::can_ask() {
        return;
    }
    let now = SystemTime::now();
    print_message(title);
    for record in records {
        let client = escape::text(record.client().id());
        let id = record.id().unwrap_or_default();
        print_message(&format!("  {id}  {client}  {}", classify(record, now)));
    }
}

/// Prints JSON to standard output.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print_lines([escape::json(value)].into_iter())
}

/// Prints how many keys a change affected, such as `Revoked 2 keys.`.
pub(crate) fn print_count(json: bool, verb: &str, count: usize) -> Result<(), Failure> {
    if json {
        return print_json(&json!({ verb: count }));
    }
    let mut verb = verb.to_owned();
    verb.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    print_message(&format!("{verb} {}.", format_keys(count)));
    Ok(())
}

pub(crate) fn format_keys(count: usize) -> String {
    format!("{count} key{}", if count == 1 { "" } else { "s" })
}

/// Formats how many keys a store had before an import or a copy.
pub(crate) fn format_present(count: usize) -> String {
    let verb = if count == 1 { "was" } else { "were" };
    format!("{} {verb} there already.", format_keys(count))
}

pub(crate) fn format_rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339(time).to_string()
}

/// Formats a time as `3 days ago` or `in 3 days`.
pub(crate) fn format_relative(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        // One minute more, so that a time that was just set to 90 days reads `in 90 days`.
        Ok(left) if !left.is_zero() => {
            format!("in {}", format_span(now, time + Duration::from_secs(59)))
        }
        Ok(_) => "now".to_owned(),
        Err(_) => format!("{} ago", format_span(time, now)),
    }
}

/// Formats a span in its largest unit, or in years and days.
fn format_span(from: SystemTime, to: SystemTime) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let count =
        |number: u64, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
    let seconds = to.duration_since(from).unwrap_or_default().as_secs();
    match time_args::count_years_and_days(from, to) {
        Some((years @ 1.., 0)) => return count(years, "year"),
        Some((years @ 1.., days)) => {
            return format!("{} {}", count(years, "year"), count(days, "day"));
        }
        _ => {}
    }
    let found = UNITS.into_iter().find(|(unit, _)| seconds >= *unit);
    found.map_or("less than a minute".to_owned(), |(unit, name)| count(seconds / unit, name))
}

fn measure_width(text: &str) -> usize {
    text.chars().count()
}

fn colour(cell: &str) -> String {
    let code = match cell {
        "active" => "32",
        "rotated" | "paused" | "not yet" => "33",
        "revoked" | "expired" => "31",
        _ => return cell.to_owned(),
    };
    format!("\x1b[{code}m{cell}\x1b[0m")
}

/// Returns whether a stream is a terminal with colours and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn supports_colour(stream: &impl io::IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
