//! The oracle: states of keys, views of replicas, and the judgement of an answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{SECOND, now, replica::FRESH};

pub const REPLICAS: usize = 3;

/// The longest time after a fault in which the lookup of a request that was sent before can still fail.
const LOOKUP: u64 = 5 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Accept,
    Reject,
    /// A change is under way, or its outcome is not known.
    Either,
}

/// A key and its state.
pub struct Key {
    pub id: String,
    pub text: String,
    pub is_small: bool,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
pub struct State {
    pub expect: Expect,
    /// The acknowledgement of the last change.
    pub since: u64,
    /// The acknowledgement of the state before, or zero.
    before: u64,
    /// Grows with each change.
    epoch: u64,
    /// The replica that made the change.
    by: Option<usize>,
    /// The instances that have answered by this state.
    seen: [u64; REPLICAS],
}

impl Key {
    pub fn new(id: String, text: String, expect: Expect, by: Option<usize>) -> Self {
        let state = State { expect, since: now(), before: 0, epoch: 0, by, seen: [0; REPLICAS] };
        Self { id, text, is_small: false, state: Mutex::new(state) }
    }

    /// Returns a valid key that never changes, and that every replica must know.
    pub fn valid_always(text: String) -> Self {
        let key = Self::new(String::new(), text, Expect::Accept, None);
        key.state.lock().unwrap().since = 0;
        key
    }

    pub fn state(&self) -> State {
        *self.state.lock().unwrap()
    }

    pub fn set(&self, expect: Expect, by: Option<usize>) {
        let mut state = self.state.lock().unwrap();
        let epoch = state.epoch + 1;
        let before = if state.expect == Expect::Either { state.before } else { state.since };
        *state = State { expect, since: now(), before, epoch, by, seen: [0; REPLICAS] };
    }

    fn saw(&self, epoch: u64, replica: usize, instance: u64) {
        let mut state = self.state.lock().unwrap();
        if state.epoch == epoch {
            state.seen[replica] = instance;
        }
    }
}

/// A replica as the oracle sees it.
pub struct Replica {
    pub number: usize,
    pub is_cached: bool,
    pub port: u16,
    view: Mutex<View>,
    /// Accepted requests of the running process.
    pub accepted: AtomicU64,
}

#[derive(Clone)]
pub struct View {
    /// Grows with each start of the process.
    pub instance: u64,
    contact: u64,
    previous: u64,
    /// The cause of the fault, until the replica has recovered.
    pub cause: Option<&'static str>,
    last_cause: &'static str,
    fault_ended: Option<u64>,
    pub calm_since: u64,
    pub is_killed: bool,
    pub memory: u64,
}

impl Replica {
    pub fn new(number: usize, is_cached: bool, port: u16) -> Self {
        let view = View {
            instance: 1,
            contact: 0,
            previous: 0,
            cause: Some("start"),
            last_cause: "start",
            fault_ended: Some(now()),
            calm_since: u64::MAX,
            is_killed: false,
            memory: 0,
        };
        Self { number, is_cached, port, view: Mutex::new(view), accepted: AtomicU64::new(0) }
    }

    pub fn view(&self) -> View {
        self.view.lock().unwrap().clone()
    }

    /// Begins a fault between this replica and the database.
    pub fn disturb(&self, cause: &'static str) {
        let mut view = self.view.lock().unwrap();
        (view.cause, view.last_cause, view.fault_ended) = (Some(cause), cause, None);
    }

    /// Ends the fault. The replica recovers later.
    pub fn relieve(&self) {
        self.view.lock().unwrap().fault_ended = Some(now());
    }

    pub fn killed(&self) {
        let mut view = self.view.lock().unwrap();
        view.instance += 1;
        (view.contact, view.previous, view.is_killed) = (0, 0, true);
        self.accepted.store(0, Relaxed);
    }

    /// Notes the status of a replica, or that there was none. Returns a complaint.
    pub fn note(
        &self,
        instance: u64,
        status: Option<(u64, bool, u64)>,
        recovery: u64,
    ) -> Option<String> {
        let mut view = self.view.lock().unwrap();
        if view.instance != instance {
            return None;
        }
        if let Some((contact, has_problem, memory)) = status {
            view.memory = memory;
            if contact > view.contact {
                view.previous = view.contact;
                view.contact = contact;
            }
            let ended = view.fault_ended.is_some_and(|ended| contact > ended);
            if view.cause.is_some() && ended && !has_problem {
                (view.cause, view.calm_since, view.is_killed) = (None, now(), false);
            }
        }
        let late = view.fault_ended.filter(|ended| now() > ended + recovery)?;
        let cause = view.cause.take()?;
        (view.calm_since, view.is_killed) = (now(), false);
        let seconds = (now() - late) / SECOND;
        Some(format!("replica {} has not recovered from `{cause}` in {seconds} s", self.number))
    }
}

/// All that the tasks share.
pub struct Ground {
    pub replicas: Vec<Replica>,
    pub keys: RwLock<Vec<Arc<Key>>>,
    pub bound: u64,
    /// The longest recovery after a fault.
    pub recovery: u64,
    pub tally: Tally,
}

#[derive(Default)]
pub struct Tally {
    pub requests: AtomicU64,
    pub accepted: AtomicU64,
    pub unanswered: AtomicU64,
    pub small: AtomicU64,
    pub wrong: AtomicU64,
    pub wrongs: Mutex<Vec<String>>,
    pub counts: Mutex<BTreeMap<String, u64>>,
    pub changes: Mutex<BTreeMap<String, u64>>,
    pub faults: Mutex<BTreeMap<&'static str, u64>>,
    /// Times from commit to rejection, without and with a fault.
    pub times: [Mutex<Vec<u64>>; 2],
}

impl Tally {
    pub fn wrong(&self, what: String) {
        self.wrong.fetch_add(1, Relaxed);
        let mut wrongs = self.wrongs.lock().unwrap();
        if wrongs.len() < 20 {
            eprintln!("WRONG: {what}");
            wrongs.push(what);
        }
    }

    pub fn count(&self, what: impl Into<String>) {
        *self.counts.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    pub fn changed(&self, what: impl Into<String>) {
        *self.changes.lock().unwrap().entry(what.into()).or_default() += 1;
    }
}

/// A request before it is sent.
pub struct Sent<'a> {
    ground: &'a Ground,
    key: &'a Key,
    replica: &'a Replica,
    state: State,
    view: View,
    at: u64,
}

impl<'a> Sent<'a> {
    pub fn new(ground: &'a Ground, key: &'a Key, replica: &'a Replica) -> Self {
        Self { ground, key, replica, state: key.state(), view: replica.view(), at: now() }
    }

    /// Returns whether the replica must know the state of the key.
    fn must_know(&self) -> bool {
        let Self { ground, replica, state, view, .. } = self;
        let bound = ground.bound;
        let calm = view.cause.is_none()
            && self.at > state.since.max(view.calm_since).saturating_add(bound);
        let fresh = u64::try_from(FRESH.as_micros()).unwrap();
        let is_stale = replica.is_cached && state.expect == Expect::Reject;
        state.by == Some(replica.number)
            || state.seen[replica.number] == view.instance
            || view.previous > state.since
            || calm
            || (is_stale && self.at > state.since + fresh + bound)
    }

    /// Judges an answer.
    pub fn judge(&self, status: Option<u16>) {
        let Self { ground, key, replica, state, view, .. } = self;
        let (tally, after) = (&ground.tally, replica.view());
        tally.requests.fetch_add(1, Relaxed);
        let name = if replica.is_cached { "Cached" } else { "Mirrored" };
        let wrong = |what: &str| {
            let (age, expect) = (now().saturating_sub(state.since) / 1000, state.expect);
            let cause = view.cause.unwrap_or("no fault");
            tally.wrong(format!(
                "replica {} ({name}) {what} {}: {expect:?} since {age} ms, {cause}, last contacts {} and {} ms after the change",
                replica.number,
                key.id,
                signed(view.previous, state.since),
                signed(view.contact, state.since),
            ));
        };
        let Some(status) = status else {
            tally.unanswered.fetch_add(1, Relaxed);
            tally.count(format!("{name} killed, no answer"));
            if view.instance == after.instance && !view.is_killed && !after.is_killed {
                wrong("gave no answer");
            }
            return;
        };
        if status != 503 {
            tally.count(format!("{name} {status}"));
        }
        if matches!(status, 200 | 429) {
            tally.accepted.fetch_add(1, Relaxed);
            if view.instance == after.instance {
                replica.accepted.fetch_add(1, Relaxed);
            }
        }
        if status == 200 && key.is_small {
            tally.small.fetch_add(1, Relaxed);
        }
        match status {
            503 if !replica.is_cached => wrong("answered 503"),
            503 => {
                let is_recent = self.at < after.calm_since.saturating_add(LOOKUP);
                match view.cause.or(after.cause).or(is_recent.then_some(after.last_cause)) {
                    Some(cause) => tally.count(format!("Cached 503 because of `{cause}`")),
                    None => wrong("answered 503 without a cause"),
                }
            }
            429 if !key.is_small => wrong("answered 429"),
            200 | 401 | 429 => {
                if key.state().epoch != state.epoch || state.expect == Expect::Either {
                    return tally
                        .count("… not judged, because the key changed meanwhile or is in doubt");
                }
                let is_accepted = status != 401;
                if is_accepted == (state.expect == Expect::Accept) {
                    // Otherwise the answer can be that of an older state, which was the same.
                    if state.before == 0 || view.previous > state.before {
                        key.saw(state.epoch, replica.number, view.instance);
                    }
                } else if self.must_know() {
                    wrong(if is_accepted { "accepted a bad key" } else { "rejected a good key" });
                } else if is_accepted {
                    tally.count("… accepted before the replica had to know of the change");
                } else {
                    tally.count("… rejected before the replica had to know of the change");
                }
            }
            _ => wrong(&format!("answered {status}")),
        }
    }
}

fn signed(one: u64, other: u64) -> i64 {
    (i64::try_from(one).unwrap() - i64::try_from(other).unwrap()) / 1000
}
