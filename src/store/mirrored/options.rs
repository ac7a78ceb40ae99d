use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{Mirrored, MirroredEvent, Shared, contact::Contact, event::Observer, mirror::Mirror};
use crate::{
    Keyring, KeyringBuilder,
    key::KeyFormat,
    store::{KeyStore, StoreError, StoreErrorKind, changes::Clock, follower},
};

/// Options for a mirror of a store. Returned by [`Mirrored::options`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{key::KeyFormat, store::{MemoryStore, Mirrored, MirroredEvent}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Mirrored::options()
///     .format(KeyFormat::new("sk_live")?)
///     .observe(|event| {
///         if let MirroredEvent::Changed(change) = event {
///             eprintln!("{change}");          // an audit trail
///         }
///     })
///     .open(MemoryStore::new())
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct MirroredOptions {
    formats: Vec<KeyFormat>,
    clock: Clock,
    observe: Option<Observer>,
    refuse_after: Option<Duration>,
}

/// By default there is no format, no observer and no limit.
impl Default for MirroredOptions {
    fn default() -> Self {
        let clock = Arc::new(SystemTime::now);
        Self { formats: Vec::new(), clock, observe: None, refuse_after: None }
    }
}

impl MirroredOptions {
    /// Adds a key format. See [`KeyringBuilder::format`].
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Sets the observer of all events.
    ///
    /// It should return soon, because changes wait for it. A panic of the observer is caught.
    pub fn observe(mut self, observe: impl Fn(&MirroredEvent) + Send + Sync + 'static) -> Self {
        self.observe = Some(Box::new(observe));
        self
    }

    /// Sets the time without contact after which every request with a key gets a 503.
    ///
    /// By default there is no such time. If the store is down, the process then goes on with the records in
    /// memory, and it does not learn of a revocation elsewhere. Set it if a revoked key must not outlive a
    /// failure of the store.
    ///
    /// Choose at least 30 seconds, because a store can call [`ready`](crate::store::Listener::ready) ten
    /// seconds apart. A request then reads the clock.
    pub fn refuse_after(mut self, time: Duration) -> Self {
        self.refuse_after = Some(time);
        self
    }

    /// Sets the clock, for tests. See [`KeyringBuilder::clock`].
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Loads all records of a store and follows its changes.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Mirrored::open`].
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime of tokio.
    pub async fn open(self, store: impl KeyStore) -> Result<Mirrored, StoreError> {
        let store: Arc<dyn KeyStore> = Arc::new(store);
        let clock = Arc::clone(&self.clock);
        let keys = Keyring::builder().clock(move || clock());
        let keys = self.formats.iter().cloned().fold(keys, KeyringBuilder::format).build();
        let (loaded, mut first) = mpsc::unbounded_channel();
        let contact = Contact::new(self.refuse_after);
        let name = store.name().to_owned();
        let mirror = Arc::new(Mirror::new(name, keys, contact, self.observe, loaded));
        let runtime = Handle::current();
        let follow = follower::run(Arc::clone(&store), Arc::clone(&mirror));
        let follower = runtime.spawn(follow).abort_handle();
        // If this future is dropped, the task ends with `shared`.
        let (formats, clock) = (self.formats, self.clock);
        let shared = Arc::new(Shared { store, mirror, formats, clock, runtime, follower });
        let ended = || StoreError::new(StoreErrorKind::Unavailable, "the runtime shuts down");
        first.recv().await.ok_or_else(ended)??;
        Ok(Mirrored { shared })
    }
}

impl fmt::Debug for MirroredOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirroredOptions")
            .field("formats", &self.formats)
            .field("refuse_after", &self.refuse_after)
            .finish_non_exhaustive()
    }
}
