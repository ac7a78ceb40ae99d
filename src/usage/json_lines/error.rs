use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{error::write_in_file, macros::debug_as_display};

/// The error of a usage file.
///
/// The error names the file, the line and the reason, and never a value.
///
/// # Examples
///
/// ```
/// use tower_api_key::usage::{JsonLines, UsageFileErrorKind};
///
/// let error = JsonLines::read(["no-such-folder/usage.jsonl"]).unwrap_err();
/// assert_eq!(error.kind(), UsageFileErrorKind::Missing);
/// ```
#[derive(Clone)]
pub struct UsageFileError {
    path: PathBuf,
    line: Option<usize>,
    fault: Fault,
}

/// The kinds of [`UsageFileError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UsageFileErrorKind {
    /// The file or its folder does not exist.
    Missing,
    /// An operation failed. The error of the operating system is the source.
    Io,
    /// The path leads to a folder, a symbolic link, a pipe or a device.
    NotAFile,
    /// Too many processes write files of this name.
    Locked,
    /// The content is not a valid usage file.
    Content,
}

/// The detailed reason of an error.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    NoFile,
    NoFolder,
    NotAFile,
    Link,
    Locked,
    /// With the operation that failed.
    Io(&'static str, Arc<io::Error>),
    Header,
    Version,
    NotUtf8,
    LongLine,
    Json {
        column: usize,
    },
    Subject,
    NoField(&'static str),
    Time(&'static str),
}

impl Fault {
    pub(super) fn at(self, path: &Path, line: Option<usize>) -> UsageFileError {
        UsageFileError { path: path.to_owned(), line, fault: self }
    }

    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(doing, Arc::new(error))
    }
}

impl UsageFileError {
    pub(super) fn parts(&self) -> (Fault, Option<usize>) {
        (self.fault.clone(), self.line)
    }

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
    pub fn kind(&self) -> UsageFileErrorKind {
        match self.fault {
            Fault::NoFile | Fault::NoFolder => UsageFileErrorKind::Missing,
            Fault::NotAFile | Fault::Link => UsageFileErrorKind::NotAFile,
            Fault::Locked => UsageFileErrorKind::Locked,
            Fault::Io(..) => UsageFileErrorKind::Io,
            _ => UsageFileErrorKind::Content,
        }
    }
}

impl UsageFileErrorKind {
    /// Returns a name that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Io => "io",
            Self::NotAFile => "not_a_file",
            Self::Locked => "locked",
            Self::Content => "content",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("no such file. A service creates it with `JsonLines`"),
            Self::NoFolder => f.write_str("the folder does not exist"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Link => {
                f.write_str("the file is a symbolic link. Use the path of the file itself")
            }
            Self::Locked => f.write_str("too many processes write usage under this name"),
            Self::Io(doing, error) => write!(f, "cannot {doing}: {error}"),
            Self::Header => {
                f.write_str("not a usage file, whose first line has \"kind\":\"usage\"")
            }
            Self::Version => f.write_str("unknown version of the usage file format"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::LongLine => f.write_str("the line is longer than 1 MiB"),
            Self::Json { column } => write!(f, "not JSON of a usage file from column {column} on"),
            Self::Subject => f.write_str("the line names no key, no client and no total"),
            Self::NoField(field) => write!(f, "`{field}` is missing"),
            Self::Time(field) => {
                write!(f, "`{field}` is not a time in UTC, such as 2027-01-31T12:00:00Z")
            }
        }
    }
}

impl fmt::Display for UsageFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_file(f, &self.path, self.line, &self.fault)
    }
}

debug_as_display! { UsageFileError }

impl Error for UsageFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Io(_, error) => Some(&**error),
            _ => None,
        }
    }
}
