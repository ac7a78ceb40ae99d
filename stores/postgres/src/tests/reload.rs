use std::{sync::Mutex, time::Duration};

use tokio::time;
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Cursor, Listener, Start, StoreError},
};

use super::{SERVER, database};
use crate::feed::Feed;

/// Notes the calls.
#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Listener for Log {
    fn restart(&self) {
        self.0.lock().unwrap().push("restart");
    }

    fn record(&self, _: u64, _: Record) {
        self.0.lock().unwrap().push("record");
    }

    fn removed(&self, _: u64, _: KeyDigest) {
        self.0.lock().unwrap().push("removed");
    }

    fn corrupt(&self, _: u64, _: KeyDigest, _: StoreError) {}

    fn ready(&self, _: Option<&Cursor>) {
        self.0.lock().unwrap().push("ready");
    }
}

/// Follows past the time of a reload, with a write in between that no trigger has seen.
async fn follow(name: &str, from: Start) -> Vec<&'static str> {
    let endpoint = database(name);
    let log = Log::default();
    let feed = Feed::open(&endpoint, &from, &log, 2).await.unwrap();
    let wake = async {
        time::sleep(Duration::from_millis(300)).await;
        let hidden = "ALTER TABLE api_keys DISABLE TRIGGER ALL; INSERT INTO api_keys (digest, key_id, client) \
            VALUES (sha256('a'), '0000000a', 'ci'); ALTER TABLE api_keys ENABLE TRIGGER ALL; NOTIFY api_keys";
        SERVER.sql(name, hidden);
        time::sleep(Duration::from_millis(2500)).await;
        SERVER.sql(name, "NOTIFY api_keys");
        time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        ended = feed.run() => panic!("{ended:?}"),
        () = wake => {}
    }
    let mut calls = log.0.into_inner().unwrap();
    calls.dedup();
    calls
}

#[tokio::test]
async fn every_record_is_read_again_after_some_time() {
    let calls = follow("reload", Start::Everything).await;
    assert_eq!(calls[..5], ["restart", "ready", "restart", "record", "ready"]);
}

#[tokio::test]
async fn a_cache_is_told_that_any_record_may_have_changed() {
    let calls = follow("reload_now", Start::Now).await;
    assert_eq!(calls[..3], ["ready", "restart", "ready"]);
}
