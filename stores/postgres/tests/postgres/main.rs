//! Keys in a PostgreSQL database.

mod access;
mod as_root;
mod conforms;
mod corrupt;
mod faults;
mod feed;
mod listener;
mod long;
mod migrate;
mod passwords;
mod pooler;
mod restores;
mod revocation;
mod rights;
mod service;
mod support;
mod tables;
#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod tls;
#[cfg(feature = "usage")]
mod usage;

// The tests of all databases use these.
#[path = "../../../sqlite/tests/sqlite/checks.rs"]
mod checks;
#[path = "../../../sqlite/tests/sqlite/columns.rs"]
mod columns;
#[path = "../../../sqlite/tests/sqlite/server.rs"]
mod server;
#[path = "../../../sqlite/tests/sqlite/waiting.rs"]
mod waiting;
