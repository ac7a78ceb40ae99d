use std::{
    any::Any,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::RandomState;
use papaya::Equivalent;

use super::stored_key::StoredKey;
use crate::{
    client::Client,
    error::{KeyringError, KeyringErrorKind},
    key::{KeyDigest, KeyFormat, KeyId, MintedKey},
};

/// Finds keys by client and by id, so that a change does not read all keys.
pub(super) struct Index<C> {
    /// Reads the id of a client. It is known for [`Client`] from the start, and for others after
    /// [`build`](Self::build).
    id_of: Option<fn(&C) -> &str>,
    /// A seeded hash of the client's id with the slot of one of its keys. Two clients may share a hash,
    /// so the caller compares the id as well.
    by_client: BTreeSet<(u64, u64)>,
    by_id: HashMap<KeyId, u64, RandomState>,
    seed: RandomState,
    /// The last format, which keys that are inserted one after another share.
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

    /// Returns an empty index for the same client type, with room for so many keys.
    pub(super) fn with_capacity(&self, keys: usize) -> Self {
        let mut index = Self::of(self.id_of);
        index.by_id.reserve(keys);
        index
    }

    /// Drops the part by client until [`build`](Self::build), and makes room for more keys.
    #[cfg(feature = "store")]
    pub(super) fn without_clients(&mut self, keys: usize) {
        (self.id_of, self.by_client) = (None, BTreeSet::new());
        self.by_id.reserve(keys);
    }

    /// Adds the keys of all clients to an empty index. All at once takes a fraction of the time.
    pub(super) fn add_clients<'a>(&mut self, keys: impl Iterator<Item = (&'a C, u64)>) {
        let hashes = keys.filter_map(|(client, slot)| Some((self.hash(client)?, slot)));
        self.by_client = hashes.collect();
    }

    /// Adds an id, unless another key has it.
    pub(super) fn insert_unique(&mut self, id: KeyId, slot: u64) -> Result<(), KeyringError> {
        match self.by_id.insert(id, slot) {
            None => Ok(()),
            Some(_) => Err(KeyringErrorKind::DuplicateKeyId.into()),
        }
    }

    pub(super) fn knows(&self, id: KeyId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Returns the key with this id.
    pub(super) fn find(&self, id: &str) -> Option<Slot> {
        self.by_id.get(&KeyId::parse(id).ok()?).copied().map(Slot)
    }

    /// Returns the keys of this client, and perhaps keys of another client with the same hash.
    pub(super) fn of_client(&self, id: &str) -> impl Iterator<Item = Slot> {
        let client = self.seed.hash_one(id);
        self.by_client.range((client, 0)..=(client, u64::MAX)).map(|(_, slot)| Slot(*slot))
    }

    pub(super) fn add(&mut self, key: &StoredKey<C>, slot: u64) {
        let client = self.hash(&key.entry.client);
        self.by_id.insert(key.id, slot);
        self.by_client.extend(client.map(|client| (client, slot)));
    }

    pub(super) fn forget(&mut self, key: &StoredKey<C>, slot: u64) {
        let client = self.hash(&key.entry.client);
        self.by_id.remove(&key.id);
        if let Some(client) = client {
            self.by_client.remove(&(client, slot));
        }
    }

    /// Moves a key from one client to another.
    pub(super) fn move_key(&mut self, from: &C, to: &C, slot: u64) {
        if let (Some(from), Some(to)) = (self.hash(from), self.hash(to)) {
            self.by_client.remove(&(from, slot));
            self.by_client.insert((to, slot));
        }
    }

    fn hash(&self, client: &C) -> Option<u64> {
        Some(self.seed.hash_one(self.id_of?(client)))
    }

    /// Builds the part by client, if there is none.
    pub(super) fn build<'a>(
        &mut self,
        id_of: fn(&C) -> &str,
        keys: impl Iterator<Item = (&'a KeyDigest, &'a StoredKey<C>)>,
    ) {
        if self.id_of.is_none() {
            let hash = |client| self.seed.hash_one(id_of(client));
            let theirs = keys.map(|(digest, key)| (hash(&key.entry.client), digest.slot()));
            self.by_client = theirs.collect();
            self.id_of = Some(id_of);
        }
    }

    /// Returns a random id that no key has.
    pub(super) fn free_id(&self) -> Result<KeyId, KeyringError> {
        loop {
            let id = KeyId::random()?;
            if !self.knows(id) {
                return Ok(id);
            }
        }
    }

    /// Returns the id that is derived from a digest. If another key has it, the next attempt is taken.
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

    /// Mints a key with an id that no other key has.
    pub(super) fn mint(&self, format: &KeyFormat) -> Result<MintedKey, KeyringError> {
        loop {
            let minted = format.mint()?;
            if !self.knows(minted.key_id()) {
                return Ok(minted);
            }
        }
    }

    /// Returns an equal format, in the memory of the last one if that is equal.
    pub(super) fn share(&mut self, format: KeyFormat) -> KeyFormat {
        match &self.format {
            Some(last) if *last == format => last.clone(),
            _ => self.format.insert(format).clone(),
        }
    }
}

/// The first quarter of a digest, by which a map or an index finds a key.
///
/// No two keys of a keyring share it. The second is rejected as a duplicate, which chance brings about
/// once in 2^64 pairs. A request compares the whole digest afterwards.
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
