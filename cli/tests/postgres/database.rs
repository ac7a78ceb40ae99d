//! The PostgreSQL database of a test. The tests on SQLite have another such module.

use std::sync::LazyLock;

use tower_api_key::{store::KeyStore, usage::UsageBatch, usage::UsageSink as _};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

use crate::support::{
    Folder,
    stores::{TestStore, runtime},
};

/// The server of all tests. A watchdog ends it with this process.
pub(crate) static SERVER: LazyLock<servers::Postgres> = LazyLock::new(|| {
    let server = servers::Postgres::start();
    server.sql("postgres", "CREATE DATABASE tables");
    server.sql("tables", &Postgres::schema());
    server
});

/// Creates a database with tables, and returns its address.
pub(crate) fn create(_: &Folder, _: &str) -> String {
    SERVER.url(&SERVER.create_database("tables"))
}

pub(crate) fn open(store: &TestStore) -> Box<dyn KeyStore> {
    Box::new(Postgres::open(&store.address).unwrap())
}

pub(crate) fn write_usage(store: &TestStore, batch: &UsageBatch) {
    let runtime = runtime();
    let usage = Postgres::open(&store.address).unwrap().usage();
    runtime.block_on(usage.write(batch)).unwrap();
}

/// Sets since when the database has the uses of all keys, in seconds.
pub(crate) fn set_uses_since(store: &TestStore, seconds: u64) {
    let sql = format!("UPDATE api_key_usage_since SET uses = to_timestamp({seconds})");
    SERVER.sql(store.database_name(), &sql);
}
