//! Takes and refunds of plans with a calendar window.

use std::time::Duration;

use super::{InProcess, NEW, SWEPT_BY_INSERT, hash_of_counter};
use crate::limit::{
    Ask, CalendarWindow, Limit, Limits, Subject, Taken, calendar::Used, gcra, table::Table,
};

/// The time of both clocks.
#[derive(Clone, Copy)]
struct Now {
    clock: u64,
    wall: Duration,
}

/// The counter of one limit, of either kind.
#[derive(Clone, Copy)]
enum Counted {
    Debt(u64),
    Window(Used),
}

impl Counted {
    fn of(counter: Option<u64>, limit: &Limit, now: Now) -> Self {
        match limit.calendar() {
            Some(window) => Self::Window(Used::at(now.wall, window, counter)),
            None => Self::Debt(counter.map_or(0, |full_at| gcra::debt(full_at, now.clock, limit))),
        }
    }

    fn wait(self, cost: u32, limit: &Limit, now: Now) -> u64 {
        match self {
            Self::Debt(debt) => gcra::wait(debt, cost, limit),
            // A request that takes nothing passes, even if the quota became smaller.
            Self::Window(_) if cost == 0 => 0,
            Self::Window(used) => used.wait(now.wall, cost, limit.quota()),
        }
    }

    fn add(self, cost: u32, limit: &Limit) -> Self {
        match self {
            Self::Debt(debt) => Self::Debt(debt + gcra::of_cost(cost, limit)),
            Self::Window(used) => Self::Window(used.add(cost)),
        }
    }

    /// Returns the value of the counter.
    fn to_bits(self, now: Now) -> u64 {
        match self {
            Self::Debt(debt) => now.clock.saturating_add(debt),
            Self::Window(used) => used.to_bits(),
        }
    }

    fn state(self, limit: &Limit, now: Now) -> (u32, u64) {
        match self {
            Self::Debt(debt) => gcra::state(debt, limit),
            Self::Window(used) => used.state(now.wall, limit.quota()),
        }
    }
}

impl InProcess {
    /// Takes the cost from all limits if all of them pass.
    #[inline(never)]
    pub(in crate::limit) fn take_with_windows(&self, ask: &Ask<'_>) -> Taken {
        self.warn();
        let (limits, subject, cost) = (ask.limits(), ask.subject(), ask.cost());
        let hash = self.hash(subject);
        let now = self.both_clocks();
        let mut table = self.lock(hash);

        let mut counters = [(NEW, Counted::Debt(0)); Limits::MAX];
        let (mut longest, mut worst) = (0, 0);
        for (index, (limit, counter)) in limits.iter().zip(&mut counters).enumerate() {
            let found = find(&table, hash, subject, limit);
            let counted = Counted::of(found.map(|(_, value)| value), limit, now);
            *counter = (found.map_or(NEW, |(at, _)| at), counted);
            let wait = counted.wait(cost, limit, now);
            if wait > longest {
                (longest, worst) = (wait, index);
            }
        }
        if longest > 0 {
            for (limit, (at, _)) in limits.iter().zip(counters) {
                if limit.calendar().is_none() {
                    table.cap(at, self.clock.now().saturating_add(gcra::refill(limit)));
                }
            }
        } else if cost > 0 {
            for (limit, (at, counted)) in limits.iter().zip(&mut counters) {
                *counted = counted.add(cost, limit);
                table.set(*at, counted.to_bits(now));
            }
            self.insert_new(&mut table, hash, ask, &counters);
        }
        drop(table);
        self.sweep(self.clock.recent());

        let mut taken = match longest {
            0 => Taken::passed(),
            gcra::FOREVER => Taken::never(worst),
            wait => Taken::limited(worst, gcra::duration(wait)),
        };
        if ask.wants_state() {
            for (index, (limit, (_, counted))) in limits.iter().zip(counters).enumerate() {
                let (remaining, until_more) = counted.state(limit, now);
                taken.set_state(index, remaining, gcra::seconds(until_more));
            }
        }
        taken
    }

    /// Inserts the counters that are not in the table. The time is read again, as in `insert`.
    fn insert_new(&self, table: &mut Table, hash: u64, ask: &Ask<'_>, counters: &[(u32, Counted)]) {
        if ask.limits().iter().zip(counters).all(|(_, (at, _))| *at != NEW) {
            return;
        }
        let now = self.both_clocks();
        for (limit, (at, _)) in ask.limits().iter().zip(counters) {
            if *at == NEW {
                let value = Counted::of(None, limit, now).add(ask.cost(), limit).to_bits(now);
                self.insert_one(table, hash, ask.subject(), limit, value);
                table.sweep(self.is_full(now.clock), SWEPT_BY_INSERT, self.hasher());
            }
        }
    }

    pub(super) fn refund_window(
        &self,
        table: &mut Table,
        hash: u64,
        ask: &Ask<'_>,
        limit: &Limit,
        window: CalendarWindow,
    ) {
        let now = self.wall.now();
        if let Some((at, value)) = find(table, hash, ask.subject(), limit) {
            let taken_at = now.saturating_sub(ask.age());
            let used = Used::at(now, window, Some(value)).refund(taken_at, window, ask.cost());
            table.set(at, used.to_bits());
        }
    }

    fn both_clocks(&self) -> Now {
        Now { clock: self.clock.now(), wall: self.wall.now() }
    }

    #[cfg(feature = "tracing")]
    fn warn(&self) {
        self.warned.call_once(|| {
            tracing::warn!(
                "A limit for each day or month counts in this process alone, and begins at zero after a restart. \
                 Use a limiter with a store, such as the one of `tower-api-key-redis`."
            );
        });
    }

    #[cfg(not(feature = "tracing"))]
    #[allow(clippy::unused_self, reason = "there is no log")]
    fn warn(&self) {}
}

fn find(table: &Table, hash: u64, subject: Subject<'_>, limit: &Limit) -> Option<(u32, u64)> {
    let name = limit.name_hash();
    table.find(hash_of_counter(hash, name), subject, name)
}
