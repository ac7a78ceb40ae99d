//! The generic cell rate algorithm, which is the arithmetic of a limit.
//!
//! A counter is the time at which the limit is full again. The debt of a subject is the time from now until
//! then. Each request adds the limit's interval to the debt, and the clock reduces it.

use std::time::Duration;

use super::Limit;

/// Times are sixteenths of a nanosecond, so that quotas far above a million a second are exact.
const UNITS_PER_NANO: u64 = 16;
pub(super) const UNITS_PER_SECOND: u64 = 1_000_000_000 * UNITS_PER_NANO;

// These sums cannot overflow. A limit refills within 366 days, which is below 2^59, and a debt is at most that long.

/// Returns the time that a limit takes to refill its whole burst.
#[inline]
pub(super) fn refill(limit: &Limit) -> u64 {
    limit.interval() * u64::from(limit.capacity())
}

/// Returns the time that a request takes to refill, at most the full refill.
#[inline]
pub(super) fn of_cost(cost: u32, limit: &Limit) -> u64 {
    limit.interval() * u64::from(cost.min(limit.capacity()))
}

/// Returns the debt of a counter.
///
/// It is at most the full refill, even if the limit was larger before or the clock stepped back.
#[inline]
pub(super) fn debt(full_at: u64, now: u64, limit: &Limit) -> u64 {
    full_at.saturating_sub(now).min(refill(limit))
}

/// The wait of a request whose cost is above the burst.
pub(super) const FOREVER: u64 = u64::MAX;

/// Returns the time to wait before a request of this cost passes.
#[inline]
pub(super) fn wait(debt: u64, cost: u32, limit: &Limit) -> u64 {
    if cost > limit.capacity() {
        return FOREVER;
    }
    (debt + of_cost(cost, limit)).saturating_sub(refill(limit))
}

/// Returns the remaining requests, and the time until one more.
pub(super) fn state(debt: u64, limit: &Limit) -> (u32, u64) {
    let (interval, rest) = (limit.interval().max(1), refill(limit).saturating_sub(debt));
    let remaining = u32::try_from(rest / interval).unwrap_or(u32::MAX);
    let until_more = if debt == 0 { 0 } else { interval - rest % interval };
    (remaining, until_more)
}

/// Returns a duration of so many units, rounded up.
pub(super) fn duration(units: u64) -> Duration {
    Duration::from_nanos(units.div_ceil(UNITS_PER_NANO))
}

/// Returns a duration of so many units, rounded down.
pub(super) fn duration_down(units: u64) -> Duration {
    Duration::from_nanos(units / UNITS_PER_NANO)
}

/// Returns the least debt that has this state. The time until one more is in whole seconds, rounded up.
pub(super) fn least_debt(remaining: u32, seconds_until_more: u64, limit: &Limit) -> u64 {
    let passing = limit.interval().saturating_mul(u64::from(remaining) + 1);
    let until_more = seconds_until_more.saturating_sub(1).saturating_mul(UNITS_PER_SECOND);
    refill(limit).saturating_add(until_more).saturating_sub(passing)
}

/// Returns the seconds of so many units, rounded up.
pub(super) fn seconds(units: u64) -> u64 {
    units.div_ceil(UNITS_PER_SECOND)
}

/// Returns the units of a duration.
#[inline]
pub(super) fn units(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(UNITS_PER_SECOND);
    seconds.saturating_add(u64::from(duration.subsec_nanos()) * UNITS_PER_NANO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interval is ten units and a fraction, which rounds up to eleven.
    const LIMIT: Limit = Limit::per_second("a", 1_500_000_000).burst(3);

    #[test]
    fn a_request_passes_at_the_unit_and_not_before() {
        assert_eq!(refill(&LIMIT), 33);
        for (debt, cost, expected) in
            [(0, 3, 0), (11, 2, 0), (12, 2, 1), (22, 1, 0), (23, 1, 1), (33, 1, 11), (33, 0, 0)]
        {
            assert_eq!(wait(debt, cost, &LIMIT), expected, "{debt} and {cost}");
        }
        assert_eq!(wait(0, 4, &LIMIT), FOREVER);
    }

    #[test]
    fn the_state_changes_at_the_unit() {
        for (debt, expected) in
            [(0, (3, 0)), (1, (2, 1)), (11, (2, 11)), (12, (1, 1)), (22, (1, 11)), (33, (0, 11))]
        {
            assert_eq!(state(debt, &LIMIT), expected, "{debt}");
        }
    }

    #[test]
    fn a_duration_is_rounded_up() {
        assert_eq!([0, 1, 16, 17].map(|units| duration(units).as_nanos()), [0, 1, 1, 2]);
        assert_eq!([0, 1, UNITS_PER_SECOND, UNITS_PER_SECOND + 1].map(seconds), [0, 1, 1, 2]);
        assert_eq!(units(Duration::from_nanos(1_000_000_003)), 16_000_000_048);
        assert_eq!(units(Duration::MAX), u64::MAX);
    }
}
