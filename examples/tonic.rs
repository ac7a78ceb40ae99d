//! tonic: a gRPC server that wants a key for every call, here for its own health service.
//!
//! ```sh
//! API_KEYS='mobile-app=12345abcde' cargo run --example tonic
//! ```
//!
//! It listens on 127.0.0.1:50051, or on `ADDR`. From another terminal, with the health service's own
//! client, with [grpcurl], or with curl, for a call that asks about the server as a whole:
//!
//! ```sh
//! grpc_health_probe -addr 127.0.0.1:50051 -rpc-header 'x-api-key: 12345abcde'
//!
//! grpcurl -plaintext -proto health.proto -H 'x-api-key: 12345abcde' \
//!     127.0.0.1:50051 grpc.health.v1.Health/Check
//!
//! printf '\0\0\0\0\0' | curl -i --http2-prior-knowledge --data-binary @- -o - \
//!     -H 'content-type: application/grpc' -H 'te: trailers' -H 'x-api-key: 12345abcde' \
//!     http://127.0.0.1:50051/grpc.health.v1.Health/Check
//! ```
//!
//! Without the key each of them is told UNAUTHENTICATED, which is `grpc-status: 16`.
//!
//! [grpcurl]: https://github.com/fullstorydev/grpcurl

use std::{env, error::Error, process::ExitCode};

use tokio::{net::TcpListener, signal};
use tonic::transport::{Server, server::TcpIncoming};
use tower_api_key::{ApiKeyLayer, Keyring, extract::header};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let keys = Keyring::from_env("API_KEYS")
        .map_err(|error| format!("{error}; set it as in API_KEYS='mobile-app=12345abcde'"))?;

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}; set ADDR to listen elsewhere")
    })?;
    println!("Listening on http://{} until Ctrl-C", listener.local_addr()?);

    // Metadata is sent as headers. Methods of your own read the client with
    // `request.extensions().get::<Client>()`.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(ApiKeyLayer::new(header("x-api-key"), keys))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));

    tokio::select! {
        served = server => Ok(served?),
        pressed = signal::ctrl_c() => Ok(pressed?),
    }
}
