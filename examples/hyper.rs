//! A hyper server without a framework, with HTTP/1 and HTTP/2 on one port.
//!
//! Start the server:
//!
//! ```sh
//! API_KEYS='mobile-app=12345abcde' cargo run --example hyper
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. In another terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/
//! curl -H 'x-api-key: 12345abcde' --http2-prior-knowledge http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/                                                  # 401
//! ```

mod common;
#[path = "common/connections.rs"]
mod connections;

use std::{convert::Infallible, process::ExitCode};

use hyper::{Request, Response, body::Incoming};
use hyper_util::service::TowerToHyperService;
use tower::ServiceBuilder;
use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};

async fn handle(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    // The layer attached the client. A request without a client does not reach the handler.
    let client = request.extensions().get::<Client>();
    let name = client.map_or("stranger", Client::id);
    Ok(Response::new(format!("Hello, {name}!\n")))
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let service = TowerToHyperService::new(ServiceBuilder::new().layer(layer).service_fn(handle));

    let listener = common::listen("127.0.0.1:3000").await?;

    connections::serve(listener, service).await
}
