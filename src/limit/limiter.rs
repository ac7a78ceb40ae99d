use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use super::{
    Ask, LimitStore, Limits, Subject, Taken, Taking,
    clock::{Clock, WallClock},
    gcra,
    in_process::{InProcess, One, Verdict},
};

/// Counts requests and decides which pass.
///
/// A counter belongs to one limiter, one subject and the name of one limit. Clones share the counters. If you
/// give the same limiter to two layers, both take from the same counters. If layers have different client types,
/// give each type a limiter of its own, because the client `7` of one type would share the counters of the
/// client `7` of the other.
///
/// # Counters in the process
///
/// - They are exact, even if many threads take at once. A restart forgets them.
/// - On Linux a take reads the coarse clock of the kernel, which is some milliseconds late. So the first request
///   after a silence counts as if it came up to 10 ms earlier, and the state is as old. A rejection and its
///   wait are exact.
/// - The limiter evicts a counter when its limit is full again. So memory is bounded by the subjects that
///   called recently. A counter takes about 56 bytes, plus the id if it has more than 21 bytes. An
///   empty limiter takes 16 KiB.
/// - Requests evict counters, a few at a time. If no requests come, memory stays as it is.
/// - Callers choose their addresses. So at most 65,536 counters of peers are kept, and further peers replace
///   those of peers that are full again soon. Counters of clients and keys stay.
/// - Takes, peeks and refunds of a known subject allocate no memory.
/// - A [calendar window](super::Limit#calendar-windows) begins at zero, and the log warns once, because a restart forgets it.
///   Its counters stay until the window ends.
///
/// # Examples
///
/// ```
/// use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject};
///
/// static LIMITS: Limits = Limits::new(&[Limit::per_hour("hour", 2)]);
/// let limiter = Limiter::in_process();
/// let ask = Ask::new(Subject::Client("ci"), &LIMITS);
/// let passed = || limiter.take(&ask).ready().is_some_and(|taken| taken.is_passed());
/// assert_eq!([passed(), passed(), passed()], [true, true, false]);
///
/// limiter.refund(&ask);
/// assert!(passed());
/// ```
#[derive(Clone)]
#[must_use]
pub struct Limiter(Store);

/// The store in the process needs no dynamic call.
#[derive(Clone)]
enum Store {
    InProcess(Arc<InProcess>),
    Other(Arc<dyn LimitStore>),
}

impl Limiter {
    /// Creates a limiter with counters in the memory of this process, and with the monotonic clock.
    pub fn in_process() -> Self {
        Self::counting(Clock::monotonic(), WallClock::System)
    }

    /// Creates a limiter in the process with a clock of your own, for tests.
    ///
    /// The clock returns the time since any fixed moment. If it steps back, a subject that is limited then
    /// waits at most for the full refill of its limits. The limiter calls the clock under a lock, so the clock
    /// must not call the limiter.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};
    /// use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject};
    ///
    /// static LIMITS: Limits = Limits::new(&[Limit::per_hour("hour", 1)]);
    /// let hours = Arc::new(AtomicU64::new(0));
    /// let clock = hours.clone();
    /// let limiter = Limiter::with_clock(move || Duration::from_secs(3_600 * clock.load(Ordering::Relaxed)));
    ///
    /// let ask = Ask::new(Subject::Client("ci"), &LIMITS);
    /// let passed = || limiter.take(&ask).ready().is_some_and(|taken| taken.is_passed());
    /// assert_eq!([passed(), passed()], [true, false]);
    /// hours.store(1, Ordering::Relaxed);
    /// assert!(passed());
    /// ```
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self::counting(Clock::custom(clock), WallClock::System)
    }

    /// Creates a limiter in the process with clocks of your own, for tests of calendar windows.
    ///
    /// The second clock tells the date. [`with_clock`](Self::with_clock) says more about the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Outcome, Subject};
    ///
    /// static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 1)]);
    /// // One hour before the end of 1 January 1970.
    /// let date = || SystemTime::UNIX_EPOCH + Duration::from_secs(23 * 3_600);
    /// let limiter = Limiter::with_clocks(|| Duration::ZERO, date);
    ///
    /// let ask = Ask::new(Subject::Client("ci"), &LIMITS);
    /// let take = || limiter.take(&ask).ready().map(|taken| taken.outcome());
    /// assert_eq!(take(), Some(Outcome::Passed));
    /// assert_eq!(take(), Some(Outcome::Limited { limit: 0, wait: Duration::from_secs(3_600) }));
    /// ```
    pub fn with_clocks(
        clock: impl Fn() -> Duration + Send + Sync + 'static,
        date: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self::counting(Clock::custom(clock), WallClock::custom(date))
    }

    fn counting(clock: Clock, wall: WallClock) -> Self {
        Self(Store::InProcess(Arc::new(InProcess::new(clock, wall))))
    }

    /// Creates a limiter with a store of your own. [`LimitStore`] has an example.
    pub fn new(store: impl LimitStore) -> Self {
        Self(Store::Other(Arc::new(store)))
    }

    /// Takes the cost of a request from each limit, if each limit allows it.
    #[inline]
    pub fn take(&self, ask: &Ask<'_>) -> Taking {
        match &self.0 {
            Store::InProcess(store) if ask.limits().has_calendar() => {
                Taking::Ready(store.take_with_windows(ask))
            }
            // Inlined, so that the result of most requests is not copied.
            Store::InProcess(store) => Taking::Ready(if let [limit] = ask.limits().as_slice() {
                let One { wait, debt } = store.take_one(ask, limit);
                match wait {
                    0 if !ask.wants_state() => Taken::passed(),
                    _ => taken(ask, Verdict { wait, limit: 0 }, &[debt]),
                }
            } else {
                let mut debts = [0; Limits::MAX];
                let verdict = store.take_all(ask, &mut debts);
                match verdict.wait {
                    0 if !ask.wants_state() => Taken::passed(),
                    _ => taken(ask, verdict, &debts),
                }
            }),
            Store::Other(store) => store.take(ask),
        }
    }

    /// Gives the cost of a take back, for example after a server error.
    ///
    /// A limit never holds more than its burst. Call this at most once for each take that passed, with the same
    /// ask. If time passed since the take, add [`Ask::with_taken`], because time gave a part back already.
    pub fn refund(&self, ask: &Ask<'_>) {
        match &self.0 {
            Store::InProcess(store) => store.refund(ask),
            Store::Other(store) => store.refund(ask),
        }
    }

    /// Returns the recent time of the counters, or of this process.
    pub(super) fn recent(&self) -> u64 {
        static PROCESS: LazyLock<Clock> = LazyLock::new(Clock::monotonic);

        match &self.0 {
            Store::InProcess(store) => store.recent(),
            Store::Other(_) => PROCESS.recent(),
        }
    }

    /// Returns the state of each limit without a take.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::limit::{Limit, Limiter, Limits, Subject};
    ///
    /// static LIMITS: Limits = Limits::new(&[Limit::per_hour("hour", 100)]);
    /// # async fn example() {
    /// let limiter = Limiter::in_process();
    /// let taken = limiter.peek(Subject::Client("ci"), &LIMITS).await;
    /// for state in taken.states(&LIMITS) {
    ///     println!("{}: {} remaining", state.name, state.remaining);
    /// }
    /// # }
    /// ```
    #[inline]
    pub fn peek(&self, subject: Subject<'_>, limits: &Limits) -> Taking {
        self.take(&Ask::peek(subject, limits))
    }
}

/// Returns the result of a take that was limited, or that wants the state.
#[inline(never)]
fn taken(ask: &Ask<'_>, verdict: Verdict, debts: &[u64]) -> Taken {
    let mut taken = match verdict.wait {
        0 => Taken::passed(),
        gcra::FOREVER => Taken::never(verdict.limit),
        wait => Taken::limited(verdict.limit, gcra::duration(wait)),
    };
    if ask.wants_state() {
        let cost = if verdict.wait == 0 { ask.cost() } else { 0 };
        for (i, (limit, debt)) in ask.limits().iter().zip(debts).enumerate() {
            let (remaining, until_more) = gcra::state(debt + gcra::of_cost(cost, limit), limit);
            taken.set_state(i, remaining, gcra::seconds(until_more));
        }
    }
    taken
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}
