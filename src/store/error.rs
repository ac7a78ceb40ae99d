use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use crate::{error::KeyringError, macros::debug_as_display};

/// The error of a store.
///
/// It names the operation and the reason, and never a digest or a password.
///
/// # Examples
///
/// ```
/// use tower_api_key::store::{StoreError, StoreErrorKind};
///
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// let error = StoreError::new(StoreErrorKind::Unavailable, "cannot connect").with_source(refused);
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert_eq!(error.to_string(), "cannot connect: connection refused");
/// ```
#[derive(Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    text: Cow<'static, str>,
    source: Option<Source>,
}

#[derive(Clone)]
enum Source {
    Refused(KeyringError),
    Other(Arc<dyn Error + Send + Sync>),
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The engine does not answer, or an operation of it failed.
    Unavailable,
    /// Another change was faster, or another key has the id. A second attempt can succeed.
    Conflict,
    /// The content is not that of a store, or a row is not a record.
    Corrupt,
    /// The schema is newer or older than this program supports.
    UnsupportedVersion,
    /// This process or its account may not read or change the store.
    Denied,
    /// The answer of a commit was lost, so that the change may have taken effect.
    OutcomeUnknown,
    /// The change is invalid. [`StoreError::refused`] has the reason.
    Refused,
}

impl StoreErrorKind {
    /// Returns a name that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Denied => "denied",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Refused => "refused",
        }
    }
}

impl StoreError {
    /// Creates an error with a text for operators.
    #[must_use]
    pub fn new(kind: StoreErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// Sets the cause. Its text must not hold a digest or a password.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Source::Other(source.into().into()));
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the reason why a change is invalid, if the kind is [`Refused`](StoreErrorKind::Refused).
    #[must_use]
    pub fn refused(&self) -> Option<&KeyringError> {
        match &self.source {
            Some(Source::Refused(error)) => Some(error),
            _ => None,
        }
    }
}

/// Creates an error of the kind [`Refused`](StoreErrorKind::Refused).
impl From<KeyringError> for StoreError {
    fn from(error: KeyringError) -> Self {
        let text = "the change is invalid".into();
        Self { kind: StoreErrorKind::Refused, text, source: Some(Source::Refused(error)) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.source {
            Some(Source::Refused(error)) => write!(f, ": {error}"),
            Some(Source::Other(error)) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

debug_as_display! { StoreError }

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.source {
            Some(Source::Refused(error)) => Some(error),
            Some(Source::Other(error)) => Some(&**error),
            None => None,
        }
    }
}
