//! Several processes that share a database.

use std::time::{Duration, Instant};

use tower_api_key::store::{Change, KeyStore as _};

use crate::{
    child::Child,
    server::Caller,
    support::{Folder, eventually, issue},
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
