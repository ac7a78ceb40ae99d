use std::{convert::Infallible, fmt, path::Path, sync::Arc};

use tokio::{sync::mpsc, task};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{
        Change, Changed, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind, StoreFuture,
    },
};

use crate::{
    change,
    database::{Access, Database, Opened},
    feed::{self, Delivery, Feed, Message},
    query::Keys,
    schema,
    warning::SqliteWarning,
    worker::Worker,
};

/// A store of keys in an SQLite database.
///
/// Clones share the database. Give a clone to [`Mirrored::open`](tower_api_key::store::Mirrored::open) or
/// [`Cached::open`](tower_api_key::store::Cached::open). The [crate] has an example.
///
/// A thread reads and another thread writes, so that no task of the runtime waits for the disk. If a change
/// waits longer than five seconds for another process, it fails with
/// [`Unavailable`](StoreErrorKind::Unavailable).
///
/// A [`find`](KeyStore::find) reads one row in the thread of its caller if the connection is open and free. That
/// takes a few microseconds, which is less than the way to another thread and back. Such a find waits for no
/// lock. If it takes longer than a millisecond, the finds of the next 100 ms go to the other thread.
#[derive(Clone)]
pub struct Sqlite {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    database: Arc<Database>,
    name: String,
    warnings: Vec<SqliteWarning>,
    pub(crate) reads: Worker,
    pub(crate) writes: Worker,
}

impl Sqlite {
    /// Opens a database. It never creates one.
    ///
    /// Use [`migrate`](Self::migrate) or the command `apikey migrate` to create a database.
    ///
    /// # Errors
    ///
    /// - If there is no such file, the kind is [`Unavailable`](StoreErrorKind::Unavailable).
    /// - If this process may not read the file, it is [`Denied`](StoreErrorKind::Denied).
    /// - If the file is no SQLite database, it is [`Corrupt`](StoreErrorKind::Corrupt).
    /// - If the database has no tables of keys, or tables of a newer program, it is
    ///   [`UnsupportedVersion`](StoreErrorKind::UnsupportedVersion).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let database = Arc::new(Database::new(path.as_ref())?);
        database.open(Access::Read)?;
        let reads = Worker::start(&database, Access::Read)?;
        let writes = Worker::start(&database, Access::Write)?;
        let name = format!("sqlite:{}", database.file());
        let warnings = SqliteWarning::all(database.path());
        #[cfg(feature = "tracing")]
        warnings.iter().for_each(|warning| warning.log(database.file()));
        Ok(Self { shared: Arc::new(Shared { database, name, warnings, reads, writes }) })
    }

    /// Creates a database, or upgrades its tables to the newest version.
    ///
    /// If the tables have that version, this changes nothing. So a deployment can run it each time. Other
    /// processes can use the database meanwhile. A new file has the mode 0600.
    ///
    /// The database can be one that your service uses for its own tables. All tables of this crate begin with
    /// `api_key`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key_sqlite::Sqlite;
    ///
    /// # let folder = std::env::temp_dir().join(format!("tower-api-key-sqlite-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("keys.db");
    /// assert_eq!(Sqlite::migrate(&path)?.from(), None);
    /// let keys = Sqlite::open(&path)?;
    /// # drop(keys);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves the tables as they are, if the database cannot be opened or written, or if
    /// its tables are those of a newer program.
    pub fn migrate(path: impl AsRef<Path>) -> Result<Migrated, StoreError> {
        let from = Database::new(path.as_ref())?.migrate()?;
        Ok(Migrated { from })
    }

    /// Returns the SQL statements that create the tables of the newest version.
    #[must_use]
    pub fn schema() -> String {
        schema::sql()
    }

    /// Moves all commits from the file `-wal` into the file of the database.
    ///
    /// The store does so by itself once it has been idle for a second. Call this before your process ends soon
    /// after a change, because a copy of the file alone would miss the change. If another process uses the
    /// database now, the commits stay where they are.
    ///
    /// # Errors
    ///
    /// Returns an error if the database cannot be opened.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let writes = &self.shared.writes;
        writes
            .call(|database, opened, _| {
                database.checkpoint(opened);
                Ok(())
            })
            .await
    }

    /// Returns the risks of the place of the database. With the feature `tracing`, the log has them as well.
    #[must_use]
    pub fn warnings(&self) -> &[SqliteWarning] {
        &self.shared.warnings
    }

    /// Returns the absolute path of the database.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.database.path()
    }
}

/// The result of [`Sqlite::migrate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    from: Option<u32>,
}

impl Migrated {
    /// Returns the version of the tables before, or `None` if there were none.
    #[must_use]
    pub fn from(&self) -> Option<u32> {
        self.from
    }

    /// Returns the version of the tables now.
    ///
    /// It is newer than this program knows if a newer program has upgraded the tables in a compatible way.
    #[must_use]
    pub fn to(&self) -> u32 {
        self.from.unwrap_or_default().max(schema::NEWEST)
    }
}

impl KeyStore for Sqlite {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        let digest = *digest;
        let find = move |database: &Database, opened: &Opened| {
            Keys { database, connection: &opened.connection }.find(&digest)
        };
        Box::pin(async move {
            match self.shared.reads.call_here(find) {
                Some(found) => Ok(found),
                None => {
                    self.shared.reads.call(move |database, opened, _| find(database, opened)).await
                }
            }
        })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        let page = page.clone();
        Box::pin(self.shared.reads.call(move |database, opened, _| {
            Keys { database, connection: &opened.connection }.list(&page)
        }))
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        Box::pin(self.shared.writes.call(move |database, opened, deadline| {
            change::run(database, opened, &change, deadline)
        }))
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(async move {
            let (sender, mut messages) = mpsc::channel(feed::MAX_WAITING);
            Feed::new(&self.shared.database, &from, sender).start()?;
            while let Some(message) = messages.recv().await {
                match message {
                    Message::Restart(answer) => {
                        listener.restart();
                        // If the thread has ended, no message follows.
                        _ = answer.send(());
                    }
                    Message::Expect(records) => listener.expect(records),
                    Message::Removed(keys) => {
                        keys.into_iter()
                            .for_each(|(version, digest)| listener.removed(version, digest));
                    }
                    Message::Records(keys) => keys.into_iter().for_each(|key| match key {
                        Delivery::Record(version, record) => listener.record(version, record),
                        Delivery::Corrupt(version, digest, error) => {
                            listener.corrupt(version, digest, error);
                        }
                    }),
                    Message::Ready(cursor) => listener.ready(Some(&cursor)),
                    Message::Failed(error) => return Err(error),
                }
                task::yield_now().await;
            }
            let text = "the thread that follows the database has ended";
            Err(self.shared.database.error(StoreErrorKind::Unavailable, text))
        })
    }
}

/// Shows the path.
impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path()).finish_non_exhaustive()
    }
}
