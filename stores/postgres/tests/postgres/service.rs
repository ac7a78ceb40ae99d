//! Two services on one database. A task asks both all the time, and another program changes the keys.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, Mirrored, MirroredEvent},
};
use tower_api_key_postgres::Postgres;

use crate::{
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
    callers: Arc<[Caller; 2]>,
    known: Arc<Mutex<Known>>,
    checks: JoinHandle<()>,
    /// The number of faults that each service has noticed.
    faults: [Arc<AtomicUsize>; 2],
}

#[derive(Default)]
struct Known {
    good: Vec<String>,
    revoked: Vec<String>,
    rounds: usize,
    wrong: Vec<String>,
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
        let callers = Arc::new([one.await, two.await]);
        let known = Arc::<Mutex<Known>>::default();
        let checks = tokio::spawn(check(Arc::clone(&callers), Arc::clone(&known)));
        let admin = Postgres::open(admin).unwrap();
        let service = Self { mirrors, admin, callers, known, checks, faults };
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
        self.both(&key, 200).await;
        self.known.lock().unwrap().good.push(key.clone());
        key
    }

    /// Issues and revokes a key that both services reject from now on.
    pub(crate) async fn revoke(&self) {
        let key = self.issue("bad").await;
        self.begin_to_revoke(&key).await;
        self.is_revoked(&key).await;
    }

    /// Revokes the keys of `bad`. The services may not know yet.
    pub(crate) async fn begin_to_revoke(&self, key: &str) {
        self.known.lock().unwrap().good.retain(|good| good != key);
        let revoked = Change::revoke_client("bad").commit(&self.admin).await.unwrap();
        assert!(revoked.count() > 0);
    }

    /// Waits until both services reject a key, which they do from now on.
    pub(crate) async fn is_revoked(&self, key: &str) {
        self.both(key, 401).await;
        self.known.lock().unwrap().revoked.push(key.to_owned());
    }

    async fn both(&self, key: &str, status: u16) {
        for caller in &*self.callers {
            wait_at_most(LONG, async || caller.status(key).await == status).await;
        }
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

    /// Lets the checks run for a while.
    pub(crate) async fn go_on(&self, rounds: usize) {
        let end = self.known.lock().unwrap().rounds + rounds;
        wait_at_most(LONG, async || self.known.lock().unwrap().rounds > end).await;
    }

    /// Checks that changes work in both services, and that no answer was wrong.
    pub(crate) async fn end(self) {
        self.issue("good").await;
        self.revoke().await;
        self.go_on(3).await;
        self.checks.abort();
        let known = self.known.lock().unwrap();
        println!("{} rounds of {} keys", known.rounds, known.good.len() + known.revoked.len());
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
                // It may have been revoked meanwhile.
                let is_known = known.good.contains(&key) || known.revoked.contains(&key);
                if status != expected && is_known {
                    known.wrong.push(format!("service {at}: {status} instead of {expected}"));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
