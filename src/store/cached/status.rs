use std::time::SystemTime;

use crate::store::StoreProblem;

/// The state of a [`Cached`](super::Cached). Returned by [`Cached::status`](super::Cached::status).
#[derive(Clone, Debug)]
pub struct CachedStatus {
    pub(super) keys: usize,
    pub(super) last_contact: SystemTime,
    pub(super) problem: Option<StoreProblem>,
}

impl CachedStatus {
    /// Returns the number of keys in memory. Some can be too old to be used.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the time at which the store had last delivered every change.
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
