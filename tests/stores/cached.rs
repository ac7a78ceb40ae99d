//! A cache of a store, in front of a real server, and what the tests of caches share.

use std::{sync::Arc, time::Duration};

use http::Request;
use tower_api_key::{
    Client,
    extract::RequestHead,
    key::KeyFormat,
    record::Record,
    rejection::Reason,
    store::{Cached, CachedEvent, CachedOptions, Change, KeyStore, MemoryStore},
    verify::{PresentedKey, Verification, Verify as _},
};

use crate::{
    gate::{Find, Gate},
    http::Server,
    mirrored::{eventually, reveal},
    mirrored_load::record,
};

pub(crate) const KEY: &str = "key-of-the-client-a-0123456789";
pub(crate) const ID: &str = "0000000a";

/// Asks for a key without a layer, and returns the client or the reason.
pub(crate) async fn ask(keys: &Cached, key: &str) -> Result<Client, Reason> {
    let verification = {
        let request = Request::new(());
        keys.verify(&PresentedKey::new(key.as_bytes(), RequestHead::of(&request)))
    };
    let result = match verification {
        Verification::Ready(result) => result,
        Verification::Pending(future) => future.await,
    };
    result.map_err(|error| error.reason())
}

/// Asks for a key that is in memory.
pub(crate) fn ask_now(keys: &Cached, key: &str) -> Option<Result<Client, Reason>> {
    let request = Request::new(());
    match keys.verify(&PresentedKey::new(key.as_bytes(), RequestHead::of(&request))) {
        Verification::Ready(result) => Some(result.map_err(|error| error.reason())),
        Verification::Pending(_) => None,
    }
}

/// Asks for a key in a task of its own.
pub(crate) fn ask_later(
    keys: &Cached,
    key: &str,
) -> tokio::task::JoinHandle<Result<Client, Reason>> {
    let (keys, key) = (keys.clone(), key.to_owned());
    tokio::spawn(async move { ask(&keys, &key).await })
}

/// Lets all tasks run that can. The clock of the test is paused.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(crate) type Events = Arc<std::sync::Mutex<Vec<CachedEvent>>>;

/// Opens a cache and collects its events.
pub(crate) async fn observe(options: CachedOptions, store: impl KeyStore) -> (Cached, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let options = options.observe(move |event| seen.lock().unwrap().push(event.clone()));
    (options.open(store).await.unwrap(), events)
}

/// The names of the events since the last call.
pub(crate) fn names(events: &Events) -> Vec<String> {
    let events = std::mem::take(&mut *events.lock().unwrap());
    let name = |event: &CachedEvent| match event {
        CachedEvent::Changed(change) => change.kind().as_str().to_owned(),
        event => event.as_str().to_owned(),
    };
    events.iter().map(name).collect()
}

/// A store with one key, whose followers receive its changes.
pub(crate) async fn one_key() -> Gate {
    let store = MemoryStore::new();
    Change::insert(record(KEY, ID)).commit(&store).await.unwrap();
    Gate::new(store)
}

#[tokio::test]
async fn a_key_that_the_handle_issues_is_accepted_until_the_handle_revokes_it() {
    let keys = Cached::open(MemoryStore::new()).await.unwrap();
    let server = Server::start(keys.clone()).await;
    assert_eq!(server.status("12345abcde").await, 401);

    let minted = keys.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap();
    let (key_id, key) = reveal(minted);
    assert_eq!((server.status(&key).await, server.status(&key).await), (200, 200));
    assert_eq!(ask(&keys, &key).await.unwrap().key_id(), Some(&*key_id));

    keys.pause(&key_id).await.unwrap();
    assert_eq!(server.status(&key).await, 401);
    keys.resume(&key_id).await.unwrap();
    assert_eq!(server.status(&key).await, 200);

    let minted = keys.rotate(&key_id, Duration::from_secs(60)).await.unwrap();
    let (new_id, new_key) = reveal(minted);
    assert_eq!((server.status(&key).await, server.status(&new_key).await), (200, 200));

    assert!(keys.revoke_key(&key_id).await.unwrap());
    assert_eq!((server.status(&key).await, server.status(&new_key).await), (401, 200));
    let renamed = |record: Record| {
        let client = record.client().clone().with_name("the last one");
        record.with_client(client)
    };
    keys.update(&new_id, renamed).await.unwrap();
    assert_eq!(ask(&keys, &new_key).await.unwrap().name(), Some("the last one"));
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
    assert_eq!(server.status(&new_key).await, 401);
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    assert_eq!(keys.prune(later).await.unwrap(), 2);
    assert_eq!(ask(&keys, &key).await.unwrap_err(), Reason::Unknown);
}

#[tokio::test]
async fn another_process_follows_the_changes() {
    let store = MemoryStore::new();
    let one = Cached::open(store.clone()).await.unwrap();
    let server = Server::start(Cached::open(store).await.unwrap()).await;

    let (_, key) = reveal(one.issue(&KeyFormat::default(), Client::new("ci")).await.unwrap());
    eventually(async || server.status(&key).await == 200).await;
    one.revoke_client("ci").await.unwrap();
    eventually(async || server.status(&key).await == 401).await;
}

#[tokio::test]
async fn a_rejected_key_of_the_store_names_its_id_and_its_reason() {
    let store = one_key().await;
    let keys = Cached::open(store.clone()).await.unwrap();
    keys.pause(ID).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap_err(), Reason::Paused);
    assert_eq!(ask_now(&keys, KEY), Some(Err(Reason::Paused)), "it is in memory");
    assert_eq!(store.finds(), 1);
}

#[tokio::test]
async fn a_key_of_another_format_is_rejected_without_a_lookup() {
    let store = one_key().await;
    let format = KeyFormat::new("sk_live").unwrap();
    let keys = Cached::options().format(format.clone()).open(store.clone()).await.unwrap();
    let (_, key) = reveal(keys.issue(&format, Client::new("ci")).await.unwrap());
    let wrong = format!("{}0", &key[..key.len() - 1]);
    assert_eq!(ask_now(&keys, KEY), Some(Err(Reason::Unknown)));
    assert_eq!(ask_now(&keys, &wrong).map(|result| result.is_err()), Some(true));
    assert!(ask(&keys, &key).await.is_ok());
    assert_eq!(store.finds(), 1);
}

#[tokio::test]
async fn r46_memory_is_bounded_and_strangers_evict_no_client() {
    let store = MemoryStore::new();
    let names: Vec<_> = (0..10_000).map(|n| format!("key-of-the-client-{n}-0123456789")).collect();
    let records: Vec<_> =
        names.iter().zip(0..).map(|(name, n)| record(name, &format!("{n:08}"))).collect();
    Change::insert_if_absent(records).commit(&store).await.unwrap();
    let store = Gate::new(store);
    let keys = Cached::options().capacity(1_000).open(store.clone()).await.unwrap();
    for name in &names {
        assert!(ask(&keys, name).await.is_ok());
    }
    assert!((500..=1_100).contains(&keys.status().keys()), "{:?}", keys.status());

    let keys = Cached::options().capacity(1_000).open(store.clone()).await.unwrap();
    let clients = &names[..500];
    for name in clients {
        assert!(ask(&keys, name).await.is_ok());
    }
    for stranger in 0..20_000 {
        assert!(ask(&keys, &format!("stranger-{stranger}")).await.is_err());
    }
    let before = store.finds();
    for name in clients {
        assert!(ask(&keys, name).await.is_ok());
    }
    assert_eq!(store.finds(), before, "all clients are still in memory");
}

#[tokio::test]
async fn extreme_options_do_no_harm() {
    let nothing = Cached::options().capacity(0).fresh(Duration::ZERO).max_lookups(0);
    let everything = Cached::options()
        .capacity(usize::MAX)
        .fresh(Duration::MAX)
        .deadline(Duration::MAX)
        .max_lookups(usize::MAX);
    for (options, finds) in [(nothing, 4), (everything, 2)] {
        let store = one_key().await;
        let keys = options.open(store.clone()).await.unwrap();
        for _ in 0..2 {
            assert!(ask(&keys, KEY).await.is_ok());
            assert_eq!(ask(&keys, "an-unknown-key").await.unwrap_err(), Reason::Unknown);
        }
        assert_eq!(store.finds(), finds);
    }
}

#[tokio::test]
async fn a_store_that_returns_another_record_is_no_way_in() {
    let store = one_key().await;
    store.set(Find::Says(Some(record(KEY, ID))));
    let keys = Cached::open(store).await.unwrap();
    assert_eq!(ask(&keys, KEY).await.unwrap().key_id(), Some(ID), "the record alone has the id");
    assert_eq!(ask(&keys, "another key").await.unwrap_err(), Reason::Failed);
}
