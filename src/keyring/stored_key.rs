use std::any::Any;

use crate::{
    client::{Client, Identity},
    key::{KeyDigest, KeyId},
    record::{Entry, Record, Time},
};

/// The part of a record that is stored beside its digest.
#[derive(Clone)]
pub(super) struct StoredKey<C> {
    pub(super) id: KeyId,
    pub(super) entry: Entry<C>,
}

impl<C: 'static> StoredKey<C> {
    pub(super) fn new(id: KeyId, mut entry: Entry<C>, now: Time) -> Self {
        entry.created = entry.created.or(now.min(entry.validity.expires()));
        if let Some(client) = (&mut entry.client as &mut dyn Any).downcast_mut::<Client>() {
            client.set_key_id(id);
        }
        Self { id, entry }
    }

    pub(super) fn record(&self, digest: KeyDigest) -> Record<C>
    where
        C: Clone,
    {
        Record { id: Some(self.id), digest, entry: self.entry.clone() }
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.entry.validity.is_revoked()
    }

    /// Returns whether the key belongs to this client and is not revoked.
    pub(super) fn is_live_of(&self, client: &str) -> bool
    where
        C: Identity,
    {
        self.entry.client.id() == client && !self.is_revoked()
    }
}
