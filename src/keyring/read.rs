use std::sync::atomic::Ordering;

use super::Keyring;
use crate::{client::Identity, key::KeyDigest, record::Record};

/// Reading. Requests never wait for it.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Returns the client of each key that is not revoked, in no order.
    ///
    /// A client with two keys comes twice.
    pub fn clients(&self) -> impl Iterator<Item = C> + use<C> {
        let keys = self.shared.keys.pin();
        let live = keys.values().filter(|key| !key.is_revoked());
        let clients: Vec<_> = live.map(|key| key.entry.client.clone()).collect();
        clients.into_iter()
    }

    /// Returns the record of each key, in no order. Revoked and expired keys are included.
    pub fn records(&self) -> impl Iterator<Item = Record<C>> + use<C> {
        let keys = self.shared.keys.pin();
        let records: Vec<_> = keys.iter().map(|(digest, key)| key.record(*digest)).collect();
        records.into_iter()
    }

    /// Returns the digest of each key, in no order. Revoked and expired keys are included.
    pub fn digests(&self) -> impl Iterator<Item = KeyDigest> + use<C> {
        let digests: Vec<_> = self.shared.keys.pin().keys().copied().collect();
        digests.into_iter()
    }

    /// Returns the record of the key with this public id.
    #[must_use]
    pub fn record(&self, key_id: &str) -> Option<Record<C>> {
        let slot = self.index().find(key_id)?;
        let keys = self.shared.keys.pin();
        keys.get_key_value(&slot).map(|(digest, key)| key.record(*digest))
    }

    /// Returns the record of the key with this digest.
    #[must_use]
    pub fn record_by_digest(&self, digest: &KeyDigest) -> Option<Record<C>> {
        self.shared.keys.pin().get(digest).map(|key| key.record(*digest))
    }

    /// Returns whether a client, by its id, has a key that is not revoked.
    ///
    /// If the client type is your own, the first call reads every key.
    #[must_use]
    pub fn contains_client(&self, id: &str) -> bool
    where
        C: Identity,
    {
        let index = self.index_by_client();
        let keys = self.shared.keys.pin();
        index.of_client(id).filter_map(|slot| keys.get(&slot)).any(|key| key.is_live_of(id))
    }

    /// Returns the number of keys that are not revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        // A change may come between the two readings.
        self.shared.keys.len().saturating_sub(self.shared.revoked.load(Ordering::Relaxed))
    }

    /// Returns whether there is no key that is not revoked. The keyring then rejects every key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
