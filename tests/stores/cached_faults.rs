//! A cache whose store fails or cannot be followed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;
use tower_api_key::{
    Client,
    key::KeyFormat,
    rejection::Reason,
    store::{Cached, CachedEvent, Change, Start, StoreErrorKind},
};

use crate::{
    cached::{Events, ID, KEY, ask, ask_now, names, observe},
    faulty::{Fault, Faulty},
    mirrored::{eventually, reveal},
    mirrored_load::record,
};

async fn start() -> (Faulty, Cached, Events) {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let (keys, events) = observe(Cached::options(), store.clone()).await;
    assert!(ask(&keys, KEY).await.is_ok());
    assert_eq!(names(&events), ["opened"]);
    (store, keys, events)
}

#[tokio::test]
async fn opening_fails_if_the_store_is_down() {
    let store = Faulty::new();
    for fault in [Fault::Down, Fault::Panics] {
        store.set(fault);
        let error = Cached::open(store.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(store.starts.lock().unwrap().len(), 2, "no task is left that tries again");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_a_503_for_keys_outside_of_memory() {
    let (store, keys, events) = start().await;
    store.set(Fault::Down);
    sleep(Duration::from_secs(30)).await;
    assert!(ask(&keys, KEY).await.is_ok(), "it is in memory and fresh");
    assert_eq!(ask(&keys, "an-unknown-key").await.unwrap_err(), Reason::Failed);
    let status = keys.status();
    assert!(status.problem().unwrap().since() >= status.last_contact());
    assert_eq!(names(&events), ["broken", "lookup_failed"], "one event for many attempts");
    let error = keys.revoke_key(ID).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(ask(&keys, KEY).await.is_ok(), "a change that failed has no effect");
    sleep(Duration::from_secs(31)).await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Failed, "no longer fresh");

    store.set(Fault::None);
    sleep(Duration::from_secs(11)).await;
    assert!(keys.status().problem().is_none());
    assert!(ask(&keys, KEY).await.is_ok());
    assert_eq!(ask(&keys, "an-unknown-key").await.unwrap_err(), Reason::Unknown);
    assert_eq!(names(&events), ["lookup_failed", "recovered"]);
    let starts = store.starts.lock().unwrap();
    assert!(starts.iter().all(|start| *start == Start::Now), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_is_not_delivered_takes_effect_when_the_answer_is_too_old() {
    let (store, keys, _) = start().await;
    store.set(Fault::Silent);
    sleep(Duration::from_secs(1)).await;
    Change::revoke_key(ID).commit(&store.store).await.unwrap();
    assert!(ask(&keys, KEY).await.is_ok());
    sleep(Duration::from_secs(59)).await;
    assert!(keys.status().problem().is_some());
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test(start_paused = true)]
async fn changes_while_the_store_was_not_followed_take_effect_when_it_is_followed_again() {
    let (store, keys, events) = start().await;
    let other = "key-of-another-client-0123456789";
    assert_eq!(ask(&keys, other).await.unwrap_err(), Reason::Unknown);
    store.set(Fault::Silent);
    sleep(Duration::from_millis(10)).await;
    Change::revoke_key(ID).commit(&store.store).await.unwrap();
    Change::insert(record(other, "0000000b")).commit(&store.store).await.unwrap();
    assert!(ask_now(&keys, KEY).unwrap().is_ok());
    assert_eq!(ask_now(&keys, other), Some(Err(Reason::Unknown)));
    store.set(Fault::None);
    sleep(Duration::from_secs(1)).await;
    assert!(keys.status().problem().is_none());
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    assert!(ask(&keys, other).await.is_ok());
    assert_eq!(names(&events), ["broken", "recovered"]);
}

#[tokio::test]
async fn a_panic_of_a_closure_or_the_observer_ends_no_cache() {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let options = Cached::options().observe(|_| panic!("a test asked for it"));
    let keys = options.open(store.clone()).await.unwrap();
    let error = keys.update(ID, |_| panic!("a test asked for it")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    assert!(ask(&keys, KEY).await.is_ok());
    keys.pause(ID).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Paused);
    Change::resume(ID).commit(&store).await.unwrap();
    eventually(async || ask(&keys, KEY).await.is_ok()).await;
    assert!(keys.status().problem().is_none(), "the panic did not reach the store");
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle() {
    let (store, keys, _) = start().await;
    drop(keys);
    sleep(Duration::from_millis(50)).await;
    store.set(Fault::Down);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(store.starts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn each_own_change_is_in_the_audit_trail_once_with_its_author() {
    let (_, keys, events) = start().await;
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice");
    let minted = keys.change(issue).await.unwrap().into_minted().unwrap();
    let (key_id, key) = reveal(minted);
    let pause = Change::pause(&key_id).with_by("bob").with_reason("overdue");
    keys.change(pause).await.unwrap();
    keys.resume(&key_id).await.unwrap();
    let rotate = Change::rotate(&key_id, Duration::from_secs(60)).with_reason("yearly");
    keys.change(rotate).await.unwrap();
    keys.update(&key_id, |record| record.with_note("old")).await.unwrap();
    keys.change(Change::revoke_key(&key_id).with_by("carol")).await.unwrap();
    assert!(ask(&keys, &key).await.is_err());
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    assert_eq!(keys.prune(later).await.unwrap(), 1);
    // The store delivers them all as well.
    sleep(Duration::from_millis(100)).await;

    let events = std::mem::take(&mut *events.lock().unwrap());
    let lines: Vec<_> = events
        .iter()
        .map(|event| match event {
            CachedEvent::Changed(change) => {
                assert!(change.is_own());
                format!("{} {:?} {:?}", change.kind().as_str(), change.by(), change.reason())
            }
            event => panic!("{event:?}"),
        })
        .collect();
    let expected = [
        r#"issued Some("alice") None"#,
        r#"paused Some("bob") Some("overdue")"#,
        "resumed None None",
        r#"rotated None Some("yearly")"#,
        r#"issued None Some("yearly")"#,
        "updated None None",
        r#"revoked Some("carol") None"#,
        "removed None None",
    ];
    assert_eq!(lines, expected);
    let all = format!("{events:?}{keys:?}");
    assert!(!all.contains(&key) && !all.contains("sha256") && !all.contains("digest"), "{all}");
}

#[tokio::test]
async fn changes_elsewhere_of_keys_in_memory_are_events() {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let options = Cached::options().observe(move |event| {
        if let CachedEvent::Changed(change) = event {
            assert!(!change.is_own());
            seen.lock().unwrap().push(change.to_string());
        }
    });
    let keys = options.open(store.clone()).await.unwrap();
    Change::pause(ID).commit(&store).await.unwrap();
    Change::resume(ID).commit(&store).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(ask(&keys, KEY).await.is_ok());
    Change::revoke_key(ID).with_by("alice").commit(&store).await.unwrap();
    eventually(async || !lines.lock().unwrap().is_empty()).await;
    assert_eq!(*lines.lock().unwrap(), ["0000000a of client-0000000a revoked by alice"]);
}
