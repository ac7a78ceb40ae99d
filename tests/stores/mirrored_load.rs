//! Loads of a mirror, and the states that a store delivers late, twice or not at all.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, KeyChangeKind, Mirrored, MirroredEvent, StoreError, StoreErrorKind},
};

use crate::{faulty::Scripted, http::Server};

pub(crate) const A: &str = "key-of-the-client-a-0123456789";
pub(crate) const B: &str = "key-of-the-client-b-0123456789";

/// A record of a key, with an id that the test knows.
pub(crate) fn record(key: &str, id: &str) -> Record {
    let record = Record::new(KeyDigest::of(key), Client::new(format!("client-{id}")));
    record.with_id(id).unwrap().with_created(SystemTime::UNIX_EPOCH)
}

pub(crate) type Events = Arc<Mutex<Vec<MirroredEvent>>>;

/// The names of the events since the last call.
pub(crate) fn names(events: &Events) -> Vec<String> {
    let events = std::mem::take(&mut *events.lock().unwrap());
    let name = |event: &MirroredEvent| match event {
        MirroredEvent::Changed(change) => change.kind().as_str().to_owned(),
        event => event.as_str().to_owned(),
    };
    events.iter().map(name).collect()
}

pub(crate) async fn start(records: Vec<Record>) -> (Scripted, Mirrored, Server, Events) {
    let store = Scripted::new(records);
    let events = Events::default();
    let seen = Arc::clone(&events);
    let keys = Mirrored::options()
        .observe(move |event| seen.lock().unwrap().push(event.clone()))
        .open(store.clone())
        .await
        .unwrap();
    let server = Server::start(keys.clone()).await;
    (store, keys, server, events)
}

#[tokio::test]
async fn a_load_takes_effect_when_it_is_complete() {
    let (store, keys, server, events) = start(vec![record(A, "0000000a")]).await;
    assert_eq!(names(&events), ["loaded"]);
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(2, record(B, "0000000b"));
        })
        .await;
    assert_eq!((server.status(A).await, server.status(B).await), (200, 401), "half loaded");
    store.deliver(|listener| listener.ready(None)).await;
    assert_eq!((server.status(A).await, server.status(B).await), (401, 200));
    assert_eq!(names(&events), ["removed", "issued", "loaded"]);
    assert_eq!(keys.status().keys(), 1);

    store
        .deliver(|listener| {
            listener.restart();
            listener.ready(None);
        })
        .await;
    assert_eq!(server.status(B).await, 401);
    assert_eq!(names(&events), ["removed", "emptied"]);
}

#[tokio::test]
async fn a_load_that_begins_again_forgets_the_first_part() {
    let (store, keys, server, _) = start(vec![]).await;
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.restart();
            listener.record(1, record(B, "0000000b"));
            listener.ready(None);
        })
        .await;
    assert_eq!((server.status(A).await, server.status(B).await), (401, 200));
    assert_eq!(keys.records().count(), 1);
}

#[tokio::test]
async fn a_revocation_does_not_wait_for_the_end_of_a_load() {
    let (store, _, server, events) = start(vec![record(A, "0000000a")]).await;
    let revoked = record(A, "0000000a").with_revoked(SystemTime::now()).with_revoked_by("alice");
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(2, revoked);
        })
        .await;
    assert_eq!(server.status(A).await, 401);
    let events = events.lock().unwrap();
    let Some(MirroredEvent::Changed(change)) = events.last() else { panic!("{events:?}") };
    assert_eq!((change.kind(), change.by()), (KeyChangeKind::Revoked, Some("alice")));
    assert!(!change.is_own());
}

#[tokio::test]
async fn a_revoked_key_that_the_store_brings_back_stays_rejected_and_is_reported_once() {
    let (store, keys, server, events) = start(vec![record(A, "0000000a")]).await;
    let revoked = record(A, "0000000a").with_revoked(SystemTime::now());
    let revoked = revoked.with_revoked_by("alice").with_revoked_reason("leaked");
    let again = revoked.clone();
    store.deliver(move |listener| listener.record(2, revoked)).await;
    names(&events);
    for _ in 0..2 {
        store.deliver(|listener| listener.record(3, record(A, "0000000a"))).await;
    }
    let known = keys.record("0000000a").unwrap();
    assert_eq!((known.revoked_by(), known.revoked_reason()), (Some("alice"), Some("leaked")));
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.ready(None);
        })
        .await;
    assert_eq!(server.status(A).await, 401);
    assert_eq!(names(&events), ["stays_revoked", "loaded"]);
    assert!(keys.record("0000000a").unwrap().revoked().is_some());

    store.deliver(move |listener| listener.record(4, again)).await;
    store.deliver(|listener| listener.record(5, record(A, "0000000a"))).await;
    assert_eq!(names(&events), ["stays_revoked"], "it was revoked again, and came back again");
}

#[tokio::test]
async fn a_pruned_key_that_the_store_brings_back_stays_rejected() {
    let revoked = record(A, "0000000a").with_revoked(SystemTime::now());
    let (store, _, server, events) = start(vec![revoked]).await;
    store.deliver(|listener| listener.removed(2, KeyDigest::of(A))).await;
    store.deliver(|listener| listener.record(3, record(A, "0000000a"))).await;
    assert_eq!(server.status(A).await, 401);
    assert_eq!(names(&events), ["loaded", "removed", "stays_revoked", "issued"]);
}

#[tokio::test]
async fn a_state_from_before_an_own_change_does_not_undo_it() {
    let (store, keys, server, _) = start(vec![]).await;
    keys.change(Change::insert(record(A, "0000000a"))).await.unwrap();
    keys.pause("0000000a").await.unwrap();
    store.deliver(|listener| listener.record(1, record(A, "0000000a"))).await;
    assert_eq!(server.status(A).await, 401, "an older read arrives late");
    let paused = keys.record("0000000a").unwrap();
    store.deliver(move |listener| listener.record(2, paused)).await;
    assert_eq!(server.status(A).await, 401);
    store.deliver(|listener| listener.record(3, record(A, "0000000a"))).await;
    assert_eq!(server.status(A).await, 200, "another process resumed it");
}

#[tokio::test]
async fn an_own_change_during_a_load_survives_the_load() {
    let (store, keys, server, _) = start(vec![]).await;
    keys.change(Change::insert(record(A, "0000000a"))).await.unwrap();
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
        })
        .await;
    keys.pause("0000000a").await.unwrap();
    keys.change(Change::insert(record(B, "0000000b"))).await.unwrap();
    store.deliver(|listener| listener.ready(None)).await;
    assert_eq!((server.status(A).await, server.status(B).await), (401, 200));
}

#[tokio::test]
async fn a_corrupt_row_is_a_503_for_its_key_alone() {
    let (store, _, server, events) = start(vec![record(A, "0000000a")]).await;
    let corrupt = || StoreError::new(StoreErrorKind::Corrupt, "unknown column");
    store.deliver(move |listener| listener.corrupt(2, KeyDigest::of(B), corrupt())).await;
    assert_eq!((server.status(A).await, server.status(B).await), (200, 503));
    store.deliver(move |listener| listener.corrupt(3, KeyDigest::of(A), corrupt())).await;
    assert_eq!(server.status(A).await, 503);
    store.deliver(|listener| listener.record(4, record(A, "0000000a"))).await;
    store.deliver(|listener| listener.removed(5, KeyDigest::of(B))).await;
    assert_eq!((server.status(A).await, server.status(B).await), (200, 401));
    assert_eq!(names(&events), ["loaded", "corrupt", "corrupt"]);

    store
        .deliver(move |listener| {
            listener.restart();
            listener.corrupt(6, KeyDigest::of(A), corrupt());
            listener.ready(None);
        })
        .await;
    assert_eq!((server.status(A).await, server.status(B).await), (503, 401));
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(7, record(A, "0000000a"));
            listener.ready(None);
        })
        .await;
    assert_eq!(server.status(A).await, 200);
    let revoked = record(A, "0000000a").with_revoked(SystemTime::now());
    store.deliver(move |listener| listener.record(8, revoked)).await;
    store.deliver(move |listener| listener.corrupt(9, KeyDigest::of(A), corrupt())).await;
    assert_eq!(server.status(A).await, 401, "a revoked key stays revoked");
}

#[tokio::test]
async fn a_record_that_is_not_valid_is_corrupt() {
    let invalid = record(B, "0000000b").with_client(Client::new(""));
    let (store, _, server, events) = start(vec![record(A, "0000000a"), invalid]).await;
    assert_eq!((server.status(A).await, server.status(B).await), (200, 503));
    store.deliver(|listener| listener.record(2, record(B, "0000000b"))).await;
    assert_eq!(server.status(B).await, 200);
    assert_eq!(names(&events), ["corrupt", "loaded", "issued"]);
}

#[tokio::test]
async fn a_new_key_takes_the_id_of_one_that_is_gone() {
    let (store, keys, server, _) = start(vec![record(A, "0000000a")]).await;
    store.deliver(|listener| listener.record(3, record(B, "0000000a"))).await;
    assert_eq!((server.status(A).await, server.status(B).await), (401, 200));
    store.deliver(|listener| listener.removed(2, KeyDigest::of(A))).await;
    assert_eq!((server.status(B).await, keys.records().count()), (200, 1));
}

#[tokio::test]
async fn a_restored_backup_with_lower_versions_is_followed() {
    let (store, keys, server, _) = start(vec![]).await;
    keys.change(Change::insert(record(A, "0000000a"))).await.unwrap();
    keys.pause("0000000a").await.unwrap();
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.ready(None);
            listener.record(1, record(A, "0000000a").with_note("later"));
        })
        .await;
    assert_eq!(server.status(A).await, 200);
    assert_eq!(keys.record("0000000a").unwrap().note(), Some("later"));
}

#[tokio::test]
async fn a_revocation_that_another_process_was_faster_with_takes_effect_here_as_well() {
    let (store, keys, server, events) = start(vec![record(A, "0000000a")]).await;
    Change::insert(record(A, "0000000a")).commit(&store.store).await.unwrap();
    let by_another = Change::revoke_key("0000000a").with_by("alice");
    by_another.commit(&store.store).await.unwrap();
    assert_eq!(server.status(A).await, 200, "not delivered yet");
    assert!(!keys.revoke_key("0000000a").await.unwrap());
    assert_eq!(server.status(A).await, 401);
    let events = events.lock().unwrap();
    let Some(MirroredEvent::Changed(change)) = events.last() else { panic!("{events:?}") };
    assert_eq!((change.by(), change.is_own()), (Some("alice"), false));
}
