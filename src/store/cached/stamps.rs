use std::{
    array,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire},
    },
};

use crate::KeyDigest;

const LEN: usize = 4096;

/// A counter of changes for each group of keys.
///
/// An entry holds the counter as it was before the store read the record. After a change the counter is
/// another, so that the entry is dead, whenever it is inserted.
pub(super) struct Stamps(Box<[AtomicU64; LEN]>);

impl Stamps {
    pub(super) fn new() -> Self {
        Self(Box::new(array::from_fn(|_| AtomicU64::new(0))))
    }

    #[inline]
    pub(super) fn get(&self, digest: &KeyDigest) -> u64 {
        self.of(digest).map_or(0, |stamp| stamp.load(Acquire))
    }

    /// Ends all entries of this key.
    pub(super) fn bump(&self, digest: &KeyDigest) {
        self.of(digest).map(|stamp| stamp.fetch_add(1, AcqRel));
    }

    /// Ends all entries.
    pub(super) fn bump_all(&self) {
        self.0.iter().for_each(|stamp| _ = stamp.fetch_add(1, AcqRel));
    }

    fn of(&self, digest: &KeyDigest) -> Option<&AtomicU64> {
        self.0.get(digest.slot() as usize % LEN)
    }
}
