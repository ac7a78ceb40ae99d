//! A listener that notes its calls and keeps the records.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::task::JoinHandle;
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Cursor, KeyStore, Listener, Start, StoreError},
};

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Heard>>);

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) calls: Vec<&'static str>,
    /// The records by digest.
    pub(crate) records: BTreeMap<[u8; 32], Record>,
    pub(crate) cursor: Option<Cursor>,
}

impl Log {
    /// Follows a store in a task, which ends with the error of the store.
    pub(crate) fn follow(&self, store: impl KeyStore, from: Start) -> JoinHandle<StoreError> {
        let log = self.clone();
        tokio::spawn(async move {
            let Err(error) = store.follow(from, &log).await;
            error
        })
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap()
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.heard().calls.iter().filter(|it| **it == call).count()
    }
}

impl Listener for Log {
    fn restart(&self) {
        let mut heard = self.heard();
        heard.calls.push("restart");
        heard.records.clear();
    }

    fn record(&self, _: u64, record: Record) {
        let mut heard = self.heard();
        heard.calls.push("record");
        heard.records.insert(record.digest().to_bytes(), record);
    }

    fn removed(&self, _: u64, digest: KeyDigest) {
        let mut heard = self.heard();
        heard.calls.push("removed");
        heard.records.remove(&digest.to_bytes());
    }

    fn corrupt(&self, _: u64, _: KeyDigest, _: StoreError) {
        self.heard().calls.push("corrupt");
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        let mut heard = self.heard();
        heard.calls.push("ready");
        heard.cursor = cursor.cloned();
    }
}
