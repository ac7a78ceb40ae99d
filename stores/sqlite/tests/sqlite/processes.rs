//! Several processes that share a database.

use std::time::{Duration, Instant, SystemTime};

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, KeyStore as _, Mirrored, MirroredEvent},
};

use crate::{
    child::Child,
    server::Caller,
    support::{Folder, SOON, eventually, issue},
};

/// The promise of the manual, from the commit to the rejection in another process.
const BOUND: Duration = Duration::from_millis(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_rejects_a_revoked_key_within_120_ms() {
    let folder = Folder::migrated();
    let (store, keys) = (folder.open(), folder.mirror().await);
    let mut server = Child::start("serve", &folder.file());
    let caller = Caller::new(server.line().unwrap().parse().unwrap());
    let mut times = Vec::new();
    for _ in 0..20 {
        let (_, key) = issue(&keys, "ci").await;
        eventually(async || caller.status(&key).await == 200).await;
        assert_eq!(store.change(Change::revoke_client("ci")).await.unwrap().count(), 1);
        let committed = Instant::now();
        while caller.status(&key).await != 401 {
            assert!(committed.elapsed() < Duration::from_secs(5), "the key is still accepted");
        }
        times.push(committed.elapsed());
    }
    times.sort();
    println!("from commit to rejection: median {:?}, longest {:?}", times[10], times[19]);
    // A busy machine may delay one of them.
    assert!(times[18] < BOUND, "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_process_follows_the_changes_of_another() {
    let folder = Folder::migrated();
    let keys = folder.mirror().await;
    let caller = Caller::new(crate::server::serve(keys.clone()).await);
    let mut other = Child::start("change", &folder.file());
    let key = other.ask("issue ci");
    eventually(async || caller.status(&key).await == 200).await;
    assert_eq!(other.ask("revoke ci"), "1");
    eventually(async || caller.status(&key).await == 401).await;
    // The other process ends at any time, and this one goes on.
    other.kill();
    let (_, key) = issue(&keys, "ci").await;
    assert_eq!(caller.status(&key).await, 200);
}

#[tokio::test]
async fn the_audit_trail_has_the_changes_of_others_with_what_their_rows_tell() {
    let folder = Folder::migrated();
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let observe = move |event: &MirroredEvent| {
        if let MirroredEvent::Changed(change) = event {
            sender.send(change.clone()).unwrap();
        }
    };
    let _keys = Mirrored::options().observe(observe).open(folder.open()).await.unwrap();
    let other = folder.open();
    let mut next = async |change: Change| {
        let minted = change.commit(&other).await.unwrap().into_minted();
        let change = tokio::time::timeout(SOON, changes.recv()).await.unwrap().unwrap();
        assert!(!change.is_own());
        let (by, reason) = (change.by().unwrap_or("-"), change.reason().unwrap_or("-"));
        (minted, format!("{} {by} {reason}", change.kind().as_str()))
    };
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice");
    let (minted, issued) = next(issue).await;
    let id = minted.unwrap().id().to_owned();
    let revoke = Change::revoke_key(&id).with_by("bob").with_reason("leaked");
    let prune = Change::prune(SystemTime::now() + SOON).with_by("carol");
    let all = [
        issued,
        next(Change::pause(&id).with_by("bob")).await.1,
        next(Change::resume(&id)).await.1,
        next(Change::update(&id, |record| record.with_note("x"))).await.1,
        next(revoke).await.1,
        next(prune).await.1,
    ];
    let expected = [
        "issued alice -",
        "paused - -",
        "resumed - -",
        "updated - -",
        "revoked bob leaked",
        "removed - -",
    ];
    assert_eq!(all, expected);
}
