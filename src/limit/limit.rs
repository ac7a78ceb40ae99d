use std::{fmt, time::Duration};

use super::{calendar::CalendarWindow, every::Every, gcra::UNITS_PER_SECOND, name};
use crate::error::{ConfigError, ConfigErrorKind};

/// The longest time that a limit may take to refill.
const MAX_REFILL: u64 = 366 * 86_400 * UNITS_PER_SECOND;

/// A quota of requests in a window, with a name and a burst.
///
/// A limit for each second, minute or hour refills evenly. `per_minute("burst", 60)` gives one request back each
/// second, and 60 requests can follow each other at once. Use [`burst`](Self::burst) to change the second number.
///
/// A limit for each day or month is a calendar window in UTC. `per_day("day", 1_000)` allows 1,000 requests until
/// midnight, and then 1,000 again.
///
/// The name is in `RateLimit` headers and in metrics. A client's counter belongs to the name. If a limit gets
/// another quota and keeps its name, the count continues, and the client waits at most for the new full refill or
/// the end of the window. If it gets another kind of window, it begins a new count.
///
/// # Calendar windows
///
/// - They need a store that outlives the process, such as Redis. [`Limiter::in_process`](super::Limiter::in_process)
///   counts from the start of the process, and the log warns once.
/// - If a client is over the limit, `Retry-After` is the time until the end of the window.
/// - If the wall clock steps back by at most five minutes across the end of a window, requests go on to count in the
///   later window. After a larger step the count begins again.
///
/// # How exact is a quota?
///
/// The time between two requests is rounded up to 1/16 ns. So a limit never allows more than its quota, and
/// allows somewhat less if the quota is very high:
///
/// | quota for each second | allows less by at most |
/// |---|---|
/// | up to 1,000,000 | 0.01 % |
/// | up to 100,000,000 | 1 % |
/// | up to 1,000,000,000 | 6 % |
/// | above | 20 %. A quota of almost 4,000,000,000 allows 3,200,000,000 |
///
/// # Examples
///
/// ```
/// use tower_api_key::limit::Limit;
///
/// const BURST: Limit = Limit::per_minute("burst", 60).burst(20);
/// assert_eq!((BURST.quota(), BURST.window().as_secs(), BURST.capacity()), (60, 60, 20));
///
/// let configured = Limit::try_per_hour("hour", 1_000)?;
/// assert_eq!(configured.name(), "hour");
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// A zero in a constant is a compile error:
///
/// ```compile_fail
/// # use tower_api_key::limit::Limit;
/// const NONE: Limit = Limit::per_minute("none", 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Limit {
    name: &'static str,
    /// A counter belongs to this hash, because comparing names takes longer. The two lowest bits are the kind.
    name_hash: u64,
    /// The time that one request takes to refill.
    interval: u64,
    window_secs: u32,
    quota: u32,
    burst: u32,
    calendar: Option<CalendarWindow>,
}

impl Limit {
    /// Limits to a number of requests each second, and to the same number at once.
    ///
    /// # Panics
    ///
    /// If [`try_per_second`](Self::try_per_second) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn per_second(name: &'static str, quota: u32) -> Self {
        expect(Self::new(name, quota, Every::SECOND))
    }

    /// Limits to a number of requests each minute, and to the same number at once.
    ///
    /// # Panics
    ///
    /// If [`try_per_minute`](Self::try_per_minute) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn per_minute(name: &'static str, quota: u32) -> Self {
        expect(Self::new(name, quota, Every::MINUTE))
    }

    /// Limits to a number of requests each hour, and to the same number at once.
    ///
    /// # Panics
    ///
    /// If [`try_per_hour`](Self::try_per_hour) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn per_hour(name: &'static str, quota: u32) -> Self {
        expect(Self::new(name, quota, Every::HOUR))
    }

    /// Limits to a number of requests each day in UTC.
    ///
    /// # Panics
    ///
    /// If [`try_per_day`](Self::try_per_day) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn per_day(name: &'static str, quota: u32) -> Self {
        expect(Self::new(name, quota, Every::DAY))
    }

    /// Limits to a number of requests each calendar month in UTC.
    ///
    /// `RateLimit-Policy` has a window of 31 days, because its text is the same in all months.
    ///
    /// # Panics
    ///
    /// If [`try_per_month`](Self::try_per_month) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn per_month(name: &'static str, quota: u32) -> Self {
        expect(Self::new(name, quota, Every::MONTH))
    }

    /// Sets the number of requests that can follow each other at once.
    ///
    /// By default it is the quota. A smaller burst spreads the requests more evenly. With a larger burst, a client
    /// can save requests for later.
    ///
    /// # Panics
    ///
    /// If [`try_burst`](Self::try_burst) returns an error. In a constant this is a compile error.
    #[track_caller]
    pub const fn burst(self, burst: u32) -> Self {
        expect(self.with_burst(burst))
    }

    /// Limits to a number of requests each second, from configuration.
    ///
    /// The process keeps each new name until it ends, because a name is `&'static str`. Do not make names from
    /// requests.
    ///
    /// # Errors
    ///
    /// If the name is not 1 to 64 visible ASCII characters without `"` and `\`. If the quota is 0.
    pub fn try_per_second(name: &str, quota: u32) -> Result<Self, ConfigError> {
        Self::interned(name, quota, Every::SECOND)
    }

    /// Limits to a number of requests each minute, from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_per_second`](Self::try_per_second), which says more about names.
    pub fn try_per_minute(name: &str, quota: u32) -> Result<Self, ConfigError> {
        Self::interned(name, quota, Every::MINUTE)
    }

    /// Limits to a number of requests each hour, from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_per_second`](Self::try_per_second), which says more about names.
    pub fn try_per_hour(name: &str, quota: u32) -> Result<Self, ConfigError> {
        Self::interned(name, quota, Every::HOUR)
    }

    /// Limits to a number of requests each day in UTC, from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_per_second`](Self::try_per_second), which says more about names.
    pub fn try_per_day(name: &str, quota: u32) -> Result<Self, ConfigError> {
        Self::interned(name, quota, Every::DAY)
    }

    /// Limits to a number of requests each calendar month in UTC, from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_per_second`](Self::try_per_second), which says more about names.
    pub fn try_per_month(name: &str, quota: u32) -> Result<Self, ConfigError> {
        Self::interned(name, quota, Every::MONTH)
    }

    /// Sets the number of requests that can follow each other at once, from configuration.
    ///
    /// # Errors
    ///
    /// If the burst is 0. If it takes more than 366 days to refill. If the limit is for each day or month.
    pub fn try_burst(self, burst: u32) -> Result<Self, ConfigError> {
        Ok(self.with_burst(burst)?)
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the number of requests of one window.
    #[must_use]
    pub const fn quota(&self) -> u32 {
        self.quota
    }

    /// Returns the length of the window, in which the quota refills. A month has 31 days here.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.window_secs as u64)
    }

    /// Returns the burst, which is the number of requests that can follow each other at once.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.burst
    }

    /// Returns the calendar window, or `None` if the limit refills evenly.
    #[must_use]
    pub const fn calendar(&self) -> Option<CalendarWindow> {
        self.calendar
    }

    pub(super) const fn name_hash(&self) -> u64 {
        self.name_hash
    }

    pub(super) const fn interval(&self) -> u64 {
        self.interval
    }

    const fn new(name: &'static str, quota: u32, every: Every) -> Result<Self, ConfigErrorKind> {
        if let Err(kind) = check(name, quota) {
            return Err(kind);
        }
        let Every { window_secs, calendar } = every;
        let window = window_secs as u64 * UNITS_PER_SECOND;
        let interval = window.div_ceil(quota as u64);
        let name_hash = name::hash(name, calendar);
        Ok(Self { name, name_hash, interval, window_secs, quota, burst: quota, calendar })
    }

    const fn with_burst(self, burst: u32) -> Result<Self, ConfigErrorKind> {
        if burst == 0 {
            return Err(ConfigErrorKind::LimitBurst);
        }
        if self.calendar.is_some() {
            return Err(ConfigErrorKind::CalendarBurst);
        }
        match self.interval.checked_mul(burst as u64) {
            Some(refill) if refill <= MAX_REFILL => Ok(Self { burst, ..self }),
            _ => Err(ConfigErrorKind::LimitRefill),
        }
    }

    fn interned(name: &str, quota: u32, every: Every) -> Result<Self, ConfigError> {
        check(name, quota)?;
        Ok(Self::new(name::intern(name), quota, every)?)
    }
}

/// Returns whether two limits have one name.
pub(super) const fn have_one_name(one: &Limit, other: &Limit) -> bool {
    name::are_equal(one.name_hash, other.name_hash)
}

const fn check(name: &str, quota: u32) -> Result<(), ConfigErrorKind> {
    if let Err(kind) = name::check(name) {
        return Err(kind);
    }
    if quota == 0 { Err(ConfigErrorKind::LimitQuota) } else { Ok(()) }
}

/// `expect_valid` for constants.
#[track_caller]
#[allow(clippy::panic, reason = "only for literals, because configuration has `try_` twins")]
pub(super) const fn expect<T: Copy>(result: Result<T, ConfigErrorKind>) -> T {
    match result {
        Ok(value) => value,
        Err(kind) => panic!("{}", kind.text()),
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("quota", &self.quota)
            .field("window", &self.window())
            .field("burst", &self.burst)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_allows_at_most_its_quota_and_no_less_than_the_table_says() {
        for (highest, less) in
            [(1_000_000, 0.000_1), (100_000_000, 0.01), (1_000_000_000, 0.06), (u32::MAX, 0.2)]
        {
            // The worst quotas are just below a divisor of the window.
            let interval = UNITS_PER_SECOND / u64::from(highest);
            let worst = (interval..interval + 20).map(|it| UNITS_PER_SECOND / it - 1);
            for quota in worst.filter_map(|it| u32::try_from(it).ok()).chain([highest]) {
                let allowed =
                    UNITS_PER_SECOND as f64 / Limit::per_second("x", quota).interval() as f64;
                let share = allowed / f64::from(quota);
                assert!(share <= 1.0 && share >= 1.0 - less, "{quota}: {share}");
            }
        }
    }
}
