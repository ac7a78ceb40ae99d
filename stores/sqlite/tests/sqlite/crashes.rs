//! Processes that are killed, and processes that change keys at the same time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use tower_api_key::{
    record::Record,
    store::{KeyStore as _, Mirrored, Page},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::Child,
    faults::assert_intact,
    support::{Folder, eventually, issue},
};

async fn list(store: &Sqlite) -> Vec<Record> {
    store.list(&Page::new().with_limit(1_000_000)).await.unwrap()
}

/// Waits until a mirror has the records of the store.
async fn converges(keys: &Mirrored, store: &Sqlite) {
    let expected = list(store).await;
    eventually(async || {
        let mut records: Vec<_> = keys.records().collect();
        records.sort_by(|one, two| one.id().cmp(&two.id()));
        records == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_leaves_every_change_that_it_reported_and_no_half_of_another() {
    kills(10).await;
}

pub(crate) async fn kills(count: u64) {
    let folder = Folder::migrated();
    let (store, keys) = (folder.open(), folder.mirror().await);
    let (_, good) = issue(&keys, "good").await;
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut unreported = 0;
    for round in 0..count {
        let mut child = Child::start("churn", &folder.file());
        // At any point of a write, which takes a few milliseconds.
        let first = child.line().unwrap();
        thread::sleep(Duration::from_micros(round * 7_919 % 40_000));
        child.kill();
        for line in std::iter::once(first).chain(std::iter::from_fn(|| child.line())) {
            let (change, key_id) = line.split_once(' ').unwrap();
            known.insert(key_id.to_owned(), change == "revoked");
        }
        for record in list(&store).await {
            if record.client().id() == "good" {
                continue;
            }
            let is_revoked = record.revoked().is_some();
            match known.insert(record.id().unwrap().to_owned(), is_revoked) {
                Some(was) if was == is_revoked => {}
                // The last change of the process was committed, and the process did not come to report it.
                Some(false) | None => unreported += 1,
                Some(_) => panic!("a revocation was lost"),
            }
        }
        assert_eq!(list(&store).await.len(), known.len() + 1, "a reported key was lost");
        assert!(keys.records().any(|record| record.client().id() == "good"));
    }
    println!("{} keys, {unreported} changes without a report", known.len());
    assert!(unreported <= count);
    converges(&keys, &store).await;
    assert_intact(&folder);
    assert!(keys.status().problem().is_none() && !good.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_change_keys_at_once_and_every_follower_agrees_with_the_oracle() {
    oracle(Duration::from_secs(3)).await;
}

pub(crate) async fn oracle(time: Duration) {
    let folder = Folder::migrated();
    let (store, keys) = (folder.open(), folder.mirror().await);
    for _ in 0..30 {
        issue(&keys, "shared").await;
    }
    let writers: Vec<_> = ["1", "2"]
        .map(|seed| {
            let file = folder.file();
            thread::spawn(move || {
                let mut child = Child::start("mix", &file);
                child.tell(seed);
                let start = Instant::now();
                let mut lines = Vec::new();
                while start.elapsed() < time {
                    lines.push((child.line().unwrap(), Instant::now()));
                }
                child.tell("stop");
                while let Some(line) = child.line() {
                    lines.push((line, Instant::now()));
                }
                lines
            })
        })
        .into();
    let mut revoked_here = HashMap::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        for record in keys.records().filter(|record| record.revoked().is_some()) {
            revoked_here.entry(record.id().unwrap().to_owned()).or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The oracle applies the reported changes in the order of their versions.
    let mut changes = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for (line, reported) in writers.into_iter().flat_map(|writer| writer.join().unwrap()) {
        let [version, key_id, change] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        if change == "revoked" {
            let seen = revoked_here.get(key_id).copied().unwrap_or_else(Instant::now);
            slowest = slowest.max(seen.saturating_duration_since(reported));
        }
        let version: u64 = version.parse().unwrap();
        let old = changes.insert(version, (key_id.to_owned(), change.to_owned()));
        assert!(old.is_none(), "two changes have the version {version}");
    }
    let mut expected: HashMap<String, (String, bool, bool)> = HashMap::new();
    for (key_id, change) in changes.values() {
        let state = expected.entry(key_id.clone()).or_default();
        match &**change {
            "revoked" => state.2 = true,
            "paused" => state.1 = true,
            "resumed" => state.1 = false,
            "issued" => {}
            note => state.0 = note.to_owned(),
        }
    }
    println!("{} changes, {} keys, slowest revocation {slowest:?}", changes.len(), expected.len());
    assert!(changes.len() > 20 && slowest < Duration::from_secs(1));
    let records = list(&store).await;
    let mut seen = HashSet::new();
    for record in &records {
        let found = (
            record.note().unwrap_or_default().to_owned(),
            record.paused().is_some(),
            record.revoked().is_some(),
        );
        let id = record.id().unwrap();
        assert_eq!(found, expected.get(id).cloned().unwrap_or_default(), "{id}");
        seen.insert(id);
    }
    assert!(expected.keys().all(|id| seen.contains(&**id)));
    converges(&keys, &store).await;
    assert_intact(&folder);
}
