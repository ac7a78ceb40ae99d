use super::{
    MirroredEvent,
    corrupt::Errors,
    mirror::{Mirror, State},
    records::{Records, invalid},
    staging::{BATCH, Staged, Staging},
};
use crate::{
    KeyDigest,
    record::Record,
    store::{StoreError, StoreErrorKind, key_change::Own},
};

/// The number of parts in which keys are removed after a load.
const PARTS: u8 = 4;

/// Changes to memory. The caller has the lock and reports the events after it.
impl Mirror {
    /// Inserts or replaces a record.
    pub(super) fn put(
        &self,
        state: &mut State,
        record: Record,
        own: Option<Own<'_>>,
        events: &mut Vec<MirroredEvent>,
    ) {
        let digest = record.digest();
        state.overtake(&digest, true);
        match state.records.put(record, own, events) {
            Ok(()) => self.corrupt.remove(&digest),
            Err(error) => self.set_corrupt(digest, error, events),
        }
    }

    pub(super) fn remove(
        &self,
        state: &mut State,
        digest: &KeyDigest,
        own: Option<Own<'_>>,
        events: &mut Vec<MirroredEvent>,
    ) {
        state.overtake(digest, false);
        state.records.remove(digest, own, events);
        self.corrupt.remove(digest);
    }

    /// Marks a key, because its row is corrupt. Its last record stays in memory and is not used.
    pub(super) fn set_corrupt(
        &self,
        digest: KeyDigest,
        error: StoreError,
        events: &mut Vec<MirroredEvent>,
    ) {
        if self.corrupt.insert(digest, error.clone()) {
            events.push(MirroredEvent::Corrupt(error));
        }
    }

    /// Marks a key during a load or outside of one.
    pub(super) fn stage_corrupt(
        &self,
        state: &mut State,
        digest: KeyDigest,
        error: StoreError,
        events: &mut Vec<MirroredEvent>,
    ) {
        match &mut state.staging {
            Some(staging) => staging.set_corrupt(digest, error),
            None => self.set_corrupt(digest, error, events),
        }
    }

    /// Begins the first load, and forgets the records of an incomplete one.
    pub(super) fn begin_first(&self, state: &mut State) {
        state.records = Records::new(self.keys.clone());
        // An empty list has no invalid record.
        _ = self.keys.replace([]);
        self.keys.begin_load(0);
        self.corrupt.replace(Errors::default());
    }

    /// Inserts a record of the first load. There are no requests before its end, so it needs no staging.
    pub(super) fn put_first(
        &self,
        state: &mut State,
        record: Record,
        events: &mut Vec<MirroredEvent>,
    ) {
        let digest = record.digest();
        if state.records.get(&digest).is_some() {
            return self.put(state, record, None, events);
        }
        match self.keys.put_record(record) {
            Ok(_) => self.corrupt.remove(&digest),
            Err(error) => self.set_corrupt(digest, invalid(error), events),
        }
    }

    /// Completes a further load in steps, so that changes by this process do not wait for all of it.
    ///
    /// An unchanged key is accepted throughout.
    fn finish_again(&self, staging: Staging) {
        self.step(|state, _| state.staged = Some(staging.finish(duplicate_id)));
        // A list of all keys would take as much memory as an eighth of the keys.
        (0..PARTS).for_each(|part| self.remove_missing(part));
        while self.step(|state, events| {
            let batch = state.staged.as_mut().and_then(Staged::next_batch);
            let is_any = batch.is_some();
            batch.into_iter().flatten().for_each(|record| put_staged(state, record, events));
            is_any
        }) {}
        self.step(|state, events| {
            let corrupt = state.staged.take().map(|staged| staged.corrupt).unwrap_or_default();
            events.extend(self.corrupt.replace(corrupt).into_iter().map(MirroredEvent::Corrupt));
        });
    }

    /// Removes the keys of one part of all digests that the store does not have any more.
    fn remove_missing(&self, part: u8) {
        let is_missing = |state: &State, digest: &KeyDigest| {
            state.staged.as_ref().is_some_and(|staged| !staged.contains(digest))
        };
        let missing = self.step(|state, _| {
            let is_in_part = |[first, ..]: [u8; 32]| first % PARTS == part;
            self.keys.digests_where(|it| is_in_part(it.to_bytes()) && is_missing(state, it))
        });
        for digests in missing.chunks(BATCH) {
            self.step(|state, events| {
                for digest in digests {
                    // This process may have inserted the key meanwhile.
                    if is_missing(state, digest) {
                        state.records.remove(digest, None, events);
                    }
                }
            });
        }
    }

    /// Completes a load, and returns the number of keys before it. Without a load it returns `None`.
    pub(super) fn finish(&self) -> Option<usize> {
        let staging = self.step(|state, _| state.staging.take())?;
        let before = self.keys.len();
        self.finish_again(staging);
        Some(before)
    }
}

fn put_staged(state: &mut State, record: Record, events: &mut Vec<MirroredEvent>) {
    let digest = record.digest();
    if let Err(error) = state.records.put(record, None, events) {
        if let Some(staged) = &mut state.staged {
            staged.corrupt.insert(digest, error);
        }
    }
}

fn duplicate_id() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "two records have the same public id")
}
