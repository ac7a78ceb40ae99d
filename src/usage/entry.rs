//! The counters of one key.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU16, AtomicU32, Ordering},
};

use super::{
    clock::{Hour, Minute},
    counts::{Event, Tally},
    past::{Past, PastHour, Retention, Row},
};

/// The hour of an entry after its removal from the table.
const REMOVED: u32 = u32::MAX;

/// The counters of one key.
///
/// A request in the current hour adds to an atomic number and takes no lock. The first request of another hour
/// takes the lock and moves the numbers to the past.
pub(super) struct Entry {
    /// The hour of the open numbers. It changes only under the lock.
    hour: AtomicU32,
    /// The minute of the last accepted request.
    last_used: AtomicU32,
    open: OpenTally,
    /// The part of the open numbers that is in a batch. It changes only under the lock.
    sent: OpenTally,
    past: Mutex<Past>,
}

/// Numbers in little memory, because there is one for each key.
///
/// If a number is half full, the numbers move to the past. There is more room.
#[derive(Default)]
struct OpenTally {
    accepted: AtomicU32,
    rejected: AtomicU16,
    limited: AtomicU16,
    forbidden: AtomicU16,
}

impl Entry {
    pub(super) fn new(hour: Hour) -> Self {
        Self {
            hour: AtomicU32::new(hour.0),
            last_used: AtomicU32::new(Minute::NEVER.0),
            open: OpenTally::default(),
            sent: OpenTally::default(),
            past: Mutex::default(),
        }
    }

    /// Counts an event of the current hour. Returns `false` if the entry is at another hour.
    #[inline]
    pub(super) fn count(&self, event: Event, now: Minute) -> bool {
        if self.hour.load(Ordering::Acquire) != now.hour().0 {
            return false;
        }
        self.add_in_open_hour(event, now)
    }

    /// Counts an event of the hour that the entry had a moment ago. Returns `false` if the entry was removed since.
    ///
    /// The addition and the read of the hour are in one order with the write and the reads of `remove_if_over`. So
    /// the removal sees the addition, or this sees the removal, or both.
    #[inline]
    fn add_in_open_hour(&self, event: Event, now: Minute) -> bool {
        if self.add(event, now) {
            self.close_early();
        }
        self.hour.load(Ordering::SeqCst) != REMOVED || !self.take_late(event)
    }

    /// Takes an addition that the removal of this entry did not see, to count it elsewhere.
    ///
    /// Each thread with such an addition comes here. So does a thread whose addition the removal has seen. Both
    /// take an addition if there is one, so that each is counted once.
    #[cold]
    fn take_late(&self, event: Event) -> bool {
        let _past = self.past();
        if self.hour.load(Ordering::Relaxed) != REMOVED {
            return false;
        }
        let is_late = self.open.load().of(event) > self.sent.load().of(event);
        if is_late {
            self.open.subtract(event);
        }
        is_late
    }

    /// Returns whether the numbers must move to the past.
    #[inline]
    fn add(&self, event: Event, now: Minute) -> bool {
        if event == Event::Accepted && self.last_used.load(Ordering::Relaxed) != now.0 {
            // Not the maximum, because a clock that was ahead must not hide later uses.
            self.last_used.store(now.0, Ordering::Relaxed);
        }
        let rare = match event {
            Event::Accepted => {
                return self.open.accepted.fetch_add(1, Ordering::SeqCst) >= 1 << 31;
            }
            Event::Rejected => &self.open.rejected,
            Event::Limited => &self.open.limited,
            Event::Forbidden => &self.open.forbidden,
        };
        rare.fetch_add(1, Ordering::SeqCst) >= 1 << 15
    }

    /// Counts an event of any hour. Returns `false` if the entry was removed from the table.
    #[cold]
    pub(super) fn count_in_any_hour(
        &self,
        event: Event,
        now: Minute,
        retention: Retention,
    ) -> bool {
        let mut past = self.past();
        let hour = self.hour.load(Ordering::Relaxed);
        if hour == REMOVED {
            return false;
        }
        if hour != now.hour().0 {
            self.close(&mut past, hour);
            past.prune(now.hour(), retention);
            // The numbers are zero before other threads see the new hour.
            self.hour.store(now.hour().0, Ordering::Release);
        }
        self.add(event, now);
        true
    }

    #[cold]
    fn close_early(&self) {
        let mut past = self.past();
        let hour = self.hour.load(Ordering::Relaxed);
        if hour != REMOVED {
            self.close(&mut past, hour);
        }
    }

    /// Moves the open numbers to the past.
    ///
    /// If another thread adds a number meanwhile, the number stays open and is not lost.
    fn close(&self, past: &mut Past, hour: u32) {
        let (counts, sent) = (self.open.take(), self.sent.take());
        if counts != Tally::default() {
            past.push(PastHour { hour, last_used: self.last_use_in(hour), counts, sent });
        }
    }

    fn last_use_in(&self, hour: u32) -> u32 {
        let last = Minute(self.last_used.load(Ordering::Relaxed));
        if last.hour().0 == hour { last.0 } else { Minute::NEVER.0 }
    }

    /// Returns the minute of the last accepted request.
    pub(super) fn last_used(&self) -> Minute {
        Minute(self.last_used.load(Ordering::Relaxed))
    }

    /// Returns the numbers of each kept hour.
    pub(super) fn rows(&self, now: Hour, retention: Retention) -> Vec<Row> {
        let past = self.past();
        let hour = self.hour.load(Ordering::Relaxed);
        if hour == REMOVED {
            return Vec::new();
        }
        let open = PastHour {
            hour,
            last_used: self.last_use_in(hour),
            counts: self.open.load(),
            sent: Tally::default(),
        };
        let hours = past.hours().chain([open]);
        hours.filter(|it| !retention.is_over(it.hour, now)).filter_map(|it| it.row()).collect()
    }

    /// Returns the numbers outside of any batch, and records them as part of one.
    pub(super) fn take_unsent(&self, now: Hour, retention: Retention) -> Vec<Row> {
        let mut past = self.past();
        let hour = self.hour.load(Ordering::Relaxed);
        if hour == REMOVED {
            return Vec::new();
        }
        let (counts, sent) = (self.open.load(), self.sent.take());
        self.sent.store(counts);
        let open = PastHour { hour, last_used: self.last_use_in(hour), counts, sent };
        let mut rows: Vec<_> = open.unsent().into_iter().collect();
        for hour in past.hours_mut() {
            rows.extend(hour.unsent());
            hour.sent = hour.counts;
        }
        past.prune(now, retention);
        rows
    }

    /// Marks the entry as removed if all its hours are over and are in a batch. Returns `true` at most once.
    ///
    /// If a request still has the entry, it notices the removal and looks for another entry.
    pub(super) fn remove_if_over(&self, now: Hour, retention: Retention) -> bool {
        let mut past = self.past();
        past.prune(now, retention);
        let hour = self.hour.load(Ordering::Relaxed);
        if hour == REMOVED {
            // The thread that marked it removes it. The table may already have a new entry of the key.
            return false;
        }
        let open = self.open.load();
        let is_sent = !retention.has_writer || self.sent.load() == open;
        let is_over = retention.is_over(hour, now) && is_sent && past.is_empty();
        is_over && self.mark_removed(hour, open)
    }

    /// Marks the entry as removed, unless a request adds to the open numbers meanwhile.
    fn mark_removed(&self, hour: u32, open: Tally) -> bool {
        self.hour.store(REMOVED, Ordering::SeqCst);
        // A request that read the hour before has added to the numbers.
        let has_stayed = self.open.load() != open;
        if has_stayed {
            self.hour.store(hour, Ordering::Release);
        } else {
            self.sent.store(open);
        }
        !has_stayed
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenTally {
    fn load(&self) -> Tally {
        Tally {
            accepted: self.accepted.load(Ordering::SeqCst),
            rejected: self.rejected.load(Ordering::SeqCst).into(),
            limited: self.limited.load(Ordering::SeqCst).into(),
            forbidden: self.forbidden.load(Ordering::SeqCst).into(),
        }
    }

    fn take(&self) -> Tally {
        Tally {
            accepted: self.accepted.swap(0, Ordering::Relaxed),
            rejected: self.rejected.swap(0, Ordering::Relaxed).into(),
            limited: self.limited.swap(0, Ordering::Relaxed).into(),
            forbidden: self.forbidden.swap(0, Ordering::Relaxed).into(),
        }
    }

    fn subtract(&self, event: Event) {
        match event {
            Event::Accepted => _ = self.accepted.fetch_sub(1, Ordering::SeqCst),
            Event::Rejected => _ = self.rejected.fetch_sub(1, Ordering::SeqCst),
            Event::Limited => _ = self.limited.fetch_sub(1, Ordering::SeqCst),
            Event::Forbidden => _ = self.forbidden.fetch_sub(1, Ordering::SeqCst),
        }
    }

    /// Stores numbers from another such structure.
    fn store(&self, tally: Tally) {
        let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        self.accepted.store(tally.accepted, Ordering::Relaxed);
        self.rejected.store(small(tally.rejected), Ordering::Relaxed);
        self.limited.store(small(tally.limited), Ordering::Relaxed);
        self.forbidden.store(small(tally.forbidden), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Minute = Minute(60);
    const LATER: Hour = Hour(9);

    #[test]
    fn an_addition_after_a_removal_counts_elsewhere() {
        for has_writer in [false, true] {
            let retention = Retention { hours: 1, has_writer };
            let entry = Entry::new(NOW.hour());
            assert!(entry.count(Event::Accepted, NOW));
            entry.take_unsent(NOW.hour(), retention);
            assert!(entry.remove_if_over(LATER, retention));
            // Only one thread may remove it from the table, where a new entry of the key can follow.
            assert!(!entry.remove_if_over(LATER, retention));
            // A request that read the hour before the removal.
            assert!(!entry.add_in_open_hour(Event::Accepted, NOW));
            assert!(!entry.add_in_open_hour(Event::Limited, NOW));
            // A request that added before the removal, and looks at the hour after it.
            assert!(!entry.take_late(Event::Accepted));
            // It takes the addition of another request, which then has none.
            entry.add(Event::Accepted, NOW);
            assert!(entry.take_late(Event::Accepted) && !entry.take_late(Event::Accepted));
            assert!(!entry.count_in_any_hour(Event::Accepted, NOW, retention));
            // A reader that still has the entry sees neither the lost request nor a wrong hour.
            assert!(entry.rows(LATER, retention).is_empty());
            assert!(entry.take_unsent(LATER, retention).is_empty());
        }
    }

    #[test]
    fn an_addition_during_a_removal_keeps_the_entry() {
        let retention = Retention { hours: 1, has_writer: true };
        let entry = Entry::new(NOW.hour());
        let open = entry.open.load();
        assert!(entry.count(Event::Accepted, NOW));
        assert!(!entry.mark_removed(NOW.hour().0, open));
        assert!(entry.count(Event::Accepted, NOW));
        let rows = entry.take_unsent(LATER, retention);
        assert_eq!(rows.iter().map(|row| row.counts.accepted).sum::<u32>(), 2);
        assert!(entry.remove_if_over(LATER, retention));
    }
}
