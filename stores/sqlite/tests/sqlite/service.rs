//! Two services on one database, in this process and in another. A task asks both all the time.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tower_api_key::store::{Change, Mirrored, StoreErrorKind};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::Child,
    server::{Caller, serve},
    support::{Folder, SOON, eventually, issue, wait_at_most},
};

/// Two services. Good keys must be accepted and revoked keys rejected during every fault.
pub(crate) struct Service {
    pub(crate) keys: Mirrored,
    store: Sqlite,
    callers: Arc<[Caller; 2]>,
    events: Arc<Mutex<Vec<String>>>,
    known: Arc<Mutex<Known>>,
    checks: JoinHandle<()>,
    _other: Child,
}

#[derive(Default)]
struct Known {
    good: Vec<String>,
    revoked: Vec<String>,
    rounds: usize,
    wrong: Vec<String>,
}

impl Service {
    /// Starts the services with two good keys and two revoked ones.
    pub(crate) async fn start(folder: &Folder) -> Self {
        let store = folder.open();
        let events = Arc::<Mutex<Vec<String>>>::default();
        let (log, start) = (Arc::clone(&events), Instant::now());
        let keys = Mirrored::options()
            .observe(move |event| {
                let text = format!("{} {event:?}", event.as_str());
                println!("{:?} {text}", start.elapsed());
                log.lock().unwrap().push(text);
            })
            .open(store.clone())
            .await
            .unwrap();
        let mut other = Child::start("serve", &folder.file());
        let other_address = other.line().unwrap().parse().unwrap();
        let callers =
            Arc::new([Caller::new(serve(keys.clone()).await), Caller::new(other_address)]);
        let known = Arc::<Mutex<Known>>::default();
        let checks = tokio::spawn(check(Arc::clone(&callers), Arc::clone(&known)));
        let service = Self { keys, store, callers, events, known, checks, _other: other };
        for _ in 0..2 {
            service.issue("good").await;
            service.revoke().await;
        }
        service
    }

    /// Issues a key that both services accept from now on.
    pub(crate) async fn issue(&self, client: &str) -> String {
        let (_, key) = issue(&self.keys, client).await;
        self.both(&key, 200).await;
        self.known.lock().unwrap().good.push(key.clone());
        key
    }

    /// Issues and revokes a key that both services reject from now on.
    pub(crate) async fn revoke(&self) -> String {
        let key = self.issue("bad").await;
        self.forget(&key);
        let revoke = Change::revoke_client("bad").with_reason("by a test");
        assert!(revoke.commit(&self.store).await.unwrap().count() > 0);
        self.both(&key, 401).await;
        self.known.lock().unwrap().revoked.push(key.clone());
        key
    }

    /// Stops to expect that a key is accepted.
    pub(crate) fn forget(&self, key: &str) {
        self.known.lock().unwrap().good.retain(|good| good != key);
    }

    /// Tries to revoke the good keys, which must fail.
    pub(crate) async fn fail_to_revoke(&self) -> StoreErrorKind {
        let error = self.keys.revoke_client("good").await.unwrap_err();
        println!("{error}");
        error.kind()
    }

    /// Waits until both services answer with this status.
    pub(crate) async fn both(&self, key: &str, status: u16) {
        for caller in &*self.callers {
            wait_at_most(Duration::from_secs(20), async || caller.status(key).await == status)
                .await;
        }
    }

    /// Returns whether this process has reported an event that begins with a text.
    pub(crate) fn has_reported(&self, text: &str) -> bool {
        self.events.lock().unwrap().iter().any(|event| event.contains(text))
    }

    /// Waits for an event.
    pub(crate) async fn reports(&self, text: &str) {
        eventually(async || self.has_reported(text)).await;
    }

    /// Waits until this process has noticed a fault and has followed the database again since.
    pub(crate) async fn recovers(&self) {
        let long = Duration::from_secs(20);
        wait_at_most(long, async || self.has_reported("recovered ")).await;
        wait_at_most(long, async || self.keys.status().problem().is_none()).await;
    }

    /// Lets the checks run for a while.
    pub(crate) async fn go_on(&self, rounds: usize) {
        let end = self.known.lock().unwrap().rounds + rounds;
        wait_at_most(Duration::from_secs(20), async || self.known.lock().unwrap().rounds > end)
            .await;
    }

    /// Checks that changes work in both services, and that no answer was wrong.
    pub(crate) async fn end(self) {
        self.issue("good").await;
        self.revoke().await;
        self.go_on(3).await;
        self.checks.abort();
        let known = self.known.lock().unwrap();
        assert!(known.rounds > 3, "{} rounds", known.rounds);
        assert!(known.wrong.is_empty(), "{:?}", known.wrong);
    }
}

/// Asks both services for each known key, again and again.
async fn check(callers: Arc<[Caller; 2]>, known: Arc<Mutex<Known>>) {
    loop {
        let keys = {
            let mut known = known.lock().unwrap();
            known.rounds += 1;
            let good = known.good.iter().map(|key| (key.clone(), 200));
            good.chain(known.revoked.iter().map(|key| (key.clone(), 401))).collect::<Vec<_>>()
        };
        for (key, expected) in keys {
            for (at, caller) in callers.iter().enumerate() {
                let status = caller.status(&key).await;
                let mut known = known.lock().unwrap();
                // It may have been forgotten meanwhile.
                let is_known = known.good.contains(&key) || known.revoked.contains(&key);
                if status != expected && is_known {
                    known.wrong.push(format!("service {at}: {status} instead of {expected}"));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Moves all commits into the file, so that a copy of it is complete.
pub(crate) async fn at_rest(folder: &Folder) {
    let connection = folder.connect();
    wait_at_most(SOON, async || {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        connection.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap() == 0
    })
    .await;
    assert_eq!(fs::metadata(folder.join("keys.db-wal")).unwrap().len(), 0);
}
