use std::{error::Error, fmt};

use crate::{
    key::KeyId,
    rejection::{Detail, Reason, Rejection},
};

/// The reason why a verifier did not return a client.
///
/// If verification [`failed`](Self::failed), the layer returns 503. For every other reason the caller
/// gets the same 401, byte for byte. If you use `?` on another error, verification failed.
///
/// # Example: verify against a list of digests
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::bearer};
/// use tower_api_key::verify::{self, PresentedKey, VerifyError};
///
/// fn verify(key: &PresentedKey<'_>) -> Result<Option<Client>, VerifyError> {
///     let digest = key.digest();
///     for line in std::fs::read_to_string("digests")?.lines() {        // `?`: failed
///         if KeyDigest::parse(line)? == digest {                       // in constant time
///             return Ok(Some(Client::new("listed")));
///         }
///     }
///     Err(VerifyError::unknown())                                      // or `Ok(None)`
/// }
///
/// let layer = ApiKeyLayer::new(bearer(), verify::from_fn(verify));
/// ```
pub struct VerifyError {
    reason: Reason,
    /// `KeyId::NONE` without one, as in a [`Rejection`].
    key_id: KeyId,
    /// On the heap, because a result should be small.
    detail: Option<Box<Detail>>,
}

impl VerifyError {
    pub(crate) fn new(reason: Reason, key_id: KeyId) -> Self {
        Self { reason, key_id, detail: None }
    }

    /// Creates an error for an unknown key.
    #[must_use]
    pub fn unknown() -> Self {
        Reason::Unknown.into()
    }

    /// Creates an error for an expired key.
    #[must_use]
    pub fn expired() -> Self {
        Reason::Expired.into()
    }

    /// Creates an error for a key that is not valid yet.
    #[must_use]
    pub fn not_yet_valid() -> Self {
        Reason::NotYetValid.into()
    }

    /// Creates an error for a revoked key.
    #[must_use]
    pub fn revoked() -> Self {
        Reason::Revoked.into()
    }

    /// Creates an error for a paused key.
    #[must_use]
    pub fn paused() -> Self {
        Reason::Paused.into()
    }

    /// Creates an error for a failed verification. The layer returns 503.
    ///
    /// The cause is for operators, as the source of the [`Rejection`]. The caller does not see it.
    #[must_use]
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let detail = Detail { cause: Some(cause.into().into()), ..Detail::default() };
        Self { detail: Some(Box::new(detail)), ..Reason::Failed.into() }
    }

    /// Adds the public id of the key, for the log and for metrics.
    ///
    /// Use only the id of a key that you have found and whose secret is right. If a caller can choose the id, the
    /// caller can fill the tables of `Usage` and `Metrics`, which have a row for each id up to a maximum.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::verify::VerifyError;
    ///
    /// let error = VerifyError::revoked().with_key_id("k_42");
    /// ```
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.detail.get_or_insert_default().key_id = Some(key_id.into().into_boxed_str());
        self
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

/// Keeps the reason, the id of the key and the cause.
impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::new(error.reason).with_key_id(error.key_id).with_detail(error.detail)
    }
}

/// Creates an error without the id of a key and without a cause.
impl From<Reason> for VerifyError {
    fn from(reason: Reason) -> Self {
        Self { reason, key_id: KeyId::NONE, detail: None }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for VerifyError {
    fn from(cause: E) -> Self {
        Self::failed(cause)
    }
}

impl fmt::Debug for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyError").field(&self.reason).finish()
    }
}
