//! Rows that are no records.

use axum::http::StatusCode;
use tower_api_key::{
    KeyDigest,
    record::Record,
    rejection::Reason,
    store::{Change, KeyStore as _, Page, StoreErrorKind as Kind},
};

use crate::{
    columns,
    server::{Caller, serve},
    support::{Database, eventually, issue},
};

/// Drops all checks of the table, as a careless administrator could.
const DROP_CHECKS: &str = "DO $$ DECLARE name text; BEGIN \
    FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'api_keys'::regclass AND contype = 'c' \
    LOOP EXECUTE format('ALTER TABLE api_keys DROP CONSTRAINT %I', name); END LOOP; END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_no_record_is_503_for_its_key_alone_until_it_is_repaired() {
    let database = Database::migrated();
    database.sql(DROP_CHECKS);
    let (store, keys) = (database.open(), database.mirror().await);
    let (key_id, key) = issue(&keys, "broken").await;
    let (_, good) = issue(&keys, "good").await;
    let caller = Caller::new(serve(keys.clone()).await);
    assert_eq!(caller.status(&key).await, 200);
    let repair = "metadata = NULL, scopes = '{}', prefix = 'key', expires = NULL, client = 'broken', replaced_by = NULL";
    for wrong in [
        "metadata = '{\"a\":1}'",
        "metadata = '[]'",
        "metadata = '\"text\"'",
        "scopes = '{\"two blanks\"}'",
        "scopes = '{NULL}'",
        "prefix = 'not-a-prefix'",
        "expires = '1969-12-31'",
        "expires = '-infinity'",
        "client = ''",
        "replaced_by = 'x'",
    ] {
        database.sql(&format!("UPDATE api_keys SET {wrong} WHERE key_id = '{key_id}'"));
        eventually(async || caller.status(&key).await == StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(caller.status(&good).await, 200);
        let error = store.find(&KeyDigest::of(&key)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{wrong}");
        assert!(error.to_string().contains(&key_id), "{error}");
        assert_eq!(store.list(&Page::new()).await.unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(keys.revoke_client("broken").await.unwrap_or_default(), 0, "{wrong}");
        database.sql(&format!("UPDATE api_keys SET {repair} WHERE key_id = '{key_id}'"));
        eventually(async || caller.status(&key).await == 200).await;
    }
    // A process that starts meanwhile serves the other keys.
    database.sql(&format!("UPDATE api_keys SET scopes = '{{NULL}}' WHERE key_id = '{key_id}'"));
    let other = Caller::new(serve(database.mirror().await).await);
    assert_eq!((other.status(&key).await, other.status(&good).await), (503, 200));
    assert!(keys.status().problem().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_or_a_missing_column_makes_no_good_key_a_401() {
    let database = Database::migrated();
    let statements = [
        "ALTER TABLE api_keys ADD COLUMN other text DEFAULT 'x'",
        "ALTER TABLE api_keys RENAME COLUMN scopes TO others",
        "ALTER TABLE api_keys RENAME COLUMN others TO scopes",
    ];
    let run = |sql: &str| _ = database.sql(sql);
    let mirrored = database.mirror().await;
    columns::make_no_good_key_a_401(mirrored, || database.open(), run, statements).await;
}

#[tokio::test]
async fn a_digest_of_another_length_is_no_key_and_stops_no_other() {
    let database = Database::migrated();
    database.sql(DROP_CHECKS);
    database.sql("INSERT INTO api_keys (digest, key_id, client) VALUES ('\\x00', '0000000a', 'ci'), (sha256('b'), '0000000b', 'ci')");
    let keys = database.mirror().await;
    assert_eq!(keys.status().keys(), 1);
    database.sql("DELETE FROM api_keys");
    eventually(async || keys.records().next().is_none()).await;
    assert!(keys.status().problem().is_none());
}

#[tokio::test]
async fn times_far_in_the_past_and_the_future_are_read() {
    let database = Database::migrated();
    database.sql(
        "INSERT INTO api_keys (digest, key_id, client, created, expires) VALUES \
         (sha256('a'), '0000000a', 'ci', 'epoch', 'infinity'), (sha256('b'), '0000000b', 'ci', 'epoch', '294276-12-31'), \
         (sha256('c'), '0000000c', 'ci', 'epoch', 'epoch'); \
         INSERT INTO api_keys (digest, key_id, client, not_before) VALUES (sha256('d'), '0000000d', 'ci', 'infinity')",
    );
    let store = database.open();
    let now = std::time::SystemTime::now();
    let found: Vec<_> =
        store.list(&Page::new()).await.unwrap().iter().map(|it| it.check(now)).collect();
    assert_eq!(found, [Ok(()), Ok(()), Err(Reason::Expired), Err(Reason::NotYetValid)]);
    let pruned =
        Change::prune(now + std::time::Duration::from_secs(u64::MAX >> 30)).commit(&store).await;
    assert_eq!(pruned.unwrap().count(), 1);
}

#[tokio::test]
async fn a_text_that_the_database_cannot_hold_is_refused() {
    let database = Database::migrated();
    let store = database.open();
    let record = || Record::new(KeyDigest::of("a"), tower_api_key::Client::new("ci"));
    for record in [
        record().with_note("a\0b"),
        record().with_client(tower_api_key::Client::new("ci").with_metadata("a", "\0")),
    ] {
        let error = store.change(Change::insert(record)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("NUL"), "{error}");
    }
    let strange =
        record().with_client(tower_api_key::Client::new("ci").with_metadata("a", "\\u0000"));
    _ = Change::insert(strange).commit(&store).await.unwrap();
    for page in [Page::new().with_client("\0"), Page::new().with_key_id("\0")] {
        assert_eq!(store.list(&page).await.unwrap(), []);
    }
    assert_eq!(Change::revoke_client("\0").commit(&store).await.unwrap().count(), 0);
}
