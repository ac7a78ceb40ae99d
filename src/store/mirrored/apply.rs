use std::mem;

use super::{
    MirroredEvent,
    key_change::Own,
    mirror::{Mirror, State},
    staging::{Staged, Staging},
};
use crate::{
    KeyDigest,
    record::Record,
    store::{StoreError, StoreErrorKind},
};

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

    /// Completes the first load, before there are requests.
    fn finish_first(&self, staging: Staging) -> Result<(), StoreError> {
        self.step(|state, events| {
            let mut staged = staging.finish(duplicate_id);
            let corrupt = mem::take(&mut staged.corrupt);
            state.records.set_first(staged)?;
            events.extend(self.corrupt.replace(corrupt).into_iter().map(MirroredEvent::Corrupt));
            Ok(())
        })
    }

    /// Completes a further load in steps, so that changes by this process do not wait for all of it.
    ///
    /// An unchanged key is accepted throughout.
    fn finish_again(&self, staging: Staging) {
        let missing = self.step(|state, _| {
            let staged = state.staged.insert(staging.finish(duplicate_id));
            state.records.missing_in(staged)
        });
        for digests in missing.chunks(1024) {
            self.step(|state, events| {
                for digest in digests {
                    // This process may have inserted the key meanwhile.
                    if state.staged.as_ref().is_some_and(|staged| !staged.contains(digest)) {
                        state.records.remove(digest, None, events);
                    }
                }
            });
        }
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

    /// Completes a load, and returns the number of keys before it. Without a load it returns `None`.
    pub(super) fn finish(&self) -> Result<Option<usize>, StoreError> {
        let (staging, is_first) =
            self.step(|state, _| (state.staging.take(), state.status.is_none()));
        let Some(staging) = staging else { return Ok(None) };
        let before = self.keys.len();
        if is_first {
            self.finish_first(staging)?
        } else {
            self.finish_again(staging)
        }
        Ok(Some(before))
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
