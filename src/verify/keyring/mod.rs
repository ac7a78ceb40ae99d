mod change;
mod index;
mod insert;
mod life;
mod list;
mod read;
mod record;
mod time;

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::SystemTime,
};

pub use self::record::Record;
use self::{
    index::{Index, Slot},
    life::Life,
    record::Entry,
    time::Time,
};
use super::{Presented, Refusal, Verify};
use crate::{
    client::{Client, Identity},
    error::{ConfigError, ConfigErrorKind},
    key::{KeyDigest, KeyFormat, KeyId},
    rejection::Reason,
};

/// The keys that open the door, as digests, each with its client.
///
/// It is a handle: clones share one set of keys, so that one clone goes into the layer and another
/// gives out and revokes keys while requests run. The next request sees a change, and no request
/// ever waits for one. Looking a key up costs one SHA-256 and one look-up, however many there are.
///
/// A keyring without keys refuses everything. A client may have several keys.
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
///
/// # A key's life
///
/// Every key has a [`Record`]: a public id, its digest and client, when it was made and, if it was
/// given them, when it begins and ends. [`issue`](Self::issue) makes a key and a record at once;
/// [`insert`](Self::insert) and [`insert_record`](Self::insert_record) are for keys that there are
/// already. Times are looked at on every request; a key that has none costs no reading of the clock.
///
/// The [manual](crate::guide::_04_keys) says how to rotate a key in production.
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{Client, Keyring, key::KeyFormat};
///
/// let keys = Keyring::new();
/// let first = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app"))?;
///
/// let second = keys.rotate(first.id(), Duration::from_secs(7 * 24 * 60 * 60))?;
/// second.reveal(|key| println!("{key}"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # The id of a key
///
/// Logs and metrics name a key by its public id of eight letters and digits:
///
/// | key | id |
/// |---|---|
/// | minted | a part of the key |
/// | of 22 characters or more, or known by its digest alone | derived from the digest |
/// | shorter | random |
///
/// A derived id is the same after a restart and on every replica. It is a truncated SHA-256 of the digest,
/// so that it tells nothing of a strong key. If two keys of a keyring derive the same id, which chance
/// brings about once in 10^14 pairs, the key that was inserted later gets the next id of its own digest.
/// The order of insertion then decides.
///
/// A shorter key gets a random id, because an attacker could find the key from a derived one by guessing.
/// The id changes at every start, and with the feature `tracing` a warning says so.
///
/// # What time tells
///
/// A key is looked up by the first eight bytes of its digest: a hash of them, with a seed of this
/// keyring's own, says where in the map to look. Then all of the digest is compared in constant time:
/// with the one that was found, or with nobody's where there is none. So the time of a refusal may tell
/// where the look-up led, and whether to a digest with the same eight bytes, but never how much of the
/// others was right. Nothing is to be made of it: from a part of a strong key's digest there is no way
/// back to the key, and all of it opens nothing.
///
/// A key that is unknown, revoked, expired or not yet valid is refused in the same steps, but for those
/// of the clock, which is read for a key with times, and of the map, whose look-up may end at an empty
/// place. The processor's caches are another matter: whoever presents the very key may see that it was
/// one. What is refused for its length or its [`format`](Self::format) takes the same time whatever keys
/// there are.
pub struct Keyring<C = Client> {
    shared: Arc<Shared<C>>,
    formats: Arc<[KeyFormat]>,
    clock: Option<Arc<Clock>>,
}

/// The target of log lines about keys that were inserted.
#[cfg(feature = "tracing")]
const TARGET: &str = "tower_api_key::keyring";

type Clock = dyn Fn() -> SystemTime + Send + Sync;

struct Shared<C> {
    /// Read by requests, without a lock.
    keys: papaya::HashMap<KeyDigest, Kept<C>, foldhash::fast::RandomState>,
    /// Held by whoever changes something, and never by a request.
    index: Mutex<Index<C>>,
    /// How many of the keys are revoked.
    revoked: AtomicUsize,
    /// What a key that is not there is held against, so that it takes the same steps as one that is. It
    /// lies in memory as those do: a constant would be compared in fewer.
    nobody: (KeyDigest, Life),
}

/// What is held of a key beside its digest.
#[derive(Clone)]
struct Kept<C> {
    id: KeyId,
    entry: Entry<C>,
}

impl Keyring {
    /// A keyring with one key, whose client is called `default`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert). An empty key is one of them.
    pub fn single(key: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let keys = Self::new();
        keys.insert(key, Client::new("default"))?;
        Ok(keys)
    }
}

impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// A keyring without keys, which refuses everything.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            // Changes wait for one another anyway, and a table that is half copied is read twice.
            keys: papaya::HashMap::builder()
                .resize_mode(papaya::ResizeMode::Blocking)
                .hasher(foldhash::fast::RandomState::default())
                .build(),
            index: Mutex::new(Index::new()),
            revoked: AtomicUsize::new(0),
            nobody: (KeyDigest::from_bytes([0; 32]), Life::default()),
        };
        Self { shared: Arc::new(shared), formats: Arc::default(), clock: None }
    }

    /// Adds a format that keys have. What has none of them is refused before it is hashed and looked
    /// up, with the answer of any wrong key: a typo, a part of a key, somebody else's key. It is also
    /// refused when it is inserted. Without a format any key works.
    ///
    /// This is of the handle: clones made before do not have it.
    ///
    /// ```
    /// use tower_api_key::{Keyring, key::KeyFormat};
    ///
    /// let keys: Keyring =
    ///     Keyring::new().format(KeyFormat::new("sk_live")?).format(KeyFormat::new("sk_test")?);
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats = self.formats.iter().cloned().chain([format]).collect();
        self
    }

    /// Sets the clock, for tests. Requests ask it only for keys that have times, and changes for what
    /// they note; it must not use the keyring itself. As with
    /// [`format`](Self::format), clones made before do not have it.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use tower_api_key::Keyring;
    ///
    /// let keys: Keyring = Keyring::new().clock(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    /// ```
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(now));
        self
    }

    /// [`Verify::or`], without importing the trait.
    pub fn or<V>(self, next: V) -> super::Or<Self, V>
    where
        V: Verify,
        V::Answer: super::Answer<Client = C>,
    {
        Verify::or(self, next)
    }

    /// Whether a key is of a form that was asked for. It looks at nothing but the key.
    fn check_form(&self, key: &[u8]) -> Result<(), ConfigError> {
        let mut wrong = None;
        for format in &*self.formats {
            match format.parse(key) {
                Ok(_) => return Ok(()),
                // The checksum is only looked at where the prefix is right, so it says most.
                Err(error) if error.kind() == ConfigErrorKind::Checksum => wrong = Some(error),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    fn now(&self) -> Time {
        self.clock.as_ref().map_or_else(SystemTime::now, |clock| clock()).into()
    }
}

impl<C: Clone + Send + Sync + 'static> Verify for Keyring<C> {
    type Answer = Result<C, Refusal>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        if !self.formats.is_empty() && self.check_form(key.expose()).is_err() {
            return Err(Refusal::unknown());
        }
        let digest = key.digest();
        let keys = self.shared.keys.pin();
        let found = keys.get_key_value(&Slot::of(&digest));
        // From here on all refusals take the same steps, but for the clock's. `benches/counts/run equal`
        // counts them: words that mean the same may be compiled to more branches.
        let (stored, id, life) = match found {
            Some((stored, kept)) => (stored, Some(kept.id), &kept.entry.life),
            None => (&self.shared.nobody.0, None, &self.shared.nobody.1),
        };
        let is_it = digest == *stored;
        let refused = life.refused(|| self.now());
        let refused = if is_it { refused } else { Some(Reason::Unknown) };
        match (refused, found) {
            (None, Some((_, kept))) => Ok(kept.entry.client.clone()),
            (reason, _) => Err(Refusal::of_key(reason, id.filter(|_| is_it))),
        }
    }
}

impl<C: Clone + 'static> Kept<C> {
    fn new(id: KeyId, mut entry: Entry<C>, now: Time) -> Self {
        entry.created = entry.created.or(now.min(entry.life.expires));
        if let Some(client) = (&mut entry.client as &mut dyn Any).downcast_mut::<Client>() {
            client.stamp(id);
        }
        Self { id, entry }
    }

    fn record(&self, digest: KeyDigest) -> Record<C> {
        Record { id: Some(self.id), digest, entry: self.entry.clone() }
    }

    fn is_live_of(&self, client: &str) -> bool
    where
        C: Identity,
    {
        self.entry.client.id() == client && !self.entry.life.is_revoked()
    }
}

impl<C: Clone + Send + Sync + 'static> Default for Keyring<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Clone for Keyring<C> {
    fn clone(&self) -> Self {
        let (shared, formats) = (Arc::clone(&self.shared), Arc::clone(&self.formats));
        Self { shared, formats, clock: self.clock.clone() }
    }
}

/// The number of keys, and their formats.
impl<C: Clone + Send + Sync + 'static> fmt::Debug for Keyring<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("len", &self.len())
            .field("formats", &self.formats)
            .finish_non_exhaustive()
    }
}
