//! The hours of a key before its current one.

use super::{
    clock::{Hour, Minute},
    counts::Tally,
    row::{Subject, UsageRow},
};

/// The hours before the current one. On the heap, because a key in its first hour has none.
#[derive(Default)]
pub(super) struct Past(Option<Box<Hours>>);

#[derive(Default)]
struct Hours(Vec<PastHour>);

#[derive(Clone, Copy)]
pub(super) struct PastHour {
    pub(super) hour: u32,
    pub(super) last_used: u32,
    pub(super) counts: Tally,
    /// The part of the numbers that is in a batch.
    pub(super) sent: Tally,
}

/// The hours that stay in memory.
#[derive(Clone, Copy)]
pub(super) struct Retention {
    pub(super) hours: u32,
    /// Whether a writer takes the counts. Counts then stay until it has taken them.
    pub(super) has_writer: bool,
}

impl Retention {
    pub(super) fn is_over(self, hour: u32, now: Hour) -> bool {
        hour.saturating_add(self.hours) <= now.0
    }
}

/// The numbers of one hour.
pub(super) struct Row {
    hour: Hour,
    last_used: Minute,
    pub(super) counts: Tally,
}

impl Row {
    pub(super) fn of(self, subject: Subject) -> UsageRow {
        UsageRow::new(subject, self.hour.start(), self.counts.into(), self.last_used.time())
    }
}

impl Past {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn hours(&self) -> impl Iterator<Item = PastHour> {
        self.0.iter().flat_map(|hours| hours.0.iter().copied())
    }

    pub(super) fn hours_mut(&mut self) -> impl Iterator<Item = &mut PastHour> {
        self.0.iter_mut().flat_map(|hours| &mut hours.0)
    }

    pub(super) fn push(&mut self, new: PastHour) {
        let hours = &mut self.0.get_or_insert_default().0;
        if !hours.iter_mut().any(|it| it.hour == new.hour && it.merge(new)) {
            // Half of a vector that doubles would be empty.
            hours.reserve_exact(1);
            hours.push(new);
        }
    }

    /// Removes hours that are over.
    ///
    /// If the writer has not taken an hour, the hour stays. If there are then too many hours, the counts of the
    /// oldest hour move to the next one, so that memory stays bounded and no count is lost.
    pub(super) fn prune(&mut self, now: Hour, retention: Retention) {
        let Some(hours) = &mut self.0 else { return };
        let hours = &mut hours.0;
        let must_stay = |it: &PastHour| retention.has_writer && it.counts != it.sent;
        hours.retain(|it| must_stay(it) || !retention.is_over(it.hour, now));
        let max = usize::try_from(retention.hours).unwrap_or(usize::MAX).max(1);
        while hours.len() > max {
            hours.sort_unstable_by_key(|it| std::cmp::Reverse(it.hour));
            let Some(oldest) = hours.pop() else { break };
            let is_merged =
                !must_stay(&oldest) || hours.last_mut().is_some_and(|next| next.merge(oldest));
            if !is_merged {
                hours.push(oldest);
                break;
            }
        }
        if hours.is_empty() {
            self.0 = None;
        }
    }
}

impl PastHour {
    /// Adds the numbers of another hour, unless a number would be too large.
    fn merge(&mut self, other: Self) -> bool {
        match (self.counts.plus(other.counts), self.sent.plus(other.sent)) {
            (Some(counts), Some(sent)) => {
                (self.counts, self.sent) = (counts, sent);
                self.last_used = self.last_used.max(other.last_used);
                true
            }
            _ => false,
        }
    }

    pub(super) fn row(self) -> Option<Row> {
        let Self { hour, last_used, counts, .. } = self;
        let row = Row { hour: Hour(hour), last_used: Minute(last_used), counts };
        (counts != Tally::default()).then_some(row)
    }

    pub(super) fn unsent(self) -> Option<Row> {
        Self { counts: self.counts.minus(self.sent), ..self }.row()
    }
}
