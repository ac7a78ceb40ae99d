use std::{
    fmt,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Limit, Limits, gcra};

/// The result of a take.
///
/// A [`Limiter`](super::Limiter) returns it. A [`LimitStore`](super::LimitStore) of your own creates it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::limit::{Outcome, Taken};
///
/// let wait = Duration::from_millis(1_500);
/// let taken = Taken::limited(1, wait);
/// assert_eq!(taken.outcome(), Outcome::Limited { limit: 1, wait });
/// assert!(!taken.is_passed());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    /// The kind, the index of a limit, and whether there are states.
    head: NonZeroU64,
    /// In nanoseconds, of a limited request.
    wait: u64,
    /// For each limit, the upper half is the remaining requests, and the lower half the seconds until one more.
    states: [u64; Limits::MAX],
}

// One word holds all small fields, because copying several small fields takes longer.
const PASSED: NonZeroU64 = NonZeroU64::new(1).unwrap();
const LIMITED: u64 = 2;
const NEVER: u64 = 3;
const FAILED: u64 = 4;
const LIMIT: u32 = 8;
const HAS_STATE: u64 = 1 << 16;

/// The four results of a take.
///
/// An observer receives an [`observe::Outcome`](crate::observe::Outcome) instead, which is the decision of a
/// layer about a request. If you use both, import one of them by its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The request passes. Its cost was taken from each limit.
    Passed,
    /// The request exceeds a limit. It changed no counter.
    Limited {
        /// The index of the limit with the longest wait.
        limit: usize,
        /// The time after which the same request passes, if the subject sends no other.
        wait: Duration,
    },
    /// The cost is above the burst of a limit, so the request can never pass. It changed no counter.
    Never {
        /// The index of the limit.
        limit: usize,
    },
    /// The store is down. The layer decides whether the request passes.
    Failed,
}

/// The state of one limit.
///
/// # Examples
///
/// See [`Limiter::peek`](super::Limiter::peek).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitState {
    /// The name of the limit.
    pub name: &'static str,
    /// The number of requests that pass now.
    pub remaining: u32,
    /// The time until one more request passes, in whole seconds, rounded up. It is zero if the limit is full.
    pub until_more: Duration,
    /// Whether the whole burst remains.
    pub is_full: bool,
}

impl Taken {
    /// Creates the result of a request that passes.
    #[inline]
    pub const fn passed() -> Self {
        Self { head: PASSED, wait: 0, states: [0; Limits::MAX] }
    }

    /// Creates the result of a request that exceeds the limit with this index, and passes after the wait.
    pub fn limited(limit: usize, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self::of(LIMITED, limit, wait)
    }

    /// Creates the result of a request whose cost is above the burst of the limit with this index.
    pub fn never(limit: usize) -> Self {
        Self::of(NEVER, limit, 0)
    }

    /// Creates the result of a store that is down.
    pub fn failed() -> Self {
        Self::of(FAILED, 0, 0)
    }

    fn of(kind: u64, limit: usize, wait: u64) -> Self {
        let head =
            NonZeroU64::new(kind | (limit.min(Limits::MAX - 1) as u64) << LIMIT).unwrap_or(PASSED);
        Self { head, wait, states: [0; Limits::MAX] }
    }

    /// Sets the state of the limit with this index.
    ///
    /// An index out of range is ignored.
    pub fn with_state(mut self, limit: usize, remaining: u32, until_more: Duration) -> Self {
        let is_broken = until_more.subsec_nanos() > 0;
        let seconds = until_more.as_secs().saturating_add(is_broken.into());
        self.set_state(limit, remaining, seconds);
        self
    }

    pub(super) fn set_state(&mut self, limit: usize, remaining: u32, until_more: u64) {
        if let Some(state) = self.states.get_mut(limit) {
            *state = u64::from(remaining) << 32 | until_more.min(u32::MAX.into());
            self.head |= HAS_STATE;
        }
    }

    /// Returns a lower bound of the debt of a limit after the take. If there is no state, it is zero.
    pub(super) fn debt(&self, index: usize, limit: &Limit) -> u64 {
        match self.states.get(index) {
            Some(state) if self.head.get() & HAS_STATE != 0 => {
                let remaining = u32::try_from(state >> 32).unwrap_or(u32::MAX);
                gcra::least_debt(remaining, state & u64::from(u32::MAX), limit)
            }
            _ => 0,
        }
    }

    /// Returns the outcome.
    #[must_use]
    #[inline]
    pub fn outcome(&self) -> Outcome {
        let limit = (self.head.get() >> LIMIT) as usize & 0xFF;
        match self.head.get() & 0xFF {
            LIMITED => Outcome::Limited { limit, wait: Duration::from_nanos(self.wait) },
            NEVER => Outcome::Never { limit },
            FAILED => Outcome::Failed,
            _ => Outcome::Passed,
        }
    }

    /// Returns whether the request passes.
    #[must_use]
    #[inline]
    pub fn is_passed(&self) -> bool {
        self.head.get() & 0xFF == PASSED.get()
    }

    /// Returns the state of each limit, in the order of the limits of the ask.
    ///
    /// If the ask did not want the state, there is none.
    pub fn states(&self, limits: &Limits) -> impl Iterator<Item = LimitState> {
        let count = if self.head.get() & HAS_STATE == 0 { 0 } else { Limits::MAX };
        limits.iter().zip(self.states).take(count).map(|(limit, state)| {
            let remaining = u32::try_from(state >> 32).unwrap_or(u32::MAX);
            LimitState {
                name: limit.name(),
                remaining,
                until_more: Duration::from_secs(state & u64::from(u32::MAX)),
                is_full: remaining >= limit.capacity(),
            }
        })
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&self.outcome()).finish()
    }
}

/// The result of a take, or a future of it.
///
/// You can await it in both cases. If the limiter is in the process, the result is ready at once.
#[must_use]
pub enum Taking {
    /// The result.
    Ready(Taken),
    /// A future, because the store is not in the process.
    Pending(Pin<Box<dyn Future<Output = Taken> + Send>>),
}

impl Taking {
    /// Returns the result, if it is ready at once.
    #[must_use]
    #[inline]
    pub fn ready(self) -> Option<Taken> {
        match self {
            Self::Ready(taken) => Some(taken),
            Self::Pending(_) => None,
        }
    }
}

impl Future for Taking {
    type Output = Taken;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Taken> {
        match self.get_mut() {
            Self::Ready(taken) => Poll::Ready(*taken),
            Self::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(taken) => f.debug_tuple("Ready").field(taken).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}
