//! A client over its limit causes no call of Redis, until its plan or its counts change.

use std::time::{Duration, Instant};

use tower_api_key::limit::{Ask, Limit, Limits, Outcome, Subject};
use tower_api_key_test_servers::RedisServer;

use crate::support::{burst, calls, ci, limiter, passes, remaining, states, take, wait};

static HOUR: Limits = Limits::new(&[Limit::per_hour("hour", 3)]);

#[tokio::test]
async fn a_client_over_its_limit_costs_redis_nothing() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 3);
    let before = calls(&server);
    let first = wait(&redis, &ci(&HOUR)).await;
    for cost in [1, 2, 3] {
        for _ in 0..500 {
            let ask = ci(&HOUR).with_cost(cost).with_state();
            assert!(!take(&redis, &ask).await.is_passed());
        }
    }
    assert_eq!(calls(&server), before);
    // The wait becomes shorter, and a larger cost waits longer.
    let second = wait(&redis, &ci(&HOUR)).await;
    assert!(second < first && first > Duration::from_secs(1_190), "{first:?} {second:?}");
    assert!(wait(&redis, &ci(&HOUR).with_cost(2)).await > second + Duration::from_secs(1_190));
    let taken = take(&redis, &ci(&HOUR).with_state()).await;
    let state = taken.states(&HOUR).next().unwrap();
    assert_eq!((state.remaining, state.until_more.as_secs()), (0, 1_200));
    // Another client is not affected.
    assert!(passes(&redis, &Ask::new(Subject::Key("ci"), &HOUR)).await);
}

#[tokio::test]
async fn a_changed_plan_is_asked_for_at_once() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    burst(&redis, &ci(&HOUR)).await;
    let larger = Limits::try_new([Limit::per_hour("hour", 3).burst(5)]).unwrap();
    assert_eq!(burst(&redis, &ci(&larger)).await, 2);
    let other = Limits::try_new([Limit::per_hour("hour", 3), Limit::per_day("day", 7)]).unwrap();
    assert!(!passes(&redis, &ci(&other)).await);
    assert_eq!(remaining(&redis, &ci(&other)).await, [0, 7]);
}

#[tokio::test]
async fn a_smaller_cost_and_a_refund_are_asked_for_at_once() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    assert!(
        !passes(&redis, &ci(&HOUR).with_cost(3)).await
            || !passes(&redis, &ci(&HOUR).with_cost(3)).await
    );
    redis.refund(&ci(&HOUR).with_cost(2));
    tokio::task::yield_now().await;
    assert!(!passes(&redis, &ci(&HOUR).with_cost(3)).await);
    assert!(passes(&redis, &ci(&HOUR).with_cost(2)).await);
}

#[tokio::test]
async fn the_wait_of_a_remembered_client_ends_in_time() {
    static SECOND: Limits = Limits::new(&[Limit::per_second("second", 2).burst(1)]);
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    assert!(passes(&redis, &ci(&SECOND)).await);
    let start = Instant::now();
    while !passes(&redis, &ci(&SECOND)).await {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cost_above_the_burst_never_passes_and_costs_redis_nothing() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    let both = Limits::try_new([Limit::per_hour("hour", 9), Limit::per_day("day", 4)]).unwrap();
    assert!(passes(&redis, &ci(&both)).await);
    let before = calls(&server);
    for _ in 0..10 {
        let outcome = take(&redis, &ci(&both).with_cost(5)).await.outcome();
        assert_eq!(outcome, Outcome::Never { limit: 1 });
    }
    assert_eq!(calls(&server), before);
    // The state needs Redis, and nothing is taken.
    let taken = take(&redis, &ci(&both).with_cost(5).with_state()).await;
    assert_eq!(taken.outcome(), Outcome::Never { limit: 1 });
    assert!(taken.states(&both).eq(states(&redis, &ci(&both)).await));
    assert_eq!(remaining(&redis, &ci(&both)).await, [8, 3]);
    // Nor does a request that costs nothing.
    let before = calls(&server);
    assert!(passes(&redis, &ci(&both).with_cost(0)).await);
    assert_eq!(calls(&server), before);
}

#[tokio::test]
async fn memory_is_bounded_by_a_number_of_clients() {
    static ONE: Limits = Limits::new(&[Limit::per_hour("hour", 1)]);
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    for number in 0..20_000 {
        let id = number.to_string();
        let ask = Ask::new(Subject::Peer(&id), &ONE);
        assert!(passes(&redis, &ask).await && !passes(&redis, &ask).await);
    }
    let before = calls(&server);
    for number in 0..20_000 {
        let id = number.to_string();
        assert!(!passes(&redis, &Ask::new(Subject::Peer(&id), &ONE)).await);
    }
    // At least as many as do not fit were asked for again.
    let asked = calls(&server) - before;
    assert!((3_600..=20_000).contains(&asked), "{asked}");
}
