//! The arithmetic of limits in Redis. Times are sixteenths of a microsecond, because Redis has whole microseconds.

use std::time::Duration;

use tower_api_key::limit::{Limit, Limits, Taken};

const UNITS_PER_MICRO: u64 = 16;

/// Returns the time that one request takes to refill, rounded up.
pub(crate) fn interval(limit: &Limit) -> u64 {
    let window = limit.window().as_secs().saturating_mul(1_000_000 * UNITS_PER_MICRO);
    window.div_ceil(u64::from(limit.quota()).max(1)).max(1)
}

/// Returns the time that the whole burst takes to refill.
pub(crate) fn refill(limit: &Limit) -> u64 {
    interval(limit).saturating_mul(limit.capacity().into())
}

pub(crate) fn units(duration: Duration) -> u64 {
    let micros = duration.as_secs().saturating_mul(1_000_000 * UNITS_PER_MICRO);
    micros.saturating_add(u64::from(duration.subsec_nanos()) * UNITS_PER_MICRO / 1_000)
}

fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.saturating_mul(1_000).div_ceil(UNITS_PER_MICRO))
}

/// The counter of one limit at the time of a reply.
#[derive(Clone, Copy)]
pub(crate) enum Counted {
    /// The time until the limit is full again.
    Debt(u64),
    /// The requests of a calendar window, and the time until its end.
    Window { count: u32, until_end: u64 },
}

impl Counted {
    /// Reads one counter from the numbers of a reply.
    pub(crate) fn read(limit: &Limit, numbers: &mut impl Iterator<Item = u64>) -> Option<Self> {
        let first = numbers.next()?;
        if limit.calendar().is_none() {
            return Some(Self::Debt(first));
        }
        let count = u32::try_from(first).unwrap_or(u32::MAX);
        let until_end = numbers.next()?.saturating_mul(UNITS_PER_MICRO);
        Some(Self::Window { count, until_end })
    }

    /// Returns the counter after a time in which no request passed, or `None` if the window has ended.
    pub(crate) fn later(self, by: Duration) -> Option<Self> {
        let by = units(by);
        match self {
            Self::Debt(debt) => Some(Self::Debt(debt.saturating_sub(by))),
            Self::Window { until_end, .. } if until_end <= by => None,
            Self::Window { count, until_end } => {
                Some(Self::Window { count, until_end: until_end - by })
            }
        }
    }

    fn add(self, cost: u32, limit: &Limit) -> Self {
        match self {
            Self::Debt(debt) => {
                Self::Debt(debt.saturating_add(interval(limit).saturating_mul(cost.into())))
            }
            Self::Window { count, until_end } => {
                Self::Window { count: count.saturating_add(cost), until_end }
            }
        }
    }

    /// Returns the time until a request of this cost passes.
    fn wait(self, cost: u32, limit: &Limit) -> u64 {
        match (self, self.add(cost, limit)) {
            (_, Self::Debt(after)) => after.saturating_sub(refill(limit)),
            (Self::Window { count, until_end }, _)
                if cost > limit.quota().saturating_sub(count) =>
            {
                until_end
            }
            _ => 0,
        }
    }

    /// Returns the remaining requests, and the time until there are more.
    fn state(self, limit: &Limit) -> (u32, u64) {
        match self {
            Self::Debt(debt) => {
                let (interval, rest) = (interval(limit), refill(limit).saturating_sub(debt));
                let remaining = u32::try_from(rest / interval).unwrap_or(u32::MAX);
                (remaining, if debt == 0 { 0 } else { interval - rest % interval })
            }
            Self::Window { count, until_end } => {
                (limit.quota().saturating_sub(count), if count == 0 { 0 } else { until_end })
            }
        }
    }
}

/// Returns the longest wait, or `None` if a request of this cost passes.
pub(crate) fn longest_wait(counters: &[Counted], limits: &Limits, cost: u32) -> Option<Taken> {
    let waits = limits.iter().zip(counters).map(|(limit, counted)| counted.wait(cost, limit));
    // Of equal waits the first limit is named.
    let (index, wait) =
        waits.enumerate().max_by_key(|(index, wait)| (*wait, usize::MAX - index))?;
    (wait > 0).then(|| Taken::limited(index, duration(wait)))
}

/// Adds the state of each limit, after a cost was taken.
pub(crate) fn with_states(taken: Taken, counters: &[Counted], limits: &Limits, cost: u32) -> Taken {
    let each = limits.iter().zip(counters).enumerate();
    each.fold(taken, |taken, (index, (limit, counted))| {
        let (remaining, until_more) = counted.add(cost, limit).state(limit);
        taken.with_state(index, remaining, duration(until_more))
    })
}

/// Returns the limit whose burst is below the cost. Such a request never passes.
pub(crate) fn never(limits: &Limits, cost: u32) -> Option<Taken> {
    limits.iter().position(|limit| cost > limit.capacity()).map(Taken::never)
}
