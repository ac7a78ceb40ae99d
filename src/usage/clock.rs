use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads the current minute, because usage is counted by hour and the last use is kept to the minute.
///
/// On Linux this is the coarse clock of the kernel. It is at most 4 ms late and takes a third of the time of the
/// exact clock. So each event can read the clock, and the hours are right without a background task.
pub(super) struct Clock(Option<Box<dyn Fn() -> SystemTime + Send + Sync>>);

impl Clock {
    pub(super) fn system() -> Self {
        Self(None)
    }

    pub(super) fn injected(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(now)))
    }

    #[inline]
    pub(super) fn now(&self) -> Minute {
        match &self.0 {
            None => coarse_now(),
            Some(now) => Minute::of(now()),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn coarse_now() -> Minute {
    use rustix::time::{ClockId, clock_gettime};

    Minute::of_seconds(u64::try_from(clock_gettime(ClockId::RealtimeCoarse).tv_sec).unwrap_or(0))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn coarse_now() -> Minute {
    Minute::of(SystemTime::now())
}

/// A minute, as the number of minutes since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minute(pub(super) u32);

impl Minute {
    /// The minute of a key without a use.
    pub(super) const NEVER: Self = Self(0);

    /// Returns the minute of a time. A time before 1970 counts as 1970, and a time after 9999 as 9999.
    pub(super) fn of(time: SystemTime) -> Self {
        Self::of_seconds(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    #[inline]
    fn of_seconds(seconds: u64) -> Self {
        /// The last minute of the year 9999, because RFC 3339 has no later year.
        const LAST: u64 = 253_402_300_799 / 60;
        // The cast loses nothing, because the last minute is a number of 32 bits.
        Self((seconds / 60).min(LAST) as u32)
    }

    #[inline]
    pub(super) fn hour(self) -> Hour {
        Hour(self.0 / 60)
    }

    /// Returns the next minute, or `NEVER` for [`NEVER`](Self::NEVER).
    pub(super) fn next(self) -> Self {
        if self == Self::NEVER { self } else { Self(self.0.saturating_add(1)) }
    }

    /// Returns the time, or `None` for [`NEVER`](Self::NEVER).
    pub(super) fn time(self) -> Option<SystemTime> {
        (self != Self::NEVER).then(|| UNIX_EPOCH + Duration::from_secs(u64::from(self.0) * 60))
    }
}

/// An hour, as the number of hours since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour(pub(super) u32);

impl Hour {
    pub(super) fn start(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::from(self.0) * 3600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_system_is_right() {
        let (before, now, after) = (SystemTime::now(), Clock::system().now(), SystemTime::now());
        // The coarse clock is up to 4 ms late.
        let before = before - Duration::from_millis(20);
        assert!(Minute::of(before) <= now && now <= Minute::of(after));
    }

    #[test]
    fn every_time_has_a_minute_and_an_hour() {
        let at = |seconds| Minute::of(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(0), at(59), at(60)), (Minute(0), Minute(0), Minute(1)));
        assert_eq!((at(3599).hour(), at(3600).hour()), (Hour(0), Hour(1)));
        assert_eq!(at(3600).hour().start(), UNIX_EPOCH + Duration::from_secs(3600));
        assert_eq!(Minute::of(UNIX_EPOCH - Duration::from_secs(1)), Minute(0));
        assert_eq!(at(u64::MAX / 2), at(253_402_300_799));
        assert!(at(u64::MAX / 2).time().is_some() && Minute::NEVER.time().is_none());
    }
}
