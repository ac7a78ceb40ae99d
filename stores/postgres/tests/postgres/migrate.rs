//! Creating and upgrading tables.

use tower_api_key::{
    KeyDigest,
    store::{KeyStore as _, Mirrored, StoreErrorKind as Kind},
};
use tower_api_key_postgres::Postgres;

use crate::support::{Database, SERVER, eventually, issue};

/// Returns the definitions of a database.
fn dump(database: &Database) -> String {
    let mut dump = SERVER.command("pg_dump");
    let output = dump.args(["--no-owner", "--dbname", &database.url()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // They are random.
    text.lines().filter(|it| !it.contains("restrict ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_migrations_at_a_time_one_creates_the_tables_of_the_schema() {
    let database = Database::empty();
    let url = database.url();
    let all: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Postgres::migrate(&url).await.unwrap() })
        })
        .collect();
    let mut created = 0;
    for migrated in all {
        let migrated = migrated.await.unwrap();
        created += usize::from(migrated.from().is_none());
        assert_eq!(migrated.to(), 2);
    }
    assert_eq!(created, 1);
    assert_eq!(Postgres::migrate(&url).await.unwrap().from(), Some(2));
    assert_eq!(dump(&database), dump(&Database::migrated()));
    issue(&database.mirror().await, "ci").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_newer_program_are_refused_with_their_version_unless_they_are_compatible() {
    let database = Database::migrated();
    let keys = database.mirror().await;
    database.sql("UPDATE api_keys_schema SET version = 9, compatible = 2");
    assert_eq!(Postgres::migrate(&database.url()).await.unwrap().to(), 9);
    issue(&database.mirror().await, "ci").await;

    database.sql("UPDATE api_keys_schema SET version = 9, compatible = 8");
    let store = database.open();
    for error in [
        Postgres::migrate(&database.url()).await.unwrap_err(),
        store.find(&KeyDigest::of("a")).await.unwrap_err(),
        Mirrored::open(store.clone()).await.err().unwrap(),
    ] {
        assert_eq!(error.kind(), Kind::UnsupportedVersion);
        assert!(error.to_string().contains("version 9"), "{error}");
    }
    // The process that runs already keeps its keys and reports the version.
    eventually(async || {
        let status = keys.status();
        status.problem().is_some_and(|it| it.error().kind() == Kind::UnsupportedVersion)
    })
    .await;
    assert_eq!(keys.status().keys(), 1);
}

#[tokio::test]
async fn without_tables_each_error_says_how_to_create_them() {
    let database = Database::empty();
    let store = database.open();
    for error in [
        store.find(&KeyDigest::of("a")).await.unwrap_err(),
        Mirrored::open(store.clone()).await.err().unwrap(),
    ] {
        assert_eq!(error.kind(), Kind::UnsupportedVersion, "{error}");
        let text = error.to_string();
        assert!(text.contains("`apikey migrate --store postgres://…`"), "{text}");
        assert!(text.contains("`Postgres::migrate`"), "{text}");
    }
    database.sql("CREATE TABLE api_keys (id integer)");
    let error = Postgres::migrate(&database.url()).await.unwrap_err();
    assert!(error.to_string().contains("of another program"), "{error}");
    let nowhere = format!("{}?options=-csearch_path%3Dnowhere", database.url());
    let error = Postgres::migrate(&nowhere).await.unwrap_err();
    assert!(error.to_string().contains("CREATE SCHEMA"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_can_be_in_a_schema_that_a_writer_does_not_search() {
    let database = Database::empty();
    database.sql("CREATE SCHEMA \"my keys\"");
    let url = format!("{}?options=-csearch_path%3D%22my%5C%20keys%22", database.url());
    Postgres::migrate(&url).await.unwrap();
    let keys = Mirrored::open(Postgres::open(&url).unwrap()).await.unwrap();
    issue(&keys, "ci").await;
    database.sql("UPDATE \"my keys\".api_keys SET revoked = now()");
    eventually(async || keys.status().keys() == 0).await;
    database.sql("DELETE FROM \"my keys\".api_keys");
    eventually(async || keys.records().next().is_none()).await;
}

#[cfg(feature = "usage")]
#[tokio::test]
async fn tables_without_usage_say_how_to_upgrade_them() {
    use tower_api_key::usage::{UsageBatch, UsageSink as _};

    let database = Database::empty();
    database.sql(include_str!("../../src/schema/1_keys.sql"));
    database.sql(
        "CREATE TABLE api_keys_schema (one integer PRIMARY KEY, version integer, compatible integer);
        INSERT INTO api_keys_schema VALUES (1, 1, 1);",
    );
    // Keys work without an upgrade.
    let (store, keys) = (database.open(), database.mirror().await);
    issue(&keys, "ci").await;
    let batch = UsageBatch::new("one", 1, Vec::new());
    let error = store.usage().write(&batch).await.unwrap_err().to_string();
    assert!(error.contains("`Postgres::migrate`"), "{error}");
    assert_eq!(store.usage().read(None).await.unwrap_err().kind(), Kind::UnsupportedVersion);

    let migrated = Postgres::migrate(&database.url()).await.unwrap();
    assert_eq!((migrated.from(), migrated.to()), (Some(1), 2));
    store.usage().write(&batch).await.unwrap();
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
}
