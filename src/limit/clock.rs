use std::time::{Duration, SystemTime};

use self::monotonic::Start;
use super::gcra::units;

/// The time of a clock's first reading. It is in the middle of all times, because a clock can step back.
const START: u64 = 1 << 63;

/// A clock that counts from its creation.
pub(super) enum Clock {
    Monotonic(Start),
    Custom { read: Box<dyn Fn() -> Duration + Send + Sync>, start: Duration },
}

impl Clock {
    pub(super) fn monotonic() -> Self {
        Self::Monotonic(Start::now())
    }

    pub(super) fn custom(read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let start = read();
        Self::Custom { read: Box::new(read), start }
    }

    /// Returns a time that is at most some milliseconds late, in a third of the time of [`now`](Self::now).
    #[inline]
    pub(super) fn recent(&self) -> u64 {
        match self {
            Self::Monotonic(start) => START.wrapping_add(start.recently_elapsed()),
            Self::Custom { .. } => self.now(),
        }
    }

    /// Returns the exact time instead of a recent one.
    #[inline]
    pub(super) fn exact(&self, recent: u64) -> u64 {
        match self {
            Self::Monotonic(_) => self.now(),
            Self::Custom { .. } => recent,
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::Monotonic(start) => START.wrapping_add(start.elapsed()),
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

/// A clock that tells the date.
pub(super) enum WallClock {
    System,
    Custom(Box<dyn Fn() -> SystemTime + Send + Sync>),
}

impl WallClock {
    pub(super) fn custom(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self::Custom(Box::new(read))
    }

    /// Returns the time since 1970.
    pub(super) fn now(&self) -> Duration {
        let now = match self {
            Self::System => SystemTime::now(),
            Self::Custom(read) => read(),
        };
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod monotonic {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use crate::limit::gcra::units;

    /// The time since the start of the system. The clock of the standard library is the same, and takes longer.
    pub(crate) struct Start(u64);

    impl Start {
        pub(super) fn now() -> Self {
            Self(read(ClockId::Monotonic))
        }

        #[inline]
        pub(super) fn elapsed(&self) -> u64 {
            read(ClockId::Monotonic).wrapping_sub(self.0)
        }

        /// Returns the time of the last tick of the kernel, which can be before the start.
        #[inline]
        pub(super) fn recently_elapsed(&self) -> u64 {
            read(ClockId::MonotonicCoarse).wrapping_sub(self.0)
        }
    }

    #[inline]
    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        // Neither is negative.
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        units(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod monotonic {
    use std::time::Instant;

    use crate::limit::gcra::units;

    pub(crate) struct Start(Instant);

    impl Start {
        pub(super) fn now() -> Self {
            Self(Instant::now())
        }

        pub(super) fn elapsed(&self) -> u64 {
            units(self.0.elapsed())
        }

        pub(super) fn recently_elapsed(&self) -> u64 {
            self.elapsed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::gcra::UNITS_PER_SECOND;

    #[test]
    fn a_recent_time_is_at_most_a_little_before_the_exact_time() {
        let clock = Clock::monotonic();
        for _ in 0..1_000 {
            let (recent, now) = (clock.recent(), clock.now());
            assert!(recent <= now && now - recent < UNITS_PER_SECOND, "{recent} and {now}");
            assert!(clock.exact(recent) >= now);
        }
    }

    #[test]
    fn a_clock_of_the_user_is_exact_and_is_not_read_again() {
        let clock = Clock::custom(|| Duration::from_secs(1));
        assert_eq!((clock.now(), clock.recent(), clock.exact(7)), (START, START, 7));
    }
}
