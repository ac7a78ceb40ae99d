use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(u64);

impl Time {
    pub(crate) const START: Self = Self(0);
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Returns whether the range has neither a beginning nor an end, in one comparison.
    pub(crate) fn is_always(begin: Self, end: Self) -> bool {
        begin.0 | !end.0 == 0
    }

    /// Returns `other` if this time is `NEVER`.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::NEVER { other } else { self }
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        self.plus(nanoseconds(duration))
    }

    /// The latest time that can be added up is just before `NEVER`.
    fn plus(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds).min(u64::MAX - 1))
    }

    /// Returns the time that is as far from `to` as this time is from `from`.
    pub(crate) fn moved(self, from: Self, to: Self) -> Self {
        match self {
            Self::NEVER => Self::NEVER,
            time => to.plus(time.0.saturating_sub(from.0)),
        }
    }

    pub(crate) fn known(self) -> Option<SystemTime> {
        (self != Self::NEVER).then(|| UNIX_EPOCH + Duration::from_nanos(self.0))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        time.duration_since(UNIX_EPOCH).map_or(Self::START, |since| Self::START.after(since))
    }
}

/// `None` is `NEVER`.
impl From<Option<SystemTime>> for Time {
    fn from(time: Option<SystemTime>) -> Self {
        time.map_or(Self::NEVER, Self::from)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_is_the_range_without_beginning_and_without_end() {
        assert!(Time::is_always(Time::START, Time::NEVER));
        for (begin, end) in [(1, u64::MAX), (0, u64::MAX - 1), (0, 0), (5, !5), (u64::MAX, 0)] {
            assert!(!Time::is_always(Time(begin), Time(end)), "{begin} to {end}");
        }
    }
}
