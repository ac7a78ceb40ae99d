//! Loads after the first one: their events, their order with own changes, and where the next one begins.

use std::time::{Duration, SystemTime};

use tower_api_key::{
    KeyDigest,
    store::{Change, Cursor, Mirrored, Start, StoreError, StoreErrorKind},
};

use crate::{
    faulty::Scripted,
    mirrored::eventually,
    mirrored_load::{A, B, names, record, start},
};

fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "unknown column")
}

#[tokio::test]
async fn a_row_that_stays_corrupt_is_reported_once() {
    let (store, _, _, events) = start(vec![record(A, "0000000a")]).await;
    for version in [2, 3] {
        let deliver = move |listener: &dyn tower_api_key::store::Listener| {
            listener.corrupt(version, KeyDigest::of(B), corrupt());
        };
        store.deliver(deliver).await;
    }
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, record(A, "0000000a"));
            listener.corrupt(3, KeyDigest::of(B), corrupt());
            listener.ready(None);
        })
        .await;
    assert_eq!(names(&events), ["loaded", "corrupt", "loaded"]);
}

#[tokio::test]
async fn after_an_incomplete_load_the_next_one_begins_with_everything() {
    let (store, keys, _, _) = start(vec![]).await;
    store
        .deliver(|listener| {
            listener.ready(Some(&Cursor::new("7")));
            listener.restart();
        })
        .await;
    store.fail();
    eventually(async || store.starts.lock().unwrap().len() == 2).await;
    assert_eq!(*store.starts.lock().unwrap(), [Start::Everything, Start::Everything]);
    store.deliver(|listener| listener.ready(Some(&Cursor::new("8")))).await;
    store.fail();
    eventually(async || store.starts.lock().unwrap().len() == 3).await;
    assert_eq!(store.starts.lock().unwrap()[2], Start::After(Cursor::new("8")));
    assert!(keys.status().keys() == 0);
}

#[tokio::test]
async fn a_key_that_this_process_removes_during_a_load_does_not_come_back() {
    let (store, keys, _, _) = start(vec![]).await;
    let dead = record(A, "0000000a").with_expires(SystemTime::UNIX_EPOCH + Duration::from_secs(9));
    keys.change(Change::insert(dead.clone())).await.unwrap();
    store
        .deliver(|listener| {
            listener.restart();
            listener.record(1, dead.with_note("before the removal"));
        })
        .await;
    assert_eq!(keys.prune(SystemTime::now()).await.unwrap(), 1);
    store.deliver(|listener| listener.ready(None)).await;
    assert_eq!(keys.records().count(), 0);
}

#[tokio::test]
async fn the_status_has_the_time_of_the_last_load_and_not_of_the_last_change() {
    let (store, keys, _, _) = start(vec![]).await;
    let first = keys.status().loaded_at();
    let tick = || std::thread::sleep(Duration::from_millis(2));
    tick();
    store
        .deliver(|listener| {
            listener.record(1, record(A, "0000000a"));
            listener.ready(None);
        })
        .await;
    let changed = keys.status();
    assert!(changed.loaded_at() == first && changed.last_contact() > first);
    tick();
    store
        .deliver(|listener| {
            listener.restart();
            listener.ready(None);
        })
        .await;
    assert!(keys.status().loaded_at() > changed.last_contact());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_minutes_is_not_cut_off_while_records_arrive() {
    let store = Scripted::new(vec![]);
    let keys = Mirrored::open(store.clone()).await.unwrap();
    store.deliver(|listener| listener.restart()).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        store.deliver(|listener| listener.record(1, record(A, "0000000a"))).await;
    }
    store.deliver(|listener| listener.ready(None)).await;
    assert!(keys.status().problem().is_none() && store.starts.lock().unwrap().len() == 1);
    assert_eq!(keys.status().keys(), 1);
}
