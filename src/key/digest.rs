use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use bytes::Buf;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::ParseDigestError;

/// SHA-256 of a key, the only form that is stored, indexed or sent to a store.
///
/// Two digests are compared in constant time. A look-up uses the first eight bytes (see
/// [`Keyring`](crate::Keyring#timing-side-channels)). `Debug` shows no byte of the digest. Use [`encode`]
/// to write it into a configuration file.
///
/// NIST SP 800-63B accepts a plain SHA-256 at rest for a key of 128 random bits. If a key is short, an
/// attacker can guess it from its digest.
///
/// # Example: store a digest instead of a key
///
/// ```
/// use tower_api_key::{Client, KeyDigest, Keyring};
///
/// let digest = KeyDigest::of("correct-horse-battery-staple");
/// let stored = digest.encode();                       // "sha256:…", for a file
///
/// let keys = Keyring::new();
/// keys.insert_digest(KeyDigest::parse(&stored)?, Client::new("ci"))?;
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// [`encode`]: KeyDigest::encode
#[derive(Clone, Copy)]
pub struct KeyDigest([Word; 4]);

const PREFIX: &str = "sha256:";

impl KeyDigest {
    /// Computes the digest of a key.
    #[must_use]
    pub fn of(key: impl AsRef<[u8]>) -> Self {
        // `Sha256::digest` moves its hasher, which costs a quarter of the time.
        let mut hasher = Sha256::new();
        hasher.update(key);
        let mut bytes = [0; 32];
        hasher.finalize_into_reset((&mut bytes).into());
        Self::from_bytes(bytes)
    }

    /// Parses the text of [`encode`](Self::encode). The digits can be in either case.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, ParseDigestError> {
        let hex = text.strip_prefix(PREFIX).ok_or_else(ParseDigestError::new)?;
        if hex.len() != 64 {
            return Err(ParseDigestError::new());
        }
        let mut bytes = [0; 32];
        let mut is_hex = true;
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            for &digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    b'A'..=b'F' => digit - b'A' + 10,
                    _ => u8::MAX,
                };
                is_hex &= value < 16;
                *byte = *byte << 4 | (value & 15);
            }
        }
        if is_hex { Ok(Self::from_bytes(bytes)) } else { Err(ParseDigestError::new()) }
    }

    /// Returns whether a text begins like a digest, in either case. Such a text is no key.
    pub(crate) fn is_meant_by(text: &[u8]) -> bool {
        let prefix = text.split_at_checked(PREFIX.len()).map(|(prefix, _)| prefix);
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX.as_bytes()))
    }

    /// Returns the digest as `sha256:` and 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn encode(&self) -> String {
        let hex = |byte| [byte >> 4, byte & 15].map(|digit: u8| char::from_digit(digit.into(), 16));
        PREFIX.chars().chain(self.to_bytes().into_iter().flat_map(hex).flatten()).collect()
    }

    /// Creates a digest that was computed elsewhere.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut rest = &bytes[..];
        let mut word = || Word(rest.get_u64_ne());
        Self([word(), word(), word(), word()])
    }

    /// Returns the bytes of the digest, for a look-up in a store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.0.to_ne_bytes());
        }
        bytes
    }

    /// Returns the part of the digest by which a keyring finds its slot.
    pub(crate) fn slot(&self) -> u64 {
        let [first, ..] = self.0;
        first.0
    }
}

/// Compares in constant time.
impl PartialEq for KeyDigest {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | a.difference(*b));
        differences.ct_eq(&0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.slot());
    }
}

impl FromStr for KeyDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        Self::parse(text)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// A quarter of a digest. It has no `==`, because quarters must not be compared one after another.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    /// Returns the bits in which two words differ.
    #[inline]
    fn difference(self, other: Self) -> u64 {
        #[cfg(test)]
        tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
        self.0 ^ other.0
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashSet};

    use super::*;

    thread_local! {
        pub(super) static COMPARED: Cell<u32> = const { Cell::new(0) };
    }

    fn compared(a: KeyDigest, b: KeyDigest) -> (bool, u32) {
        COMPARED.set(0);
        (a == b, COMPARED.get())
    }

    #[test]
    fn r17_every_byte_of_a_digest_is_compared() {
        let digest = KeyDigest::of("12345abcde");
        assert_eq!(compared(digest, digest), (true, 4));
        for at in 0..32 {
            let mut bytes = digest.to_bytes();
            bytes[at] ^= 1;
            assert_eq!(compared(digest, KeyDigest::from_bytes(bytes)), (false, 4), "byte {at}");
            // A second equal difference in another byte does not cancel the first.
            for also_at in 0..at {
                bytes[also_at] ^= 1;
                assert_ne!(digest, KeyDigest::from_bytes(bytes), "bytes {also_at} and {at}");
                bytes[also_at] ^= 1;
            }
        }
    }

    #[test]
    fn a_digest_equals_the_sha_256_example_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyDigest::of("abc").encode(), abc);
        assert_eq!(KeyDigest::parse(&abc.replace("ba78", "BA78")).unwrap(), KeyDigest::of("abc"));
    }

    #[test]
    fn parsing_rejects_every_other_text() {
        let good = KeyDigest::of("abc").encode();
        for text in [
            "",
            "sha256:",
            &good[7..],
            &good[..70],
            &format!("{good}0"),
            &format!(" {good}"),
            &good.replace("sha256", "SHA256"),
            &good.replace("sha256", "sha512"),
            &good.replace("ba", "g0"),
            &good.replace("ba78", "é8"),
        ] {
            assert_eq!(KeyDigest::parse(text), Err(ParseDigestError::new()));
        }
    }

    #[test]
    fn equal_digests_hash_alike_and_debug_is_silent() {
        let set = HashSet::from([KeyDigest::of("a"), KeyDigest::of("a"), KeyDigest::of("b")]);
        assert_eq!(set.len(), 2);
        assert_eq!(format!("{:?}", KeyDigest::of("a")), "KeyDigest(..)");
    }
}
