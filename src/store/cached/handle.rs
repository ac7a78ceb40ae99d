use super::{CachedEvent, Shared, memory::Memory};
use crate::store::{
    Change, Changed, KeyChange, KeyChangeKind, StoreError, StoreErrorKind, Target, Write, changes,
    key_change::Own,
};

impl Shared {
    /// Commits a change and applies it to memory.
    pub(in crate::store) async fn commit(&self, change: Change) -> Result<Changed, StoreError> {
        let memory = &*self.memory;
        let result = changes::commit(&*memory.store, change.clone()).await;
        match &result {
            Ok(changed) => memory.apply(&change, changed),
            Err(error) if error.kind() == StoreErrorKind::OutcomeUnknown => {
                memory.doubt(&change);
                memory.emit(&CachedEvent::OutcomeUnknown(error.clone()));
            }
            Err(_) => {}
        }
        result
    }
}

impl Memory {
    fn apply(&self, change: &Change, changed: &Changed) {
        self.state().revoked.commit(change, changed);
        let own = Own { by: change.by(), reason: change.reason() };
        for write in changed.writes() {
            let (digest, kind) = match write {
                Write::Insert(record) => (record.digest(), KeyChangeKind::Issued),
                Write::Update(record) => (record.digest(), change.kind()),
                Write::Remove(digest) => (*digest, KeyChangeKind::Removed),
            };
            let old = self.answers.remove(&digest);
            let record = match write {
                Write::Insert(record) | Write::Update(record) => Some(record),
                Write::Remove(_) => old.as_ref(),
            };
            if let Some(record) = record {
                self.emit(&CachedEvent::Changed(KeyChange::of(kind, record, own)));
            }
        }
        // Another process was faster, and the store has not delivered its change yet.
        changed.unchanged().iter().for_each(|record| _ = self.answers.remove(&record.digest()));
    }

    /// Forgets the keys of a change whose outcome is unknown. If it revokes keys, they are rejected.
    fn doubt(&self, change: &Change) {
        if change.is_revocation() {
            self.state().revoked.doubt(change);
        }
        let target = change.target();
        let digests = match target {
            Target::Digests(digests) => digests.to_vec(),
            target => self.answers.select(|record| target.contains(record)),
        };
        digests.iter().for_each(|digest| _ = self.answers.remove(digest));
        // A lookup under way may have read the state before. The next caller does not join it.
        self.flights.keys().iter().for_each(|digest| self.answers.stamps.bump(digest));
    }
}
