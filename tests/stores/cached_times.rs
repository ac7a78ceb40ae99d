//! How long an answer of the store counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use tokio::time::sleep;
use tower_api_key::{
    rejection::Reason,
    store::{Cached, Change, MemoryStore},
};

use crate::{
    cached::{KEY, ask, ask_later, ask_now, one_key},
    gate::{Find, Gate},
    mirrored_load::record,
};

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_for_as_long_as_it_is_fresh() {
    let store = one_key().await;
    let keys = Cached::open(store.clone()).await.unwrap();
    assert!(ask(&keys, KEY).await.is_ok());
    sleep(Duration::from_millis(59_900)).await;
    assert!(ask_now(&keys, KEY).unwrap().is_ok());
    assert_eq!(store.finds(), 1);
    sleep(Duration::from_millis(200)).await;
    assert!(ask_now(&keys, KEY).is_none());
    assert!(ask(&keys, KEY).await.is_ok());
    assert_eq!(store.finds(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_query_does_not_lengthen_the_time() {
    let store = one_key().await;
    let keys = Cached::options().fresh(Duration::from_secs(10)).open(store.clone()).await.unwrap();
    store.set(Find::Slow(Duration::from_millis(1_500)));
    assert!(ask(&keys, KEY).await.is_ok());
    sleep(Duration::from_secs(8)).await;
    assert!(ask_now(&keys, KEY).unwrap().is_ok());
    sleep(Duration::from_millis(600)).await;
    assert!(ask_now(&keys, KEY).is_none(), "ten seconds after the question");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_remembered_for_ten_seconds_and_never_longer_than_fresh() {
    for (fresh, remembered) in [(60, 10), (3, 3)] {
        let store = Gate::new(MemoryStore::new());
        let options = Cached::options().fresh(Duration::from_secs(fresh));
        let keys = options.open(store.clone()).await.unwrap();
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Unknown);
        sleep(Duration::from_secs(remembered) - Duration::from_millis(100)).await;
        assert_eq!(ask_now(&keys, KEY), Some(Err(Reason::Unknown)));
        sleep(Duration::from_millis(200)).await;
        assert!(ask_now(&keys, KEY).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn r43_a_key_expires_and_begins_while_its_record_is_in_memory() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let seconds = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&seconds);
    let clock = move || start + Duration::from_secs(now.load(SeqCst));
    let store = MemoryStore::new();
    let later = "key-that-begins-later-0123456789";
    let expiring = record(KEY, "0000000a").with_expires(start + Duration::from_secs(5));
    let beginning = record(later, "0000000b").with_not_before(start + Duration::from_secs(5));
    Change::insert_if_absent([expiring, beginning]).commit(&store).await.unwrap();
    let store = Gate::new(store);
    let keys = Cached::options().clock(clock).open(store.clone()).await.unwrap();
    assert!(ask(&keys, KEY).await.is_ok());
    assert_eq!(ask(&keys, later).await.unwrap_err(), Reason::NotYetValid);
    seconds.store(5, SeqCst);
    assert_eq!(ask_now(&keys, KEY), Some(Err(Reason::Expired)), "to the instant");
    assert!(ask_now(&keys, later).unwrap().is_ok());
    seconds.store(4, SeqCst);
    assert!(ask_now(&keys, KEY).unwrap().is_ok(), "the expiry is not remembered");
    assert_eq!(store.finds(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_503_at_the_deadline() {
    let store = one_key().await;
    let options = Cached::options().deadline(Duration::from_millis(300));
    let keys = options.open(store.clone()).await.unwrap();
    store.set(Find::Slow(Duration::from_secs(3600)));
    let start = tokio::time::Instant::now();
    let asked = ask_later(&keys, KEY);
    assert_eq!(asked.await.unwrap().unwrap_err(), Reason::Failed);
    assert_eq!(start.elapsed().as_millis(), 300);
    assert_eq!(store.running(), 0, "the query was dropped");
    store.set(Find::Honest);
    assert!(ask(&keys, KEY).await.is_ok());
}
