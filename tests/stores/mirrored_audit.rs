//! The audit trail: an event for each change, made here or elsewhere.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, KeyStore, MemoryStore, Mirrored, MirroredEvent},
};

use crate::{
    mirrored::{eventually, reveal},
    mirrored_faults,
    mirrored_load::Events,
};

/// Takes the changes among the events, one line each.
fn changes(events: &Events, is_own: bool) -> Vec<String> {
    let events = std::mem::take(&mut *events.lock().unwrap());
    let line = |event: &MirroredEvent| match event {
        MirroredEvent::Changed(change) => {
            assert_eq!(change.is_own(), is_own);
            format!("{} {:?} {:?}", change.kind().as_str(), change.by(), change.reason())
        }
        event => panic!("{event:?}"),
    };
    events.iter().map(line).collect()
}

#[tokio::test]
async fn each_change_is_in_the_audit_trail_once_with_its_author() {
    let (_, keys, _, events) = mirrored_faults::start().await;
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice");
    let minted = keys.change(issue).await.unwrap().into_minted().unwrap();
    let (key_id, key) = reveal(minted);
    let pause = Change::pause(&key_id).with_by("bob").with_reason("overdue");
    keys.change(pause).await.unwrap();
    keys.resume(&key_id).await.unwrap();
    let rotate = Change::rotate(&key_id, Duration::from_secs(60)).with_reason("yearly");
    keys.change(rotate).await.unwrap();
    keys.update(&key_id, |record| record.with_note("old")).await.unwrap();
    keys.change(Change::revoke_key(&key_id).with_by("carol")).await.unwrap();
    assert!(keys.change(Change::revoke_key(&key_id)).await.unwrap().count() == 0);
    let later = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(keys.prune(later).await.unwrap(), 1);
    // The store delivers them all as well.
    tokio::time::sleep(Duration::from_millis(100)).await;

    let all = format!("{:?}{keys:?}", events.lock().unwrap());
    let expected = [
        r#"issued Some("alice") None"#,
        r#"paused Some("bob") Some("overdue")"#,
        "resumed None None",
        r#"rotated None Some("yearly")"#,
        r#"issued None Some("yearly")"#,
        "updated None None",
        r#"revoked Some("carol") None"#,
        "removed None None",
    ];
    assert_eq!(changes(&events, true), expected);
    assert!(!all.contains(&key) && !all.contains("sha256") && !all.contains("digest"), "{all}");
}

/// Makes each kind of change with one handle and checks the audit trail of another process.
async fn elsewhere(here: impl KeyStore, there: impl KeyStore) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let options =
        Mirrored::options().observe(move |event| seen.lock().unwrap().push(event.clone()));
    let _keys = options.open(here).await.unwrap();
    events.lock().unwrap().clear();
    let there = Mirrored::open(there).await.unwrap();
    // Waits after each change, because a process that is behind sees the last state alone.
    let make = async |change: Change, expected: &[&str]| {
        let changed = there.change(change).await.unwrap();
        eventually(async || events.lock().unwrap().len() == expected.len()).await;
        assert_eq!(changes(&events, false), expected);
        changed.into_minted()
    };
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice");
    let minted = make(issue, &[r#"issued Some("alice") None"#]).await.unwrap();
    let id = minted.id();
    make(Change::pause(id).with_by("bob"), &["paused None None"]).await;
    make(Change::resume(id), &["resumed None None"]).await;
    let rotate = Change::rotate(id, Duration::from_secs(60)).with_by("carol").with_reason("yearly");
    let rotated = [r#"rotated None Some("yearly")"#, r#"issued Some("carol") None"#];
    make(rotate, &rotated).await;
    make(Change::update(id, |record| record.with_note("old")), &["updated None None"]).await;
    let revoke = Change::revoke_key(id).with_by("dave").with_reason("leaked");
    make(revoke, &[r#"revoked Some("dave") Some("leaked")"#]).await;
    let prune = Change::prune(SystemTime::now() + Duration::from_secs(60)).with_by("erin");
    make(prune, &["removed None None"]).await;
}

#[tokio::test]
async fn a_change_elsewhere_is_in_the_audit_trail_with_all_that_its_record_tells() {
    let store = MemoryStore::new();
    elsewhere(store.clone(), store).await;
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_change_of_a_key_file_by_another_process_is_in_the_audit_trail() {
    let file = crate::key_file::TempFile::new();
    elsewhere(file.open(), file.open()).await;
}
