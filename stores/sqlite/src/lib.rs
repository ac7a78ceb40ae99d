//! Keeps API keys in an SQLite database, which several processes share.
//!
//! ```no_run
//! use tower_api_key::{ApiKeyLayer, extract::bearer, store::Mirrored};
//! use tower_api_key_sqlite::Sqlite;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Mirrored::open(Sqlite::open("keys.db")?).await?;
//! let layer = ApiKeyLayer::new(bearer(), keys.clone());
//! keys.revoke_client("ci").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Mirrored`](tower_api_key::store::Mirrored) holds all keys in memory, so no request waits for the database. It
//! polls the database every 50 ms. If one process revokes a key, every other process rejects it within 120 ms.
//!
//! The README of the package says how to create a database, how to back it up, and what happens if something
//! fails.
//!
//! # Tables
//!
//! [`Sqlite::schema`] returns the SQL of the tables. All names begin with `api_key`. Another program may read and
//! change them. Triggers keep a revoked key revoked and give each write a version, which every process follows.
//!
//! A removed key leaves its digest in the table `api_key_history` until 100,000 writes have followed, so that every
//! process learns of the removal.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `usage` | `Sqlite::usage`: the requests of each key and hour, in the same database | no |
//! | `tracing` | log lines about the place of the database, and those of `tower_api_key` | no |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

/// The code of the manual that uses this package.
#[cfg(doctest)]
#[doc = include_str!("../../../src/guide/10-database.md")]
mod manual {}

mod change;
mod database;
mod error;
mod feed;
mod file_stamp;
mod file_system;
mod open;
mod path_owners;
mod position;
mod query;
mod row;
mod schema;
mod shared_clients;
mod sqlite;
#[cfg(feature = "usage")]
mod usage;
mod warning;
mod worker;

#[cfg(feature = "usage")]
pub use self::usage::SqliteUsage;
pub use self::{
    sqlite::{Migrated, Sqlite},
    warning::SqliteWarning,
};
