//! A tonic server that requires a key for every call, with the gRPC health service.
//!
//! Start the server:
//!
//! ```sh
//! API_KEYS='mobile-app=12345abcde' cargo run --example tonic --features tonic
//! ```
//!
//! The server listens on 127.0.0.1:50051, or on `ADDR` if it is set. In another terminal, with the
//! [health probe]:
//!
//! ```sh
//! grpc_health_probe -addr 127.0.0.1:50051 -rpc-header 'x-api-key: 12345abcde'   # SERVING
//! grpc_health_probe -addr 127.0.0.1:50051                                       # Unauthenticated
//! ```
//!
//! Without the probe, use curl. The first call returns `grpc-status: 0`, and the second returns
//! `grpc-status: 16`:
//!
//! ```sh
//! printf '\0\0\0\0\0' | curl -i --http2-prior-knowledge --data-binary @- --output - \
//!     -H 'content-type: application/grpc' -H 'x-api-key: 12345abcde' \
//!     http://127.0.0.1:50051/grpc.health.v1.Health/Check
//!
//! curl -i --http2-prior-knowledge -X POST -H 'content-type: application/grpc' \
//!     http://127.0.0.1:50051/grpc.health.v1.Health/Check
//! ```
//!
//! [health probe]: https://github.com/grpc-ecosystem/grpc-health-probe

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use tonic::transport::{Server, server::TcpIncoming};
use tower_api_key::{ApiKeyLayer, Keyring, extract::header};

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;

    let listener = common::listen("127.0.0.1:50051").await?;

    // gRPC sends metadata as headers. Your methods read the client with
    // `request.extensions().get::<Client>()`.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(ApiKeyLayer::new(header("x-api-key"), keys))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));

    common::until_stopped(server).await
}
