use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasher,
    path::Path,
};

use foldhash::fast::RandomState;
use tokio::sync::watch;

use super::Shared;
use crate::{KeyDigest, record::Record, store::Cursor};

/// The most changes for followers. If a follower is further behind, it reads all records.
const MAX_CHANGES: usize = 10_000;

/// The changed keys since a version.
#[derive(Default)]
pub(super) struct ChangeLog {
    changes: VecDeque<(u64, KeyDigest)>,
    /// Changes up to this version may be missing.
    begin: u64,
}

/// The result of the last poll.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) version: u64,
    pub(super) is_broken: bool,
}

/// The polls of a file, for the tasks that follow the file as a store.
pub(super) struct Polled {
    /// The name of the store.
    pub(super) name: String,
    pub(super) last: watch::Sender<Poll>,
    /// A random number in each cursor, because versions are those of this handle.
    instance: u64,
}

impl Polled {
    pub(super) fn new(path: &Path) -> Self {
        // A path can contain line breaks.
        let name = path.display().to_string().escape_debug().to_string();
        let last = watch::Sender::new(Poll::default());
        Self { name, last, instance: RandomState::default().hash_one(0) }
    }

    pub(super) fn cursor(&self, version: u64) -> Cursor {
        Cursor::new(format!("{}:{version}", self.instance))
    }

    pub(super) fn version_of(&self, cursor: &Cursor) -> Option<u64> {
        let (instance, version) = cursor.as_str().split_once(':')?;
        let is_own = instance.parse() == Ok(self.instance);
        version.parse().ok().filter(|_| is_own)
    }
}

impl ChangeLog {
    /// Adds the keys of a version, or begins anew if they are not known.
    pub(super) fn push(&mut self, version: u64, changed: Option<Vec<KeyDigest>>) {
        let changed = changed.filter(|changed| changed.len() <= MAX_CHANGES);
        let Some(changed) = changed else {
            self.changes.clear();
            self.begin = version;
            return;
        };
        self.changes.extend(changed.into_iter().map(|digest| (version, digest)));
        while self.changes.len() > MAX_CHANGES {
            self.begin = self.changes.pop_front().map_or(version, |(version, _)| version);
        }
    }

    /// Returns the last change of each key after a version, or `None` if some may be missing.
    pub(super) fn since(&self, seen: u64) -> Option<Vec<(u64, KeyDigest)>> {
        if seen < self.begin {
            return None;
        }
        let mut known = HashSet::with_hasher(RandomState::default());
        let newest_first = self.changes.iter().rev().take_while(|(version, _)| *version > seen);
        let mut changes: Vec<_> =
            newest_first.filter(|(_, digest)| known.insert(*digest)).copied().collect();
        changes.reverse();
        Some(changes)
    }
}

impl Shared {
    /// Returns the keys with new records, or `None` if there is no follower.
    pub(super) fn changed_keys(&self, records: &[Record]) -> Option<Vec<KeyDigest>> {
        if self.polled.last.receiver_count() == 0 {
            return None;
        }
        let is_changed = |record: &&Record| {
            self.keys.record_by_digest(&record.digest()).as_ref() != Some(*record)
        };
        let mut changed: Vec<_> = records.iter().filter(is_changed).map(Record::digest).collect();
        let mut kept = HashSet::with_capacity_and_hasher(records.len(), RandomState::default());
        kept.extend(records.iter().map(Record::digest));
        changed.extend(self.keys.digests().filter(|digest| !kept.contains(digest)));
        Some(changed)
    }

    /// Tells followers of new keys in memory.
    pub(super) fn notify(&self, version: u64) {
        let is_broken = self.status().problem.is_some();
        self.polled.last.send_replace(Poll { version, is_broken });
    }

    pub(super) fn notify_of_poll(&self) {
        if self.polled.last.receiver_count() > 0 {
            let version = self.applied().version;
            self.notify(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_that_is_too_far_behind_reads_everything() {
        let (a, b) = (KeyDigest::of("a"), KeyDigest::of("b"));
        let mut log = ChangeLog::default();
        log.push(1, None);
        assert_eq!(log.since(0), None);
        log.push(2, Some(vec![a, b]));
        log.push(3, Some(vec![a]));
        assert_eq!(log.since(1), Some(vec![(2, b), (3, a)]));
        assert_eq!(log.since(2), Some(vec![(3, a)]));
        assert_eq!(log.since(3), Some(vec![]));
        let many = |version: u64| Some(vec![KeyDigest::of(version.to_string()); MAX_CHANGES / 2]);
        log.push(4, many(4));
        log.push(5, many(5));
        assert_eq!(log.since(2), None);
        assert!(log.since(3).is_some_and(|changes| changes.len() == 2));
        log.push(6, Some(vec![a; MAX_CHANGES + 1]));
        assert_eq!((log.since(5), log.since(6)), (None, Some(vec![])));
    }
}
