use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tower_api_key::store::StoreError;

use crate::{Postgres, endpoint::Endpoint, pool::Pool};

/// Options for a store in a PostgreSQL database. [`Postgres::options`] returns them.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_api_key_postgres::Postgres;
///
/// let keys = Postgres::options()
///     .deadline(Duration::from_secs(2))
///     .password_file("/run/secrets/keys-password")
///     .feed_url("postgres://keys@db.example.com/keys")
///     .open("postgres://keys@pgbouncer.example.com:6432/keys")?;
/// # Ok::<(), tower_api_key::store::StoreError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    deadline: Duration,
    max_connections: usize,
    feed_url: Option<String>,
    password_file: Option<PathBuf>,
    prepares: bool,
}

/// By default the deadline is five seconds, and a process has at most four connections and one for the changes.
impl Default for PostgresOptions {
    fn default() -> Self {
        let deadline = Duration::from_secs(5);
        Self { deadline, max_connections: 4, feed_url: None, password_file: None, prepares: false }
    }
}

impl PostgresOptions {
    /// Sets the longest time of each statement, the wait for a connection included. The default is five seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the largest number of connections for lookups, lists and changes. The default is four.
    ///
    /// Following the changes takes one more connection.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets a URL for the connection that follows the changes, if the other URL is that of a pooler.
    ///
    /// A pooler such as pgbouncer does not forward notifications. Without this URL, a change would take effect
    /// after up to five seconds.
    pub fn feed_url(mut self, url: impl Into<String>) -> Self {
        self.feed_url = Some(url.into());
        self
    }

    /// Sets whether each connection prepares its statements once. The default is `false`.
    ///
    /// A lookup of [`Cached`](tower_api_key::store::Cached) is then faster, because the server parses and plans its
    /// statement once, and not each time. `benches/README.md` has figures.
    ///
    /// Do not use it behind a pooler that gives each transaction another connection to the server, such as pgbouncer
    /// before 1.21. The pooler's connection could then run a statement of another client under the same name.
    pub fn prepared_statements(mut self, prepares: bool) -> Self {
        self.prepares = prepares;
        self
    }

    /// Sets a file with the password of the user.
    ///
    /// It is read for each new connection, so the password can change while the service runs. If other users can
    /// read the file, connecting fails.
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// Creates a store from a URL. It connects later, when it is used.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Postgres::open`].
    pub fn open(&self, url: &str) -> Result<Postgres, StoreError> {
        let endpoint = Arc::new(self.endpoint(url)?.with_prepares(self.prepares));
        let pool = Pool::new(&endpoint, self.max_connections)?;
        let feed = match &self.feed_url {
            Some(url) => Arc::new(self.endpoint(url)?),
            None => endpoint,
        };
        Ok(Postgres { pool, feed })
    }

    /// Creates the tables, or upgrades them to the newest version. See [`Postgres::migrate`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Postgres::migrate`].
    pub async fn migrate(&self, url: &str) -> Result<crate::Migrated, StoreError> {
        let endpoint = self.endpoint(self.feed_url.as_deref().unwrap_or(url))?;
        crate::schema::migrate(endpoint).await.map(crate::Migrated::new)
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, StoreError> {
        Endpoint::parse(url, self.password_file.clone(), self.deadline)
    }
}

/// Leaves the URL out, because it can have a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("deadline", &self.deadline)
            .field("max_connections", &self.max_connections)
            .field("password_file", &self.password_file)
            .field("prepared_statements", &self.prepares)
            .finish_non_exhaustive()
    }
}
