use tokio::sync::{Semaphore, SemaphorePermit};

/// The bound on queries at the same time.
///
/// A key that is not in memory can be a stranger's. Such keys take at most half of the permits, so that
/// strangers do not hold up the keys in memory that have become too old.
pub(super) struct Permits {
    all: Semaphore,
    strangers: Semaphore,
}

/// The right to one query. It ends on drop.
pub(super) struct Permit<'a> {
    _all: SemaphorePermit<'a>,
    _stranger: Option<SemaphorePermit<'a>>,
}

impl Permits {
    pub(super) fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { all: Semaphore::new(max), strangers: Semaphore::new((max / 2).max(1)) }
    }

    /// Waits for a permit. The semaphores are never closed.
    pub(super) async fn acquire(&self, is_known: bool) -> Option<Permit<'_>> {
        let stranger = match is_known {
            true => None,
            false => Some(self.strangers.acquire().await.ok()?),
        };
        Some(Permit { _all: self.all.acquire().await.ok()?, _stranger: stranger })
    }
}
