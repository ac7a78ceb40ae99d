use std::{
    any::Any,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::RandomState;
use papaya::Equivalent;

use super::Kept;
use crate::{
    client::Client,
    error::{ConfigError, ConfigErrorKind},
    key::{KeyDigest, KeyFormat, KeyId, MintedKey},
};

/// Which keys are whose, and which has which id, so that a change need not look at all of them.
pub(super) struct Index<C> {
    /// How to read a client's id: known for [`Client`], and learnt for others.
    id_of: Option<fn(&C) -> &str>,
    /// A seeded hash of the client's id with the slot of one of its keys. Two clients may share a
    /// hash, so that whoever asks compares the id as well.
    by_client: BTreeSet<(u64, u64)>,
    by_id: HashMap<KeyId, u64, RandomState>,
    seed: RandomState,
    /// The last format that was met, for keys inserted one after another to share.
    format: Option<KeyFormat>,
}

impl<C: 'static> Index<C> {
    pub(super) fn new() -> Self {
        let by_id: fn(&Client) -> &str = Client::id;
        Self::of((&by_id as &dyn Any).downcast_ref().copied())
    }

    fn of(id_of: Option<fn(&C) -> &str>) -> Self {
        let (by_client, by_id) = (BTreeSet::new(), HashMap::default());
        Self { id_of, by_client, by_id, seed: RandomState::default(), format: None }
    }

    /// An index of other keys, of the same type of client.
    pub(super) fn of_others(&self, keys: usize) -> Self {
        let mut index = Self::of(self.id_of);
        index.by_id.reserve(keys);
        index
    }

    /// Adds the keys of all clients at once, to an index that has none: it takes a fraction of the
    /// time of one after another.
    pub(super) fn add_clients<'a>(&mut self, keys: impl Iterator<Item = (&'a C, u64)>) {
        let hashes = keys.filter_map(|(client, slot)| Some((self.hash(client)?, slot)));
        self.by_client = hashes.collect();
    }

    /// Takes an id that no key may have yet.
    pub(super) fn claim(&mut self, id: KeyId, slot: u64) -> Result<(), ConfigError> {
        match self.by_id.insert(id, slot) {
            None => Ok(()),
            Some(_) => Err(ConfigErrorKind::DuplicateKeyId.into()),
        }
    }

    pub(super) fn knows(&self, id: KeyId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The key with this id.
    pub(super) fn find(&self, id: &str) -> Option<Slot> {
        self.by_id.get(&KeyId::parse(id).ok()?).copied().map(Slot)
    }

    /// The keys that may be this client's.
    pub(super) fn of_client(&self, id: &str) -> impl Iterator<Item = Slot> {
        let client = self.seed.hash_one(id);
        self.by_client.range((client, 0)..=(client, u64::MAX)).map(|(_, slot)| Slot(*slot))
    }

    pub(super) fn add(&mut self, kept: &Kept<C>, slot: u64) {
        let client = self.hash(&kept.entry.client);
        self.by_id.insert(kept.id, slot);
        self.by_client.extend(client.map(|client| (client, slot)));
    }

    pub(super) fn forget(&mut self, kept: &Kept<C>, slot: u64) {
        let client = self.hash(&kept.entry.client);
        self.by_id.remove(&kept.id);
        if let Some(client) = client {
            self.by_client.remove(&(client, slot));
        }
    }

    fn hash(&self, client: &C) -> Option<u64> {
        Some(self.seed.hash_one(self.id_of?(client)))
    }

    /// Reads the ids of a client type of somebody's own, the first time they are wanted.
    pub(super) fn learn<'a>(
        &mut self,
        id_of: fn(&C) -> &str,
        keys: impl Iterator<Item = (&'a KeyDigest, &'a Kept<C>)>,
    ) {
        if self.id_of.is_none() {
            let hash = |client| self.seed.hash_one(id_of(client));
            let theirs = keys.map(|(digest, kept)| (hash(&kept.entry.client), digest.slot()));
            self.by_client = theirs.collect();
            self.id_of = Some(id_of);
        }
    }

    /// A random id that no key has.
    pub(super) fn free_id(&self) -> Result<KeyId, ConfigError> {
        loop {
            let id = KeyId::random()?;
            if !self.knows(id) {
                return Ok(id);
            }
        }
    }

    /// The id that a digest gives. If another key has it, the next attempt is taken.
    pub(super) fn derived_id(&self, digest: &KeyDigest) -> KeyId {
        let mut attempt = 0;
        loop {
            let id = KeyId::derived(digest, attempt);
            if !self.knows(id) {
                return id;
            }
            attempt += 1;
        }
    }

    /// A new key, with an id that no key has.
    pub(super) fn mint(&self, format: &KeyFormat) -> Result<MintedKey, ConfigError> {
        loop {
            let minted = format.mint()?;
            if !self.knows(minted.key_id()) {
                return Ok(minted);
            }
        }
    }

    /// The same format, and in the same memory if it is the one of the key before.
    pub(super) fn share(&mut self, format: KeyFormat) -> KeyFormat {
        match &self.format {
            Some(last) if *last == format => last.clone(),
            _ => self.format.insert(format).clone(),
        }
    }
}

/// Finds a key by a quarter of its digest: a presented one, whose digest is then compared, and one that
/// an index names, to spare it the rest. No two keys share it: the second would be refused as a
/// duplicate, which chance brings about once in 2^64 pairs.
pub(super) struct Slot(u64);

impl Slot {
    pub(super) fn of(digest: &KeyDigest) -> Self {
        Self(digest.slot())
    }
}

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
