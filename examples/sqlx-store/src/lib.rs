//! A store of API keys over the sqlx pool that an application has already. The key tables are beside its own tables.
//!
//! `Mirrored::open(SqlxStore::new(pool)).await?` opens it. Other processes apply a change after at most 100 ms. The package
//! `tower-api-key-postgres` does more: notifications, a check of the schema, usage, writes by SQL.
//!
//! All changes lock the one row with the version, so they run one after the other, and versions become visible in order.
//! A follower that reads the rows after a version then misses none.

mod row;

use std::{convert::Infallible, time::Duration};

use sqlx::{Error, PgPool, Postgres, Transaction, postgres::PgRow};
use tokio::time::{sleep, timeout};
use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{
        Change, Changed, Cursor, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind,
        StoreFuture, Target, Write,
    },
};

/// The SQL of the tables.
pub const TABLES: &str = include_str!("tables.sql");

/// The time between two reads of the version.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest time of an operation, the wait for a connection included.
const DEADLINE: Duration = Duration::from_secs(5);

/// Keys in the tables of an application.
#[derive(Clone, Debug)]
pub struct SqlxStore(PgPool);

impl SqlxStore {
    /// Creates a store over a pool. Clones of the pool share its connections.
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    async fn version(&self) -> Result<i64, StoreError> {
        let version = sqlx::query_scalar("SELECT version FROM app_keys_version");
        within("read the version", version.fetch_one(&self.0)).await
    }

    /// Delivers the rows after a version, and returns the version of the last one. Removals come first.
    async fn deliver(&self, after: i64, listener: &dyn Listener) -> Result<i64, StoreError> {
        // All three statements see the same commits.
        let begin = self.0.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        let mut snapshot = within("begin", begin).await?;
        let version = sqlx::query_scalar("SELECT version FROM app_keys_version");
        let version = within("read the version", version.fetch_one(&mut *snapshot)).await?;
        let gone = sqlx::query(
            "SELECT digest, version FROM app_keys_gone WHERE version > $1 ORDER BY version",
        );
        let gone = within("read removed keys", gone.bind(after).fetch_all(&mut *snapshot)).await?;
        let keys = sqlx::query("SELECT * FROM app_keys WHERE version > $1 ORDER BY version");
        let keys = within("read keys", keys.bind(after).fetch_all(&mut *snapshot)).await?;
        within("end a transaction", snapshot.commit()).await?;
        let removed = gone.iter().filter_map(row::position);
        removed.for_each(|(version, digest)| listener.removed(version, digest));
        for batch in keys.chunks(64) {
            for (row, (version, digest)) in
                batch.iter().filter_map(|row| Some((row, row::position(row)?)))
            {
                match row::record(row) {
                    Some(record) => listener.record(version, record),
                    None => listener.corrupt(version, digest, corrupt()),
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(version)
    }
}

impl KeyStore for SqlxStore {
    fn name(&self) -> &str {
        "sqlx"
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async move {
            let found = sqlx::query("SELECT * FROM app_keys WHERE digest = $1")
                .bind(digest.to_bytes().to_vec());
            let found = within("find a key", found.fetch_optional(&self.0)).await?;
            found.as_ref().map(record).transpose()
        })
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async move {
            let sql = "SELECT * FROM app_keys WHERE key_id > $1 AND ($2::text IS NULL OR client = $2) ORDER BY key_id";
            let rows = sqlx::query(sql).bind(page.after().unwrap_or_default()).bind(page.client());
            let rows = within("list keys", rows.fetch_all(&self.0)).await?;
            let records = rows.iter().map(record);
            let selected =
                records.filter(|it| it.as_ref().map_or(true, |record| page.contains(record)));
            selected.take(page.limit()).collect()
        })
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        Box::pin(async move {
            let mut transaction = within("begin", self.0.begin()).await?;
            let next = "UPDATE app_keys_version SET version = version + 1 RETURNING version";
            let next = sqlx::query_scalar(next).fetch_one(&mut *transaction);
            let version: i64 = within("lock the version", next).await?;
            let rows = lock(&mut transaction, change.target()).await?;
            let draft = change.apply(rows.iter().map(record).collect::<Result<Vec<_>, _>>()?)?;
            if draft.writes().is_empty() {
                return Ok(draft.committed(version.unsigned_abs() - 1));
            }
            write(&mut transaction, draft.writes(), version).await?;
            match timeout(DEADLINE, transaction.commit()).await {
                Ok(Ok(())) => Ok(draft.committed(version.unsigned_abs())),
                Ok(Err(error)) if error.as_database_error().is_some() => {
                    Err(failed("commit", &error))
                }
                _ => Err(StoreError::new(
                    StoreErrorKind::OutcomeUnknown,
                    "sqlx: no answer to a commit",
                )),
            }
        })
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        Box::pin(async move {
            let mut seen = match from {
                Start::After(cursor) => cursor.as_str().parse().ok().filter(|seen| *seen >= 0),
                Start::Now => Some(self.version().await?),
                _ => None,
            };
            loop {
                let mut version = self.version().await?;
                // The version of a restored backup can be smaller.
                if seen.is_none_or(|seen| seen > version) {
                    listener.restart();
                    seen = None;
                }
                if seen != Some(version) {
                    version = self.deliver(seen.unwrap_or_default(), listener).await?;
                }
                listener.ready(Some(&Cursor::new(version.to_string())));
                seen = Some(version);
                sleep(INTERVAL).await;
            }
        })
    }
}

/// Reads and locks the rows of a change. They can be more than those of the target.
async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    target: &Target,
) -> Result<Vec<PgRow>, StoreError> {
    let query = match target {
        Target::Digests(digests) => {
            let digests: Vec<_> = digests.iter().map(|digest| digest.to_bytes().to_vec()).collect();
            sqlx::query("SELECT * FROM app_keys WHERE digest = ANY($1) FOR UPDATE").bind(digests)
        }
        Target::KeyId(id) => {
            sqlx::query("SELECT * FROM app_keys WHERE key_id = $1 FOR UPDATE").bind(id)
        }
        Target::Client(id) => {
            sqlx::query("SELECT * FROM app_keys WHERE client = $1 FOR UPDATE").bind(id)
        }
        Target::DeadBefore(time) => {
            let sql =
                "SELECT * FROM app_keys WHERE LEAST(expires, retires, revoked) <= $1 FOR UPDATE";
            sqlx::query(sql).bind(row::micros(*time))
        }
    };
    within("lock keys", query.fetch_all(&mut **transaction)).await
}

/// Makes all writes. The row of a key that changes is replaced.
async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    writes: &[Write],
    version: i64,
) -> Result<(), StoreError> {
    let (mut old, mut gone, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Insert(record) => records.push(record),
            Write::Update(record) => {
                old.push(record.digest().to_bytes().to_vec());
                records.push(record);
            }
            Write::Remove(digest) => gone.push(digest.to_bytes().to_vec()),
        }
    }
    old.extend(gone.iter().cloned());
    let delete = sqlx::query("DELETE FROM app_keys WHERE digest = ANY($1)").bind(old);
    within("remove keys", delete.execute(&mut **transaction)).await?;
    let sql = "INSERT INTO app_keys_gone SELECT unnest($1::bytea[]), $2 ON CONFLICT (digest) DO UPDATE SET version = $2";
    let gone = sqlx::query(sql).bind(gone).bind(version);
    within("remove keys", gone.execute(&mut **transaction)).await?;
    for records in records.chunks(1_000) {
        let mut insert = row::insert(records, version);
        within("write keys", insert.build().execute(&mut **transaction)).await?;
    }
    Ok(())
}

fn record(row: &PgRow) -> Result<Record, StoreError> {
    row::record(row).ok_or_else(corrupt)
}

fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "sqlx: a row of `app_keys` is not a record")
}

async fn within<T>(
    doing: &str,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match timeout(DEADLINE, operation).await {
        Ok(done) => done.map_err(|error| failed(doing, &error)),
        Err(_) => {
            let text = format!("sqlx: cannot {doing}: the database did not answer in time");
            Err(StoreError::new(StoreErrorKind::Unavailable, text))
        }
    }
}

/// Converts an error. Its text has no value of a row.
fn failed(doing: &str, error: &Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    let kind = match &*code {
        // A duplicate, a deadlock or a transaction to begin again.
        "23505" | "40001" | "40P01" => StoreErrorKind::Conflict,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("sqlx: cannot {doing} (SQLSTATE {code:?})"))
}
