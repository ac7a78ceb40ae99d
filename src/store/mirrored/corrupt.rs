use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

use crate::{KeyDigest, store::StoreError};

pub(super) type Errors = HashMap<KeyDigest, StoreError, RandomState>;

/// The keys with corrupt rows.
#[derive(Default)]
pub(super) struct Corrupt {
    /// Requests read it, so that they take the lock only if there is such a key.
    is_any: AtomicBool,
    errors: RwLock<Errors>,
}

impl Corrupt {
    /// Returns why the row of a key cannot be read.
    #[inline]
    pub(super) fn get(&self, digest: impl FnOnce() -> KeyDigest) -> Option<StoreError> {
        if !self.is_any.load(Relaxed) {
            return None;
        }
        let errors = self.errors.read().unwrap_or_else(PoisonError::into_inner);
        errors.get(&digest()).cloned()
    }

    /// Marks a key. Returns whether it is new here.
    pub(super) fn insert(&self, digest: KeyDigest, error: StoreError) -> bool {
        let mut is_new = false;
        self.change(|errors| is_new = errors.insert(digest, error).is_none());
        is_new
    }

    /// Replaces all marks. Returns the new errors.
    pub(super) fn replace(&self, new: Errors) -> Vec<StoreError> {
        if new.is_empty() && !self.is_any.load(Relaxed) {
            return Vec::new();
        }
        let mut events = Vec::new();
        self.change(|errors| {
            let added = new.iter().filter(|(digest, _)| !errors.contains_key(*digest));
            events.extend(added.map(|(_, error)| error.clone()));
            *errors = new;
        });
        events
    }

    fn change(&self, change: impl FnOnce(&mut Errors)) {
        let mut errors = self.errors.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut errors);
        self.is_any.store(!errors.is_empty(), Relaxed);
    }

    pub(super) fn remove(&self, digest: &KeyDigest) {
        if self.is_any.load(Relaxed) {
            self.change(|errors| _ = errors.remove(digest));
        }
    }
}
