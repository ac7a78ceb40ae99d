use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::SystemTime,
};

use foldhash::fast::RandomState;

use super::CachedEvent;
use crate::{
    KeyDigest,
    record::Record,
    store::{Change, Changed, Target, Write},
};

/// The revocations that this process saw. They hold against the store.
///
/// Memory is bounded. If there are too many keys, the key that was added first is forgotten.
pub(super) struct Revoked {
    keys: HashMap<KeyDigest, Revocation, RandomState>,
    order: VecDeque<KeyDigest>,
    capacity: usize,
    /// Revocations by this process whose outcome is unknown.
    doubts: Vec<Doubt>,
}

struct Revocation {
    at: SystemTime,
    /// Whether it is reported that the store has the key as not revoked.
    is_reported: bool,
}

struct Doubt {
    target: Target,
    at: SystemTime,
    /// Keys that this process issued later.
    later: Vec<KeyDigest>,
}

impl Doubt {
    fn contains(&self, record: &Record) -> bool {
        let is_older = record.created().is_none_or(|created| created <= self.at);
        is_older && self.target.contains(record) && !self.later.contains(&record.digest())
    }
}

impl Revoked {
    pub(super) fn new(capacity: usize) -> Self {
        let (keys, order) = (HashMap::default(), VecDeque::new());
        Self { keys, order, capacity: capacity.max(1), doubts: Vec::new() }
    }

    fn add(&mut self, digest: KeyDigest, at: SystemTime) {
        if self.keys.contains_key(&digest) {
            return;
        }
        if self.order.len() >= self.capacity {
            self.order.pop_front().map(|oldest| self.keys.remove(&oldest));
        }
        self.order.push_back(digest);
        self.keys.insert(digest, Revocation { at, is_reported: false });
    }

    /// Notes a state of a key. If this process saw the key revoked, the returned record is revoked.
    ///
    /// The first contradiction of a key returns an event.
    pub(super) fn keep(&mut self, record: Record) -> (Record, Option<CachedEvent>) {
        let digest = record.digest();
        if record.revoked().is_some() {
            self.note(&record);
            return (record, None);
        }
        if let Some(doubt) = self.doubts.iter().find(|doubt| doubt.contains(&record)) {
            self.add(digest, doubt.at);
        }
        let Some(revocation) = self.keys.get_mut(&digest) else { return (record, None) };
        let is_reported = mem::replace(&mut revocation.is_reported, true);
        let event = (!is_reported).then(|| CachedEvent::StaysRevoked {
            key_id: record.id().unwrap_or_default().to_owned(),
            client: record.client().id().to_owned(),
        });
        (record.with_revoked(revocation.at), event)
    }

    /// Notes the result of a change by this process.
    pub(super) fn commit(&mut self, change: &Change, changed: &Changed) {
        if change.is_revocation() {
            self.resolve(change.target());
        }
        for write in changed.writes() {
            match write {
                Write::Insert(record) => {
                    let doubts = self.doubts.iter_mut().filter(|doubt| doubt.contains(record));
                    doubts.for_each(|doubt| doubt.later.push(record.digest()));
                }
                Write::Update(record) => self.note(record),
                Write::Remove(_) => {}
            }
        }
        changed.unchanged().iter().for_each(|record| self.note(record));
    }

    fn note(&mut self, record: &Record) {
        if let Some(at) = record.revoked() {
            self.add(record.digest(), at);
        }
    }

    /// Notes a revocation by this process whose outcome is unknown.
    pub(super) fn doubt(&mut self, change: &Change) {
        self.resolve(change.target());
        let at = change.time().unwrap_or_else(SystemTime::now);
        self.doubts.push(Doubt { target: change.target().clone(), at, later: Vec::new() });
    }

    fn resolve(&mut self, target: &Target) {
        self.doubts.retain(|doubt| doubt.target != *target);
    }
}
