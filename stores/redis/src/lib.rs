//! Shares the limits of `tower_api_key` between replicas, in Redis.
//!
//! ```
//! use tower_api_key::{Client, limit::{ClientLimitLayer, Limit, Limiter, Limits}};
//! use tower_api_key_redis::Redis;
//!
//! static FREE: Limits = Limits::new(&[Limit::per_minute("burst", 60), Limit::per_month("month", 10_000)]);
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::new(Redis::open("redis://127.0.0.1:6379")?);
//! let limits = ClientLimitLayer::new(limiter, |_: &Client| &FREE);
//! # Ok(())
//! # }
//! ```
//!
//! One script takes all limits of a request in Redis, with the clock of Redis. So the limits are exact for any number of
//! replicas. A limit for each day or month survives a restart of the service.
//!
//! The README of the package lists the requirements of Redis, and describes failures of Redis.
//!
//! # Features
//!
//! | name | what it adds | default |
//! |---|---|---|
//! | `rustls` | TLS by rustls, for `rediss://` | no |
//! | `native-tls` | TLS by the library of the system, for `rediss://` | no |
//! | `tracing` | log lines when Redis fails and recovers, and about its settings | no |
//! | `metrics` | a gauge and a counter of failures | no |

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

mod address;
mod config;
mod counted;
mod error;
mod event;
mod fallback;
mod key;
mod link;
mod over;
mod owned_ask;
mod redis;
mod script;
mod server;
mod shared;
#[cfg(feature = "rustls")]
mod tls;

pub use self::{fallback::OnFailure, redis::Redis};
