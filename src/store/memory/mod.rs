mod state;

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task, time};

use self::state::{Delivery, State};
use super::{Change, Changed, Cursor, KeyStore, Listener, Page, Start, StoreError, StoreFuture};
use crate::{KeyDigest, record::Record};

/// The longest time between two calls of [`Listener::ready`].
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The number of records after which other tasks of the runtime can run.
const BATCH: usize = 512;

/// A store in memory, for tests and examples.
///
/// Clones share the records, as processes share a database. The records are lost when the last clone is
/// dropped. If one process needs keys in memory, use a [`Keyring`](crate::Keyring).
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The version of the last change.
    changed: watch::Sender<u64>,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared { state: Mutex::default(), changed: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_now(&self, change: &Change) -> Result<Changed, StoreError> {
        let mut state = self.state();
        let draft = change.apply(state.select(change.target()))?;
        let version = state.write(draft.writes())?;
        self.shared.changed.send_replace(version);
        Ok(draft.committed(version))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyStore for MemoryStore {
    fn name(&self) -> &str {
        "memory"
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async { Ok(self.state().find(digest)) })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async { Ok(self.state().list(page)) })
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        Box::pin(async move { self.change_now(&change) })
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(async move {
            let mut changed = self.shared.changed.subscribe();
            let last = self.state().version();
            let mut seen = match from {
                Start::Everything => None,
                Start::After(cursor) => cursor.as_str().parse().ok().filter(|seen| *seen <= last),
                Start::Now => Some(last),
            };
            loop {
                changed.mark_unchanged();
                let (version, deliveries) = self.state().since(seen);
                if seen.is_none() {
                    listener.restart();
                }
                for batch in deliveries.chunks(BATCH) {
                    batch.iter().for_each(|delivery| deliver(delivery, listener));
                    task::yield_now().await;
                }
                seen = Some(version);
                listener.ready(Some(&Cursor::new(version.to_string())));
                _ = time::timeout(HEARTBEAT, changed.changed()).await;
            }
        })
    }
}

fn deliver(delivery: &Delivery, listener: &dyn Listener) {
    match delivery {
        Delivery::Record(version, record) => listener.record(*version, record.clone()),
        Delivery::Removed(version, digest) => listener.removed(*version, *digest),
    }
}

/// Shows the number of records.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("records", &self.state().len()).finish_non_exhaustive()
    }
}
