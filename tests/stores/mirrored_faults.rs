//! A mirror whose store fails.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
    time::{Duration, Instant},
};

use tower_api_key::{
    KeyDigest,
    record::Record,
    store::{Change, KeyStore, Mirrored, MirroredEvent, Start, StoreErrorKind},
};

use crate::{
    faulty::{Fault, Faulty},
    http::Server,
    mirrored::eventually,
    mirrored_load::{Events, names, record},
};

const KEY: &str = "key-of-the-client-a-0123456789";
const ID: &str = "0000000a";

/// A store with one key, and a mirror of it.
pub(crate) async fn start() -> (Faulty, Mirrored, Server, Events) {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let events = Events::default();
    let seen = Arc::clone(&events);
    let keys = Mirrored::options()
        .observe(move |event| seen.lock().unwrap().push(event.clone()))
        .open(store.clone())
        .await
        .unwrap();
    let server = Server::start(keys.clone()).await;
    names(&events);
    (store, keys, server, events)
}

#[tokio::test]
async fn opening_fails_if_the_store_is_down() {
    let store = Faulty::new();
    for fault in [Fault::Down, Fault::Panics] {
        store.set(fault);
        let error = Mirrored::open(store.clone()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(store.starts.lock().unwrap().len(), 2, "no task is left that tries again");
}

#[tokio::test]
async fn a_store_that_is_down_stops_changes_and_no_requests() {
    let (store, keys, server, events) = start().await;
    let before = keys.status();
    assert!(before.problem().is_none());
    store.set(Fault::Down);
    eventually(async || keys.status().problem().is_some()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.status(KEY).await, 200);
    let error = keys.revoke_key(ID).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(server.status(KEY).await, 200, "a change that failed has no effect");
    let status = keys.status();
    let problem = status.problem().unwrap();
    assert!(problem.since() >= before.last_contact() && status.last_contact() < problem.since());
    assert_eq!(status.loaded_at(), before.loaded_at());
    assert_eq!(names(&events), ["broken"], "one event for many attempts");

    store.set(Fault::None);
    eventually(async || keys.status().problem().is_none()).await;
    assert_eq!(names(&events), ["recovered"]);
    assert!(keys.revoke_key(ID).await.unwrap());
    assert_eq!(server.status(KEY).await, 401);
    let starts = store.starts.lock().unwrap();
    assert_eq!(starts[0], Start::Everything);
    assert!(starts[1..].iter().all(|start| matches!(start, Start::After(_))), "{starts:?}");
}

#[tokio::test]
async fn changes_that_were_made_while_the_store_was_not_followed_arrive() {
    let (store, keys, server, _) = start().await;
    store.set(Fault::Down);
    eventually(async || keys.status().problem().is_some()).await;
    Change::revoke_key(ID).commit(&store.store).await.unwrap();
    let other = "key-of-another-client-0123456789";
    Change::insert(record(other, "0000000b")).commit(&store.store).await.unwrap();
    assert_eq!(server.status(KEY).await, 200);
    store.set(Fault::None);
    eventually(async || server.status(KEY).await == 401 && server.status(other).await == 200).await;
}

#[tokio::test]
async fn refuse_after_bounds_the_time_without_contact() {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let events = Events::default();
    let seen = Arc::clone(&events);
    let keys = Mirrored::options()
        .refuse_after(Duration::from_millis(700))
        .observe(move |event| seen.lock().unwrap().push(event.clone()))
        .open(store.clone())
        .await
        .unwrap();
    let server = Server::start(keys.clone()).await;
    assert_eq!(server.status(KEY).await, 200);
    store.set(Fault::Down);
    let since = Instant::now();
    eventually(async || server.status(KEY).await == 503).await;
    assert!(since.elapsed() > Duration::from_millis(300), "{:?}", since.elapsed());
    assert_eq!(server.status("an-unknown-key").await, 503);
    assert_eq!(names(&events), ["loaded", "broken", "refusing"]);
    store.set(Fault::None);
    eventually(async || server.status(KEY).await == 200).await;
    store.set(Fault::Down);
    eventually(async || server.status(KEY).await == 503).await;
    assert!(names(&events).contains(&"refusing".to_owned()), "the second time as well");
}

/// Returns whether the mirror has lost its store. It follows again within a tenth of a second.
fn is_broken(events: &Events) -> bool {
    events.lock().unwrap().iter().any(|event| matches!(event, MirroredEvent::Broken(_)))
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_rejects_the_key_here() {
    for (fault, is_committed) in [(Fault::LostAnswer, true), (Fault::LostChange, false)] {
        let (store, keys, server, events) = start().await;
        store.set(fault);
        let change = Change::revoke_client("client-0000000a").with_by("alice");
        let error = keys.change(change).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
        assert_eq!(server.status(KEY).await, 401, "{fault:?}");
        eventually(async || is_broken(&events)).await;
        store.set(Fault::None);
        eventually(async || keys.status().problem().is_none()).await;
        let in_store = store.find(&KeyDigest::of(KEY)).await.unwrap().unwrap();
        assert_eq!(in_store.revoked().is_some(), is_committed);
        assert_eq!(server.status(KEY).await, 401, "{fault:?}");

        // A change elsewhere brings the record here once more.
        if !is_committed {
            let note = Change::update(ID, |record| record.with_note("changed"));
            note.commit(&store).await.unwrap();
            eventually(async || keys.record(ID).unwrap().note() == Some("changed")).await;
            assert_eq!(server.status(KEY).await, 401);
        }
        let names = names(&events);
        assert!(names.contains(&"outcome_unknown".to_owned()), "{names:?}");
        assert_eq!(names.contains(&"stays_revoked".to_owned()), !is_committed, "{names:?}");
        assert!(keys.revoke_key(ID).await.unwrap() != is_committed);
    }
}

#[tokio::test]
async fn a_change_that_revokes_nothing_has_no_effect_here_if_its_answer_is_lost() {
    let (store, keys, server, events) = start().await;
    store.set(Fault::LostChange);
    eventually(async || is_broken(&events)).await;
    let error = keys.pause(ID).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    assert_eq!(server.status(KEY).await, 200);
    assert!(keys.record(ID).unwrap().paused().is_none());
    assert!(names(&events).contains(&"outcome_unknown".to_owned()));
}

#[tokio::test]
async fn a_panic_of_the_store_a_closure_or_the_observer_ends_no_mirror() {
    let (store, keys, server, _) = start().await;
    store.set(Fault::Panics);
    eventually(async || keys.status().problem().is_some()).await;
    store.set(Fault::None);
    eventually(async || keys.status().problem().is_none()).await;

    let error = keys.update(ID, |_| panic!("a test asked for it")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::OutcomeUnknown);
    keys.update(ID, |record| record.with_note("it goes on")).await.unwrap();
    assert_eq!(keys.record(ID).unwrap().note(), Some("it goes on"));
    assert_eq!(server.status(KEY).await, 200);

    let observed = Mirrored::options().observe(|_| panic!("a test asked for it"));
    let observed = observed.open(store.clone()).await.unwrap();
    keys.revoke_key(ID).await.unwrap();
    eventually(async || observed.status().keys() == 0).await;
    assert!(observed.status().problem().is_none(), "the panic did not reach the store");
}

#[tokio::test]
async fn a_change_goes_on_if_its_caller_hangs_up() {
    let (store, keys, server, _) = start().await;
    let mut revoke = Box::pin(keys.revoke_key(ID));
    // It is polled once, so that it has begun.
    let is_pending = poll_fn(|cx| Poll::Ready(revoke.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending);
    drop(revoke);
    eventually(async || server.status(KEY).await == 401).await;
    assert!(store.find(&KeyDigest::of(KEY)).await.unwrap().unwrap().revoked().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_is_followed_anew() {
    let store = Faulty::new();
    let keys = Mirrored::open(store.clone()).await.unwrap();
    store.set(Fault::Silent);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = keys.status().problem().unwrap().clone();
    let problem = before.error().to_string();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let now = keys.status().problem().unwrap().clone();
    assert_eq!(now.since(), before.since(), "another error is the same outage");
    let silent = now.error().to_string();
    assert!(silent != problem && silent.contains("silent"), "{silent}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    let attempts = store.starts.lock().unwrap().len();
    assert!((6..=12).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_grow_to_ten_seconds_and_begin_short_after_a_contact() {
    let store = Faulty::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    let keys = Mirrored::open(store.clone()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    store.set(Fault::Down);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = store.starts.lock().unwrap().len();
    assert!((60..130).contains(&attempts), "{attempts}");
    assert_eq!(server.status(KEY).await, 200, "there is no limit by default");
    store.set(Fault::None);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(keys.status().problem().is_none());
    store.set(Fault::Down);
    store.set(Fault::None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(keys.status().problem().is_none());
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle() {
    let (store, keys, server, _) = start().await;
    drop((keys, server));
    // The server of the test holds a clone, so this is another mirror.
    let other = Mirrored::open(store.clone()).await.unwrap();
    drop(other);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let followers = store.starts.lock().unwrap().len();
    store.set(Fault::Down);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(store.starts.lock().unwrap().len(), followers + 1, "one mirror tries again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mirrors_that_change_keys_at_once_agree_with_the_store() {
    let store = Faulty::new();
    let mut mirrors = Vec::new();
    for _ in 0..4 {
        mirrors.push(Mirrored::open(store.clone()).await.unwrap());
    }
    let ids: Vec<_> = (0..8).map(|n| format!("0000000{n}")).collect();
    let records = ids.iter().map(|id| record(&format!("{KEY}-{id}"), id));
    Change::insert_if_absent(records).commit(&store).await.unwrap();
    let seen = Arc::new(Mutex::new(0_usize));
    let workers: Vec<_> = mirrors
        .iter()
        .enumerate()
        .map(|(worker, keys)| {
            let (keys, ids, seen) = (keys.clone(), ids.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                for round in 0..300 {
                    let id = &ids[(round * 7 + worker) % ids.len()];
                    let note = format!("{worker} {round}");
                    let set = move |record: Record| record.with_note(note.clone());
                    match round % 3 {
                        0 => keys.pause(id).await.unwrap(),
                        1 => keys.resume(id).await.unwrap(),
                        _ => keys.update(id, set).await.unwrap(),
                    }
                    *seen.lock().unwrap() += 1;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), 1200);
    for id in &ids {
        let digest = KeyDigest::of(format!("{KEY}-{id}"));
        let truth = store.find(&digest).await.unwrap();
        for keys in &mirrors {
            eventually(async || keys.record(id) == truth).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for id in &ids {
        let digest = KeyDigest::of(format!("{KEY}-{id}"));
        let truth = store.find(&digest).await.unwrap();
        assert!(mirrors.iter().all(|keys| keys.record(id) == truth), "it stays so");
    }
}
