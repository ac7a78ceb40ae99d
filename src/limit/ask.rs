use std::time::Duration;

use super::{Limits, Taken, gcra};

/// Names the party whose requests are counted.
///
/// Subjects of different kinds never share a counter. The peer `ci` is not the client `ci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject<'a> {
    /// A client, by its id.
    Client(&'a str),
    /// A key, by its public id.
    Key(&'a str),
    /// A peer, by its address.
    Peer(&'a str),
}

impl<'a> Subject<'a> {
    /// Returns the kind (`client`, `key` or `peer`), for the counter's name in a store.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Client(_) => "client",
            Self::Key(_) => "key",
            Self::Peer(_) => "peer",
        }
    }

    /// Returns the id without the kind.
    #[must_use]
    #[inline]
    pub fn id(self) -> &'a str {
        match self {
            Self::Client(id) | Self::Key(id) | Self::Peer(id) => id,
        }
    }
}

/// Asks a [`Limiter`](super::Limiter) or a [`LimitStore`](super::LimitStore) whether a request passes.
///
/// # Examples
///
/// ```
/// use tower_api_key::limit::{Ask, Limit, Limits, Subject};
///
/// static LIMITS: Limits = Limits::new(&[Limit::per_minute("minute", 60)]);
/// let ask = Ask::new(Subject::Client("ci"), &LIMITS).with_cost(5);
/// assert_eq!((ask.subject().id(), ask.cost()), ("ci", 5));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Ask<'a> {
    subject: Subject<'a>,
    limits: &'a Limits,
    cost: u32,
    wants_state: bool,
    /// The take that a refund gives back, and its age.
    taken: Option<(&'a Taken, u64)>,
}

impl<'a> Ask<'a> {
    /// Asks for one request, without the state of the limits.
    #[inline]
    pub fn new(subject: Subject<'a>, limits: &'a Limits) -> Self {
        Self { subject, limits, cost: 1, wants_state: false, taken: None }
    }

    /// Asks for the state of the limits, with the cost 0.
    #[inline]
    pub fn peek(subject: Subject<'a>, limits: &'a Limits) -> Self {
        Self { subject, limits, cost: 0, wants_state: true, taken: None }
    }

    /// Sets the weight of the request.
    ///
    /// If the cost is 0, the request passes and changes no counter. If the cost is above the burst of a limit,
    /// the request never passes.
    #[inline]
    pub fn with_cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// Asks for the state of each limit after the take, for `RateLimit` headers.
    #[inline]
    pub fn with_state(self) -> Self {
        Self { wants_state: true, ..self }
    }

    /// Sets the take that a [refund](super::Limiter::refund) gives back, and the time since the take.
    ///
    /// Time gives requests back as well, so that a late refund is smaller than the cost. If the take had
    /// [its state](Self::with_state), the refund is exact to a second, and otherwise lower.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_api_key::limit::{Ask, Limit, Limits, Subject, Taken};
    ///
    /// static LIMITS: Limits = Limits::new(&[Limit::per_minute("minute", 1)]);
    /// let ask = Ask::new(Subject::Client("ci"), &LIMITS);
    /// let taken = Taken::passed().with_state(0, 0, Duration::from_secs(60));
    /// let late = ask.with_taken(&taken, Duration::from_secs(45));
    /// assert_eq!(ask.refund_of(0), Duration::from_secs(60));
    /// assert_eq!(late.refund_of(0), Duration::from_secs(15));
    /// ```
    pub fn with_taken(self, taken: &'a Taken, age: Duration) -> Self {
        self.with_taken_units(taken, gcra::units(age))
    }

    pub(super) fn with_taken_units(self, taken: &'a Taken, age: u64) -> Self {
        Self { taken: Some((taken, age)), ..self }
    }

    /// Returns the time since the take that a refund gives back, or zero if it is unknown.
    ///
    /// A calendar window gets its cost back only if the take was in the same window.
    #[must_use]
    pub fn age(&self) -> Duration {
        gcra::duration_down(self.taken.map_or(0, |(_, age)| age))
    }

    /// Returns the time by which a refund moves the counter of the limit with this index back.
    ///
    /// Without [`with_taken`](Self::with_taken) it is the time that the whole cost takes to refill. A calendar
    /// window counts requests, so that its counter goes down by the cost instead.
    #[must_use]
    pub fn refund_of(&self, limit: usize) -> Duration {
        gcra::duration_down(self.refund_units(limit))
    }

    pub(super) fn refund_units(&self, index: usize) -> u64 {
        let limit = self.limits.as_slice().get(index).filter(|limit| limit.calendar().is_none());
        let Some(limit) = limit else { return 0 };
        let cost = gcra::of_cost(self.cost, limit);
        match self.taken {
            // The debt was at least the cost after the take.
            Some((taken, age)) => taken.debt(index, limit).max(cost).saturating_sub(age).min(cost),
            None => cost,
        }
    }

    /// Returns the party whose requests are counted.
    #[must_use]
    #[inline]
    pub fn subject(&self) -> Subject<'a> {
        self.subject
    }

    /// Returns the limits.
    #[inline]
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Returns the weight of the request.
    #[must_use]
    #[inline]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns whether the answer must have the state of each limit.
    #[must_use]
    #[inline]
    pub fn wants_state(&self) -> bool {
        self.wants_state
    }
}
