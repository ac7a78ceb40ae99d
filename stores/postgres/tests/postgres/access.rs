//! Servers that cannot be used. Each message names the next step.

use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{Change, KeyStore as _, Mirrored, StoreError, StoreErrorKind as Kind},
};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

use crate::support::{Database, SERVER, add_template, issue, wait_at_most};

/// Returns the errors of a lookup and of a mirror.
async fn errors(url: &str) -> [StoreError; 2] {
    let store = Postgres::open(url).unwrap();
    [
        store.find(&KeyDigest::of("a")).await.unwrap_err(),
        Mirrored::open(store.clone()).await.err().unwrap(),
    ]
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_used_says_why() {
    let database = Database::migrated();
    let nothing = format!("postgres://user:hunter2@127.0.0.1:{}/keys", servers::free_port());
    let missing = SERVER.url("no_such_database");
    database.sql(&format!("CREATE ROLE \"no rights {}\" LOGIN", database.name));
    let without = SERVER.url_of(&format!("no%20rights%20{}", database.name), &database.name);
    for (url, kind, texts) in [
        (nothing, Kind::Unavailable, ["cannot connect", "Connection refused"]),
        (missing, Kind::Unavailable, ["no_such_database", "createdb"]),
        (without, Kind::Denied, ["permission denied", "Postgres::service_rights"]),
    ] {
        for error in errors(&url).await {
            let text = error.to_string();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(texts.iter().all(|it| text.contains(it)), "{text}");
            assert!(
                text.starts_with("postgres://127.0.0.1:") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_until_it_is_promoted() {
    let primary = servers::Postgres::start();
    add_template(&primary);
    let name = primary.create_database("tables");
    let keys = Mirrored::open(Postgres::open(&primary.url(&name)).unwrap()).await.unwrap();
    issue(&keys, "ci").await;
    let standby = servers::Postgres::standby_of(&primary);
    let url = standby.url(&name);
    for error in errors(&url).await {
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("the URL of the primary"), "{error}");
    }
    // With both hosts, the primary is found.
    let hosts = format!("postgres://postgres@{},{}/{name}", standby.address(), primary.address());
    let both = Mirrored::open(Postgres::open(&hosts).unwrap()).await.unwrap();
    assert_eq!(both.status().keys(), 1);

    drop(primary);
    standby.sql("postgres", "SELECT pg_promote()");
    standby.sql(&name, "UPDATE api_keys SET revoked = now()");
    // The timeline is another, so that everything is read again.
    wait_at_most(std::time::Duration::from_secs(40), async || {
        both.status().keys() == 0 && both.status().problem().is_none()
    })
    .await;
}

#[tokio::test]
async fn no_error_and_no_debug_text_holds_a_key_or_a_digest() {
    let database = Database::migrated();
    let store = database.open();
    let minted = KeyFormat::default().mint().unwrap();
    let record = Record::of(&minted, Client::new("ci"));
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let key = minted.reveal(str::to_owned);
    _ = Change::insert(record.clone()).commit(&store).await.unwrap();
    let mut texts = vec![
        format!("{store:?} {}", store.name()),
        format!("{:?}", store.change(Change::insert(record.clone())).await.unwrap_err()),
    ];
    let other = Record::new(KeyDigest::of("other"), Client::new("ci")).with_id(&id).unwrap();
    texts.push(format!("{:?}", store.change(Change::insert(other)).await.unwrap_err()));
    // A trigger of another program raises the digest, and a check quotes the row.
    for sql in [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no % %', NEW.digest, encode(NEW.digest, 'hex'); END $$; \
         CREATE TRIGGER no BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION no()",
        "DROP TRIGGER no ON api_keys; ALTER TABLE api_keys ADD CHECK (revoked IS NULL)",
        "ALTER TABLE api_keys RENAME COLUMN note TO other",
    ] {
        database.sql(sql);
        let error = store.change(Change::revoke_client("ci")).await.unwrap_err();
        texts.push(format!("{error:?}"));
    }
    let hex = digest.encode().replace("sha256:", "");
    for text in texts {
        println!("{text}");
        let lower = text.to_lowercase();
        assert!(!text.contains(&key) && !lower.contains(&hex[..16]), "{text}");
    }
}
