use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use super::{
    UsageRow,
    clock::{Clock, Minute},
    counts::Event,
    row::{LastUse, Subject},
    shared::Shared,
};
use crate::{
    client::Identity,
    observe::{Decision, Observe, Outcome},
    rejection::Rejection,
};

/// Counts the requests of each key by hour, as an observer.
///
/// Clones share the counts. Give one clone to the layer, and read the counts from another. The
/// [module](super) has an example.
#[derive(Clone)]
pub struct Usage {
    pub(super) shared: Arc<Shared>,
}

impl Usage {
    /// Creates a `Usage` without counts. It keeps 48 hours and at most 100,000 keys.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Creates a builder, for other bounds or another clock.
    pub fn builder() -> UsageBuilder {
        UsageBuilder { hours: 48, max_keys: 100_000, clock: Clock::system() }
    }

    /// Returns a row for each key and hour, sorted by client, key and hour.
    ///
    /// The current hour is one of them. This walks through all keys, so call it in an admin route and not for
    /// every request.
    #[must_use]
    pub fn snapshot(&self) -> Vec<UsageRow> {
        self.shared.rows(|_| true)
    }

    /// Returns the rows of one client, sorted by key and hour.
    ///
    /// If the layer has only rejected a key, its rows are missing, because a rejection does not name the client.
    /// They are in [`snapshot`](Self::snapshot).
    #[must_use]
    pub fn of_client(&self, client: &str) -> Vec<UsageRow> {
        self.shared.rows(|subject| subject.client() == Some(client))
    }

    /// Returns the minute of the last accepted request with a key.
    ///
    /// This returns `None` if the layer has not accepted the key since [`since`](Self::since).
    #[must_use]
    pub fn last_used(&self, key_id: &str) -> Option<SystemTime> {
        self.shared.last_used(key_id).time()
    }

    /// Returns the keys without a use since a time, except those without any use. The longest unused key comes first.
    ///
    /// This knows only uses since this `Usage` was created. If the time is earlier, the list is empty, because no
    /// key is then known to be unused. If a key has changed its client, the later use counts. The list has no key
    /// that was never used. To find those keys as well, ask [`last_used`](Self::last_used) for each record of your
    /// keyring, after a look at [`since`](Self::since).
    ///
    /// # Example: keys that an operator may revoke
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_api_key::{Keyring, usage::Usage};
    ///
    /// # let (keys, usage) = (Keyring::<tower_api_key::Client>::new(), Usage::new());
    /// let month_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 60 * 60);
    /// if usage.since() <= month_ago {
    ///     let unused = keys.records().filter(|record| {
    ///         let is_older = record.created().is_none_or(|created| created < month_ago);
    ///         let last_used = record.id().and_then(|id| usage.last_used(id));
    ///         is_older && last_used.is_none_or(|at| at < month_ago)
    ///     });
    ///     unused.for_each(|record| println!("{:?}", record.id()));
    /// }
    /// ```
    #[must_use]
    pub fn unused_since(&self, time: SystemTime) -> Vec<LastUse> {
        let uses = self.shared.last_uses();
        let mut last_of_key: HashMap<Box<str>, Minute> = HashMap::new();
        for (subject, minute) in &uses {
            if let Some(id) = subject.key_id() {
                let last = last_of_key.entry(id.into()).or_insert(*minute);
                *last = (*last).max(*minute);
            }
        }
        let is_last = |(subject, minute): &(Subject, Minute)| {
            subject.key_id().is_none_or(|id| last_of_key.get(id) == Some(minute))
        };
        let uses = uses.into_iter().filter(is_last);
        let uses = uses.filter_map(|(subject, minute)| Some(LastUse::new(subject, minute.time()?)));
        let is_key = |it: &LastUse| !matches!(it.subject(), Subject::Unknown | Subject::Overflow);
        let mut unused: Vec<_> = uses.filter(|it| is_key(it) && it.at() < time).collect();
        unused.sort_by(|a, b| a.at().cmp(&b.at()).then_with(|| a.subject().cmp(b.subject())));
        unused
    }

    /// Returns the minute since which the last use of every key is known.
    ///
    /// This is the minute in which this `Usage` was created. If it has more keys than
    /// [`max_keys`](UsageBuilder::max_keys), it is the minute after the latest use that is not known any more.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.shared.since()
    }

    /// Returns a random name of this `Usage`. Every batch has it.
    ///
    /// It is new at each start of a process, so that a store can tell a new batch from a repeated one.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.shared.instance()
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Identity> Observe<C> for Usage {
    #[inline]
    fn on_decision(&self, decision: &Decision<'_, C>) {
        match (decision.client(), decision.outcome()) {
            (Some(client), Outcome::Accepted) => {
                self.shared.count(client.key_id(), client.id(), Event::Accepted);
            }
            (_, Outcome::Rejected) => {
                let key_id = decision.rejection().and_then(Rejection::key_id);
                self.shared.count_without_client(key_id, Event::Rejected);
            }
            _ => {}
        }
    }

    fn on_guard(&self, decision: &Decision<'_, C>) {
        let event = match decision.outcome() {
            Outcome::Limited => Event::Limited,
            Outcome::Forbidden => Event::Forbidden,
            _ => return,
        };
        match decision.client() {
            Some(client) => self.shared.count(client.key_id(), client.id(), event),
            None => self.shared.count_without_client(None, event),
        }
    }

    /// Needs no start, because `Usage` has a clock of its own.
    fn start(&self) -> Option<std::time::Instant> {
        None
    }
}

/// Shows the number of keys, and no count.
impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("keys", &self.shared.keys())
            .field("since", &self.since())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Usage`] with other bounds or another clock. [`Usage::builder`] creates it.
///
/// # Examples
///
/// ```
/// use tower_api_key::usage::Usage;
///
/// let usage = Usage::builder().hours(7 * 24).max_keys(10_000).build();
/// ```
#[must_use]
pub struct UsageBuilder {
    hours: u32,
    max_keys: usize,
    clock: Clock,
}

impl UsageBuilder {
    /// Sets how many hours stay in memory, with the current hour. The default is 48, and the minimum is 1.
    pub fn hours(self, hours: u32) -> Self {
        Self { hours: hours.max(1), ..self }
    }

    /// Sets how many keys have counts of their own. The default is 100,000.
    ///
    /// All further keys share the total [`Overflow`](Subject::Overflow). If the table is full, the first new key of
    /// each hour removes the keys whose hours are over. With a writer, a key stays until its counts are written.
    ///
    /// If a verifier of your own returns ids of keys that it has not verified, strangers can fill the table. See
    /// [`VerifyError::with_key_id`](crate::verify::VerifyError::with_key_id).
    pub fn max_keys(self, max_keys: usize) -> Self {
        Self { max_keys, ..self }
    }

    /// Sets the clock, for tests. By default this is the clock of the system.
    ///
    /// Every event reads the clock once.
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::injected(now), ..self }
    }

    /// Builds a `Usage` without counts.
    #[must_use]
    pub fn build(self) -> Usage {
        Usage { shared: Arc::new(Shared::new(self.clock, self.hours, self.max_keys)) }
    }
}

/// Shows the bounds.
impl fmt::Debug for UsageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageBuilder")
            .field("hours", &self.hours)
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}
