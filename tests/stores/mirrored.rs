//! A mirror of a store, in front of a real server.

use std::time::Duration;

use tower_api_key::{
    Client,
    key::{KeyFormat, MintedKey},
    store::{MemoryStore, Mirrored},
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

/// Waits until a condition holds.
pub(crate) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not hold within five seconds");
}
