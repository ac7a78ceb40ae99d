//! Tests that take minutes. `.ci/nightly` runs them.

use std::{fs, time::Duration};

use crate::{
    child::Child,
    crashes, faults,
    support::{Folder, wait_at_most},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn two_processes_change_keys_for_a_minute() {
    crashes::oracle(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn sixty_processes_are_killed() {
    crashes::kills(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn another_process_holds_the_lock_for_a_minute() {
    faults::locked(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn truncated_to_any_length() {
    for len in [0, 1, 100, 1_000, 4_096, 5_000, 8_192, 40_000] {
        faults::truncated_to(len).await;
    }
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn an_idle_database_is_read_every_few_seconds() {
    let folder = Folder::migrated();
    let keys = folder.mirror().await;
    for _ in 0..20 {
        let contact = keys.status().last_contact();
        assert!(contact.elapsed().unwrap() < Duration::from_secs(6), "{contact:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // A process was killed before it could move its commits into the file.
    let mut child = Child::start("churn", &folder.file());
    child.line().unwrap();
    child.kill();
    let log = folder.join("keys.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    wait_at_most(Duration::from_secs(8), async || fs::metadata(&log).unwrap().len() == 0).await;
}
