//! A service on a file of keys: keys come, change and go while it runs.
//!
//! Make a key, and start it:
//!
//! ```sh
//! export API_KEYS_FILE=/tmp/keys.jsonl
//! cargo run --bin apikey -- issue mobile-app > /tmp/first.key
//! cargo run --features file --example key-file
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`, and says of every request whose key came. From another
//! terminal, with the same `API_KEYS_FILE` (the header comes from a pipe, since arguments can be seen
//! by others):
//!
//! ```sh
//! alias apikey='cargo run -q --bin apikey --'
//! sed 's/^/x-api-key: /' /tmp/first.key | curl -H @- http://127.0.0.1:3000/whoami
//! apikey list                                                     # shows the key's id
//! apikey rotate KEY_ID --overlap 1m > /tmp/second.key             # both keys work
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

/// An old key that nobody uses any more can be seen to fall silent.
struct Log;

impl Observe for Log {
    fn decided(&self, event: &Decision<'_>) {
        let why = event.rejection().map_or("let in", |rejection| rejection.reason().as_str());
        let client = event.client().map_or("-", Client::id);
        println!("{client} {} {why}", event.key_id().unwrap_or("-"));
    }
}

fn tell(event: &KeyFileEvent) {
    match event {
        KeyFileEvent::Loaded { keys, .. } => println!("{keys} keys"),
        KeyFileEvent::Recovered { keys, .. } => println!("{keys} keys, again"),
        KeyFileEvent::Emptied => println!("no keys: everybody is refused"),
        KeyFileEvent::Broken(error) => println!("the keys stay as they were: {error}"),
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
    let keys = KeyFile::options().observe(tell).open(path)?;
    common::announce(&listener)?;

    common::serve(listener, app(keys)).await
}
