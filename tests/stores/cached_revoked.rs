//! Keys that a process saw revoked, against a store that says otherwise.

use std::time::SystemTime;

use tower_api_key::{
    Client,
    key::KeyFormat,
    rejection::Reason,
    store::{Cached, CachedEvent, CachedOptions, Change, StoreErrorKind},
};

use crate::{
    cached::{Events, ID, KEY, ask, names, observe},
    faulty::{Fault, Faulty, Scripted},
    gate::{Find, Gate},
    mirrored::{eventually, reveal},
    mirrored_load::record,
};

async fn start(options: CachedOptions) -> (Scripted, Gate, Cached, Events) {
    let store = Scripted::new(vec![]);
    Change::insert(record(KEY, ID)).commit(&store.store).await.unwrap();
    let gate = Gate::new(store.clone());
    let (keys, events) = observe(options, gate.clone()).await;
    names(&events);
    (store, gate, keys, events)
}

#[tokio::test]
async fn a_key_that_was_revoked_here_stays_rejected_after_a_backup_is_restored() {
    let (store, gate, keys, events) = start(Cached::options()).await;
    assert!(keys.revoke_key(ID).await.unwrap());
    gate.set(Find::Says(Some(record(KEY, ID))));
    for version in 2..5 {
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
        store.deliver(move |listener| listener.record(version, record(KEY, ID))).await;
    }
    store
        .deliver(|listener| {
            listener.restart();
            listener.ready(None);
        })
        .await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    assert_eq!(names(&events), ["revoked", "stays_revoked", "cleared"], "it is reported once");
}

#[tokio::test]
async fn a_key_whose_revocation_was_delivered_stays_rejected() {
    let (store, gate, keys, events) = start(Cached::options()).await;
    let revoked = record(KEY, ID).with_revoked(SystemTime::now());
    store.deliver(move |listener| listener.record(2, revoked)).await;
    gate.set(Find::Says(Some(record(KEY, ID))));
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    assert_eq!(names(&events), ["stays_revoked"]);
}

#[tokio::test]
async fn a_key_whose_revoked_record_was_looked_up_stays_rejected() {
    let (store, gate, keys, events) = start(Cached::options()).await;
    Change::revoke_key(ID).commit(&store.store).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    gate.set(Find::Says(Some(record(KEY, ID))));
    store.deliver(|listener| listener.record(1, record(KEY, ID))).await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    assert_eq!(names(&events)[..1], ["stays_revoked"]);
}

#[tokio::test]
async fn as_many_revoked_keys_are_remembered_as_the_capacity() {
    let (store, gate, keys, _) = start(Cached::options().capacity(100)).await;
    let key = |n: u32| format!("key-number-{n}-0123456789");
    for n in 0..101 {
        let revoked = record(&key(n), &format!("{n:08}")).with_revoked(SystemTime::now());
        store.deliver(move |listener| listener.record(2, revoked)).await;
    }
    for n in [1, 50, 100] {
        gate.set(Find::Says(Some(record(&key(n), &format!("{n:08}")))));
        assert_eq!(ask(&keys, &key(n)).await.unwrap_err(), Reason::Revoked, "{n}");
    }
    gate.set(Find::Says(Some(record(&key(0), "00000000"))));
    assert!(ask(&keys, &key(0)).await.is_ok(), "the first one is forgotten");
}

#[tokio::test]
async fn a_revocation_that_another_process_was_faster_with_takes_effect_here_as_well() {
    let (store, _, keys, _) = start(Cached::options()).await;
    assert!(ask(&keys, KEY).await.is_ok());
    Change::revoke_key(ID).commit(&store.store).await.unwrap();
    assert!(ask(&keys, KEY).await.is_ok(), "not delivered yet");
    assert!(!keys.revoke_key(ID).await.unwrap());
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_rejects_the_keys_here() {
    let other = "key-of-the-same-client-0123456789";
    for (fault, by_client) in [
        (Fault::LostAnswer, false),
        (Fault::LostChange, false),
        (Fault::LostAnswer, true),
        (Fault::LostChange, true),
    ] {
        let store = Faulty::new();
        let same = record(other, "0000000b").with_client(Client::new("client-0000000a"));
        Change::insert_if_absent([record(KEY, ID), same]).commit(&store).await.unwrap();
        let (keys, events) = observe(Cached::options(), store.clone()).await;
        assert!(ask(&keys, KEY).await.is_ok());
        store.set(fault);
        let change = match by_client {
            true => Change::revoke_client("client-0000000a"),
            false => Change::revoke_key(ID),
        };
        let error = keys.change(change.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
        let broken = |event: &CachedEvent| matches!(event, CachedEvent::Broken(_));
        eventually(async || events.lock().unwrap().iter().any(broken)).await;
        store.set(Fault::None);
        eventually(async || keys.status().problem().is_none()).await;
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked, "{fault:?}");
        // It was never in memory.
        let same = ask(&keys, other).await;
        assert_eq!(same.is_err(), by_client, "{fault:?} {by_client}");
        let names = names(&events);
        assert!(names.contains(&"outcome_unknown".to_owned()), "{names:?}");
        let is_lost = fault == Fault::LostChange;
        assert_eq!(names.contains(&"stays_revoked".to_owned()), is_lost, "{names:?}");

        let client = Client::new("client-0000000a");
        let minted = keys.issue(&KeyFormat::default(), client).await.unwrap();
        let (_, new) = reveal(minted);
        assert!(ask(&keys, &new).await.is_ok(), "a key that is issued later works");
        assert_eq!(keys.change(change).await.unwrap().count() > 0, is_lost || by_client);
        assert_eq!(ask(&keys, &new).await.is_err(), by_client);
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
    }
}

#[tokio::test]
async fn another_change_whose_answer_is_lost_is_looked_up_again() {
    for (fault, is_committed) in [(Fault::LostAnswer, true), (Fault::LostChange, false)] {
        let store = Faulty::new();
        Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
        let keys = Cached::open(store.clone()).await.unwrap();
        assert!(ask(&keys, KEY).await.is_ok());
        store.set(fault);
        let error = keys.pause(ID).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
        assert_eq!(ask(&keys, KEY).await.is_err(), is_committed, "{fault:?}");
    }
}
