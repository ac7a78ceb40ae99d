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

use tokio::runtime::Handle;
use tower_api_key::{
    store::StoreError,
    usage::{SinkFuture, UsageBatch, UsageHistory, UsageSink},
};

use crate::Postgres;

#[cfg(test)]
pub(crate) mod statements {
    pub(crate) use super::{
        read::ROWS,
        write::{OLDEST_HOUR, REMOVE, SET_FLUSHED},
    };
}

/// Usage in a database: a sink for the counts of services, and their reader.
///
/// [`Postgres::usage`] returns it. All replicas can write into one database.
///
/// # Examples
///
/// ```no_run
/// use tower_api_key::{store::Mirrored, usage::Usage};
/// use tower_api_key_postgres::Postgres;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Postgres::open("postgres://keys@db.example.com/keys")?;
/// let usage = Usage::new();
/// let (writer, task) = usage.flush_to(store.usage()).in_task(tokio::time::sleep)?;
/// tokio::spawn(task);
/// let keys = Mirrored::open(store).await?;
/// // Serve requests here, with `usage.clone()` as an observer of the layer. At the end, write the last counts:
/// writer.flush().await?;
/// # Ok(())
/// # }
/// ```
///
/// # How large does the database get?
///
/// A key takes about 120 bytes for each hour in which it was used. Hours are removed after 90 days
/// ([`with_retention`](Self::with_retention)), and the last use of each key stays.
///
/// # How many replicas can write?
///
/// Each replica writes a row for each key that was active since the last batch. Choose the interval of the writer
/// so that all replicas together write at most some thousand rows a second.
///
/// # What happens after a crash?
///
/// A batch and its number are written in one transaction, so that no batch counts twice.
#[derive(Clone)]
pub struct PostgresUsage {
    store: Postgres,
    retention: Duration,
    /// The hour since 1970 in which old hours were last removed.
    removed_at: Arc<AtomicU64>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Postgres {
    /// Returns the usage in this database.
    #[must_use]
    pub fn usage(&self) -> PostgresUsage {
        let retention = 90 * DAY;
        PostgresUsage { store: self.clone(), retention, removed_at: Arc::default() }
    }
}

impl PostgresUsage {
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
        read::history(&self.store.pool, since.into().unwrap_or(UNIX_EPOCH)).await
    }

    /// Removes old hours, at most once an hour.
    async fn remove_old(&self) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let hour = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600;
        let Some(before) = now.checked_sub(self.retention) else { return Ok(()) };
        if self.removed_at.load(Relaxed) == hour {
            return Ok(());
        }
        while write::remove_some(&self.store.pool, before).await? {}
        self.removed_at.store(hour, Relaxed);
        Ok(())
    }
}

impl UsageSink for PostgresUsage {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        Box::pin(async move {
            if Handle::try_current().is_err() {
                return Err("the writer of usage needs a runtime of tokio. Use `in_task`".into());
            }
            write::batch(&self.store.pool, batch).await?;
            // The batch is written, so that this must not fail. The next batch tries again.
            _ = self.remove_old().await;
            Ok(())
        })
    }
}

/// Shows the database and the retention.
impl fmt::Debug for PostgresUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUsage")
            .field("store", &self.store)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
