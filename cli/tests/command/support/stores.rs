//! A key file and a database, for tests that hold for both.

use tokio::runtime::{Builder, Runtime};
use tower_api_key::{
    KeyDigest,
    key_file::KeyFile,
    record::Record,
    store::{KeyStore, Page},
};
use tower_api_key_sqlite::Sqlite;

use super::{Apikey, Folder, Key, fixtures::create_every_state};

pub(crate) const DATABASE: &str = "sqlite:keys.db";

/// A folder with a store. The environment names the store.
pub(crate) struct TestStore {
    pub(crate) folder: Folder,
    pub(crate) address: &'static str,
}

/// Runs a test on an empty key file and on an empty database.
pub(crate) fn on_both_stores(test: impl Fn(&TestStore)) {
    let file = Folder::with(&[]);
    test(&TestStore { folder: file, address: "keys.jsonl" });
    test(&TestStore::database(Folder::new()));
}

/// Runs a test on stores with a key in every state.
pub(crate) fn on_both_with_every_state(test: impl Fn(&TestStore)) {
    test(&TestStore { folder: create_every_state(), address: "keys.jsonl" });
    let database = TestStore::database(create_every_state());
    database.folder.apikey("copy --from keys.jsonl --to sqlite:keys.db").exits(0);
    std::fs::remove_file(database.folder.file()).unwrap();
    test(&database);
}

impl TestStore {
    /// Creates a database in a folder.
    pub(crate) fn database(folder: Folder) -> Self {
        Sqlite::migrate(folder.path().join("keys.db")).unwrap();
        Self { folder, address: DATABASE }
    }

    pub(crate) fn is_database(&self) -> bool {
        self.address == DATABASE
    }

    /// Returns the text for a key file or the one for a database.
    pub(crate) fn choose<'a>(&self, file: &'a str, database: &'a str) -> &'a str {
        if self.is_database() { database } else { file }
    }

    pub(crate) fn apikey(&self, words: &str) -> Apikey<'_> {
        self.folder.apikey(words).env("API_KEYS_STORE", self.address)
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
            return Box::new(Sqlite::open(self.folder.path().join("keys.db")).unwrap());
        }
        Box::new(KeyFile::options().follow(follow).open(self.folder.file()).unwrap())
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}
