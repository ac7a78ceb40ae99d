use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The identity and the state of the files of a database, without opening them.
///
/// A database must not be opened apart from SQLite. If this process closes such a file, the operating system
/// drops the locks that SQLite has on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStamp {
    database: Identity,
    len: u64,
    modified: Option<SystemTime>,
    /// The log of SQLite and its index, if they are there.
    beside: [Option<Identity>; 2],
}

/// The paths of the files of a database.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) database: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) index: PathBuf,
}

/// The difference between the files of a connection and those at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    None,
    /// SQLite has moved commits into the file, or another program wrote the file.
    Written,
    /// Other files are at the path.
    Replaced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Files {
    pub(crate) fn new(database: PathBuf) -> Self {
        let beside = |suffix| {
            let mut name = OsString::from(&database);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self { log: beside("-wal"), index: beside("-shm"), database }
    }

    /// Reads the metadata of the files.
    pub(crate) fn stamp(&self) -> io::Result<FileStamp> {
        let metadata = fs::metadata(&self.database)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(FileStamp {
            database: Identity::of(&metadata),
            len: metadata.len(),
            modified: metadata.modified().ok(),
            beside: [&self.log, &self.index].map(|path| Identity::of_path(path)),
        })
    }
}

impl FileStamp {
    /// Compares the files at the path with those of a connection that was opened before.
    pub(crate) fn since(&self, opened: &Self) -> Difference {
        let is_replaced =
            |(now, then): (Option<Identity>, Option<Identity>)| then.is_some() && now != then;
        if self.database != opened.database
            || self.beside.into_iter().zip(opened.beside).any(is_replaced)
        {
            return Difference::Replaced;
        }
        if (self.len, self.modified, self.beside) == (opened.len, opened.modified, opened.beside) {
            Difference::None
        } else {
            Difference::Written
        }
    }
}

impl Identity {
    fn of_path(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }

    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// An open database cannot be replaced on these systems.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn other_files_at_the_path_are_told_from_a_write() {
        let folder = env::temp_dir().join(format!("sqlite-stamp-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = Files::new(folder.join("keys.db"));
        assert_eq!(files.stamp().unwrap_err().kind(), io::ErrorKind::NotFound);
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&files.database, "a");
        let mut last = files.stamp().unwrap();
        let mut difference = || {
            let now = files.stamp().unwrap();
            now.since(&std::mem::replace(&mut last, now))
        };
        assert_eq!(difference(), Difference::None);
        write(&files.database, "ab");
        assert_eq!(difference(), Difference::Written);
        write(&files.log, "");
        assert_eq!(difference(), Difference::Written);
        write(&files.log, "more");
        assert_eq!(difference(), Difference::None, "SQLite reports commits itself");
        fs::remove_file(&files.log).unwrap();
        assert_eq!(difference(), Difference::Replaced);
        for (path, text) in [(&files.database, "ab"), (&files.index, "")] {
            write(&files.index, "");
            difference();
            write(&folder.join("other"), text);
            fs::rename(folder.join("other"), path).unwrap();
            assert_eq!(difference(), Difference::Replaced, "{path:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
