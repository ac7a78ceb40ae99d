//! The rules of a change that a store applies.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{
        Change, Changed, KeyStore, Listener, Page, Start, StoreError, StoreErrorKind, StoreFuture,
        Write,
    },
};

use crate::mirrored_load::record;

/// Returns two keys of two clients. The first is dead.
fn two() -> [Record; 2] {
    let dead = record("a", "0000000a").with_expires(SystemTime::UNIX_EPOCH);
    [dead, record("b", "0000000b")]
}

#[test]
fn a_store_can_read_more_records_than_the_target_has() {
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    for (change, is_removal) in [
        (Change::revoke_key("0000000a"), false),
        (Change::revoke_client("client-0000000a"), false),
        (Change::pause("0000000a"), false),
        (Change::prune(later), true),
    ] {
        let draft = change.apply(two()).unwrap();
        let digests: Vec<_> = draft
            .writes()
            .iter()
            .map(|write| match write {
                Write::Remove(digest) => (*digest, true),
                Write::Insert(record) | Write::Update(record) => (record.digest(), false),
            })
            .collect();
        assert_eq!(digests, [(KeyDigest::of("a"), is_removal)], "{change:?}");
    }
    // A record outside of the target has no part in the rule either.
    let twin = record("c", "0000000b");
    assert_eq!(Change::insert(twin).apply(two()).unwrap().writes().len(), 1);
}

#[test]
fn an_empty_author_or_reason_is_none() {
    let change = Change::revoke_key("0000000a").with_by("").with_reason("");
    assert_eq!((change.by(), change.reason()), (None, None));
    let change = change.with_by("alice").with_reason("leaked");
    assert_eq!((change.by(), change.reason()), (Some("alice"), Some("leaked")));
}

#[test]
fn times_are_whole_seconds() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_987);
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_time(time);
    let draft = issue.apply([]).unwrap();
    let [Write::Insert(record)] = draft.writes() else { panic!("{draft:?}") };
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(record.created(), Some(second));
}

/// A store in which every change conflicts with another.
#[derive(Default)]
struct Busy(AtomicUsize);

impl KeyStore for Busy {
    fn find<'a>(&'a self, _: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async { Ok(None) })
    }

    fn list<'a>(&'a self, _: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn change<'a>(&'a self, _: Change) -> StoreFuture<'a, Changed> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(async { Err(StoreError::new(StoreErrorKind::Conflict, "by a test")) })
    }

    fn follow<'a>(&'a self, _: Start, _: &'a dyn Listener) -> StoreFuture<'a, Infallible> {
        Box::pin(async { Err(StoreError::new(StoreErrorKind::Unavailable, "by a test")) })
    }
}

#[tokio::test]
async fn a_change_is_tried_five_times_if_it_conflicts() {
    let store = Busy::default();
    let error = Change::revoke_key("0000000a").commit(&store).await.unwrap_err();
    assert_eq!((error.kind(), store.0.load(Relaxed)), (StoreErrorKind::Conflict, 5));
}
