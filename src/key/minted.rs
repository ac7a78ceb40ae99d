use std::fmt;

use zeroize::Zeroizing;

use super::{KeyDigest, KeyFormat, KeyId};

/// A key that was just minted and that can be revealed once.
///
/// The key is wiped from memory after [`reveal`](Self::reveal) or when this value is dropped. A keyring
/// keeps only the digest. If you do not reveal the key, it is lost.
///
/// # Examples
///
/// ```
/// use tower_api_key::{Client, Keyring, key::KeyFormat};
///
/// let keys = Keyring::new();
/// let minted = keys.issue(&KeyFormat::default(), Client::new("ci"))?;
/// assert_eq!(format!("{minted:?}"), format!("MintedKey({:?}, ..)", minted.id()));
/// minted.reveal(|key| println!("{key}"));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[must_use = "a key that is not revealed is lost"]
pub struct MintedKey {
    key: Zeroizing<String>,
    id: KeyId,
    format: KeyFormat,
}

impl MintedKey {
    pub(super) fn new(key: Zeroizing<String>, id: KeyId, format: KeyFormat) -> Self {
        Self { key, id, format }
    }

    /// Returns the public id, which is a part of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Returns the digest, which a keyring or a store keeps.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.key.as_bytes())
    }

    /// Reveals the key once. The closure should pass the key on and keep no copy of it.
    pub fn reveal<T>(self, show: impl FnOnce(&str) -> T) -> T {
        show(&self.key)
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn format(&self) -> &KeyFormat {
        &self.format
    }
}

/// Shows only the id.
impl fmt::Debug for MintedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MintedKey").field(&self.id).finish_non_exhaustive()
    }
}
