//! Tests of private parts with a server.

mod plans;
mod prepared;
mod reload;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use tower_api_key_test_servers::Postgres as Server;

use crate::{endpoint::Endpoint, schema};

/// A watchdog ends it with this process.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// Creates a database with the tables, and returns how to connect to it.
fn database(name: &str) -> Arc<Endpoint> {
    SERVER.sql("postgres", &format!("CREATE DATABASE {name}"));
    SERVER.sql(name, &schema::sql());
    Arc::new(Endpoint::parse(&SERVER.url(name), None, Duration::from_secs(20)).unwrap())
}
