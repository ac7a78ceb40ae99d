use std::{fmt, hint::black_box, str};

use bytes::Buf;

use super::{KeyDigest, base62};
use crate::error::{KeyringError, KeyringErrorKind};

/// The public id of a key, with eight letters and digits. Logs and lists may show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(align(8))]
pub(crate) struct KeyId([u8; Self::LEN]);

impl KeyId {
    pub(crate) const LEN: usize = 8;

    /// The id of no key. Its text is empty.
    pub(crate) const NONE: Self = Self([0; Self::LEN]);

    pub(crate) fn parse(text: impl AsRef<[u8]>) -> Result<Self, KeyringError> {
        match <[u8; Self::LEN]>::try_from(text.as_ref()) {
            Ok(id) if base62::are_digits(&id) => Ok(Self(id)),
            _ => Err(KeyringError::new(KeyringErrorKind::KeyId)),
        }
    }

    pub(crate) fn random() -> Result<Self, KeyringError> {
        let mut text = String::with_capacity(Self::LEN);
        base62::push_random(&mut text, Self::LEN)?;
        Self::parse(text)
    }

    /// Returns the id of a key by its digest. It is the same in every process.
    ///
    /// If another key has this id already, the next attempt gives another.
    pub(crate) fn derived(digest: &KeyDigest, attempt: u32) -> Self {
        const DOMAIN: &[u8] = b"tower-api-key: the id of a key";

        let hashed = [DOMAIN, &digest.to_bytes(), &attempt.to_be_bytes()].concat();
        let number = KeyDigest::of(hashed).to_bytes().as_slice().get_u64();
        Self(base62::digits(number).map(|digit| digit as u8))
    }

    /// This id if the condition holds, else [`NONE`](Self::NONE), in the same steps.
    #[inline]
    pub(crate) fn or_none(self, condition: bool) -> Self {
        let mask = u64::from(black_box(condition)).wrapping_neg();
        Self((u64::from_ne_bytes(self.0) & mask).to_ne_bytes())
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default().trim_end_matches('\0')
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
