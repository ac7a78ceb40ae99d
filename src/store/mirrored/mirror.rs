use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    MirroredEvent, MirroredStatus,
    contact::Contact,
    corrupt::Corrupt,
    event::Observer,
    order::Order,
    records::Records,
    staging::{Staged, Staging},
};
use crate::{
    KeyDigest, Keyring,
    store::{Cursor, Start, StoreError, StoreProblem, follower::Follow},
};

/// The records of a store in memory, and the state around them. Requests and the follower share it.
pub(super) struct Mirror {
    /// The name of the store.
    pub(super) store: String,
    pub(super) keys: Keyring,
    pub(super) contact: Contact,
    pub(super) corrupt: Corrupt,
    /// The number of calls by the store.
    pub(super) activity: AtomicU64,
    state: Mutex<State>,
    observe: Option<Observer>,
    /// Receives the result of the first load.
    pub(super) loaded: UnboundedSender<Result<(), StoreError>>,
}

pub(super) struct State {
    pub(super) order: Order,
    pub(super) records: Records,
    /// The records of an incomplete load, except for the first one.
    pub(super) staging: Option<Staging>,
    /// The records of a complete load before they are applied.
    pub(super) staged: Option<Staged>,
    pub(super) cursor: Option<Cursor>,
    /// `None` until the first load is complete.
    pub(super) status: Option<MirroredStatus>,
}

impl State {
    /// Returns whether the first load is complete, so that there can be requests and changes.
    pub(super) fn is_loaded(&self) -> bool {
        self.status.is_some()
    }

    /// Makes memory the newest state of a key, so that a load does not change the key.
    pub(super) fn overtake(&mut self, digest: &KeyDigest, is_there: bool) {
        match &mut self.staging {
            Some(staging) if is_there => staging.overtake(digest),
            Some(staging) => staging.remove(digest),
            None => {}
        }
        if let Some(staged) = &mut self.staged {
            staged.overtake(digest);
        }
    }
}

impl Mirror {
    pub(super) fn new(
        store: String,
        keys: Keyring,
        contact: Contact,
        observe: Option<Observer>,
        loaded: UnboundedSender<Result<(), StoreError>>,
    ) -> Self {
        let state = State {
            order: Order::default(),
            records: Records::new(keys.clone()),
            staging: None,
            staged: None,
            cursor: None,
            status: None,
        };
        let (corrupt, activity) = (Corrupt::default(), AtomicU64::new(0));
        Self { store, keys, contact, corrupt, activity, state: Mutex::new(state), observe, loaded }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step under the lock and reports its events after it. Before the first load is complete, a
    /// difference between two states of a key is no change.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut State, &mut Vec<MirroredEvent>) -> T) -> T {
        let mut events = Vec::new();
        let mut state = self.state();
        let result = step(&mut state, &mut events);
        if !state.is_loaded() {
            events.retain(|event| !matches!(event, MirroredEvent::Changed(_)));
        }
        drop(state);
        events.iter().for_each(|event| self.emit(event));
        result
    }

    /// Notes a call by the store.
    pub(super) fn heard(&self) {
        self.activity.fetch_add(1, Relaxed);
    }

    /// Reports an event. A panic of the observer does not end the follower.
    pub(super) fn emit(&self, event: &MirroredEvent) {
        #[cfg(feature = "tracing")]
        event.log(&self.store);
        #[cfg(feature = "metrics")]
        event.count(&self.store);
        if let Some(observe) = &self.observe {
            _ = catch_unwind(AssertUnwindSafe(|| observe(event)));
        }
    }

    /// Records that memory has every change of the store. Returns an event for a load or a recovery.
    ///
    /// After a load, `before` is the number of keys before it.
    pub(super) fn set_ready(
        &self,
        state: &mut State,
        before: Option<usize>,
    ) -> Option<MirroredEvent> {
        self.contact.set();
        let now = SystemTime::now();
        let keys = self.keys.len();
        #[cfg(feature = "metrics")]
        crate::store::metrics::up(&self.store, keys, now);
        let Some(status) = &mut state.status else {
            let loaded_at = now;
            state.status =
                Some(MirroredStatus { loaded_at, keys, last_contact: now, problem: None });
            return Some(MirroredEvent::Loaded { keys });
        };
        let was_broken = status.problem.take().is_some();
        (status.keys, status.last_contact) = (keys, now);
        if before.is_some() {
            status.loaded_at = now;
        }
        match before {
            Some(1..) if keys == 0 => Some(MirroredEvent::Emptied),
            _ if was_broken => Some(MirroredEvent::Recovered { keys }),
            Some(_) => Some(MirroredEvent::Loaded { keys }),
            None => None,
        }
    }

    /// Returns a copy of the status.
    pub(super) fn status(&self) -> MirroredStatus {
        let keys = self.keys.len();
        let status = self.state().status.clone();
        let start = SystemTime::UNIX_EPOCH;
        let empty = MirroredStatus { loaded_at: start, keys, last_contact: start, problem: None };
        MirroredStatus { keys, ..status.unwrap_or(empty) }
    }
}

impl Follow for Mirror {
    fn begin(&self) -> Start {
        self.state().cursor.clone().map_or(Start::Everything, Start::After)
    }

    fn contacts(&self) -> u64 {
        self.contact.count()
    }

    fn calls(&self) -> u64 {
        self.activity.load(Relaxed)
    }

    fn set_broken(&self, error: StoreError) -> bool {
        let mut state = self.state();
        state.staging = None;
        let Some(status) = &mut state.status else {
            drop(state);
            _ = self.loaded.send(Err(error));
            return true;
        };
        let is_new = StoreProblem::note(&mut status.problem, error.clone());
        drop(state);
        #[cfg(feature = "metrics")]
        crate::store::metrics::down(&self.store);
        if is_new {
            self.emit(&MirroredEvent::Broken(error));
        }
        false
    }
}
