//! The limiter in the process: against two oracles, by threads, and with bad input.

#![cfg(feature = "limit")]

use crate::support;

use std::{
    cell::Cell,
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter, clock::FakeRelativeClock, middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use proptest::{collection::vec, prelude::*};
use support::block_on;
use tower_api_key::{
    error::{ConfigError, ConfigErrorKind},
    limit::{Ask, Limit, LimitState, LimitStore, Limiter, Limits, Outcome, Subject, Taken, Taking},
};

const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 86_400 * SECOND;

/// A clock that a test sets, in nanoseconds.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn at(nanos: u64) -> Self {
        Self(Arc::new(AtomicU64::new(nanos)))
    }

    fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn advance(&self, nanos: u64) {
        self.set(self.now() + nanos);
    }

    fn limiter(&self) -> Limiter {
        let clock = self.clone();
        Limiter::with_clock(move || Duration::from_nanos(clock.now()))
    }
}

fn ci(limits: &Limits) -> Ask<'_> {
    Ask::new(Subject::Client("ci"), limits)
}

fn take(limiter: &Limiter, ask: &Ask<'_>) -> Taken {
    limiter.take(ask).ready().expect("the limiter is in the process")
}

fn outcome(limiter: &Limiter, ask: &Ask<'_>) -> Outcome {
    take(limiter, ask).outcome()
}

fn passes(limiter: &Limiter, ask: &Ask<'_>) -> bool {
    outcome(limiter, ask) == Outcome::Passed
}

/// The number of requests that pass at once.
fn burst(limiter: &Limiter, ask: &Ask<'_>) -> u32 {
    (0..).find(|_| !passes(limiter, ask)).unwrap()
}

fn wait(limiter: &Limiter, ask: &Ask<'_>) -> Duration {
    match outcome(limiter, ask) {
        Outcome::Limited { wait, .. } => wait,
        other => panic!("{other:?}"),
    }
}

fn states(limiter: &Limiter, subject: Subject<'_>, limits: &Limits) -> Vec<LimitState> {
    limiter.peek(subject, limits).ready().unwrap().states(limits).collect()
}

fn remaining(limiter: &Limiter, limits: &Limits) -> Vec<u32> {
    states(limiter, Subject::Client("ci"), limits).iter().map(|state| state.remaining).collect()
}

fn kind<T>(result: Result<T, ConfigError>) -> ConfigErrorKind {
    result.err().expect("an error").kind()
}

// Oracles.

/// The first oracle: a list of all requests that passed, for one limit of one client.
///
/// A request passes if, from each earlier request on, no more passed than the burst and the refill since
/// then.
#[derive(Default)]
struct List(Vec<(u64, u64)>);

impl List {
    /// In nanoseconds. Intervals are whole nanoseconds.
    fn wait(&self, limit: &Limit, now: u64, cost: u64) -> u64 {
        let interval = limit.window().as_nanos() as u64 / u64::from(limit.quota());
        let (mut wait, mut since_then) = (0, cost);
        for (at, cost) in self.0.iter().rev() {
            since_then += cost;
            let allowed = u64::from(limit.capacity()) * interval + (now - at);
            wait = wait.max((since_then * interval).saturating_sub(allowed));
        }
        wait
    }
}

/// One step of a random history.
#[derive(Clone, Debug)]
struct Step {
    /// In milliseconds.
    later: u64,
    client: usize,
    cost: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![4 => Just(0), 4 => 0..400_u64, 1 => 0..20_000_u64];
    let cost = prop_oneof![6 => Just(1), 2 => 0..4_u32, 1 => 0..40_u32];
    let step = (later, 0..3_usize, cost);
    vec(step.prop_map(|(later, client, cost)| Step { later, client, cost }), 1..120)
}

/// Their intervals are whole milliseconds, so that a history often meets the very instant.
fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let quota = prop::sample::select(vec![1, 2, 4, 5, 10, 20]);
    let limit = (quota, 1..30_u32, 0..3_usize);
    vec(limit, 1..=3).prop_map(|limits| {
        let limits = limits.into_iter().zip(["a", "b", "c"]);
        let limit = |((quota, burst, window), name)| {
            let limit = match window {
                0 => Limit::per_second(name, quota),
                1 => Limit::per_minute(name, quota),
                _ => Limit::per_hour(name, quota),
            };
            limit.burst(burst)
        };
        limits.map(limit).collect()
    })
}

proptest! {
    #![proptest_config(support::cases(600))]

    #[test]
    fn the_limiter_agrees_with_a_list_of_all_requests(list in limits(), steps in steps()) {
        let limits = Limits::try_new(list.clone()).unwrap();
        let hand = Hand::default();
        let limiter = hand.limiter();
        let mut lists: HashMap<(usize, &str), List> = HashMap::new();
        for Step { later, client, cost } in steps {
            hand.advance(later * 1_000_000);
            let id = client.to_string();
            let ask = Ask::new(Subject::Client(&id), &limits).with_cost(cost).with_state();

            let mut expected = (Outcome::Passed, 0);
            for (limit, it) in list.iter().enumerate() {
                if cost > it.capacity() {
                    expected = (Outcome::Never { limit }, u64::MAX);
                    break;
                }
                let asked = lists.entry((client, it.name())).or_default();
                let nanos = asked.wait(it, hand.now(), cost.into());
                if nanos > expected.1 {
                    expected = (Outcome::Limited { limit, wait: Duration::from_nanos(nanos) }, nanos);
                }
            }
            let taken = take(&limiter, &ask);
            prop_assert_eq!(taken.outcome(), expected.0);
            if taken.is_passed() && cost > 0 {
                for it in &list {
                    lists.entry((client, it.name())).or_default().0.push((hand.now(), cost.into()));
                }
            }

            // The state afterwards: exactly so many pass, and one more after the time.
            for (it, state) in list.iter().zip(taken.states(&limits)) {
                let asked = lists.entry((client, it.name())).or_default();
                let wait = |cost| asked.wait(it, hand.now(), u64::from(cost));
                let remaining = (0..=it.capacity()).rev().find(|cost| wait(*cost) == 0).unwrap();
                let is_full = remaining == it.capacity();
                let until_more = if is_full { 0 } else { wait(remaining + 1).div_ceil(SECOND) };
                let until_more = Duration::from_secs(until_more);
                let name = it.name();
                let expected = (name, remaining, until_more, is_full);
                prop_assert_eq!((state.name, state.remaining, state.until_more, state.is_full), expected);
            }
            let peeked = limiter.peek(ask.subject(), &limits).ready().unwrap();
            prop_assert!(peeked.states(&limits).eq(taken.states(&limits)));
        }
    }

    #[test]
    fn the_limiter_agrees_with_governor(
        quota in prop::sample::select(vec![1, 2, 5, 8, 1_000, 15_625]),
        burst in 1..30_u32,
        steps in steps(),
    ) {
        let limits = Limits::try_new([Limit::per_second("a", quota).burst(burst)]).unwrap();
        let hand = Hand::default();
        let limiter = hand.limiter();
        let of = |number| NonZeroU32::new(number).unwrap();
        let clock = FakeRelativeClock::default();
        let store: HashMapStateStore<usize> = HashMapStateStore::default();
        let quota = Quota::per_second(of(quota)).allow_burst(of(burst));
        let governor = RateLimiter::<usize, _, _, NoOpMiddleware<_>>::new(quota, store, clock.clone());
        for Step { later, client, cost } in steps {
            hand.advance(later * 1_000_003);
            clock.advance(Duration::from_nanos(later * 1_000_003));
            let id = client.to_string();
            let ask = Ask::new(Subject::Client(&id), &limits).with_cost(cost.max(1));
            let expected = match governor.check_key_n(&client, of(cost.max(1))) {
                Err(_) => Outcome::Never { limit: 0 },
                Ok(Ok(())) => Outcome::Passed,
                Ok(Err(until)) => {
                    let now = governor::clock::Clock::now(&clock);
                    Outcome::Limited { limit: 0, wait: until.wait_time_from(now) }
                }
            };
            prop_assert_eq!(outcome(&limiter, &ask), expected);
        }
    }

    // The third oracle is a bucket of tokens, in nanoseconds, because a list knows no refund and no other plan.
    #[test]
    fn the_limiter_agrees_with_a_bucket_through_refunds_and_changes_of_plan(
        plans in vec(limits(), 3),
        steps in vec((0..3_usize, 0..3_u64, 0..2_000_u64, 0..6_u32), 1..150),
    ) {
        let plans: Vec<_> = plans.into_iter().map(|it| Limits::try_new(it).unwrap()).collect();
        let hand = Hand::default();
        let limiter = hand.limiter();
        // The debt of each limit, and the time at which it was that.
        let mut debts: HashMap<&str, (u64, u64)> = HashMap::new();
        for (plan, action, later, cost) in steps {
            hand.advance(later * 1_000_000);
            let (now, limits) = (hand.now(), &plans[plan]);
            let interval = |it: &Limit| it.window().as_nanos() as u64 / u64::from(it.quota());
            let refill = |it: &Limit| interval(it) * u64::from(it.capacity());
            let debt = |it: &Limit| {
                let (debt, at) = debts.get(it.name()).copied().unwrap_or_default();
                debt.saturating_sub(now - at).min(refill(it))
            };
            let before: Vec<_> = limits.iter().map(|it| (*it, debt(it))).collect();
            let ask = ci(limits).with_cost(cost);
            if action == 0 {
                limiter.refund(&ask);
                for (it, debt) in before {
                    let back = interval(&it) * u64::from(cost);
                    debts.insert(it.name(), (debt.saturating_sub(back), now));
                }
                continue;
            }
            let fits = |(it, debt): &(Limit, u64)| debt + interval(it) * u64::from(cost) <= refill(it);
            let all_fit = before.iter().all(fits);
            prop_assert_eq!(passes(&limiter, &ask), all_fit);
            for (it, debt) in before {
                let more = if all_fit { interval(&it) * u64::from(cost) } else { 0 };
                // A request that takes nothing changes nothing, even if the plan is smaller.
                if cost > 0 {
                    debts.insert(it.name(), (debt + more, now));
                }
            }
        }
    }
}

// Several limits.

#[test]
fn all_limits_are_taken_or_none() {
    let (hand, limits) =
        (Hand::default(), [Limit::per_minute("a", 60).burst(5), Limit::per_hour("b", 3)]);
    let (limits, limiter) = (Limits::try_new(limits).unwrap(), hand.limiter());
    assert_eq!(burst(&limiter, &ci(&limits)), 3);
    for _ in 0..100 {
        let (limit, wait) = (1, Duration::from_secs(1_200));
        assert_eq!(outcome(&limiter, &ci(&limits)), Outcome::Limited { limit, wait });
    }
    assert_eq!(remaining(&limiter, &limits), [2, 0], "a rejected request takes nothing");
    // A part of the limits, in another order, shares the counters.
    let part = Limits::try_new([limits.as_slice()[0]]).unwrap();
    assert_eq!(burst(&limiter, &ci(&part)), 2);
    let reversed = Limits::try_new(limits.iter().rev().copied()).unwrap();
    assert_eq!(remaining(&limiter, &reversed), [0, 0]);
}

#[test]
fn the_longest_wait_is_reported() {
    let limits = [Limit::per_second("a", 1), Limit::per_hour("b", 1), Limit::per_minute("c", 1)];
    let (limits, limiter) = (Limits::try_new(limits).unwrap(), Hand::default().limiter());
    assert!(passes(&limiter, &ci(&limits)));
    let (limit, wait) = (1, Duration::from_secs(3_600));
    assert_eq!(outcome(&limiter, &ci(&limits)), Outcome::Limited { limit, wait });
}

#[test]
fn a_wait_is_never_too_early_and_at_most_a_nanosecond_too_late() {
    for (quota, nanos) in
        [(3, 333_333_334), (7, 142_857_143), (1_000_000, 1_000), (4_000_000_000, 1)]
    {
        let limits = Limits::try_new([Limit::per_second("a", quota).burst(1)]).unwrap();
        let hand = Hand::default();
        let limiter = hand.limiter();
        assert!(passes(&limiter, &ci(&limits)));
        assert_eq!(wait(&limiter, &ci(&limits)), Duration::from_nanos(nanos), "{quota}");
        hand.advance(nanos - 1);
        assert!(!passes(&limiter, &ci(&limits)), "{quota}");
        hand.advance(1);
        assert!(passes(&limiter, &ci(&limits)), "{quota}");
    }
}

#[test]
fn the_rate_over_a_long_time_is_the_quota() {
    for (quota, at_least) in
        [(3_u32, 0.96), (999_983, 0.9999), (99_999_989, 0.99), (4_000_000_000, 0.93)]
    {
        let limits = Limits::try_new([Limit::per_second("a", quota)]).unwrap();
        let (hand, mut passed) = (Hand::default(), 0.0);
        let limiter = hand.limiter();
        assert!(passes(&limiter, &ci(&limits).with_cost(quota)));
        for _ in 0..1_000 {
            hand.advance(SECOND / 100);
            let remaining = remaining(&limiter, &limits)[0];
            assert!(passes(&limiter, &ci(&limits).with_cost(remaining)));
            passed += f64::from(remaining);
        }
        let share = passed / 10.0 / f64::from(quota);
        assert!(share <= 1.0 && share >= at_least, "{quota}: {share}");
    }
}

// Subjects and names.

#[test]
fn a_counter_belongs_to_a_limiter_a_subject_and_a_name() {
    let limits = |name| Limits::try_new([Limit::try_per_hour(name, 1).unwrap()]).unwrap();
    let (a, b) = (limits("a"), limits("b"));
    let (one, other) = (Limiter::in_process(), Limiter::in_process());
    let subjects =
        [Subject::Client("ci"), Subject::Key("ci"), Subject::Peer("ci"), Subject::Client("")];
    for limiter in [&one, &other] {
        for subject in subjects {
            for limits in [&a, &b] {
                let ask = Ask::new(subject, limits);
                assert!(passes(limiter, &ask), "{subject:?}");
                assert!(!passes(limiter, &ask), "{subject:?}");
                assert!(!passes(&limiter.clone(), &ask), "clones share counters");
            }
        }
    }
}

#[test]
fn ids_of_any_length_have_counters_of_their_own() {
    let limits = Limits::new(const { &[Limit::per_hour("a", 1)] });
    let limiter = Limiter::in_process();
    let ids: Vec<_> = (0..60).map(|len| "ü".repeat(len)).collect();
    for passed in [true, false] {
        for id in &ids {
            assert_eq!(passes(&limiter, &Ask::new(Subject::Peer(id), &limits)), passed, "{id}");
        }
    }
}

// Refund and peek.

#[test]
fn a_refund_gives_back_what_was_taken_and_never_more_than_the_burst() {
    let hand = Hand::default();
    let limits =
        Limits::try_new([Limit::per_minute("a", 60).burst(5), Limit::per_hour("b", 4)]).unwrap();
    let limiter = hand.limiter();
    let ask = ci(&limits).with_cost(2);
    assert!(passes(&limiter, &ask));
    limiter.refund(&ask);
    assert_eq!(remaining(&limiter, &limits), [5, 4]);
    limiter.refund(&ask);
    limiter.refund(&ask.with_cost(u32::MAX));
    limiter.refund(&Ask::new(Subject::Client("unknown"), &limits));
    assert_eq!(remaining(&limiter, &limits), [5, 4]);
    assert_eq!(burst(&limiter, &ci(&limits)), 4);
    hand.advance(2 * SECOND);
    // The first limit has three again. It has room for two more.
    limiter.refund(&ci(&limits).with_cost(4));
    assert_eq!(remaining(&limiter, &limits), [5, 4]);
}

#[test]
fn a_peek_takes_nothing_and_says_when_there_is_more() {
    let hand = Hand::default();
    let limits = Limits::try_new([Limit::per_minute("a", 6), Limit::per_hour("b", 1_000)]).unwrap();
    let limiter = hand.limiter();
    let peek = || -> Vec<_> {
        let states = states(&limiter, Subject::Client("ci"), &limits).into_iter();
        states.map(|it| (it.name, it.remaining, it.until_more.as_secs(), it.is_full)).collect()
    };
    for _ in 0..10 {
        assert_eq!(peek(), [("a", 6, 0, true), ("b", 1_000, 0, true)]);
    }
    assert_eq!(burst(&limiter, &ci(&limits)), 6);
    assert_eq!(peek(), [("a", 0, 10, false), ("b", 994, 4, false)]);
    hand.advance(9 * SECOND);
    assert_eq!(peek(), [("a", 0, 1, false), ("b", 996, 2, false)]);
    hand.advance(SECOND);
    assert_eq!(peek(), [("a", 1, 10, false), ("b", 996, 1, false)]);
    let taken = block_on(limiter.peek(Subject::Client("ci"), &limits));
    assert_eq!(taken.states(&limits).count(), 2, "a result is a future too");
    assert_eq!(take(&limiter, &ci(&limits)).states(&limits).count(), 0, "only if asked for");
}

// Bad input.

#[test]
fn wrong_limits_are_errors() {
    use ConfigErrorKind::{LimitBurst, LimitName, LimitQuota, LimitRefill};

    let long = "n".repeat(65);
    for name in ["", " ", "a b", "a\n", "\"", "a\\b", "é", "\u{7f}", &long] {
        assert_eq!(kind(Limit::try_per_second(name, 1)), LimitName, "{name:?}");
        assert_eq!(kind(Limit::try_per_minute(name, 1)), LimitName, "{name:?}");
        assert_eq!(kind(Limit::try_per_hour(name, 1)), LimitName, "{name:?}");
    }
    for name in ["a", "!", "per-minute_1.2:~", &long[1..]] {
        assert_eq!(Limit::try_per_second(name, 1).unwrap().name(), name);
    }
    assert_eq!(kind(Limit::try_per_second("a", 0)), LimitQuota);
    let one = Limit::per_hour("a", 1);
    assert_eq!(kind(one.try_burst(0)), LimitBurst);
    assert_eq!(one.try_burst(366 * 24).unwrap().capacity(), 366 * 24);
    assert_eq!(kind(one.try_burst(366 * 24 + 1)), LimitRefill);
    assert_eq!(kind(one.try_burst(u32::MAX)), LimitRefill);
    let most = Limit::per_second("a", u32::MAX).burst(u32::MAX);
    assert_eq!((most.quota(), most.capacity()), (u32::MAX, u32::MAX));
}

#[test]
fn wrong_lists_of_limits_are_errors() {
    use ConfigErrorKind::{DuplicateLimit, NoLimit, TooManyLimits};

    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let limits = |names: &[&str]| {
        Limits::try_new(names.iter().map(|name| Limit::try_per_hour(name, 1).unwrap()))
    };
    assert_eq!(kind(limits(&[])), NoLimit);
    assert_eq!(limits(&names[..Limits::MAX]).unwrap().as_slice().len(), 6);
    for end in [7, 8] {
        let error = limits(&names[..end]).unwrap_err();
        assert_eq!((error.kind(), error.position()), (TooManyLimits, Some(6)));
        assert_eq!(
            error.to_string(),
            format!("a list has at most {} limits (limit 7)", Limits::MAX)
        );
    }
    let error = limits(&["a", "b", "c", "b"]).unwrap_err();
    assert_eq!((error.kind(), error.position()), (DuplicateLimit, Some(3)));
    assert_eq!(error.to_string(), "two limits have one name (limit 4)");
    // It reads no more than it needs.
    let endless = std::iter::repeat(Limit::per_hour("a", 1));
    assert_eq!(kind(Limits::try_new(endless)), TooManyLimits);
}

#[test]
fn a_wrong_literal_panics_at_start_up() {
    fn message(build: fn()) -> String {
        let panic = std::panic::catch_unwind(build).unwrap_err();
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap()
    }
    assert_eq!(message(|| _ = Limit::per_second("a", 0)), "the quota of a limit is at least 1");
    assert_eq!(
        message(|| _ = Limit::per_hour("a", 1).burst(0)),
        "the burst of a limit is at least 1"
    );
    assert!(message(|| _ = Limit::per_minute("a b", 1)).starts_with("the name of a limit"));
    assert_eq!(message(|| _ = Limits::new(&[])), "no limit is named");
    const TWICE: [Limit; 2] = [Limit::per_hour("a", 1), Limit::per_second("a", 1)];
    assert_eq!(message(|| _ = Limits::new(&TWICE)), "two limits have one name");
}

#[test]
fn a_name_from_configuration_is_kept_once() {
    let name = |text: &str| Limit::try_per_second(text, 1).unwrap().name();
    let text = format!("from-{}", "configuration");
    let (one, other) = (name(&text), name(&text));
    assert!(std::ptr::eq(one, other), "{one}");
    assert_eq!(
        Limit::try_per_second(&text, 1).unwrap(),
        Limit::per_second("from-configuration", 1)
    );
}

#[test]
fn the_cost_zero_passes_and_takes_nothing() {
    let limits = Limits::new(const { &[Limit::per_hour("a", 1)] });
    let limiter = Hand::default().limiter();
    for expected in [1, 0] {
        for _ in 0..5 {
            assert!(passes(&limiter, &ci(&limits).with_cost(0)));
        }
        assert_eq!(remaining(&limiter, &limits), [expected]);
        passes(&limiter, &ci(&limits));
    }
}

#[test]
fn a_cost_above_a_burst_never_passes_and_takes_nothing() {
    let limits = [Limit::per_hour("a", 1_000), Limit::per_hour("b", 5), Limit::per_hour("c", 4)];
    let (limits, limiter) = (Limits::try_new(limits).unwrap(), Hand::default().limiter());
    assert!(passes(&limiter, &ci(&limits)));
    for (cost, limit) in [(5, 2), (6, 1), (1_001, 0), (u32::MAX, 0)] {
        let taken = take(&limiter, &ci(&limits).with_cost(cost).with_state());
        assert_eq!(taken.outcome(), Outcome::Never { limit }, "{cost}");
        let remaining: Vec<_> = taken.states(&limits).map(|state| state.remaining).collect();
        assert_eq!(remaining, [999, 4, 3]);
    }
    // A request that is too expensive is not merely limited, even if another limit is exceeded.
    assert_eq!(burst(&limiter, &ci(&limits)), 3);
    assert_eq!(outcome(&limiter, &ci(&limits).with_cost(5)), Outcome::Never { limit: 2 });
    let most = Limits::new(const { &[Limit::per_second("a", u32::MAX)] });
    let limiter = Hand::default().limiter();
    assert!(passes(&limiter, &ci(&most).with_cost(u32::MAX)));
    assert!(!passes(&limiter, &ci(&most).with_cost(u32::MAX)));
}

#[test]
fn a_change_of_plan_waits_at_most_for_the_new_refill() {
    let (hand, plan) = (Hand::at(5 * YEAR), |limit| Limits::try_new([limit]).unwrap());
    let large = plan(Limit::per_hour("a", 1).burst(8_000));
    let small = plan(Limit::per_minute("a", 10));
    let limiter = hand.limiter();
    assert!(passes(&limiter, &ci(&large).with_cost(8_000)));
    assert_eq!(wait(&limiter, &ci(&small)), Duration::from_secs(6));
    assert_eq!(wait(&limiter, &ci(&small).with_cost(10)), Duration::from_secs(60));
    hand.advance(6 * SECOND);
    assert!(passes(&limiter, &ci(&small)));
    hand.advance(60 * SECOND);
    assert_eq!(burst(&limiter, &ci(&small)), 10);
    // Back again: the debt in time stays, so a larger limit passes more.
    assert_eq!(remaining(&limiter, &large), [7_999]);
}

#[test]
fn a_clock_that_jumps_locks_a_client_out_for_at_most_the_refill() {
    let limits = Limits::new(const { &[Limit::per_minute("a", 60), Limit::per_hour("b", 3_600)] });
    for (from, to) in [
        (YEAR, 0),
        (YEAR, YEAR - 1),
        (YEAR, 30 * SECOND),
        (0, YEAR),
        (17 * YEAR, 0),
        (0, 17 * YEAR),
    ] {
        let hand = Hand::at(from);
        let limiter = hand.limiter();
        assert_eq!(burst(&limiter, &ci(&limits)), 60);
        hand.set(to);
        if !passes(&limiter, &ci(&limits)) {
            assert_eq!(wait(&limiter, &ci(&limits)), Duration::from_secs(1), "{from} to {to}");
        }
        hand.advance(SECOND);
        assert!(passes(&limiter, &ci(&limits)), "{from} to {to}");
        hand.advance(59 * SECOND);
        assert!(burst(&limiter, &ci(&limits)) >= 59, "{from} to {to}");
        hand.set(from);
        passes(&limiter, &ci(&limits));
        hand.advance(3_600 * SECOND);
        assert_eq!(remaining(&limiter, &limits), [60, 3_600], "{from} to {to} and back");
    }
    // From the ends of all times, nothing panics.
    let hand = Hand::default();
    for start in [0, u64::MAX] {
        hand.set(start);
        let limiter = hand.limiter();
        for now in [u64::MAX, 0, u64::MAX / 2, u64::MAX, 1] {
            hand.set(now);
            passes(&limiter, &ci(&limits));
            limiter.refund(&ci(&limits));
            remaining(&limiter, &limits);
        }
    }
    let limiter = Limiter::with_clock(|| Duration::MAX);
    assert_eq!(burst(&limiter, &ci(&limits)), 60);
}

#[test]
fn a_clock_that_panics_once_does_not_break_the_limiter() {
    let calls = Arc::new(AtomicU32::new(0));
    let clock = calls.clone();
    // The first call is that of the constructor. The third runs under a lock.
    let limiter = Limiter::with_clock(move || {
        assert_ne!(clock.fetch_add(1, Ordering::Relaxed), 2, "on purpose");
        Duration::from_secs(1)
    });
    let limits = Limits::new(const { &[Limit::per_hour("a", 2)] });
    let taking = std::panic::AssertUnwindSafe(|| take(&limiter, &ci(&limits)));
    assert!(std::panic::catch_unwind(taking).is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(remaining(&limiter, &limits), [2]);
    assert_eq!(burst(&limiter, &ci(&limits)), 2);
    limiter.refund(&ci(&limits));
    assert_eq!(remaining(&limiter, &limits), [1]);
}

// Threads. The counters of a client change under one lock, so that no interleaving of single steps has to
// be explored. These tests show that the lock covers all of them.

/// Returns the time to wait, or nothing if the request passes.
fn take_or_wait(limiter: &Limiter, limits: &Limits) -> Option<Duration> {
    match outcome(limiter, &ci(limits)) {
        Outcome::Passed => None,
        Outcome::Limited { wait, .. } => Some(wait),
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_the_clock_of_the_system_a_request_passes_after_its_wait_and_not_long_before() {
    // The interval is shorter than the ticks of the kernel, so the coarse clock alone would reject too much.
    let one = Limits::new(const { &[Limit::per_second("a", 1_000).burst(1)] });
    let second = [Limit::per_second("a", 1_000).burst(1), Limit::per_second("b", u32::MAX)];
    let two = Limits::try_new(second).unwrap();
    for limits in [one, two] {
        let (limiter, started) = (Limiter::in_process(), Instant::now());
        for number in 1..=200 {
            if let Some(wait) = take_or_wait(&limiter, &limits) {
                assert!(wait <= Duration::from_millis(1), "{wait:?}");
                let limited = Instant::now();
                while limited.elapsed() < wait {
                    std::hint::spin_loop();
                }
                assert_eq!(take_or_wait(&limiter, &limits), None, "{number}");
            }
        }
        // If the kernel was late with a tick, the first request counts as earlier.
        assert!(started.elapsed() >= Duration::from_millis(199 - 100), "{:?}", started.elapsed());
    }
}

#[test]
fn of_64_requests_at_once_with_one_left_one_passes() {
    let limits = Limits::new(const { &[Limit::per_hour("a", 10), Limit::per_hour("b", 5)] });
    for _ in 0..200 {
        let limiter = Limiter::in_process();
        assert!(passes(&limiter, &ci(&limits).with_cost(4)));
        let start = Barrier::new(64);
        let passed: u32 = thread::scope(|scope| {
            let one = || {
                start.wait();
                u32::from(passes(&limiter, &ci(&limits)))
            };
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1);
        assert_eq!(remaining(&limiter, &limits), [5, 0], "nothing is lost");
    }
}

/// Threads take with changing limits and costs, and refund some of it. At a standing clock the sum is exact.
#[test]
fn threads_take_exactly_what_there_is() {
    const THREADS: u64 = 8;
    let all = [Limit::per_hour("a", 100_000), Limit::per_hour("b", 150_000)];
    let limits = Limits::try_new(all).unwrap();
    let reversed = Limits::try_new(all.into_iter().rev()).unwrap();
    let alone = Limits::try_new([all[1]]).unwrap();
    let limiter = Hand::default().limiter();
    let (both, only) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limits, reversed, alone, limiter) = (&limits, &reversed, &alone, &limiter);
            let (both, only, start) = (&both, &only, &start);
            scope.spawn(move || {
                let mut random = thread + 1;
                start.wait();
                for _ in 0..20_000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let cost = (random >> 40) as u32 % 4;
                    let (limits, sum) = match random >> 61 {
                        0..=2 => (limits, both),
                        3..=5 => (reversed, both),
                        _ => (alone, only),
                    };
                    let ask = ci(limits).with_cost(cost);
                    if !passes(limiter, &ask) {
                        continue;
                    }
                    if random >> 55 & 7 == 0 {
                        limiter.refund(&ask);
                    } else {
                        sum.fetch_add(cost.into(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (both, only) = (both.into_inner(), only.into_inner());
    let left = remaining(&limiter, &limits);
    assert!(both > 50_000 && only > 1_000, "{both} {only}");
    assert_eq!(left, [100_000 - both as u32, 150_000 - (both + only) as u32]);
}

/// With the real clock, while counters of full limits are removed all the time.
#[test]
fn threads_never_exceed_a_limit_while_counters_are_evicted() {
    // It is full again after 20 µs, so that its counter is evicted again and again.
    let limits = Limits::new(const { &[Limit::per_second("a", 100_000).burst(2)] });
    let limiter = Limiter::in_process();
    let (passed, started) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (limits, limiter, passed) = (&limits, &limiter, &passed);
            scope.spawn(move || {
                let mut number = 0;
                let few = || passed.load(Ordering::Relaxed) <= 1_000;
                while started.elapsed() < Duration::from_millis(400)
                    || few() && started.elapsed() < Duration::from_secs(30)
                {
                    passed.fetch_add(passes(limiter, &ci(limits)).into(), Ordering::Relaxed);
                    // Newcomers sweep the shards.
                    let id = format!("{thread}-{number}");
                    passes(limiter, &Ask::new(Subject::Peer(&id), limits));
                    number += 1;
                }
            });
        }
    });
    let most = started.elapsed().as_nanos() as u64 / 10_000 + 2;
    let passed = passed.into_inner();
    assert!(passed <= most && passed > 1_000, "{passed} of {most}");
}

/// A limiter whose clock stops a thread after the thread has read it, and until two barriers are passed.
fn stalling(hand: &Hand) -> (Limiter, Arc<[Barrier; 2]>) {
    let (clock, barriers) = (hand.clone(), Arc::new([Barrier::new(2), Barrier::new(2)]));
    let stops = barriers.clone();
    let limiter = Limiter::with_clock(move || {
        let now = clock.now();
        if STALLS.replace(false) {
            stops.iter().for_each(|stop| _ = stop.wait());
        }
        Duration::from_nanos(now)
    });
    (limiter, barriers)
}

thread_local! {
    static STALLS: Cell<bool> = const { Cell::new(false) };
}

/// Takes in a thread that reads the clock, then stalls while something happens, then continues.
fn take_stalled(
    limiter: &Limiter,
    ask: &Ask<'_>,
    stops: &[Barrier; 2],
    meanwhile: impl FnOnce(),
) -> bool {
    thread::scope(|scope| {
        let stalled = scope.spawn(|| {
            STALLS.set(true);
            passes(limiter, ask)
        });
        stops[0].wait();
        meanwhile();
        stops[1].wait();
        stalled.join().unwrap()
    })
}

static ONE_A_SECOND: Limits = Limits::new(&[Limit::per_second("a", 1)]);
static TWO_ONES_A_SECOND: Limits =
    Limits::new(&[Limit::per_second("a", 1), Limit::per_second("b", 1)]);

#[test]
fn a_stalled_thread_counts_even_if_its_counter_was_evicted_meanwhile() {
    for limits in [&ONE_A_SECOND, &TWO_ONES_A_SECOND] {
        let hand = Hand::default();
        let (limiter, stops) = stalling(&hand);
        assert!(passes(&limiter, &ci(limits)));
        hand.set(SECOND);
        let passed = take_stalled(&limiter, &ci(limits), &stops, || {
            for number in 0..2_000 {
                hand.advance(10_000_000);
                let id = number.to_string();
                assert!(passes(&limiter, &Ask::new(Subject::Peer(&id), limits)));
            }
        });
        assert!(passed);
        assert!(!passes(&limiter, &ci(limits)), "the thread's request is not lost");
    }
}

#[test]
fn a_stalled_thread_gives_nothing_back_that_was_taken_meanwhile() {
    for limits in [&ONE_A_SECOND, &TWO_ONES_A_SECOND] {
        let hand = Hand::default();
        let (limiter, stops) = stalling(&hand);
        assert!(passes(&limiter, &ci(limits)));
        let passed = take_stalled(&limiter, &ci(limits), &stops, || {
            hand.set(10 * SECOND);
            assert!(passes(&limiter, &ci(limits)));
        });
        assert!(!passed);
        assert!(!passes(&limiter, &ci(limits)), "the other thread's request still counts");
    }
}

// Stores of the user's own.

#[test]
fn a_store_of_ones_own_gets_every_call() {
    #[derive(Default)]
    struct Slow(Arc<AtomicU64>);

    impl LimitStore for Slow {
        fn take(&self, ask: &Ask<'_>) -> Taking {
            self.0.fetch_add(ask.cost().into(), Ordering::Relaxed);
            let taken =
                Taken::limited(7, Duration::MAX).with_state(0, 5, Duration::from_millis(1_001));
            let taken = taken.with_state(Limits::MAX, 1, Duration::ZERO);
            Taking::Pending(Box::pin(async move {
                tokio::task::yield_now().await;
                taken
            }))
        }

        fn refund(&self, ask: &Ask<'_>) {
            self.0.fetch_sub(ask.cost().into(), Ordering::Relaxed);
        }
    }

    let (limits, store) = (Limits::new(const { &[Limit::per_hour("a", 9)] }), Slow::default());
    let calls = store.0.clone();
    let limiter = Limiter::new(store);
    assert_eq!(limiter.take(&ci(&limits)).ready(), None);
    let taken = block_on(limiter.take(&ci(&limits).with_cost(3)));
    let wait = Duration::from_nanos(u64::MAX);
    assert_eq!(taken.outcome(), Outcome::Limited { limit: Limits::MAX - 1, wait });
    let states: Vec<_> = taken.states(&limits).collect();
    assert_eq!((states.len(), states[0].remaining, states[0].until_more.as_secs()), (1, 5, 2));
    limiter.refund(&ci(&limits));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(Taken::failed().outcome(), Outcome::Failed);
    assert_eq!(Taken::never(2).outcome(), Outcome::Never { limit: 2 });
    assert!(size_of::<Taken>() <= 64 && size_of::<Taking>() <= 64);
}
