mod read;
mod write;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tower_api_key::{
    store::StoreError,
    usage::{SinkFuture, UsageBatch, UsageHistory, UsageSink},
};

use crate::{Sqlite, row::micros};

/// Usage in a database: a sink for the counts of services, and their reader.
///
/// [`Sqlite::usage`] returns it. Several processes can write into one database.
///
/// # Examples
///
/// ```no_run
/// use tower_api_key::{store::Mirrored, usage::Usage};
/// use tower_api_key_sqlite::Sqlite;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Sqlite::open("keys.db")?;
/// let usage = Usage::new();
/// let writer = usage.flush_to(store.usage()).in_thread()?;
/// let keys = Mirrored::open(store).await?;
/// // Serve requests here, with `usage.clone()` as an observer of the layer. At the end, write the last counts:
/// writer.flush().await?;
/// # Ok(())
/// # }
/// ```
///
/// # How large does the database get?
///
/// A key takes about 80 bytes for each hour in which it was used. Hours are removed after 90 days
/// ([`with_retention`](Self::with_retention)), and the last use of each key stays.
///
/// # What happens after a crash?
///
/// A batch and its number are written in one transaction, so that no batch counts twice. A power loss can undo
/// the last batches. It never undoes a change of a key.
#[derive(Clone)]
pub struct SqliteUsage {
    store: Sqlite,
    retention: Duration,
    /// The hour since 1970 in which old hours were last removed.
    removed_at: Arc<AtomicU64>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Sqlite {
    /// Returns the usage in this database.
    #[must_use]
    pub fn usage(&self) -> SqliteUsage {
        let retention = 90 * DAY;
        SqliteUsage { store: self.clone(), retention, removed_at: Arc::default() }
    }
}

impl SqliteUsage {
    /// Sets the time after which this sink removes hours. The default is 90 days.
    ///
    /// If two processes have different times, the shorter one counts.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Reads the hours that begin at this time or later, or all of them, and the last use of each key.
    ///
    /// # Errors
    ///
    /// Returns an error if the database cannot be read. If its tables are older than usage, the kind is
    /// [`UnsupportedVersion`](tower_api_key::store::StoreErrorKind::UnsupportedVersion).
    pub async fn read(
        &self,
        since: impl Into<Option<SystemTime>>,
    ) -> Result<UsageHistory, StoreError> {
        let since = since.into().map_or(0, micros);
        let reads = &self.store.shared.reads;
        reads.call(move |database, opened, _| read::history(database, opened, since)).await
    }

    /// Removes old hours, at most once an hour.
    async fn remove_old(&self) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let hour = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600;
        let Some(before) = now.checked_sub(self.retention).map(micros) else { return Ok(()) };
        if self.removed_at.load(Relaxed) == hour {
            return Ok(());
        }
        let writes = &self.store.shared.writes;
        // Each hour is a transaction, so that changes of keys can come between.
        while writes
            .call(move |database, opened, deadline| {
                write::remove_hour(database, opened, before, deadline)
            })
            .await?
        {}
        self.removed_at.store(hour, Relaxed);
        Ok(())
    }
}

impl UsageSink for SqliteUsage {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        let batch = batch.clone();
        Box::pin(async move {
            let writes = &self.store.shared.writes;
            writes
                .call(move |database, opened, deadline| {
                    write::batch(database, opened, &batch, deadline)
                })
                .await?;
            // The batch is written, so that this must not fail. The next batch tries again.
            _ = self.remove_old().await;
            Ok(())
        })
    }
}

/// Shows the database and the retention.
impl fmt::Debug for SqliteUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteUsage")
            .field("store", &self.store)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{DAY, UsageBatch, read, write};
    use crate::{
        database::{
            Access,
            tests::{Folder, synchronous},
        },
        query::tests::{plan, tables},
    };

    #[test]
    fn after_a_batch_each_commit_waits_for_the_disk_again() {
        let folder = Folder::new("usage");
        let database = folder.database();
        let mut opened = database.open(Access::Write).unwrap();
        let batch = UsageBatch::new("one", 1, Vec::new());
        let deadline = Instant::now() + DAY;
        write::batch(&database, &mut opened, &batch, deadline).unwrap();
        assert_eq!(synchronous(&opened), 2);
    }

    #[test]
    fn each_statement_uses_an_index() {
        let by_hour = "SEARCH api_key_usage USING PRIMARY KEY (hour=?)";
        for (sql, expected) in [
            (write::FLUSHED, "SEARCH api_key_flush USING PRIMARY KEY (instance=?)"),
            (write::OLDEST_HOUR, "SEARCH api_key_usage USING PRIMARY KEY"),
            (write::KEEP_LAST_USE, by_hour),
            (write::REMOVE_HOUR, by_hour),
            (read::ROWS, "SEARCH api_key_usage USING PRIMARY KEY (hour>?)"),
        ] {
            assert_eq!(plan(&tables(), sql), expected, "{sql}");
        }
    }
}
