//! Errors of a configuration. They occur before the first request.

mod kind;

use std::{error::Error, fmt};

pub use self::kind::ConfigErrorKind;

/// An invalid name, key, digest, realm or list.
///
/// The error names the mistake and its position, such as the entry of a list or the byte of a key. It
/// never repeats the value, because a mistyped key must not get into a log.
///
/// # Examples
///
/// ```
/// use tower_api_key::{Client, Keyring, error::ConfigErrorKind};
///
/// let pasted = Keyring::new().insert("12345abcde\n", Client::new("ci")).unwrap_err();
/// assert_eq!(pasted.kind(), ConfigErrorKind::KeyEdge);
/// assert_eq!(pasted.to_string(), "the key begins or ends with white space (at byte 11)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    variable: Option<String>,
    entry: Option<usize>,
    at: Option<usize>,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind) -> Self {
        Self { kind, variable: None, entry: None, at: None }
    }

    pub(crate) fn at(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(crate) fn in_entry(self, entry: usize) -> Self {
        Self { entry: Some(entry), ..self }
    }

    pub(crate) fn in_variable(self, name: &str) -> Self {
        Self { variable: Some(name.to_owned()), ..self }
    }

    /// Returns the kind of mistake.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the number of the wrong entry of a list, counted from 1.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    /// Returns the index of the first wrong byte of the key, or of the wrong scope.
    ///
    /// It counts from 0, as slices do. The text of the error counts from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.at
    }
}

/// Creates an error in your own code, to reject a change in `KeyFile::update` for example.
impl From<ConfigErrorKind> for ConfigError {
    fn from(kind: ConfigErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(self.kind.text())?;
        match (self.kind, self.at) {
            (_, None) => Ok(()),
            (ConfigErrorKind::Scope | ConfigErrorKind::DuplicateScope, Some(at)) => {
                write!(f, " (scope {})", at.saturating_add(1))
            }
            (ConfigErrorKind::MetadataKey | ConfigErrorKind::MetadataTooLong, Some(at)) => {
                write!(f, " (metadata {})", at.saturating_add(1))
            }
            (_, Some(at)) => write!(f, " (at byte {})", at.saturating_add(1)),
        }
    }
}

/// Writes the same text as `Display`, because `main` prints the `Debug` of a returned error.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {}

/// Panics at the caller's line if a literal is not valid.
#[track_caller]
#[allow(
    clippy::panic,
    reason = "only for literals, because names from configuration have `try_` twins"
)]
pub(crate) fn expect_valid<T>(result: Result<T, ConfigError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
