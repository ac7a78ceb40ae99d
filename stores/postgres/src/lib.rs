//! Keeps API keys in a PostgreSQL database, which all replicas of a service share.
//!
//! ```no_run
//! use tower_api_key::{ApiKeyLayer, extract::bearer, store::Mirrored};
//! use tower_api_key_postgres::Postgres;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Mirrored::open(Postgres::open("postgres://keys@db.example.com/keys")?).await?;
//! let layer = ApiKeyLayer::new(bearer(), keys.clone());
//! keys.revoke_client("ci").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Mirrored`](tower_api_key::store::Mirrored) holds all keys in memory, so no request waits for the database. The
//! database notifies each replica of a change. If one replica revokes a key, every other replica rejects it within
//! 100 ms. If the database is down, authentication goes on.
//!
//! The README of the package says how to create the tables and the roles, and what happens if something fails.
//!
//! # Tables
//!
//! [`Postgres::schema`] returns the SQL of the tables. All names begin with `api_key`. Another program may read and
//! change them. Triggers keep a revoked key revoked and give each write a version, which every replica follows.
//!
//! A removed key leaves its digest in the table `api_keys_gone` for 30 days, so that every replica learns of the
//! removal.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `rustls` | encrypted connections by rustls | no |
//! | `native-tls` | encrypted connections by the TLS library of the operating system | no |
//! | `usage` | `Postgres::usage`: the requests of each key and hour, in the same database | no |
//! | `tracing` | the log lines of `tower_api_key` | no |

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
#[doc = include_str!("../../../src/guide/19-replicas.md")]
mod manual {}

mod change;
mod clients;
mod connection;
mod endpoint;
mod error;
mod feed;
mod options;
mod password;
mod pool;
mod position;
mod postgres;
mod query;
mod rights;
mod row;
mod schema;
mod time;
mod tls;
#[cfg(feature = "usage")]
mod usage;
mod write;

#[cfg(test)]
mod tests;

#[cfg(feature = "usage")]
pub use self::usage::PostgresUsage;
pub use self::{
    options::PostgresOptions,
    postgres::{Migrated, Postgres},
};
