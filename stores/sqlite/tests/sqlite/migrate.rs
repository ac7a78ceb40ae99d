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
