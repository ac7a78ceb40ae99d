//! The script against a list of all requests, by a server whose clock the test sets.

use std::{collections::HashMap, time::Duration};

use proptest::{collection::vec, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject};
use tower_api_key_test_servers::RedisServer;

use crate::{
    limit_list::{Lists, Now, state},
    support::{burst, ci, limiter, passes, remaining, take, wait},
};

pub(crate) const HOUR: u64 = 3_600_000_000;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Intervals are whole milliseconds, so that a history often meets the very instant.
fn limits() -> impl Strategy<Value = Limits> {
    let limit = (prop::sample::select(vec![1, 2, 4, 5, 10, 20]), 1..30_u32, 0..5_usize);
    vec(limit, 1..=4).prop_map(|limits| {
        let limit = |((quota, burst, window), name)| match window {
            0 => Limit::per_second(name, quota).burst(burst),
            1 => Limit::per_minute(name, quota).burst(burst),
            2 => Limit::per_hour(name, quota).burst(burst),
            3 => Limit::per_day(name, quota),
            _ => Limit::per_month(name, quota),
        };
        Limits::try_new(limits.into_iter().zip(["a", "b", "c", "d"]).map(limit)).unwrap()
    })
}

/// The time since the step before in milliseconds, the client, the cost, and whether the state is wanted.
fn steps() -> impl Strategy<Value = Vec<(u64, usize, u32, bool)>> {
    let later = prop_oneof![
        4 => Just(0), 3 => 0..4_000_u64, 2 => 0..90_000_000_u64, 1 => 0..3_000_000_000_u64
    ];
    let cost = prop_oneof![6 => Just(1), 2 => 0..4_u32, 1 => 0..40_u32];
    vec((later, 0..2_usize, cost, any::<bool>()), 1..60)
}

#[tokio::test]
async fn the_script_agrees_with_a_list_through_days_and_months() {
    let mut now = 19_800 * DAY + 23 * HOUR;
    let server = RedisServer::start_with_clock(now);
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
    for _ in 0..60 {
        let plan = limits().new_tree(&mut runner).unwrap().current();
        let steps = steps().new_tree(&mut runner).unwrap().current();
        server.command(&["FLUSHALL"]);
        let mut lists: HashMap<usize, Lists> = HashMap::new();
        let mut history = Vec::new();
        let mut redis = limiter(&server.url());
        for (later, client, cost, wants_state) in steps {
            now += later * 1_000;
            server.set_clock(now);
            history.push((later, client, cost));
            let id = client.to_string();
            let ask = Ask::new(Subject::Client(&id), &plan).with_cost(cost);
            let ask = if wants_state { ask.with_state() } else { ask };
            let list = lists.entry(client).or_insert_with(|| Lists::new(&plan));
            let at = Now { clock: now, wall: now };
            let (taken, expected) = (take(&redis, &ask).await, list.take(at, cost));
            assert_eq!(taken.outcome(), expected, "{plan:?} {history:?}");
            if wants_state {
                let states: Vec<_> = taken.states(&plan).map(state).collect();
                assert_eq!(states, list.states(at), "{plan:?} {history:?}");
            }
            if !taken.is_passed() {
                // The store remembers the client, and its clock is that of this process.
                redis = limiter(&server.url());
            }
        }
    }
}

#[tokio::test]
async fn a_day_and_a_month_end_at_midnight_in_utc() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 2), Limit::per_month("month", 3)]);
    // 28 February of a leap year, an hour before midnight.
    let evening = (58 * 365 + 14 + 58) * DAY + 23 * HOUR;
    let server = RedisServer::start_with_clock(evening);
    let redis = limiter(&server.url());
    assert_eq!(burst(&redis, &ci(&LIMITS)).await, 2);
    let after = async |micros: u64| {
        server.set_clock(evening + micros);
        // It remembers nothing.
        limiter(&server.url())
    };
    let redis = after(HOUR - 1).await;
    assert_eq!(wait(&redis, &ci(&LIMITS)).await, Duration::from_micros(1));
    let redis = after(HOUR).await;
    assert_eq!(burst(&redis, &ci(&LIMITS)).await, 1, "of the month");
    assert!(wait(&redis, &ci(&LIMITS)).await > Duration::from_secs(86_390));
    let redis = after(HOUR + DAY).await;
    assert_eq!(burst(&redis, &ci(&LIMITS)).await, 2, "1 March");
    // The counters of February are gone, and those of March go with their windows.
    let keys = server.command(&["KEYS", "*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
    server.set_clock(evening + HOUR + 32 * DAY + 301_000_000);
    assert_eq!(server.command(&["KEYS", "*"]), "");
}

#[tokio::test]
async fn a_clock_that_was_ahead_blocks_nobody_and_a_small_step_back_gives_nothing() {
    static LIMITS: Limits =
        Limits::new(&[Limit::per_minute("minute", 5), Limit::per_day("day", 5)]);
    let midnight = 20_000 * DAY;
    let server = RedisServer::start_with_clock(midnight + 60_000_000);
    assert_eq!(burst(&limiter(&server.url()), &ci(&LIMITS)).await, 5);
    server.set_clock(midnight - 120_000_000);
    let redis = limiter(&server.url());
    assert_eq!(remaining(&redis, &ci(&LIMITS)).await, [0, 0]);
    assert_eq!(wait(&redis, &ci(&LIMITS)).await, Duration::from_secs(86_520));
    // A year back. The limits wait for their full refill at most.
    server.set_clock(midnight - 365 * DAY);
    let redis = limiter(&server.url());
    assert_eq!(remaining(&redis, &ci(&LIMITS)).await, [0, 5]);
    assert_eq!(wait(&redis, &ci(&LIMITS)).await, Duration::from_secs(12));
    server.set_clock(midnight - 365 * DAY + 60_000_000);
    let redis = limiter(&server.url());
    assert_eq!(burst(&redis, &ci(&LIMITS)).await, 5, "the counter moved down to the full refill");
}

#[tokio::test]
async fn a_refund_gives_back_and_a_late_one_less() {
    static LIMITS: Limits =
        Limits::new(&[Limit::per_minute("minute", 60), Limit::per_day("day", 9)]);
    let noon = 20_000 * DAY + 12 * HOUR;
    let server = RedisServer::start_with_clock(noon);
    let redis = limiter(&server.url());
    let ask = ci(&LIMITS).with_cost(5).with_state();
    let taken = take(&redis, &ask).await;
    assert_eq!(remaining(&redis, &ci(&LIMITS)).await, [55, 4]);
    server.set_clock(noon + 2_000_000);
    // The store takes the age of the connection for the time since the take, and its clock runs.
    refund(&redis, &ask).await;
    assert_eq!(remaining(&redis, &ci(&LIMITS)).await, [60, 9]);
    assert!(passes(&redis, &ask).await);
    server.set_clock(noon + 13 * HOUR);
    assert!(passes(&redis, &ci(&LIMITS).with_cost(2)).await);
    let ask = ask.with_taken(&taken, Duration::from_nanos(1));
    refund(&redis, &ask).await;
    assert_eq!(remaining(&redis, &ci(&LIMITS)).await, [60, 9], "of this day");
}

/// A refund runs in the background, and on the same connection. So a later answer follows it.
async fn refund(redis: &Limiter, ask: &Ask<'_>) {
    redis.refund(ask);
    tokio::task::yield_now().await;
    remaining(redis, ask).await;
}
