//! The log lines and the metrics of a cache.

#![cfg(all(feature = "metrics", feature = "tracing"))]

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    store::{Cached, Change},
};

use crate::{
    cached::ask,
    faulty::{Fault, Faulty},
    gate::{Find, Gate},
    log::Log,
    mirrored::{eventually, reveal},
};

/// Causes each event. Returns the log, the metrics, the `Debug` text of the cache, and the key.
async fn each_event() -> (String, String, String, String) {
    let log = Log::default();
    let _subscriber = log.capture();
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let scrape = || recorder.handle().render();

    let store = Faulty::new();
    let gate = Gate::new(store.clone());
    let keys = Cached::open(gate.clone()).await.unwrap();
    let issue = Change::issue(&KeyFormat::default(), Client::new("ci")).with_by("alice\nfake");
    let (key_id, key) = reveal(keys.change(issue).await.unwrap().into_minted().unwrap());
    assert!(ask(&keys, &key).await.is_ok());
    assert!(ask(&keys, "an-unknown-key").await.is_err());
    gate.set(Find::Corrupt);
    assert!(ask(&keys, "a-corrupt-row").await.is_err());
    store.set(Fault::Down);
    eventually(async || keys.status().problem().is_some()).await;
    assert!(scrape().contains(r#"api_key_store_up{store="gate"} 0"#), "{}", scrape());
    gate.set(Find::Honest);
    assert!(ask(&keys, "another-unknown-key").await.is_err());
    store.set(Fault::None);
    eventually(async || keys.status().problem().is_none()).await;
    store.set(Fault::LostChange);
    keys.change(Change::revoke_key(&key_id).with_reason("leaked")).await.unwrap_err();
    store.set(Fault::None);
    assert!(ask(&keys, &key).await.is_err());

    let debug = format!("{keys:?} {:?}", keys.status());
    (log.text(), scrape(), debug, key)
}

#[tokio::test]
async fn log_and_metrics_have_each_event_and_no_secret() {
    let (text, scraped, debug, key) = each_event().await;
    for line in [
        "the store is followed store=\"gate\"",
        "key changed store=\"gate\" change=\"issued\"",
        r#"by="alice\nfake""#,
        "a record of the store is corrupt",
        "the store cannot be followed, changes elsewhere take effect late",
        "a key cannot be looked up, verification fails",
        "the store is followed again",
        "a change may have taken effect, keys that it revokes are rejected here",
        "a revoked key came back in the store, this process still rejects it",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for line in [
        r#"api_key_store_changes_total{store="gate",kind="issued"} 1"#,
        r#"api_key_store_events_total{store="gate",event="opened"} 1"#,
        r#"api_key_store_events_total{store="gate",event="stays_revoked"} 1"#,
        r#"api_key_store_lookups_total{store="gate",result="unknown"} 1"#,
        r#"api_key_store_lookups_total{store="gate",result="failed"} 2"#,
        r#"api_key_store_lookups_total{store="gate",result="found"} 2"#,
        r#"api_key_store_keys{store="gate"}"#,
    ] {
        assert!(scraped.contains(line), "{line} is not in {scraped}");
    }
    let secret = key.rsplit_once('_').unwrap().1;
    let digest = KeyDigest::of(&key).encode();
    for text in [text, scraped, debug] {
        assert!(!text.contains(&secret[..12]) && !text.contains(&digest[7..19]), "{text}");
    }
}
