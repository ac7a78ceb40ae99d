use std::sync::atomic::Ordering;

use super::{Keyring, Record};
use crate::{client::Identity, key::KeyDigest};

/// What it tells of its keys. Requests go on meanwhile.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// The client of every key that is not revoked, in no order: a client with two keys comes twice.
    pub fn clients(&self) -> impl Iterator<Item = C> + use<C> {
        let keys = self.shared.keys.pin();
        let live = keys.values().filter(|kept| !kept.entry.life.is_revoked());
        let clients: Vec<_> = live.map(|kept| kept.entry.client.clone()).collect();
        clients.into_iter()
    }

    /// The record of every key, dead ones included, in no order.
    pub fn records(&self) -> impl Iterator<Item = Record<C>> + use<C> {
        let keys = self.shared.keys.pin();
        let records: Vec<_> = keys.iter().map(|(digest, kept)| kept.record(*digest)).collect();
        records.into_iter()
    }

    /// The record of the key with this public id.
    #[must_use]
    pub fn record(&self, key_id: &str) -> Option<Record<C>> {
        let slot = self.index().find(key_id)?;
        let keys = self.shared.keys.pin();
        keys.get_key_value(&slot).map(|(digest, kept)| kept.record(*digest))
    }

    /// The record of the key with this digest.
    #[must_use]
    pub fn record_of(&self, digest: &KeyDigest) -> Option<Record<C>> {
        self.shared.keys.pin().get(digest).map(|kept| kept.record(*digest))
    }

    /// Whether a client, by its id, has a key that is not revoked. For a client type of your own the
    /// first call looks at every key, to learn the ids.
    #[must_use]
    pub fn contains_client(&self, id: &str) -> bool
    where
        C: Identity,
    {
        let index = self.index_by_client();
        let keys = self.shared.keys.pin();
        index.of_client(id).filter_map(|slot| keys.get(&slot)).any(|kept| kept.is_live_of(id))
    }

    /// How many keys there are that are not revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        // Two counters: a change between the two readings must not make it wrap.
        self.shared.keys.len().saturating_sub(self.shared.revoked.load(Ordering::Relaxed))
    }

    /// Whether there are none, and everything is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
