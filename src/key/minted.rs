use std::fmt;

use zeroize::Zeroizing;

use super::{KeyDigest, KeyFormat, KeyId};

/// A key that was just made, and that nobody has seen yet.
///
/// It can be shown once, by [`reveal`](Self::reveal), and is wiped from memory after that, or when
/// it is dropped. What a keyring keeps of it is the digest: a key that was not shown is lost.
///
/// ```
/// use tower_api_key::{Client, Keyring, key::KeyFormat};
///
/// let keys = Keyring::new();
/// let minted = keys.issue(&KeyFormat::default(), Client::new("ci"))?;
/// assert_eq!(format!("{minted:?}"), format!("MintedKey({:?}, ..)", minted.id()));
/// minted.reveal(|key| println!("{key}"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[must_use = "a key that nobody is shown is lost"]
pub struct MintedKey {
    key: Zeroizing<String>,
    id: KeyId,
    format: KeyFormat,
}

impl MintedKey {
    pub(super) fn new(key: Zeroizing<String>, id: KeyId, format: KeyFormat) -> Self {
        Self { key, id, format }
    }

    /// The public id, which stands in the key as well.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The digest, which is what is stored.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.key.as_bytes())
    }

    /// Shows the key, once. What the closure copies of it, it should hand on and forget.
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

/// The id alone.
impl fmt::Debug for MintedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MintedKey").field(&self.id).finish_non_exhaustive()
    }
}
