//! Keys, their digests, and the format of minted keys.
//!
//! A key can be any string, so that keys in use stay valid. Mint new keys by a [`KeyFormat`]. They have at
//! least 128 random bits, a public id, and a checksum that finds typos.

mod base62;
mod digest;
mod format;
mod id;
mod minted;
mod mistake;

pub use {digest::KeyDigest, format::KeyFormat, minted::MintedKey};
pub(crate) use {id::KeyId, mistake::mistake};

use crate::error::{KeyringError, KeyringErrorKind};

/// The length of the longest key, in bytes.
///
/// [`max_key_len`](crate::ApiKeyLayer::max_key_len) can change it for a layer. A keyring inserts no longer
/// key, except by its digest.
pub const DEFAULT_MAX_LEN: usize = 1024;

/// Returns whether a key has only bytes from 0x20 to 0x7E, and no blank at its ends.
#[inline]
pub(crate) fn is_well_formed(key: &[u8]) -> bool {
    // Without an early exit the compiler can check many bytes at once.
    key.iter().fold(true, |all, byte| all & matches!(byte, 0x20..=0x7E))
        && key.first() != Some(&b' ')
        && key.last() != Some(&b' ')
}

/// Returns whether a value has only spaces and tabs. Such a value counts as absent.
#[inline]
pub(crate) fn is_blank(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// Removes the spaces and tabs that may surround the value of a header (RFC 9110 §5.5).
#[inline]
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The shortest key, in bytes, whose id may come from its digest. It can hold 128 random bits.
pub(crate) const LONG_ENOUGH: usize = 22;

/// Checks that a key can be inserted. Every way to insert a key calls this.
pub(crate) fn check(key: &[u8]) -> Result<(), KeyringError> {
    use KeyringErrorKind::{BlankKey, DigestAsKey, KeyByte, KeyEdge, KeyTooLong};

    let wrong = |kind, at| Err(KeyringError::new(kind).at(at));
    match key {
        blank if blank.trim_ascii().is_empty() => Err(KeyringError::new(BlankKey)),
        digest if KeyDigest::is_meant_by(digest) => Err(KeyringError::new(DigestAsKey)),
        long if long.len() > DEFAULT_MAX_LEN => Err(KeyringError::new(KeyTooLong)),
        [first, ..] if first.is_ascii_whitespace() => wrong(KeyEdge, 0),
        [.., last] if last.is_ascii_whitespace() => wrong(KeyEdge, key.trim_ascii_end().len()),
        _ => match key.iter().position(|byte| !matches!(byte, 0x20..=0x7E)) {
            Some(at) => wrong(KeyByte, at),
            None => mistake(key).map_or(Ok(()), |mistake| Err(mistake.into())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_of_a_key_is_checked_at_any_length() {
        for len in 1..=33 {
            assert!(is_well_formed(&vec![b'~'; len]) && is_well_formed(&vec![b'!'; len]));
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut key = vec![b'k'; len];
                    key[at] = byte;
                    let is_edge = at == 0 || at == len - 1;
                    let fits = matches!(byte, 0x21..=0x7E) || (byte == b' ' && !is_edge);
                    assert_eq!(is_well_formed(&key), fits, "byte {byte} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_key_can_be_inserted_exactly_if_it_can_be_presented() {
        for key in [&b"a"[..], b"a b", b"~!{}", b"0123456789abcdef"] {
            assert!(check(key).is_ok() && is_well_formed(key));
        }
        for key in [&b" a"[..], b"a ", b"a\tb", b"a\n", b"\xffa", b"a\x7f"] {
            assert!(check(key).is_err() && !is_well_formed(key));
        }
    }
}
