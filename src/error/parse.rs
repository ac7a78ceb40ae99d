//! Errors of texts: a digest, a presented key, the prefix of a format.

use std::fmt;

use super::{errors, kinds};

pub(super) const DIGEST: &str = "a digest is `sha256:` and 64 hexadecimal digits";

pub(super) const PREFIX: &str =
    "a prefix is letters and digits, with single `_` between them, at most 32 in all";

/// A text that is not `sha256:` and 64 hexadecimal digits.
///
/// The error never repeats the text, because it may be a key.
///
/// # Examples
///
/// ```
/// use tower_api_key::{KeyDigest, error::ParseDigestError};
///
/// let error: ParseDigestError = "sha256:123".parse::<KeyDigest>().unwrap_err();
/// assert_eq!(error.to_string(), "a digest is `sha256:` and 64 hexadecimal digits");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ParseDigestError(());

impl ParseDigestError {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DIGEST)
    }
}

/// A text that cannot be the prefix of a [`KeyFormat`](crate::key::KeyFormat).
///
/// The error never repeats the text, because it may be a key.
///
/// # Examples
///
/// ```
/// use tower_api_key::{error::ParseFormatError, key::KeyFormat};
///
/// let error: ParseFormatError = KeyFormat::new("sk-live").unwrap_err();
/// assert!(error.to_string().starts_with("a prefix is letters and digits"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ParseFormatError(());

impl ParseFormatError {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for ParseFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)
    }
}

kinds! {
    /// The kinds of [`ParseKeyError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::{error::ParseKeyErrorKind, key::KeyFormat};
    ///
    /// let mistyped = "sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBV";
    /// let error = KeyFormat::new("sk_live")?.parse(mistyped).unwrap_err();
    /// assert_eq!(error.kind(), ParseKeyErrorKind::Checksum);
    /// assert_eq!(error.kind().as_str(), "checksum");
    /// # Ok::<(), tower_api_key::error::ParseFormatError>(())
    /// ```
    pub enum ParseKeyErrorKind of ParseKeyError {
        /// The key does not have the layout of minted keys.
        KeyLayout = "key_layout", "the key is not of the form prefix_id_secret";
        /// The key was minted with another prefix.
        ForeignKey = "foreign_key", "the key has another prefix";
        /// The checksum of the key is wrong, because the key is mistyped or incomplete.
        Checksum = "checksum", "the key's checksum is wrong, so the key is mistyped or incomplete";
    }
}

/// A key that is not of a [`KeyFormat`](crate::key::KeyFormat).
///
/// The error never repeats the key.
///
/// # Examples
///
/// ```
/// use tower_api_key::{error::ParseKeyErrorKind, key::KeyFormat};
///
/// let error = KeyFormat::new("sk_live")?.parse("12345abcde").unwrap_err();
/// assert_eq!(error.kind(), ParseKeyErrorKind::KeyLayout);
/// assert_eq!(error.to_string(), "the key is not of the form prefix_id_secret");
/// # Ok::<(), tower_api_key::error::ParseFormatError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ParseKeyError {
    kind: ParseKeyErrorKind,
}

impl ParseKeyError {
    pub(crate) fn new(kind: ParseKeyErrorKind) -> Self {
        Self { kind }
    }

    /// Returns the kind of mistake.
    #[must_use]
    pub fn kind(&self) -> ParseKeyErrorKind {
        self.kind
    }
}

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())
    }
}

errors!(ParseDigestError, ParseFormatError, ParseKeyError);
