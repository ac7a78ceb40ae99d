use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(u64);

impl Time {
    pub(super) const START: Self = Self(0);
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// Whether it is all of time that lies between, in one comparison.
    pub(super) fn is_always(begin: Self, end: Self) -> bool {
        begin.0 | !end.0 == 0
    }

    /// Another, where there is none.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::NEVER { other } else { self }
    }

    pub(super) fn after(self, duration: Duration) -> Self {
        self.plus(nanoseconds(duration))
    }

    /// The end of all times is not `NEVER`.
    fn plus(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds).min(u64::MAX - 1))
    }

    /// As far from `to` as this is from `from`.
    pub(super) fn moved(self, from: Self, to: Self) -> Self {
        match self {
            Self::NEVER => Self::NEVER,
            time => to.plus(time.0.saturating_sub(from.0)),
        }
    }

    pub(super) fn known(self) -> Option<SystemTime> {
        (self != Self::NEVER).then(|| UNIX_EPOCH + Duration::from_nanos(self.0))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        time.duration_since(UNIX_EPOCH).map_or(Self::START, |since| Self::START.after(since))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_is_from_the_start_to_no_end_and_nothing_less() {
        assert!(Time::is_always(Time::START, Time::NEVER));
        for (begin, end) in [(1, u64::MAX), (0, u64::MAX - 1), (0, 0), (5, !5), (u64::MAX, 0)] {
            assert!(!Time::is_always(Time(begin), Time(end)), "{begin} to {end}");
        }
    }
}
