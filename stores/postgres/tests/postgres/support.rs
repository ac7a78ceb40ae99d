//! One server for all tests, databases, and waiting.

use std::{sync::LazyLock, time::Duration};

use tower_api_key::store::Mirrored;
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

pub(crate) use crate::waiting::{issue, reveal, wait_at_most};

/// The longest time until a change takes effect, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(8);

/// The server of the tests that do not break it. A watchdog ends it with this process.
pub(crate) static SERVER: LazyLock<servers::Postgres> = LazyLock::new(|| {
    let server = servers::Postgres::start();
    add_template(&server);
    server
});

/// Creates a database with the tables, which others are copied from.
pub(crate) fn add_template(server: &servers::Postgres) {
    server.sql("postgres", "CREATE DATABASE tables");
    server.sql("tables", &Postgres::schema());
}

/// A new database.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    /// Creates a database with the tables.
    pub(crate) fn migrated() -> Self {
        Self { name: SERVER.create_database("tables") }
    }

    /// Creates a database without tables.
    pub(crate) fn empty() -> Self {
        Self { name: SERVER.create_database("template0") }
    }

    pub(crate) fn url(&self) -> String {
        SERVER.url(&self.name)
    }

    pub(crate) fn open(&self) -> Postgres {
        Postgres::open(&self.url()).unwrap()
    }

    pub(crate) async fn mirror(&self) -> Mirrored {
        Mirrored::open(self.open()).await.unwrap()
    }

    /// Runs SQL as another program.
    pub(crate) fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.name, sql)
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait_at_most(SOON, condition)
}
