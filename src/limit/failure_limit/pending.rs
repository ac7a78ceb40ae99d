//! Requests whose key is not verified yet.

use std::sync::{
    Arc,
    atomic::{
        AtomicU32,
        Ordering::{AcqRel, Release},
    },
};

use super::Failures;
use crate::{layer::passed_in_this_thread, limit::Peer};

/// The number of counts. They take 256 KiB.
const SLOTS: usize = 65_536;

/// For each peer, the number of its requests whose key is not verified yet.
///
/// Two peers whose hashes agree share a count. That is rare, and makes both of them stricter for the time of a
/// verification.
pub(super) struct PendingCounts(Box<[AtomicU32]>);

impl PendingCounts {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU32::new(0)).collect())
    }

    /// Counts a request, and returns the number of requests before.
    pub(super) fn begin(&self, hash: u64) -> u32 {
        self.slot(hash).map_or(0, |count| count.fetch_add(1, AcqRel))
    }

    /// Ends a request. A failure must be counted before, so that it is always in one of both counts.
    pub(super) fn end(&self, hash: u64) {
        if let Some(count) = self.slot(hash) {
            count.fetch_sub(1, Release);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
    fn slot(&self, hash: u64) -> Option<&AtomicU32> {
        // The table takes the low bits.
        self.0.get((hash >> 40) as usize % SLOTS)
    }
}

/// A request of a peer. Until its key is verified, it counts as a failure.
pub(super) struct Attempt {
    pub(super) failures: Arc<Failures>,
    pub(super) peer: Peer,
    pub(super) hash: u64,
    pub(super) is_pending: bool,
}

impl Attempt {
    /// Runs a step of the request, and notices whether an `ApiKeyLayer` passed the request on in this step.
    pub(super) fn step<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let before = passed_in_this_thread();
        let result = step();
        if self.is_pending && passed_in_this_thread() != before {
            self.end();
        }
        result
    }

    pub(super) fn count_failure(self) {
        self.failures.table.count(self.peer);
    }

    fn end(&mut self) {
        self.is_pending = false;
        self.failures.table.pending().end(self.hash);
    }
}

/// If the caller hangs up, the request ends as well.
impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_pending {
            self.end();
        }
    }
}
