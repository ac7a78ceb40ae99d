//! Creating, opening and upgrading a database.

use std::{fs, time::Duration};

use tower_api_key::store::{KeyStore as _, Page, StoreErrorKind as Kind};
use tower_api_key_sqlite::Sqlite;

use crate::support::{Folder, eventually, issue};

#[test]
fn opening_never_creates_a_database_and_names_the_function_that_does() {
    let folder = Folder::new();
    let error = Sqlite::open(folder.file()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("`Sqlite::migrate`"), "{error}");
    assert_eq!(fs::read_dir(&*folder).unwrap().count(), 0);

    fs::write(folder.file(), "").unwrap();
    let error = Sqlite::open(folder.file()).unwrap_err();
    assert_eq!(error.kind(), Kind::UnsupportedVersion);
    assert!(error.to_string().contains("`Sqlite::migrate`"), "{error}");
    assert_eq!(fs::metadata(folder.file()).unwrap().len(), 0);
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let folder = Folder::new();
    let first = Sqlite::migrate(folder.file()).unwrap();
    assert_eq!(first.from(), None);
    let keys = folder.mirror().await;
    issue(&keys, "ci").await;
    let again = Sqlite::migrate(folder.file()).unwrap();
    assert_eq!((again.from(), again.to()), (Some(first.to()), first.to()));
    assert_eq!(folder.open().list(&Page::new()).await.unwrap().len(), 1);
}

#[test]
fn the_printed_schema_creates_the_same_database() {
    let (by_hand, migrated) = (Folder::new(), Folder::migrated());
    by_hand.connect().execute_batch(&Sqlite::schema()).unwrap();
    let [one, two] = [&by_hand, &migrated].map(|folder| {
        let connection = folder.connect();
        let sql =
            "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
        let schema: String = connection.query_row(sql, (), |row| row.get(0)).unwrap();
        let sql = "SELECT version || ' ' || compatible FROM api_key_schema";
        (schema, connection.query_row::<String, _, _>(sql, (), |row| row.get(0)).unwrap())
    });
    assert_eq!(one, two);
    Sqlite::open(by_hand.file()).unwrap();
}

#[test]
fn a_database_of_another_program_keeps_its_tables_and_its_version() {
    let folder = Folder::new();
    folder
        .connect()
        .execute_batch(
            "CREATE TABLE todo (text TEXT); INSERT INTO todo VALUES ('x'); PRAGMA user_version = 7",
        )
        .unwrap();
    Sqlite::migrate(folder.file()).unwrap();
    let connection = folder.connect();
    let read = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((read("SELECT count(*) FROM todo"), read("PRAGMA user_version")), (1, 7));

    let other = Folder::new();
    other.connect().execute_batch("CREATE TABLE api_key (text TEXT)").unwrap();
    assert_eq!(Sqlite::migrate(other.file()).unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused_with_their_version_unless_they_are_compatible() {
    let folder = Folder::migrated();
    let keys = folder.mirror().await;
    let newest = Sqlite::migrate(folder.file()).unwrap().to();
    let connection = folder.connect();
    let set = |compatible: u32| {
        let sql = format!("UPDATE api_key_schema SET version = 41, compatible = {compatible}");
        connection.execute_batch(&sql).unwrap();
    };
    // A newer program adds columns, indices and tables, and this program goes on.
    let sql = "ALTER TABLE api_key ADD COLUMN networks TEXT; CREATE INDEX api_key_networks ON api_key (networks);
        CREATE TABLE api_key_more (x) STRICT";
    connection.execute_batch(&sql.replace("(x)", "(x TEXT)")).unwrap();
    set(newest);
    assert_eq!(Sqlite::migrate(folder.file()).unwrap().to(), 41);
    let (key_id, _) = issue(&keys, "ci").await;
    let other = folder.mirror().await;
    assert!(other.record(&key_id).is_some());
    keys.update(&key_id, |record| record.with_note("x")).await.unwrap();
    eventually(async || other.record(&key_id).unwrap().note() == Some("x")).await;

    set(newest + 1);
    for error in
        [Sqlite::open(folder.file()).unwrap_err(), Sqlite::migrate(folder.file()).unwrap_err()]
    {
        assert_eq!(error.kind(), Kind::UnsupportedVersion);
        assert!(error.to_string().contains("version 41"), "{error}");
    }
    // A process that runs already does not change them either, and keeps its keys.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(keys.revoke_client("ci").await.unwrap_err().kind(), Kind::UnsupportedVersion);
    assert!(other.record(&key_id).unwrap().revoked().is_none());
}

#[test]
fn tables_of_an_older_program_are_upgraded() {
    let folder = Folder::migrated();
    let newest = Sqlite::migrate(folder.file()).unwrap().to();
    folder
        .connect()
        .execute_batch("UPDATE api_key_schema SET version = 0, compatible = 0")
        .unwrap();
    let error = Sqlite::open(folder.file()).unwrap_err();
    assert_eq!(error.kind(), Kind::UnsupportedVersion);
    assert!(error.to_string().contains("`Sqlite::migrate`"), "{error}");
    // The tables are there already, so that the first step fails and nothing changes.
    assert!(Sqlite::migrate(folder.file()).is_err());
    let connection = folder.connect();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'api_key_schema'";
    let mut statement = connection.prepare(sql).unwrap();
    let names = statement.query_map((), |row| row.get::<_, String>(0)).unwrap();
    for name in names.map(Result::unwrap).collect::<Vec<_>>() {
        connection.execute_batch(&format!("DROP TABLE {name}")).unwrap();
    }
    assert_eq!(Sqlite::migrate(folder.file()).unwrap().from(), Some(0));
    assert_eq!(Sqlite::migrate(folder.file()).unwrap().from(), Some(newest));
}

/// Statements of programs that know the first version of the tables. They never change here, so that a later
/// migration cannot break these programs unnoticed.
const STATEMENTS_OF_VERSION_1: [&str; 13] = [
    "SELECT version, compatible FROM api_key_schema",
    "INSERT INTO api_key (digest, key_id, client, name, scopes, metadata, prefix, note, created, issued_by, not_before,
        expires, rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, revoked_reason)
        VALUES (zeroblob(32), '0000000a', 'ci', 'CI', 'a b', '{\"plan\":\"pro\"}', 'sk', 'note', 1, 'alice', 2, 9, 3, 4,
        '0000000b', 'yearly', 5, NULL, NULL, NULL)",
    "UPDATE api_key SET client = 'ci', name = NULL, scopes = '', metadata = NULL, prefix = NULL, note = NULL, created = 1,
        issued_by = NULL, not_before = NULL, expires = 9, rotated = NULL, retires = NULL, replaced_by = NULL,
        rotated_reason = NULL, paused = NULL, revoked = 6, revoked_by = 'bob', revoked_reason = 'leaked'
        WHERE digest = zeroblob(32) AND key_id = '0000000a'",
    "SELECT version, digest, key_id, client, name, scopes, metadata, prefix, note, created, issued_by, not_before, expires,
        rotated, retires, replaced_by, rotated_reason, paused, revoked, revoked_by, revoked_reason FROM api_key
        INDEXED BY api_key_digest WHERE digest = zeroblob(32)",
    "SELECT key_id FROM api_key INDEXED BY api_key_id WHERE key_id > '' ORDER BY key_id",
    "SELECT key_id FROM api_key INDEXED BY api_key_client WHERE client = 'ci' ORDER BY key_id",
    "SELECT key_id FROM api_key INDEXED BY api_key_version WHERE version > 0 ORDER BY version",
    "SELECT key_id FROM api_key INDEXED BY api_key_ends WHERE ends < 10 AND ends < 9223372036854775807",
    "SELECT key_id FROM api_key INDEXED BY api_key_dead WHERE dead < 10 AND dead < 9223372036854775807",
    "SELECT version, mark FROM api_key_history ORDER BY version DESC LIMIT 1",
    "SELECT mark FROM api_key_history WHERE version = 1",
    "DELETE FROM api_key WHERE digest = zeroblob(32)",
    "SELECT version, removed FROM api_key_history WHERE version > 0 AND removed = zeroblob(32)",
];

#[test]
fn programs_of_the_first_version_work_on_the_newest_tables() {
    let folder = Folder::migrated();
    let connection = folder.connect();
    let sql = "SELECT compatible FROM api_key_schema";
    let compatible: u32 = connection.query_row(sql, (), |row| row.get(0)).unwrap();
    assert_eq!(compatible, 1, "it would refuse these tables");
    for sql in STATEMENTS_OF_VERSION_1 {
        let mut statement =
            connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = if statement.column_count() == 0 {
            statement.execute(()).unwrap()
        } else {
            statement.query_map((), |_| Ok(())).unwrap().count()
        };
        assert_eq!(rows, 1, "{sql}");
    }
}
