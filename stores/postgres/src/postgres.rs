use std::{convert::Infallible, fmt, sync::Arc};

use tokio_postgres::types::Type;
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Change, Changed, KeyStore, Listener, Page, Start, StoreError, StoreFuture},
};

use crate::{PostgresOptions, change, endpoint::Endpoint, feed, pool::Pool, query, rights, schema};

/// A store of keys in a PostgreSQL database.
///
/// Clones share the connections. Give a clone to [`Mirrored::open`](tower_api_key::store::Mirrored::open). The
/// [crate] has an example.
///
/// The store needs PostgreSQL 13 or later, and a runtime of tokio. If the server does not answer within the
/// [deadline](PostgresOptions::deadline), an operation fails with
/// [`Unavailable`](tower_api_key::store::StoreErrorKind::Unavailable).
#[derive(Clone)]
pub struct Postgres {
    pub(crate) pool: Pool,
    /// The server whose changes are followed.
    pub(crate) feed: Arc<Endpoint>,
}

impl Postgres {
    /// Creates a store from a URL such as `postgres://user@host/database`.
    ///
    /// It connects later, when it is used. It never creates tables. Use [`migrate`](Self::migrate) to create them.
    ///
    /// The password comes from the URL, from a [file](PostgresOptions::password_file), or from the file that the
    /// variable `PGPASSFILE` names. No error, no log line and no `Debug` text shows it.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is not valid, or if it requires TLS and the crate has no feature for it.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        PostgresOptions::default().open(url)
    }

    /// Returns options for the deadline, the connections and the password.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// Creates the tables, or upgrades them to the newest version.
    ///
    /// If the tables have that version, this changes nothing. So a deployment can run it each time. Services can
    /// use the database meanwhile. The database can be one that your service uses for its own tables, because all
    /// names begin with `api_key`.
    ///
    /// The tables are in the first schema of the search path.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tower_api_key_postgres::Postgres;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let migrated = Postgres::migrate("postgres://owner@db.example.com/keys").await?;
    /// println!("the tables have version {}", migrated.to());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves the tables as they are, if the database cannot be changed, or if its tables
    /// are those of a newer program.
    pub async fn migrate(url: &str) -> Result<Migrated, StoreError> {
        PostgresOptions::default().migrate(url).await
    }

    /// Returns the SQL statements that create the tables of the newest version.
    #[must_use]
    pub fn schema() -> String {
        schema::sql()
    }

    /// Returns the SQL statements for a role that reads keys and writes usage, for services.
    ///
    /// Such a role cannot issue or revoke a key.
    ///
    /// ```
    /// # use tower_api_key_postgres::Postgres;
    /// assert!(Postgres::service_rights("web").contains("TO \"web\";"));
    /// ```
    #[must_use]
    pub fn service_rights(role: &str) -> String {
        rights::service(role)
    }

    /// Returns the SQL statements for a role that changes keys and reads usage, for operators.
    #[must_use]
    pub fn operator_rights(role: &str) -> String {
        rights::operator(role)
    }
}

/// The result of [`Postgres::migrate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    from: Option<i32>,
}

impl Migrated {
    pub(crate) fn new(from: Option<i32>) -> Self {
        Self { from }
    }

    /// Returns the version of the tables before, or `None` if there were none.
    #[must_use]
    pub fn from(&self) -> Option<u32> {
        self.from.map(i32::unsigned_abs)
    }

    /// Returns the version of the tables now.
    ///
    /// It is newer than this program knows if a newer program has upgraded the tables in a compatible way.
    #[must_use]
    pub fn to(&self) -> u32 {
        self.from.unwrap_or_default().max(schema::NEWEST).unsigned_abs()
    }
}

impl KeyStore for Postgres {
    fn name(&self) -> &str {
        self.pool.endpoint().name()
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async move {
            let digest: &[u8] = &digest.to_bytes();
            let parameters = &[(&digest as _, Type::BYTEA)];
            let rows = self.pool.read("find a key", query::BY_DIGEST, parameters).await?;
            query::found(self.pool.endpoint(), &rows)
        })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async move {
            let (sql, values) = query::list(page);
            let rows = self.pool.read("list keys", &sql, &query::parameters(&values)).await?;
            query::records(self.pool.endpoint(), &rows)
        })
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        Box::pin(async move { change::run(&self.pool, &change).await })
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(async move { feed::follow(&self.feed, &from, listener).await })
    }
}

/// Shows the server and the database.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("database", &self.name()).finish_non_exhaustive()
    }
}
