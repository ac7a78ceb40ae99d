//! A key file and a database, for tests that hold for both.

use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    KeyDigest,
    key_file::KeyFile,
    record::Record,
    store::{KeyStore, Page},
};

use super::{Apikey, Folder, Key, fixtures::create_every_state};
use crate::database;

const FILE: &str = "keys.jsonl";

/// A folder with a store. The environment names the store.
pub(crate) struct TestStore {
    pub(crate) folder: Folder,
    pub(crate) address: String,
}

/// Runs a test on an empty key file and on an empty database.
pub(crate) fn on_both_stores(test: impl Fn(&TestStore)) {
    let file = Folder::with(&[]);
    test(&TestStore::file(file));
    test(&TestStore::database(Folder::new()));
}

/// Runs a test on stores with a key in every state.
pub(crate) fn on_both_with_every_state(test: impl Fn(&TestStore)) {
    test(&TestStore::file(create_every_state()));
    let database = TestStore::database(create_every_state());
    database.copy_file().exits(0);
    std::fs::remove_file(database.folder.file()).unwrap();
    test(&database);
}

impl TestStore {
    /// Uses the key file of a folder.
    pub(crate) fn file(folder: Folder) -> Self {
        Self { folder, address: FILE.to_owned() }
    }

    /// Creates a database in a folder.
    pub(crate) fn database(folder: Folder) -> Self {
        let address = database::create(&folder, "keys");
        Self { folder, address }
    }

    pub(crate) fn is_database(&self) -> bool {
        self.address != FILE
    }

    /// Returns the address without the user, as messages show it.
    pub(crate) fn name(&self) -> String {
        self.address.replace("postgres@", "")
    }

    /// Returns the name of the database in the address.
    pub(crate) fn database_name(&self) -> &str {
        self.address.rsplit(['/', ':']).next().unwrap()
    }

    /// Builds a copy of the key file to the database.
    pub(crate) fn copy_file(&self) -> Apikey<'_> {
        self.folder.apikey("copy --from keys.jsonl --to").arg(&self.address)
    }

    /// Builds a copy of the database to another key file.
    pub(crate) fn copy_back(&self) -> Apikey<'_> {
        self.folder.apikey("copy --to back.jsonl --from").arg(&self.address)
    }

    /// Returns the text for a key file or the one for a database.
    pub(crate) fn choose<'a>(&self, file: &'a str, database: &'a str) -> &'a str {
        if self.is_database() { database } else { file }
    }

    pub(crate) fn apikey(&self, words: &str) -> Apikey<'_> {
        self.folder.apikey(words).env("API_KEYS_STORE", &self.address)
    }

    pub(crate) fn issue(&self, words: &str) -> Key {
        self.apikey(&format!("issue {words}")).exits(0).key()
    }

    /// Reads all records with the library.
    pub(crate) fn records(&self) -> Vec<Record> {
        let page = Page::new().with_limit(100_000);
        let (store, runtime) = (self.open(), runtime());
        runtime.block_on(store.list(&page)).unwrap()
    }

    pub(crate) fn record(&self, id: &str) -> Record {
        self.records().into_iter().find(|record| record.id() == Some(id)).unwrap()
    }

    /// Checks a key as a service does, and returns the client's id or the reason.
    pub(crate) fn verify(&self, key: &str) -> Result<String, &'static str> {
        let digest = KeyDigest::of(key);
        let (store, runtime) = (self.open(), runtime());
        let record = runtime.block_on(store.find(&digest)).unwrap().ok_or("unknown")?;
        record.check(std::time::SystemTime::now()).map_err(|reason| reason.as_str())?;
        Ok(record.client().id().to_owned())
    }

    fn open(&self) -> Box<dyn KeyStore> {
        self.open_with(false)
    }

    /// Opens the store as a service does.
    pub(crate) fn open_followed(&self) -> Box<dyn KeyStore> {
        self.open_with(true)
    }

    fn open_with(&self, follow: bool) -> Box<dyn KeyStore> {
        if self.is_database() {
            return database::open(self);
        }
        Box::new(KeyFile::options().follow(follow).open(self.folder.file()).unwrap())
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
