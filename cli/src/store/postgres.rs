//! PostgreSQL databases.

use std::{path::Path, time::SystemTime};

use tower_api_key::{
    store::{KeyStore, StoreError, StoreFuture},
    usage::UsageHistory,
};
use tower_api_key_postgres::{Postgres, PostgresOptions};

use super::engine::{Engine, Migrated, Opened};

pub(super) struct PostgresEngine {
    url: String,
    options: PostgresOptions,
    keys: Postgres,
}

impl PostgresEngine {
    /// Takes a URL, and a file with the password. It connects later.
    pub(super) fn new(url: &str, password_file: Option<&Path>) -> Result<Self, StoreError> {
        let options = Postgres::options();
        let options = password_file.into_iter().fold(options, PostgresOptions::password_file);
        let keys = options.open(url)?;
        Ok(Self { url: url.to_owned(), options, keys })
    }
}

impl Engine for PostgresEngine {
    fn open(&self, _create: bool, _json: bool) -> StoreFuture<'_, Box<dyn Opened>> {
        Box::pin(async move { Ok(Box::new(self.keys.clone()) as Box<dyn Opened>) })
    }

    fn is_database(&self) -> bool {
        true
    }

    fn migrate(&self) -> Option<StoreFuture<'_, Migrated>> {
        Some(Box::pin(async move {
            let migrated = self.options.migrate(&self.url).await?;
            Ok(Migrated { from: migrated.from(), to: migrated.to() })
        }))
    }
}

impl Opened for Postgres {
    fn keys(&self) -> &dyn KeyStore {
        self
    }

    fn usage(&self, since: SystemTime) -> Option<StoreFuture<'_, UsageHistory>> {
        Some(Box::pin(async move { Self::usage(self).read(since).await }))
    }
}
