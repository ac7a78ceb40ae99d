//! Opens a store by its address, and runs the library's asynchronous methods.

mod address;
mod engine;
mod key_file;
mod password;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    io,
    path::Path,
    time::SystemTime,
};

use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    KeyDigest,
    error::{KeyringError, KeyringErrorKind},
    record::Record,
    store::{Change, Changed, Page, StoreError},
    usage::UsageHistory,
};

pub(crate) use self::{
    address::{find_engine, key_file},
    engine::{Engine, Migrated, Opened},
    password::has_password,
};
use crate::{Failure, escape};

/// An open store.
pub(crate) struct Store {
    runtime: Runtime,
    opened: Box<dyn Opened>,
    is_changed: Cell<bool>,
}

/// The number of records that a database reads or writes at once. It bounds the memory.
const BATCH: usize = 10_000;

impl Store {
    /// Opens a store. Only a key file can be created by a change.
    pub(crate) fn open(engine: &dyn Engine, create: bool, json: bool) -> Result<Self, Failure> {
        let runtime = build_runtime()?;
        let opened = runtime.block_on(engine.open(create, json))?;
        Ok(Self { runtime, opened, is_changed: Cell::default() })
    }

    /// Creates or upgrades the tables of a database.
    pub(crate) fn migrate(engine: &dyn Engine) -> Result<Migrated, Failure> {
        let Some(migration) = engine.migrate() else {
            return Err(Failure::usage(
                "a key file has no tables: `apikey issue` creates it. For a database, add --store \
                 sqlite:keys.db or --store postgres://user@host/keys",
            ));
        };
        Ok(build_runtime()?.block_on(migration)?)
    }

    /// Returns the path of a key file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.opened.file()
    }

    /// Returns a word for the store in messages.
    pub(crate) fn noun(&self) -> &'static str {
        if self.file().is_some() { "file" } else { "database" }
    }

    /// Returns the path of a key file or the name of a database, for messages.
    pub(crate) fn place(&self) -> String {
        match self.file() {
            Some(path) => escape::text(&path.to_string_lossy()),
            None => self.opened.keys().name().to_owned(),
        }
    }

    /// Returns whether the next change creates the key file.
    pub(crate) fn is_missing(&self) -> bool {
        self.file().is_some_and(|path| !path.exists())
    }

    /// Returns the number of records to read or write at once.
    ///
    /// A key file is read and written whole each time.
    pub(crate) fn batch(&self) -> usize {
        if self.file().is_some() { usize::MAX } else { BATCH }
    }

    pub(crate) fn find(&self, digest: &KeyDigest) -> Result<Option<Record>, Failure> {
        Ok(self.runtime.block_on(self.opened.keys().find(digest))?)
    }

    /// Returns the record with a public id.
    pub(crate) fn record(&self, key_id: &str) -> Result<Record, Failure> {
        let mut found = self.page(&Page::new().with_key_id(key_id))?;
        found.pop().ok_or_else(|| KeyringError::from(KeyringErrorKind::UnknownKeyId).into())
    }

    /// Returns the records of one page.
    pub(crate) fn page(&self, page: &Page) -> Result<Vec<Record>, Failure> {
        Ok(self.runtime.block_on(self.opened.keys().list(page))?)
    }

    /// Returns all records that a page selects.
    pub(crate) fn records(&self, page: Page) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        self.each_page(page.with_limit(self.batch()), |mut found| {
            records.append(&mut found);
            Ok(())
        })?;
        Ok(records)
    }

    /// Calls a closure for each page until the records end.
    pub(crate) fn each_page(
        &self,
        mut page: Page,
        mut visit: impl FnMut(Vec<Record>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let records = self.page(&page)?;
            let is_last = records.len() < page.limit();
            let last = records.last().and_then(|record| record.id().map(str::to_owned));
            visit(records)?;
            match last {
                Some(last) if !is_last => page = page.with_after(last),
                _ => return Ok(()),
            }
        }
    }

    /// Returns the digests of the records whose ids other keys of the store have.
    pub(crate) fn find_id_conflicts(
        &self,
        records: &[Record],
    ) -> Result<HashSet<KeyDigest>, Failure> {
        let digests: HashMap<_, _> =
            records.iter().map(|record| (record.id(), record.digest())).collect();
        let mut taken = HashSet::new();
        self.each_page(Page::new().with_limit(self.batch()), |known| {
            let conflicts = known.iter().filter_map(|known| {
                digests.get(&known.id()).filter(|digest| **digest != known.digest())
            });
            taken.extend(conflicts.copied());
            Ok(())
        })?;
        Ok(taken)
    }

    pub(crate) fn commit(&self, change: Change) -> Result<Changed, StoreError> {
        self.is_changed.set(true);
        self.runtime.block_on(change.commit(self.opened.keys()))
    }

    /// Returns the requests since a time and the last use of each key, if the store has them.
    pub(crate) fn usage(&self, since: SystemTime) -> Option<Result<UsageHistory, Failure>> {
        let usage = self.opened.usage(since)?;
        Some(self.runtime.block_on(usage).map_err(Failure::from))
    }
}

fn build_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Completes the files after a change, because the process ends soon.
impl Drop for Store {
    fn drop(&mut self) {
        if self.is_changed.get() {
            self.runtime.block_on(self.opened.finish());
        }
    }
}
