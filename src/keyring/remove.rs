use std::{collections::HashMap, sync::atomic::Ordering};

use foldhash::fast::RandomState;

use super::{Keyring, index::Index, stored_key::StoredKey};
use crate::{
    error::{KeyringError, KeyringErrorKind::DuplicateKey},
    key::KeyDigest,
    record::Record,
};

type Digests = HashMap<u64, KeyDigest, RandomState>;

/// Changes to the set of keys.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Removes a key completely and returns its client. The key can be inserted again.
    ///
    /// If the key must not come back, use [`revoke_key`](Self::revoke_key).
    pub fn remove(&self, digest: &KeyDigest) -> Option<C> {
        let mut index = self.index();
        self.forget(&mut index, digest).map(|key| key.entry.client)
    }

    /// Removes each key whose client the closure does not want, and returns the number of removed keys.
    ///
    /// It reads every key, and it leaves revoked keys.
    pub fn retain(&self, mut wanted: impl FnMut(&C) -> bool) -> usize {
        let is_live = |key: &StoredKey<C>| !key.is_revoked();
        self.forget_where(|key| is_live(key) && !wanted(&key.entry.client), is_live)
    }

    /// Removes the keys that are revoked or have expired, and returns their number. It reads every key.
    ///
    /// A pruned key is unknown. If the keyring is before another verifier
    /// ([`or`](crate::verify::Verify::or)), that verifier is then asked about it and can accept it. Revoke
    /// the key there first.
    pub fn prune(&self) -> usize {
        let now = self.now().into();
        let is_dead = |key: &StoredKey<C>| key.entry.validity.is_dead(now);
        self.forget_where(is_dead, is_dead)
    }

    /// Replaces the set of keys.
    ///
    /// Keys that are in both sets stay valid throughout. Keys that are not in the new set are removed
    /// completely. If a record has no id, it gets the id that its key has now. Each key changes on its
    /// own, so that a request can use a new key while an old key still works.
    ///
    /// # Errors
    ///
    /// Returns an error for the first record that [`insert_record`](Self::insert_record) would not take,
    /// with its number. The first record is entry 1. The keyring stays as it is then.
    pub fn replace(
        &self,
        records: impl IntoIterator<Item = Record<C>>,
    ) -> Result<(), KeyringError> {
        // The iterator may use this keyring, so it runs before the lock is taken.
        let mut records: Vec<_> = records.into_iter().collect();
        let mut index = self.index();
        let keys = self.shared.keys.pin();
        let now = self.now().into();
        let mut next = index.with_capacity(records.len());
        let mut digests = Digests::with_capacity_and_hasher(records.len(), RandomState::default());
        for (number, record) in (1..).zip(&mut records) {
            let slot = record.digest.slot();
            let mut insert = || {
                record.validate()?;
                if digests.insert(slot, record.digest).is_some() {
                    return Err(DuplicateKey.into());
                }
                let known = record.id.or_else(|| keys.get(&record.digest).map(|key| key.id));
                let id = known.unwrap_or_else(|| next.derived_id(&record.digest));
                record.id = Some(id);
                next.insert_unique(id, slot)
            };
            insert().map_err(|error: KeyringError| error.in_entry(number))?;
        }
        next.add_clients(records.iter().map(|record| (record.client(), record.digest.slot())));

        let revoked = records.iter().filter(|record| record.revoked().is_some()).count();
        keys.reserve(records.len().saturating_sub(keys.len()));
        for Record { id, digest, entry } in records {
            if let Some(id) = id {
                keys.insert(digest, StoredKey::new(id, entry, now));
            }
        }
        keys.retain(|digest, _| digests.get(&digest.slot()) == Some(digest));
        self.shared.revoked.store(revoked, Ordering::Relaxed);
        *index = next;
        Ok(())
    }

    fn forget(&self, index: &mut Index<C>, digest: &KeyDigest) -> Option<StoredKey<C>> {
        let keys = self.shared.keys.pin();
        let key = keys.get(digest)?;
        index.forget(key, digest.slot());
        keys.remove(digest);
        self.shared.revoked.fetch_sub(key.is_revoked().into(), Ordering::Relaxed);
        Some(key.clone())
    }

    /// Calls `unwanted` before the lock is taken, because a closure may use this keyring. It calls
    /// `still` under the lock, because another change may have come between.
    fn forget_where(
        &self,
        mut unwanted: impl FnMut(&StoredKey<C>) -> bool,
        still: impl Fn(&StoredKey<C>) -> bool,
    ) -> usize {
        let keys = self.shared.keys.pin();
        let unwanted = keys.iter().filter(|(_, key)| unwanted(key)).map(|(digest, _)| *digest);
        let unwanted: Vec<_> = unwanted.collect();
        let mut index = self.index();
        let unwanted = unwanted.iter().filter(|digest| keys.get(*digest).is_some_and(&still));
        unwanted.filter_map(|digest| self.forget(&mut index, digest)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn a_digest_that_shares_its_slot_is_an_error_so_that_a_revocation_finds_every_key() {
        let [one, two] = [1, 2].map(|last| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            KeyDigest::from_bytes(bytes)
        });
        let keys = Keyring::new();
        keys.insert_digest(one, Client::new("a")).unwrap();
        let refused = keys.insert_digest(two, Client::new("b")).unwrap_err();
        assert_eq!(refused.kind(), DuplicateKey);
        assert!(keys.remove(&two).is_none());
        assert_eq!((keys.revoke_client("b"), keys.revoke_client("a"), keys.len()), (0, 1, 0));

        keys.replace([Record::new(two, Client::new("b"))]).unwrap();
        assert_eq!(keys.records().count(), 1);
        assert_eq!((keys.revoke_client("a"), keys.revoke_client("b")), (0, 1));
    }
}
