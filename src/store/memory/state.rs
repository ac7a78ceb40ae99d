use std::collections::{BTreeMap, HashMap};

use crate::{
    KeyDigest,
    record::Record,
    store::{Page, StoreError, StoreErrorKind, Target, Write},
};

/// The rows of the store.
#[derive(Default)]
pub(super) struct State {
    version: u64,
    rows: HashMap<KeyDigest, Row>,
    ids: BTreeMap<String, KeyDigest>,
    /// The last write of each key. A removed key stays here.
    log: BTreeMap<u64, KeyDigest>,
}

struct Row {
    version: u64,
    /// `None` if the record was removed.
    record: Option<Record>,
}

/// A state of a key for a follower, with its version.
pub(super) enum Delivery {
    Record(u64, Record),
    Removed(u64, KeyDigest),
}

impl State {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn find(&self, digest: &KeyDigest) -> Option<Record> {
        self.rows.get(digest)?.record.clone()
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        self.ids.values().filter_map(|digest| self.find(digest))
    }

    pub(super) fn list(&self, page: &Page) -> Vec<Record> {
        self.records().filter(|record| page.contains(record)).take(page.limit()).collect()
    }

    pub(super) fn select(&self, target: &Target) -> Vec<Record> {
        match target {
            Target::Digests(digests) => {
                digests.iter().filter_map(|digest| self.find(digest)).collect()
            }
            Target::KeyId(id) => {
                self.ids.get(id).and_then(|digest| self.find(digest)).into_iter().collect()
            }
            Target::Client(_) | Target::DeadBefore(_) => {
                self.records().filter(|record| target.contains(record)).collect()
            }
        }
    }

    /// Makes all writes or none, and returns the version.
    pub(super) fn write(&mut self, writes: &[Write]) -> Result<u64, StoreError> {
        if writes.is_empty() {
            return Ok(self.version);
        }
        if writes.iter().any(|write| self.conflicts(write, writes)) {
            let text = "another key has this digest or id";
            return Err(StoreError::new(StoreErrorKind::Conflict, text));
        }
        let first = self.version + 1;
        for write in writes {
            self.version += 1;
            let (digest, record) = match write {
                Write::Insert(record) | Write::Update(record) => {
                    (record.digest(), Some(record.clone()))
                }
                Write::Remove(digest) => (*digest, None),
            };
            if let Some(old) = self.rows.get(&digest) {
                self.log.remove(&old.version);
                if let Some(id) = old.record.as_ref().and_then(Record::id) {
                    self.ids.remove(id);
                }
            }
            if let Some(id) = record.as_ref().and_then(Record::id) {
                self.ids.insert(id.to_owned(), digest);
            }
            self.log.insert(self.version, digest);
            self.rows.insert(digest, Row { version: self.version, record });
        }
        Ok(first)
    }

    fn conflicts(&self, write: &Write, all: &[Write]) -> bool {
        let Write::Insert(record) = write else { return false };
        let is_removed = |digest: &KeyDigest| {
            all.iter().any(|write| matches!(write, Write::Remove(removed) if removed == digest))
        };
        let has_id = record.id().and_then(|id| self.ids.get(id));
        has_id.is_some_and(|digest| !is_removed(digest)) || self.find(&record.digest()).is_some()
    }

    /// Returns the last version, and the changes after a version or all records. Removals come first.
    pub(super) fn since(&self, seen: Option<u64>) -> (u64, Vec<Delivery>) {
        let after = seen.unwrap_or_default().saturating_add(1);
        let mut deliveries = Vec::new();
        let changed = self.log.range(after..).filter_map(|(_, digest)| {
            self.rows.get(digest).map(|row| (digest, row.version, &row.record))
        });
        for (digest, version, record) in changed {
            match record {
                Some(record) => deliveries.push(Delivery::Record(version, record.clone())),
                None if seen.is_some() => deliveries.push(Delivery::Removed(version, *digest)),
                None => {}
            }
        }
        deliveries.sort_by_key(|delivery| matches!(delivery, Delivery::Record(..)));
        (self.version, deliveries)
    }
}
