//! An oracle for limits: a list of all requests that passed. It shares no code with the library, and is slow.

#![allow(dead_code, reason = "each test uses a part")]

use std::time::Duration;

use tower_api_key::limit::{CalendarWindow, Limit, LimitState, Limits, Outcome};

const DAY: u64 = 86_400_000_000;

/// The requests of one client that passed, for each limit of one plan. Times are microseconds.
pub(crate) struct Lists(Vec<(Limit, List)>);

#[derive(Clone)]
enum List {
    Rate(Vec<(u64, u64)>),
    /// All requests with their windows.
    Window(Vec<(Date, u64)>),
}

/// The name, the remaining requests, the time until more, and whether the limit is full.
pub(crate) type State = (&'static str, u32, Duration, bool);

/// A year, a month and a day. The window of a month has no day.
type Date = (u64, u64, Option<u64>);

/// The times of the two clocks. A store with one clock has the same time twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) clock: u64,
    pub(crate) wall: u64,
}

impl Lists {
    pub(crate) fn new(limits: &Limits) -> Self {
        let list = |limit: &Limit| match limit.calendar() {
            None => List::Rate(Vec::new()),
            Some(_) => List::Window(Vec::new()),
        };
        Self(limits.iter().map(|limit| (*limit, list(limit))).collect())
    }

    /// Returns the outcome of a request, and adds the request to the lists if it passes.
    pub(crate) fn take(&mut self, now: Now, cost: u32) -> Outcome {
        if let Some(limit) = self.0.iter().position(|(limit, _)| cost > limit.capacity()) {
            return Outcome::Never { limit };
        }
        let (mut longest, mut worst) = (0, 0);
        for (index, (limit, list)) in self.0.iter().enumerate() {
            let wait = list.wait(limit, now, cost.into());
            if wait > longest {
                (longest, worst) = (wait, index);
            }
        }
        if longest > 0 && cost > 0 {
            return Outcome::Limited { limit: worst, wait: Duration::from_micros(longest) };
        }
        for (limit, list) in self.0.iter_mut().filter(|_| cost > 0) {
            match list {
                List::Rate(passed) => passed.push((now.clock, cost.into())),
                List::Window(passed) => {
                    let current = current(passed, limit.calendar().unwrap(), now.wall);
                    passed.push((current, cost.into()));
                }
            }
        }
        Outcome::Passed
    }

    /// Forgets the requests of windows that ended before a time, for each limit whose state is not this one.
    ///
    /// A limiter removes ended windows now and then, and a large step back of the clock shows which are left.
    pub(crate) fn forget_ended(&mut self, now: Now, ended: u64, states: &[State]) {
        let own = self.states(now);
        for (((limit, list), own), state) in self.0.iter_mut().zip(own).zip(states) {
            if let (List::Window(passed), true) = (list, own != *state) {
                let window = limit.calendar().unwrap();
                let last = passed.last().map(|(last, _)| *last);
                if last.is_some_and(|last| last < date(window, ended)) {
                    passed.clear();
                }
            }
        }
    }

    pub(crate) fn states(&self, now: Now) -> Vec<State> {
        let state = |(limit, list): &(Limit, List)| {
            let wait = |cost: u32| list.wait(limit, now, cost.into());
            let remaining =
                (1..=limit.capacity()).take_while(|cost| wait(*cost) == 0).count() as u32;
            let is_full = remaining == limit.capacity();
            let until_more = if is_full { 0 } else { wait(remaining + 1).div_ceil(1_000_000) };
            (limit.name(), remaining, Duration::from_secs(until_more), is_full)
        };
        self.0.iter().map(state).collect()
    }
}

/// Returns a state in the form of [`Lists::states`].
pub(crate) fn state(state: LimitState) -> State {
    (state.name, state.remaining, state.until_more, state.is_full)
}

impl List {
    /// A request passes if, from each earlier request on, no more passed than the burst and the refill since then.
    /// In a calendar window it passes if no more passed than the quota.
    fn wait(&self, limit: &Limit, now: Now, cost: u64) -> u64 {
        match self {
            Self::Rate(passed) => {
                let interval = limit.window().as_micros() as u64 / u64::from(limit.quota());
                let (mut wait, mut since_then) = (0, cost);
                for (at, cost) in passed.iter().rev() {
                    since_then += cost;
                    let allowed = u64::from(limit.capacity()) * interval + (now.clock - at);
                    wait = wait.max((since_then * interval).saturating_sub(allowed));
                }
                wait
            }
            Self::Window(passed) => {
                let window = limit.calendar().unwrap();
                let current = current(passed, window, now.wall);
                // The last requests of the same window, because a window that the clock left begins anew.
                let last = passed.iter().rev().take_while(|(date, _)| *date == current);
                let all = last.map(|(_, cost)| cost).sum::<u64>() + cost;
                if all <= limit.quota().into() {
                    0
                } else {
                    end(window, current, now.wall) - now.wall
                }
            }
        }
    }
}

/// Returns the current window. If the clock stepped back by at most five minutes, it is that of the last request.
fn current(passed: &[(Date, u64)], window: CalendarWindow, now: u64) -> Date {
    let later = date(window, now + 300_000_000);
    match passed.last() {
        Some((last, _)) if *last == later => later,
        _ => date(window, now),
    }
}

fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts the months from 1970.
fn date(window: CalendarWindow, at: u64) -> Date {
    let (mut year, mut month, mut day) = (1970, 1, at / DAY);
    while day >= days_of(year, month) {
        day -= days_of(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    (year, month, (window == CalendarWindow::Day).then_some(day))
}

/// Looks for the first day after a window, which began before now or begins soon.
fn end(window: CalendarWindow, current: Date, now: u64) -> u64 {
    let mut day = now / DAY;
    while date(window, day * DAY) != current {
        day += 1;
    }
    while date(window, day * DAY) == current {
        day += 1;
    }
    day * DAY
}
