//! One server for all tests, databases, and waiting.

use std::{
    panic::Location,
    sync::LazyLock,
    time::{Duration, Instant},
};

use tower_api_key::{
    Client,
    key::{KeyFormat, MintedKey},
    store::Mirrored,
};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

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

/// Returns the id and the text of a minted key.
pub(crate) fn reveal(minted: MintedKey) -> (String, String) {
    (minted.id().to_owned(), minted.reveal(str::to_owned))
}

/// Issues a key and returns its id and its text.
pub(crate) async fn issue(keys: &Mirrored, client: &str) -> (String, String) {
    reveal(keys.issue(&KeyFormat::default(), Client::new(client)).await.unwrap())
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait(SOON, condition, Location::caller())
}

/// Waits until a condition holds, for a time of the caller's choice.
#[track_caller]
pub(crate) fn wait_at_most(
    time: Duration,
    condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    wait(time, condition, Location::caller())
}

async fn wait(time: Duration, mut condition: impl AsyncFnMut() -> bool, caller: &Location<'_>) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < time, "the condition of {caller} did not hold in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
