use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(feature = "store")]
use crate::store::{StoreError, StoreErrorKind};
use crate::{
    error::{KeyringError, write_in_file},
    macros::debug_as_display,
};

/// The error of a key file or of a change to it.
///
/// The error names the file, the line and the reason, and never a value.
///
/// # Examples
///
/// ```
/// use tower_api_key::key_file::{KeyFile, KeyFileErrorKind};
///
/// let error = KeyFile::open("no-such-folder/keys.jsonl").unwrap_err();
/// assert_eq!(error.kind(), KeyFileErrorKind::Missing);
/// ```
#[derive(Clone)]
pub struct KeyFileError {
    path: PathBuf,
    line: Option<usize>,
    fault: Fault,
}

/// The kinds of [`KeyFileError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFileErrorKind {
    /// The file does not exist.
    Missing,
    /// An operation failed. The error of the operating system is the source.
    Io,
    /// This process cannot replace the file at its path.
    ///
    /// The file is on a read-only mount or mounted by itself, this process lacks the permission, or a
    /// symbolic link of another user leads to the file.
    ReadOnly,
    /// Another process keeps the lock or keeps changing the file.
    Locked,
    /// The path leads to a folder, a pipe or a device.
    NotAFile,
    /// The content is not a valid key file.
    Content,
    /// A mount shows a file that was deleted or replaced outside.
    ///
    /// Changes of the new file do not arrive here.
    Unlinked,
    /// The change is invalid. The source, a [`KeyringError`], has the reason.
    ///
    /// If there is no source, the file or a line would exceed its maximum size.
    Refused,
}

/// The detailed reason of an error.
#[derive(Clone)]
pub(super) enum Fault {
    NoFile,
    NoFolder,
    Dangling,
    NotAFile,
    Locked,
    Unlinked,
    /// The file keeps changing.
    Unstable,
    /// With the reason and the remedy.
    ReadOnly(&'static str),
    /// With the operation that failed.
    Io(&'static str, Arc<io::Error>),
    Refused(KeyringError),
    /// The change is invalid, because the new file could not be read.
    Unreadable(Box<Self>),

    Empty,
    NotUtf8,
    CutOff,
    /// With the maximum size of a file in bytes.
    TooLarge(u64),
    /// With the maximum length of a line in bytes.
    LongLine(usize),
    Header,
    Version,
    /// The first line names a version without this field.
    NewField(&'static str),
    Json {
        column: usize,
    },
    NotAnObject,
    NoField(&'static str),
    NotAString(&'static str),
    NotStrings(&'static str),
    NotAMap(&'static str),
    Field {
        column: usize,
    },
    Time(&'static str),
    Record(KeyringError),
}

impl Fault {
    pub(super) fn at(self, path: &Path, line: Option<usize>) -> KeyFileError {
        KeyFileError { path: path.to_owned(), line, fault: self }
    }

    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::NotFound => Self::NoFile,
            _ => Self::Io(doing, Arc::new(error)),
        }
    }
}

/// Converts the error of a line. An invalid change is a [`Fault::Refused`] instead.
impl<E: Into<KeyringError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Record(error.into())
    }
}

impl KeyFileError {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the line, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> KeyFileErrorKind {
        match self.fault {
            Fault::NoFile | Fault::NoFolder | Fault::Dangling => KeyFileErrorKind::Missing,
            Fault::NotAFile => KeyFileErrorKind::NotAFile,
            Fault::Locked | Fault::Unstable => KeyFileErrorKind::Locked,
            Fault::ReadOnly(_) => KeyFileErrorKind::ReadOnly,
            Fault::Unlinked => KeyFileErrorKind::Unlinked,
            Fault::Io(..) => KeyFileErrorKind::Io,
            Fault::Refused(_) | Fault::Unreadable(_) => KeyFileErrorKind::Refused,
            _ => KeyFileErrorKind::Content,
        }
    }
}

#[cfg(feature = "store")]
impl From<KeyFileError> for StoreError {
    fn from(error: KeyFileError) -> Self {
        let kind = match &error.fault {
            Fault::Refused(refused) => return refused.clone().into(),
            Fault::Version | Fault::NewField(_) => StoreErrorKind::UnsupportedVersion,
            Fault::Io(_, io) if io.kind() == io::ErrorKind::PermissionDenied => {
                StoreErrorKind::Denied
            }
            _ => match error.kind() {
                KeyFileErrorKind::ReadOnly => StoreErrorKind::Denied,
                KeyFileErrorKind::NotAFile | KeyFileErrorKind::Content => StoreErrorKind::Corrupt,
                KeyFileErrorKind::Refused => StoreErrorKind::Refused,
                KeyFileErrorKind::Missing
                | KeyFileErrorKind::Io
                | KeyFileErrorKind::Locked
                | KeyFileErrorKind::Unlinked => StoreErrorKind::Unavailable,
            },
        };
        Self::new(kind, "key file").with_source(error)
    }
}

impl KeyFileErrorKind {
    /// Returns a name that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Io => "io",
            Self::ReadOnly => "read_only",
            Self::Locked => "locked",
            Self::NotAFile => "not_a_file",
            Self::Unlinked => "unlinked",
            Self::Content => "content",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str(
                "no such file. Create it with `apikey issue`, or with the first line {\"v\":1}",
            ),
            Self::NoFolder => f.write_str("the folder does not exist"),
            Self::Dangling => f.write_str("the symbolic link leads to no file"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Locked => f.write_str(
                "another process has held the lock for more than 10 seconds. Try again",
            ),
            Self::Unstable => f.write_str("the file keeps changing"),
            Self::Unlinked => f.write_str(
                "the file was deleted or replaced outside of this mount, which shows the old file. A revoked key may \
                 still be valid. Mount its folder instead, and restart",
            ),
            Self::ReadOnly(what) => f.write_str(what),
            Self::Io(doing, error) => write!(f, "cannot {doing}: {error}"),
            Self::Refused(error) | Self::Record(error) => write!(f, "{error}"),
            Self::Unreadable(fault) => write!(f, "not changed, because the new file would be invalid: {fault}"),
            Self::Empty => f.write_str(
                "the file is empty. Without the first line {\"v\":1} it may be incomplete",
            ),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::CutOff => f.write_str("the last line has no line break and may be cut off"),
            Self::TooLarge(max) => write!(f, "more than {max} bytes, the maximum size of the file"),
            Self::LongLine(max) => write!(f, "more than {max} bytes, the maximum length of a line"),
            Self::Header => {
                f.write_str("the first line of a key file is {\"v\":1} or {\"v\":2}")
            }
            Self::Version => f.write_str("unknown version of the key file format"),
            Self::NewField(field) => write!(f, "`{field}` requires {{\"v\":2}} as the first line"),
            Self::Json { column } => write!(f, "not JSON from column {column} on"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NoField(field) => write!(f, "`{field}` is missing"),
            Self::NotAString(field) => write!(f, "`{field}` is not a string"),
            Self::NotStrings(field) => write!(f, "`{field}` is not a list of strings"),
            Self::NotAMap(field) => write!(f, "`{field}` is not an object of strings"),
            Self::Field { column } => {
                write!(f, "unknown or repeated field before column {column}")
            }
            Self::Time(field) => {
                write!(f, "`{field}` is not a time in UTC, such as 2027-01-31T12:00:00Z")
            }
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_file(f, &self.path, self.line, &self.fault)
    }
}

debug_as_display! { KeyFileError }

impl Error for KeyFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Io(_, error) => Some(&**error),
            Fault::Refused(error) | Fault::Record(error) => Some(error),
            _ => None,
        }
    }
}
