use std::{fmt, str, sync::Arc};

use zeroize::Zeroizing;

use super::{
    KeyId, MintedKey,
    base62::{self, CHECKSUM_LEN},
};
use crate::error::{KeyringError, ParseFormatError, ParseKeyError, ParseKeyErrorKind};

/// The layout of minted keys: `prefix_id_secret` with a checksum at the end.
///
/// # Example: issue keys with a prefix
///
/// ```
/// use tower_api_key::{Client, Keyring, key::KeyFormat};
///
/// let format = KeyFormat::new("sk_live")?;
/// let keys = Keyring::builder().format(format.clone()).build();       // rejects others early
///
/// let minted = keys.issue(&format, Client::new("mobile-app"))?;
/// println!("issued {}", minted.id());
/// minted.reveal(|key| println!("{key}"));                 // sk_live_0a1B2c3D_…, shown once
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Layout
///
/// | part | length | content |
/// |---|---|---|
/// | prefix | 1 to 32 | your own, so that people and secret scanners know the key; `key` by default |
/// | `_` | 1 | |
/// | id | 8 | public and random, shown in logs and lists |
/// | `_` | 1 | |
/// | secret | 22 | 131 random bits, from the operating system's source |
/// | checksum | 6 | CRC-32/ISO-HDLC of all bytes before it, most significant digit first, with leading zeros |
///
/// Digits are base62: `0` to `9`, `A` to `Z`, `a` to `z`, in the order of their values. A key has only
/// letters, digits and `_`. So a double click selects the whole key, and each location can carry it. The
/// [digest](crate::KeyDigest) covers the whole string.
///
/// The checksum finds typos and cut-off keys before a look-up. It lets a scanner tell a key from a similar
/// text. It does not authenticate a key, because anyone can compute it.
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
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// Three more keys were made by Python's `zlib.crc32`, with the lines in `tests/it/key_format.rs`:
///
/// | prefix | key |
/// |---|---|
/// | `key` | `key_00000000_00000000000000000000003U3IkL` |
/// | `acme` | `acme_AbCdEfGh_ZZZZZZZZZZZZZZZZZZZZZZ1hfubi` |
/// | `a` | `a_zzzzzzzz_abcdefghijklmnopqrstuv3X3jW9` |
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyFormat(Arc<Prefix>);

/// One word in memory, because each record of a million has its format.
#[derive(PartialEq, Eq, Hash)]
struct Prefix(Box<str>);

const MOST_PREFIX: usize = 32;
const SECRET_LEN: usize = 22;

/// The length from the underscore behind the prefix to the end.
const TAIL_LEN: usize = 1 + KeyId::LEN + 1 + SECRET_LEN + CHECKSUM_LEN;

impl KeyFormat {
    /// Creates a format with a prefix of your own, such as `sk_live` or `acme`.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is longer than 32 bytes. It consists of letters and digits, with single
    /// underscores between them.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, ParseFormatError> {
        let prefix = prefix.as_ref();
        if is_prefix(prefix.as_bytes()) {
            Ok(Self(Arc::new(Prefix(prefix.into()))))
        } else {
            Err(ParseFormatError::new())
        }
    }

    /// Returns the prefix, without the underscore behind it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.0
    }

    /// Mints a new key, which is in no keyring yet.
    ///
    /// [`Keyring::issue`](crate::Keyring::issue) mints a key and inserts it. To set an expiry as well, use
    /// [`Record::of`](crate::record::Record::of).
    ///
    /// # Errors
    ///
    /// Returns an error if the operating system gives no random bytes.
    pub fn mint(&self) -> Result<MintedKey, KeyringError> {
        let prefix = self.prefix();
        // A string that grows leaves a copy behind, so it has its final size from the start.
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

    /// Parses a key and returns its public id.
    ///
    /// An `Ok` means that the key is well-formed. It does not mean that the key is valid, because anyone
    /// who knows the layout can write such a key.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix or the layout is another one, or if the checksum is wrong because of
    /// a typo or a cut-off key.
    pub fn parse<'k, K: AsRef<[u8]> + ?Sized>(&self, key: &'k K) -> Result<&'k str, ParseKeyError> {
        let wrong = |kind| Err(ParseKeyError::new(kind));
        let key = key.as_ref();
        let Some((prefix, id)) = split(key) else { return wrong(ParseKeyErrorKind::KeyLayout) };
        if prefix != self.prefix().as_bytes() {
            return wrong(ParseKeyErrorKind::ForeignKey);
        }
        if !has_checksum(key) {
            return wrong(ParseKeyErrorKind::Checksum);
        }
        str::from_utf8(id).or(wrong(ParseKeyErrorKind::KeyLayout))
    }

    /// Returns the regular expression for secret scanners.
    ///
    /// It works in each dialect that has `\b`, such as RE2, PCRE and Hyperscan. For the prefix `sk_live` it is `\bsk_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{28}\b`.
    #[must_use]
    pub fn pattern(&self) -> String {
        let tail = SECRET_LEN + CHECKSUM_LEN;
        format!(r"\b{}_[0-9A-Za-z]{{{}}}_[0-9A-Za-z]{{{tail}}}\b", self.prefix(), KeyId::LEN)
    }

    /// Returns the format and the id of a minted key with any prefix.
    pub(crate) fn of(key: &[u8]) -> Option<(Self, KeyId)> {
        let (prefix, id) = split(key).filter(|_| has_checksum(key))?;
        Some((Self::new(str::from_utf8(prefix).ok()?).ok()?, KeyId::parse(id).ok()?))
    }

    /// Checks that a key has one of the formats, if there are any. It reads only the key.
    pub(crate) fn check(formats: &[Self], key: &[u8]) -> Result<(), ParseKeyError> {
        let mut wrong = None;
        for format in formats {
            match format.parse(key) {
                Ok(_) => return Ok(()),
                // The checksum is only read if the prefix is right, so this error says most.
                Err(error) if error.kind() == ParseKeyErrorKind::Checksum => wrong = Some(error),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(()), Err)
    }
}

/// Has the prefix `key`.
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

/// Returns prefix and id. It reads from the end, because all lengths are known there.
fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, tail) = key.split_at_checked(key.len().checked_sub(TAIL_LEN)?)?;
    let (id, secret) = tail.strip_prefix(b"_")?.split_at_checked(KeyId::LEN)?;
    let secret = secret.strip_prefix(b"_")?;
    let fits = is_prefix(prefix) && base62::are_digits(id) && base62::are_digits(secret);
    fits.then_some((prefix, id))
}

fn has_checksum(key: &[u8]) -> bool {
    let (rest, found) = key.split_at(key.len().saturating_sub(CHECKSUM_LEN));
    // Digits are compared and not numbers, because six digits can hold more than 32 bits.
    base62::checksum(rest).iter().map(|digit| *digit as u8).eq(found.iter().copied())
}
