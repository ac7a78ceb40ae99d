use std::time::SystemTime;

use crate::store::StoreProblem;

/// The state of a [`Mirrored`](super::Mirrored). Returned by [`Mirrored::status`](super::Mirrored::status).
#[derive(Clone, Debug)]
pub struct MirroredStatus {
    pub(super) loaded_at: SystemTime,
    pub(super) keys: usize,
    pub(super) last_contact: SystemTime,
    pub(super) problem: Option<StoreProblem>,
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
    pub fn problem(&self) -> Option<&StoreProblem> {
        self.problem.as_ref()
    }
}
