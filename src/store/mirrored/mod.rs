mod apply;
mod contact;
mod corrupt;
mod event;
mod handle;
mod listen;
mod mirror;
mod options;
mod order;
mod own_change;
mod records;
mod staging;
mod status;

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, task::AbortHandle};

use self::mirror::Mirror;
pub use self::{event::MirroredEvent, options::MirroredOptions, status::MirroredStatus};
use super::{KeyStore, StoreError, StoreErrorKind, changes::Clock};
use crate::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    rejection::Reason,
    verify::{Never, PresentedKey, Verification, Verify, VerifyError},
};

/// Holds all records of a store in memory and follows the store.
///
/// This is a verifier for the layer and a handle for changes. Clones share the records. The
/// [module](super) has an example.
///
/// A request never waits for the store. A task of tokio follows the store. It ends when the last handle is
/// dropped.
///
/// # When does a change take effect?
///
/// After a change has returned, it has taken effect in this process. Another process applies it as soon as
/// its store delivers it, and the store says how soon that is.
///
/// If the store is down, changes fail and verification goes on with the records in memory.
/// [`status`](Self::status) has the problem, and the mirror connects again by itself. Use
/// [`refuse_after`](MirroredOptions::refuse_after) to reject keys if the store is down for long.
///
/// # Can a revoked key come back?
///
/// A key that this process saw revoked stays rejected until the process restarts. The key stays
/// rejected after a backup is restored. The observer and the log receive
/// [`StaysRevoked`](MirroredEvent::StaysRevoked).
///
/// If the answer of a commit is lost, the outcome of a revocation is unknown. This process then rejects the
/// key, and the call returns [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown). Revoke the key again.
///
/// # Metrics
///
/// With the feature `metrics`, each metric has the label `store`, the [name](KeyStore::name) of the store.
///
/// | metric | type | meaning |
/// |---|---|---|
/// | `api_key_store_keys` | gauge | keys that are not revoked |
/// | `api_key_store_up` | gauge | 1 if the store is followed, else 0 |
/// | `api_key_store_last_contact_timestamp_seconds` | gauge | time at which memory had every change |
/// | `api_key_store_changes_total` | counter | changes of keys, by `kind` ([`KeyChangeKind::as_str`](super::KeyChangeKind::as_str)) |
/// | `api_key_store_events_total` | counter | other events, by `event` ([`MirroredEvent::as_str`]) |
#[derive(Clone)]
pub struct Mirrored {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    store: Arc<dyn KeyStore>,
    mirror: Arc<Mirror>,
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

impl Mirrored {
    /// Loads all records of a store and follows its changes.
    ///
    /// Call it in a runtime of tokio that has its timers enabled. Use [`options`](Self::options) to set
    /// formats, an observer or a limit.
    ///
    /// # Errors
    ///
    /// Returns the error of the store if the first load fails. A program can try again or end.
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime of tokio.
    pub async fn open(store: impl KeyStore) -> Result<Self, StoreError> {
        Self::options().open(store).await
    }

    /// Returns the default options, for a mirror that needs other options.
    pub fn options() -> MirroredOptions {
        MirroredOptions::default()
    }

    /// Returns the time of the last load, the number of keys, the last contact and the current problem.
    #[must_use]
    pub fn status(&self) -> MirroredStatus {
        self.shared.mirror.status()
    }

    /// Returns the record of every key in memory, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = Record> + use<> {
        self.shared.mirror.keys.records()
    }

    /// Returns the record of the key with this public id, from memory.
    #[must_use]
    pub fn record(&self, key_id: &str) -> Option<Record> {
        self.shared.mirror.keys.record(key_id)
    }

    /// Returns the record of the key with this digest, from memory.
    #[must_use]
    pub fn record_by_digest(&self, digest: &KeyDigest) -> Option<Record> {
        self.shared.mirror.keys.record_by_digest(digest)
    }
}

impl Verify for Mirrored {
    type Client = Client;
    type Future = Never<Client>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Client> {
        let mirror = &*self.shared.mirror;
        if mirror.contact.is_lost() {
            if mirror.contact.begins_to_refuse() {
                mirror.emit(&MirroredEvent::Refusing);
            }
            let text = "no contact with the store for longer than `refuse_after`";
            return fail(StoreError::new(StoreErrorKind::Unavailable, text));
        }
        let verified = mirror.keys.verify(key);
        match mirror.corrupt.get(|| key.digest()) {
            Some(error) if !is_revoked(&verified) => fail(error),
            _ => verified,
        }
    }
}

fn fail(error: StoreError) -> Verification<Client> {
    Verification::Ready(Err(VerifyError::failed(error)))
}

/// A revoked key stays revoked if its row is corrupt.
fn is_revoked(verified: &Verification<Client>) -> bool {
    matches!(verified, Verification::Ready(Err(error)) if error.reason() == Reason::Revoked)
}

/// Shows the name of the store and the number of keys.
impl fmt::Debug for Mirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrored")
            .field("store", &self.shared.mirror.store)
            .field("keys", &self.shared.mirror.keys.len())
            .finish_non_exhaustive()
    }
}
