//! The rules of the tables, for programs that write SQL.

use rusqlite::Connection;
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, KeyStore as _},
};

use crate::support::{Folder, at, eventually, issue};

fn insert(key: &str, key_id: &str) -> String {
    let digest = KeyDigest::of(key).encode();
    let digest = digest.strip_prefix("sha256:").unwrap();
    format!(
        "INTO api_key (digest, key_id, client, created) VALUES (x'{digest}', '{key_id}', 'ci', 0)"
    )
}

/// Runs a statement with and without recursive triggers. Both times the tables must refuse it.
#[track_caller]
fn assert_refused(connection: &Connection, sql: &str, reason: &str) {
    for recursive in ["OFF", "ON"] {
        connection.execute_batch(&format!("PRAGMA recursive_triggers = {recursive}")).unwrap();
        let error = connection.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(reason), "{sql}: {error}");
    }
}

#[tokio::test]
async fn no_statement_makes_a_revoked_key_valid_again() {
    let folder = Folder::migrated();
    let store = folder.open();
    let record = Record::new(KeyDigest::of("a"), Client::new("ci")).with_id("0000000a").unwrap();
    _ = Change::insert(record.with_revoked(at(5, 0))).commit(&store).await.unwrap();
    let connection = folder.connect();
    for sql in [
        "UPDATE api_key SET revoked = NULL",
        "UPDATE api_key SET revoked = 9000000000000000, note = 'x'",
        "UPDATE OR IGNORE api_key SET revoked = NULL",
        "UPDATE OR REPLACE api_key SET revoked = NULL",
        "INSERT INTO api_key (digest, key_id, client, created) SELECT digest, key_id, client, created FROM api_key
            WHERE true ON CONFLICT DO UPDATE SET revoked = NULL",
    ] {
        let reason = if sql.starts_with("INSERT") { "another key" } else { "stays revoked" };
        assert_refused(&connection, sql, reason);
    }
    for key_id in ["0000000a", "0000000b"] {
        let sql = format!("INSERT OR REPLACE {}", insert("a", key_id));
        assert_refused(&connection, &sql, "another key");
    }
    assert_refused(&connection, "UPDATE api_key SET digest = zeroblob(32)", "cannot change");
    let found = store.find(&KeyDigest::of("a")).await.unwrap().unwrap();
    assert_eq!(found.revoked(), Some(at(5, 0)));
}

#[tokio::test]
async fn statements_of_other_programs_are_followed() {
    let folder = Folder::migrated();
    let keys = folder.mirror().await;
    let (key_id, _) = issue(&keys, "ci").await;
    let connection = folder.connect();
    connection.execute_batch("PRAGMA recursive_triggers = ON").unwrap();
    connection.execute_batch("UPDATE api_key SET note = 'by hand'").unwrap();
    eventually(async || keys.record(&key_id).unwrap().note() == Some("by hand")).await;
    connection.execute_batch(&format!("INSERT {}", insert("a", "0000000a"))).unwrap();
    eventually(async || keys.record("0000000a").is_some()).await;
    connection.execute_batch("DELETE FROM api_key WHERE key_id <> '0000000a'").unwrap();
    eventually(async || keys.record(&key_id).is_none()).await;
    // An id moves to another key.
    let sql = format!("DELETE FROM api_key; INSERT {}", insert("b", "0000000a"));
    connection.execute_batch(&format!("BEGIN; {sql}; COMMIT")).unwrap();
    eventually(async || {
        keys.record("0000000a").is_some_and(|it| it.digest() == KeyDigest::of("b"))
    })
    .await;
    assert!(keys.status().problem().is_none());
}

#[test]
fn the_history_stays_short() {
    let folder = Folder::migrated();
    let connection = folder.connect();
    let sql = format!("INSERT {}", insert("a", "0000000a"));
    connection.execute_batch(&sql).unwrap();
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100100)
        INSERT INTO api_key_history (mark) SELECT i FROM n";
    connection.execute_batch(fill).unwrap();
    connection.execute_batch("UPDATE api_key SET note = 'x'").unwrap();
    let sql = "SELECT count(*), max(version) FROM api_key_history";
    let (count, max): (i64, i64) =
        connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((count, max), (100_000, 100_102));
}
