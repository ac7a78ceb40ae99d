use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{Equivalent, sync::Cache};
use tower_api_key::limit::{Ask, Limits, Subject, Taken};

use crate::{
    counted::{Counted, longest_wait, with_states},
    owned_ask::OwnedSubject,
};

/// The most subjects that are remembered.
const CAPACITY: usize = 16_384;

/// Redis is asked again after this time, because another replica may have given a request back.
const LONGEST: Duration = Duration::from_secs(10);

/// The subjects over a limit, whose requests need no answer of Redis.
pub(crate) struct Over(Cache<OwnedSubject, Arc<Entry>>);

/// The counters of a subject when a request was over a limit.
struct Entry {
    at: Instant,
    limits: Limits,
    cost: u32,
    counters: Box<[Counted]>,
}

/// Finds a subject without an allocation.
#[derive(Hash)]
struct Borrowed<'a> {
    kind: &'static str,
    id: &'a str,
}

impl Equivalent<OwnedSubject> for Borrowed<'_> {
    fn equivalent(&self, subject: &OwnedSubject) -> bool {
        let subject = subject.borrow();
        self.kind == subject.kind() && self.id == subject.id()
    }
}

impl Over {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Returns the result of an ask, if its subject is known to be over the same limits.
    pub(crate) fn find(&self, ask: &Ask<'_>) -> Option<Taken> {
        let entry = self.0.get(&borrowed(ask.subject()))?;
        let age = entry.at.elapsed();
        // A smaller cost may pass, and other limits have other waits.
        let is_same =
            ask.cost() >= entry.cost && ask.limits().as_slice() == entry.limits.as_slice();
        if age >= LONGEST || !is_same {
            return None;
        }
        let counters = entry.counters.iter().map(|it| it.later(age)).collect::<Option<Vec<_>>>()?;
        let taken = longest_wait(&counters, &entry.limits, ask.cost())?;
        Some(if ask.wants_state() {
            with_states(taken, &counters, &entry.limits, 0)
        } else {
            taken
        })
    }

    /// Remembers a subject. The time is that before Redis was asked, so that a wait never becomes longer.
    pub(crate) fn insert(
        &self,
        subject: OwnedSubject,
        limits: Limits,
        cost: u32,
        at: Instant,
        counters: Box<[Counted]>,
    ) {
        self.0.insert(subject, Arc::new(Entry { at, limits, cost, counters }));
    }

    pub(crate) fn forget(&self, subject: Subject<'_>) {
        self.0.remove(&borrowed(subject));
    }
}

fn borrowed(subject: Subject<'_>) -> Borrowed<'_> {
    Borrowed { kind: subject.kind(), id: subject.id() }
}
