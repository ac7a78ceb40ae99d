#[cfg(feature = "metrics")]
use crate::store::metrics;
use crate::store::{KeyChange, StoreError};
#[cfg(feature = "tracing")]
use crate::store::{LOG_TARGET as TARGET, log};

pub(super) type Observer = Box<dyn Fn(&CachedEvent) + Send + Sync>;

/// An event of a [`Cached`](super::Cached).
///
/// The observer, the log (feature `tracing`) and the metrics (feature `metrics`) receive it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CachedEvent {
    /// The store is followed for the first time.
    Opened,
    /// The store cannot be followed. A change elsewhere takes effect after
    /// [`fresh`](super::CachedOptions::fresh).
    Broken(StoreError),
    /// The store is followed again after a problem.
    Recovered,
    /// The store cannot name all changes, for example because a backup was restored.
    ///
    /// Each key is looked up again.
    Cleared,
    /// This process changed a key, or another process changed a key that is in memory.
    ///
    /// A key that is not in memory can change elsewhere without an event.
    Changed(KeyChange),
    /// The store has a key as not revoked that this process saw revoked.
    ///
    /// Someone restored a backup, or a revocation was not committed. This process rejects the key until it
    /// restarts. Revoke the key again.
    #[non_exhaustive]
    StaysRevoked {
        /// The public id of the key.
        key_id: String,
        /// The id of the client.
        client: String,
    },
    /// A row of the store is no valid record. The layer returns 503 for its key.
    Corrupt(StoreError),
    /// The answer of a commit was lost. If the change revokes keys, this process rejects them.
    OutcomeUnknown(StoreError),
    /// A key could not be looked up. The layer returned 503.
    ///
    /// At most one such event comes in ten seconds.
    LookupFailed(StoreError),
}

impl CachedEvent {
    /// Returns a name for metrics that stays the same between versions.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Broken(_) => "broken",
            Self::Recovered => "recovered",
            Self::Cleared => "cleared",
            Self::Changed(_) => "changed",
            Self::StaysRevoked { .. } => "stays_revoked",
            Self::Corrupt(_) => "corrupt",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::LookupFailed(_) => "lookup_failed",
        }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn count(&self, store: &str) {
        match self {
            Self::Changed(change) => change.count(store),
            event => metrics::event(store, event.as_str()),
        }
    }

    #[cfg(feature = "tracing")]
    pub(super) fn log(&self, store: &str) {
        match self {
            Self::Opened => tracing::info!(target: TARGET, store, "the store is followed"),
            Self::Recovered => {
                tracing::info!(target: TARGET, store, "the store is followed again");
            }
            Self::Cleared => tracing::warn!(
                target: TARGET, store,
                "changes may be missing, each key is looked up again"
            ),
            Self::Broken(error) => tracing::error!(
                target: TARGET, store, %error,
                "the store cannot be followed, changes elsewhere take effect late"
            ),
            Self::Changed(change) => change.log(store),
            Self::StaysRevoked { key_id, client } => log::stays_revoked(store, key_id, client),
            Self::Corrupt(error) => log::corrupt(store, error),
            Self::OutcomeUnknown(error) => tracing::error!(
                target: TARGET, store, %error,
                "a change may have taken effect, keys that it revokes are rejected here"
            ),
            Self::LookupFailed(error) => tracing::error!(
                target: TARGET, store, %error,
                "a key cannot be looked up, verification fails"
            ),
        }
    }
}
