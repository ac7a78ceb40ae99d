//! An axum app with several clients, an open route and a route with an optional key.
//!
//! Handlers read the client. Start the server:
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example axum --features axum
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. In another terminal:
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
        // The routes above require a key, and so does every unknown path.
        .layer(layer.clone())
        // The key is optional, but the layer rejects an invalid key.
        .route("/greeting", get(greeting).layer(layer.optional()))
        // This route is open, because it is added after the layer.
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
