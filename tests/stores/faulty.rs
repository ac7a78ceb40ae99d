//! Stores that fail when a test asks for it.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, watch};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{
        Change, Changed, Cursor, KeyStore, Listener, MemoryStore, Page, Start, StoreError,
        StoreErrorKind, StoreFuture,
    },
};

/// The fault of a [`Faulty`] store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing works.
    Down,
    /// Following panics.
    Panics,
    /// Following says nothing.
    Silent,
    /// A change is committed and its answer is lost.
    LostAnswer,
    /// A change is not committed and its answer is lost.
    LostChange,
}

/// A store in memory with a switch for faults. Following ends at each turn of the switch.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) store: MemoryStore,
    fault: Arc<watch::Sender<Fault>>,
    /// Where each follower began.
    pub(crate) starts: Arc<Mutex<Vec<Start>>>,
}

impl Faulty {
    pub(crate) fn new() -> Self {
        let fault = Arc::new(watch::Sender::new(Fault::None));
        Self { store: MemoryStore::new(), fault, starts: Arc::default() }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

pub(crate) fn down() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "switched off by a test")
}

impl KeyStore for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        match *self.fault.borrow() {
            Fault::Down => Box::pin(async { Err(down()) }),
            _ => self.store.find(digest),
        }
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        self.store.list(page)
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        let lost = || StoreError::new(StoreErrorKind::OutcomeUnknown, "lost by a test");
        Box::pin(async move {
            let now = *self.fault.borrow();
            match now {
                Fault::Down => return Err(down()),
                Fault::LostChange => return Err(lost()),
                _ => {}
            }
            let changed = self.store.change(change).await?;
            if *self.fault.borrow() == Fault::LostAnswer { Err(lost()) } else { Ok(changed) }
        })
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(async move {
            self.starts.lock().unwrap().push(from.clone());
            let mut fault = self.fault.subscribe();
            let now = *fault.borrow_and_update();
            match now {
                Fault::Down => return Err(down()),
                Fault::Panics => panic!("a test asked for it"),
                Fault::Silent => return pending().await,
                _ => {}
            }
            tokio::select! {
                result = self.store.follow(from, listener) => result,
                _ = fault.changed() => Err(down()),
            }
        })
    }
}

type Step = Box<dyn FnOnce(&dyn Listener) -> Result<(), StoreError> + Send>;

/// A store whose followers receive what a test sends.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) store: MemoryStore,
    /// Where each follower began.
    pub(crate) starts: Arc<Mutex<Vec<Start>>>,
    steps: mpsc::UnboundedSender<Step>,
    received: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Step>>>,
}

impl Scripted {
    /// Creates a store that has not delivered its first load.
    pub(crate) fn silent() -> Self {
        let (steps, received) = mpsc::unbounded_channel();
        let received = Arc::new(tokio::sync::Mutex::new(received));
        Self { store: MemoryStore::new(), starts: Arc::default(), steps, received }
    }

    /// Creates a store whose first load has these records.
    pub(crate) fn new(records: Vec<Record>) -> Self {
        let scripted = Self::silent();
        scripted.send(move |listener| {
            listener.restart();
            records.into_iter().for_each(|record| listener.record(1, record));
            listener.ready(None);
        });
        scripted
    }

    fn send(&self, step: impl FnOnce(&dyn Listener) + Send + 'static) {
        let step = |listener: &dyn Listener| {
            step(listener);
            Ok(())
        };
        self.steps.send(Box::new(step)).ok().unwrap();
    }

    /// Ends the follower with an error.
    pub(crate) fn fail(&self) {
        self.steps.send(Box::new(|_| Err(down()))).ok().unwrap();
    }

    /// Calls the listener, and returns after that.
    pub(crate) async fn deliver(&self, step: impl FnOnce(&dyn Listener) + Send + 'static) {
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.send(move |listener| {
            step(listener);
            done.send(()).unwrap();
        });
        is_done.await.unwrap();
    }
}

impl KeyStore for Scripted {
    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        self.store.find(digest)
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
        Box::pin(async move {
            self.starts.lock().unwrap().push(from);
            let mut steps = self.received.lock().await;
            while let Some(step) = steps.recv().await {
                step(listener)?;
            }
            Err(down())
        })
    }
}

/// A listener that counts.
#[derive(Default)]
pub(crate) struct Seen {
    state: Mutex<(usize, Option<Cursor>)>,
}

impl Seen {
    pub(crate) fn restarts(&self) -> usize {
        self.state.lock().unwrap().0
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.state.lock().unwrap().1.clone()
    }
}

impl Listener for Seen {
    fn restart(&self) {
        self.state.lock().unwrap().0 += 1;
    }

    fn record(&self, _: u64, _: Record) {}

    fn removed(&self, _: u64, _: KeyDigest) {}

    fn corrupt(&self, _: u64, _: KeyDigest, _: StoreError) {}

    fn ready(&self, cursor: Option<&Cursor>) {
        self.state.lock().unwrap().1 = cursor.cloned();
    }
}
