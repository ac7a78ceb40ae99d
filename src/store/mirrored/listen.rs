use super::{mirror::Mirror, records::invalid, staging::Staging};
use crate::{
    KeyDigest,
    record::Record,
    store::{Cursor, Listener, StoreError},
};

impl Listener for Mirror {
    fn restart(&self) {
        self.heard();
        self.step(|state, _| {
            state.order.restart();
            state.cursor = None;
            if state.is_loaded() {
                state.staging = Some(Staging::default());
            } else {
                self.begin_first(state);
            }
        });
    }

    fn expect(&self, records: usize) {
        self.heard();
        self.step(|state, _| {
            if !state.is_loaded() {
                self.keys.begin_load(records);
            }
        });
    }

    fn record(&self, version: u64, record: Record) {
        self.heard();
        self.step(|state, events| {
            let digest = record.digest();
            if !state.order.accepts_delivery(digest, version) {
                return;
            }
            if !state.is_loaded() {
                return self.put_first(state, record, events);
            }
            if let Err(error) = record.validate() {
                return self.stage_corrupt(state, digest, invalid(error), events);
            }
            let Some(staging) = &mut state.staging else {
                return self.put(state, record, None, events);
            };
            match state.records.get(&digest) {
                Some(known) if known == record => staging.keep(&digest),
                // A revocation does not wait for the end of the load.
                _ if record.revoked().is_some() => self.put(state, record, None, events),
                Some(_) => staging.push_changed(record),
                None => staging.push_new(record),
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
            if state.order.accepts_delivery(digest, version) {
                self.stage_corrupt(state, digest, error, events);
            }
        });
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        self.heard();
        let before = self.finish();
        let was_loaded = self.step(|state, events| {
            let was_loaded = state.is_loaded();
            if !was_loaded {
                self.keys.end_load();
            }
            state.cursor = cursor.cloned();
            events.extend(self.set_ready(state, before));
            was_loaded
        });
        if !was_loaded {
            // The handle that waits for it can be gone.
            _ = self.loaded.send(Ok(()));
        }
    }
}
