//! The state of the connection. While Redis does not answer, no request waits for it.

use std::{
    sync::{
        Arc, Mutex, Once, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, time::sleep};
use tower_api_key::store::StoreError;

use crate::{
    config::Config,
    event,
    server::{self, Connection},
};

/// The first pause between two attempts to connect, and how often it doubles.
const PAUSE: Duration = Duration::from_millis(50);
const MOST_DOUBLINGS: u32 = 5;

/// If a connection fails sooner, the first pause doubles, because a slow server would otherwise fill the log.
const STABLE: Duration = Duration::from_secs(10);

/// The shortest deadline of an attempt to connect, because no request waits for it.
const LEAST_DEADLINE: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    pub(crate) config: Config,
    state: watch::Sender<State>,
    connects: AtomicBool,
    doublings: AtomicU32,
    /// The text of the last error, because each error is logged once.
    logged: Mutex<String>,
    asked_for_eviction: Once,
}

#[derive(Clone)]
enum State {
    /// No attempt has ended yet. Requests wait for the first one.
    New,
    Up(Up),
    Down,
}

/// A connection that works, and its age.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) connection: Connection,
    pub(crate) since: Instant,
}

impl Link {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: watch::Sender::new(State::New),
            connects: AtomicBool::new(false),
            doublings: AtomicU32::new(0),
            logged: Mutex::default(),
            asked_for_eviction: Once::new(),
        })
    }

    /// Returns whether no request should wait. Then the link connects in the background.
    pub(crate) fn is_down(self: &Arc<Self>) -> bool {
        let is_down = matches!(*self.state.borrow(), State::Down);
        if is_down {
            self.connect_in_background();
        }
        is_down
    }

    /// Returns the connection, after the first attempt.
    pub(crate) async fn up(self: &Arc<Self>) -> Option<Up> {
        if let Some(up) = self.up_now() {
            return Some(up);
        }
        self.connect_in_background();
        let mut state = self.state.subscribe();
        match state.wait_for(|state| !matches!(state, State::New)).await.as_deref() {
            Ok(State::Up(up)) => Some(up.clone()),
            _ => None,
        }
    }

    pub(crate) fn up_now(&self) -> Option<Up> {
        match &*self.state.borrow() {
            State::Up(up) => Some(up.clone()),
            _ => None,
        }
    }

    /// Connects once, for a caller that waits.
    pub(crate) async fn connect(&self) -> Result<(), StoreError> {
        let Config { address, prefix, deadline, .. } = &self.config;
        let connection = server::connect(address, prefix, (*deadline).max(LEAST_DEADLINE)).await?;
        self.set_up(connection).await;
        Ok(())
    }

    async fn set_up(&self, mut connection: Connection) {
        let up = Up { connection: connection.clone(), since: Instant::now() };
        let before = self.state.send_replace(State::Up(up));
        self.lock_logged().clear();
        let server = &self.config.address.text;
        event::up(server, matches!(before, State::Down));
        let mut is_first = false;
        self.asked_for_eviction.call_once(|| is_first = true);
        if is_first {
            server::warn_of_eviction(&mut connection, server).await;
        }
    }

    /// Stops using a connection that failed. Without one, the first attempt took too long.
    pub(crate) fn fail(self: &Arc<Self>, failed: Option<&Up>, error: &StoreError) {
        let is_new = self.state.send_if_modified(|state| {
            let is_current = match state {
                State::New => failed.is_none(),
                State::Up(up) => failed.is_some_and(|failed| failed.since == up.since),
                State::Down => false,
            };
            if is_current {
                *state = State::Down;
            }
            is_current
        });
        if is_new {
            let is_stable = failed.is_none_or(|up| up.since.elapsed() > STABLE);
            let doublings = if is_stable { 0 } else { self.doublings.load(Relaxed) + 1 };
            self.doublings.store(doublings.min(MOST_DOUBLINGS), Relaxed);
            self.log(error);
            self.connect_in_background();
        }
    }

    /// Logs an error, unless it was the last.
    fn log(&self, error: &StoreError) {
        let text = error.to_string();
        let mut logged = self.lock_logged();
        if *logged != text {
            *logged = text;
            drop(logged);
            event::down(&self.config.address.text, error, self.config.on_failure);
        }
    }

    fn lock_logged(&self) -> std::sync::MutexGuard<'_, String> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task that connects, unless it runs. Without a runtime the next request tries again.
    fn connect_in_background(self: &Arc<Self>) {
        if !self.connects.swap(true, Relaxed) {
            let task = Connects(Arc::downgrade(self));
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(task.run());
            }
        }
    }
}

/// The task that connects. It ends with the last user of the link.
struct Connects(Weak<Link>);

impl Connects {
    async fn run(self) {
        let Some(link) = self.0.upgrade() else { return };
        let mut doublings = link.doublings.load(Relaxed);
        // The first attempt of a process needs no pause, because requests wait for it.
        let mut pauses = !matches!(*link.state.borrow(), State::New);
        drop(link);
        loop {
            if pauses {
                sleep(PAUSE * (1 << doublings)).await;
                doublings = (doublings + 1).min(MOST_DOUBLINGS);
            }
            pauses = true;
            let Some(link) = self.0.upgrade() else { return };
            match link.connect().await {
                Ok(()) => return,
                Err(error) => {
                    link.fail(None, &error);
                    link.log(&error);
                }
            }
        }
    }
}

/// The runtime may drop the task.
impl Drop for Connects {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.connects.store(false, Relaxed);
        }
    }
}
