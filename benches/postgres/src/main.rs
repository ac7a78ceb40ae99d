//! What keys in PostgreSQL cost. Prints each figure with its bar, and exits with 1 if a bar is missed.
//!
//! `cargo run --release --manifest-path benches/postgres/Cargo.toml -- find usage` runs only these. `--quick` takes
//! small numbers, which are no figures. It starts a server of Debian's package `postgresql-15`, without `fsync`.

#[path = "../../stores/src/ask.rs"]
mod ask;
#[expect(dead_code, reason = "the figures of SQLite need more of it")]
#[path = "../../stores/src/figures.rs"]
mod figures;
mod find;
mod million;
#[path = "../../stores/src/records.rs"]
mod records;
mod replicas;
mod usage;

use std::{env, process::ExitCode};

use figures::Figures;
use tokio::runtime::Runtime;
use tower_api_key_postgres::Postgres as Store;
use tower_api_key_test_servers::Postgres;

/// A server and a runtime.
pub struct Site {
    server: Postgres,
    runtime: Runtime,
}

impl Site {
    /// Creates a database with tables, and returns its URL.
    fn database(&self, name: &str) -> String {
        self.server.sql("postgres", &format!("CREATE DATABASE {name}"));
        let url = self.server.url(name);
        self.runtime.block_on(Store::migrate(&url)).unwrap();
        url
    }
}

/// The columns of a record, with which the store is compared.
pub const ROWS: &str = "SELECT version, digest, key_id, client, name, scopes, metadata::text, prefix, note, created,
    issued_by, not_before, expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by,
    revoked_reason FROM api_keys";

/// Opens a bare connection.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (site, mut figures) = (Site { server: Postgres::start(), runtime }, Figures::default());
    type Run = fn(&Site, bool, &mut Figures);
    let all: [(&str, Run); 4] = [
        ("find", find::run),
        ("usage", usage::run),
        ("replicas", replicas::run),
        ("million", million::run),
    ];
    for (name, run) in all {
        if names.is_empty() || names.iter().any(|wanted| *wanted == name) {
            run(&site, is_quick, &mut figures);
        }
    }
    figures.print()
}
