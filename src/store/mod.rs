//! Keeps keys in a store for several processes. Requires the feature `store`.
//!
//! A store holds records in an engine, such as an embedded database or a database server. [`Mirrored`] holds
//! all records of a store in memory and follows its changes. A request never waits for the store. If there are
//! more keys than fit into memory, [`Cached`] looks them up on demand.
//!
//! # Example: issue and revoke a key
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Client, extract::bearer, key::KeyFormat};
//! use tower_api_key::store::{Change, MemoryStore, Mirrored};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Mirrored::open(MemoryStore::new()).await?;
//! let layer = ApiKeyLayer::new(bearer(), keys.clone());
//!
//! let minted = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app")).await?;
//! let key_id = minted.id().to_owned();
//! minted.reveal(|key| println!("{key}"));
//!
//! let leaked = Change::revoke_key(&key_id).with_by("alice").with_reason("in a public log");
//! keys.change(leaked).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # `Mirrored` or `Cached`?
//!
//! Both have the same methods for changes. Begin with [`Mirrored`].
//!
//! | | [`Mirrored`] | [`Cached`] |
//! |---|---|---|
//! | keys in memory | all, about 200 bytes each | the keys in use, up to [`capacity`](CachedOptions::capacity) |
//! | start | loads all records | asks for nothing |
//! | the first request with a key | is answered from memory | waits for the store |
//! | a revocation by this process | takes effect before the call returns | the same |
//! | a revocation by another process | takes effect when the store delivers it | the same |
//! | … if the store cannot be followed | takes effect when it is followed again | takes effect within [`fresh`](CachedOptions::fresh) |
//! | if the store is down | all keys work | keys in memory work until they are no longer fresh, other keys get 503 |
//! | an unknown key | costs no query | costs a query, at most one in ten seconds |
//! | lists | [`records`](Mirrored::records), without a query | [`KeyStore::list`] |
//!
//! # How to write a store
//!
//! Implement [`KeyStore`]. A store keeps rows and runs transactions. It has no rules of its own, because
//! [`Change::apply`] has them all. [`MemoryStore`] is the shortest store that satisfies the contract. With the
//! feature `test-util`, `test_util::store_conforms` checks your store.
//!
//! | method | task of the store |
//! |---|---|
//! | [`find`](KeyStore::find) | reads one row. [`Cached`] calls it |
//! | [`list`](KeyStore::list) | reads a page of rows for a list |
//! | [`change`](KeyStore::change) | reads rows, calls [`Change::apply`] and writes, in one transaction |
//! | [`follow`](KeyStore::follow) | delivers all rows, then each change |
//!
//! # Versions
//!
//! A store gives each write a growing number as its version. If two writes change the same key, the
//! later write has the greater version. The removal of a key is a write, too. One counter for the whole store
//! satisfies this, if a change takes the next number after it has locked its rows.
//!
//! A process learns of its own change twice, from [`KeyStore::change`] and from [`KeyStore::follow`]. It
//! compares versions to ignore an older state that arrives late.

mod cached;
mod caught;
mod change;
mod changed;
mod changes;
mod error;
mod follower;
mod key_change;
mod listener;
#[cfg(feature = "tracing")]
mod log;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod mirrored;
mod page;
mod problem;
mod rule;
mod target;

use std::{convert::Infallible, pin::Pin, sync::Arc};

pub use self::{
    cached::{Cached, CachedEvent, CachedFuture, CachedOptions, CachedStatus},
    change::Change,
    changed::{Changed, Draft, Write},
    error::{StoreError, StoreErrorKind},
    key_change::{KeyChange, KeyChangeKind},
    listener::{Cursor, Listener, Start},
    memory::MemoryStore,
    mirrored::{Mirrored, MirroredEvent, MirroredOptions, MirroredStatus},
    page::Page,
    problem::StoreProblem,
    target::Target,
};
use crate::{KeyDigest, macros::pointers, record::Record};

/// The target of log lines.
#[cfg(feature = "tracing")]
const LOG_TARGET: &str = "tower_api_key::store";

/// The future of a [`KeyStore`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Holds records in an engine.
///
/// Applications use a store through [`Mirrored`] or [`Cached`]. [`MemoryStore`] is a store in memory. The
/// [module](self) says how to write your own.
///
/// # Rules for all methods
///
/// - A method ends within a few seconds. If the engine does not answer, it returns
///   [`Unavailable`](StoreErrorKind::Unavailable). [`follow`](Self::follow) alone has no end.
/// - An error and a log line hold neither a digest nor the password of a URL.
/// - A record keeps its times to the microsecond. The store returns each field as it was written.
/// - If the future is dropped, the connection stays usable.
pub trait KeyStore: Send + Sync + 'static {
    /// Returns a name for logs, such as `sqlite:keys.db`. It must not hold a password.
    fn name(&self) -> &str {
        "store"
    }

    /// Finds the record with this digest. Revoked and expired records are included.
    ///
    /// The result is the newest committed state. So a store must not ask a lagging replica.
    ///
    /// # Errors
    ///
    /// If the row cannot be read as a record, the kind is [`Corrupt`](StoreErrorKind::Corrupt). It must not
    /// be `Ok(None)`, because the layer returns 401 for an unknown key.
    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>>;

    /// Returns the records of a page, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot be read or if a row is corrupt.
    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>>;

    /// Makes a change in one transaction.
    ///
    /// The store
    ///
    /// 1. begins a transaction, reads the rows of [`Change::target`] and locks them against other writers,
    /// 2. calls [`Change::apply`] with these rows to get the writes or an error,
    /// 3. takes the next [version](self#versions) and makes all [writes](Draft::writes) or none,
    /// 4. commits durably, and returns [`Draft::committed`] with the version.
    ///
    /// If there is no write, the store ends the transaction and still returns `committed`.
    ///
    /// Use [`Change::commit`] to call this method, because it tries again after a conflict.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Change::apply`] unchanged. After each of these errors the store is as it was
    /// before, except for the last one.
    ///
    /// - A digest or an id is there already, another transaction won, or the engine asks for another attempt:
    ///   [`Conflict`](StoreErrorKind::Conflict).
    /// - The commit was sent and its answer was lost:
    ///   [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown).
    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed>;

    /// Delivers records and changes to a listener until an error ends it.
    ///
    /// With [`Start::Everything`] the store calls
    ///
    /// 1. [`restart`](Listener::restart), before it reads,
    /// 2. [`record`](Listener::record) for every record, in any order,
    /// 3. [`ready`](Listener::ready),
    /// 4. `record` or [`removed`](Listener::removed) for each key with a later change, and `ready` after
    ///    these. If several transactions changed a key, its last state is enough.
    ///
    /// No change falls between reading and following. If the store may have missed a change, it begins again
    /// with `restart`. It calls `ready` at least every ten seconds, if no
    /// committed change is missing.
    ///
    /// If a batch has removals and records, it delivers the removals first, because a new record can have
    /// the id of a removed one. It delivers the states of one key in their order.
    ///
    /// A change by this store itself is delivered as well. The store waits between batches, so that
    /// other tasks of the runtime can run.
    ///
    /// # Errors
    ///
    /// Returns an error if the engine fails. The caller waits and calls this method again, so that a store
    /// does not need to reconnect by itself.
    fn follow<'a>(&'a self, from: Start, listener: &'a dyn Listener)
    -> StoreFuture<'a, Infallible>;
}

pointers! { KeyStore: [S: KeyStore + ?Sized] Box<S>, [S: KeyStore + ?Sized] Arc<S>; {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn find<'a>(&'a self, digest: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        (**self).find(digest)
    }

    fn list<'a>(&'a self, page: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        (**self).list(page)
    }

    fn change<'a>(&'a self, change: Change) -> StoreFuture<'a, Changed> {
        (**self).change(change)
    }

    fn follow<'a>(
        &'a self,
        from: Start,
        listener: &'a dyn Listener,
    ) -> StoreFuture<'a, Infallible> {
        (**self).follow(from, listener)
    }
} }
