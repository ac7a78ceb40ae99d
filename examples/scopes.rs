//! An axum app whose routes require scopes. One handler checks another scope itself.
//!
//! Start the server:
//!
//! ```sh
//! cargo run --example scopes --features axum
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. The code has two clients. `writer`
//! has the key `12345abcde`, and `reader` has the key `your-secret-api-key`. In another terminal:
//!
//! ```sh
//! curl -H 'Authorization: Bearer your-secret-api-key' http://127.0.0.1:3000/jobs             # yours
//! curl -H 'Authorization: Bearer 12345abcde' http://127.0.0.1:3000/jobs                      # jobs of all
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
    error::KeyringError,
    extract::{bearer, header},
    respond::Problem,
};

fn keys() -> Result<Keyring, KeyringError> {
    let keys = Keyring::new();
    let writer = Client::new("writer").with_scopes(["jobs:read", "jobs:read-all", "jobs:write"]);
    keys.insert("12345abcde", writer)?;
    keys.insert("your-secret-api-key", Client::new("reader").with_scopes(["jobs:read"]))?;
    Ok(keys)
}

fn app(keys: Keyring) -> Result<Router, KeyringError> {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys).respond(Problem::default());
    // The layer writes the 403 as well, with a `Bearer` challenge and `insufficient_scope`.
    let read = RequireScopeLayer::any(["jobs:read", "jobs:read-all"]);
    let write = RequireScopeLayer::all(["jobs:write"]);

    Ok(Router::new()
        .route("/jobs", get(list).layer(read))
        .route("/jobs", post(submit).layer(write))
        // This layer is outside, because the scope layers need its client.
        .layer(layer))
}

/// Lists the jobs that the client may read. The route alone cannot decide this.
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
