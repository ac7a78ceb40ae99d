//! A thread for the operations of a store. They run one after another.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::database::{Access, Database, IDLE, Opened};

/// The longest time between a call and the end of its operation, apart from the time of the disk.
const DEADLINE: Duration = Duration::from_secs(5);

/// The largest number of waiting operations, because memory must stay bounded.
const MAX_WAITING: usize = 4_096;

/// The time for which a reader takes files for unchanged, because a check takes as long as a find.
const MAX_AGE: Duration = Duration::from_millis(10);

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A handle of the thread. The thread ends when the handle is dropped.
pub(crate) struct Worker {
    database: Arc<Database>,
    access: Access,
    jobs: SyncSender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(database: &Arc<Database>, access: Access) -> Result<Self, StoreError> {
        let (jobs, received) = sync_channel(MAX_WAITING);
        let session = Session {
            database: Arc::clone(database),
            access,
            opened: None,
            checked: Instant::now(),
        };
        let name = match access {
            Access::Read => "api-keys-read",
            Access::Write => "api-keys-write",
        };
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || session.run(&received)).map_err(|error| {
            database.error(StoreErrorKind::Unavailable, "cannot start a thread").with_source(error)
        })?;
        Ok(Self { database: Arc::clone(database), access, jobs })
    }

    /// Runs an operation in the thread.
    ///
    /// If the caller drops the future before the operation begins, the operation does not begin.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Database, &mut Opened, Instant) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + DEADLINE;
        let job = move |session: &mut Session| {
            if answer.is_closed() {
                return;
            }
            let result = if Instant::now() < deadline {
                session.open().and_then(|(database, opened)| operation(database, opened, deadline))
            } else {
                let text = "other operations have kept the database busy";
                Err(session.database.error(StoreErrorKind::Unavailable, text))
            };
            if result.is_err() {
                // The next operation opens the database again, and so finds a file that was repaired.
                session.opened = None;
            }
            _ = answer.send(result);
        };
        self.jobs.try_send(Box::new(job)).map_err(|error| {
            let text = match error {
                TrySendError::Full(_) => "too many operations wait for the database",
                TrySendError::Disconnected(_) => "the thread of the database has ended",
            };
            self.database.error(StoreErrorKind::Unavailable, text)
        })?;
        answered.await.unwrap_or_else(|_| {
            let kind = match self.access {
                Access::Read => StoreErrorKind::Unavailable,
                Access::Write => StoreErrorKind::OutcomeUnknown,
            };
            let text = "the thread of the database has failed during the operation";
            Err(self.database.error(kind, text))
        })
    }
}

/// The state of the thread.
struct Session {
    database: Arc<Database>,
    access: Access,
    opened: Option<Opened>,
    /// The last time at which the files were those of the connection.
    checked: Instant,
}

impl Session {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = match (jobs.recv_timeout(IDLE), &self.opened) {
                (Ok(job), _) => job,
                (Err(RecvTimeoutError::Timeout), Some(_)) => {
                    self.close();
                    continue;
                }
                (Err(RecvTimeoutError::Timeout), None) => match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
                (Err(RecvTimeoutError::Disconnected), _) => return self.close(),
            };
            // A closure of the user can panic. The transaction then ends with the connection.
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                self.opened = None;
            }
        }
    }

    /// Returns a connection to the files at the path.
    fn open(&mut self) -> Result<(&Database, &mut Opened), StoreError> {
        if self.database.is_suspended() {
            self.opened = None;
        }
        let opened = match self.opened.take() {
            Some(opened) if self.access == Access::Read && self.checked.elapsed() < MAX_AGE => {
                opened
            }
            Some(opened) if self.database.is_current(&opened.stamp)? => {
                self.checked = Instant::now();
                opened
            }
            _ => self.database.open(self.access)?,
        };
        Ok((&self.database, self.opened.insert(opened)))
    }

    /// Closes the connection. A writer moves its commits from the log into the file before.
    fn close(&mut self) {
        let Some(opened) = self.opened.take() else { return };
        let is_in_place = self.database.is_current(&opened.stamp).is_ok();
        if self.access == Access::Write && is_in_place {
            self.database.checkpoint(&opened);
        }
    }
}
