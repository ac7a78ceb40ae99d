use std::{collections::HashSet, time::SystemTime};

use foldhash::fast::RandomState;

use super::MirroredEvent;
use crate::{
    KeyDigest, Keyring,
    error::KeyringError,
    record::Record,
    store::{
        StoreError, StoreErrorKind,
        key_change::{KeyChange, Own},
    },
};

type Digests = HashSet<KeyDigest, RandomState>;

/// The records in memory, and the revocations seen by this process.
pub(super) struct Records {
    keys: Keyring,
    /// Revoked keys whose record was removed. They stay rejected if their record comes back.
    removed: Digests,
    /// Keys that are revoked here and not in the store. Each is reported once.
    overruled: Digests,
}

impl Records {
    pub(super) fn new(keys: Keyring) -> Self {
        Self { keys, removed: Digests::default(), overruled: Digests::default() }
    }

    pub(super) fn get(&self, digest: &KeyDigest) -> Option<Record> {
        self.keys.record_by_digest(digest)
    }

    /// Inserts or replaces a record. A revoked key stays revoked.
    pub(super) fn put(
        &mut self,
        record: Record,
        own: Option<Own<'_>>,
        events: &mut Vec<MirroredEvent>,
    ) -> Result<(), StoreError> {
        let old = self.get(&record.digest());
        let record = self.keep_revoked(old.as_ref(), record, events);
        let Some(change) = KeyChange::between(old.as_ref(), Some(&record), own) else {
            return Ok(());
        };
        // The store has one key with this id, so the other key is gone there.
        let other = record.id().and_then(|id| self.keys.record(id));
        if let Some(other) = other.filter(|other| other.digest() != record.digest()) {
            self.remove(&other.digest(), own, events);
        }
        self.keys.put_record(record).map_err(invalid)?;
        events.push(MirroredEvent::Changed(change));
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        digest: &KeyDigest,
        own: Option<Own<'_>>,
        events: &mut Vec<MirroredEvent>,
    ) {
        let Some(old) = self.get(digest) else { return };
        if old.revoked().is_some() {
            self.removed.insert(*digest);
        }
        self.keys.remove(digest);
        let change = KeyChange::between(Some(&old), None, own);
        events.extend(change.map(MirroredEvent::Changed));
    }

    /// Revokes a record if this process saw it revoked, against the store.
    fn keep_revoked(
        &mut self,
        old: Option<&Record>,
        record: Record,
        events: &mut Vec<MirroredEvent>,
    ) -> Record {
        let digest = record.digest();
        if record.revoked().is_some() {
            self.overruled.remove(&digest);
            return record;
        }
        let revoked = match old.map(Record::revoked) {
            Some(revoked) => revoked,
            None => self.removed.contains(&digest).then(SystemTime::now),
        };
        let Some(revoked) = revoked else { return record };
        if self.overruled.insert(digest) {
            events.push(MirroredEvent::StaysRevoked {
                key_id: record.id().unwrap_or_default().to_owned(),
                client: record.client().id().to_owned(),
            });
        }
        let (by, reason) = old.map_or((None, None), |old| (old.revoked_by(), old.revoked_reason()));
        record
            .with_revoked(revoked)
            .with_revoked_by(by.unwrap_or_default())
            .with_revoked_reason(reason.unwrap_or_default())
    }
}

pub(super) fn invalid(error: KeyringError) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a record is not valid").with_source(error)
}
