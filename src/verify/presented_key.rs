use std::{cell::Cell, fmt};

use crate::{key::KeyDigest, location::KeyLocation, request_head::RequestHead};

/// A key that a request presented.
///
/// # Example: reject a key by its prefix
///
/// ```
/// use tower_api_key::verify::{PresentedKey, VerifyError};
/// use tower_api_key::KeyDigest;
///
/// fn look_up(key: &PresentedKey<'_>) -> Result<KeyDigest, VerifyError> {
///     if key.expose().starts_with(b"sk_live_") { Ok(key.digest()) } else { Err(VerifyError::unknown()) }
/// }
/// # let request = http::Request::new(());
/// # let key = PresentedKey::new(b"sk_test_1", tower_api_key::extract::RequestHead::of(&request));
/// # assert!(look_up(&key).is_err());
/// ```
#[derive(Clone)]
pub struct PresentedKey<'a> {
    key: &'a [u8],
    location: Option<&'a KeyLocation>,
    head: RequestHead<'a>,
    /// Computed on demand, because a verifier can reject a key by its form alone.
    digest: Cell<Option<KeyDigest>>,
}

impl<'a> PresentedKey<'a> {
    /// Creates a key without a location, to test a verifier.
    #[must_use]
    pub fn new(key: &'a [u8], head: RequestHead<'a>) -> Self {
        Self { key, location: None, head, digest: Cell::new(None) }
    }

    pub(crate) fn at(self, location: Option<&'a KeyLocation>) -> Self {
        Self { location, ..self }
    }

    /// Returns the key itself.
    ///
    /// Its bytes are from 0x20 to 0x7E, without a blank at either end. Never compare the key directly.
    /// Compare its [`digest`](Self::digest), and do not keep the key longer than the call.
    #[must_use]
    pub fn expose(&self) -> &'a [u8] {
        self.key
    }

    /// Returns the digest of the key. It is computed once.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        if let Some(digest) = self.digest.get() {
            return digest;
        }
        let digest = KeyDigest::of(self.key);
        self.digest.set(Some(digest));
        digest
    }

    /// Returns the location of the key, if the extractor named one.
    #[must_use]
    pub fn location(&self) -> Option<&'a KeyLocation> {
        self.location
    }

    /// Returns the head of the request. It still holds the key.
    #[must_use]
    pub fn head(&self) -> RequestHead<'a> {
        self.head
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey").field("location", &self.location).finish_non_exhaustive()
    }
}
