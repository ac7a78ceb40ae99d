//! The state that all clones of a handle and its writer share.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::{
    UsageBatch,
    clock::{Clock, Minute},
    counts::Event,
    past::Retention,
    row::{self, Subject, UsageRow},
    table::Table,
};

pub(super) struct Shared {
    table: Table,
    clock: Clock,
    hours: u32,
    since: Minute,
    instance: Box<str>,
    pending: Mutex<Pending>,
    has_writer: AtomicBool,
}

/// The batch for the sink, until the sink has stored it.
#[derive(Default)]
struct Pending {
    sequence: u64,
    batch: Option<Arc<UsageBatch>>,
}

impl Shared {
    pub(super) fn new(clock: Clock, hours: u32, max_keys: usize) -> Self {
        let since = clock.now();
        let table = Table::new(max_keys, since.hour());
        let (pending, has_writer) = (Mutex::default(), AtomicBool::new(false));
        Self { table, clock, hours, since, instance: instance(), pending, has_writer }
    }

    fn retention(&self) -> Retention {
        Retention { hours: self.hours, has_writer: self.has_writer.load(Ordering::Relaxed) }
    }

    /// Counts an event of a client. Without the id of a key, the client counts.
    #[inline]
    pub(super) fn count(&self, key_id: Option<&str>, client: &str, event: Event) {
        self.table.count_client(key_id, client, event, self.clock.now(), self.retention());
    }

    /// Counts the event of a request without a known client.
    pub(super) fn count_without_client(&self, key_id: Option<&str>, event: Event) {
        self.table.count_key(key_id, event, self.clock.now(), self.retention());
    }

    /// Returns the counted hours of each subject that the filter accepts.
    pub(super) fn rows(&self, is_wanted: impl Fn(&Subject) -> bool) -> Vec<UsageRow> {
        let (now, retention) = (self.clock.now().hour(), self.retention());
        let mut rows = Vec::new();
        self.table.for_each(|subject, entry| {
            let hours = entry.rows(now, retention);
            if hours.is_empty() {
                return;
            }
            let subject = self.with_client(subject());
            if is_wanted(&subject) {
                rows.extend(hours.into_iter().map(|hour| hour.of(subject.clone())));
            }
        });
        self.table.make_room(now, retention);
        row::merge(rows)
    }

    /// Adds the client of a key, if only another entry has the client.
    fn with_client(&self, subject: Subject) -> Subject {
        match subject {
            Subject::Key { client: None, id } => {
                let client = self.table.client_of(&id);
                Subject::Key { client, id }
            }
            subject => subject,
        }
    }

    /// Returns the last use of each key, and of each client without ids of keys.
    pub(super) fn last_uses(&self) -> Vec<(Subject, Minute)> {
        let mut uses = Vec::new();
        self.table.for_each(|subject, entry| {
            let last_used = entry.last_used();
            if last_used != Minute::NEVER {
                uses.push((subject(), last_used));
            }
        });
        uses
    }

    pub(super) fn last_used(&self, key_id: &str) -> Minute {
        self.table.last_used(key_id)
    }

    pub(super) fn since(&self) -> SystemTime {
        self.since.max(self.table.forgotten().next()).time().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn keys(&self) -> usize {
        self.table.len()
    }

    /// Reserves the place of the writer. Returns `false` if there is a writer.
    pub(super) fn add_writer(&self) -> bool {
        !self.has_writer.swap(true, Ordering::Relaxed)
    }

    pub(super) fn remove_writer(&self) {
        self.has_writer.store(false, Ordering::Relaxed);
    }

    /// Returns the batch that was not stored yet, or a new one. Returns `None` if no count is new.
    ///
    /// A batch stays the same until it is stored, because the sink may have stored it although it reported an
    /// error. Later counts go into the next batch.
    pub(super) fn next_batch(&self) -> Option<Arc<UsageBatch>> {
        let mut pending = self.pending();
        if let Some(batch) = &pending.batch {
            return Some(Arc::clone(batch));
        }
        let rows = self.take_unsent();
        if rows.is_empty() {
            return None;
        }
        pending.sequence += 1;
        let batch = Arc::new(UsageBatch::new(&*self.instance, pending.sequence, rows));
        pending.batch = Some(Arc::clone(&batch));
        Some(batch)
    }

    /// Forgets a stored batch.
    pub(super) fn acknowledge(&self, batch: &Arc<UsageBatch>) {
        let mut pending = self.pending();
        if pending.batch.as_ref().is_some_and(|pending| Arc::ptr_eq(pending, batch)) {
            pending.batch = None;
        }
    }

    fn take_unsent(&self) -> Vec<UsageRow> {
        let (now, retention) = (self.clock.now().hour(), self.retention());
        let mut rows = Vec::new();
        self.table.for_each(|subject, entry| {
            let hours = entry.take_unsent(now, retention);
            if !hours.is_empty() {
                let subject = self.with_client(subject());
                rows.extend(hours.into_iter().map(|hour| hour.of(subject.clone())));
            }
        });
        self.table.make_room(now, retention);
        row::merge(rows)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a name that no other `Usage` has had, in this process or another.
///
/// `RandomState` has a random seed of the operating system, and another for each call.
fn instance() -> Box<str> {
    let random = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    };
    format!("{:016x}{:016x}", random(), random()).into()
}
