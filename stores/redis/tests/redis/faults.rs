//! Redis fails, and the service goes on.

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Outcome, Subject};
use tower_api_key_redis::{OnFailure, Redis};
use tower_api_key_test_servers::{Mode, Proxy, RedisServer};

use crate::support::{burst, ci, eventually, limiter, passes, patient, take};

static HOUR: Limits = Limits::new(&[Limit::per_hour("hour", 5)]);

/// Far above the pauses of a loaded machine, and far below the patience of a caller.
const DEADLINE: Duration = Duration::from_millis(500);

fn hasty(url: &str) -> Redis {
    Redis::open(url).unwrap().with_deadline(DEADLINE)
}

/// Returns whether Redis has a counter of this client.
fn is_counted(server: &RedisServer, id: &str) -> bool {
    !server.command(&["KEYS", &format!("*client:{id}}}*")]).is_empty()
}

/// Takes for new clients until Redis counts one.
async fn counts_again(limiter: &Limiter, server: &RedisServer) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    eventually("Redis counts again", async || {
        let id = format!("again-{}", NUMBER.fetch_add(1, Relaxed));
        assert!(passes(limiter, &Ask::new(Subject::Client(&id), &HOUR)).await);
        is_counted(server, &id)
    })
    .await;
}

#[tokio::test]
async fn each_choice_is_kept_while_redis_is_away() {
    let url = format!("redis://127.0.0.1:{}", tower_api_key_test_servers::free_port());
    let limiter = |on_failure| Limiter::new(patient(&url).on_failure(on_failure));
    let locally = limiter(OnFailure::Locally);
    assert_eq!(burst(&locally, &ci(&HOUR)).await, 5);
    locally.refund(&ci(&HOUR));
    assert_eq!(burst(&locally, &ci(&HOUR)).await, 1);
    let accepting = limiter(OnFailure::Accept);
    for _ in 0..20 {
        assert!(passes(&accepting, &ci(&HOUR)).await);
    }
    assert_eq!(take(&limiter(OnFailure::Reject), &ci(&HOUR)).await.outcome(), Outcome::Failed);
}

#[tokio::test]
async fn a_forgotten_script_is_sent_again_and_a_killed_connection_is_replaced() {
    let server = RedisServer::start();
    let redis = Limiter::new(patient(&server.url()).on_failure(OnFailure::Reject));
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.command(&["SCRIPT", "FLUSH"]);
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.command(&["SCRIPT", "FLUSH"]);
    redis.refund(&ci(&HOUR));
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 4);
    server.command(&["FLUSHALL"]);
    assert!(passes(&redis, &Ask::new(Subject::Client("other"), &HOUR)).await);

    let redis = limiter(&server.url());
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    counts_again(&redis, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_delays_no_request_beyond_the_deadline_and_most_not_at_all() {
    let mut server = RedisServer::start();
    let redis = Limiter::new(hasty(&server.url()));
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.program().pause();
    let start = Instant::now();
    // The default counts in this process, with the full limit.
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 5);
    assert!(start.elapsed() < DEADLINE * 3, "{:?}", start.elapsed());
    let start = Instant::now();
    for number in 0..50_000 {
        let id = number.to_string();
        assert!(redis.take(&Ask::new(Subject::Client(&id), &HOUR)).ready().unwrap().is_passed());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    server.program().resume();
    counts_again(&redis, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_used_again_after_its_start() {
    let mut server = RedisServer::start();
    let redis = Limiter::new(hasty(&server.url()));
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.kill();
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 5);
    assert!(redis.take(&ci(&HOUR)).ready().is_some(), "no request waits");
    server.start_again();
    counts_again(&redis, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_is_a_failure_within_the_deadline() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.address());
    let redis = Limiter::new(hasty(&format!("redis://{}", proxy.address())));
    assert!(passes(&redis, &ci(&HOUR)).await);
    let breaks: [(&str, &dyn Fn()); 3] = [
        ("stalled", &|| proxy.set(Mode::Stall)),
        ("half open", &|| proxy.half_open()),
        ("cut", &|| {
            proxy.set(Mode::Refuse);
            proxy.cut();
        }),
    ];
    for (name, breaks) in breaks {
        breaks();
        let start = Instant::now();
        assert!(passes(&redis, &Ask::new(Subject::Client(name), &HOUR)).await, "{name}");
        assert!(start.elapsed() < DEADLINE * 3, "{name}: {:?}", start.elapsed());
        assert!(!is_counted(&server, name), "{name}");
        proxy.set(Mode::Pass);
        proxy.cut();
        counts_again(&redis, &server).await;
    }
    // A slow network within the deadline is no failure.
    proxy.set(Mode::Slow(Duration::from_millis(20)));
    assert!(passes(&redis, &Ask::new(Subject::Client("slow"), &HOUR)).await);
    assert!(is_counted(&server, "slow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_of_a_process_does_not_wait_beyond_the_deadline() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.address());
    proxy.set(Mode::Stall);
    let redis = Limiter::new(hasty(&format!("redis://{}", proxy.address())));
    let start = Instant::now();
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 5);
    assert!(start.elapsed() < DEADLINE * 3, "{:?}", start.elapsed());
    proxy.set(Mode::Pass);
    counts_again(&redis, &server).await;
}

#[tokio::test]
async fn a_request_whose_caller_hangs_up_leaves_the_connection_intact() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    assert!(passes(&redis, &ci(&HOUR)).await);
    for number in 0..200 {
        let id = format!("gone-{number}");
        let mut taking = redis.take(&Ask::new(Subject::Client(&id), &HOUR));
        // Polled once.
        _ = Pin::new(&mut taking).poll(&mut Context::from_waker(Waker::noop()));
        drop(taking);
    }
    assert!(passes(&redis, &ci(&HOUR)).await);
    assert!(is_counted(&server, "ci"));
}

#[test]
fn a_store_outlives_the_runtime_of_its_connection() {
    let server = RedisServer::start();
    let redis = Limiter::new(hasty(&server.url()));
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(counts_again(&redis, &server));
    }
    // Without a runtime it counts in this process, without a panic.
    let mut taking = redis.take(&Ask::new(Subject::Client("x"), &HOUR));
    let polled = Pin::new(&mut taking).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(taken) if taken.is_passed()));
    redis.refund(&ci(&HOUR));
}
