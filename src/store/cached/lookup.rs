use tokio::time::{Instant, timeout_at};

use super::{CachedEvent, flights::Found, memory::Memory};
use crate::{
    KeyDigest,
    record::Record,
    store::{StoreError, StoreErrorKind, caught::caught},
};

impl Memory {
    /// Asks the store for a key, and keeps its answer. An error is not kept.
    ///
    /// The stamp is from before the call.
    pub(super) async fn look_up(&self, digest: &KeyDigest, stamp: u64, is_known: bool) -> Found {
        let found = match self.ask(digest, is_known).await {
            Ok((asked, record)) => self.learn(digest, record, stamp, asked),
            Err(error) => Err(error),
        };
        #[cfg(feature = "metrics")]
        crate::store::metrics::lookup(
            self.store.name(),
            match &found {
                Ok(Some(_)) => "found",
                Ok(None) => "unknown",
                Err(_) => "failed",
            },
        );
        if let Err(error) = &found {
            self.report(digest, error);
        }
        found
    }

    /// Asks the store, and returns the time before the question.
    async fn ask(
        &self,
        digest: &KeyDigest,
        is_known: bool,
    ) -> Result<(Instant, Option<Record>), StoreError> {
        let deadline = Instant::now() + self.deadline;
        let permit = timeout_at(deadline, self.permits.acquire(is_known));
        let _permit = permit.await.map_err(|_| too_many_lookups())?;
        let asked = Instant::now();
        let find = async { self.store.find(digest).await };
        let find = caught(find, StoreErrorKind::Unavailable, "the store panicked");
        let late = |_| {
            let text = "the store did not answer within the deadline";
            StoreError::new(StoreErrorKind::Unavailable, text)
        };
        Ok((asked, timeout_at(deadline, find).await.map_err(late)??))
    }

    fn learn(
        &self,
        digest: &KeyDigest,
        record: Option<Record>,
        stamp: u64,
        asked: Instant,
    ) -> Found {
        let corrupt = |text| StoreError::new(StoreErrorKind::Corrupt, text);
        if record.as_ref().is_some_and(|record| record.digest() != *digest) {
            return Err(corrupt("the store has returned another record"));
        }
        let valid = record.as_ref().map_or(Ok(()), Record::validate);
        valid.map_err(|error| corrupt("a record is not valid").with_source(error))?;
        // The lock is held until the record is inserted, so that a revocation with an unknown outcome
        // either changes this record or finds it in memory.
        let mut state = self.state();
        state.failures.heal(digest);
        let Some(record) = record else {
            self.answers.insert_unknown(*digest, stamp, asked);
            return Ok(None);
        };
        let (record, event) = state.revoked.keep(record);
        let entry = self.answers.insert(record, stamp, asked);
        drop(state);
        event.iter().for_each(|event| self.emit(event));
        Ok(Some(entry))
    }

    /// Reports a failed lookup, unless it was reported a short time ago.
    pub(super) fn report(&self, digest: &KeyDigest, error: &StoreError) {
        if self.state().failures.is_new(digest, error) {
            self.emit(&match error.kind() {
                StoreErrorKind::Corrupt => CachedEvent::Corrupt(error.clone()),
                _ => CachedEvent::LookupFailed(error.clone()),
            });
        }
    }
}

pub(super) fn too_many_lookups() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "too many keys are being looked up")
}
