//! Changes of many records at once.

use std::time::{Duration, Instant};

use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, MemoryStore, Target},
};

fn records(count: u32) -> Vec<Record> {
    let digests = (0..count).map(|number| KeyDigest::of(number.to_be_bytes()));
    digests.map(|digest| Record::new(digest, Client::new("ci"))).collect()
}

#[tokio::test]
async fn inserting_known_records_takes_no_longer_than_inserting_new_ones() {
    let (store, records) = (MemoryStore::new(), records(10_000));
    let insert = async || {
        let change = Change::insert_if_absent(records.clone());
        let start = Instant::now();
        let count = change.commit(&store).await.unwrap().count();
        (count, start.elapsed())
    };
    let (count, first) = insert().await;
    assert_eq!(count, records.len());
    let mut again = Duration::MAX;
    for _ in 0..4 {
        let (count, time) = insert().await;
        assert_eq!(count, 0);
        again = again.min(time);
    }
    // If each record were compared with all digests, it would take twenty times as long.
    assert!(again < first * 4, "{first:?}, then {again:?}");
}

#[tokio::test]
async fn a_record_that_comes_twice_is_inserted_once_and_is_no_conflict_later() {
    let store = MemoryStore::new();
    let twice = || Change::insert_if_absent([records(1), records(1)].concat());
    assert_eq!(twice().commit(&store).await.unwrap().count(), 1);
    assert_eq!(twice().commit(&store).await.unwrap().count(), 0);
}

#[test]
fn a_target_has_each_digest_once_and_contains_their_records_alone() {
    let (known, other) = (records(100), Record::new(KeyDigest::of("other"), Client::new("ci")));
    let change = Change::insert_if_absent([known.clone(), known.clone()].concat());
    let Target::Digests(digests) = change.target() else { panic!("{:?}", change.target()) };
    assert_eq!(digests.len(), known.len());
    assert!(digests.is_sorted_by_key(KeyDigest::to_bytes));
    assert!(known.iter().all(|record| change.target().contains(record)));
    assert!(!change.target().contains(&other));
}
