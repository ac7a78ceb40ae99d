//! Two services that are asked for known keys all the time. The tests of all databases use it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::{server::Caller, waiting::wait_at_most};

/// Good keys must be accepted and revoked keys rejected during every fault.
pub(crate) struct Checks {
    callers: Arc<[Caller; 2]>,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
    /// The longest time until both services know of a change.
    patience: Duration,
}

#[derive(Default)]
struct Known {
    good: Vec<String>,
    revoked: Vec<String>,
    rounds: usize,
    wrong: Vec<String>,
}

impl Checks {
    pub(crate) fn start(callers: [Caller; 2], patience: Duration) -> Self {
        let (callers, known) = (Arc::new(callers), Arc::default());
        let task = tokio::spawn(check(Arc::clone(&callers), Arc::clone(&known)));
        Self { callers, known, task, patience }
    }

    /// Waits until both services accept a key, which they do from now on.
    pub(crate) async fn accept(&self, key: &str) {
        self.both(key, 200).await;
        self.known.lock().unwrap().good.push(key.to_owned());
    }

    /// Stops to expect that a key is accepted.
    pub(crate) fn forget(&self, key: &str) {
        self.known.lock().unwrap().good.retain(|good| good != key);
    }

    /// Waits until both services reject a key, which they do from now on.
    pub(crate) async fn reject(&self, key: &str) {
        self.both(key, 401).await;
        self.known.lock().unwrap().revoked.push(key.to_owned());
    }

    /// Waits until both services answer with this status.
    pub(crate) async fn both(&self, key: &str, status: u16) {
        for caller in &*self.callers {
            wait_at_most(self.patience, async || caller.status(key).await == status).await;
        }
    }

    /// Lets the checks run for a while.
    pub(crate) async fn go_on(&self, rounds: usize) {
        let end = self.known.lock().unwrap().rounds + rounds;
        wait_at_most(self.patience, async || self.known.lock().unwrap().rounds > end).await;
    }

    /// Lets the checks run once more, and checks that no answer was wrong.
    pub(crate) async fn end(self) {
        self.go_on(3).await;
        self.task.abort();
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
