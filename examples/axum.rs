//! axum: several clients, an open route, one that takes a key or none, and handlers that know who
//! calls.
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example axum --features axum
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. From another terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/whoami                         # mobile-app
//! curl -H 'Authorization: Bearer your-secret-api-key' http://127.0.0.1:3000/whoami     # ci
//! curl -i http://127.0.0.1:3000/whoami                                                 # 401
//! curl http://127.0.0.1:3000/greeting
//! curl http://127.0.0.1:3000/health
//! ```

mod common;

use std::process::ExitCode;

use axum::{Router, routing::get};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    extract::{bearer, header},
};

fn app(keys: Keyring) -> Router {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys);

    Router::new()
        .route("/whoami", get(whoami))
        // All above want a key, and so does every path that is not there.
        .layer(layer.clone())
        // A key or none; a wrong one is refused.
        .route("/greeting", get(greeting).layer(layer.optional()))
        // Added after the layer, and so open to all.
        .route("/health", get(async || "healthy\n"))
}

async fn whoami(client: Client) -> String {
    format!("You are {}.\n", client.id())
}

async fn greeting(client: Option<Client>) -> String {
    match client {
        Some(client) => format!("Hello, {}!\n", client.id()),
        None => "Hello, stranger!\n".to_owned(),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;

    let listener = common::listen("127.0.0.1:3000").await?;

    common::serve(listener, app(keys)).await
}
