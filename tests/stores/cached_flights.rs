//! Many callers, and a store that fails them.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tower_api_key::{
    rejection::Reason,
    store::{Cached, Change, MemoryStore},
};

use crate::{
    cached::{ID, KEY, ask, ask_later, ask_now, names, observe, one_key, settle},
    gate::{Find, Gate},
    mirrored_load::record,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_callers_of_one_key_are_one_query() {
    let store = one_key().await;
    let keys = Cached::open(store.clone()).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..10_000 {
        let keys = keys.clone();
        callers.spawn(async move { ask(&keys, KEY).await });
    }
    while let Some(result) = callers.join_next().await {
        assert_eq!(result.unwrap().unwrap().id(), "client-0000000a");
    }
    assert_eq!(store.finds(), 1);
}

#[tokio::test]
async fn a_lookup_goes_on_if_its_caller_hangs_up() {
    let store = one_key().await;
    let keys = Cached::open(store.clone()).await.unwrap();
    let mut held = store.hold();
    let mut leader = Box::pin(ask(&keys, KEY));
    let is_pending = poll_fn(|cx| Poll::Ready(leader.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending);
    held.reached().await;
    let follower = ask_later(&keys, KEY);
    tokio::task::yield_now().await;
    drop(leader);
    held.release();
    assert!(follower.await.unwrap().is_ok());
    assert_eq!(store.finds(), 1);

    // All callers hang up.
    keys.pause(ID).await.unwrap();
    let mut held = store.hold();
    let leader = ask_later(&keys, KEY);
    held.reached().await;
    leader.abort();
    assert!(leader.await.is_err());
    held.release();
    crate::mirrored::eventually(async || ask_now(&keys, KEY).is_some()).await;
    assert_eq!(store.finds(), 2);
}

#[tokio::test]
async fn r46_all_callers_see_an_error_and_the_next_caller_asks_again() {
    for find in [Find::Fails, Find::Panics, Find::Corrupt] {
        let store = one_key().await;
        let (keys, events) = observe(Cached::options(), store.clone()).await;
        store.set(find);
        let callers: Vec<_> = (0..100).map(|_| ask_later(&keys, KEY)).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap_err(), Reason::Failed);
        }
        assert_eq!(store.finds(), 1);
        assert_eq!(names(&events).len(), 2, "it is opened and reports the failure");
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Failed);
        assert_eq!(store.finds(), 2, "the error was not remembered");
        store.set(Find::Honest);
        assert!(ask(&keys, KEY).await.is_ok());
    }
}

#[tokio::test]
async fn a_corrupt_row_is_a_503_for_its_key_alone_and_one_event() {
    let store = one_key().await;
    let (keys, events) = observe(Cached::options(), store.clone()).await;
    assert!(ask(&keys, KEY).await.is_ok());
    store.set(Find::Corrupt);
    for _ in 0..3 {
        assert_eq!(ask(&keys, "another key").await.unwrap_err(), Reason::Failed);
        assert!(ask(&keys, KEY).await.is_ok());
    }
    assert_eq!(names(&events), ["opened", "corrupt"]);
    store.set(Find::Honest);
    assert_eq!(ask(&keys, "another key").await.unwrap_err(), Reason::Unknown);
    let invalid = record(KEY, ID).with_client(tower_api_key::Client::new(""));
    store.set(Find::Says(Some(invalid)));
    keys.pause(ID).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Failed, "an invalid record");
}

#[tokio::test(start_paused = true)]
async fn failures_are_reported_once_in_ten_seconds() {
    let store = one_key().await;
    let (keys, events) = observe(Cached::options(), store.clone()).await;
    store.set(Find::Fails);
    for _ in 0..100 {
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Failed);
    }
    assert_eq!(names(&events), ["opened", "lookup_failed"]);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Failed);
    assert_eq!(names(&events), ["lookup_failed"]);
}

#[tokio::test(start_paused = true)]
async fn strangers_with_random_keys_take_half_of_the_lookups_and_no_hit() {
    let store = MemoryStore::new();
    let other = "key-of-another-client-0123456789";
    let records = [record(KEY, ID), record(other, "0000000b")];
    Change::insert_if_absent(records).commit(&store).await.unwrap();
    let store = Gate::new(store);
    let options = Cached::options().max_lookups(10).fresh(Duration::from_secs(5));
    let keys = options.open(store.clone()).await.unwrap();
    assert!(ask(&keys, KEY).await.is_ok());
    sleep(Duration::from_secs(4)).await;

    store.set(Find::HangsIfUnknown);
    let mut strangers: Vec<_> =
        (0..20_000).map(|n| ask_later(&keys, &format!("stranger-{n}"))).collect();
    settle().await;
    assert_eq!(store.running(), 5);
    assert!(ask_now(&keys, KEY).unwrap().is_ok(), "a hit does not wait");
    let done = strangers.iter().filter(|stranger| stranger.is_finished()).count();
    assert_eq!(done, 20_000 - 8_192, "more than that do not wait");
    let start = tokio::time::Instant::now();
    sleep(Duration::from_millis(1_100)).await;
    assert!(ask_now(&keys, KEY).is_none(), "no longer fresh");
    assert!(ask(&keys, KEY).await.is_ok(), "it does not wait for strangers");
    assert_eq!(start.elapsed().as_millis(), 1_100);
    let unlucky = ask_later(&keys, other);
    for stranger in strangers.drain(..) {
        assert_eq!(stranger.await.unwrap().unwrap_err(), Reason::Failed, "503 and never 401");
    }
    assert_eq!(unlucky.await.unwrap().unwrap_err(), Reason::Failed);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(store.most() <= 10, "{}", store.most());
    store.set(Find::Honest);
    assert!(ask(&keys, other).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn at_most_as_many_queries_run_as_there_are_permits() {
    let store = MemoryStore::new();
    let keys: Vec<_> = (0..64).map(|n| format!("key-of-the-client-{n}-0123456789")).collect();
    let records = keys.iter().zip(0..).map(|(key, n)| record(key, &format!("{n:08}")));
    Change::insert_if_absent(records).commit(&store).await.unwrap();
    let store = Gate::new(store);
    let options = Cached::options().max_lookups(4).fresh(Duration::from_secs(5));
    let cached = options.open(store.clone()).await.unwrap();
    store.set(Find::Slow(Duration::from_millis(10)));
    for round in 0..2 {
        let callers: Vec<_> = keys.iter().map(|key| ask_later(&cached, key)).collect();
        for caller in callers {
            assert!(caller.await.unwrap().is_ok());
        }
        assert_eq!(store.most(), [2, 4][round], "known keys take all permits");
        sleep(Duration::from_secs(6)).await;
    }
}
