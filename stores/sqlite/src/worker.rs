//! A thread for the operations of a store. They run one after another.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::database::{Access, Database, IDLE, Opened, READ_TIMEOUT};

/// The longest time between a call and the end of its operation, apart from the time of the disk.
const DEADLINE: Duration = Duration::from_secs(5);

/// The largest number of waiting operations, because memory must stay bounded.
const MAX_WAITING: usize = 4_096;

/// The time for which a reader takes files for unchanged, because a check takes as long as a find.
const MAX_AGE: Duration = Duration::from_millis(10);

/// The time after which a read counts as one that waited for the disk.
const SLOW: Duration = Duration::from_millis(1);

/// The time after a slow read in which every read goes to the thread.
const AFTER_SLOW: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce(&Mutex<Session>) + Send>;

/// A handle of the thread. The thread ends when the handle is dropped.
pub(crate) struct Worker {
    database: Arc<Database>,
    access: Access,
    jobs: SyncSender<Job>,
    session: Arc<Mutex<Session>>,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(database: &Arc<Database>, access: Access) -> Result<Self, StoreError> {
        let (jobs, received) = sync_channel(MAX_WAITING);
        let session = Arc::new(Mutex::new(Session {
            database: Arc::clone(database),
            access,
            opened: None,
            checked: Instant::now(),
            slow: None,
        }));
        let name = match access {
            Access::Read => "api-keys-read",
            Access::Write => "api-keys-write",
        };
        let thread = thread::Builder::new().name(name.to_owned());
        let of_thread = Arc::clone(&session);
        thread.spawn(move || run(&of_thread, &received)).map_err(|error| {
            database.error(StoreErrorKind::Unavailable, "cannot start a thread").with_source(error)
        })?;
        Ok(Self { database: Arc::clone(database), access, jobs, session })
    }

    /// Runs a read of one row in the thread of the caller, if its connection is open and free.
    ///
    /// The read takes less time than a hop to the thread and back. It waits for no lock. If it fails, this
    /// returns `None`, and [`call`](Self::call) tries again, because the thread may wait. If it waits for
    /// the disk, later reads go to the thread for a while.
    pub(crate) fn call_here<T>(
        &self,
        operation: impl FnOnce(&Database, &Opened) -> Result<T, StoreError>,
    ) -> Option<T> {
        self.session.try_lock().ok()?.read(operation)
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
        let job = move |session: &Mutex<Session>| {
            if answer.is_closed() {
                return;
            }
            let result = lock(session).run(operation, deadline);
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

/// Runs operations until the handle is dropped.
fn run(session: &Mutex<Session>, jobs: &Receiver<Job>) {
    loop {
        let is_open = lock(session).opened.is_some();
        let received = if is_open {
            jobs.recv_timeout(IDLE)
        } else {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match received {
            Ok(job) => {
                // A closure of the user can panic. The transaction then ends with the connection.
                if catch_unwind(AssertUnwindSafe(|| job(session))).is_err() {
                    lock(session).opened = None;
                    session.clear_poison();
                }
            }
            Err(RecvTimeoutError::Timeout) => lock(session).close(),
            Err(RecvTimeoutError::Disconnected) => return lock(session).close(),
        }
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection of the thread.
struct Session {
    database: Arc<Database>,
    access: Access,
    opened: Option<Opened>,
    /// The last time at which the files were those of the connection.
    checked: Instant,
    /// The end of the last slow read in the thread of a caller.
    slow: Option<Instant>,
}

impl Session {
    /// Runs an operation, unless the deadline has passed.
    fn run<T>(
        &mut self,
        operation: impl FnOnce(&Database, &mut Opened, Instant) -> Result<T, StoreError>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        if Instant::now() >= deadline {
            let text = "other operations have kept the database busy";
            return Err(self.database.error(StoreErrorKind::Unavailable, text));
        }
        let (database, opened) = self.open()?;
        let result = operation(database, opened, deadline);
        if result.is_err() {
            // The next operation opens the database again, and so finds a file that was repaired.
            self.opened = None;
        }
        result
    }

    /// Runs a read that waits for no lock, if the connection was opened and checked just now.
    fn read<T>(
        &mut self,
        operation: impl FnOnce(&Database, &Opened) -> Result<T, StoreError>,
    ) -> Option<T> {
        let begin = Instant::now();
        let since = |then| begin.saturating_duration_since(then);
        let is_slow = self.slow.is_some_and(|slow| since(slow) < AFTER_SLOW);
        if is_slow || since(self.checked) >= MAX_AGE || self.database.is_suspended() {
            return None;
        }
        let opened = self.opened.as_ref()?;
        opened.connection.busy_timeout(Duration::ZERO).ok()?;
        let result = operation(&self.database, opened);
        opened.connection.busy_timeout(READ_TIMEOUT).ok()?;
        if begin.elapsed() > SLOW {
            self.slow = Some(Instant::now());
        }
        result.ok()
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
            opened => {
                let current = match opened {
                    Some(opened) if self.database.is_current(&opened.stamp)? => opened,
                    _ => self.database.open(self.access)?,
                };
                self.checked = Instant::now();
                current
            }
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

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use rusqlite::Connection;

    use super::*;
    use crate::database::tests::Folder;

    /// A worker that reads a new database.
    struct Test {
        runtime: tokio::runtime::Runtime,
        database: Arc<Database>,
        reads: Worker,
    }

    impl Test {
        fn start(folder: &Folder) -> Self {
            let database = Arc::new(folder.database());
            let reads = Worker::start(&database, Access::Read).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            Self { runtime, database, reads }
        }

        fn in_thread(&self) -> ThreadId {
            self.runtime.block_on(self.reads.call(|_, _, _| Ok(thread::current().id()))).unwrap()
        }

        fn here(&self) -> Option<ThreadId> {
            self.reads.call_here(|_, _| Ok(thread::current().id()))
        }

        /// Reads here after the thread has checked the files. A busy machine may take longer than the check is valid.
        fn here_after_check(&self) -> Option<ThreadId> {
            (0..100).find_map(|_| {
                self.in_thread();
                self.here()
            })
        }
    }

    #[test]
    fn a_read_runs_in_the_thread_of_its_caller_if_the_files_were_checked_just_now() {
        let folder = Folder::new("here");
        let test = Test::start(&folder);
        assert_eq!(test.here(), None, "not open yet");
        assert_ne!(test.in_thread(), thread::current().id());
        assert_eq!(test.here_after_check(), Some(thread::current().id()));
        thread::sleep(MAX_AGE);
        assert_eq!(test.here(), None, "not checked");
        test.in_thread();
        test.database.suspend();
        assert_eq!(test.here(), None, "other files are at the path");
    }

    #[test]
    fn a_read_does_not_wait_for_the_operation_of_another_caller() {
        let folder = Folder::new("free");
        let test = Test::start(&folder);
        let (begin, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let slow = test.reads.call(move |_, _, _| {
            begin.send(()).unwrap();
            ended.recv().unwrap();
            Ok(())
        });
        test.runtime.block_on(async {
            let reads = async {
                tokio::task::yield_now().await;
                begun.recv().unwrap();
                assert_eq!(test.here(), None);
                end.send(()).unwrap();
            };
            let (done, ()) = tokio::join!(slow, reads);
            done.unwrap();
        });
        assert!(test.here_after_check().is_some());
    }

    #[test]
    fn after_a_panic_a_read_runs_in_the_thread_of_its_caller_again() {
        let folder = Folder::new("panic");
        let test = Test::start(&folder);
        let panics = test.reads.call::<()>(|_, _, _| panic!("by a test"));
        assert_eq!(test.runtime.block_on(panics).unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(test.here_after_check().is_some());
    }

    #[test]
    fn after_a_slow_read_every_read_goes_to_the_thread_for_a_while() {
        let folder = Folder::new("slow");
        let test = Test::start(&folder);
        let slow = |_: &Database, _: &Opened| {
            thread::sleep(SLOW + Duration::from_millis(1));
            Ok(())
        };
        let is_read = (0..100).any(|_| {
            test.in_thread();
            test.reads.call_here(slow).is_some()
        });
        assert!(is_read);
        test.in_thread();
        assert_eq!(test.here(), None);
        thread::sleep(AFTER_SLOW);
        assert!(test.here_after_check().is_some());
    }

    #[test]
    fn a_read_in_the_thread_of_its_caller_waits_for_no_lock() {
        let folder = Folder::new("no-wait");
        let test = Test::start(&folder);
        let other = Connection::open(folder.path("keys.db")).unwrap();
        // In this mode a reader waits for a writer.
        other.query_row("PRAGMA journal_mode = DELETE", (), |_| Ok(())).unwrap();
        test.in_thread();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let read = |_: &Database, opened: &Opened| {
            let sql = "SELECT count(*) FROM api_key";
            opened
                .connection
                .query_row(sql, (), |row| row.get::<_, i64>(0))
                .map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error.to_string()))
        };
        let mut session = lock(&test.reads.session);
        session.checked = Instant::now();
        let begin = Instant::now();
        assert_eq!(session.read(read), None);
        assert!(begin.elapsed() < READ_TIMEOUT / 2, "{:?}", begin.elapsed());
        other.execute_batch("ROLLBACK").unwrap();
        (session.checked, session.slow) = (Instant::now(), None);
        assert_eq!(session.read(read), Some(0));
    }
}
