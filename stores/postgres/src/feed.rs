//! Follows the changes of a database over a connection of its own.

use std::{
    convert::Infallible,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{TryStreamExt as _, future};
use tokio::{
    task,
    time::{self, Instant},
};
use tokio_postgres::{Row, types::Type};
use tower_api_key::{
    KeyDigest,
    store::{Listener, Start, StoreError},
};

use crate::{
    connection::{Connection, Parameter},
    endpoint::Endpoint,
    position::{Durable, Position, SERVER, Server},
    query,
    row::{RowReader, unsigned},
    schema,
};

/// The longest time between two reads of the database.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The shortest time between two reads, so that many changes in a row need few reads.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest time of a read without an answer. So a lost connection is noticed within seven seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The seconds after which every record is read again, because an administrator can disable the triggers. It is far less
/// than the 30 days for which a removal is known.
const RELOAD: f64 = 20.0 * 60.0 * 60.0;

/// The largest addition to it, so that replicas do not read all records at once.
const JITTER: f64 = 8.0 * 60.0 * 60.0;

/// The number of records after which other tasks of the runtime can run.
const BATCH: usize = 512;

/// A slow listener takes longer to read all records than other statements of this role may take.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = 0";

const DOING: &str = "follow the changes";

/// The follower of a database.
pub(crate) struct Feed<'a> {
    endpoint: &'a Endpoint,
    connection: Connection,
    listener: &'a dyn Listener,
    /// Whether the listener wants every record after a gap, and not the changes alone.
    wants_records: bool,
    /// The last delivered position.
    seen: Option<Position>,
    durable: Durable,
    /// The seconds after which every record is read again.
    reload: i64,
}

/// Follows until an error.
pub(crate) async fn follow(
    endpoint: &Arc<Endpoint>,
    from: &Start,
    listener: &dyn Listener,
) -> Result<Infallible, StoreError> {
    let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    let reload = RELOAD + JITTER * random;
    Feed::open(endpoint, from, listener, reload as i64).await?.run().await
}

impl<'a> Feed<'a> {
    pub(crate) async fn open(
        endpoint: &'a Arc<Endpoint>,
        from: &Start,
        listener: &'a dyn Listener,
        reload: i64,
    ) -> Result<Self, StoreError> {
        let seen = match from {
            Start::After(cursor) => Position::parse(cursor),
            _ => None,
        };
        let connection = Connection::open(endpoint).await?;
        let durable = Durable::starting_at(seen.clone());
        let wants_records = *from != Start::Now;
        Ok(Self { endpoint, connection, listener, wants_records, seen, durable, reload })
    }

    pub(crate) async fn run(mut self) -> Result<Infallible, StoreError> {
        // From now on a commit wakes this. The reads below see each commit before.
        let listen = self.connection.client.batch_execute("LISTEN api_keys");
        self.connection.within(PATIENCE, DOING, listen).await?;
        let is_new = self.seen.is_none();
        // After a long gap there can be many changes.
        if is_new || !self.catch_up(self.endpoint.deadline()).await? {
            if self.wants_records {
                self.listener.restart();
            }
            self.load().await?;
        }
        loop {
            let next = Instant::now() + PAUSE;
            _ = time::timeout(HEARTBEAT, self.connection.notified()).await;
            time::sleep_until(next).await;
            if !self.catch_up(PATIENCE).await? {
                self.listener.restart();
                self.load().await?;
            }
        }
    }

    /// Delivers the changes since the last position. Returns `false` if it is time to read every record, or if some
    /// changes may not be known any more.
    async fn catch_up(&mut self, patience: Duration) -> Result<bool, StoreError> {
        let mut server = self.begin().await?;
        let (now, reload) = (server.position.loaded, self.reload);
        let is_known = |seen: &&Position| {
            seen.leads_to(&server.position) && now.saturating_sub(seen.loaded) < reload
        };
        let Some(seen) = self.seen.as_ref().filter(is_known) else {
            self.end().await?;
            return Ok(false);
        };
        server.position.loaded = seen.loaded;
        let parameters: &[Parameter<'_>] = &[(&seen.snapshot(), Type::TEXT)];
        // Both statements are sent at once.
        let removed = self.connection.client.query_typed(query::REMOVED, parameters);
        let changed = self.connection.client.query_typed_raw(query::CHANGED, borrowed(parameters));
        let read = future::try_join(removed, changed);
        let (removed, changed) = self.connection.within(patience, DOING, read).await?;
        // Removals come first, because a new key can have the id of a removed one.
        self.deliver_removed(&removed);
        self.deliver(changed, patience).await?;
        self.end().await?;
        self.ready(server);
        Ok(true)
    }

    /// Delivers every record, if the listener wants them.
    async fn load(&mut self) -> Result<(), StoreError> {
        self.durable = Durable::default();
        let server = self.begin().await?;
        if self.wants_records {
            let patience = self.endpoint.deadline();
            let all = self.connection.client.query_typed_raw(query::ALL, borrowed(&[]));
            let all = self.connection.within(patience, DOING, all).await?;
            self.deliver(all, patience).await?;
        }
        self.end().await?;
        self.ready(server);
        Ok(())
    }

    /// Begins a transaction that sees one state of the database.
    async fn begin(&self) -> Result<Server, StoreError> {
        let client = &self.connection.client;
        let read = future::try_join(client.batch_execute(BEGIN), client.query_typed(SERVER, &[]));
        let ((), rows) = self.connection.within(PATIENCE, DOING, read).await?;
        let row = rows.first().ok_or_else(|| schema::missing(self.endpoint))?;
        let server = Server::read(row).map_err(|error| self.connection.failed(DOING, &error))?;
        if server.is_standby {
            return Err(schema::standby(self.endpoint));
        }
        schema::check_version(self.endpoint, server.version)?;
        Ok(server)
    }

    async fn end(&self) -> Result<(), StoreError> {
        self.connection
            .within(PATIENCE, DOING, self.connection.client.batch_execute("COMMIT"))
            .await
    }

    fn deliver_removed(&self, rows: &[Row]) {
        for row in rows {
            let (Ok(version), Ok(digest)) = (row.try_get(0), row.try_get::<_, &[u8]>(1)) else {
                continue;
            };
            // Bytes of another length are no digest, so that no key has them.
            if let Ok(digest) = digest.try_into() {
                self.listener.removed(unsigned(version), KeyDigest::from_bytes(digest));
            }
        }
    }

    async fn deliver(
        &self,
        rows: tokio_postgres::RowStream,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let (mut rows, mut reader) = (pin!(rows), RowReader::default());
        let mut count = 0_usize;
        while let Some(row) = self.connection.within(patience, DOING, rows.try_next()).await? {
            let Some(row) = reader.read(&row) else { continue };
            match row.record {
                Ok(record) => self.listener.record(row.version, record),
                Err(column) => {
                    let error = query::corrupt(self.endpoint, &row.key_id, column);
                    self.listener.corrupt(row.version, row.digest, error);
                }
            }
            count += 1;
            if count % BATCH == 0 {
                task::yield_now().await;
            }
        }
        Ok(())
    }

    fn ready(&mut self, server: Server) {
        let cursor = self.durable.note(&server);
        self.seen = Some(server.position);
        self.listener.ready(cursor.as_ref());
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns parameters as a stream of rows takes them.
fn borrowed<'a>(
    parameters: &'a [Parameter<'a>],
) -> impl Iterator<Item = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type)> {
    parameters.iter().map(|(value, of)| (*value, of.clone()))
}
