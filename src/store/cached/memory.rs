use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc::UnboundedSender};

use super::{
    CachedEvent, CachedStatus, answers::Answers, event::Observer, failures::Failures,
    flights::Flights, permits::Permits, revoked::Revoked,
};
use crate::store::{KeyStore, StoreError};

/// The memory of a [`Cached`](super::Cached). Requests, lookups and the follower share it.
pub(super) struct Memory {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) runtime: Handle,
    pub(super) answers: Answers,
    pub(super) flights: Flights,
    pub(super) permits: Permits,
    /// The longest time of a lookup.
    pub(super) deadline: Duration,
    /// The number of calls by the store.
    pub(super) calls: AtomicU64,
    /// The number of times at which the store had delivered every change.
    pub(super) contacts: AtomicU64,
    pub(super) state: Mutex<State>,
    pub(super) observe: Option<Observer>,
    /// Receives the result of the first contact.
    pub(super) opened: UnboundedSender<Result<(), StoreError>>,
}

pub(super) struct State {
    pub(super) revoked: Revoked,
    pub(super) failures: Failures,
    /// Whether changes can be missing until the next contact.
    pub(super) is_behind: bool,
    /// `None` until the first contact.
    pub(super) status: Option<CachedStatus>,
}

impl Memory {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call by the store.
    pub(super) fn heard(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Reports an event. A panic of the observer ends no task.
    pub(super) fn emit(&self, event: &CachedEvent) {
        #[cfg(feature = "tracing")]
        event.log(self.store.name());
        #[cfg(feature = "metrics")]
        event.count(self.store.name());
        if let Some(observe) = &self.observe {
            _ = catch_unwind(AssertUnwindSafe(|| observe(event)));
        }
    }
}
