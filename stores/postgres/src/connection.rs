use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::AbortHandle,
    time,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, NoTls, Row, Statement,
    types::{ToSql, Type},
};
use tower_api_key::store::StoreError;

use crate::{endpoint::Endpoint, error, tls::Tls};

/// A parameter of a statement and its type. By default statements have no names, because a pooler can give each
/// transaction another connection to the server.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection to the server and the task that drives it.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: Arc<Endpoint>,
    pub(crate) client: Client,
    signal: Arc<Signal>,
    task: AbortHandle,
    is_aborted: AtomicBool,
    /// The prepared statements by their SQL, if the endpoint prepares them.
    prepared: Mutex<HashMap<String, Statement>>,
}

#[derive(Debug, Default)]
struct Signal {
    /// A notification of the server, or the end of the connection.
    notified: Notify,
    /// The reason why the connection has ended.
    end: OnceLock<Error>,
}

impl Connection {
    /// Connects within the deadline.
    pub(crate) async fn open(endpoint: &Arc<Endpoint>) -> Result<Self, StoreError> {
        let config = endpoint.config()?;
        match time::timeout(endpoint.deadline(), Self::connect(endpoint, &config)).await {
            Ok(connected) => connected.map_err(|it| error::connect_failed(endpoint.name(), &it)),
            Err(_) => Err(endpoint.timed_out("connect")),
        }
    }

    async fn connect(endpoint: &Arc<Endpoint>, config: &Config) -> Result<Self, Error> {
        match endpoint.tls() {
            Tls::None => config.connect(NoTls).await.map(|it| Self::start(endpoint, it)),
            #[cfg(feature = "rustls")]
            Tls::Rustls(tls) => {
                config.connect((**tls).clone()).await.map(|it| Self::start(endpoint, it))
            }
            #[cfg(all(feature = "native-tls", not(feature = "rustls")))]
            Tls::Native(tls) => {
                config.connect(tls.clone()).await.map(|it| Self::start(endpoint, it))
            }
        }
    }

    fn start<S, T>(
        endpoint: &Arc<Endpoint>,
        (client, driver): (Client, tokio_postgres::Connection<S, T>),
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let signal = Arc::<Signal>::default();
        let task = tokio::spawn(drive(driver, Arc::clone(&signal))).abort_handle();
        Self {
            endpoint: Arc::clone(endpoint),
            client,
            signal,
            task,
            is_aborted: AtomicBool::new(false),
            prepared: Mutex::default(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed() || self.is_aborted.load(Relaxed)
    }

    /// Closes the connection without a word to the server, which may not answer.
    pub(crate) fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
        self.task.abort();
    }

    /// Waits for a notification of the server, or for the end of the connection.
    pub(crate) async fn notified(&self) {
        self.signal.notified.notified().await;
    }

    /// Converts an error.
    pub(crate) fn failed(&self, doing: &str, error: &Error) -> StoreError {
        error::failed(self.endpoint.name(), doing, self.cause(error))
    }

    /// Converts an error of `COMMIT`.
    pub(crate) fn commit_failed(&self, error: &Error) -> StoreError {
        error::commit_failed(self.endpoint.name(), self.cause(error))
    }

    /// Returns the reason of the end, if an operation found the connection closed.
    fn cause<'a>(&'a self, error: &'a Error) -> &'a Error {
        if error.is_closed() { self.signal.end.get().unwrap_or(error) } else { error }
    }

    /// Awaits an operation of this connection until a time has passed.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        doing: &str,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match time::timeout(time, operation).await {
            Ok(result) => result.map_err(|error| self.failed(doing, &error)),
            Err(_) => Err(self.endpoint.timed_out(doing)),
        }
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn query(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let query = async {
            if !self.endpoint.prepares() {
                return self.client.query_typed(sql, parameters).await;
            }
            let statement = self.prepare(sql, parameters).await?;
            let values: Vec<_> = parameters.iter().map(|(value, _)| *value).collect();
            self.client.query(&statement, &values).await
        };
        self.within(self.endpoint.deadline(), doing, query).await
    }

    /// Returns the prepared statement of an SQL text. The texts are few, so all stay prepared.
    async fn prepare(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Statement, Error> {
        let prepared = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = prepared().get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<_> = parameters.iter().map(|(_, of)| of.clone()).collect();
        let statement = self.client.prepare_typed(sql, &types).await?;
        prepared().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&self, doing: &str, sql: &str) -> Result<(), StoreError> {
        self.within(self.endpoint.deadline(), doing, self.client.batch_execute(sql)).await
    }
}

async fn drive<S, T>(mut driver: tokio_postgres::Connection<S, T>, signal: Arc<Signal>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| driver.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => signal.notified.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                _ = signal.end.set(error);
                break;
            }
            None => break,
        }
    }
    drop(driver);
    signal.notified.notify_one();
}
