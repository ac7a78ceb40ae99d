//! The SQLite database of a test. The tests on PostgreSQL have another such module.

use std::path::PathBuf;

use rusqlite::Connection;
use tower_api_key::{store::KeyStore, usage::UsageBatch, usage::UsageSink as _};
use tower_api_key_sqlite::Sqlite;

use crate::support::{
    Folder,
    stores::{TestStore, runtime},
};

pub(crate) const DATABASE: &str = "sqlite:keys.db";

fn path(store: &TestStore) -> PathBuf {
    store.folder.path().join(store.database_name())
}

/// Creates a database with tables, and returns its address.
pub(crate) fn create(folder: &Folder, name: &str) -> String {
    let name = format!("{name}.db");
    Sqlite::migrate(folder.path().join(&name)).unwrap();
    format!("sqlite:{name}")
}

pub(crate) fn open(store: &TestStore) -> Box<dyn KeyStore> {
    Box::new(Sqlite::open(path(store)).unwrap())
}

pub(crate) fn write_usage(store: &TestStore, batch: &UsageBatch) {
    let usage = Sqlite::open(path(store)).unwrap().usage();
    runtime().block_on(usage.write(batch)).unwrap();
}

/// Sets since when the database has the uses of all keys, in seconds.
pub(crate) fn set_uses_since(store: &TestStore, seconds: u64) {
    let connection = Connection::open(path(store)).unwrap();
    let micros = seconds * 1_000_000;
    connection.execute_batch(&format!("UPDATE api_key_usage_since SET uses = {micros}")).unwrap();
}
