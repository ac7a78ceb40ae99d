//! The file of this process.

use std::{
    fs::{self, File},
    io::{self, BufReader, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::{
    compact::compacted,
    error::{Fault, UsageFileError},
    file,
    history::{At, Content, parse},
    line,
    line::Header,
    open::{inherited, open_own},
    runs,
    runs::{MARK_EVERY, Run},
    slots::{Slot, replacement},
};
use crate::usage::UsageBatch;

/// The time between two attempts to make the file smaller, because each reads the whole file.
const COMPACT_AGAIN: Duration = Duration::from_secs(5 * 60);

pub(super) struct Output {
    slot: Slot,
    file: File,
    /// The first line of the file.
    header: Header,
    max_size: u64,
    /// The size at which the file is made smaller.
    compact_at: u64,
    /// Why making it smaller failed, and when.
    too_large: Option<(UsageFileError, Instant)>,
    /// The time in which this process counted, and whose end is in the file.
    run: Run,
    is_run_written: bool,
    /// The length of the file before a write that failed and could not be undone.
    good_len: Option<u64>,
    /// The instance and the number of the last batch.
    last_batch: Option<(Box<str>, u64)>,
}

impl Output {
    pub(super) fn open(path: &Path, max_size: u64) -> Result<Self, UsageFileError> {
        let slot = Slot::find(path)?;
        let now = line::now();
        let header = Header { since: inherited(&slot).unwrap_or(now), rows_since: None };
        let opened = open_own(&slot.path, || start(header, &Content::default()));
        let (file, header) = opened.map_err(|fault| fault.at(&slot.path, None))?;
        Ok(Self {
            slot,
            file,
            header,
            max_size,
            compact_at: max_size,
            too_large: None,
            run: now..now,
            is_run_written: false,
            good_len: None,
            last_batch: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.slot.path
    }

    /// Appends the rows of a batch, all or none.
    pub(super) fn write(&mut self, batch: &UsageBatch) -> Result<(), UsageFileError> {
        self.try_write(batch).map_err(|(fault, line)| fault.at(&self.slot.path, line))
    }

    fn try_write(&mut self, batch: &UsageBatch) -> Result<(), At> {
        let last = self.last_batch.as_ref();
        if last.is_some_and(|(instance, sequence)| {
            **instance == *batch.instance() && *sequence >= batch.sequence()
        }) {
            return Ok(());
        }
        let mut rows = String::new();
        batch.rows().iter().for_each(|row| line::write_row(&mut rows, row));
        self.write_rows(&rows)?;
        self.last_batch = Some((batch.instance().into(), batch.sequence()));
        Ok(())
    }

    /// Notes that this process counts, even if there is no batch. Returns an error if the file is too large.
    pub(super) fn maintain(&mut self) -> Result<(), UsageFileError> {
        if self.run_until(line::now()).is_some() || self.too_large.is_some() {
            let written = self.write_rows("");
            written.map_err(|(fault, line)| fault.at(&self.slot.path, line))?;
        }
        self.too_large.as_ref().map_or(Ok(()), |(error, _)| Err(error.clone()))
    }

    /// Returns the run of this process with its new end, if the file lacks it.
    fn run_until(&self, now: SystemTime) -> Option<Run> {
        let Run { start, end } = self.run;
        match now.duration_since(end) {
            Ok(time) if self.is_run_written && time < MARK_EVERY => None,
            Ok(_) => Some(start..now),
            // The clock was ahead.
            Err(_) => Some(now..now),
        }
    }

    fn write_rows(&mut self, rows: &str) -> Result<(), At> {
        if !file::is_at(&self.file, &self.slot.path) {
            self.reopen().map_err(whole)?;
        }
        let mut text = String::new();
        let run = self.run_until(line::now());
        run.iter().for_each(|run| line::write_run(&mut text, run));
        text.push_str(rows);
        let len = self.undo_failed_write().map_err(whole)?;
        let new_len = len.saturating_add(text.len() as u64);
        if new_len > self.compact_at {
            self.try_compact(new_len)?;
        }
        self.append(&text).map_err(whole)?;
        if let Some(run) = run {
            (self.run, self.is_run_written) = (run, true);
        }
        Ok(())
    }

    /// Makes the file smaller. If that fails, the file may grow to twice the size before this is an error.
    fn try_compact(&mut self, new_len: u64) -> Result<(), At> {
        let has_failed_lately =
            { self.too_large.as_ref() }.is_some_and(|(_, at)| at.elapsed() < COMPACT_AGAIN);
        if !has_failed_lately {
            self.too_large = match self.compact() {
                Ok(()) => None,
                Err((fault, line)) => Some((fault.at(&self.slot.path, line), Instant::now())),
            };
        }
        match &self.too_large {
            Some((error, _)) if new_len > self.compact_at.saturating_mul(2) => Err(error.parts()),
            _ => Ok(()),
        }
    }

    /// Opens the path again, because the file was removed, renamed or replaced.
    ///
    /// If no file is there, a new one begins with the last uses of the old file. Its rows are not copied, because
    /// they are in the renamed file.
    fn reopen(&mut self) -> Result<(), Fault> {
        let now = line::now();
        // If the old file is broken, its last uses are lost.
        let (old, since) = match self.read() {
            Ok(old) => (old, self.header.since),
            Err(_) => (Content::default(), now),
        };
        let header = Header { since, rows_since: Some(now) };
        let opened = open_own(&self.slot.path, || start(header, &old))?;
        (self.file, self.header) = opened;
        (self.compact_at, self.good_len, self.too_large) = (self.max_size, None, None);
        self.is_run_written = false;
        Ok(())
    }

    /// Cuts off the rest of a failed write. Returns the length of the file.
    fn undo_failed_write(&mut self) -> Result<u64, Fault> {
        if let Some(len) = self.good_len {
            self.file.set_len(len).map_err(Fault::io("undo a write that failed"))?;
            self.good_len = None;
        }
        let metadata = self.file.metadata().map_err(Fault::io("read the size of the file"))?;
        Ok(metadata.len())
    }

    fn append(&mut self, text: &str) -> Result<(), Fault> {
        let len = self.undo_failed_write()?;
        let text = match len {
            // Another program has emptied the file, so older uses are unknown.
            0 => {
                self.too_large = None;
                self.header = Header { since: line::now(), rows_since: None };
                start(self.header, &Content::default()) + text
            }
            _ => text.to_owned(),
        };
        self.file.write_all(text.as_bytes()).map_err(|error| {
            self.good_len = Some(len);
            _ = self.undo_failed_write();
            Fault::io("write the file")(error)
        })
    }

    /// Replaces the file by a smaller one, with one row for each key and hour.
    fn compact(&mut self) -> Result<(), At> {
        let content = self.read()?;
        let (text, header) = compacted(content, self.header, self.max_size / 2);
        let new_path = replacement(&self.slot.path);
        // Removes the rest of a crash. This process holds the lock, so no other writer uses it.
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(whole(Fault::io("remove the old .new file")(error)));
            }
            _ => {}
        }
        let replace = || {
            let mut new = file::create_new(&new_path)?;
            let written = new.write_all(text.as_bytes()).and_then(|()| {
                file::keep_owner_and_mode(&self.file, &new)?;
                new.sync_all()?;
                fs::rename(&new_path, &self.slot.path)
            });
            written.map_err(Fault::io("make the file smaller"))?;
            Ok(new)
        };
        let replaced = replace().inspect_err(|_| _ = fs::remove_file(&new_path));
        self.file = replaced.map_err(whole)?;
        self.header = header;
        // If the last uses alone take more than half, the file may grow before this happens again.
        self.compact_at = self.max_size.max(2 * text.len() as u64);
        Ok(())
    }

    fn read(&self) -> Result<Content, At> {
        let mut file = &self.file;
        let start = file.seek(SeekFrom::Start(0)).map_err(Fault::io("read the file"));
        start.map_err(whole)?;
        parse(BufReader::new(file))
    }
}

/// Returns an error without a line.
fn whole(fault: Fault) -> At {
    (fault, None)
}

/// The text of a new file: its header, and the runs and last uses of another file.
fn start(header: Header, old: &Content) -> String {
    let mut text = String::new();
    header.write(&mut text);
    runs::join(old.merged.runs.clone()).iter().for_each(|run| line::write_run(&mut text, run));
    old.merged.last_uses().for_each(|last_use| line::write_last_use(&mut text, &last_use));
    text
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs::OpenOptions, time::UNIX_EPOCH};

    use super::*;
    use crate::usage::{Counts, JsonLines, Subject, UsageRow};

    fn batch(sequence: u64) -> UsageBatch {
        let counts = Counts { accepted: 1, ..Counts::default() };
        let subject = Subject::key("0a1B2c3D", Some("ci"));
        let row = UsageRow::new(subject, UNIX_EPOCH, counts, Some(UNIX_EPOCH));
        UsageBatch::new("instance", sequence, vec![row])
    }

    fn accepted(path: &Path) -> u64 {
        let history = JsonLines::read([path]).unwrap();
        history.rows().iter().map(|row| row.counts().accepted).sum()
    }

    #[test]
    fn a_full_disk_loses_no_count_and_writes_none_twice() {
        let folder = std::env::temp_dir().join(format!("usage-full-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("usage.jsonl");
        let mut output = Output::open(&path, 1 << 20).unwrap();
        output.write(&batch(1)).unwrap();
        let Ok(full) = OpenOptions::new().append(true).open("/dev/full") else {
            return println!("skipped: there is no /dev/full");
        };
        let good = std::mem::replace(&mut output.file, full);
        let error = output.append("{}\n").unwrap_err().to_string();
        assert!(error.starts_with("cannot write the file: No space left"), "{error}");
        // The length is that of before the write, so the next write cuts off the rest.
        output.file = good;
        output.file.write_all(b"{\"key\":\"half").unwrap();
        output.good_len = Some(output.file.metadata().unwrap().len() - 12);
        for _ in 0..2 {
            output.write(&batch(2)).unwrap();
        }
        assert_eq!(accepted(&path), 2);
        assert!(JsonLines::read([&path]).unwrap().cut_off().is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
