//! `usage::Usage`: exact counts of each key and hour, within bounds.

#![cfg(feature = "usage")]

use crate::support;

use std::{
    collections::BTreeSet,
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Request;
use support::{KEY, OTHER, WRONG, ask, keys_of_three_clients as keys};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring, Rejection,
    extract::header,
    observe::{Decision, Observe},
    rejection::Reason,
    usage::{Counts, LastUse, Subject, Usage, UsageBuilder, UsageRow},
    verify::{self, PresentedKey, VerifyError},
};

const HOUR: u64 = 3600;

/// A Sunday in 2026 at noon, in seconds since 1970.
const NOON: u64 = 1_795_953_600;

/// A clock that a test sets.
#[derive(Clone, Debug)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn at_noon() -> Self {
        Self(Arc::new(AtomicU64::new(NOON)))
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> SystemTime {
        at(self.0.load(Ordering::Relaxed))
    }

    fn usage(&self) -> UsageBuilder {
        let clock = self.clone();
        Usage::builder().clock(move || clock.now())
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn counts(accepted: u64, rejected: u64, limited: u64, forbidden: u64) -> Counts {
    let mut counts = Counts::default();
    counts.accepted = accepted;
    counts.rejected = rejected;
    counts.limited = limited;
    counts.forbidden = forbidden;
    counts
}

/// Such as `ci CiCiCiK3 12h 3/0/0/0 12:00`: accepted, rejected, limited, forbidden, and the last use.
fn line(row: &UsageRow) -> String {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let owner = match row.subject() {
        Subject::Key { client, id, .. } => format!("{} {id}", client.as_deref().unwrap_or("-")),
        Subject::Client { id, .. } => format!("{id} -"),
        other => format!("{other:?}").to_lowercase(),
    };
    let Counts { accepted, rejected, limited, forbidden, .. } = row.counts();
    let last = row.last_used().map_or("-".to_owned(), |last| {
        let minute = seconds(last) % (24 * HOUR) / 60;
        assert_eq!(seconds(last) % 60, 0);
        format!("{}:{:02}", minute / 60, minute % 60)
    });
    assert_eq!(seconds(row.hour()) % HOUR, 0);
    let hour = seconds(row.hour()) as i64 / 3600 - (NOON / HOUR) as i64 + 12;
    format!("{owner} {hour}h {accepted}/{rejected}/{limited}/{forbidden} {last}")
}

fn lines(rows: &[UsageRow]) -> Vec<String> {
    rows.iter().map(line).collect()
}

fn get(key: &str) -> http::request::Builder {
    Request::get("/").header("x-api-key", key)
}

fn use_key(usage: &Usage, id: &str, client: &str) {
    usage.on_decision(&Decision::accepted(&Client::new(client).with_key_id(id)));
}

fn reject_key(usage: &Usage, id: &str) {
    let rejection: Rejection = VerifyError::expired().with_key_id(id).into();
    Observe::<Client>::on_decision(usage, &Decision::rejected(&rejection));
}

fn by_guard(usage: &Usage, reason: Reason, client: Option<&Client>) {
    usage.on_guard(&Decision::by_guard(&Rejection::new(reason), client));
}

#[test]
fn requests_are_counted_by_key_and_hour() {
    let clock = Clock::at_noon();
    let usage = clock.usage().build();
    let ring = keys();
    let layer = ApiKeyLayer::new(header("x-api-key"), ring.clone())
        .exempt_path("/health")
        .observe(usage.clone());
    let send = |key| {
        assert_eq!(ask(&layer, get(key)).status(), if ring_has(&ring, key) { 200 } else { 401 })
    };
    for key in [KEY, KEY, OTHER, "key-to-be-revoked", WRONG, WRONG] {
        send(key);
    }
    ask(&layer, Request::get("/"));
    ask(&layer, Request::get("/health"));
    ask(&layer.clone().optional(), Request::get("/"));
    ask(&layer.clone().dangerous_report_only(), get(WRONG));
    clock.pass(59 * 60 + 59);
    send(KEY);
    clock.pass(1);
    send(KEY);
    send("the-new-key-of-the-mobile-app");
    assert!(ring.revoke_key("OldKey01"));
    send(KEY);

    assert_eq!(
        lines(&usage.snapshot()),
        [
            "- FormerK4 12h 0/1/0/0 -",
            "ci CiCiCiK3 12h 1/0/0/0 12:00",
            "mobile-app NewKey02 13h 1/0/0/0 13:00",
            "mobile-app OldKey01 12h 3/0/0/0 12:59",
            "mobile-app OldKey01 13h 1/1/0/0 13:00",
            "unknown 12h 0/3/0/0 -",
        ]
    );
    assert_eq!(lines(&usage.of_client("ci")), ["ci CiCiCiK3 12h 1/0/0/0 12:00"]);
    let app: Counts = usage.of_client("mobile-app").iter().map(UsageRow::counts).sum();
    assert_eq!(app, counts(5, 1, 0, 0));
    assert!(usage.of_client("nobody").is_empty() && usage.of_client("").is_empty());

    assert_eq!(usage.last_used("OldKey01"), Some(at(NOON + HOUR)));
    assert_eq!(usage.last_used("CiCiCiK3"), Some(at(NOON)));
    assert_eq!((usage.last_used("FormerK4"), usage.last_used("")), (None, None));
    let unused = usage.unused_since(at(NOON + 60));
    assert_eq!(unused.iter().map(LastUse::key_id).collect::<Vec<_>>(), [Some("CiCiCiK3")]);
    assert_eq!((unused[0].client(), unused[0].at()), (Some("ci"), at(NOON)));
    assert_eq!((usage.since(), usage.unused_since(usage.since()).len()), (at(NOON), 0));
}

fn ring_has(ring: &Keyring, key: &str) -> bool {
    ring.record_by_digest(&KeyDigest::of(key)).is_some_and(|it| it.revoked().is_none())
}

#[test]
fn rejections_by_guards_are_counted_beside_accepted_requests() {
    let usage = Clock::at_noon().usage().build();
    let ci = Client::new("ci").with_key_id("CiCiCiK3");
    usage.on_decision(&Decision::accepted(&ci));
    for reason in [Reason::Limited, Reason::Limited, Reason::InsufficientScope, Reason::Forbidden] {
        by_guard(&usage, reason, Some(&ci));
    }
    // A guard that fails is a matter of metrics.
    by_guard(&usage, Reason::Failed, Some(&ci));
    by_guard(&usage, Reason::Limited, None);
    assert_eq!(
        lines(&usage.snapshot()),
        ["ci CiCiCiK3 12h 1/0/2/2 12:00", "unknown 12h 0/0/1/0 -"]
    );
}

#[test]
fn a_key_without_an_id_counts_by_client() {
    #[derive(Clone)]
    struct Tenant(&'static str);

    impl Identity for Tenant {
        fn id(&self) -> &str {
            self.0
        }
    }

    let usage = Clock::at_noon().usage().build();
    let verify = verify::from_fn(|key: &PresentedKey<'_>| {
        (key.expose() != b"wrong").then_some(Tenant("acme"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), verify).observe(usage.clone());
    for key in ["one-key-of-acme", "another-key-of-acme", "wrong"] {
        ask(&layer, get(key));
    }
    // The same text as the id of a key is another owner.
    use_key(&usage, "acme", "acme");
    reject_key(&usage, "acme");
    let unused = usage.unused_since(at(NOON + 1));
    assert_eq!(unused.len(), 2);
    assert_eq!(
        lines(&usage.snapshot()),
        ["acme acme 12h 1/1/0/0 12:00", "acme - 12h 2/0/0/0 12:00", "unknown 12h 0/1/0/0 -"]
    );
    assert_eq!(usage.of_client("acme").len(), 2);
}

#[test]
fn two_clients_with_a_key_of_one_id_have_counts_of_their_own() {
    let clock = Clock::at_noon();
    let usage = clock.usage().build();
    reject_key(&usage, "k1");
    use_key(&usage, "k1", "a");
    assert_eq!(usage.last_used("k1"), Some(at(NOON)));
    // Only one client is known, so the rejection counts for that client.
    assert_eq!(lines(&usage.snapshot()), ["a k1 12h 1/1/0/0 12:00"]);
    clock.pass(60);
    use_key(&usage, "k1", "b");
    assert_eq!(usage.last_used("k1"), Some(at(NOON + 60)));
    assert_eq!(
        lines(&usage.snapshot()),
        ["- k1 12h 0/1/0/0 -", "a k1 12h 1/0/0/0 12:00", "b k1 12h 1/0/0/0 12:01"]
    );
    // The bounds between two texts count, and so does every byte of an id.
    for (id, client) in
        [("k", "1a"), ("k1b", "x"), ("12345678", "x"), ("12345679", "x"), ("123456789", "x")]
    {
        use_key(&usage, id, client);
        use_key(&usage, id, client);
        let rows = usage.of_client(client);
        let row = rows.iter().find(|row| row.key_id() == Some(id)).unwrap();
        assert_eq!(row.counts(), counts(2, 0, 0, 0), "{id} of {client}");
        assert!(usage.last_used(id).is_some());
    }
}

#[test]
fn only_the_last_hours_stay() {
    let clock = Clock::at_noon();
    let usage = clock.usage().hours(3).build();
    for _ in 0..5 {
        use_key(&usage, "CiCiCiK3", "ci");
        clock.pass(HOUR);
    }
    // At 17 o'clock these are the hours from 15 to 17, and 17 has no request yet.
    let last = ["ci CiCiCiK3 15h 1/0/0/0 15:00", "ci CiCiCiK3 16h 1/0/0/0 16:00"];
    assert_eq!(lines(&usage.snapshot()), last);
    clock.pass(10 * HOUR);
    assert_eq!(lines(&usage.snapshot()), [""; 0]);
    assert_eq!(usage.last_used("CiCiCiK3"), Some(at(NOON + 4 * HOUR)));
}

#[test]
fn a_clock_that_jumps_loses_no_count() {
    let clock = Clock::at_noon();
    let usage = clock.usage().hours(3).build();
    let year = 365 * 24 * HOUR;
    let use_it = || use_key(&usage, "CiCiCiK3", "ci");
    use_it();
    clock.set(NOON - HOUR);
    use_it();
    use_it();
    assert_eq!(usage.last_used("CiCiCiK3"), Some(at(NOON - HOUR)));
    let both = ["ci CiCiCiK3 11h 2/0/0/0 11:00", "ci CiCiCiK3 12h 1/0/0/0 12:00"];
    assert_eq!(lines(&usage.snapshot()), both);
    clock.set(NOON + year);
    use_it();
    assert_eq!(usage.snapshot().len(), 1);
    clock.set(NOON + 60);
    use_it();
    // The clock was wrong, and it is right again, so the last use is right again.
    assert_eq!(usage.last_used("CiCiCiK3"), Some(at(NOON + 60)));
    let rows = usage.snapshot();
    assert_eq!(lines(&rows)[0], "ci CiCiCiK3 12h 1/0/0/0 12:01");
    assert_eq!(rows.last().unwrap().hour(), at((NOON + year) / HOUR * HOUR));
    for seconds in [0, u64::MAX / 4] {
        clock.set(seconds);
        use_it();
        assert_eq!(usage.of_client("ci").iter().map(|row| row.counts().accepted).max(), Some(1));
    }
    // However often the clock jumps, the number of hours is bounded.
    for jump in 0..1000 {
        clock.set(NOON + jump % 7 * year + jump * HOUR);
        use_it();
    }
    clock.set(NOON);
    assert!(usage.snapshot().len() <= 4);
}

#[test]
fn unknown_and_missing_keys_are_one_row_however_many_they_are() {
    let usage = Clock::at_noon().usage().build();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe(usage.clone());
    for number in 0..1000 {
        ask(&layer, get(&format!("guess-{number:030}")));
        ask(&layer, Request::get("/"));
    }
    assert_eq!(lines(&usage.snapshot()), ["unknown 12h 0/2000/0/0 -"]);
}

#[test]
fn keys_above_the_maximum_share_a_row_until_others_fall_silent() {
    let clock = Clock::at_noon();
    let usage = clock.usage().max_keys(2).hours(2).build();
    for id in ["a", "b", "c", "d", "a"] {
        use_key(&usage, id, "ci");
    }
    reject_key(&usage, "e");
    let full = ["ci a 12h 2/0/0/0 12:00", "ci b 12h 1/0/0/0 12:00", "overflow 12h 2/1/0/0 12:00"];
    assert_eq!(lines(&usage.snapshot()), full);
    assert_eq!((usage.last_used("a"), usage.last_used("c")), (Some(at(NOON)), None));
    clock.pass(HOUR);
    use_key(&usage, "a", "ci");
    clock.pass(HOUR);
    // The hours of `b` are over, and reading makes room.
    assert_eq!(usage.snapshot().len(), 1);
    use_key(&usage, "c", "ci");
    let rows = ["ci a 13h 1/0/0/0 13:00", "ci c 14h 1/0/0/0 14:00"];
    assert_eq!(lines(&usage.snapshot()), rows);
    assert_eq!(usage.last_used("b"), None);

    let none = clock.usage().max_keys(0).build();
    use_key(&none, "a", "ci");
    assert_eq!(lines(&none.snapshot()), ["overflow 14h 1/0/0/0 14:00"]);
}

#[test]
fn a_full_table_makes_room_by_itself_in_the_first_event_of_an_hour() {
    let clock = Clock::at_noon();
    let usage = clock.usage().max_keys(2).hours(2).build();
    use_key(&usage, "a", "ci");
    use_key(&usage, "b", "ci");
    clock.pass(HOUR);
    use_key(&usage, "a", "ci");
    use_key(&usage, "c", "ci");
    // The hours of `b` are over. Nobody reads, and there is no writer.
    clock.pass(HOUR);
    use_key(&usage, "c", "ci");
    use_key(&usage, "d", "ci");
    let rows = [
        "ci a 13h 1/0/0/0 13:00",
        "ci c 14h 1/0/0/0 14:00",
        "overflow 13h 1/0/0/0 13:00",
        "overflow 14h 1/0/0/0 14:00",
    ];
    assert_eq!(lines(&usage.snapshot()), rows);
}

#[test]
fn uses_that_are_forgotten_or_in_a_total_move_the_time_since_which_all_uses_are_known() {
    let clock = Clock::at_noon();
    let usage = clock.usage().max_keys(2).hours(2).build();
    use_key(&usage, "k1", "a");
    use_key(&usage, "k2", "a");
    reject_key(&usage, "k3");
    assert_eq!(usage.since(), at(NOON));
    clock.pass(HOUR);
    use_key(&usage, "k3", "a");
    // Only the total knows this use.
    assert_eq!((usage.last_used("k3"), usage.since()), (None, at(NOON + HOUR + 60)));

    let usage = clock.usage().max_keys(2).hours(2).build();
    use_key(&usage, "k1", "a");
    let used = clock.now();
    clock.pass(60 * 60);
    use_key(&usage, "k2", "a");
    assert_eq!(usage.since(), used);
    clock.pass(HOUR);
    let _ = usage.snapshot();
    // The table needed room.
    assert_eq!((usage.last_used("k1"), usage.since()), (None, used + Duration::from_secs(60)));
    assert!(usage.last_used("k2").is_some());
}

#[test]
fn a_key_that_is_used_under_another_client_is_not_unused() {
    let clock = Clock::at_noon();
    let usage = clock.usage().build();
    use_key(&usage, "k1", "a");
    use_key(&usage, "k2", "a");
    // The operator has changed the id of the client.
    clock.pass(2 * HOUR);
    use_key(&usage, "k1", "b");
    let unused = usage.unused_since(at(NOON + HOUR));
    assert_eq!(unused.iter().map(LastUse::key_id).collect::<Vec<_>>(), [Some("k2")]);
}

#[test]
fn threads_lose_no_count_while_hours_change_and_keys_come_and_go() {
    const THREADS: u64 = 4;
    const EVENTS: u64 = 50_000;

    let clock = Clock::at_noon();
    let usage = clock.usage().hours(1_000_000).max_keys(8).build();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (usage, clock) = (&usage, &clock);
            scope.spawn(move || {
                for number in 0..EVENTS {
                    use_key(usage, ["a", "b", "c"][(number % 3) as usize], "ci");
                    if thread == 0 && number % 100 == 0 {
                        clock.pass(HOUR);
                    }
                    if thread == 1 && number % 5000 == 0 {
                        let _ = usage.snapshot();
                    }
                }
            });
        }
    });
    let total: Counts = usage.snapshot().iter().map(UsageRow::counts).sum();
    assert_eq!(total, counts(THREADS * EVENTS, 0, 0, 0));
}

#[test]
fn threads_that_add_keys_never_exceed_the_maximum() {
    let usage = Clock::at_noon().usage().max_keys(50).build();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|id| use_key(&usage, &id.to_string(), "ci")));
        }
    });
    let rows = usage.snapshot();
    assert_eq!(rows.len(), 51);
    assert_eq!(rows.iter().map(UsageRow::counts).sum::<Counts>().accepted, 800);
}

#[test]
fn a_key_that_is_rejected_very_often_loses_no_count() {
    let usage = Clock::at_noon().usage().build();
    let ci = Client::new("ci").with_key_id("CiCiCiK3");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    reject_key(&usage, "CiCiCiK3");
                    by_guard(&usage, Reason::Limited, Some(&ci));
                    by_guard(&usage, Reason::Forbidden, Some(&ci));
                }
            });
        }
    });
    let rows = usage.snapshot();
    assert_eq!((rows.len(), rows[0].counts()), (1, counts(0, 200_000, 200_000, 200_000)));
}

#[test]
fn two_usages_in_one_process_count_for_themselves() {
    let (one, two) = (Usage::new(), Usage::default());
    assert_ne!(one.instance(), two.instance());
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe((one.clone(), two.clone()));
    ask(&layer, get(KEY));
    use_key(&two, "CiCiCiK3", "ci");
    assert_eq!((one.snapshot().len(), two.snapshot().len()), (1, 2));
    assert!(!format!("{one:?}").contains("mobile-app"));
}

/// A process of its own runs this test alone, and prints its name.
#[test]
fn instance_of_a_process() {
    println!("> {}", Usage::new().instance());
}

#[test]
fn each_start_of_a_process_has_a_new_instance() {
    let start = |_| {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["usage::instance_of_a_process", "--exact", "--nocapture"]);
        let text = String::from_utf8(child.output().unwrap().stdout).unwrap();
        text.split("> ").nth(1).unwrap().lines().next().unwrap().to_owned()
    };
    let names: BTreeSet<_> = (0..4).map(start).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn the_elapsed_time_stays_for_observers_beside_usage() {
    let usage = Usage::new();
    let later = verify::from_async_fn(async |_| {
        tokio::time::sleep(Duration::from_millis(3)).await;
        Ok::<_, VerifyError>(Some(Client::new("ci")))
    });
    fn is_timed(decision: &Decision<'_>) {
        assert!(decision.elapsed() >= Duration::from_millis(3));
    }
    let layer = ApiKeyLayer::new(header("x-api-key"), later);
    ask(&layer.clone().observe((usage.clone(), is_timed)), get(KEY));
    ask(&layer.clone().observe((is_timed, usage.clone())), get(KEY));
    ask(&layer.clone().observe(Arc::new(usage.clone())), get(KEY));
    ask(&layer.observe(((), usage.clone())), get(KEY));
    assert_eq!(usage.of_client("ci").iter().map(|row| row.counts().accepted).sum::<u64>(), 4);
}
