use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// The time since the store was last heard of.
pub(super) struct Contact {
    start: Instant,
    /// Nanoseconds from `start` to the last contact.
    last: AtomicU64,
    /// The longest time without contact before every key is rejected.
    max: Option<Duration>,
    is_refusing: AtomicBool,
}

impl Contact {
    pub(super) fn new(max: Option<Duration>) -> Self {
        let (last, is_refusing) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { start: Instant::now(), last, max, is_refusing }
    }

    pub(super) fn set(&self) {
        self.last.store(nanoseconds(self.start.elapsed()), Relaxed);
        self.is_refusing.store(false, Relaxed);
    }

    /// Returns a number. It grows with each contact.
    pub(super) fn count(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// Returns whether verification fails. Without a limit it does not read the clock.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.max.is_some_and(|max| self.age() > max)
    }

    fn age(&self) -> Duration {
        let last = Duration::from_nanos(self.last.load(Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    /// Returns whether this is the first failure since the last contact.
    pub(super) fn begins_to_refuse(&self) -> bool {
        !self.is_refusing.swap(true, Relaxed)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
