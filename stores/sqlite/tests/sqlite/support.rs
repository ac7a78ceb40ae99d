//! Folders with a database, and waiting.

use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;
use tower_api_key::store::Mirrored;
use tower_api_key_sqlite::Sqlite;

pub(crate) use crate::waiting::{issue, reveal, wait_at_most};

/// The longest time until a change takes effect, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A user other than root.
pub(crate) const NOBODY: u32 = 65_534;

/// A new folder, which is deleted on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sqlite-{}-{}", process::id(), NUMBER.fetch_add(1, SeqCst));
        let path = fs::canonicalize(env::temp_dir()).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Creates a folder with an empty database.
    pub(crate) fn migrated() -> Self {
        let folder = Self::new();
        Sqlite::migrate(folder.file()).unwrap();
        folder
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.join("keys.db")
    }

    pub(crate) fn open(&self) -> Sqlite {
        Sqlite::open(self.file()).unwrap()
    }

    pub(crate) async fn mirror(&self) -> Mirrored {
        Mirrored::open(self.open()).await.unwrap()
    }

    /// Opens the database as another program.
    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(self.file()).unwrap();
        connection.busy_timeout(SOON).unwrap();
        connection
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait_at_most(SOON, condition)
}

pub(crate) fn at(seconds: u64, micros: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, micros * 1000)
}
