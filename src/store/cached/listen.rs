use std::{sync::atomic::Ordering::Relaxed, time::SystemTime};

use super::{CachedEvent, CachedStatus, memory::Memory};
use crate::{
    KeyDigest,
    record::Record,
    store::{Cursor, KeyChange, Listener, Start, StoreError, StoreProblem, follower::Follow},
};

impl Listener for Memory {
    fn restart(&self) {
        self.heard();
        self.state().is_behind = true;
        self.answers.stamps.bump_all();
        self.emit(&CachedEvent::Cleared);
    }

    fn record(&self, _: u64, record: Record) {
        self.heard();
        let (record, event) = self.state().revoked.keep(record);
        let old = self.answers.remove(&record.digest());
        event.iter().for_each(|event| self.emit(event));
        if let Some(change) =
            old.and_then(|old| KeyChange::between(Some(&old), Some(&record), None))
        {
            self.emit(&CachedEvent::Changed(change));
        }
    }

    fn removed(&self, _: u64, digest: KeyDigest) {
        self.heard();
        let old = self.answers.remove(&digest);
        if let Some(change) = KeyChange::between(old.as_ref(), None, None) {
            self.emit(&CachedEvent::Changed(change));
        }
    }

    fn corrupt(&self, _: u64, digest: KeyDigest, error: StoreError) {
        self.heard();
        self.answers.remove(&digest);
        self.report(&digest, &error);
    }

    fn ready(&self, _: Option<&Cursor>) {
        self.heard();
        self.contacts.fetch_add(1, Relaxed);
        let mut state = self.state();
        if std::mem::take(&mut state.is_behind) {
            // Changes since the restart were not delivered one by one.
            self.answers.stamps.bump_all();
        }
        let now = SystemTime::now();
        let event = match &mut state.status {
            Some(status) => {
                status.last_contact = now;
                status.problem.take().map(|_| CachedEvent::Recovered)
            }
            status => {
                *status = Some(CachedStatus { keys: 0, last_contact: now, problem: None });
                // The handle that waits for it can be gone.
                _ = self.opened.send(Ok(()));
                Some(CachedEvent::Opened)
            }
        };
        drop(state);
        #[cfg(feature = "metrics")]
        crate::store::metrics::up(self.store.name(), self.answers.len(), now);
        event.iter().for_each(|event| self.emit(event));
    }
}

impl Follow for Memory {
    fn begin(&self) -> Start {
        self.state().is_behind = true;
        Start::Now
    }

    fn contacts(&self) -> u64 {
        self.contacts.load(Relaxed)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    fn set_broken(&self, error: StoreError) -> bool {
        let mut state = self.state();
        let Some(status) = &mut state.status else {
            _ = self.opened.send(Err(error));
            return true;
        };
        let is_new = StoreProblem::note(&mut status.problem, error.clone());
        drop(state);
        #[cfg(feature = "metrics")]
        crate::store::metrics::down(self.store.name());
        if is_new {
            self.emit(&CachedEvent::Broken(error));
        }
        false
    }
}
