//! Follows the changes of a database in a thread.

use std::{
    convert::Infallible,
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Params;
use tokio::sync::{mpsc::Sender, oneshot};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Cursor, Start, StoreError, StoreErrorKind},
};

use crate::{
    database::{Access, Database, Opened},
    position::Position,
    query::{self, Keys},
};

/// The time between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The longest time between two reads of the database.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The number of keys in a message.
const BATCH: usize = 512;

/// The largest number of messages for a slow listener, because memory must stay bounded.
pub(crate) const MAX_WAITING: usize = 2;

/// A message to the listener.
pub(crate) enum Message {
    /// The thread waits for an answer before it reads.
    Restart(oneshot::Sender<()>),
    /// The number of records of a load.
    Expect(usize),
    Removed(Vec<(u64, KeyDigest)>),
    Records(Vec<Delivery>),
    Ready(Cursor),
    Failed(StoreError),
}

/// The state of a key.
pub(crate) enum Delivery {
    Record(u64, Record),
    Corrupt(u64, KeyDigest, StoreError),
}

/// The reason why a feed ends.
enum End {
    Failed(StoreError),
    /// The listener does not listen any more.
    Dropped,
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// The thread of a follower.
pub(crate) struct Feed {
    database: Arc<Database>,
    messages: Sender<Message>,
    /// Whether the listener wants every record after a gap, and not the changes alone.
    wants_records: bool,
    /// The last delivered change.
    seen: Option<Position>,
}

impl Feed {
    pub(crate) fn new(database: &Arc<Database>, from: &Start, messages: Sender<Message>) -> Self {
        let seen = match from {
            Start::After(cursor) => Position::parse(cursor),
            _ => None,
        };
        let wants_records = *from != Start::Now;
        Self { database: Arc::clone(database), messages, wants_records, seen }
    }

    /// Starts the thread.
    pub(crate) fn start(mut self) -> Result<(), StoreError> {
        let database = Arc::clone(&self.database);
        let thread = thread::Builder::new().name("api-keys-follow".to_owned());
        let run = move || {
            if let Err(End::Failed(error)) = self.follow() {
                if error.kind() == StoreErrorKind::Corrupt {
                    // A file that was restored in place can look damaged until every connection has closed.
                    self.database.suspend();
                }
                _ = self.send(Message::Failed(error));
            }
        };
        thread.spawn(run).map(drop).map_err(|error| {
            database.error(StoreErrorKind::Unavailable, "cannot start a thread").with_source(error)
        })
    }

    fn follow(&mut self) -> Result<Infallible, End> {
        let mut opened = self.database.open(Access::Read)?;
        let mut data_version = self.data_version(&opened)?;
        let resumes = self.seen.is_some() || !self.wants_records;
        if !resumes || !self.catch_up(&mut opened)? {
            self.restart()?;
            self.load(&mut opened)?;
        }
        let mut last_read = Instant::now();
        loop {
            thread::sleep(POLL_INTERVAL);
            if self.messages.is_closed() {
                return Err(End::Dropped);
            }
            let is_due = last_read.elapsed() >= HEARTBEAT;
            let is_current = self.database.is_current(&opened.stamp)?;
            if !is_current {
                // If another program wrote the file, the old connection would not see it.
                opened = self.database.open(Access::Read)?;
            }
            let before = mem::replace(&mut data_version, self.data_version(&opened)?);
            if before == data_version && is_current && !is_due {
                continue;
            }
            if !self.catch_up(&mut opened)? {
                self.database.suspend();
                let text = "the database has lost changes, because a backup was restored";
                return Err(self.database.error(StoreErrorKind::Unavailable, text).into());
            }
            last_read = Instant::now();
            if is_due {
                self.database.checkpoint(&opened);
            }
        }
    }

    /// Returns a number that changes with each commit by another connection.
    fn data_version(&self, opened: &Opened) -> Result<i64, StoreError> {
        let statement = opened.connection.prepare_cached("PRAGMA data_version");
        let version = statement.and_then(|mut it| it.query_row((), |row| row.get(0)));
        version.map_err(self.database.failed("follow the changes"))
    }

    /// Delivers the changes since the last one. Returns `false` if some are not known any more.
    fn catch_up(&mut self, opened: &mut Opened) -> Result<bool, End> {
        let database = Arc::clone(&self.database);
        let transaction = database.begin_read(opened)?;
        let keys = Keys { database: &database, connection: &transaction };
        let last = keys.last()?;
        if let Some(seen) = self.seen.filter(|seen| *seen != last) {
            if !keys.knows(seen)? {
                return Ok(false);
            }
            // Removals come first, because a new key can have the id of a removed one.
            self.deliver_removed(keys, seen)?;
            self.deliver(keys, query::CHANGED_AFTER, [seen.version])?;
        }
        self.ready(last)?;
        Ok(true)
    }

    /// Delivers every record, if the listener wants them.
    fn load(&mut self, opened: &mut Opened) -> Result<(), End> {
        let database = Arc::clone(&self.database);
        let transaction = database.begin_read(opened)?;
        let keys = Keys { database: &database, connection: &transaction };
        let last = keys.last()?;
        if self.wants_records {
            self.send(Message::Expect(keys.count()?))?;
            self.deliver(keys, query::ALL, ())?;
        }
        self.ready(last)
    }

    fn deliver(&self, keys: Keys<'_>, sql: &str, values: impl Params) -> Result<(), End> {
        let mut batch = Vec::with_capacity(BATCH);
        keys.each(sql, values, |row| {
            let delivery = match row.record {
                Ok(record) => Delivery::Record(row.version, record),
                Err(column) => {
                    Delivery::Corrupt(row.version, row.digest, keys.corrupt(row.key_id, column))
                }
            };
            batch.push(delivery);
            if batch.len() < BATCH {
                return Ok(());
            }
            let full = mem::replace(&mut batch, Vec::with_capacity(BATCH));
            self.send(Message::Records(full))
        })?;
        if batch.is_empty() { Ok(()) } else { self.send(Message::Records(batch)) }
    }

    fn deliver_removed(&self, keys: Keys<'_>, seen: Position) -> Result<(), End> {
        let mut batch = Vec::new();
        keys.each_removed(seen.version, |version, digest| {
            batch.push((version, digest));
            if batch.len() < BATCH {
                return Ok(());
            }
            self.send(Message::Removed(mem::take(&mut batch)))
        })?;
        if batch.is_empty() { Ok(()) } else { self.send(Message::Removed(batch)) }
    }

    fn ready(&mut self, last: Position) -> Result<(), End> {
        self.seen = Some(last);
        self.send(Message::Ready(last.cursor()))
    }

    /// Tells the listener to begin again, and waits until it has.
    fn restart(&self) -> Result<(), End> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Restart(answer))?;
        answered.blocking_recv().map_err(|_| End::Dropped)
    }

    fn send(&self, message: Message) -> Result<(), End> {
        self.messages.blocking_send(message).map_err(|_| End::Dropped)
    }
}
