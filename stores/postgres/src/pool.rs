use std::{ops::Deref, sync::Arc};

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult};
use tokio::time;
use tokio_postgres::Row;
use tower_api_key::store::{StoreError, StoreErrorKind};

use crate::{
    connection::{Connection, Parameter},
    endpoint::Endpoint,
    schema,
};

/// Connections for statements. Each has seen the tables of this program.
#[derive(Clone, Debug)]
pub(crate) struct Pool(managed::Pool<Manager>);

#[derive(Debug)]
pub(crate) struct Manager {
    endpoint: Arc<Endpoint>,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        let connection = Connection::open(&self.endpoint).await?;
        schema::check(&self.endpoint, &connection).await?;
        Ok(connection)
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<StoreError> {
        if connection.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

impl Pool {
    pub(crate) fn new(
        endpoint: &Arc<Endpoint>,
        max_connections: usize,
    ) -> Result<Self, StoreError> {
        let manager = Manager { endpoint: Arc::clone(endpoint) };
        let pool = managed::Pool::builder(manager).max_size(max_connections.max(1)).build();
        pool.map(Self)
            .map_err(|error| endpoint.error(StoreErrorKind::Unavailable, &error.to_string()))
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0.manager().endpoint
    }

    /// Waits for a connection until the deadline.
    async fn get(&self) -> Result<Lease, StoreError> {
        let endpoint = self.endpoint();
        match time::timeout(endpoint.deadline(), self.0.get()).await {
            Ok(Ok(connection)) => Ok(Lease { connection, is_released: false }),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(error)) => {
                Err(endpoint.error(StoreErrorKind::Unavailable, &format!("no connection: {error}")))
            }
            Err(_) => {
                let text = "no connection in time. The server does not answer, or all connections are in use \
                    (`PostgresOptions::max_connections`)";
                Err(endpoint.error(StoreErrorKind::Unavailable, text))
            }
        }
    }

    /// Waits for a connection in place of one that the server had closed while it was idle.
    async fn replace(&self, closed: Lease) -> Result<Lease, StoreError> {
        drop(closed);
        self.get().await
    }

    /// Reads rows within the deadline.
    pub(crate) async fn read(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let read = async {
            let mut lease = self.get().await?;
            let mut result = lease.query(doing, sql, parameters).await;
            if result.is_err() && lease.is_closed() {
                lease = self.replace(lease).await?;
                result = lease.query(doing, sql, parameters).await;
            }
            let rows = result?;
            lease.release();
            Ok(rows)
        };
        let endpoint = self.endpoint();
        time::timeout(endpoint.deadline(), read)
            .await
            .unwrap_or_else(|_| Err(endpoint.timed_out(doing)))
            .inspect_err(|error| self.forget_idle(error))
    }

    /// Begins a transaction within the deadline. [`end`](Self::end) ends it.
    pub(crate) async fn begin(&self, sql: &str) -> Result<Lease, StoreError> {
        let doing = "begin a transaction";
        let begin = async {
            let mut lease = self.get().await?;
            let mut result = lease.run(doing, sql).await;
            if result.is_err() && lease.is_closed() {
                lease = self.replace(lease).await?;
                result = lease.run(doing, sql).await;
            }
            result.map(|()| lease)
        };
        let endpoint = self.endpoint();
        time::timeout(endpoint.deadline(), begin)
            .await
            .unwrap_or_else(|_| Err(endpoint.timed_out(doing)))
            .inspect_err(|error| self.forget_idle(error))
    }

    /// Ends a transaction with its result. After an error the transaction is rolled back.
    pub(crate) async fn end<T>(&self, lease: Lease, result: &Result<T, StoreError>) {
        use StoreErrorKind::{OutcomeUnknown, Unavailable};

        let is_idle = match result {
            Ok(_) => true,
            // The server may not answer.
            Err(error) if matches!(error.kind(), Unavailable | OutcomeUnknown) => {
                self.forget_idle(error);
                false
            }
            Err(_) => lease.run("roll back", "ROLLBACK").await.is_ok(),
        };
        if is_idle {
            lease.release();
        }
    }

    /// Closes idle connections if the server failed, because they probably fail as well.
    pub(crate) fn forget_idle(&self, error: &StoreError) {
        if matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown) {
            _ = self.0.retain(|connection, _| {
                connection.abort();
                false
            });
        }
    }
}

/// A connection of the pool. It is closed unless it is released, because a statement or a transaction may be open.
pub(crate) struct Lease {
    connection: Object<Manager>,
    is_released: bool,
}

impl Lease {
    /// Gives the connection back. No statement and no transaction is open.
    pub(crate) fn release(mut self) {
        self.is_released = true;
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_released {
            self.connection.abort();
        }
    }
}
