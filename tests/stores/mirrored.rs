//! A mirror of a store, in front of a real server.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tower_api_key::{
    Client,
    key::{KeyFormat, MintedKey},
    store::{MemoryStore, Mirrored, MirroredEvent, StoreErrorKind},
};

use crate::http::Server;

/// Returns the id and the text of a minted key.
pub(crate) fn reveal(minted: MintedKey) -> (String, String) {
    (minted.id().to_owned(), minted.reveal(str::to_owned))
}

#[tokio::test]
async fn a_key_that_the_handle_issues_is_accepted_until_the_handle_revokes_it() {
    let keys = Mirrored::open(MemoryStore::new()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    assert_eq!(server.status("12345abcde").await, 401);

    let minted = keys.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap();
    let (key_id, key) = reveal(minted);
    assert_eq!(server.status(&key).await, 200);

    keys.pause(&key_id).await.unwrap();
    assert_eq!(server.status(&key).await, 401);
    keys.resume(&key_id).await.unwrap();
    assert_eq!(server.status(&key).await, 200);

    let minted = keys.rotate(&key_id, Duration::from_secs(60)).await.unwrap();
    let (new_id, new_key) = reveal(minted);
    assert_eq!((server.status(&key).await, server.status(&new_key).await), (200, 200));

    assert!(keys.revoke_key(&key_id).await.unwrap());
    assert_eq!((server.status(&key).await, server.status(&new_key).await), (401, 200));
    keys.update(&new_id, |record| record.with_note("the last one")).await.unwrap();
    assert_eq!(keys.record(&new_id).unwrap().note(), Some("the last one"));
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
    assert_eq!(server.status(&new_key).await, 401);
}

#[tokio::test]
async fn a_clock_that_steps_back_rejects_no_good_key_and_stops_no_change() {
    let seconds = Arc::new(AtomicU64::new(2_000_000_000));
    let clock = Arc::clone(&seconds);
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(clock.load(Relaxed));
    let keys = Mirrored::options().clock(now).open(MemoryStore::new()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    let mut issued = Vec::new();
    for client in ["ci", "app"] {
        let minted = keys.issue(&KeyFormat::default(), Client::new(client)).await.unwrap();
        issued.push(reveal(minted));
    }
    let (key_id, key) = &issued[0];
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    assert_eq!(keys.record(key_id).unwrap().created(), Some(created));
    seconds.fetch_sub(3_600, Relaxed);
    assert_eq!(server.status(key).await, 200);
    keys.pause(key_id).await.unwrap();
    assert_eq!(server.status(key).await, 401);
    keys.resume(key_id).await.unwrap();
    keys.update(key_id, |record| record.with_note("earlier")).await.unwrap();
    let minted = keys.rotate(key_id, Duration::from_secs(60)).await.unwrap();
    let (_, successor) = reveal(minted);
    assert_eq!((server.status(key).await, server.status(&successor).await), (200, 200));
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 2);
    for step in [0, 3_600] {
        seconds.fetch_add(step, Relaxed);
        assert_eq!((server.status(key).await, server.status(&successor).await), (401, 401));
        assert_eq!(server.status(&issued[1].1).await, 200);
    }
}

#[tokio::test]
async fn another_process_follows_the_changes() {
    let store = MemoryStore::new();
    let (one, two) = (Mirrored::open(store.clone()).await.unwrap(), Mirrored::open(store));
    let two = two.await.unwrap();
    let server = Server::start(two).await;

    let minted = one.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap();
    let (_, key) = reveal(minted);
    eventually(async || server.status(&key).await == 200).await;
    one.revoke_client("ci").await.unwrap();
    eventually(async || server.status(&key).await == 401).await;
}

#[tokio::test]
async fn a_handle_with_a_format_issues_no_key_of_another_format() {
    let format = KeyFormat::new("sk_live").unwrap();
    let options = Mirrored::options().format(format.clone());
    let keys = options.open(MemoryStore::new()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    let other = keys.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap_err();
    assert_eq!(other.kind(), StoreErrorKind::Refused);
    let (_, key) = reveal(keys.issue(&format, Client::new("ci")).await.unwrap());
    assert_eq!(server.status(&key).await, 200);
}

#[tokio::test]
async fn an_observer_can_read_the_mirror() {
    static KEYS: OnceLock<Mirrored> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let observe = |event: &MirroredEvent| {
        let (Some(keys), MirroredEvent::Changed(change)) = (KEYS.get(), event) else { return };
        assert!(keys.record(change.key_id()).is_some() && keys.status().keys() == 1);
        SEEN.fetch_add(1, Relaxed);
    };
    let keys = Mirrored::options().observe(observe).open(MemoryStore::new()).await.unwrap();
    let keys = KEYS.get_or_init(|| keys);
    drop(keys.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap());
    assert_eq!(SEEN.load(Relaxed), 1);
}

/// Waits until a condition holds. A mirror pauses for up to ten seconds after failures.
pub(crate) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(20), "the condition does not hold");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
