use std::{
    iter::Sum,
    ops::{Add, AddAssign},
};

/// Numbers of requests.
///
/// A request is in `accepted` or in `rejected`, and never in both. If a guard then rejects an accepted request,
/// the request is also in `limited` or `forbidden`. A request without a key on an optional route is in neither.
///
/// # Examples
///
/// ```
/// use tower_api_key::usage::{Usage, UsageRow};
///
/// let usage = Usage::new();
/// let of_ci = usage.of_client("ci").iter().map(UsageRow::counts).sum::<tower_api_key::usage::Counts>();
/// assert_eq!(of_ci.accepted, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counts {
    /// Requests whose key the layer accepted.
    pub accepted: u64,
    /// Requests that the layer rejected.
    pub rejected: u64,
    /// Requests that a guard rejected because of a limit.
    ///
    /// If the guard limits peers, the requests are in the total of unknown keys and need not be accepted.
    pub limited: u64,
    /// Accepted requests that a guard rejected because the client lacks a permission.
    pub forbidden: u64,
}

impl Counts {
    /// Returns whether all numbers are zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds each number. A sum that is too large stays at `u64::MAX`.
impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_add(other.accepted),
            rejected: self.rejected.saturating_add(other.rejected),
            limited: self.limited.saturating_add(other.limited),
            forbidden: self.forbidden.saturating_add(other.forbidden),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The kinds of events that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Accepted,
    Rejected,
    Limited,
    Forbidden,
}

/// The numbers of one key in one hour, in little memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) accepted: u32,
    pub(super) rejected: u32,
    pub(super) limited: u32,
    pub(super) forbidden: u32,
}

impl Tally {
    pub(super) fn of(self, event: Event) -> u32 {
        match event {
            Event::Accepted => self.accepted,
            Event::Rejected => self.rejected,
            Event::Limited => self.limited,
            Event::Forbidden => self.forbidden,
        }
    }

    /// Adds each number, or returns `None` if a sum is too large.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            accepted: self.accepted.checked_add(other.accepted)?,
            rejected: self.rejected.checked_add(other.rejected)?,
            limited: self.limited.checked_add(other.limited)?,
            forbidden: self.forbidden.checked_add(other.forbidden)?,
        })
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(other.accepted),
            rejected: self.rejected.saturating_sub(other.rejected),
            limited: self.limited.saturating_sub(other.limited),
            forbidden: self.forbidden.saturating_sub(other.forbidden),
        }
    }
}

impl From<Tally> for Counts {
    fn from(tally: Tally) -> Self {
        Self {
            accepted: tally.accepted.into(),
            rejected: tally.rejected.into(),
            limited: tally.limited.into(),
            forbidden: tally.forbidden.into(),
        }
    }
}
