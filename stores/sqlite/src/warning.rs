use std::{fmt, path::Path};

use crate::{file_system, path_owners};

/// A risk of the place of a database. Returned by [`Sqlite::warnings`](crate::Sqlite::warnings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqliteWarning {
    /// Another user can write or replace the database, and so issue keys.
    ///
    /// The file, or a folder on its path, belongs to a user other than root and the user of this process, or
    /// every user can write it. Symbolic links and their folders are part of the path.
    WritableByOthers,
    /// The database is on a network file system.
    ///
    /// Processes on two machines do not share the memory that SQLite needs, so that they can damage the
    /// database and miss revocations. Use a local disk, or a database server.
    NetworkFileSystem,
}

impl SqliteWarning {
    pub(crate) fn all(path: &Path) -> Vec<Self> {
        Self::of(path_owners::is_writable_by_others(path), file_system::is_network(path))
    }

    fn of(is_writable_by_others: bool, is_network: bool) -> Vec<Self> {
        let all = [
            (is_writable_by_others, Self::WritableByOthers),
            (is_network, Self::NetworkFileSystem),
        ];
        all.into_iter().filter_map(|(is_there, warning)| is_there.then_some(warning)).collect()
    }

    /// Returns a name for metrics that stays the same between versions.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::WritableByOthers => "writable_by_others",
            Self::NetworkFileSystem => "network_file_system",
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn log(self, file: &str) {
        tracing::warn!(target: "tower_api_key_sqlite", file, "{self}");
    }
}

/// Shows a sentence for operators.
impl fmt::Display for SqliteWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WritableByOthers => "another user can write or replace the database",
            Self::NetworkFileSystem => {
                "the database is on a network file system, where SQLite can damage it and processes can miss \
                 revocations"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_system_is_a_warning() {
        let warnings = SqliteWarning::of(false, true);
        assert_eq!(warnings, [SqliteWarning::NetworkFileSystem]);
        assert!(warnings[0].to_string().contains("network file system"));
        assert_eq!(SqliteWarning::of(true, false), [SqliteWarning::WritableByOthers]);
        assert_eq!(SqliteWarning::of(false, false), []);
    }
}
