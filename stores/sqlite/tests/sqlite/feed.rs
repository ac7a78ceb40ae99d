//! Following the changes of a database, call by call.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, Cursor, KeyStore as _, Listener, Start, StoreError},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::Child,
    faults::run,
    service::at_rest,
    support::{Folder, eventually},
};

/// A listener that notes its calls, and the number of records that it was told to expect.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>);

impl Calls {
    fn add(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    /// Waits for a number of calls and returns all calls.
    async fn wait(&self, count: usize) -> Vec<String> {
        eventually(async || self.0.lock().unwrap().len() >= count).await;
        self.0.lock().unwrap().clone()
    }

    fn cursor(&self) -> Cursor {
        let calls = self.0.lock().unwrap();
        let last = calls.iter().rev().find_map(|call| call.strip_prefix("ready "));
        Cursor::new(last.unwrap())
    }

    /// Follows a store in a task.
    fn follow(&self, store: &Sqlite, from: Start) -> JoinHandle<StoreError> {
        let (store, calls) = (store.clone(), self.clone());
        tokio::spawn(async move { store.follow(from, &calls).await.unwrap_err() })
    }
}

impl Listener for Calls {
    fn restart(&self) {
        self.add("restart".to_owned());
    }

    fn expect(&self, records: usize) {
        self.1.fetch_add(records, Relaxed);
    }

    fn record(&self, version: u64, record: Record) {
        let state = if record.revoked().is_some() { " revoked" } else { "" };
        self.add(format!("{version} {}{state}", record.client().id()));
    }

    fn removed(&self, version: u64, digest: KeyDigest) {
        let name = ["a", "b", "c"].into_iter().find(|name| KeyDigest::of(name) == digest).unwrap();
        self.add(format!("{version} {name} removed"));
    }

    fn corrupt(&self, version: u64, _: KeyDigest, error: StoreError) {
        self.add(format!("{version} {error}"));
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        self.add(format!("ready {}", cursor.unwrap().as_str()));
    }
}

/// Inserts a key that its client has the name of.
async fn insert(store: &Sqlite, name: &str, key_id: &str) {
    let record = Record::new(KeyDigest::of(name), Client::new(name)).with_id(key_id).unwrap();
    _ = Change::insert(record).commit(store).await.unwrap();
}

/// Cuts the random part of a cursor off.
fn without_marks(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.split(':').next().unwrap()).collect()
}

#[tokio::test]
async fn every_record_comes_first_and_then_each_change_with_its_version() {
    let folder = Folder::migrated();
    let store = folder.open();
    insert(&store, "a", "0000000a").await;
    insert(&store, "b", "0000000b").await;
    let calls = Calls::default();
    let follows = calls.follow(&store, Start::Everything);
    assert_eq!(without_marks(&calls.wait(4).await), ["restart", "1 a", "2 b", "ready 2"]);
    assert_eq!(calls.1.load(Relaxed), 2);
    let changed = Change::revoke_client("a").commit(&store).await.unwrap();
    assert_eq!(changed.version(), 3);
    assert_eq!(without_marks(&calls.wait(6).await[4..]), ["3 a revoked", "ready 3"]);
    let unchanged = Change::revoke_client("a").commit(&store).await.unwrap();
    assert_eq!((unchanged.count(), unchanged.version()), (0, 3));
    follows.abort();
}

#[tokio::test]
async fn removals_come_before_records_because_an_id_can_move() {
    let folder = Folder::migrated();
    let store = folder.open();
    insert(&store, "a", "0000000a").await;
    let calls = Calls::default();
    let follows = calls.follow(&store, Start::Everything);
    calls.wait(3).await;
    follows.abort();
    _ = Change::revoke_client("a").with_time(std::time::UNIX_EPOCH).commit(&store).await.unwrap();
    let later = std::time::UNIX_EPOCH + Duration::from_secs(9);
    _ = Change::prune(later).commit(&store).await.unwrap();
    insert(&store, "b", "0000000a").await;
    let again = Calls::default();
    let follows = again.follow(&store, Start::After(calls.cursor()));
    assert_eq!(without_marks(&again.wait(3).await), ["3 a removed", "4 b", "ready 4"]);
    follows.abort();
}

#[tokio::test]
async fn a_cursor_resumes_without_a_load_unless_a_backup_was_restored() {
    let folder = Folder::migrated();
    let store = folder.open();
    insert(&store, "a", "0000000a").await;
    at_rest(&folder).await;
    run(&folder, "cp keys.db backup");
    insert(&store, "b", "0000000b").await;
    let calls = Calls::default();
    calls.follow(&store, Start::Everything).abort();
    let follows = calls.follow(&store, Start::Everything);
    calls.wait(4).await;
    follows.abort();
    let cursor = calls.cursor();

    let same = Calls::default();
    let follows = same.follow(&store, Start::After(cursor.clone()));
    assert_eq!(without_marks(&same.wait(1).await), ["ready 2"]);
    follows.abort();

    // The restored database gets the same version by another change.
    run(&folder, "rm keys.db*; mv backup keys.db");
    let store = folder.open();
    insert(&store, "c", "0000000c").await;
    let other = Calls::default();
    let follows = other.follow(&store, Start::After(cursor));
    assert_eq!(without_marks(&other.wait(4).await), ["restart", "1 a", "2 c", "ready 2"]);
    follows.abort();
    for text in ["", "7", "x:y", "1:1", "-1:5", "99999999999999999999:1"] {
        let calls = Calls::default();
        let follows = calls.follow(&store, Start::After(Cursor::new(text)));
        assert_eq!(calls.wait(4).await[0], "restart", "{text}");
        follows.abort();
    }
}

#[tokio::test]
async fn a_cache_receives_changes_alone() {
    let folder = Folder::migrated();
    let store = folder.open();
    insert(&store, "a", "0000000a").await;
    let calls = Calls::default();
    let follows = calls.follow(&store, Start::Now);
    assert_eq!(without_marks(&calls.wait(1).await), ["ready 1"]);
    insert(&store, "b", "0000000b").await;
    assert_eq!(without_marks(&calls.wait(3).await), ["ready 1", "2 b", "ready 2"]);
    assert_eq!(calls.1.load(Relaxed), 0);
    follows.abort();
}

/// Revokes the key `a` at the first call of one kind, before the call returns.
struct Revokes {
    calls: Calls,
    at: &'static str,
    file: std::path::PathBuf,
}

impl Revokes {
    fn revoke(&self, at: &str) {
        if self.at == at {
            // Another process, because this one waits inside a call.
            let mut other = Child::start("change", &self.file);
            other.tell("revoke a");
            _ = other.line();
        }
    }
}

impl Listener for Revokes {
    fn restart(&self) {
        self.revoke("restart");
        self.calls.restart();
    }

    fn record(&self, version: u64, record: Record) {
        if record.revoked().is_none() {
            self.revoke("record");
        }
        self.calls.record(version, record);
    }

    fn removed(&self, version: u64, digest: KeyDigest) {
        self.calls.removed(version, digest);
    }

    fn corrupt(&self, version: u64, digest: KeyDigest, error: StoreError) {
        self.calls.corrupt(version, digest, error);
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        self.revoke("ready");
        self.calls.ready(cursor);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_at_any_point_of_a_load_is_delivered() {
    for (at, expected) in [
        ("restart", &["restart", "2 a revoked", "ready 2"][..]),
        ("record", &["restart", "1 a", "ready 1", "2 a revoked", "ready 2"]),
        ("ready", &["restart", "1 a", "ready 1", "2 a revoked", "ready 2"]),
    ] {
        let folder = Folder::migrated();
        let store = folder.open();
        insert(&store, "a", "0000000a").await;
        let calls = Calls::default();
        let listener = Revokes { calls: calls.clone(), at, file: folder.file() };
        let follows = tokio::spawn(async move { store.follow(Start::Everything, &listener).await });
        assert_eq!(without_marks(&calls.wait(expected.len()).await), expected, "{at}");
        follows.abort();
    }
}

#[test]
fn the_threads_end_and_memory_stays_bounded() {
    let folder = Folder::migrated();
    let sql = "INSERT INTO api_key (digest, key_id, client, created)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        SELECT randomblob(32), printf('%08d', i), 'client', 0 FROM n";
    folder.connect().execute_batch(sql).unwrap();
    let mut child = Child::start("listen", &folder.file());
    let mut next = || child.line().unwrap().parse::<usize>().unwrap();
    let (before, stuck, threads_before, threads_after) = (next(), next(), next(), next());
    println!("{before} KiB, then {stuck} KiB; {threads_before} threads, then {threads_after}");
    assert!(stuck < before + 6_000, "{before} KiB, then {stuck} KiB");
    assert_eq!(threads_after, threads_before);
}
