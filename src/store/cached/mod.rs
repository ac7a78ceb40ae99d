mod answers;
mod entry;
mod event;
mod failures;
mod flights;
mod future;
mod handle;
mod join;
mod listen;
mod lookup;
mod memory;
mod options;
mod permits;
mod revoked;
mod stamps;
mod status;

use std::{fmt, sync::Arc, time::SystemTime};

use tokio::{runtime::Handle, task::AbortHandle};

use self::{entry::verify, join::Joined, memory::Memory};
pub use self::{
    event::CachedEvent, future::CachedFuture, options::CachedOptions, status::CachedStatus,
};
use super::{KeyStore, StoreError, changes::Clock};
use crate::{
    Client, KeyDigest,
    key::KeyFormat,
    verify::{PresentedKey, Verification, Verify, VerifyError},
};

/// Looks up keys in a store on demand and remembers the answers in bounded memory.
///
/// This is a verifier for the layer and a handle for changes, if there are more keys than fit into memory.
/// Otherwise use [`Mirrored`](super::Mirrored), because its requests never wait for the store. The
/// [module](super) compares them. Clones share the memory.
///
/// # Example
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, extract::bearer, key::KeyFormat};
/// use tower_api_key::store::{Cached, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Cached::open(MemoryStore::new()).await?;
/// let layer = ApiKeyLayer::new(bearer(), keys.clone());
///
/// let minted = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app")).await?;
/// keys.revoke_key(minted.id()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # When does a change take effect?
///
/// After a change has returned, it has taken effect in this process. A change by another process takes effect
/// as soon as the store delivers it, also for a key that is being looked up at that time. If the store cannot
/// be followed, a change takes effect after [`fresh`](CachedOptions::fresh) at the latest.
///
/// The times of a key are checked for each request. So a key expires to the instant.
///
/// # Does a failure of the store reject good keys?
///
/// If the store is down, a key in memory is accepted until its answer is no longer
/// [`fresh`](CachedOptions::fresh). For any other key the layer returns 503, and never 401. An error is not
/// remembered, so the next request asks again.
///
/// # Can strangers overload the store?
///
/// All callers with the same key share one lookup. An unknown key is remembered for ten seconds, apart from the
/// known keys. [`max_lookups`](CachedOptions::max_lookups) bounds the lookups with random keys. A key
/// [format](CachedOptions::format) rejects most of them without a lookup.
///
/// # Can a revoked key come back?
///
/// A key that this process saw revoked stays rejected until the process restarts, even if a backup is restored.
/// The observer and the log receive [`StaysRevoked`](CachedEvent::StaysRevoked). Memory is bounded. If there
/// are more such keys than the [capacity](CachedOptions::capacity), the process forgets the key that it
/// saw first.
///
/// If the answer of a commit is lost, the outcome of a revocation is unknown. This process then rejects the
/// key, and the call returns [`OutcomeUnknown`](super::StoreErrorKind::OutcomeUnknown). If it revoked all keys
/// of a client, the process rejects those that were created before. Revoke the key again.
///
/// # Metrics
///
/// With the feature `metrics`, each metric has the label `store`, the [name](KeyStore::name) of the store.
///
/// | metric | type | meaning |
/// |---|---|---|
/// | `api_key_store_keys` | gauge | keys in memory |
/// | `api_key_store_up` | gauge | 1 if the store is followed, else 0 |
/// | `api_key_store_last_contact_timestamp_seconds` | gauge | time at which the store had delivered every change |
/// | `api_key_store_lookups_total` | counter | lookups in the store, by `result`: `found`, `unknown` or `failed` |
/// | `api_key_store_changes_total` | counter | changes of keys, by `kind` ([`KeyChangeKind::as_str`](super::KeyChangeKind::as_str)) |
/// | `api_key_store_events_total` | counter | other events, by `event` ([`CachedEvent::as_str`]) |
#[derive(Clone)]
pub struct Cached {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    memory: Arc<Memory>,
    pub(super) formats: Vec<KeyFormat>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    follower: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Cached {
    /// Opens a cache of a store and follows the changes of the store.
    ///
    /// Call it in a runtime of tokio that has its timers enabled. Use [`options`](Self::options) to set
    /// the capacity or formats.
    ///
    /// # Errors
    ///
    /// Returns the error of the store if the store cannot be followed. A program can try again or end.
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime of tokio.
    pub async fn open(store: impl KeyStore) -> Result<Self, StoreError> {
        Self::options().open(store).await
    }

    /// Returns the default options, for a cache that needs other options.
    pub fn options() -> CachedOptions {
        CachedOptions::default()
    }

    /// Returns the number of keys in memory, the last contact and the current problem.
    #[must_use]
    pub fn status(&self) -> CachedStatus {
        let memory = &*self.shared.memory;
        let (keys, last_contact) = (memory.answers.len(), SystemTime::UNIX_EPOCH);
        let status = memory.state().status.clone();
        let empty = CachedStatus { keys, last_contact, problem: None };
        CachedStatus { keys, ..status.unwrap_or(empty) }
    }

    #[cold]
    fn look_up(&self, digest: KeyDigest) -> Verification<Client, CachedFuture> {
        let Shared { memory, clock, .. } = &*self.shared;
        match memory.join(digest) {
            Joined::Flight(found) => {
                Verification::Pending(CachedFuture::new(found, Arc::clone(clock)))
            }
            Joined::Answer(answer) => verify(answer.as_deref(), clock).into(),
            Joined::Full => {
                let error = lookup::too_many_lookups();
                memory.report(&digest, &error);
                Err(VerifyError::failed(error)).into()
            }
        }
    }
}

impl Verify for Cached {
    type Client = Client;
    type Future = CachedFuture;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Client, CachedFuture> {
        let formats = &self.shared.formats;
        if !formats.is_empty() && KeyFormat::check(formats, key.expose()).is_err() {
            return Err(VerifyError::unknown()).into();
        }
        let digest = key.digest();
        match self.shared.memory.answers.get(&digest) {
            Ok(answer) => verify(answer.as_deref(), &self.shared.clock).into(),
            Err(_) => self.look_up(digest),
        }
    }
}

/// Shows the name of the store and the number of keys in memory.
impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("store", &self.shared.memory.store.name())
            .field("keys", &self.shared.memory.answers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::Record,
        store::{Change, MemoryStore},
    };

    #[tokio::test]
    async fn a_caller_whose_lookup_has_just_ended_begins_no_other() {
        let store = MemoryStore::new();
        let digest = KeyDigest::of("12345abcde");
        let insert = Change::insert(Record::new(digest, Client::new("ci")));
        insert.commit(&store).await.unwrap();
        let keys = Cached::open(store).await.unwrap();
        let memory = &keys.shared.memory;
        let Joined::Flight(mut found) = memory.join(digest) else { panic!("no flight") };
        found.wait_for(Option::is_some).await.unwrap();
        assert!(matches!(memory.join(digest), Joined::Answer(Some(_))));
    }
}
