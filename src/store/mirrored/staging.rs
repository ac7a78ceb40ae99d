use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::corrupt::Errors;
use crate::{KeyDigest, record::Record, store::StoreError};

type Slots = HashSet<u64, RandomState>;

/// The number of records for one allocation and one step.
const BATCH: usize = 1024;

/// The records of an incomplete load.
///
/// If memory has a record already, the record is only marked. So a second load takes little memory.
#[derive(Default)]
pub(super) struct Staging {
    /// The new and changed records, in the order of their delivery.
    batches: Vec<Vec<Record>>,
    len: usize,
    /// The keys of the store.
    seen: Slots,
    /// Keys whose earlier deliveries do not count, with the value of `len` at that time.
    dropped: HashMap<KeyDigest, usize, RandomState>,
    has_duplicates: bool,
    corrupt: Errors,
}

impl Staging {
    /// Adds a new or changed record.
    pub(super) fn push(&mut self, record: Record) {
        let digest = record.digest();
        self.corrupt.remove(&digest);
        self.has_duplicates |= !self.seen.insert(slot(&digest));
        match self.batches.last_mut().filter(|batch| batch.len() < BATCH) {
            Some(batch) => batch.push(record),
            None => {
                let mut batch = Vec::with_capacity(BATCH);
                batch.push(record);
                self.batches.push(batch);
            }
        }
        self.len += 1;
    }

    /// Marks a key, because memory has its record.
    pub(super) fn keep(&mut self, digest: &KeyDigest) {
        self.corrupt.remove(digest);
        if !self.seen.insert(slot(digest)) {
            self.dropped.insert(*digest, self.len);
        }
    }

    /// Marks a key as removed.
    pub(super) fn remove(&mut self, digest: &KeyDigest) {
        self.keep(digest);
        self.seen.remove(&slot(digest));
    }

    /// Marks a key, because its row is corrupt. Its record in memory stays.
    pub(super) fn set_corrupt(&mut self, digest: KeyDigest, error: StoreError) {
        self.keep(&digest);
        self.corrupt.insert(digest, error);
    }

    /// Completes the load. Of the deliveries of one key, the last one counts.
    pub(super) fn finish(mut self, duplicate: impl Fn() -> StoreError) -> Staged {
        if self.has_duplicates || !self.dropped.is_empty() {
            self.drop_earlier_deliveries();
        }
        let mut ids = HashSet::with_capacity_and_hasher(self.len, RandomState::default());
        for batch in &mut self.batches {
            batch.retain(|record| {
                let id = record.id().and_then(|id| id.as_bytes().first_chunk::<8>().copied());
                let is_new = id.is_none() || ids.insert(id);
                if !is_new {
                    self.corrupt.insert(record.digest(), duplicate());
                }
                is_new
            });
        }
        // The first batch is taken first.
        self.batches.reverse();
        let overtaken = HashSet::default();
        Staged { batches: self.batches, seen: self.seen, corrupt: self.corrupt, overtaken }
    }

    fn drop_earlier_deliveries(&mut self) {
        let records = self.batches.iter().flatten();
        let slots = records.map(|record| slot(&record.digest()));
        let last: HashMap<_, _, RandomState> = slots.zip(0..).collect();
        let mut at = 0_usize;
        for batch in &mut self.batches {
            batch.retain(|record| {
                let digest = record.digest();
                let is_dropped = self.dropped.get(&digest).is_some_and(|len| at < *len);
                let is_last = last.get(&slot(&digest)) == Some(&at);
                at += 1;
                is_last && !is_dropped
            });
        }
    }
}

/// A complete load before it is applied. Each key and each id comes once.
pub(super) struct Staged {
    batches: Vec<Vec<Record>>,
    seen: Slots,
    pub(super) corrupt: Errors,
    /// Keys with a later change by this process.
    overtaken: HashSet<KeyDigest, RandomState>,
}

impl Staged {
    /// Returns whether the store has the key. Its row may be corrupt.
    pub(super) fn contains(&self, digest: &KeyDigest) -> bool {
        self.seen.contains(&slot(digest)) || self.overtaken.contains(digest)
    }

    /// Marks a key, because its state in memory is newer.
    pub(super) fn overtake(&mut self, digest: &KeyDigest) {
        self.overtaken.insert(*digest);
        self.corrupt.remove(digest);
    }

    /// Takes some records, until there are none left.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Record>> {
        let mut batch = self.batches.pop()?;
        batch.retain(|record| !self.overtaken.contains(&record.digest()));
        Some(batch)
    }

    /// Takes all records.
    pub(super) fn into_records(self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.batches.iter().map(Vec::len).sum());
        self.batches.into_iter().rev().for_each(|mut batch| records.append(&mut batch));
        records
    }
}

/// Returns the part of a digest for the index of a keyring.
fn slot(digest: &KeyDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.to_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, store::StoreErrorKind};

    fn record(key: &str, client: &str) -> Record {
        Record::new(KeyDigest::of(key), Client::new(client))
    }

    fn finish(staging: Staging) -> (Vec<String>, Staged) {
        let staged = staging.finish(|| StoreError::new(StoreErrorKind::Corrupt, "duplicate"));
        let records = staged.batches.iter().flatten();
        (records.map(|record| record.client().id().to_owned()).collect(), staged)
    }

    #[test]
    fn the_last_delivery_of_a_key_counts() {
        let (a, b) = (KeyDigest::of("a"), KeyDigest::of("b"));
        let mut staging = Staging::default();
        staging.push(record("a", "old"));
        staging.push(record("a", "new"));
        staging.push(record("b", "removed"));
        staging.remove(&b);
        staging.push(record("c", "back before"));
        staging.remove(&KeyDigest::of("c"));
        staging.push(record("c", "back"));
        let (clients, staged) = finish(staging);
        assert_eq!(clients, ["new", "back"]);
        assert!(staged.contains(&a) && !staged.contains(&b));
    }

    #[test]
    fn a_key_that_changed_and_changed_back_keeps_its_record_in_memory() {
        let a = KeyDigest::of("a");
        let mut staging = Staging::default();
        staging.push(record("a", "changed"));
        staging.keep(&a);
        let (clients, staged) = finish(staging);
        assert!(clients.is_empty() && staged.contains(&a));
    }

    #[test]
    fn a_corrupt_row_and_the_second_of_two_equal_ids_are_no_records() {
        let mut staging = Staging::default();
        staging.push(record("a", "a").with_id("00000001").unwrap());
        staging.push(record("b", "b").with_id("00000001").unwrap());
        staging.push(record("c", "c"));
        let corrupt = StoreError::new(StoreErrorKind::Corrupt, "a test");
        staging.set_corrupt(KeyDigest::of("c"), corrupt.clone());
        staging.set_corrupt(KeyDigest::of("d"), corrupt);
        staging.push(record("d", "healed"));
        let (clients, staged) = finish(staging);
        assert_eq!(clients, ["a", "healed"]);
        let corrupt = [KeyDigest::of("b"), KeyDigest::of("c")];
        assert_eq!(staged.corrupt.len(), 2);
        assert!(corrupt.iter().all(|it| staged.corrupt.contains_key(it) && staged.contains(it)));
    }

    #[test]
    fn a_key_that_this_process_changes_meanwhile_is_left_alone() {
        let mut staging = Staging::default();
        staging.push(record("a", "a"));
        staging.push(record("b", "b"));
        let (_, mut staged) = finish(staging);
        staged.overtake(&KeyDigest::of("a"));
        staged.overtake(&KeyDigest::of("new"));
        assert!(staged.contains(&KeyDigest::of("new")));
        assert_eq!(staged.next_batch().unwrap(), [record("b", "b")]);
        assert!(staged.next_batch().is_none());
    }
}
