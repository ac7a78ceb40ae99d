//! Changes between the store's read of a record and the end of its lookup.

use std::time::{Duration, SystemTime};

use tower_api_key::{
    KeyDigest,
    rejection::Reason,
    store::{Cached, Change, KeyStore as _},
};

use crate::{
    cached::{ID, KEY, ask, ask_later},
    faulty::{Fault, Faulty, Scripted},
    gate::Gate,
    mirrored_load::record,
};

/// A store with one key, whose changes arrive when the test delivers them.
async fn start() -> (Scripted, Gate, Cached) {
    let store = Scripted::new(vec![]);
    Change::insert(record(KEY, ID)).commit(&store.store).await.unwrap();
    let gate = Gate::new(store.clone());
    let keys = Cached::open(gate.clone()).await.unwrap();
    (store, gate, keys)
}

/// Revokes the key in another process, before this process learns of it.
async fn revoke_elsewhere(store: &Scripted) {
    assert_eq!(Change::revoke_key(ID).commit(&store.store).await.unwrap().count(), 1);
}

fn revoked() -> tower_api_key::record::Record {
    record(KEY, ID).with_revoked(SystemTime::now())
}

#[tokio::test]
async fn r45_a_revocation_between_the_stores_read_and_the_insertion_is_not_lost() {
    let (store, gate, keys) = start().await;
    let mut held = gate.hold();
    let first = ask_later(&keys, KEY);
    held.reached().await;
    revoke_elsewhere(&store).await;
    store.deliver(|listener| listener.record(2, revoked())).await;
    held.release();
    // This request began before the revocation arrived.
    _ = first.await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test]
async fn r45_an_update_between_the_stores_read_and_the_insertion_is_not_lost() {
    let (store, gate, keys) = start().await;
    let mut held = gate.hold();
    let first = ask_later(&keys, KEY);
    held.reached().await;
    let paused = Change::pause(ID);
    paused.commit(&store.store).await.unwrap();
    store
        .deliver(|listener| {
            listener.record(2, record(KEY, ID).with_paused(SystemTime::now()));
        })
        .await;
    held.release();
    _ = first.await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Paused);
}

#[tokio::test]
async fn a_removal_between_the_stores_read_and_the_insertion_is_not_lost() {
    let (store, gate, keys) = start().await;
    let mut held = gate.hold();
    let first = ask_later(&keys, KEY);
    held.reached().await;
    revoke_elsewhere(&store).await;
    let later = SystemTime::now() + Duration::from_secs(60);
    Change::prune(later).commit(&store.store).await.unwrap();
    store.deliver(|listener| listener.removed(3, KeyDigest::of(KEY))).await;
    held.release();
    _ = first.await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Unknown);
}

#[tokio::test]
async fn a_revocation_that_a_restart_hides_between_read_and_insertion_is_not_lost() {
    let (store, gate, keys) = start().await;
    let mut held = gate.hold();
    let first = ask_later(&keys, KEY);
    held.reached().await;
    revoke_elsewhere(&store).await;
    store
        .deliver(|listener| {
            listener.restart();
            listener.ready(None);
        })
        .await;
    held.release();
    _ = first.await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test]
async fn a_restart_ends_the_records_in_memory() {
    let (store, _, keys) = start().await;
    assert!(ask(&keys, KEY).await.is_ok());
    revoke_elsewhere(&store).await;
    assert!(ask(&keys, KEY).await.is_ok(), "this process knows nothing of it");
    store.deliver(|listener| listener.restart()).await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test]
async fn a_revocation_between_restart_and_ready_is_not_lost() {
    let (store, _, keys) = start().await;
    store.deliver(|listener| listener.restart()).await;
    assert!(ask(&keys, KEY).await.is_ok());
    // The store begins to deliver changes after this one.
    revoke_elsewhere(&store).await;
    store.deliver(|listener| listener.ready(None)).await;
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);
}

#[tokio::test]
async fn a_caller_after_a_revocation_does_not_join_a_lookup_from_before() {
    for is_everything in [false, true] {
        let (store, gate, keys) = start().await;
        let mut held = gate.hold();
        let slow = ask_later(&keys, KEY);
        held.reached().await;
        revoke_elsewhere(&store).await;
        store
            .deliver(move |listener| match is_everything {
                true => listener.restart(),
                false => listener.record(2, revoked()),
            })
            .await;
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked, "{is_everything}");
        assert_eq!(gate.finds(), 2);
        held.release();
        _ = slow.await.unwrap();
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked, "{is_everything}");
    }
}

#[tokio::test]
async fn an_own_revocation_takes_effect_before_it_returns_and_before_the_store_delivers_it() {
    let (_, gate, keys) = start().await;
    assert!(ask(&keys, KEY).await.is_ok());
    assert!(keys.revoke_key(ID).await.unwrap());
    assert_eq!(keys.status().keys(), 0, "the old record takes no memory");
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked);

    let (_, slow_gate, keys) = start().await;
    let mut held = slow_gate.hold();
    let slow = ask_later(&keys, KEY);
    held.reached().await;
    keys.pause(ID).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Paused);
    held.release();
    _ = slow.await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Paused);
    assert_eq!((gate.finds(), slow_gate.finds()), (2, 3));
}

#[tokio::test]
async fn a_key_that_is_issued_just_after_it_was_rejected_works_at_once() {
    let (store, gate, keys) = start().await;
    let (one, two) = ("key-number-one-0123456789", "key-number-two-0123456789");
    for key in [one, two] {
        assert_eq!(ask(&keys, key).await.unwrap_err(), Reason::Unknown);
        assert_eq!(ask(&keys, key).await.unwrap_err(), Reason::Unknown);
    }
    assert_eq!(gate.finds(), 2, "unknown keys are remembered");
    keys.change(Change::insert(record(one, "00000001"))).await.unwrap();
    assert!(ask(&keys, one).await.is_ok(), "issued here");
    Change::insert(record(two, "00000002")).commit(&store.store).await.unwrap();
    assert_eq!(ask(&keys, two).await.unwrap_err(), Reason::Unknown);
    store.deliver(move |listener| listener.record(3, record(two, "00000002"))).await;
    assert!(ask(&keys, two).await.is_ok(), "issued elsewhere");

    // The lookup reads before the insertion, and ends after it.
    let three = "key-number-three-0123456789";
    let mut held = gate.hold();
    let early = ask_later(&keys, three);
    held.reached().await;
    keys.change(Change::insert(record(three, "00000003"))).await.unwrap();
    held.release();
    _ = early.await.unwrap();
    assert!(ask(&keys, three).await.is_ok());
}

#[tokio::test]
async fn a_revocation_with_a_lost_answer_holds_against_a_lookup_under_way() {
    for fault in [Fault::LostAnswer, Fault::LostChange] {
        let store = Faulty::new();
        Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
        let gate = Gate::new(store.clone());
        let keys = Cached::open(gate.clone()).await.unwrap();
        let mut held = gate.hold();
        let slow = ask_later(&keys, KEY);
        held.reached().await;
        store.set(fault);
        keys.revoke_client("client-0000000a").await.unwrap_err();
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked, "{fault:?}");
        held.release();
        _ = slow.await.unwrap();
        assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Revoked, "{fault:?}");
        assert!(gate.find(&KeyDigest::of(KEY)).await.unwrap().is_some());
    }
}
