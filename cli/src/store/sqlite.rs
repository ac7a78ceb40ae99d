//! SQLite databases.

use std::{future::Future, path::PathBuf, pin::Pin, time::SystemTime};

use tower_api_key::{
    store::{KeyStore, StoreFuture},
    usage::UsageHistory,
};
use tower_api_key_sqlite::Sqlite;

use super::engine::{Engine, Migrated, Opened};
use crate::output;

pub(super) struct SqliteEngine {
    path: PathBuf,
}

impl SqliteEngine {
    /// Takes a path, or the form `//path`, which some programs write.
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.strip_prefix("//").unwrap_or(path).into() }
    }
}

impl Engine for SqliteEngine {
    fn open(&self, _create: bool, json: bool) -> StoreFuture<'_, Box<dyn Opened>> {
        Box::pin(async move {
            let keys = Sqlite::open(&self.path)?;
            keys.warnings().iter().for_each(|warning| output::warn(&warning.to_string(), json));
            Ok(Box::new(keys) as Box<dyn Opened>)
        })
    }

    fn is_database(&self) -> bool {
        true
    }

    fn migrate(&self) -> Option<StoreFuture<'_, Migrated>> {
        Some(Box::pin(async move {
            let migrated = Sqlite::migrate(&self.path)?;
            Ok(Migrated { from: migrated.from(), to: migrated.to() })
        }))
    }
}

impl Opened for Sqlite {
    fn keys(&self) -> &dyn KeyStore {
        self
    }

    fn usage(&self, since: SystemTime) -> Option<StoreFuture<'_, UsageHistory>> {
        Some(Box::pin(async move { Self::usage(self).read(since).await }))
    }

    fn finish(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // The change is made, so that this must not fail.
        Box::pin(async move { drop(self.checkpoint().await) })
    }
}
