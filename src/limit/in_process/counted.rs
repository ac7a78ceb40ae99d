use super::hash_of_counter;
use crate::limit::{Limit, Subject, gcra, table::Table};

/// The position of a counter that is not in the table.
pub(super) const NEW: u32 = u32::MAX;

/// The counter of one limit, while its table is locked.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    pub(super) at: u32,
    pub(super) debt: u64,
}

impl Counted {
    pub(super) const NEW: Self = Self { at: NEW, debt: 0 };

    #[inline]
    pub(super) fn find(
        table: &Table,
        hash: u64,
        subject: Subject<'_>,
        limit: &Limit,
        now: u64,
    ) -> Self {
        let name = limit.name_hash();
        match table.find(hash_of_counter(hash, name), subject, name) {
            Some((at, full_at)) => Self { at, debt: gcra::debt(full_at, now, limit) },
            None => Self::NEW,
        }
    }

    /// Adds a cost, and returns whether the counter is in the table.
    #[inline]
    pub(super) fn add(self, table: &mut Table, cost: u32, limit: &Limit, now: u64) -> bool {
        let debt = self.debt + gcra::of_cost(cost, limit);
        table.set(self.at, now.saturating_add(debt))
    }
}
