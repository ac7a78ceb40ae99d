use std::{fmt, str, sync::Arc};

use zeroize::Zeroizing;

use super::{
    KeyId, MintedKey,
    base62::{self, CHECKSUM_LEN},
};
use crate::error::{ConfigError, ConfigErrorKind};

/// What minted keys look like: `prefix_id_secret`, and a checksum right behind the secret.
///
/// ```
/// use tower_api_key::{Client, Keyring, key::KeyFormat};
///
/// let format = KeyFormat::new("sk_live")?;
/// let keys = Keyring::new().format(format.clone());       // anything else is refused early
///
/// let minted = keys.issue(&format, Client::new("mobile-app"))?;
/// println!("{} was issued, and is shown once:", minted.id());
/// minted.reveal(|key| println!("{key}"));                 // sk_live_0a1B2c3D_…
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # Layout
///
/// | part | length | what it is |
/// |---|---|---|
/// | prefix | 1 to 32 | yours: it tells a secret scanner, and a person, whose key it is; `key` by default |
/// | `_` | 1 | |
/// | id | 8 | public and random: logs and lists show it |
/// | `_` | 1 | |
/// | secret | 22 | 131 random bits, from the operating system's source |
/// | checksum | 6 | CRC-32/ISO-HDLC of all bytes before it, most significant digit first, with leading zeros |
///
/// Digits are base62: `0` to `9`, `A` to `Z`, `a` to `z`, in the order of their values. There is
/// nothing but letters, digits and `_`, so that a double click selects the whole key, and it can
/// stand in every place. The [digest](crate::KeyDigest) is over the whole string.
///
/// The checksum finds typos and cut-off keys before anything is looked up, and lets a scanner tell
/// a key from what looks like one. It authenticates nothing.
///
/// # Worked example
///
/// With the prefix `sk_live`, the id `0a1B2c3D` and the secret `4e5F6g7H8i9J0k1L2m3N4o`, the CRC-32 of
/// `sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o` is
/// 492,763,072 = 33 · 62⁴ + 21 · 62³ + 36 · 62² + 11 · 62 + 30, in digits `0XLaBU`:
///
/// ```
/// use tower_api_key::key::KeyFormat;
///
/// let format = KeyFormat::new("sk_live")?;
/// let key = "sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBU";
/// assert_eq!(format.parse(key)?, "0a1B2c3D");
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// Three more that were made without this crate, by Python's `zlib.crc32` (the lines that did it are in
/// `tests/it/key_format.rs`):
///
/// | prefix | key |
/// |---|---|
/// | `key` | `key_00000000_00000000000000000000003U3IkL` |
/// | `acme` | `acme_AbCdEfGh_ZZZZZZZZZZZZZZZZZZZZZZ1hfubi` |
/// | `a` | `a_zzzzzzzz_abcdefghijklmnopqrstuv3X3jW9` |
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyFormat(Arc<Prefix>);

/// One word, so that a million records may each know their format.
#[derive(PartialEq, Eq, Hash)]
struct Prefix(Box<str>);

const MOST_PREFIX: usize = 32;
const SECRET_LEN: usize = 22;

/// From the underscore behind the prefix to the end.
const TAIL_LEN: usize = 1 + KeyId::LEN + 1 + SECRET_LEN + CHECKSUM_LEN;

impl KeyFormat {
    /// A format with a prefix of your own, such as `sk_live` or `acme`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrorKind::KeyPrefix`] for anything but letters and digits, with single underscores
    /// between them, of at most 32 bytes.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, ConfigError> {
        let prefix = prefix.as_ref();
        if is_prefix(prefix.as_bytes()) {
            Ok(Self(Arc::new(Prefix(prefix.into()))))
        } else {
            Err(ConfigError::new(ConfigErrorKind::KeyPrefix))
        }
    }

    /// The prefix, without the underscore behind it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.0
    }

    /// Makes a new key, which no keyring knows yet: [`Keyring::issue`](crate::Keyring::issue) does
    /// both, and [`Record::of`](crate::verify::Record::of) is for more than that.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no random bytes.
    pub fn mint(&self) -> Result<MintedKey, ConfigError> {
        let prefix = self.prefix();
        // Of its final size from the start: a string that grows leaves what it held behind.
        let mut key = Zeroizing::new(String::with_capacity(prefix.len() + TAIL_LEN));
        let id = KeyId::random()?;
        key.push_str(prefix);
        key.push('_');
        key.push_str(id.as_str());
        key.push('_');
        base62::push_random(&mut key, SECRET_LEN)?;
        let checksum = base62::checksum(key.as_bytes());
        key.extend(checksum);
        Ok(MintedKey::new(key, id, self.clone()))
    }

    /// Reads a key's public id, without looking anything up. An `Ok` says that it is well-formed and
    /// not that it opens anything: whoever knows the layout can make such keys.
    ///
    /// # Errors
    ///
    /// For another prefix, another layout, and a wrong checksum: a typo, or a part of a key.
    pub fn parse<'k, K: AsRef<[u8]> + ?Sized>(&self, key: &'k K) -> Result<&'k str, ConfigError> {
        let wrong = |kind| Err(ConfigError::new(kind));
        let key = key.as_ref();
        let Some((prefix, id)) = split(key) else { return wrong(ConfigErrorKind::KeyLayout) };
        if prefix != self.prefix().as_bytes() {
            return wrong(ConfigErrorKind::ForeignKey);
        }
        if !has_checksum(key) {
            return wrong(ConfigErrorKind::Checksum);
        }
        str::from_utf8(id).or(wrong(ConfigErrorKind::KeyLayout))
    }

    /// The regular expression for secret scanners: of any dialect that knows `\b`, which RE2, PCRE and
    /// Hyperscan do. For the prefix `sk_live` it is `\bsk_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{28}\b`.
    #[must_use]
    pub fn pattern(&self) -> String {
        let tail = SECRET_LEN + CHECKSUM_LEN;
        format!(r"\b{}_[0-9A-Za-z]{{{}}}_[0-9A-Za-z]{{{tail}}}\b", self.prefix(), KeyId::LEN)
    }

    /// The format and id of a key that somebody minted, whatever its prefix.
    pub(crate) fn of(key: &[u8]) -> Option<(Self, KeyId)> {
        let (prefix, id) = split(key).filter(|_| has_checksum(key))?;
        Some((Self::new(str::from_utf8(prefix).ok()?).ok()?, KeyId::parse(id).ok()?))
    }
}

/// With the prefix `key`.
impl Default for KeyFormat {
    fn default() -> Self {
        Self(Arc::new(Prefix("key".into())))
    }
}

impl fmt::Debug for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyFormat").field(&self.prefix()).finish()
    }
}

fn is_prefix(text: &[u8]) -> bool {
    text.len() <= MOST_PREFIX
        && text.split(|byte| *byte == b'_').all(|word| !word.is_empty() && base62::are_digits(word))
}

/// Prefix and id, read from the end, where all lengths are known.
fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, tail) = key.split_at_checked(key.len().checked_sub(TAIL_LEN)?)?;
    let (id, secret) = tail.strip_prefix(b"_")?.split_at_checked(KeyId::LEN)?;
    let secret = secret.strip_prefix(b"_")?;
    let fits = is_prefix(prefix) && base62::are_digits(id) && base62::are_digits(secret);
    fits.then_some((prefix, id))
}

fn has_checksum(key: &[u8]) -> bool {
    let (rest, found) = key.split_at(key.len().saturating_sub(CHECKSUM_LEN));
    // Digits are compared, and not numbers: what is above 32 bits was never written.
    base62::checksum(rest).iter().map(|digit| *digit as u8).eq(found.iter().copied())
}
