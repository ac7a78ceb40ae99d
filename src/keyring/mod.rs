mod builder;
mod change;
mod index;
mod insert;
mod list;
#[cfg(feature = "store")]
mod load;
mod put;
mod read;
mod remove;
mod stored_key;
mod verify;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::SystemTime,
};

pub use self::builder::KeyringBuilder;
use self::{index::Index, stored_key::StoredKey};
use crate::{
    client::Client,
    error::{KeyringError, ParseKeyError},
    key::{KeyDigest, KeyFormat},
    record::Validity,
};

/// Records of keys in memory, which change while requests run.
///
/// A keyring stores the digest of each key and never the key. It is a handle, and clones share one set of
/// keys. Put one clone into the layer, and use another to issue and revoke keys while requests run. The
/// next request sees a change, and no request waits for a change. A look-up costs one SHA-256 and one
/// look-up in a map, and does not depend on the number of keys.
///
/// A keyring without keys rejects every key. A client may have several keys.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
///
/// let keys = Keyring::new();
/// keys.insert("sk_live_0123456789abcdef", Client::new("mobile-app").with_scopes(["reports:read"]))?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
///
/// assert_eq!(keys.revoke_client("mobile-app"), 1);      // from the next request on
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// If the compiler cannot infer the client type, write `Keyring::<Client>::new()`.
///
/// # Issue, rotate and revoke keys
///
/// Each key has a [`Record`](crate::record::Record): a public id, the digest, the client, times and state.
/// [`issue`](Self::issue) mints a key and inserts its record. If a key exists already, use
/// [`insert`](Self::insert) or [`insert_record`](Self::insert_record). A request reads the clock only if
/// the key has times.
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
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// The [manual](crate::guide::_04_keys) says how to rotate a key in production.
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
/// and does not reveal a strong key. Two keys of a keyring derive the same id once in 10^14
/// pairs. The key that was inserted later then gets the next id of its own digest, so that the order of
/// insertion decides.
///
/// A shorter key gets a random id, because an attacker could find the key from a derived one by guessing.
/// The id changes at every start, and with the feature `tracing` a warning says so.
///
/// # Timing side channels
///
/// The keyring looks a key up by a hash of the first eight bytes of its digest. The seed of the hash is
/// secret. Then the keyring compares the whole digest in constant time. If no key matches, it compares a
/// dummy entry. So the time of a rejection can tell where the look-up led, and whether a digest has the
/// same eight bytes. It never tells how many of the other bytes match. This is not exploitable, because a
/// part of a strong key's digest does not lead to the key.
///
/// Unknown, revoked, paused, expired and not yet valid keys take the same steps, with two exceptions. The
/// clock is read only for a key with times, and the map can find an empty slot sooner. The processor's
/// caches can tell a caller who presents the very key that it was a key. If a key is rejected for its
/// length or its [format](KeyringBuilder::format), the time does not depend on the keys of the keyring.
pub struct Keyring<C = Client> {
    shared: Arc<Shared<C>>,
}

/// The target of log events about keys that are inserted.
#[cfg(feature = "tracing")]
const TARGET: &str = "tower_api_key::keyring";

type Clock = dyn Fn() -> SystemTime + Send + Sync;

struct Shared<C> {
    /// Requests read this without a lock.
    keys: papaya::HashMap<KeyDigest, StoredKey<C>, foldhash::fast::RandomState>,
    /// A change holds this lock, and a request never does.
    index: Mutex<Index<C>>,
    /// The number of keys that are revoked.
    revoked: AtomicUsize,
    /// A dummy entry that is used if no key matches, so that both cases take the same steps. It is in
    /// memory like the keys, because a constant would be compared in fewer steps.
    dummy: (KeyDigest, Validity),
    formats: Box<[KeyFormat]>,
    clock: Option<Box<Clock>>,
}

impl Keyring {
    /// Creates a keyring with one key, whose client has the id `default`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert). An empty key is one of them.
    pub fn single(key: impl AsRef<[u8]>) -> Result<Self, KeyringError> {
        let keys = Self::new();
        keys.insert(key, Client::new("default"))?;
        Ok(keys)
    }
}

impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Creates a keyring without keys, which rejects every key.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Box::default(), None)
    }

    /// Creates a builder, for a keyring with key formats or a clock of its own.
    ///
    /// ```
    /// use tower_api_key::{Client, Keyring, key::KeyFormat};
    ///
    /// let format = KeyFormat::new("sk_live")?;
    /// let keys = Keyring::builder().format(format.clone()).build();
    /// let minted = keys.issue(&format, Client::new("mobile-app"))?;
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn builder() -> KeyringBuilder<C> {
        KeyringBuilder::new()
    }

    fn with(formats: Box<[KeyFormat]>, clock: Option<Box<Clock>>) -> Self {
        let shared = Shared {
            // Changes are serialized anyway, and a table that is half copied would be read twice.
            keys: papaya::HashMap::builder()
                .resize_mode(papaya::ResizeMode::Blocking)
                .hasher(foldhash::fast::RandomState::default())
                .build(),
            index: Mutex::new(Index::new()),
            revoked: AtomicUsize::new(0),
            dummy: (KeyDigest::from_bytes([0; 32]), Validity::unknown()),
            formats,
            clock,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Checks that a key has one of the formats. It reads only the key.
    fn check_form(&self, key: &[u8]) -> Result<(), ParseKeyError> {
        KeyFormat::check(&self.shared.formats, key)
    }

    fn now(&self) -> SystemTime {
        self.shared.clock.as_ref().map_or_else(SystemTime::now, |clock| clock())
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

/// The number of keys, and their formats.
impl<C: Clone + Send + Sync + 'static> fmt::Debug for Keyring<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("len", &self.len())
            .field("formats", &self.shared.formats)
            .finish_non_exhaustive()
    }
}
