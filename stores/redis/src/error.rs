use std::error::Error;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tower_api_key::store::{StoreError, StoreErrorKind};

const DENIED: &str = "the user may not run the script. Grant `+eval +evalsha +time +mget +set +del` on the keys \
     of the prefix";

pub(crate) const CLUSTER: &str =
    "the server is a node of a cluster. Use a server without a cluster, or a proxy in front of it";

/// Creates the error of a server that does not answer within a deadline.
pub(crate) fn timed_out(server: &str) -> StoreError {
    let text = format!("Redis at {server}: no answer within the deadline");
    StoreError::new(StoreErrorKind::Unavailable, text)
}

pub(crate) fn is_cluster(server: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Denied, format!("Redis at {server}: {CLUSTER}"))
}

/// Converts an error of the driver. The text names the server and the next step, and never a password.
pub(crate) fn failed(server: &str, error: &RedisError) -> StoreError {
    let (kind, text) = reason(error);
    let failed = StoreError::new(kind, format!("Redis at {server}: {text}"));
    // Only errors of the operating system have no text of the server or of the URL.
    let source = Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match source {
        Some(source) => failed.with_source(std::io::Error::from(source.kind())),
        None => failed,
    }
}

fn reason(error: &RedisError) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Denied, Unavailable, UnsupportedVersion};

    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            (Denied, "the user or the password is wrong. Check both in the URL")
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => (Denied, DENIED),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            (Denied, "the server is a replica, which is read-only. Use the address of the primary")
        }
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask), _) => (Denied, CLUSTER),
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => {
            (Unavailable, "the server still loads its data")
        }
        (ErrorKind::Server(ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown), _) => {
            (Unavailable, "the server has no primary. Check its replication")
        }
        (_, Some("OOM")) => {
            (Unavailable, "the memory of the server is full. Raise its `maxmemory`")
        }
        (_, Some("BUSY")) => (Unavailable, "another script blocks the server"),
        (ErrorKind::Io, _) => {
            (Unavailable, "the connection failed. Check the address, and that the server runs")
        }
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => (
            UnsupportedVersion,
            "the server does not speak the protocol of Redis. Check the address",
        ),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => {
            (UnsupportedVersion, "the server does not run the script. It needs Redis 5 or later")
        }
        _ => (Unavailable, "the server failed"),
    }
}

/// Creates the error of a reply that the script does not give.
pub(crate) fn not_ours(server: &str) -> StoreError {
    let text = format!("Redis at {server}: the reply is not that of the script");
    StoreError::new(StoreErrorKind::Corrupt, text)
}
