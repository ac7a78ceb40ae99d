//! Keys in an SQLite database.

mod access;
mod as_root;
mod cached;
mod changes;
mod checks;
mod corrupt;

mod child;
mod columns;
mod conforms;
mod crashes;
mod faults;
mod feed;
mod long;
mod migrate;
mod processes;
mod readme;
mod roles;
mod server;
mod service;
mod support;
mod tables;
#[cfg(feature = "usage")]
mod usage;
mod waiting;
