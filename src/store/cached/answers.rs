use std::{sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use quick_cache::{UnitWeighter, sync::Cache};
use tokio::time::Instant;

use super::{
    entry::{Entry, Life},
    stamps::Stamps,
};
use crate::{KeyDigest, record::Record};

type Bounded<V> = Cache<KeyDigest, V, UnitWeighter, RandomState>;

/// The longest time for which an unknown key is remembered.
const UNKNOWN: Duration = Duration::from_secs(10);

/// The largest number of unknown keys in memory.
const MAX_UNKNOWN: usize = 16_384;

/// The answers of the store, in bounded memory.
pub(super) struct Answers {
    pub(super) stamps: Stamps,
    records: Bounded<Arc<Entry>>,
    /// Apart from the records, so that strangers cannot evict clients.
    unknown: Bounded<Life>,
    fresh: Duration,
}

/// The record of a key, or `None` for an unknown key.
pub(super) type Answer = Option<Arc<Entry>>;

/// Memory has no answer, so the store must be asked.
pub(super) struct Missing {
    /// The stamp before the store is asked.
    pub(super) stamp: u64,
    /// Whether memory has an old record of this key.
    pub(super) is_known: bool,
}

impl Answers {
    pub(super) fn new(capacity: usize, fresh: Duration) -> Self {
        let records = bounded(capacity.max(1));
        Self { stamps: Stamps::new(), records, unknown: bounded(MAX_UNKNOWN), fresh }
    }

    /// Returns the number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    #[inline]
    pub(super) fn get(&self, digest: &KeyDigest) -> Result<Answer, Missing> {
        let record = self.records.get(digest);
        let (stamp, now) = (self.stamps.get(digest), Instant::now());
        let is_known = record.is_some();
        match record {
            Some(entry) if entry.life.contains(stamp, now) => Ok(Some(entry)),
            _ => match self.unknown.get(digest) {
                Some(life) if life.contains(stamp, now) => Ok(None),
                _ => Err(Missing { stamp, is_known }),
            },
        }
    }

    /// Inserts the record of a key. The stamp and the time are from before the store was asked.
    pub(super) fn insert(&self, record: Record, stamp: u64, asked: Instant) -> Arc<Entry> {
        let digest = record.digest();
        let entry = Entry::new(record, Life { stamp, until: asked + self.fresh });
        self.records.insert(digest, Arc::clone(&entry));
        entry
    }

    /// Notes that the store has no such key.
    pub(super) fn insert_unknown(&self, digest: KeyDigest, stamp: u64, asked: Instant) {
        self.records.remove(&digest);
        self.unknown.insert(digest, Life { stamp, until: asked + self.fresh.min(UNKNOWN) });
    }

    /// Forgets a key, because it changed. Returns its record as it was before.
    pub(super) fn remove(&self, digest: &KeyDigest) -> Option<Record> {
        let before = self.stamps.get(digest);
        self.stamps.bump(digest);
        self.unknown.remove(digest);
        let (_, entry) = self.records.remove(digest)?;
        (entry.life.stamp == before).then(|| entry.record.clone())
    }

    /// Returns the keys with a record that satisfies a condition. This reads all records.
    pub(super) fn select(&self, condition: impl Fn(&Record) -> bool) -> Vec<KeyDigest> {
        let records = self.records.iter().filter(|(_, entry)| condition(&entry.record));
        records.map(|(digest, _)| digest).collect()
    }
}

fn bounded<V: Clone>(capacity: usize) -> Bounded<V> {
    let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
    let lifecycle = quick_cache::sync::DefaultLifecycle::default();
    Cache::with(capacity, weight, UnitWeighter, RandomState::default(), lifecycle)
}
