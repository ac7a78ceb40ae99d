//! Reading and changing records through the store.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{Change, KeyStore as _, Mirrored, Page, StoreErrorKind as Kind},
};

use crate::support::{Folder, at, eventually, issue};

/// Returns a record with every field.
fn full() -> Record {
    let client = Client::new("mobile-app")
        .with_name("Mobile app")
        .with_scopes(["reports:read", "a"])
        .with_metadata("plan", "pro \"é\"")
        .with_metadata("region", "");
    Record::new(KeyDigest::of("full"), client)
        .with_id("0000full")
        .unwrap()
        .with_format(KeyFormat::new("sk_live").unwrap())
        .with_note("line one\nline two \u{1F511}")
        .with_created(at(1_700_000_000, 1))
        .with_issued_by("alice")
        .with_not_before(at(1_700_000_001, 2))
        .with_expires(at(1_900_000_000, 999_999))
        .with_rotated(at(1_700_000_002, 3))
        .with_retires(at(1_700_000_003, 4))
        .with_replaced_by("0000next")
        .unwrap()
        .with_rotated_reason("yearly")
        .with_paused(at(1_700_000_004, 5))
        .with_revoked(at(1_700_000_005, 6))
        .with_revoked_by("bob")
        .with_revoked_reason("in a public log")
}

#[tokio::test]
async fn every_field_is_read_as_it_was_written() {
    let folder = Folder::migrated();
    let store = folder.open();
    let (all, plain) = (full(), Record::new(KeyDigest::of("plain"), Client::new("ci")));
    let plain = plain.with_id("000plain").unwrap().with_created(at(0, 0));
    for record in [&all, &plain] {
        _ = Change::insert(record.clone()).commit(&store).await.unwrap();
        assert_eq!(store.find(&record.digest()).await.unwrap().as_ref(), Some(record));
    }
    assert_eq!(store.list(&Page::new()).await.unwrap(), [all.clone(), plain.clone()]);
    let keys = Mirrored::open(store).await.unwrap();
    assert_eq!(keys.record_by_digest(&all.digest()), Some(all));
    assert_eq!(keys.record_by_digest(&plain.digest()), Some(plain));
}

#[tokio::test]
async fn the_handle_issues_rotates_updates_pauses_and_revokes() {
    let folder = Folder::migrated();
    let (keys, other) = (folder.mirror().await, folder.mirror().await);
    let (id, _) = issue(&keys, "ci").await;
    let new = keys.rotate(&id, Duration::from_secs(60)).await.unwrap().id().to_owned();
    keys.update(&new, |record| record.with_note("new")).await.unwrap();
    keys.pause(&new).await.unwrap();
    keys.resume(&new).await.unwrap();
    assert_eq!(keys.record(&id).unwrap().replaced_by(), Some(&*new));
    assert!(keys.revoke_key(&id).await.unwrap());
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 0);
    let dead = SystemTime::now() + Duration::from_secs(60);
    eventually(async || other.record(&new).is_some_and(|it| it.revoked().is_some())).await;
    assert_eq!(keys.prune(dead).await.unwrap(), 2);
    eventually(async || other.records().count() == 0).await;
}

#[tokio::test]
async fn an_id_or_a_digest_that_is_there_is_a_conflict_and_changes_nothing() {
    let folder = Folder::migrated();
    let store = folder.open();
    let record = |key: &str, id: &str| {
        Record::new(KeyDigest::of(key), Client::new("ci")).with_id(id).unwrap()
    };
    _ = Change::insert(record("a", "0000000a")).commit(&store).await.unwrap();
    let error = store.change(Change::insert(record("b", "0000000a"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    let two = Change::insert_if_absent([record("c", "0000000c"), record("d", "0000000a")]);
    assert_eq!(store.change(two).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(store.list(&Page::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pages_have_every_selected_record_once_and_in_order() {
    let folder = Folder::migrated();
    let store = folder.open();
    let all: Vec<_> = (0_u64..250)
        .map(|n| {
            let client = Client::new(if n % 3 == 0 { "three" } else { "other" });
            let record = Record::new(KeyDigest::of(n.to_string()), client);
            let record = record.with_id(&format!("{n:08}")).unwrap().with_created(at(1, 0));
            match n % 5 {
                0 => record.with_expires(at(1000 + n, 7)),
                1 => record.with_rotated(at(1, 0)).with_retires(at(1000 + n, 0)),
                _ => record,
            }
        })
        .collect();
    _ = Change::insert_if_absent(all.clone()).commit(&store).await.unwrap();
    let pages = [
        Page::new(),
        Page::new().with_limit(7),
        Page::new().with_client("three").with_limit(10),
        Page::new().with_key_id("00000017"),
        Page::new().with_key_id("00000017").with_client("three"),
        Page::new().with_ends_before(at(1100, 7)).with_limit(11),
        Page::new().with_ends_before(at(1100, 7) + Duration::from_nanos(1)).with_limit(11),
        Page::new().with_ends_before(at(1100, 7)).with_client("three").with_limit(3),
        Page::new().with_limit(0),
    ];
    for mut page in pages {
        let expected: Vec<_> = all.iter().filter(|record| page.contains(record)).collect();
        let mut found = Vec::new();
        loop {
            let records = store.list(&page).await.unwrap();
            assert!(records.len() <= page.limit());
            let Some(last) = records.last() else { break };
            page = page.clone().with_after(last.id().unwrap());
            found.extend(records);
            assert!(found.len() <= all.len(), "{page:?}");
        }
        let expected = if page.limit() == 0 { Vec::new() } else { expected };
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{page:?}");
    }
}

#[tokio::test]
async fn a_panic_in_a_closure_of_the_caller_changes_nothing_and_the_next_change_works() {
    let folder = Folder::migrated();
    let store = folder.open();
    let panics =
        Change::issue_with(&KeyFormat::default(), Client::new("ci"), |_| panic!("by a test"));
    assert_eq!(store.change(panics).await.unwrap_err().kind(), Kind::OutcomeUnknown);
    assert_eq!(store.list(&Page::new()).await.unwrap().len(), 0);
    let works = Change::issue(&KeyFormat::default(), Client::new("ci"));
    assert_eq!(store.change(works).await.unwrap().count(), 1);
}

#[tokio::test]
async fn a_process_that_follows_nothing_moves_its_commits_into_the_file() {
    let folder = Folder::migrated();
    let log = folder.join("keys.db-wal");
    for is_dropped in [false, true] {
        let store = folder.open();
        let issue = Change::issue(&KeyFormat::default(), Client::new("ci"));
        _ = issue.commit(&store).await.unwrap();
        assert!(fs::metadata(&log).unwrap().len() > 0);
        let _open = (!is_dropped).then_some(store);
        eventually(async || fs::metadata(&log).unwrap().len() == 0).await;
    }
}
