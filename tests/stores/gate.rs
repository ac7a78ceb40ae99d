//! A store whose lookups a test can hold, count and break.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{
        Change, Changed, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind, StoreFuture,
    },
};

use crate::faulty::down;

/// The answer of a lookup.
#[derive(Clone, Default)]
pub(crate) enum Find {
    #[default]
    Honest,
    /// A restored backup or a lagging replica.
    Says(Option<Record>),
    Fails,
    Panics,
    Corrupt,
    Slow(Duration),
    /// Never, for keys that the store does not have.
    HangsIfUnknown,
}

/// A store around another one.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) store: Arc<dyn KeyStore>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    find: Mutex<Find>,
    /// What the next lookup waits for, after it has read the record.
    hold: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
    finds: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// A lookup that has read the record and does not return.
pub(crate) struct Held {
    is_held: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the lookup has read the record.
    pub(crate) async fn reached(&mut self) {
        (&mut self.is_held).await.unwrap();
    }

    pub(crate) fn release(self) {
        self.release.send(()).unwrap();
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Gate {
    pub(crate) fn new(store: impl KeyStore) -> Self {
        Self { store: Arc::new(store), shared: Arc::default() }
    }

    pub(crate) fn set(&self, find: Find) {
        *self.shared.find.lock().unwrap() = find;
    }

    /// Holds the next lookup.
    pub(crate) fn hold(&self) -> Held {
        let ((held, is_held), (release, is_released)) = (oneshot::channel(), oneshot::channel());
        *self.shared.hold.lock().unwrap() = Some((held, is_released));
        Held { is_held, release }
    }

    /// Returns the number of lookups until now.
    pub(crate) fn finds(&self) -> usize {
        self.shared.finds.load(SeqCst)
    }

    /// Returns the number of lookups now.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(SeqCst)
    }

    /// Returns the largest number of lookups at the same time.
    pub(crate) fn most(&self) -> usize {
        self.shared.most.load(SeqCst)
    }

    async fn look_up(&self, digest: &KeyDigest) -> Result<Option<Record>, StoreError> {
        let shared = &*self.shared;
        shared.finds.fetch_add(1, SeqCst);
        shared.most.fetch_max(shared.running.fetch_add(1, SeqCst) + 1, SeqCst);
        let _running = Running(&shared.running);
        let hold = shared.hold.lock().unwrap().take();
        let find = shared.find.lock().unwrap().clone();
        let found = self.store.find(digest).await;
        let found = match find {
            Find::Honest => found,
            Find::Says(record) => Ok(record),
            Find::Fails => Err(down()),
            Find::Panics => panic!("a test asked for it"),
            Find::Corrupt => Err(StoreError::new(StoreErrorKind::Corrupt, "unknown column")),
            Find::Slow(time) => {
                tokio::time::sleep(time).await;
                found
            }
            Find::HangsIfUnknown => match found {
                Ok(None) => pending().await,
                found => found,
            },
        };
        if let Some((held, is_released)) = hold {
            held.send(()).unwrap();
            is_released.await.unwrap();
        }
        found
    }
}

impl KeyStore for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(self.look_up(digest))
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        self.store.list(page)
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        self.store.change(change)
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        self.store.follow(from, listener)
    }
}
