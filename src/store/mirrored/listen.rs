use super::{mirror::Mirror, staging::Staging};
use crate::{
    KeyDigest,
    record::Record,
    store::{Cursor, Listener, StoreError, StoreErrorKind},
};

impl Listener for Mirror {
    fn restart(&self) {
        self.heard();
        self.step(|state, _| {
            state.order.restart();
            state.staging = Some(Staging::default());
            state.cursor = None;
        });
    }

    fn record(&self, version: u64, record: Record) {
        self.heard();
        if let Err(error) = record.validate() {
            let text = "a record is not valid";
            let error = StoreError::new(StoreErrorKind::Corrupt, text).with_source(error);
            return self.corrupt(version, record.digest(), error);
        }
        self.step(|state, events| {
            let digest = record.digest();
            if !state.order.accepts_delivery(digest, version) {
                return;
            }
            let Some(staging) = &mut state.staging else {
                return self.put(state, record, None, events);
            };
            if state.records.get(&digest).as_ref() == Some(&record) {
                staging.keep(&digest);
            } else if state.status.is_some() && record.revoked().is_some() {
                // A revocation does not wait for the end of the load.
                self.put(state, record, None, events);
            } else {
                staging.push(record);
            }
        });
    }

    fn removed(&self, version: u64, digest: KeyDigest) {
        self.heard();
        self.step(|state, events| {
            if !state.order.accepts_delivery(digest, version) {
                return;
            }
            match &mut state.staging {
                Some(staging) => staging.remove(&digest),
                None => self.remove(state, &digest, None, events),
            }
        });
    }

    fn corrupt(&self, version: u64, digest: KeyDigest, error: StoreError) {
        self.heard();
        self.step(|state, events| {
            if !state.order.accepts_delivery(digest, version) {
                return;
            }
            match &mut state.staging {
                Some(staging) => staging.set_corrupt(digest, error),
                None => self.set_corrupt(digest, error, events),
            }
        });
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        self.heard();
        let result = self.finish();
        let (was_loaded, result) = self.step(|state, events| {
            let was_loaded = state.status.is_some();
            let result = result.map(|before| {
                state.cursor = cursor.cloned();
                events.extend(self.set_ready(state, before));
            });
            (was_loaded, result)
        });
        if !was_loaded {
            // The handle that waits for it can be gone.
            _ = self.loaded.send(result);
        }
    }
}
