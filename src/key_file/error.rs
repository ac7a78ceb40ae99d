use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::ConfigError;

/// What is wrong with a file of keys, or with a change to it.
///
/// It names the file, the line and the reason, and never a value.
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
    /// There is no such file.
    Missing,
    /// The operating system could not do what was asked: its error is the source.
    Io,
    /// The file cannot be replaced where it is: a read-only or single-file mount, a folder or an
    /// owner that this process may not write as, or a symbolic link of another user.
    ReadOnly,
    /// Another process keeps the lock, or changes the file all the time.
    Locked,
    /// It is a folder, or something else that is no file.
    NotAFile,
    /// It does not hold what a file of keys holds.
    Content,
    /// The file was deleted or replaced outside, and only a mount still shows the old one. Changes to
    /// the new file do not arrive here.
    Unlinked,
    /// The change was refused. The source, a [`ConfigError`], says why. If there is no source, the file
    /// would have become larger than it may be, or one of its lines longer.
    Refused,
}

/// What is wrong, in detail.
#[derive(Clone)]
pub(super) enum Fault {
    NoFile,
    NoFolder,
    Dangling,
    NotAFile,
    Locked,
    Unlinked,
    /// It changes all the time.
    Restless,
    /// And what to do about it.
    ReadOnly(&'static str),
    /// What was being done.
    Io(&'static str, Arc<io::Error>),
    Refused(ConfigError),
    /// The change was refused, because the changed file could not be read.
    Unreadable(Box<Self>),

    Empty,
    NotUtf8,
    CutOff,
    /// And the most bytes that a file may have.
    TooLarge(u64),
    /// And the most bytes that a line may have.
    LongLine(usize),
    Header,
    Version,
    /// The field is not of the version that the first line names.
    NewField(&'static str),
    Json {
        column: usize,
    },
    NotAnObject,
    NoField(&'static str),
    NotAString(&'static str),
    NotStrings(&'static str),
    Field {
        column: usize,
    },
    Time(&'static str),
    Record(ConfigError),
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

/// Of a line. A change that is refused says so itself.
impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self::Record(error)
    }
}

impl KeyFileError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> KeyFileErrorKind {
        match self.fault {
            Fault::NoFile | Fault::NoFolder | Fault::Dangling => KeyFileErrorKind::Missing,
            Fault::NotAFile => KeyFileErrorKind::NotAFile,
            Fault::Locked | Fault::Restless => KeyFileErrorKind::Locked,
            Fault::ReadOnly(_) => KeyFileErrorKind::ReadOnly,
            Fault::Unlinked => KeyFileErrorKind::Unlinked,
            Fault::Io(..) => KeyFileErrorKind::Io,
            Fault::Refused(_) | Fault::Unreadable(_) => KeyFileErrorKind::Refused,
            _ => KeyFileErrorKind::Content,
        }
    }
}

impl KeyFileErrorKind {
    /// A name that stays the same between versions.
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
                "there is no such file: `apikey issue` makes one, and so does a first line {\"v\":1}",
            ),
            Self::NoFolder => f.write_str("its folder is not there"),
            Self::Dangling => f.write_str("a symbolic link that leads nowhere"),
            Self::NotAFile => f.write_str("not a file"),
            Self::Locked => f.write_str(
                "another process has been changing it for more than 10 seconds: try again",
            ),
            Self::Restless => f.write_str("it changes all the time"),
            Self::Unlinked => f.write_str(
                "it was deleted or replaced outside of this mount, which shows the old file, so that a key \
                 that was revoked may still work: mount its folder instead, and restart",
            ),
            Self::ReadOnly(what) => f.write_str(what),
            Self::Io(doing, error) => write!(f, "cannot {doing}: {error}"),
            Self::Refused(error) | Self::Record(error) => write!(f, "{error}"),
            Self::Unreadable(fault) => write!(f, "not changed, because it would be broken: {fault}"),
            Self::Empty => f.write_str(
                "the file is empty: without a first line {\"v\":1} it may be only half written",
            ),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::CutOff => f.write_str("the last line has no line break: it may be cut off"),
            Self::TooLarge(max) => write!(f, "more than {max} bytes, the maximum size of the file"),
            Self::LongLine(max) => write!(f, "more than {max} bytes, the maximum length of a line"),
            Self::Header => {
                f.write_str("the first line of a file of keys is {\"v\":1} or {\"v\":2}")
            }
            Self::Version => f.write_str("a version of this format that is not known here"),
            Self::NewField(field) => write!(f, "`{field}` requires {{\"v\":2}} as the first line"),
            Self::Json { column } => write!(f, "not JSON from column {column} on"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NoField(field) => write!(f, "`{field}` is missing"),
            Self::NotAString(field) => write!(f, "`{field}` is not a string"),
            Self::NotStrings(field) => write!(f, "`{field}` is not a list of strings"),
            Self::Field { column } => {
                write!(f, "a field that is not known, or there twice, before column {column}")
            }
            Self::Time(field) => {
                write!(f, "`{field}` is not a time in UTC, such as 2027-01-31T12:00:00Z")
            }
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path may hold anything, and this goes into logs.
        write!(f, "{}", self.path.display().to_string().escape_debug())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// The same text, since that is what a `main` that returns the error prints.
impl fmt::Debug for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for KeyFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Io(_, error) => Some(&**error),
            Fault::Refused(error) | Fault::Record(error) => Some(error),
            _ => None,
        }
    }
}
