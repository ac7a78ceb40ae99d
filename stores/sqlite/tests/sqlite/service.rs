//! Two services on one database, in this process and in another. A task asks both all the time.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_api_key::store::{Change, Mirrored, StoreErrorKind};
use tower_api_key_sqlite::Sqlite;

use crate::{
    checks::Checks,
    child::Child,
    server::{Caller, serve},
    support::{Folder, SOON, eventually, issue, wait_at_most},
};

/// The longest time until both services follow again.
const LONG: Duration = Duration::from_secs(20);

/// Two services. Good keys must be accepted and revoked keys rejected during every fault.
pub(crate) struct Service {
    pub(crate) keys: Mirrored,
    store: Sqlite,
    events: Arc<Mutex<Vec<String>>>,
    pub(crate) checks: Checks,
    _other: Child,
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
        let callers = [Caller::new(serve(keys.clone()).await), Caller::new(other_address)];
        let checks = Checks::start(callers, LONG);
        let service = Self { keys, store, events, checks, _other: other };
        for _ in 0..2 {
            service.issue("good").await;
            service.revoke().await;
        }
        service
    }

    /// Issues a key that both services accept from now on.
    pub(crate) async fn issue(&self, client: &str) -> String {
        let (_, key) = issue(&self.keys, client).await;
        self.checks.accept(&key).await;
        key
    }

    /// Issues and revokes a key that both services reject from now on.
    pub(crate) async fn revoke(&self) -> String {
        let key = self.issue("bad").await;
        self.checks.forget(&key);
        let revoke = Change::revoke_client("bad").with_reason("by a test");
        assert!(revoke.commit(&self.store).await.unwrap().count() > 0);
        self.checks.reject(&key).await;
        key
    }

    /// Tries to revoke the good keys, which must fail.
    pub(crate) async fn fail_to_revoke(&self) -> StoreErrorKind {
        let error = self.keys.revoke_client("good").await.unwrap_err();
        println!("{error}");
        error.kind()
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
        wait_at_most(LONG, async || self.has_reported("recovered ")).await;
        wait_at_most(LONG, async || self.keys.status().problem().is_none()).await;
    }

    /// Checks that changes work in both services, and that no answer was wrong.
    pub(crate) async fn end(self) {
        self.issue("good").await;
        self.revoke().await;
        self.checks.end().await;
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
