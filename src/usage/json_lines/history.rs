use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Read as _},
    ops::Range,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    error::{Fault, UsageFileError},
    file, line,
    line::{Entry, Header, MAX_LINE},
    runs,
    runs::Run,
    slots,
};
use crate::usage::{Counts, LastUse, Subject, UsageRow};

/// The content of usage files. Returned by [`JsonLines::read`](super::JsonLines::read).
#[derive(Clone, Debug, Default)]
pub struct UsageHistory {
    rows: Vec<UsageRow>,
    last_uses: Vec<LastUse>,
    since: Option<SystemTime>,
    rows_since: Option<SystemTime>,
    gaps: Vec<Run>,
    cut_off: Vec<PathBuf>,
}

impl UsageHistory {
    /// Creates a history from the rows and last uses of a store of your own.
    ///
    /// Rows of the same subject and hour are added. The last use of each key is the latest of those in the rows and
    /// in the list. If a row of a key lacks the client and only one client has had the key, the row gets the client.
    #[must_use]
    pub fn new(
        rows: impl IntoIterator<Item = UsageRow>,
        last_uses: impl IntoIterator<Item = LastUse>,
    ) -> Self {
        let mut all = Merged::default();
        rows.into_iter().for_each(|row| all.add(Entry::Row(row)));
        last_uses.into_iter().for_each(|last_use| all.add(Entry::LastUse(last_use)));
        all.into_history()
    }

    /// Sets the time since which every use of a key is known.
    #[must_use]
    pub fn with_since(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.since = time.into();
        self
    }

    /// Sets the time since which every row is there.
    #[must_use]
    pub fn with_rows_since(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.rows_since = time.into();
        self
    }

    /// Returns a row for each key and hour, sorted by client, key and hour.
    #[must_use]
    pub fn rows(&self) -> &[UsageRow] {
        &self.rows
    }

    /// Returns the last use of each key, sorted by client and key.
    ///
    /// If the rows of a key are too old for the file, the key still has a last use.
    #[must_use]
    pub fn last_uses(&self) -> &[LastUse] {
        &self.last_uses
    }

    /// Returns the time since which every use of a key is known.
    ///
    /// If you read several files, this is the latest of their times, because each file may lack older uses. If one
    /// of several files is empty or missing, this is now, because its uses are lost. If there is no other file,
    /// this is `None`.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Returns the time since which every row is there. Older rows may have left a full file.
    #[must_use]
    pub fn rows_since(&self) -> Option<SystemTime> {
        self.rows_since
    }

    /// Returns the times since [`since`](Self::since) in which no process counted, in their order.
    ///
    /// Either the service was down, or it ran without a [`Usage`](crate::usage::Usage), or its counts were lost in
    /// a crash after the sink had failed, or its clock was wrong. If you read several paths, each gap of one path
    /// counts, because the paths belong to different hosts. Times of up to two hours are left out.
    #[must_use]
    pub fn gaps(&self) -> &[Range<SystemTime>] {
        &self.gaps
    }

    /// Returns the files with a last line that is cut off. That line does not count.
    ///
    /// This happens if the process or the machine crashes while it writes. At most the counts of one interval are
    /// missing.
    #[must_use]
    pub fn cut_off(&self) -> &[PathBuf] {
        &self.cut_off
    }
}

/// Rows and last uses while they are read.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) rows: BTreeMap<(Subject, SystemTime), (Counts, Option<SystemTime>)>,
    pub(super) last_uses: BTreeMap<Subject, SystemTime>,
    pub(super) runs: Vec<Run>,
}

impl Merged {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Row(row) => {
                row.last_used().into_iter().for_each(|at| self.set_last_use(row.subject(), at));
                let place = (row.subject().clone(), row.hour());
                let (counts, last_used) = self.rows.entry(place).or_default();
                *counts += row.counts();
                *last_used = (*last_used).max(row.last_used());
            }
            Entry::Run(run) => match self.runs.last_mut() {
                // The same process.
                Some(last) if last.start == run.start => last.end = last.end.max(run.end),
                _ => self.runs.push(run),
            },
            Entry::LastUse(last_use) => self.set_last_use(last_use.subject(), last_use.at()),
        }
    }

    fn set_last_use(&mut self, subject: &Subject, at: SystemTime) {
        match self.last_uses.get_mut(subject) {
            Some(last) => *last = (*last).max(at),
            None => _ = self.last_uses.insert(subject.clone(), at),
        }
    }

    /// Adds the client to rows that lack it, if only one client has had the key.
    fn name_clients(&mut self) {
        let mut clients: HashMap<Box<str>, Option<Box<str>>> = HashMap::new();
        let subjects = self.rows.keys().map(|(subject, _)| subject).chain(self.last_uses.keys());
        for subject in subjects {
            if let Subject::Key { id, client: Some(client), .. } = subject {
                let known = clients.entry(id.clone()).or_insert_with(|| Some(client.clone()));
                if known.as_ref() != Some(client) {
                    *known = None;
                }
            }
        }
        let rows = std::mem::take(&mut self.rows);
        for ((subject, hour), (counts, last_used)) in rows {
            let subject = match subject {
                Subject::Key { id, client: None } => {
                    let client = clients.get(&id).cloned().flatten();
                    Subject::Key { id, client }
                }
                subject => subject,
            };
            let (sum, last) = self.rows.entry((subject, hour)).or_default();
            *sum += counts;
            *last = (*last).max(last_used);
        }
    }

    pub(super) fn last_uses(&self) -> impl Iterator<Item = LastUse> {
        self.last_uses.iter().map(|(subject, at)| LastUse::new(subject.clone(), *at))
    }

    fn into_history(mut self) -> UsageHistory {
        self.name_clients();
        let last_uses = std::mem::take(&mut self.last_uses).into_iter();
        let last_uses = last_uses.map(|(subject, at)| LastUse::new(subject, at)).collect();
        UsageHistory { last_uses, rows: self.into_rows(), ..UsageHistory::default() }
    }

    pub(super) fn into_rows(self) -> Vec<UsageRow> {
        let rows = self.rows.into_iter();
        rows.map(|((subject, hour), (counts, last))| UsageRow::new(subject, hour, counts, last))
            .collect()
    }
}

/// The content of one file.
#[derive(Default)]
pub(super) struct Content {
    pub(super) merged: Merged,
    pub(super) header: Option<Header>,
    pub(super) is_cut_off: bool,
}

/// An error, with the number of its line.
pub(super) type At = (Fault, Option<usize>);

/// Reads the lines of a file. A last line without a line break does not count.
pub(super) fn parse(mut lines: impl BufRead) -> Result<Content, At> {
    let mut content = Content::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = lines.by_ref().take(limit).read_until(b'\n', &mut line);
        read.map_err(|error| (Fault::io("read the file")(error), None))?;
        if line.is_empty() {
            break;
        }
        let wrong = |fault| (fault, Some(number));
        let Some(text) = line.strip_suffix(b"\n") else {
            if line.len() > MAX_LINE {
                return Err(wrong(Fault::LongLine));
            }
            content.is_cut_off = true;
            break;
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong(Fault::NotUtf8))?;
        if number == 1 {
            content.header = Some(Header::read(text).map_err(wrong)?);
        } else {
            content.merged.add(line::read(text).map_err(wrong)?);
        }
    }
    Ok(content)
}

/// Reads the files of several paths.
pub(super) fn read_all<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> Result<UsageHistory, UsageFileError> {
    let (mut all, mut history) = (Merged::default(), UsageHistory::default());
    let mut seen = Vec::new();
    let mut has_lost_uses = false;
    for path in paths {
        let mut files = slots::existing(path.as_ref())?;
        has_lost_uses |= slots::has_hole(path.as_ref(), &files);
        files.retain(|file| !seen.contains(&file.canonicalize().unwrap_or_else(|_| file.clone())));
        let (mut since, mut runs): (Option<SystemTime>, _) = (None, Vec::new());
        let mut rows_since: Option<SystemTime> = None;
        for path in files {
            seen.push(path.canonicalize().unwrap_or_else(|_| path.clone()));
            let Some(content) = read_one(&path)? else { continue };
            if content.is_cut_off {
                history.cut_off.push(path);
            }
            match content.header {
                Some(header) => {
                    since = since.max(Some(header.since));
                    rows_since = rows_since.max(header.rows_since);
                }
                // Another program has emptied the file, so that its uses are lost.
                None => has_lost_uses = true,
            }
            let Merged { rows, last_uses, runs: of_file } = content.merged;
            runs.extend(of_file);
            for ((subject, hour), (counts, last_used)) in rows {
                all.add(Entry::Row(UsageRow::new(subject, hour, counts, last_used)));
            }
            last_uses.iter().for_each(|(subject, at)| all.set_last_use(subject, *at));
        }
        if let Some(since) = since {
            history.gaps.extend(runs::gaps(&runs::join(runs), since, line::now()));
        }
        history.since = history.since.max(since);
        history.rows_since = history.rows_since.max(since).max(rows_since);
    }
    if has_lost_uses && history.since.is_some() {
        let now = Some(line::now());
        (history.since, history.rows_since) = (now, now);
    }
    history.gaps.sort_by_key(|gap| gap.start);
    let UsageHistory { since, rows_since, cut_off, gaps, .. } = history;
    Ok(UsageHistory { since, rows_since, cut_off, gaps, ..all.into_history() })
}

/// Reads one file. Returns `None` if the file has disappeared meanwhile.
///
/// A line that is cut off may be one that a service is writing at this moment, so this reads such a file again. The
/// same holds for an empty file.
fn read_one(path: &Path) -> Result<Option<Content>, UsageFileError> {
    const ATTEMPTS: u32 = 5;

    let mut attempt = 0;
    loop {
        let Some(file) = file::open_to_read(path).map_err(|fault| fault.at(path, None))? else {
            return Ok(None);
        };
        let content = parse(BufReader::new(file)).map_err(|(fault, line)| fault.at(path, line))?;
        attempt += 1;
        let is_whole = !content.is_cut_off && content.header.is_some();
        if is_whole || attempt == ATTEMPTS {
            return Ok(Some(content));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
