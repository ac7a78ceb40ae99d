//! Calendar windows, which are days and months in UTC.

use std::time::Duration;

use super::gcra::{FOREVER, UNITS_PER_SECOND, units};

/// The calendar window of a limit, in UTC.
///
/// # Examples
///
/// ```
/// use tower_api_key::limit::{CalendarWindow, Limit};
///
/// assert_eq!(Limit::per_month("month", 100_000).calendar(), Some(CalendarWindow::Month));
/// assert_eq!(Limit::per_hour("hour", 1_000).calendar(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CalendarWindow {
    /// From midnight to midnight.
    Day,
    /// From the first day of a month to the first day of the next.
    Month,
}

const SECONDS_PER_DAY: u64 = 86_400;

/// If the clock steps back by at most this time across the end of a window, requests count in the later window.
/// Otherwise a step would give a whole quota back. After a larger step the clock was wrong before.
const MAX_STEP_BACK: Duration = Duration::from_secs(300);

impl CalendarWindow {
    /// Returns the first day after the window that holds this time. Days count from 1970.
    fn end(self, now: Duration) -> u32 {
        let day = now.as_secs() / SECONDS_PER_DAY;
        let end = match self {
            Self::Day => day.saturating_add(1),
            Self::Month => end_of_month(day),
        };
        u32::try_from(end).unwrap_or(u32::MAX)
    }
}

/// Returns the first day of the next month. Days count from 1970.
///
/// Years begin in March here, so that a leap day is the last day of its year. The lengths of the months from March
/// on then repeat every five months, which have 153 days.
fn end_of_month(day: u64) -> u64 {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// The days from 1 March of the year 0 to 1970.
    const BEFORE_1970: u64 = 719_468;

    let first_of_year = |year: u64| 365 * year + year / 4 - year / 100 + year / 400;
    let day = day.saturating_add(BEFORE_1970);
    let (cycle, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let leap_days = day / 1_460 - day / 36_524 + day / 146_096;
    let year = (day - leap_days) / 365;
    let month = (5 * (day - first_of_year(year)) + 2) / 153;
    let end = match month {
        11 => first_of_year(year + 1),
        _ => first_of_year(year) + (153 * (month + 1) + 2) / 5,
    };
    (cycle * DAYS_OF_400_YEARS + end).saturating_sub(BEFORE_1970)
}

/// The requests of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    end_day: u32,
    count: u32,
}

impl Used {
    /// Returns the requests of the current window, from the counter if there is one.
    pub(super) fn at(now: Duration, window: CalendarWindow, counter: Option<u64>) -> Self {
        let end_day = window.end(now);
        let counted = counter.map(Self::from_bits).filter(|used| {
            used.end_day == end_day || used.end_day == window.end(now.saturating_add(MAX_STEP_BACK))
        });
        counted.unwrap_or(Self { end_day, count: 0 })
    }

    /// Returns whether the window has ended, and no small step of the clock leads back into it.
    pub(super) fn is_over(self, now: Duration) -> bool {
        self.until_end(now.saturating_sub(MAX_STEP_BACK)) == 0
    }

    /// Returns the time to wait before a request of this cost passes.
    pub(super) fn wait(self, now: Duration, cost: u32, quota: u32) -> u64 {
        if cost > quota {
            FOREVER
        } else if cost <= self.remaining(quota) {
            0
        } else {
            self.until_end(now)
        }
    }

    pub(super) fn remaining(self, quota: u32) -> u32 {
        quota.saturating_sub(self.count)
    }

    /// Returns the remaining requests, and the time until there are more.
    pub(super) fn state(self, now: Duration, quota: u32) -> (u32, u64) {
        (self.remaining(quota), if self.count == 0 { 0 } else { self.until_end(now) })
    }

    fn until_end(self, now: Duration) -> u64 {
        let end = Duration::from_secs(u64::from(self.end_day) * SECONDS_PER_DAY);
        units(end.saturating_sub(now))
    }

    pub(super) fn add(self, cost: u32) -> Self {
        Self { count: self.count.saturating_add(cost), ..self }
    }

    /// Gives the cost of a take back, if the take was in this window.
    pub(super) fn refund(self, taken_at: Duration, window: CalendarWindow, cost: u32) -> Self {
        let cost = if window.end(taken_at) == self.end_day { cost } else { 0 };
        Self { count: self.count.saturating_sub(cost), ..self }
    }

    /// Returns the value of a counter.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.end_day) << 32 | u64::from(self.count)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self { end_day: (bits >> 32) as u32, count: bits as u32 }
    }
}

/// The longest window is far below this time, so that a wait never overflows.
const _: () = assert!(31 * SECONDS_PER_DAY * UNITS_PER_SECOND < FOREVER / 2);

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the months, by the rule of the Gregorian calendar.
    fn days_of(year: u64, month: usize) -> u64 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        match month {
            1 if is_leap => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        }
    }

    #[test]
    fn every_day_of_nine_centuries_knows_the_end_of_its_month() {
        let mut first = 0;
        for (year, month) in (1970..2870).flat_map(|year| (0..12).map(move |month| (year, month))) {
            let end = first + days_of(year, month);
            for day in first..end {
                assert_eq!(end_of_month(day), end, "{year}-{} day {day}", month + 1);
                let now = Duration::from_secs(day * SECONDS_PER_DAY + SECONDS_PER_DAY - 1);
                assert_eq!(CalendarWindow::Month.end(now), end as u32);
                assert_eq!(CalendarWindow::Day.end(now), day as u32 + 1);
            }
            first = end;
        }
    }

    #[test]
    fn no_time_overflows() {
        for window in [CalendarWindow::Day, CalendarWindow::Month] {
            let used = Used::at(Duration::MAX, window, Some(u64::MAX)).add(u32::MAX);
            assert_eq!(used.wait(Duration::MAX, 1, u32::MAX), 0);
            assert_eq!(used.wait(Duration::ZERO, 1, 1), u64::MAX);
        }
    }
}
