//! The kinds of stores.

use std::{
    future::{Future, ready},
    path::Path,
    pin::Pin,
    time::SystemTime,
};

use tower_api_key::{
    store::{KeyStore, StoreFuture},
    usage::UsageHistory,
};

/// A store that is not open yet.
pub(crate) trait Engine: Sync {
    /// Opens the store and prints its warnings. With `create`, a change can create a key file.
    fn open(&self, create: bool, json: bool) -> StoreFuture<'_, Box<dyn Opened>>;

    fn is_database(&self) -> bool;

    /// Creates or upgrades the tables. A key file has none.
    fn migrate(&self) -> Option<StoreFuture<'_, Migrated>> {
        None
    }
}

/// An open store, with abilities that the library's trait does not have.
pub(crate) trait Opened: Send {
    fn keys(&self) -> &dyn KeyStore;

    /// Returns the path of a key file.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Reads the usage rows of a database.
    fn usage(&self, _since: SystemTime) -> Option<StoreFuture<'_, UsageHistory>> {
        None
    }

    /// Completes the files of the store after the last change.
    fn finish(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}

/// The versions of the tables before and after a migration.
#[derive(Clone, Copy)]
pub(crate) struct Migrated {
    pub(crate) from: Option<u32>,
    pub(crate) to: u32,
}
