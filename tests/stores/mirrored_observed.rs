//! The log lines and the metrics of a mirror.

#![cfg(all(feature = "metrics", feature = "tracing"))]

use std::time::SystemTime;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    store::{Change, Mirrored, StoreError, StoreErrorKind},
};

use crate::{
    faulty::{Fault, Faulty, Scripted},
    log::Log,
    mirrored::{eventually, reveal},
    mirrored_load::record,
};

/// Causes most events. Returns the log, the metrics and the key.
async fn most_events() -> (String, String, String) {
    let log = Log::default();
    let _subscriber = log.capture();
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let scrape = || recorder.handle().render();

    let store = Faulty::new();
    let keys = Mirrored::open(store.clone()).await.unwrap();
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci\nfake line")).with_by("alice");
    assert_eq!(keys.change(issue).await.unwrap_err().kind(), StoreErrorKind::Refused);
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice\nfake");
    let (key_id, key) = reveal(keys.change(issue).await.unwrap().into_minted().unwrap());
    assert!(scrape().contains(r#"api_key_store_up{store="faulty"} 1"#), "{}", scrape());
    store.set(Fault::Down);
    eventually(async || keys.status().problem().is_some()).await;
    assert!(scrape().contains(r#"api_key_store_up{store="faulty"} 0"#), "{}", scrape());
    store.set(Fault::None);
    eventually(async || keys.status().problem().is_none()).await;
    store.set(Fault::LostChange);
    keys.change(Change::revoke_key(&key_id).with_reason("leaked")).await.unwrap_err();
    store.set(Fault::None);
    Change::update(&key_id, |record| record.with_note("n")).commit(&store).await.unwrap();
    eventually(async || keys.record(&key_id).unwrap().note().is_some()).await;

    (log.text(), scrape(), key)
}

#[tokio::test]
async fn log_and_metrics_have_each_event_and_no_secret() {
    let (text, scraped, key) = most_events().await;
    for line in [
        "keys loaded store=\"faulty\" keys=0",
        "key changed store=\"faulty\" change=\"issued\"",
        r#"by="alice\nfake""#,
        "the store cannot be followed, the records in memory stay",
        "the store is followed again",
        "a change may have taken effect, keys that it revokes are rejected here",
        "a revoked key came back in the store, this process still rejects it",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for line in [
        r#"api_key_store_changes_total{store="faulty",kind="issued"} 1"#,
        r#"api_key_store_changes_total{store="faulty",kind="revoked"} 1"#,
        r#"api_key_store_events_total{store="faulty",event="loaded"} 1"#,
        r#"api_key_store_events_total{store="faulty",event="outcome_unknown"} 1"#,
        r#"api_key_store_events_total{store="faulty",event="stays_revoked"} 1"#,
        r#"api_key_store_keys{store="faulty"} 0"#,
        r#"api_key_store_up{store="faulty"} 1"#,
    ] {
        assert!(scraped.contains(line), "{line} is not in {scraped}");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let contact = scraped.lines().find_map(|line| {
        let value =
            line.strip_prefix(r#"api_key_store_last_contact_timestamp_seconds{store="faulty"} "#);
        value.map(|value| value.parse::<f64>().unwrap())
    });
    assert!((now - contact.unwrap()).abs() < 30.0);
    let secret = key.rsplit_once('_').unwrap().1;
    let digest = KeyDigest::of(&key).encode();
    for text in [text, scraped] {
        assert!(!text.contains(&secret[..12]) && !text.contains(&digest[7..19]), "{text}");
    }
}

/// Delivers a corrupt row and then no row. Returns the log.
async fn corrupt_and_emptied() -> String {
    let log = Log::default();
    let _subscriber = log.capture();
    let store = Scripted::new(vec![record("key-of-the-client-a-0123456789", "0000000a")]);
    let _keys = Mirrored::open(store.clone()).await.unwrap();
    store
        .deliver(|listener| {
            let error = StoreError::new(StoreErrorKind::Corrupt, "unknown column");
            listener.corrupt(2, KeyDigest::of("another key"), error);
            listener.restart();
            listener.ready(None);
        })
        .await;
    log.text()
}

#[tokio::test]
async fn corrupt_rows_and_an_empty_store_are_errors_in_the_log() {
    let text = corrupt_and_emptied().await;
    assert!(
        text.contains("ERROR tower_api_key::store: a record of the store is corrupt"),
        "{text}"
    );
    assert!(text.contains("the store has no keys, every key is rejected"), "{text}");
}
