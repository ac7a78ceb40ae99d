//! An axum app that follows a key file. You can issue, rotate and revoke keys while it runs.
//!
//! Issue a key and start the server:
//!
//! ```sh
//! export API_KEYS_FILE=/tmp/keys.jsonl
//! cargo run --bin apikey -- issue mobile-app > /tmp/first.key
//! cargo run --features file --example key-file
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. For every request, it prints the
//! client and the key's id.
//!
//! In another terminal, set the same `API_KEYS_FILE`. `curl` reads the header from a pipe, because other
//! users can see arguments:
//!
//! ```sh
//! alias apikey='cargo run -q --bin apikey --'
//! sed 's/^/x-api-key: /' /tmp/first.key | curl -H @- http://127.0.0.1:3000/whoami
//! apikey list                                                     # prints the key's id
//! apikey rotate KEY_ID --overlap 1m > /tmp/second.key             # both keys are valid
//! sed 's/^/x-api-key: /' /tmp/second.key | curl -H @- http://127.0.0.1:3000/whoami
//! apikey revoke --client mobile-app                               # within about a second: 401
//! ```

mod common;

use std::{env, process::ExitCode};

use axum::{Extension, Router, routing::get};
use tower_api_key::{
    ApiKeyLayer, Client,
    extract::header,
    key_file::{KeyFile, KeyFileEvent},
    observe::{Decision, Observe},
};

fn app(keys: KeyFile) -> Router {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).observe(Log);
    Router::new().route("/whoami", get(whoami)).layer(layer)
}

async fn whoami(Extension(client): Extension<Client>) -> String {
    format!("You are {}, by the key {}.\n", client.id(), client.key_id().unwrap_or("-"))
}

/// Prints every decision. If an old key no longer appears, you can revoke it.
struct Log;

impl Observe for Log {
    fn on_decision(&self, event: &Decision<'_>) {
        let why = event.rejection().map_or("accepted", |rejection| rejection.reason().as_str());
        let client = event.client().map_or("-", Client::id);
        println!("{client} {} {why}", event.key_id().unwrap_or("-"));
    }
}

fn print_event(event: &KeyFileEvent) {
    match event {
        KeyFileEvent::Loaded { keys, .. } => println!("{keys} keys"),
        KeyFileEvent::Recovered { keys, .. } => println!("{keys} keys, after an error"),
        KeyFileEvent::Emptied => println!("no keys, so every request is rejected"),
        KeyFileEvent::Broken(error) => println!("the keys did not change: {error}"),
        event => println!("{event:?}"),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let path = env::var("API_KEYS_FILE").unwrap_or_else(|_| "keys.jsonl".to_owned());
    let listener = common::bind("127.0.0.1:3000").await?;
    let keys = KeyFile::options().observe(print_event).open(path)?;
    common::announce(&listener)?;

    common::serve(listener, app(keys)).await
}
