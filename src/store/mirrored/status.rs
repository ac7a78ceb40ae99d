use std::time::SystemTime;

use crate::store::StoreError;

/// The state of a [`Mirrored`](super::Mirrored). Returned by [`Mirrored::status`](super::Mirrored::status).
#[derive(Clone, Debug)]
pub struct MirroredStatus {
    pub(super) loaded_at: SystemTime,
    pub(super) keys: usize,
    pub(super) last_contact: SystemTime,
    pub(super) problem: Option<MirroredProblem>,
}

/// The reason why the store cannot be followed. The records in memory stay.
#[derive(Clone, Debug)]
pub struct MirroredProblem {
    pub(super) error: StoreError,
    pub(super) since: SystemTime,
}

impl MirroredStatus {
    /// Returns the time at which all records were last loaded. Changes that came later do not count.
    #[must_use]
    pub fn loaded_at(&self) -> SystemTime {
        self.loaded_at
    }

    /// Returns the number of keys that are not revoked.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the time at which memory had every change of the store.
    #[must_use]
    pub fn last_contact(&self) -> SystemTime {
        self.last_contact
    }

    /// Returns the current problem, or `None` if the store is followed.
    #[must_use]
    pub fn problem(&self) -> Option<&MirroredProblem> {
        self.problem.as_ref()
    }
}

impl MirroredProblem {
    /// Returns the current error.
    #[must_use]
    pub fn error(&self) -> &StoreError {
        &self.error
    }

    /// Returns the time at which the problem began. If the error changes, the time stays.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }
}
