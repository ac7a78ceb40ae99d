//! A connection to one server, and the questions that a new connection asks.

use std::time::Duration;

use redis::{AsyncConnectionConfig, InfoDict, RedisError, Value, aio::MultiplexedConnection};
use tower_api_key::{
    limit::{Ask, Limit, Limits, Subject},
    store::StoreError,
};

use crate::{address::Address, error, event, script::Call};

/// One connection carries all requests. Its clones share it.
pub(crate) type Connection = MultiplexedConnection;

/// The length of the queue of a connection.
const QUEUE: usize = 1_024;

/// A limit with a refill of one millisecond.
static ATTEMPT: Limits = Limits::new(&[Limit::per_second("attempt", 1_000).burst(1)]);

/// Connects, and runs the scripts as requests will run them.
///
/// So a read-only server, such as a replica, is an error. The server knows the scripts then. The
/// second script deletes the counter of the first.
pub(crate) async fn connect(
    address: &Address,
    prefix: &str,
    deadline: Duration,
) -> Result<Connection, StoreError> {
    let attempt = async {
        // The deadlines are ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let client = &address.client;
        let failed = |error: RedisError| error::failed(&address.text, &error);
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        if is_cluster(&mut connection).await {
            return Err(error::is_cluster(&address.text));
        }
        let ask = Ask::new(Subject::Client(""), &ATTEMPT);
        for call in [Call::take(prefix, &ask, 1), Call::refund(prefix, &ask)] {
            run_text(&mut connection, &call).await.map_err(failed)?;
        }
        Ok(connection)
    };
    match tokio::time::timeout(deadline, attempt).await {
        Ok(result) => result,
        Err(_) => Err(error::timed_out(&address.text)),
    }
}

/// Runs a script. If the server forgot it, the second attempt sends its text.
pub(crate) async fn run(connection: &mut Connection, call: &Call) -> Result<Value, RedisError> {
    match connection.send_packed_command(&call.by_digest).await.and_then(Value::extract_error) {
        Err(error) if error.code() == Some("NOSCRIPT") => run_text(connection, call).await,
        result => result,
    }
}

async fn run_text(connection: &mut Connection, call: &Call) -> Result<Value, RedisError> {
    connection.send_packed_command(&call.by_text()).await.and_then(Value::extract_error)
}

/// If the user may not ask, the server is taken for one without a cluster.
async fn is_cluster(connection: &mut Connection) -> bool {
    let info: Result<InfoDict, _> = redis::cmd("INFO").arg("cluster").query_async(connection).await;
    info.is_ok_and(|info| info.get::<u8>("cluster_enabled") == Some(1))
}

/// Warns if the server may evict counters. Managed servers often do not answer this question.
pub(crate) async fn warn_of_eviction(connection: &mut Connection, server: &str) {
    let mut command = redis::cmd("CONFIG");
    let command = command.arg("GET").arg("maxmemory-policy");
    let policy: Result<Vec<String>, _> = command.query_async(connection).await;
    if let Ok([_, policy]) = policy.as_deref() {
        if policy != "noeviction" {
            event::evicts(server, policy);
        }
    }
}
