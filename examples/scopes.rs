//! Scopes: routes that want one of the client, and a handler that looks for another itself.
//!
//! ```sh
//! cargo run --example scopes --features axum
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. Its clients stand in the code: `writer`, whose key is
//! `12345abcde`, and `reader`, whose key is `your-secret-api-key`. From another terminal:
//!
//! ```sh
//! curl -H 'Authorization: Bearer your-secret-api-key' http://127.0.0.1:3000/jobs             # yours
//! curl -H 'Authorization: Bearer 12345abcde' http://127.0.0.1:3000/jobs                      # everybody's
//! curl -X POST -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/jobs                         # submitted
//! curl -i -X POST -H 'x-api-key: your-secret-api-key' http://127.0.0.1:3000/jobs             # 403
//! curl -i -X POST http://127.0.0.1:3000/jobs                                                 # 401
//! ```

mod common;

use std::process::ExitCode;

use axum::{
    Router,
    routing::{get, post},
};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring, RequireScopeLayer,
    error::ConfigError,
    extract::{bearer, header},
    respond::Problem,
};

fn keys() -> Result<Keyring, ConfigError> {
    let keys = Keyring::new();
    let writer = Client::new("writer").scopes(["jobs:read", "jobs:read-all", "jobs:write"]);
    keys.insert("12345abcde", writer)?;
    keys.insert("your-secret-api-key", Client::new("reader").scopes(["jobs:read"]))?;
    Ok(keys)
}

fn app(keys: Keyring) -> Result<Router, ConfigError> {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys).respond(Problem::default());
    // All answer in one form, and the 403 has a `Bearer` challenge with `insufficient_scope`.
    let read = RequireScopeLayer::any(["jobs:read", "jobs:read-all"])?.respond_like(&layer);
    let write = RequireScopeLayer::all(["jobs:write"])?.respond_like(&layer);

    Ok(Router::new()
        .route("/jobs", get(list).layer(read))
        .route("/jobs", post(submit).layer(write))
        // It finds out who the client is, and so it stands outside.
        .layer(layer))
}

/// What a client may see is no matter of the route alone.
async fn list(client: Client) -> &'static str {
    if client.has_scope("jobs:read-all") { "everybody's jobs\n" } else { "your jobs\n" }
}

async fn submit(client: Client) -> String {
    format!("submitted by {}\n", client.id())
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let app = app(keys()?)?;

    let listener = common::listen("127.0.0.1:3000").await?;

    common::serve(listener, app).await
}
