//! The first load of a mirror, which fills the memory that requests read later.

use std::{sync::Arc, time::SystemTime};

use tokio::task::JoinHandle;
use tower_api_key::{
    KeyDigest,
    store::{Listener, Mirrored, StoreError, StoreErrorKind},
};

use crate::{
    faulty::Scripted,
    http::Server,
    mirrored_load::{A, B, Events, names, record},
};

const C: &str = "key-of-the-client-c-0123456789";
const D: &str = "key-of-the-client-d-0123456789";

/// Opens a mirror of a store in a task.
fn open(store: &Scripted) -> (JoinHandle<Mirrored>, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let options =
        Mirrored::options().observe(move |event| seen.lock().unwrap().push(event.clone()));
    let store = store.clone();
    (tokio::spawn(async move { options.open(store).await.unwrap() }), events)
}

/// Returns the answers to the keys of the four clients.
async fn statuses(keys: &Mirrored) -> [u16; 4] {
    let server = Server::start(keys.clone()).await;
    let mut statuses = [0; 4];
    for (status, key) in statuses.iter_mut().zip([A, B, C, D]) {
        *status = server.status(key).await;
    }
    statuses
}

fn corrupt(listener: &dyn Listener, key: &str) {
    let error = StoreError::new(StoreErrorKind::Corrupt, "unknown column");
    listener.corrupt(1, KeyDigest::of(key), error);
}

#[tokio::test]
async fn a_mirror_opens_when_its_first_load_is_complete() {
    let store = Scripted::silent();
    let (opening, events) = open(&store);
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
        })
        .await;
    tokio::task::yield_now().await;
    assert!(!opening.is_finished() && names(&events).is_empty());
    store
        .deliver(|listener| {
            listener.record(2, record(B, "0000000b"));
            listener.ready(None);
        })
        .await;
    let keys = opening.await.unwrap();
    assert_eq!(statuses(&keys).await, [200, 200, 401, 401]);
    assert_eq!((names(&events), keys.status().keys()), (vec!["loaded".to_owned()], 2));
}

#[tokio::test]
async fn a_first_load_that_begins_again_forgets_the_first_part() {
    let store = Scripted::silent();
    let (opening, events) = open(&store);
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a").with_revoked(SystemTime::now()));
            corrupt(listener, B);
            listener.record(1, record(C, "0000000c"));
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.record(1, record(D, "0000000c"));
            listener.ready(None);
        })
        .await;
    let keys = opening.await.unwrap();
    assert_eq!(statuses(&keys).await, [200, 401, 401, 200]);
    assert_eq!(
        (names(&events), keys.records().count()),
        (vec!["corrupt".into(), "loaded".into()], 2)
    );
}

#[tokio::test]
async fn of_several_states_of_a_key_in_a_first_load_the_last_one_counts() {
    let store = Scripted::silent();
    let (opening, events) = open(&store);
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.record(2, record(A, "0000000a").with_note("later"));
            listener.record(1, record(B, "0000000b"));
            listener.removed(2, KeyDigest::of(B));
            corrupt(listener, C);
            listener.record(2, record(C, "0000000c"));
            listener.record(1, record(D, "0000000d"));
            corrupt(listener, D);
            listener.ready(None);
        })
        .await;
    let keys = opening.await.unwrap();
    assert_eq!(statuses(&keys).await, [200, 401, 200, 503]);
    assert_eq!(keys.record("0000000a").unwrap().note(), Some("later"));
    assert_eq!(names(&events), ["corrupt", "corrupt", "loaded"]);
}

#[tokio::test]
async fn the_second_of_two_equal_ids_in_a_first_load_is_corrupt() {
    let store = Scripted::new(vec![record(A, "0000000a"), record(B, "0000000a")]);
    let (opening, events) = open(&store);
    let keys = opening.await.unwrap();
    assert_eq!(statuses(&keys).await, [200, 503, 401, 401]);
    assert_eq!(names(&events), ["corrupt", "loaded"]);
}
