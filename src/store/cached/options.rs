use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Cached, CachedEvent, Shared,
    answers::Answers,
    event::Observer,
    failures::Failures,
    flights::Flights,
    memory::{Memory, State},
    permits::Permits,
    revoked::Revoked,
};
use crate::{
    key::KeyFormat,
    store::{KeyStore, StoreError, StoreErrorKind, changes::Clock, follower},
};

/// Longer times count as this one, because the end of a time must be a time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Options for a cache of a store. Returned by [`Cached::options`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{key::KeyFormat, store::{Cached, MemoryStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Cached::options()
///     .format(KeyFormat::new("sk_live")?)
///     .capacity(1_000_000)
///     .fresh(Duration::from_secs(30))
///     .open(MemoryStore::new())
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct CachedOptions {
    formats: Vec<KeyFormat>,
    clock: Clock,
    observe: Option<Observer>,
    capacity: usize,
    fresh: Duration,
    deadline: Duration,
    max_lookups: usize,
}

/// By default there is no format and no observer.
impl Default for CachedOptions {
    fn default() -> Self {
        Self {
            formats: Vec::new(),
            clock: Arc::new(SystemTime::now),
            observe: None,
            capacity: 100_000,
            fresh: Duration::from_secs(60),
            deadline: Duration::from_secs(2),
            max_lookups: 32,
        }
    }
}

impl CachedOptions {
    /// Adds a key format. See [`KeyringBuilder::format`](crate::KeyringBuilder::format).
    ///
    /// The store is not asked for a key of another format. So a stranger cannot cause a query with a key
    /// whose checksum is wrong.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Sets the observer of all events.
    ///
    /// It should return soon, because changes and lookups wait for it. A panic of the observer is caught.
    pub fn observe(mut self, observe: impl Fn(&CachedEvent) + Send + Sync + 'static) -> Self {
        self.observe = Some(Box::new(observe));
        self
    }

    /// Sets the largest number of keys in memory. It is approximate.
    ///
    /// By default it is 100,000. Choose more than the number of keys that are in use at the same time. As many
    /// revoked keys are remembered, with 50 to 100 bytes each.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Sets the time for which an answer of the store is used.
    ///
    /// By default it is one minute. The time begins before the store is asked. It bounds the delay of a
    /// revocation elsewhere if the store can be read and cannot be followed. If the store is down, keys in
    /// memory are accepted until this time is over.
    pub fn fresh(mut self, time: Duration) -> Self {
        self.fresh = time.min(LONGEST);
        self
    }

    /// Sets the longest time of a lookup. After it the layer returns 503.
    ///
    /// By default it is two seconds. The time begins when the lookup begins to wait for its turn.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time.min(LONGEST);
        self
    }

    /// Sets the largest number of lookups at the same time.
    ///
    /// By default it is 32. Further lookups wait for their turn until the [deadline](Self::deadline). Keys
    /// that are not in memory take at most half, so that random keys of an attacker do not hold up keys in
    /// memory that are no longer fresh.
    pub fn max_lookups(mut self, max: usize) -> Self {
        self.max_lookups = max;
        self
    }

    /// Sets the clock for the times of keys, for tests. See
    /// [`KeyringBuilder::clock`](crate::KeyringBuilder::clock).
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Opens a cache of a store and follows the changes of the store.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Cached::open`].
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime of tokio.
    pub async fn open(self, store: impl KeyStore) -> Result<Cached, StoreError> {
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let (opened, mut first) = mpsc::unbounded_channel();
        let runtime = Handle::current();
        let state = State {
            revoked: Revoked::new(self.capacity),
            failures: Failures::default(),
            is_behind: true,
            status: None,
        };
        let memory = Arc::new(Memory {
            store: Arc::clone(&store),
            runtime: runtime.clone(),
            answers: Answers::new(self.capacity, self.fresh),
            flights: Flights::default(),
            permits: Permits::new(self.max_lookups),
            deadline: self.deadline,
            calls: AtomicU64::new(0),
            contacts: AtomicU64::new(0),
            state: Mutex::new(state),
            observe: self.observe,
            opened,
        });
        let follower = runtime.spawn(follower::run(store, Arc::clone(&memory))).abort_handle();
        // If this future is dropped, the task ends with `shared`.
        let (formats, clock) = (self.formats, self.clock);
        let shared = Arc::new(Shared { memory, formats, clock, runtime, follower });
        let ended = || StoreError::new(StoreErrorKind::Unavailable, "the runtime shuts down");
        first.recv().await.ok_or_else(ended)??;
        Ok(Cached { shared })
    }
}

impl fmt::Debug for CachedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedOptions")
            .field("formats", &self.formats)
            .field("capacity", &self.capacity)
            .field("fresh", &self.fresh)
            .field("deadline", &self.deadline)
            .field("max_lookups", &self.max_lookups)
            .finish_non_exhaustive()
    }
}
