//! Runs the command `apikey` on PostgreSQL. The tests need Debian's package `postgresql-15`.

#![cfg(unix)]

mod database;
mod errors;
mod passwords;

#[path = "../command/support/mod.rs"]
#[allow(dead_code, reason = "the tests of key files use the rest")]
mod support;

// These tests hold for each store.
#[path = "../command/copy.rs"]
mod copy;
#[path = "../command/database_usage.rs"]
mod database_usage;
#[path = "../command/edit.rs"]
mod edit;
#[path = "../command/import_again.rs"]
mod import_again;
#[path = "../command/stores.rs"]
mod stores;
