use std::{
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use foldhash::fast::RandomState;

use super::{
    KeyFileEvent, KeyFileProblem, Shared,
    document::{self, At},
    error::Fault,
    exposure::Exposure,
    file_stamp::{self, FileStamp},
};
use crate::{Keyring, record::Record};

/// The coarsest resolution of file times. A second change within this time can leave the same times.
const MTIME_RESOLUTION: Duration = Duration::from_secs(3);

/// The state of the file that was last applied or reported as broken.
#[derive(Default)]
pub(super) struct Applied {
    /// Grows each time the keys in memory are replaced.
    pub(super) version: u64,
    #[cfg(feature = "store")]
    pub(super) log: super::change_log::ChangeLog,
    pub(super) stamp: Option<FileStamp>,
    /// The hash of the content, if it was loaded.
    hash: Option<u64>,
    /// The time of another read, even if the stamp stays the same.
    recheck_at: Option<Instant>,
    exposure: Exposure,
    hasher: RandomState,
}

impl Applied {
    pub(super) fn is_recheck_due(&self) -> bool {
        self.recheck_at.is_some_and(|at| at <= Instant::now())
    }

    /// Records the stamp. The content is unknown until it is loaded.
    fn set_stamp(&mut self, stamp: FileStamp) {
        self.stamp = Some(stamp);
        self.recheck_at =
            stamp.is_recent(MTIME_RESOLUTION).then(|| Instant::now() + MTIME_RESOLUTION);
        self.hash = None;
    }

    /// Returns whether the keys in memory are certainly those of a file with this stamp.
    #[cfg(feature = "store")]
    pub(super) fn is_settled(&self, stamp: FileStamp) -> bool {
        self.stamp == Some(stamp) && self.hash.is_some() && self.recheck_at.is_none()
    }

    /// Makes the follower read the file again.
    pub(super) fn invalidate(&mut self) {
        (self.stamp, self.hash) = (None, None);
    }

    /// Records a file that this process has written.
    pub(super) fn set_written(&mut self, stamp: FileStamp, content: &[u8]) {
        self.set_stamp(stamp);
        self.hash = Some(self.hash_of(content));
    }

    fn hash_of(&self, content: &[u8]) -> u64 {
        self.hasher.hash_one(content)
    }
}

/// The result of an attempt to load the file.
pub(super) enum Loaded {
    /// The file is still changing, or it was empty for the first time.
    NotYet,
    Done(Vec<KeyFileEvent>),
}

impl Shared {
    /// Records that a missing or empty file counts as a file without keys.
    pub(super) fn apply_absent(
        &self,
        applied: &mut Applied,
        stamp: FileStamp,
    ) -> Vec<KeyFileEvent> {
        applied.set_stamp(stamp);
        self.warnings(applied)
    }

    /// Loads the file if it still has this stamp.
    ///
    /// `polls` is the number of polls that found the stamp, or `None` at the first load.
    pub(super) fn load(
        &self,
        applied: &mut Applied,
        stamp: FileStamp,
        polls: Option<u32>,
    ) -> Result<Loaded, At> {
        /// The poll at which an empty file counts as complete.
        const EMPTY_POLLS: u32 = 3;

        if stamp.is_unlinked() {
            return Err((Fault::Unlinked, None));
        }
        let text = file_stamp::read_unchanged(&self.path, stamp, self.max_size);
        let Some(text) = text.map_err(|fault| (fault, None))? else {
            return Ok(Loaded::NotYet);
        };
        let hash = applied.hash_of(&text);
        let was_broken = self.status().problem.is_some();
        let mut events = Vec::new();
        if applied.hash != Some(hash) || was_broken {
            let records = match polls {
                Some(_) if text.is_empty() => Vec::new(),
                _ => document::records(&text)?,
            };
            // Another program may have emptied the file and be about to write it.
            if records.is_empty() && polls.is_some_and(|polls| polls < EMPTY_POLLS) {
                return Ok(Loaded::NotYet);
            }
            self.set_keys(applied, records)?;
            events.push(self.set_loaded());
        }
        events.extend(self.warnings(applied));
        applied.set_stamp(stamp);
        applied.hash = Some(hash);
        Ok(Loaded::Done(events))
    }

    /// Replaces the keys in memory.
    pub(super) fn set_keys(&self, applied: &mut Applied, records: Vec<Record>) -> Result<(), At> {
        #[cfg(feature = "store")]
        let changed = self.changed_keys(&records);
        replace_keys(&self.keys, records)?;
        applied.version += 1;
        #[cfg(feature = "store")]
        applied.log.push(applied.version, changed);
        Ok(())
    }

    /// Returns an event for each risk of the path that is new since the last call.
    pub(super) fn warnings(&self, applied: &mut Applied) -> Vec<KeyFileEvent> {
        let now = Exposure::of(&self.path, self.follower.is_none());
        let before = std::mem::replace(&mut applied.exposure, now);
        let mut events = Vec::new();
        if now.is_writable_by_others && !before.is_writable_by_others {
            events.push(KeyFileEvent::WritableByOthers);
        }
        if now.has_other_names && !before.has_other_names {
            events.push(KeyFileEvent::HasOtherNames);
        }
        events
    }

    /// Keeps the keys and records the problem. Returns an event if the problem is new.
    pub(super) fn set_broken(
        &self,
        applied: &mut Applied,
        stamp: FileStamp,
        (fault, line): At,
    ) -> Option<KeyFileEvent> {
        // If the operating system failed, the next attempt can succeed without a change of the file.
        let can_pass = matches!(fault, Fault::Io(..) | Fault::Unstable)
            && !matches!(stamp, FileStamp::Unavailable(_));
        applied.set_stamp(stamp);
        if can_pass {
            applied.invalidate();
        }
        let error = Arc::new(fault.at(&self.path, line));
        let mut status = self.status();
        let before = status.problem.take();
        let is_known = before.as_ref().is_some_and(|it| it.error.to_string() == error.to_string());
        let since = before.map_or_else(SystemTime::now, |before| before.since);
        status.problem = Some(KeyFileProblem { error: Arc::clone(&error), since });
        (!is_known).then_some(KeyFileEvent::Broken(error))
    }

    /// Records in the status that the keys of the file were loaded, and returns the event.
    pub(super) fn set_loaded(&self) -> KeyFileEvent {
        let mut status = self.status();
        let was_broken = status.problem.take().is_some();
        let keys = self.keys.len();
        (status.loaded_at, status.keys) = (SystemTime::now(), keys);
        match keys {
            0 => KeyFileEvent::Emptied,
            keys if was_broken => KeyFileEvent::Recovered { keys },
            keys => KeyFileEvent::Loaded { keys },
        }
    }
}

/// Replaces the keys of a keyring by the records of a file, which [`document`] has checked.
pub(super) fn replace_keys(keys: &Keyring, records: Vec<Record>) -> Result<(), At> {
    keys.replace(records).map_err(|error| (Fault::Record(error.kind().into()), None))
}
