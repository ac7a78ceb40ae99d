//! Reads usage for the subcommands, from files or from a database.

use std::{collections::HashMap, ffi::OsString, ops::Range, path::Path, time::SystemTime};

use tower_api_key::{
    record::Record,
    usage::{JsonLines, Subject, UsageFileErrorKind, UsageHistory},
};

use crate::{
    Failure,
    args::{FILE_VARIABLE, FromArgs},
    escape, output,
    store::Store,
    time_args::Ago,
};

const DEFAULT_FILE: &str = "usage.jsonl";

/// The usage in files or in a database, or nothing without usage.
pub(crate) struct UsageData {
    pub(crate) history: UsageHistory,
    last_used: HashMap<String, SystemTime>,
    /// Whether there is a file, or a service has counted into the database.
    pub(crate) is_present: bool,
    is_in_database: bool,
}

/// What to do if a file cannot be read that no argument names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfBroken {
    Fail,
    /// Another program can have a file of the default name, and the variable can name a file of the future.
    Warn,
}

impl UsageData {
    /// Reads the files that an argument names, or the database, or the default file if it exists.
    ///
    /// A database returns only the hours since a time, and files return all hours.
    pub(crate) fn read(
        args: FromArgs,
        store: Option<&Store>,
        since: SystemTime,
        json: bool,
        if_broken: IfBroken,
    ) -> Result<Self, Failure> {
        let mut paths = args.from;
        // An empty variable counts as unset.
        paths.retain(|path| !path.is_empty());
        let is_of_variable = std::env::var_os(FILE_VARIABLE).is_some_and(|path| paths == [path]);
        let is_of_argument = !paths.is_empty() && !is_of_variable;
        let in_database = store.filter(|_| !is_of_argument).and_then(|store| store.usage(since));
        let is_in_database = in_database.is_some();
        let read = match in_database {
            Some(read) => read.map(|history| (history.since().is_some(), history)),
            None => read_files(paths),
        };
        let (is_present, history) = match read {
            Err(failure) if if_broken == IfBroken::Warn && !is_of_argument => {
                output::warn(&failure.message, json);
                (false, UsageHistory::default())
            }
            read => read?,
        };
        for path in history.cut_off() {
            let path = escape::text(&path.to_string_lossy());
            output::warn(&format!("{path}: the last line is cut off and does not count"), json);
        }
        let mut last_used = HashMap::new();
        for last_use in history.last_uses() {
            if let Some(id) = last_use.key_id() {
                let last = last_used.entry(id.to_owned()).or_insert_with(|| last_use.at());
                *last = last_use.at().max(*last);
            }
        }
        Ok(Self { history, last_used, is_present, is_in_database })
    }

    /// Describes where a service would write usage, if there is none.
    pub(crate) fn describe_absence(&self) -> &'static str {
        if self.is_in_database {
            "No usage data. A service writes it, if it counts usage into this database."
        } else {
            "No usage data. A service writes it to a file, and `--from` names that file."
        }
    }

    pub(crate) fn last_used(&self, key_id: &str) -> Option<SystemTime> {
        self.last_used.get(key_id).copied()
    }

    /// Returns the last use of a client by a service that does not know the ids of keys.
    pub(crate) fn last_used_without_id(&self, client: &str) -> Option<SystemTime> {
        let mut uses = self.clients_without_ids();
        uses.find(|(id, _)| *id == client).map(|(_, at)| at)
    }

    fn clients_without_ids(&self) -> impl Iterator<Item = (&str, SystemTime)> {
        self.history.last_uses().iter().filter_map(|it| match it.subject() {
            Subject::Client { id, .. } => Some((&**id, it.at())),
            _ => None,
        })
    }

    /// Warns of clients that were used without the id of a key, and that have no key of their own.
    ///
    /// A service can give its clients other ids than the key file.
    pub(crate) fn warn_of_unknown_clients(&self, ago: &Ago, records: &[Record], json: bool) {
        for (client, at) in self.clients_without_ids() {
            if at >= ago.time && !records.iter().any(|record| record.client().id() == client) {
                let client = escape::text(client);
                output::warn(
                    &format!(
                        "{client} was used without the id of a key, so its key can be in the list"
                    ),
                    json,
                );
            }
        }
    }

    /// Returns the gaps of the data since a time.
    pub(crate) fn gaps_since(&self, begin: SystemTime) -> impl Iterator<Item = &Range<SystemTime>> {
        self.history.gaps().iter().filter(move |gap| gap.end > begin)
    }

    /// Warns of the times since another in which no service counted.
    pub(crate) fn warn_of_gaps(&self, begin: SystemTime, json: bool) {
        const MAX: usize = 3;

        let time = output::format_rfc3339;
        for gap in self.gaps_since(begin).take(MAX) {
            output::warn(
                &format!(
                    "no usage data from {} to {}: uses are missing if a service ran without counting",
                    time(gap.start),
                    time(gap.end),
                ),
                json,
            );
        }
        let more = self.gaps_since(begin).count().saturating_sub(MAX);
        if more > 0 {
            let gaps = if more == 1 { "gap" } else { "gaps" };
            output::warn(&format!("the usage data has {more} more {gaps}"), json);
        }
    }

    /// Returns an error if the data does not name each key that was used after this time.
    pub(crate) fn require_names(&self, ago: &Ago) -> Result<(), Failure> {
        let mut uses = self.history.last_uses().iter();
        let is_hidden = uses.any(|it| *it.subject() == Subject::Overflow && it.at() >= ago.time);
        if is_hidden {
            let why = "a service had more keys than its maximum, so the usage data lacks the uses of some keys";
            return Err(Failure::rejected("usage_data", why.to_owned()));
        }
        Ok(())
    }

    /// Returns an error if a use after this time can be missing. An operator would revoke a key that is in use.
    pub(crate) fn require_since(&self, ago: &Ago) -> Result<(), Failure> {
        let why = match self.history.since() {
            Some(since) if since <= ago.time => return Ok(()),
            Some(since) => format!(
                "the usage data begins only at {}, so a key may have been used within {}: wait, or use a shorter time",
                output::format_rfc3339(since),
                ago.text,
            ),
            None if self.is_in_database => {
                "no usage data: no service has counted usage into this database".to_owned()
            }
            None if self.is_present => "the usage file is empty".to_owned(),
            None => format!(
                "no usage data: there is no {DEFAULT_FILE}, and `--from` names no other file"
            ),
        };
        Err(Failure::rejected("usage_data", why))
    }
}

/// Reads usage files, and returns whether there is one.
fn read_files(mut paths: Vec<OsString>) -> Result<(bool, UsageHistory), Failure> {
    let is_default = paths.is_empty();
    if is_default {
        paths.push(DEFAULT_FILE.into());
    }
    match JsonLines::read(paths.iter().map(Path::new)) {
        Err(error) if error.kind() == UsageFileErrorKind::Missing && is_default => {
            Ok((false, UsageHistory::default()))
        }
        read => Ok((true, read?)),
    }
}
