use std::{
    any::Any,
    collections::HashMap,
    hash::{Hash, Hasher},
};

use papaya::Equivalent;

use crate::{client::Client, key::KeyDigest};

/// Which keys are whose, so that revoking need not look at all of them.
pub(super) struct Index<C> {
    /// How to read a client's id: known for [`Client`], and learnt for others.
    id_of: Option<fn(&C) -> &str>,
    slots: HashMap<Box<str>, Vec<u64>>,
}

impl<C: 'static> Index<C> {
    pub(super) fn new() -> Self {
        let by_id: fn(&Client) -> &str = Client::id;
        Self { id_of: (&by_id as &dyn Any).downcast_ref().copied(), slots: HashMap::new() }
    }

    /// Whether the client with this id has a key.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.slots.contains_key(id)
    }

    pub(super) fn add(&mut self, client: &C, slot: u64) {
        let Some(id_of) = self.id_of else { return };
        let id = id_of(client);
        match self.slots.get_mut(id) {
            Some(slots) => slots.push(slot),
            None => drop(self.slots.insert(id.into(), vec![slot])),
        }
    }

    pub(super) fn forget(&mut self, client: &C, slot: u64) {
        let Some(id_of) = self.id_of else { return };
        let id = id_of(client);
        let Some(slots) = self.slots.get_mut(id) else { return };
        slots.retain(|theirs| *theirs != slot);
        if slots.is_empty() {
            self.slots.remove(id);
        }
    }

    /// Forgets all keys of a client, and says where they are.
    pub(super) fn take(&mut self, id: &str) -> Vec<u64> {
        self.slots.remove(id).unwrap_or_default()
    }

    /// Reads the ids of a client type of somebody's own, the first time they are wanted.
    pub(super) fn learn<'a>(
        &mut self,
        id_of: fn(&C) -> &str,
        keys: impl Iterator<Item = (&'a KeyDigest, &'a C)>,
    ) {
        if self.id_of.is_none() {
            *self = Self::of(id_of, keys);
        }
    }

    /// Writes the index anew, where there is one.
    pub(super) fn renew<'a>(&mut self, keys: impl Iterator<Item = (&'a KeyDigest, &'a C)>) {
        if let Some(id_of) = self.id_of {
            *self = Self::of(id_of, keys);
        }
    }

    fn of<'a>(id_of: fn(&C) -> &str, keys: impl Iterator<Item = (&'a KeyDigest, &'a C)>) -> Self {
        let mut index = Self { id_of: Some(id_of), slots: HashMap::new() };
        keys.for_each(|(digest, client)| index.add(client, digest.slot()));
        index
    }
}

/// Finds a key again by a quarter of its digest, to spare the index the rest. No two keys share it:
/// the second would be refused as a duplicate, which chance brings about once in 2^64 pairs.
pub(super) struct Slot(pub(super) u64);

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Equivalent<KeyDigest> for Slot {
    fn equivalent(&self, digest: &KeyDigest) -> bool {
        self.0 == digest.slot()
    }
}
