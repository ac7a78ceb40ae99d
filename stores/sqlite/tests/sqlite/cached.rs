//! Caches of a database in front of real servers. Each has the database open as another process would.

use std::time::Duration;

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Cached, CachedOptions, Change},
};

use crate::{
    faults::run,
    server::{Caller, serve},
    service::at_rest,
    support::{Folder, eventually, reveal, wait_at_most},
};

/// The longest time until a service has recovered from a fault.
const LONG: Duration = Duration::from_secs(20);

struct Service {
    keys: Cached,
    caller: Caller,
}

impl Service {
    async fn start(folder: &Folder, options: CachedOptions) -> Self {
        let keys = options.open(folder.open()).await.unwrap();
        let caller = Caller::new(serve(keys.clone()).await);
        Self { keys, caller }
    }

    async fn issue(&self, client: &str) -> (String, String) {
        reveal(self.keys.issue(&KeyFormat::default(), Client::new(client)).await.unwrap())
    }

    async fn becomes(&self, key: &str, status: u16) {
        wait_at_most(LONG, async || self.caller.status(key).await == status).await;
    }

    /// Waits until the database rejects a key, which must not be accepted before.
    async fn stays_rejected(&self, key: &str) {
        wait_at_most(LONG, async || {
            let status = self.caller.status(key).await;
            assert!([401, 503].contains(&status), "{status}");
            status == 401
        })
        .await;
    }
}

/// Waits until each service has polled the last change, which it does every 50 ms.
async fn polled() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_takes_effect_in_both_services() {
    let folder = Folder::migrated();
    let one = Service::start(&folder, Cached::options()).await;
    let two = Service::start(&folder, Cached::options()).await;
    let (key_id, key) = one.issue("ci").await;
    let (_, other) = one.issue("other").await;
    for service in [&one, &two] {
        // An issued key works at once, because the database is asked.
        assert_eq!(service.caller.status(&key).await, 200);
        assert_eq!(service.caller.status(&other).await, 200);
        assert_eq!(service.caller.status("an-unknown-key").await, 401);
    }
    one.keys.pause(&key_id).await.unwrap();
    assert_eq!(one.caller.status(&key).await, 401);
    eventually(async || two.caller.status(&key).await == 401).await;
    two.keys.resume(&key_id).await.unwrap();
    assert_eq!(two.caller.status(&key).await, 200);
    eventually(async || one.caller.status(&key).await == 200).await;

    // The command is another process.
    Change::revoke_client("ci").commit(&folder.open()).await.unwrap();
    for service in [&one, &two] {
        eventually(async || service.caller.status(&key).await == 401).await;
        assert_eq!(service.caller.status(&other).await, 200);
    }
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    assert_eq!(one.keys.prune(later).await.unwrap(), 1);
    assert_eq!(one.caller.status(&key).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_no_record_is_503_for_its_key_alone_until_it_is_repaired() {
    let folder = Folder::migrated();
    let service = Service::start(&folder, Cached::options()).await;
    let (key_id, key) = service.issue("broken").await;
    let (_, good) = service.issue("good").await;
    assert_eq!(service.caller.status(&key).await, 200);
    let connection = folder.connect();
    connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    let set = |value: &str| {
        let sql = format!("UPDATE api_key SET metadata = {value} WHERE key_id = ?1");
        connection.execute(&sql, [&key_id]).unwrap();
    };
    set("'no JSON'");
    eventually(async || service.caller.status(&key).await == 503).await;
    assert_eq!(service.caller.status(&good).await, 200);
    set("NULL");
    eventually(async || service.caller.status(&key).await == 200).await;
    assert!(service.keys.status().problem().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_is_503_for_keys_outside_of_memory() {
    let folder = Folder::migrated();
    let options = Cached::options().fresh(Duration::from_secs(3));
    let service = Service::start(&folder, options).await;
    let (_, known) = service.issue("known").await;
    let (_, other) = service.issue("other").await;
    at_rest(&folder).await;
    run(&folder, "cp keys.db backup");
    // Its own changes remove keys from memory once more.
    polled().await;
    assert_eq!(service.caller.status(&known).await, 200);
    run(&folder, "rm keys.db");
    assert_eq!(service.caller.status(&known).await, 200, "it is in memory");
    eventually(async || service.keys.status().problem().is_some()).await;
    assert_eq!(service.caller.status(&other).await, 503);
    assert_eq!(service.caller.status("an-unknown-key").await, 503);
    service.becomes(&known, 503).await;
    run(&folder, "cp backup new; mv new keys.db");
    service.becomes(&known, 200).await;
    service.becomes(&other, 200).await;
    service.becomes("an-unknown-key", 401).await;
    wait_at_most(LONG, async || service.keys.status().problem().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_restored_backup_brings_back_stays_rejected() {
    for restore in ["mv backup keys.db", "cat backup >keys.db", "rm keys.db*; mv backup keys.db"] {
        let folder = Folder::migrated();
        let one = Service::start(&folder, Cached::options()).await;
        let two = Service::start(&folder, Cached::options()).await;
        let (key_id, key) = one.issue("bad").await;
        let (_, good) = one.issue("good").await;
        at_rest(&folder).await;
        run(&folder, "cp keys.db backup");
        one.keys.revoke_key(&key_id).await.unwrap();
        // The other process learns of the revocation from the database.
        for service in [&one, &two] {
            assert_eq!(service.caller.status(&good).await, 200);
            eventually(async || service.caller.status(&key).await == 401).await;
        }
        let (_, lost) = one.issue("lost").await;
        assert_eq!(two.caller.status(&lost).await, 200);
        at_rest(&folder).await;
        // Otherwise a service cannot know that the backup lacks a change.
        polled().await;
        run(&folder, restore);
        for service in [&one, &two] {
            service.becomes(&lost, 401).await;
            service.becomes(&good, 200).await;
            service.stays_rejected(&key).await;
        }
    }
}
