use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::corrupt::Errors;
use crate::{KeyDigest, record::Record, store::StoreError};

type Slots = HashSet<u64, RandomState>;

/// The number of records for one allocation and one step.
pub(super) const BATCH: usize = 1024;

/// The records of an incomplete load.
///
/// If memory has a record already, the record is only marked. So a second load takes little memory.
#[derive(Default)]
pub(super) struct Staging {
    /// The new and changed records, in the order of their delivery.
    batches: Vec<Vec<Record>>,
    len: usize,
    /// The keys of the store that memory has as well.
    seen: Slots,
    /// Keys whose earlier deliveries do not count, with the value of `len` at that time.
    dropped: HashMap<KeyDigest, usize, RandomState>,
    corrupt: Errors,
}

impl Staging {
    /// Adds a record of a key that memory does not have.
    pub(super) fn push_new(&mut self, record: Record) {
        self.corrupt.remove(&record.digest());
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

    /// Adds a changed record of a key that memory has.
    pub(super) fn push_changed(&mut self, record: Record) {
        self.seen.insert(slot(&record.digest()));
        self.push_new(record);
    }

    /// Marks a key, because memory has its record.
    pub(super) fn keep(&mut self, digest: &KeyDigest) {
        self.corrupt.remove(digest);
        if !self.seen.insert(slot(digest)) {
            self.dropped.insert(*digest, self.len);
        }
    }

    /// Marks a key, because its state in memory is newer.
    pub(super) fn overtake(&mut self, digest: &KeyDigest) {
        self.corrupt.remove(digest);
        self.seen.insert(slot(digest));
        self.dropped.insert(*digest, self.len);
    }

    /// Marks a key as removed.
    pub(super) fn remove(&mut self, digest: &KeyDigest) {
        self.overtake(digest);
        self.seen.remove(&slot(digest));
    }

    /// Marks a key, because its row is corrupt. Its record in memory stays.
    pub(super) fn set_corrupt(&mut self, digest: KeyDigest, error: StoreError) {
        self.overtake(&digest);
        self.corrupt.insert(digest, error);
    }

    /// Completes the load. Of the deliveries of one key, the last one counts.
    pub(super) fn finish(mut self, duplicate: impl Fn() -> StoreError) -> Staged {
        if !self.dropped.is_empty()
            || has_repetitions(self.records().map(|record| slot(&record.digest())))
        {
            self.drop_earlier_deliveries();
        }
        if has_repetitions(self.records().filter_map(id)) {
            self.drop_repeated_ids(duplicate);
        }
        // The first batch is taken first.
        self.batches.reverse();
        let overtaken = HashSet::default();
        Staged { batches: self.batches, seen: self.seen, corrupt: self.corrupt, overtaken }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flatten()
    }

    fn drop_earlier_deliveries(&mut self) {
        let slots = self.records().map(|record| slot(&record.digest()));
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

    fn drop_repeated_ids(&mut self, duplicate: impl Fn() -> StoreError) {
        let mut ids = Slots::default();
        for batch in &mut self.batches {
            batch.retain(|record| {
                let is_new = id(record).is_none_or(|id| ids.insert(id));
                if !is_new {
                    self.corrupt.insert(record.digest(), duplicate());
                }
                is_new
            });
        }
    }
}

/// Returns whether a number comes twice. It takes less memory than a set.
fn has_repetitions(numbers: impl Iterator<Item = u64>) -> bool {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers.windows(2).any(|pair| matches!(pair, [one, two] if one == two))
}

/// Returns the public id as a number.
fn id(record: &Record) -> Option<u64> {
    record.id()?.as_bytes().first_chunk().copied().map(u64::from_ne_bytes)
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
    /// Returns whether the store has a key of memory. Its row may be corrupt.
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
        staging.push_changed(record("a", "old"));
        staging.push_changed(record("a", "new"));
        staging.push_new(record("d", "old and not in memory"));
        staging.push_new(record("d", "new and not in memory"));
        staging.push_new(record("b", "removed"));
        staging.remove(&b);
        staging.push_new(record("c", "back before"));
        staging.remove(&KeyDigest::of("c"));
        staging.push_new(record("c", "back"));
        let (clients, staged) = finish(staging);
        assert_eq!(clients, ["new", "new and not in memory", "back"]);
        assert!(staged.contains(&a) && !staged.contains(&b));
    }

    #[test]
    fn a_key_that_changed_and_changed_back_keeps_its_record_in_memory() {
        let a = KeyDigest::of("a");
        let mut staging = Staging::default();
        staging.push_changed(record("a", "changed"));
        staging.keep(&a);
        let (clients, staged) = finish(staging);
        assert!(clients.is_empty() && staged.contains(&a));
    }

    #[test]
    fn a_corrupt_row_and_the_second_of_two_equal_ids_are_no_records() {
        let mut staging = Staging::default();
        staging.push_new(record("a", "a").with_id("00000001").unwrap());
        staging.push_new(record("b", "b").with_id("00000001").unwrap());
        staging.push_new(record("c", "c"));
        let corrupt = StoreError::new(StoreErrorKind::Corrupt, "a test");
        staging.set_corrupt(KeyDigest::of("c"), corrupt.clone());
        staging.set_corrupt(KeyDigest::of("d"), corrupt);
        staging.push_new(record("d", "healed"));
        let (clients, staged) = finish(staging);
        assert_eq!(clients, ["a", "healed"]);
        assert_eq!(staged.corrupt.len(), 2);
        assert!(["b", "c"].iter().all(|it| staged.corrupt.contains_key(&KeyDigest::of(it))));
        assert!(staged.contains(&KeyDigest::of("c")), "its record in memory stays");
    }

    #[test]
    fn a_key_that_this_process_changes_during_or_after_the_deliveries_is_left_alone() {
        let mut staging = Staging::default();
        staging.push_new(record("c", "older than the change"));
        staging.overtake(&KeyDigest::of("c"));
        staging.push_new(record("a", "a"));
        staging.push_new(record("b", "b"));
        let (_, mut staged) = finish(staging);
        staged.overtake(&KeyDigest::of("a"));
        staged.overtake(&KeyDigest::of("new"));
        assert!(["c", "new"].iter().all(|key| staged.contains(&KeyDigest::of(key))));
        assert_eq!(staged.next_batch().unwrap(), [record("b", "b")]);
        assert!(staged.next_batch().is_none());
    }
}
