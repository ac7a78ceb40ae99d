//! Two services on one database. A task asks both all the time, and another program changes the keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, Mirrored, MirroredEvent},
};
use tower_api_key_postgres::Postgres;

use crate::{
    checks::Checks,
    server::{Caller, serve},
    support::{reveal, wait_at_most},
};

/// The longest time until both services follow again.
pub(crate) const LONG: Duration = Duration::from_secs(40);

/// Two services. Good keys must be accepted and revoked keys rejected during every fault.
pub(crate) struct Service {
    pub(crate) mirrors: [Mirrored; 2],
    /// The store of another program.
    admin: Postgres,
    pub(crate) checks: Checks,
    /// The number of faults that each service has noticed.
    faults: [Arc<AtomicUsize>; 2],
}

impl Service {
    /// Starts services with two good keys and two revoked ones. Another program connects by another URL.
    pub(crate) async fn start(urls: [&str; 2], admin: &str) -> Self {
        let start = Instant::now();
        let faults = <[Arc<AtomicUsize>; 2]>::default();
        let open = async |number: usize| {
            let store = Postgres::open(urls[number]).unwrap();
            let count = Arc::clone(&faults[number]);
            let observe = move |event: &MirroredEvent| {
                println!("{:?} service {number}: {event:?}", start.elapsed());
                if matches!(event, MirroredEvent::Broken(_)) {
                    count.fetch_add(1, SeqCst);
                }
            };
            Mirrored::options().observe(observe).open(store).await.unwrap()
        };
        let mirrors = [open(0).await, open(1).await];
        let callers = mirrors.clone().map(async |keys| Caller::new(serve(keys).await));
        let [one, two] = callers;
        let checks = Checks::start([one.await, two.await], LONG);
        let admin = Postgres::open(admin).unwrap();
        let service = Self { mirrors, admin, checks, faults };
        for _ in 0..2 {
            service.issue("good").await;
            service.revoke().await;
        }
        service
    }

    /// Issues a key that both services accept from now on.
    pub(crate) async fn issue(&self, client: &str) -> String {
        let issue = Change::issue(&KeyFormat::default(), Client::new(client));
        let minted = issue.commit(&self.admin).await.unwrap().into_minted().unwrap();
        let (_, key) = reveal(minted);
        self.checks.accept(&key).await;
        key
    }

    /// Issues and revokes a key that both services reject from now on.
    pub(crate) async fn revoke(&self) {
        let key = self.issue("bad").await;
        self.begin_to_revoke(&key).await;
        self.checks.reject(&key).await;
    }

    /// Revokes the keys of `bad`. The services may not know yet.
    pub(crate) async fn begin_to_revoke(&self, key: &str) {
        self.checks.forget(key);
        let revoked = Change::revoke_client("bad").commit(&self.admin).await.unwrap();
        assert!(revoked.count() > 0);
    }

    /// Returns the number of faults that each service has noticed.
    pub(crate) fn faults(&self) -> [usize; 2] {
        self.faults.each_ref().map(|count| count.load(SeqCst))
    }

    /// Waits until both services have noticed a further fault. Returns the time that it took.
    pub(crate) async fn notice(&self, before: [usize; 2]) -> Duration {
        let start = Instant::now();
        wait_at_most(LONG, async || {
            let now = self.faults();
            now[0] > before[0] && now[1] > before[1]
        })
        .await;
        start.elapsed()
    }

    /// Waits until both services follow the database.
    pub(crate) async fn follow(&self) {
        for keys in &self.mirrors {
            wait_at_most(LONG, async || keys.status().problem().is_none()).await;
        }
    }

    /// Checks that changes work in both services, and that no answer was wrong.
    pub(crate) async fn end(self) {
        self.issue("good").await;
        self.revoke().await;
        self.checks.end().await;
    }
}
