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

use std::{env, error::Error, process::ExitCode};

use axum::{Router, routing::get};
use tokio::{net::TcpListener, signal};
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
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let keys = Keyring::from_env("API_KEYS")?;

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}; set ADDR to listen elsewhere")
    })?;
    println!("Listening on http://{} until Ctrl-C", listener.local_addr()?);

    tokio::select! {
        biased; // Ctrl-C is heard before anybody is served
        pressed = signal::ctrl_c() => Ok(pressed?),
        served = axum::serve(listener, app(keys)).into_future() => Ok(served?),
    }
}
