#[cfg(feature = "metrics")]
use crate::store::metrics;
use crate::store::{KeyChange, StoreError};
#[cfg(feature = "tracing")]
use crate::store::{LOG_TARGET as TARGET, log};

pub(super) type Observer = Box<dyn Fn(&MirroredEvent) + Send + Sync>;

/// An event of a [`Mirrored`](super::Mirrored).
///
/// The observer, the log (feature `tracing`) and the metrics (feature `metrics`) receive it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MirroredEvent {
    /// All records were loaded.
    #[non_exhaustive]
    Loaded {
        /// The number of keys that are not revoked.
        keys: usize,
    },
    /// All records were loaded again, and no key is left. Every key is rejected.
    Emptied,
    /// The store cannot be followed. The records in memory stay.
    Broken(StoreError),
    /// The store is followed again after a problem.
    #[non_exhaustive]
    Recovered {
        /// The number of keys that are not revoked.
        keys: usize,
    },
    /// A key was changed, by this process or another.
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
    #[non_exhaustive]
    OutcomeUnknown {
        /// The error of the change.
        error: StoreError,
        /// The number of keys that this process rejects from now on.
        rejected: usize,
    },
    /// The last contact is longer ago than [`refuse_after`](super::MirroredOptions::refuse_after).
    ///
    /// The layer returns 503 for every key. The event comes with the first such request.
    Refusing,
}

impl MirroredEvent {
    /// Returns a name for metrics that stays the same between versions.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "loaded",
            Self::Emptied => "emptied",
            Self::Broken(_) => "broken",
            Self::Recovered { .. } => "recovered",
            Self::Changed(_) => "changed",
            Self::StaysRevoked { .. } => "stays_revoked",
            Self::Corrupt(_) => "corrupt",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Refusing => "refusing",
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
            Self::Loaded { keys } => tracing::info!(target: TARGET, store, keys, "keys loaded"),
            Self::Recovered { keys } => {
                tracing::info!(target: TARGET, store, keys, "the store is followed again");
            }
            Self::Emptied => {
                tracing::error!(target: TARGET, store, "the store has no keys, every key is rejected");
            }
            Self::Broken(error) => tracing::error!(
                target: TARGET, store, %error,
                "the store cannot be followed, the records in memory stay"
            ),
            Self::Changed(change) => change.log(store),
            Self::StaysRevoked { key_id, client } => log::stays_revoked(store, key_id, client),
            Self::Corrupt(error) => log::corrupt(store, error),
            Self::OutcomeUnknown { error, rejected } => tracing::error!(
                target: TARGET, store, %error, rejected,
                "a change may have taken effect, keys that it revokes are rejected here"
            ),
            Self::Refusing => tracing::error!(
                target: TARGET, store,
                "no contact with the store for too long, verification fails"
            ),
        }
    }
}
