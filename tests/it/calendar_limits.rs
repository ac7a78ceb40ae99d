//! Limits for each day and month, in the process.

#![cfg(feature = "limit")]

use crate::support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, extract::Request, routing::get};
use proptest::{collection::vec, prelude::*};
use support::{
    block_on,
    limit_list::{Lists, Now, state},
};
use tower::ServiceExt;
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    error::ConfigErrorKind,
    extract::header,
    limit::{
        Ask, CalendarWindow, ClientLimitLayer, Limit, Limiter, Limits, Outcome, RateLimitHeaders,
        Subject, Taken,
    },
};

const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

/// 28 February 2028, 23:00. The year is a leap year.
const BEFORE_LEAP_DAY: u64 = (58 * 365 + 14 + 58) * DAY + 23 * HOUR;

/// Two clocks that a test sets, in microseconds.
#[derive(Clone)]
struct Hands {
    clock: Arc<AtomicU64>,
    wall: Arc<AtomicU64>,
}

impl Hands {
    fn at(wall: u64) -> Self {
        Self { clock: Arc::default(), wall: Arc::new(AtomicU64::new(wall)) }
    }

    fn advance(&self, micros: u64) {
        self.clock.fetch_add(micros, Relaxed);
        self.wall.fetch_add(micros, Relaxed);
    }

    fn set_wall(&self, wall: u64) {
        self.wall.store(wall, Relaxed);
    }

    fn now(&self) -> Now {
        Now { clock: self.clock.load(Relaxed), wall: self.wall.load(Relaxed) }
    }

    fn limiter(&self) -> Limiter {
        let (one, other) = (self.clone(), self.clone());
        Limiter::with_clocks(
            move || Duration::from_micros(one.now().clock),
            move || SystemTime::UNIX_EPOCH + Duration::from_micros(other.now().wall),
        )
    }
}

fn ci(limits: &Limits) -> Ask<'_> {
    Ask::new(Subject::Client("ci"), limits)
}

fn take(limiter: &Limiter, ask: &Ask<'_>) -> Taken {
    limiter.take(ask).ready().unwrap()
}

fn peek(limiter: &Limiter, ask: &Ask<'_>) -> Taken {
    limiter.peek(ask.subject(), ask.limits()).ready().unwrap()
}

fn passes(limiter: &Limiter, ask: &Ask<'_>) -> bool {
    take(limiter, ask).is_passed()
}

fn burst(limiter: &Limiter, ask: &Ask<'_>) -> u32 {
    (0..).find(|_| !passes(limiter, ask)).unwrap()
}

#[track_caller]
fn wait(limiter: &Limiter, ask: &Ask<'_>) -> Duration {
    match take(limiter, ask).outcome() {
        Outcome::Limited { wait, .. } => wait,
        other => panic!("{other:?}"),
    }
}

fn remaining(limiter: &Limiter, limits: &Limits) -> Vec<u32> {
    peek(limiter, &ci(limits)).states(limits).map(|state| state.remaining).collect()
}

/// Their intervals are whole milliseconds, so that a history often meets the very instant.
fn limits() -> impl Strategy<Value = Limits> {
    let limit = (prop::sample::select(vec![1, 2, 4, 5, 10, 20]), 1..30_u32, 0..5_usize);
    vec(limit, 1..=4).prop_map(|limits| {
        let limits = limits.into_iter().zip(["a", "b", "c", "d"]);
        let limit = |((quota, burst, window), name)| match window {
            0 => Limit::per_second(name, quota).burst(burst),
            1 => Limit::per_minute(name, quota).burst(burst),
            2 => Limit::per_hour(name, quota).burst(burst),
            3 => Limit::per_day(name, quota),
            _ => Limit::per_month(name, quota),
        };
        Limits::try_new(limits.map(limit)).unwrap()
    })
}

proptest! {
    #![proptest_config(support::cases(120))]

    #[test]
    fn the_limiter_agrees_with_a_list_through_days_months_and_steps_of_the_clock(
        plan in limits(),
        start in 0..60 * 365_u64,
        steps in vec(
            (
                prop_oneof![4 => Just(0), 3 => 0..4_000_u64, 2 => 0..90_000_000_u64, 1 => 0..3_000_000_000_u64],
                prop_oneof![12 => Just(0), 1 => -400_000..400_000_i64, 1 => -90_000_000..90_000_000_i64],
                0..2_usize,
                prop_oneof![6 => Just(1), 2 => 0..4_u32, 1 => 0..40_u32],
            ),
            1..100,
        ),
    ) {
        let hands = Hands::at(start * DAY + DAY - HOUR);
        let limiter = hands.limiter();
        let mut lists: HashMap<usize, Lists> = HashMap::new();
        let mut latest = 0;
        for (later, step, client, cost) in steps {
            hands.advance(later * 1_000);
            latest = latest.max(hands.now().wall);
            hands.set_wall(hands.now().wall.saturating_add_signed(step * 1_000));
            latest = latest.max(hands.now().wall);
            let id = client.to_string();
            let ask = Ask::new(Subject::Client(&id), &plan).with_cost(cost).with_state();
            let list = lists.entry(client).or_insert_with(|| Lists::new(&plan));
            let states: Vec<_> = peek(&limiter, &ask).states(&plan).map(state).collect();
            list.forget_ended(hands.now(), latest.saturating_sub(5 * HOUR / 60), &states);
            let taken = take(&limiter, &ask);
            prop_assert_eq!(taken.outcome(), list.take(hands.now(), cost));
            let states: Vec<_> = taken.states(&plan).map(state).collect();
            prop_assert_eq!(&states, &list.states(hands.now()));
            prop_assert!(peek(&limiter, &ask).states(&plan).map(state).eq(states));
        }
    }
}

#[test]
fn a_day_and_a_month_end_at_midnight() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 2), Limit::per_month("month", 5)]);
    let hands = Hands::at(BEFORE_LEAP_DAY);
    let limiter = hands.limiter();
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 2);
    assert_eq!(
        take(&limiter, &ci(&LIMITS)).outcome(),
        Outcome::Limited { limit: 0, wait: Duration::from_secs(3_600) }
    );
    hands.advance(HOUR - 1);
    assert_eq!(wait(&limiter, &ci(&LIMITS)), Duration::from_micros(1));
    hands.advance(1);
    // 29 February.
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 2);
    hands.advance(DAY);
    // 1 March, and another month.
    assert_eq!((burst(&limiter, &ci(&LIMITS)), remaining(&limiter, &LIMITS)), (2, vec![0, 3]));
    hands.advance(DAY);
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 2);
    hands.advance(DAY);
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 1);
    let until_april = Duration::from_secs(29 * 86_400);
    assert_eq!(
        take(&limiter, &ci(&LIMITS)).outcome(),
        Outcome::Limited { limit: 1, wait: until_april }
    );
}

#[test]
fn a_step_back_across_midnight_gives_no_quota_and_a_wrong_clock_blocks_nobody() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 5)]);
    let midnight = 20_000 * DAY;
    let hands = Hands::at(midnight + HOUR / 60);
    let limiter = hands.limiter();
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 5);
    for back in [2, 3, 4, 5] {
        hands.set_wall(midnight - (back - 1) * HOUR / 60);
        assert!(!passes(&limiter, &ci(&LIMITS)), "{back} minutes");
    }
    assert_eq!(wait(&limiter, &ci(&LIMITS)), Duration::from_secs(86_400 + 240));
    // The clock was a year ahead.
    hands.set_wall(midnight - 365 * DAY);
    assert_eq!(burst(&limiter, &ci(&LIMITS)), 5);
    assert!(wait(&limiter, &ci(&LIMITS)) <= Duration::from_secs(86_400));
}

#[test]
fn a_refund_goes_to_the_window_of_its_take() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 5), Limit::per_hour("hour", 60)]);
    let hands = Hands::at(20_000 * DAY + 12 * HOUR);
    let limiter = hands.limiter();
    let ask = ci(&LIMITS).with_cost(3).with_state();
    let taken = take(&limiter, &ask);
    limiter.refund(&ask.with_taken(&taken, Duration::from_secs(60)));
    assert_eq!(remaining(&limiter, &LIMITS), [5, 59], "a minute gave one request of the hour back");
    assert!(passes(&limiter, &ask));
    hands.advance(DAY);
    assert!(passes(&limiter, &ci(&LIMITS)));
    limiter.refund(&ask.with_taken(&taken, Duration::from_secs(86_400)));
    assert_eq!(remaining(&limiter, &LIMITS)[0], 4, "the take was yesterday");
    // A count never falls below zero.
    limiter.refund(&ask);
    limiter.refund(&ask);
    assert_eq!(remaining(&limiter, &LIMITS)[0], 5);
}

#[test]
fn another_plan_continues_the_count_of_the_same_window() {
    let plan = |limit| Limits::try_new([limit]).unwrap();
    let limiter = Hands::at(20_000 * DAY).limiter();
    let (large, small) = (plan(Limit::per_day("a", 10)), plan(Limit::per_day("a", 4)));
    assert!(passes(&limiter, &ci(&large).with_cost(6)));
    assert_eq!((remaining(&limiter, &small), remaining(&limiter, &large)), (vec![0], vec![4]));
    assert!(passes(&limiter, &ci(&small).with_cost(0)), "nothing is taken");
    // Other windows of the same name have counts of their own.
    for other in [Limit::per_month("a", 10), Limit::per_hour("a", 10)] {
        assert_eq!(remaining(&limiter, &plan(other)), [10]);
    }
}

#[test]
fn all_limits_of_both_kinds_are_taken_or_none() {
    static LIMITS: Limits =
        Limits::new(&[Limit::per_second("second", 2), Limit::per_day("day", 3)]);
    let hands = Hands::at(20_000 * DAY);
    let limiter = hands.limiter();
    assert_eq!((burst(&limiter, &ci(&LIMITS)), remaining(&limiter, &LIMITS)), (2, vec![0, 1]));
    hands.advance(1_000_000);
    assert_eq!((burst(&limiter, &ci(&LIMITS)), remaining(&limiter, &LIMITS)), (1, vec![1, 0]));
    assert_eq!(take(&limiter, &ci(&LIMITS).with_cost(4)).outcome(), Outcome::Never { limit: 0 });
}

#[test]
fn memory_is_free_again_after_the_window() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 1)]);
    let hands = Hands::at(20_000 * DAY);
    let limiter = hands.limiter();
    for number in 0..2_000 {
        assert!(passes(&limiter, &Ask::new(Subject::Client(&number.to_string()), &LIMITS)));
    }
    // Sweeps leave the counters of today, also if the other clock is far ahead.
    for _ in 0..2_000 {
        hands.clock.fetch_add(1_000_000, Relaxed);
        assert!(!passes(&limiter, &Ask::new(Subject::Client("7"), &LIMITS)));
    }
    for number in 0..2_000 {
        assert!(!passes(&limiter, &Ask::new(Subject::Client(&number.to_string()), &LIMITS)));
    }
}

#[test]
fn a_calendar_limit_has_no_burst_and_shares_the_rules_of_names() {
    let kind = |result: Result<Limit, _>| {
        let error: tower_api_key::error::ConfigError = result.unwrap_err();
        error.kind()
    };
    assert_eq!(kind(Limit::per_day("a", 5).try_burst(2)), ConfigErrorKind::CalendarBurst);
    assert_eq!(kind(Limit::try_per_day("a", 0)), ConfigErrorKind::LimitQuota);
    assert_eq!(kind(Limit::try_per_month("", 1)), ConfigErrorKind::LimitName);
    let twice = Limits::try_new([Limit::per_day("a", 1), Limit::per_hour("a", 1)]);
    assert_eq!(twice.unwrap_err().kind(), ConfigErrorKind::DuplicateLimit);
    let month = Limit::try_per_month("month", 7).unwrap();
    assert_eq!(month, Limit::per_month("month", 7));
    assert_eq!((month.calendar(), month.capacity()), (Some(CalendarWindow::Month), 7));
    assert_eq!(month.window(), Duration::from_secs(31 * 86_400));
}

#[test]
fn headers_and_retry_after_name_the_end_of_the_window() {
    static LIMITS: Limits = Limits::new(&[Limit::per_day("day", 1), Limit::per_hour("hour", 100)]);
    let limiter = Hands::at(20_000 * DAY + 23 * HOUR + 500).limiter();
    let keys = Keyring::single("12345abcde").unwrap();
    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(
            ClientLimitLayer::new(limiter, |_: &Client| &LIMITS).headers(RateLimitHeaders::Always),
        )
        .layer(ApiKeyLayer::new(header("x-api-key"), keys));
    let send = || {
        let request = Request::get("/").header("x-api-key", "12345abcde").body(Body::empty());
        block_on(app.clone().oneshot(request.unwrap())).unwrap()
    };
    let (accepted, limited) = (send(), send());
    let field = |name: &str| limited.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!((accepted.status().as_u16(), limited.status().as_u16()), (200, 429));
    assert_eq!(accepted.headers()["ratelimit"], r#""day";r=0;t=3600, "hour";r=99;t=36"#);
    assert_eq!(field("ratelimit"), r#""day";r=0;t=3600, "hour";r=99;t=36"#);
    assert_eq!(field("ratelimit-policy"), r#""day";q=1;w=86400, "hour";q=100;w=3600"#);
    assert_eq!(field("retry-after"), "3600");
}

#[cfg(feature = "tracing")]
#[test]
fn the_log_warns_once_of_a_window_in_the_process() {
    static DAY: Limits = Limits::new(&[Limit::per_day("day", 9)]);
    static HOUR: Limits = Limits::new(&[Limit::per_hour("hour", 9)]);
    let log = support::log::Log::default();
    let capture = log.capture();
    let limiter = Limiter::in_process();
    assert!(passes(&limiter, &ci(&HOUR)));
    assert_eq!(log.text(), "");
    for _ in 0..3 {
        assert!(passes(&limiter, &ci(&DAY)));
    }
    drop(capture);
    let lines = log.text();
    assert_eq!(lines.matches("counts in this process alone").count(), 1, "{lines}");
}
