use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Presented, Refusal, Verify,
    index::{Index, Slot},
};
use crate::{
    client::{Client, Identity},
    error::{ConfigError, ConfigErrorKind},
    key::{self, KeyDigest},
};

/// The keys that open the door, as digests, each with its client.
///
/// It is a handle: clones share one set of keys, so that one clone goes into the layer and another
/// gives out and revokes keys while requests run. The next request sees a change, and no request
/// ever waits for one. Looking a key up costs one SHA-256 and one look-up, however many there are.
/// Inserting one costs the same at a million keys as at ten; [`revoke`](Self::revoke) and
/// [`remove`](Self::remove) look at the keys of that one client, and [`retain`](Self::retain) at all.
///
/// A keyring without keys refuses everything. A client may have several keys: to rotate one, insert
/// the new, wait until nobody uses the old, and [`remove`](Self::remove) it.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
///
/// let keys = Keyring::new();
/// keys.insert("sk_live_0123456789abcdef", Client::new("mobile-app").scopes(["reports:read"]))?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
///
/// assert_eq!(keys.revoke("mobile-app"), 1);      // from the next request on
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// Where nothing else tells the client's type, it is `Keyring::<Client>::new()`.
pub struct Keyring<C = Client> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    /// Read by requests, without a lock.
    clients: papaya::HashMap<KeyDigest, C, foldhash::fast::RandomState>,
    /// Held by whoever changes something, and never by a request.
    index: Mutex<Index<C>>,
}

impl Keyring {
    /// A keyring with one key, whose client is called `default`.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert): an empty key above all.
    pub fn single(key: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let keys = Self::new();
        keys.insert(key, Client::new("default"))?;
        Ok(keys)
    }

    /// The keys that an environment variable lists: `client=key` or `client=sha256:…`, separated by
    /// commas or line breaks, several for one client if need be. A key that holds a comma, or begins
    /// with `sha256:`, is listed by its digest.
    ///
    /// ```no_run
    /// use tower_api_key::Keyring;
    ///
    /// // API_KEYS="mobile-app=sk_live_…,ci=sha256:9f86d0…"
    /// let keys = Keyring::from_env("API_KEYS")?;
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Where the variable is not set, is not Unicode, or lists no key, and for the first entry that
    /// cannot be used, named by its number. An `Err` is no open door: stop on it.
    pub fn from_env(variable: &str) -> Result<Self, ConfigError> {
        std::env::var(variable)
            .map_err(|_| ConfigError::new(ConfigErrorKind::EnvironmentUnset))
            .and_then(|list| list.parse())
            .map_err(|error| error.in_variable(variable))
    }
}

impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// A keyring without keys, which refuses everything.
    #[must_use]
    pub fn new() -> Self {
        let clients = papaya::HashMap::default();
        Self { shared: Arc::new(Shared { clients, index: Mutex::new(Index::new()) }) }
    }

    /// Adds a key, of which only the digest is kept.
    ///
    /// # Errors
    ///
    /// For a key that is empty, blank, longer than 1,024 bytes, with white space at an edge (pasted,
    /// as a rule) or with a byte outside 0x20 to 0x7E; for the text of a digest (`sha256:…`); for a key
    /// that is there already, whosever it is; for a [`Client`] whose id is blank, or one of whose
    /// scopes is not valid. The error names the position, never the value. Nothing is changed then.
    pub fn insert(&self, key: impl AsRef<[u8]>, client: C) -> Result<(), ConfigError> {
        key::check(key.as_ref())?;
        self.insert_digest(KeyDigest::of(key), client)
    }

    /// Adds a key by its digest.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert), but for the key's own form, which the digest does not show.
    pub fn insert_digest(&self, digest: KeyDigest, client: C) -> Result<(), ConfigError> {
        if let Some(client) = (&client as &dyn Any).downcast_ref::<Client>() {
            client.check()?;
        }
        let mut index = self.index();
        let clients = self.shared.clients.pin();
        if clients.contains_key(&Slot(digest.slot())) {
            return Err(ConfigError::new(ConfigErrorKind::DuplicateKey));
        }
        index.add(&client, digest.slot());
        clients.insert(digest, client);
        Ok(())
    }

    /// Takes a key away, and says whose it was.
    pub fn remove(&self, digest: &KeyDigest) -> Option<C> {
        let mut index = self.index();
        let clients = self.shared.clients.pin();
        let client = clients.remove(digest)?;
        index.forget(client, digest.slot());
        Some(client.clone())
    }

    /// Keeps the keys whose client is wanted, and says how many went. It looks at every key.
    pub fn retain(&self, mut wanted: impl FnMut(&C) -> bool) -> usize {
        // The closure runs before the lock is taken, so that it may use this keyring.
        let clients = self.shared.clients.pin();
        let unwanted =
            clients.iter().filter(|(_, client)| !wanted(client)).map(|(digest, _)| *digest);
        let unwanted: Vec<_> = unwanted.collect();
        let mut index = self.index();
        let removed = unwanted.iter().filter(|digest| clients.remove(*digest).is_some()).count();
        index.renew(clients.iter());
        removed
    }

    /// Takes all keys of a client away, by its id, and says how many there were: none is no error.
    ///
    /// Once this has returned, no request that starts gets in with one of them. Do not count on being
    /// able to insert one of them again: a key that was given up is not to come back.
    ///
    /// For a client type of your own the first call looks at every key, to learn the ids.
    pub fn revoke(&self, id: &str) -> usize
    where
        C: Identity,
    {
        let mut index = self.index_by_id();
        let clients = self.shared.clients.pin();
        let slots = index.take(id);
        let is_theirs = |_: &KeyDigest, client: &C| client.id() == id;
        let removed = slots.iter().map(|slot| clients.remove_if(&Slot(*slot), is_theirs));
        removed.filter(|removed| matches!(removed, Ok(Some(_)))).count()
    }

    /// Whether a client, by its id, has a key. As with [`revoke`](Self::revoke), the first call for
    /// a client type of your own looks at every key.
    #[must_use]
    pub fn contains_client(&self, id: &str) -> bool
    where
        C: Identity,
    {
        self.index_by_id().contains(id)
    }

    /// The client of every key, in no order: a client with two keys comes twice.
    pub fn clients(&self) -> impl Iterator<Item = C> + use<C> {
        let clients: Vec<_> = self.shared.clients.pin().values().cloned().collect();
        clients.into_iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.clients.len()
    }

    /// Whether there are none, and everything is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.clients.is_empty()
    }

    /// [`Verify::or`], without importing the trait.
    pub fn or<V>(self, next: V) -> super::Or<Self, V>
    where
        V: Verify,
        V::Answer: super::Answer<Client = C>,
    {
        Verify::or(self, next)
    }

    /// Changes come one after another; a panic in somebody's `Identity` does not end them for good.
    fn index(&self) -> MutexGuard<'_, Index<C>> {
        self.shared.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Identity + Clone + Send + Sync + 'static> Keyring<C> {
    fn index_by_id(&self) -> MutexGuard<'_, Index<C>> {
        let mut index = self.index();
        index.learn(C::id, self.shared.clients.pin().iter());
        index
    }
}

impl<C: Clone + Send + Sync + 'static> Verify for Keyring<C> {
    type Answer = Result<C, Refusal>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        // The map compares digests as they do themselves: in constant time.
        self.shared.clients.pin().get(&key.digest()).cloned().ok_or_else(Refusal::unknown)
    }
}

impl<C: Clone + Send + Sync + 'static> Default for Keyring<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Clone for Keyring<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// The number of keys alone.
impl<C> fmt::Debug for Keyring<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("len", &self.shared.clients.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_shares_its_slot_is_refused_so_that_revoking_finds_every_key() {
        let [one, two] = [1, 2].map(|last| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            KeyDigest::from_bytes(bytes)
        });
        let keys = Keyring::new();
        keys.insert_digest(one, Client::new("a")).unwrap();
        let refused = keys.insert_digest(two, Client::new("b")).unwrap_err();
        assert_eq!(refused.kind(), ConfigErrorKind::DuplicateKey);
        assert!(keys.remove(&two).is_none());
        assert_eq!((keys.revoke("b"), keys.revoke("a"), keys.len()), (0, 1, 0));
    }
}
