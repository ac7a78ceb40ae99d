use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::{
    error,
    file_stamp::{Difference, FileStamp, Files},
};

/// The path of a database, and how to open it.
#[derive(Debug)]
pub(crate) struct Database {
    files: Files,
    /// The path for logs and errors.
    file: String,
    /// Since when the files at the path are not those of the connections.
    suspended: Mutex<Option<Instant>>,
    connections: Arc<AtomicUsize>,
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A connection and its files.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) stamp: FileStamp,
    /// The version of the tables.
    pub(crate) version: u32,
    _counted: Counted,
}

/// One of the open connections of this process.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The longest time of a reader's wait for a lock. A reader waits only while another process repairs the database.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which an idle connection is closed.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// The shortest time without a connection after other files were found at the path. By then each process has
/// found them and has closed its connections.
const SUSPENSION: Duration = Duration::from_millis(1_200);

const REPLACED: &str = "other files have replaced those of the database";

impl Database {
    /// Makes the path absolute, because the folder of the process can change.
    pub(crate) fn new(path: &Path) -> Result<Self, StoreError> {
        // A path can contain line breaks, which would break a line of the log.
        let file = path.display().to_string().escape_debug().to_string();
        let path = std::path::absolute(path).map_err(|error| {
            let text = format!("{file}: cannot find the folder of this process");
            StoreError::new(StoreErrorKind::Unavailable, text).with_source(error)
        })?;
        let (suspended, connections) = (Mutex::default(), Arc::default());
        Ok(Self { files: Files::new(path), file, suspended, connections })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.files.database
    }

    /// Returns the path for logs and errors.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    pub(crate) fn error(&self, kind: StoreErrorKind, text: &str) -> StoreError {
        StoreError::new(kind, format!("{}: {text}", self.file))
    }

    /// Converts an error of the engine.
    pub(crate) fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |error| error::failed(&self.file, doing, &error)
    }

    /// Opens a database with any tables.
    pub(crate) fn open_any(&self, access: Access) -> Result<Opened, StoreError> {
        let counted = Counted::new(&self.connections);
        let stamp = self.stamp_to_open(None)?;
        let connection = self.connect(access).map_err(self.failed("open the database"))?;
        let stamp = self.stamp_after(&stamp)?;
        Ok(Opened { connection, stamp, version: 0, _counted: counted })
    }

    /// Returns the state of the files, unless they are others than before.
    pub(crate) fn stamp_after(&self, before: &FileStamp) -> Result<FileStamp, StoreError> {
        self.stamp_to_open(Some(before))
    }

    /// Returns the state of the files for a connection that opens.
    ///
    /// If they are gone or others than before, the other connections have old files. The database then stays closed
    /// for a while.
    fn stamp_to_open(&self, before: Option<&FileStamp>) -> Result<FileStamp, StoreError> {
        let is_replaced = |stamp: &FileStamp| {
            before.is_some_and(|before| stamp.since(before) == Difference::Replaced)
        };
        let error = match self.stamp() {
            Ok(stamp) if is_replaced(&stamp) => self.error(StoreErrorKind::Unavailable, REPLACED),
            Ok(stamp) => return Ok(stamp),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.missing(&error),
            Err(error) => return Err(self.missing(&error)),
        };
        // One connection is the one that opens.
        if self.connections.load(SeqCst) > 1 {
            self.suspend();
        }
        Err(error)
    }

    fn connect(&self, access: Access) -> rusqlite::Result<Connection> {
        // SQLite reads a file that is read-only, too. A change then fails.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path(), flags)?;
        // Otherwise the last connection deletes the files beside the database when it closes. A user who may
        // only read could not open the database without them, and another process may just be opening them.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(READ_TIMEOUT)?;
        match access {
            Access::Read => connection.pragma_update(None, "query_only", true)?,
            // Without it, a power loss could undo a revocation.
            Access::Write => connection.pragma_update(None, "synchronous", "FULL")?,
        }
        Ok(connection)
    }

    /// Returns whether a connection sees the current content of the file.
    ///
    /// If other files are at the path, or none, this is an error, and the database stays closed for a while.
    pub(crate) fn is_current(&self, opened: &FileStamp) -> Result<bool, StoreError> {
        let text = match self.stamp() {
            Ok(stamp) => match stamp.since(opened) {
                Difference::None => return Ok(true),
                Difference::Written => return Ok(false),
                Difference::Replaced => REPLACED,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "the file of the database was deleted"
            }
            Err(error) => return Err(self.missing(&error)),
        };
        self.suspend();
        Err(self.error(StoreErrorKind::Unavailable, text))
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        self.files.stamp()
    }

    fn missing(&self, error: &io::Error) -> StoreError {
        let (kind, text) = match error.kind() {
            io::ErrorKind::NotFound => {
                let text = "no such database. Create it with `apikey migrate` or `Sqlite::migrate`"
                    .to_owned();
                (StoreErrorKind::Unavailable, text)
            }
            io::ErrorKind::PermissionDenied => {
                (StoreErrorKind::Denied, "this process may not enter the folder".to_owned())
            }
            _ => (StoreErrorKind::Unavailable, format!("cannot read the database: {error}")),
        };
        self.error(kind, &text)
    }

    /// Keeps the database closed for a while, because its files are not those of the connections.
    ///
    /// The connections of a process share the index of the log, as do processes. If all of them close, SQLite
    /// makes the index again. Otherwise an index of the old files could be used for the new ones.
    pub(crate) fn suspend(&self) {
        self.suspended().get_or_insert_with(Instant::now);
    }

    /// Returns whether a connection must close.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended().is_some()
    }

    /// Opens the database again, if every connection has closed.
    pub(crate) fn resume(&self) -> Result<(), StoreError> {
        let mut suspended = self.suspended();
        if let Some(since) = *suspended {
            if since.elapsed() < SUSPENSION || self.connections.load(SeqCst) > 0 {
                let text = "the files of the database have changed. It is opened again in a second";
                return Err(self.error(StoreErrorKind::Unavailable, text));
            }
            *suspended = None;
        }
        Ok(())
    }

    fn suspended(&self) -> MutexGuard<'_, Option<Instant>> {
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an empty file with the mode 0600, if there is no file.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = "this process may not create a file in the folder";
                Err(self.error(StoreErrorKind::Denied, text))
            }
            Err(error) => Err(self
                .error(StoreErrorKind::Unavailable, "cannot create the file")
                .with_source(error)),
            Ok(_) => Ok(()),
        }
    }

    /// Begins a transaction on one state of the database.
    pub(crate) fn begin_read<'a>(
        &self,
        opened: &'a mut Opened,
    ) -> Result<Transaction<'a>, StoreError> {
        let begun = opened.connection.transaction_with_behavior(TransactionBehavior::Deferred);
        begun.map_err(self.failed("read the database"))
    }

    /// Begins a transaction and excludes other writers. It waits for them until the deadline.
    pub(crate) fn begin_write<'a>(
        &self,
        opened: &'a mut Opened,
        deadline: Instant,
    ) -> Result<Transaction<'a>, StoreError> {
        let failed = self.failed("begin a change");
        let Opened { connection, stamp, .. } = opened;
        let remaining = deadline.saturating_duration_since(Instant::now());
        connection.busy_timeout(remaining).map_err(&failed)?;
        // A deferred transaction would begin as a reader, and could then fail to become a writer.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        // Other files can have come to the path while this waited.
        self.is_current(stamp)?;
        Ok(transaction)
    }

    /// Moves all commits from the log into the file, unless another process uses the database now.
    ///
    /// Without it, a copy of the file alone would miss the commits in the log.
    pub(crate) fn checkpoint(&self, opened: &Opened) {
        if fs::metadata(&self.files.log).is_ok_and(|log| log.len() == 0) {
            return;
        }
        let checkpoint = || {
            opened.connection.busy_timeout(Duration::ZERO)?;
            opened.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
            opened.connection.busy_timeout(READ_TIMEOUT)
        };
        // The next checkpoint tries again.
        _ = checkpoint();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{env, path::PathBuf, process};

    use super::*;

    /// A folder with a database. It is deleted on drop.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("sqlite-{name}-{}", process::id()));
            fs::create_dir_all(&path).unwrap();
            let folder = Self(path);
            folder.database().migrate().unwrap();
            folder
        }

        pub(crate) fn database(&self) -> Database {
            Database::new(&self.path("keys.db")).unwrap()
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// Replaces the file and those beside it by an export.
        fn replace(&self, opened: &Opened) {
            let copy = self.path("copy");
            opened.connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
            fs::remove_file(self.path("keys.db-wal")).unwrap();
            fs::remove_file(self.path("keys.db-shm")).unwrap();
            fs::rename(copy, self.path("keys.db")).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(crate) fn synchronous(opened: &Opened) -> i64 {
        opened.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_writer_waits_until_the_disk_has_a_commit() {
        let folder = Folder::new("full");
        assert_eq!(synchronous(&folder.database().open(Access::Write).unwrap()), 2);
    }

    #[test]
    fn the_files_beside_the_database_stay_for_users_who_may_only_read() {
        let folder = Folder::new("beside");
        for access in [Access::Write, Access::Read] {
            drop(folder.database().open(access).unwrap());
            let beside = ["keys.db-wal", "keys.db-shm"];
            assert!(beside.into_iter().all(|name| folder.path(name).exists()), "{access:?}");
        }
    }

    #[test]
    fn a_connection_to_a_replaced_file_does_not_delete_the_log_of_the_new_file() {
        let folder = Folder::new("replaced");
        let opened = folder.database().open(Access::Write).unwrap();
        folder.replace(&opened);
        let new = folder.database().open(Access::Write).unwrap();
        new.connection.execute_batch("UPDATE api_key_schema SET one = 1").unwrap();
        let log = || fs::metadata(folder.path("keys.db-wal")).unwrap().len();
        assert!(log() > 0);
        drop(opened);
        assert!(log() > 0);
    }

    #[test]
    fn after_other_files_came_it_opens_when_every_old_connection_has_closed() {
        let folder = Folder::new("suspended");
        let database = folder.database();
        let (one, other) =
            (database.open(Access::Read).unwrap(), database.open(Access::Write).unwrap());
        folder.replace(&other);
        assert!(database.is_current(&one.stamp).is_err());
        drop(one);
        opens_without(other, &database);
    }

    #[test]
    fn a_reader_that_finds_no_file_closes_the_connections_to_the_old_one() {
        let folder = Folder::new("moved");
        let database = folder.database();
        let other = database.open(Access::Write).unwrap();
        fs::rename(folder.path("keys.db"), folder.path("moved")).unwrap();
        assert!(database.open(Access::Read).is_err());
        fs::rename(folder.path("moved"), folder.path("keys.db")).unwrap();
        opens_without(other, &database);
        fs::rename(folder.path("keys.db"), folder.path("moved")).unwrap();
        assert!(database.open(Access::Read).is_err());
        assert!(!database.is_suspended(), "no connection is open");
    }

    /// Checks that the database opens again only after the last old connection has closed.
    fn opens_without(other: Opened, database: &Database) {
        assert!(database.is_suspended());
        std::thread::sleep(SUSPENSION);
        let error = database.open(Access::Read).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "one is still open");
        drop(other);
        assert!(database.open(Access::Read).is_ok() && !database.is_suspended());
    }
}
