use std::time::{Duration, Instant};

use super::gcra::units;

/// The time of a clock's first reading. It is in the middle of all times, because a clock can step back.
const START: u64 = 1 << 63;

/// A clock that counts from its creation.
pub(super) enum Clock {
    Monotonic(Instant),
    Custom { read: Box<dyn Fn() -> Duration + Send + Sync>, start: Duration },
}

impl Clock {
    pub(super) fn monotonic() -> Self {
        Self::Monotonic(Instant::now())
    }

    pub(super) fn custom(read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let start = read();
        Self::Custom { read: Box::new(read), start }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::Monotonic(start) => {
                START.saturating_add(units(Instant::now().duration_since(*start)))
            }
            Self::Custom { read, start } => {
                let now = read();
                match now.checked_sub(*start) {
                    Some(since) => START.saturating_add(units(since)),
                    None => START.saturating_sub(units(start.saturating_sub(now))),
                }
            }
        }
    }
}
