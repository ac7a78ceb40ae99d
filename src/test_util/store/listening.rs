use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{self, Instant},
};

use super::stores::{PATIENCE, Stores, Wrong, ensure};
use crate::{
    KeyDigest,
    record::Record,
    store::{Cursor, KeyStore, Listener, Start, StoreError},
};

/// A listener that follows a store, keeps its records, and notes how the store differs.
pub(super) struct Follower {
    heard: Arc<Heard>,
    task: AbortHandle,
}

struct Heard {
    state: Mutex<State>,
    /// The time for which each call blocks.
    delay: Duration,
}

/// The state of a follower.
#[derive(Clone, Default)]
pub(super) struct State {
    /// The name of the first call.
    pub(super) first: Option<&'static str>,
    pub(super) restarts: usize,
    pub(super) readies: usize,
    /// The number of calls since the last `ready`.
    pub(super) open_calls: usize,
    pub(super) removed: usize,
    pub(super) versions: HashMap<KeyDigest, u64>,
    pub(super) cursor: Option<Cursor>,
    /// The records by id.
    pub(super) records: BTreeMap<String, Record>,
    /// How the store differs.
    pub(super) wrong: Option<String>,
}

impl Follower {
    /// Begins to follow by the second handle.
    pub(super) fn start(stores: &Stores, from: Start) -> Self {
        Self::start_on(&stores.two, from, Duration::ZERO)
    }

    pub(super) fn start_on(store: &Arc<dyn KeyStore>, from: Start, delay: Duration) -> Self {
        Self::resume(store, from, delay, State::default())
    }

    /// Begins to follow with the records of another follower.
    pub(super) fn resume(
        store: &Arc<dyn KeyStore>,
        from: Start,
        delay: Duration,
        state: State,
    ) -> Self {
        let heard = Arc::new(Heard { state: Mutex::new(state), delay });
        let (store, listener) = (Arc::clone(store), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            let Err(error) = store.follow(from, &*listener).await;
            listener.state().wrong = Some(format!("following ended with an error: {error}"));
        });
        Self { heard, task: task.abort_handle() }
    }

    /// Returns the current state.
    pub(super) fn state(&self) -> State {
        self.heard.state().clone()
    }

    /// Waits until a condition holds. Ends with an error if the store differs.
    pub(super) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&State) -> bool,
    ) -> Result<(), Wrong> {
        let end = Instant::now() + PATIENCE;
        while !self.holds(&holds)? {
            ensure!(Instant::now() < end, "{what} did not happen within ten seconds");
            time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn holds(&self, holds: impl Fn(&State) -> bool) -> Result<bool, Wrong> {
        let state = self.heard.state();
        match &state.wrong {
            Some(wrong) => Err(wrong.clone().into()),
            None => Ok(holds(&state)),
        }
    }

    /// Waits until the first load is complete.
    pub(super) async fn ready(&self) -> Result<(), Wrong> {
        self.until("`ready`", |state| state.readies > 0).await
    }

    /// Waits until the follower has the records of the store.
    pub(super) async fn agrees(&self, stores: &Stores) -> Result<(), Wrong> {
        let all = stores.all().await?;
        let agreed = self.until("the follower's agreement with the store", |state| {
            state.open_calls == 0 && state.records.values().eq(&all)
        });
        let Err(wrong) = agreed.await else { return Ok(()) };
        let state = self.state();
        let (has, all) = (state.records.len(), all.len());
        Err(format!("{}: {has} records instead of {all}", wrong.text).into())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call.
    fn call(&self, name: &'static str) -> MutexGuard<'_, State> {
        thread::sleep(self.delay);
        let mut state = self.state();
        state.first.get_or_insert(name);
        state.open_calls += 1;
        state
    }
}

impl State {
    fn check_version(&mut self, version: u64, digest: KeyDigest) {
        let before = self.versions.insert(digest, version).unwrap_or_default();
        if version < before {
            self.wrong = Some(format!("version {version} was delivered after version {before}"));
        }
    }
}

impl Listener for Heard {
    fn restart(&self) {
        let mut state = self.call("restart");
        state.restarts += 1;
        state.records.clear();
        state.versions.clear();
    }

    fn record(&self, version: u64, record: Record) {
        let mut state = self.call("record");
        state.check_version(version, record.digest());
        let Some(id) = record.id().map(str::to_owned) else {
            state.wrong = Some("a record without an id was delivered".to_owned());
            return;
        };
        if record.created().is_none() {
            state.wrong = Some("a record without a time of creation was delivered".to_owned());
        }
        state.records.retain(|_, other| other.digest() != record.digest());
        let digest = record.digest();
        if state.records.insert(id, record).is_some_and(|old| old.digest() != digest) {
            state.wrong = Some("a record was delivered before the removal of its id".to_owned());
        }
    }

    fn removed(&self, version: u64, digest: KeyDigest) {
        let mut state = self.call("removed");
        state.removed += 1;
        state.check_version(version, digest);
        state.records.retain(|_, record| record.digest() != digest);
    }

    fn corrupt(&self, _: u64, _: KeyDigest, error: StoreError) {
        self.call("corrupt").wrong = Some(format!("a row is corrupt: {error}"));
    }

    fn ready(&self, cursor: Option<&Cursor>) {
        let mut state = self.call("ready");
        state.readies += 1;
        state.open_calls = 0;
        state.cursor = cursor.cloned();
    }
}
