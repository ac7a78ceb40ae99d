//! Records of a store of any engine.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Instant,
};

use tokio::{runtime::Runtime, sync::Notify};
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{Cursor, KeyStore, Listener, Mirrored, Page, Start, StoreError},
};

use crate::figures::millis;

/// Counts the records and drops them.
struct Count(AtomicU32, Notify);

impl Listener for Count {
    fn restart(&self) {}

    fn record(&self, _: u64, _: Record) {
        self.0.fetch_add(1, Relaxed);
    }

    fn removed(&self, _: u64, _: KeyDigest) {}

    fn corrupt(&self, _: u64, _: KeyDigest, _: StoreError) {}

    fn ready(&self, _: Option<&Cursor>) {
        self.1.notify_one();
    }
}

/// Reads each row as a record.
pub async fn read_records(store: &impl KeyStore) -> u32 {
    let count = Count(AtomicU32::new(0), Notify::new());
    tokio::select! {
        Err(error) = store.follow(Start::Everything, &count) => panic!("{error}"),
        () = count.1.notified() => {}
    }
    count.0.load(Relaxed)
}

/// Lists 100 keys and issues one, again and again. Returns the times of both in milliseconds.
pub fn list_and_issue(
    runtime: &Runtime,
    store: &impl KeyStore,
    keys: &Mirrored,
    count: u32,
) -> (Vec<f64>, Vec<f64>) {
    let (mut lists, mut issues) = (Vec::new(), Vec::new());
    for number in 0..100_u64 {
        let page = Page::new().with_after(format!("{:08}", number * 7_919_000 % u64::from(count)));
        let start = Instant::now();
        assert_eq!(runtime.block_on(store.list(&page)).unwrap().len(), 100);
        lists.push(millis(start.elapsed()));
        let start = Instant::now();
        drop(runtime.block_on(keys.issue(&KeyFormat::default(), Client::new("ci"))).unwrap());
        issues.push(millis(start.elapsed()));
    }
    (lists, issues)
}
