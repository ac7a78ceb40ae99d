//! Rows that are no records, and the text of errors.

use axum::http::StatusCode;
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{Change, KeyStore as _, Page, StoreErrorKind as Kind},
};

use crate::{
    columns,
    server::{Caller, serve},
    support::{Folder, eventually, issue},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_no_record_is_503_for_its_key_alone_until_it_is_repaired() {
    let folder = Folder::migrated();
    let (store, keys) = (folder.open(), folder.mirror().await);
    let (key_id, key) = issue(&keys, "broken").await;
    let (_, good) = issue(&keys, "good").await;
    let caller = Caller::new(serve(keys.clone()).await);
    assert_eq!(caller.status(&key).await, 200);
    let connection = folder.connect();
    connection.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    let good_value = "UPDATE api_key SET metadata = NULL, scopes = '', prefix = 'key', expires = NULL, client = 'broken',
        replaced_by = NULL WHERE key_id = ?1";
    for wrong in [
        "metadata = 'no JSON'",
        "metadata = '{\"a\":1}'",
        "metadata = '[]'",
        "scopes = 'two  blanks'",
        "prefix = 'not-a-prefix'",
        "expires = -1",
        "client = ''",
        "replaced_by = 'x'",
        "client = cast(x'ff' AS TEXT)",
    ] {
        let sql = format!("UPDATE api_key SET {wrong} WHERE key_id = ?1");
        connection.execute(&sql, [&key_id]).unwrap();
        eventually(async || caller.status(&key).await == StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(caller.status(&good).await, 200);
        let error = store.find(&KeyDigest::of(&key)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{wrong}");
        assert!(error.to_string().contains(&key_id), "{error}");
        assert_eq!(store.list(&Page::new()).await.unwrap_err().kind(), Kind::Corrupt);
        // A process that starts meanwhile serves the other keys.
        let other = Caller::new(serve(folder.mirror().await).await);
        assert_eq!((other.status(&key).await, other.status(&good).await), (503, 200), "{wrong}");
        connection.execute(good_value, [&key_id]).unwrap();
        eventually(async || caller.status(&key).await == 200).await;
    }
    assert!(keys.status().problem().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_or_a_missing_column_makes_no_good_key_a_401() {
    let folder = Folder::migrated();
    let statements = [
        "ALTER TABLE api_key ADD COLUMN other TEXT",
        "ALTER TABLE api_key RENAME COLUMN scopes TO others",
        "ALTER TABLE api_key RENAME COLUMN others TO scopes",
    ];
    let connection = folder.connect();
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    let mirrored = folder.mirror().await;
    columns::make_no_good_key_a_401(mirrored, || folder.open(), run, statements).await;
}

#[tokio::test]
async fn no_error_and_no_debug_text_holds_a_key_or_a_digest() {
    let folder = Folder::migrated();
    let store = folder.open();
    let minted = KeyFormat::default().mint().unwrap();
    let record = Record::of(&minted, Client::new("ci"));
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let key = minted.reveal(str::to_owned);
    _ = Change::insert(record.clone()).commit(&store).await.unwrap();
    let connection = folder.connect();
    let mut texts = vec![
        format!("{store:?} {}", store.name()),
        format!("{:?}", store.change(Change::insert(record.clone())).await.unwrap_err()),
    ];
    let other = Record::new(KeyDigest::of("other"), Client::new("ci")).with_id(&id).unwrap();
    texts.push(format!("{:?}", store.change(Change::insert(other)).await.unwrap_err()));
    connection
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON; UPDATE api_key SET metadata = digest || '1'",
        )
        .ok();
    connection
        .execute_batch("UPDATE api_key SET metadata = 'x' || hex(digest), prefix = hex(digest)")
        .unwrap();
    texts.push(format!("{:?}", store.find(&digest).await.unwrap_err()));
    texts.push(format!("{:?}", store.change(Change::revoke_client("ci")).await.unwrap_err()));
    connection.execute_batch("UPDATE api_key SET metadata = NULL, prefix = NULL").unwrap();
    connection
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE ON api_key BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    texts.push(format!("{:?}", store.change(Change::revoke_client("ci")).await.unwrap_err()));

    let hex = digest.encode().replace("sha256:", "");
    let bytes = format!("{:?}", digest.to_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    for text in texts {
        let lower = text.to_lowercase();
        let leaks = [text.contains(&key), lower.contains(&hex[..16]), text.contains(&bytes[..20])];
        assert_eq!(leaks, [false; 3], "{text}");
        println!("{text}");
    }
}
