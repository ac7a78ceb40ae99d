use std::{collections::HashSet, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::{
    KeyDigest,
    store::{StoreError, StoreErrorKind},
};

/// The shortest time between two reports of failed lookups.
const PAUSE: Duration = Duration::from_secs(10);

/// The largest number of corrupt rows in memory.
const MAX_CORRUPT: usize = 1024;

/// Decides which failures are reported, because each request can bring one about.
#[derive(Default)]
pub(super) struct Failures {
    last: Option<Instant>,
    corrupt: HashSet<KeyDigest, RandomState>,
}

impl Failures {
    /// Returns whether a failure is to be reported.
    pub(super) fn is_new(&mut self, digest: &KeyDigest, error: &StoreError) -> bool {
        if error.kind() == StoreErrorKind::Corrupt {
            if self.corrupt.len() >= MAX_CORRUPT {
                self.corrupt.clear();
            }
            return self.corrupt.insert(*digest);
        }
        let is_new = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_new {
            self.last = Some(Instant::now());
        }
        is_new
    }

    /// Notes that a row can be read.
    pub(super) fn heal(&mut self, digest: &KeyDigest) {
        self.corrupt.remove(digest);
    }
}
