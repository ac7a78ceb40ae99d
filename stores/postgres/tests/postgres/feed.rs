//! Following the changes of other programs.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    thread,
    time::Duration,
};

use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, KeyStore as _, Page, Start},
};
use tower_api_key_test_servers as servers;

use crate::{
    listener::Log,
    support::{Database, add_template, eventually, issue, wait_at_most},
};

fn keys(count: u32) -> Vec<Record> {
    let key = |number: u32| {
        let record = Record::new(KeyDigest::of(format!("key {number}")), Client::new("ci"));
        record.with_id(&format!("{number:08}")).unwrap()
    };
    (1..=count).map(key).collect()
}

/// Waits until a follower has the records of the database.
async fn agrees(log: &Log, database: &Database) {
    let store = database.open();
    wait_at_most(Duration::from_secs(30), async || {
        let mut all = store.list(&Page::new().with_limit(1_000_000)).await.unwrap();
        all.sort_by_key(|record| record.digest().to_bytes());
        let heard = log.heard();
        heard.records.values().eq(&all) && heard.calls.last() == Some(&"ready")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_long_after_its_statement_is_not_missed_by_readers_that_passed_it() {
    let database = Database::migrated();
    let keys = database.mirror().await;
    let (id, key) = issue(&keys, "late").await;
    let digest = KeyDigest::of(&key);
    let late = database.clone();
    let late = thread::spawn(move || {
        let sql = format!("UPDATE api_keys SET revoked = now() WHERE key_id = '{id}'");
        late.sql(&format!("BEGIN; {sql}; SELECT pg_sleep(4); COMMIT"))
    });
    // Readers pass the open transaction many times.
    for _ in 0..30 {
        issue(&keys, "other").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let is_revoked = || keys.records().any(|it| it.digest() == digest && it.revoked().is_some());
    assert!(!is_revoked());
    tokio::task::spawn_blocking(|| late.join().unwrap()).await.unwrap();
    // Before the next heartbeat.
    wait_at_most(Duration::from_secs(3), async || is_revoked()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_transactions_that_stay_open_or_roll_back_are_followed() {
    oracle(4, 8).await;
}

/// Other programs change keys in transactions that stay open. A follower must have the last state without a restart.
pub(crate) async fn oracle(writers: u64, rounds: u64) {
    let database = Database::migrated();
    let store = database.open();
    _ = Change::insert_if_absent(keys(40)).commit(&store).await.unwrap();
    let log = Log::default();
    let following = log.follow(store.clone(), Start::Everything);
    agrees(&log, &database).await;
    let running: Vec<_> = (0..writers)
        .map(|writer| {
            let database = database.clone();
            thread::spawn(move || {
                for round in 0..rounds {
                    database.sql(&transaction(writer, writers, round));
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(|| running.into_iter().for_each(|it| it.join().unwrap()))
        .await
        .unwrap();
    agrees(&log, &database).await;
    assert_eq!(log.count("restart"), 1);
    assert!(!following.is_finished());
    following.abort();
}

/// Returns statements that change some keys of a writer's own.
fn transaction(writer: u64, writers: u64, round: u64) -> String {
    let random = |below: u64| RandomState::new().build_hasher().finish() % below;
    let key = || format!("'{:08}'", random(40 / writers) * writers + writer + 1);
    let mut sql = "BEGIN; ".to_owned();
    for part in 0..3 {
        let id = key();
        write!(sql, "SAVEPOINT a; ").unwrap();
        match random(4) {
            0 => write!(sql, "DELETE FROM api_keys WHERE key_id = {id}; ").unwrap(),
            1 => write!(
                sql,
                "INSERT INTO api_keys (digest, key_id, client) VALUES (sha256(('key ' || {id}::int)::bytea), {id}, 'new') \
                 ON CONFLICT (digest) DO UPDATE SET note = 'again {writer} {round}'; "
            )
            .unwrap(),
            _ => write!(sql, "UPDATE api_keys SET note = '{writer} {round} {part}' WHERE key_id = {id}; ").unwrap(),
        }
        sql += if random(4) == 0 { "ROLLBACK TO a; " } else { "RELEASE a; " };
        write!(sql, "SELECT pg_sleep({}); ", random(300) as f64 / 1000.0).unwrap();
    }
    sql + if random(5) == 0 { "ROLLBACK" } else { "COMMIT" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_prepared_transaction_of_another_program_hides_nothing() {
    let database = Database::migrated();
    let name = &database.name;
    let forgotten = "CREATE TABLE other (id integer); INSERT INTO other VALUES (1)";
    database.sql(&format!("BEGIN; {forgotten}; PREPARE TRANSACTION '{name}'"));
    let log = Log::default();
    let following = log.follow(database.open(), Start::Everything);
    eventually(async || log.count("ready") > 0).await;
    for number in 1..=20 {
        database.sql(&format!(
            "INSERT INTO api_keys (digest, key_id, client) VALUES (sha256('{number}'), '{number:08}', 'ci')"
        ));
    }
    agrees(&log, &database).await;
    // Each was delivered once, although the transaction holds the snapshots back.
    assert_eq!((log.count("record"), log.count("restart")), (20, 1));
    following.abort();
    database.sql(&format!("ROLLBACK PREPARED '{name}'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_resumes_with_the_changes_alone() {
    let database = Database::migrated();
    let store = database.open();
    _ = Change::insert_if_absent(keys(20)).commit(&store).await.unwrap();
    let log = Log::default();
    let following = log.follow(store.clone(), Start::Everything);
    // The log of the server must be on disk.
    wait_at_most(Duration::from_secs(30), async || log.heard().cursor.is_some()).await;
    following.abort();
    let cursor = log.heard().cursor.take().unwrap();
    database.sql("UPDATE api_keys SET note = 'missed' WHERE key_id = '00000001'");
    database.sql("DELETE FROM api_keys WHERE key_id = '00000002'");
    database.sql(
        "INSERT INTO api_keys (digest, key_id, client) VALUES (sha256('new'), '00000002', 'new')",
    );
    log.heard().calls.clear();
    let following = log.follow(store, Start::After(cursor));
    agrees(&log, &database).await;
    let mut calls = log.heard().calls.clone();
    calls.truncate(4);
    assert_eq!(calls, ["removed", "record", "record", "ready"]);
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_removed_and_inserted_again_is_never_missing() {
    let database = Database::migrated();
    let store = database.open();
    _ = Change::insert_if_absent(keys(2)).commit(&store).await.unwrap();
    let log = Log::default();
    let following = log.follow(store, Start::Everything);
    agrees(&log, &database).await;
    let digest = "sha256('key 1')";
    database.sql(&format!(
        "BEGIN; DELETE FROM api_keys WHERE digest = {digest}; INSERT INTO api_keys (digest, key_id, client) \
         VALUES ({digest}, '00000001', 'again'); COMMIT"
    ));
    agrees(&log, &database).await;
    assert_eq!((log.count("removed"), log.count("record")), (0, 3));
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_of_another_program_are_followed() {
    let database = Database::migrated();
    let keys = database.mirror().await;
    database.sql(
        "INSERT INTO api_keys (digest, key_id, client) SELECT sha256(n::text::bytea), lpad(n::text, 8, '0'), 'ci' \
         FROM generate_series(1, 100000) n",
    );
    let long = Duration::from_secs(60);
    wait_at_most(long, async || keys.status().keys() == 100_000).await;
    database.sql("UPDATE api_keys SET revoked = now() WHERE key_id <= '00050000'");
    wait_at_most(long, async || keys.status().keys() == 50_000).await;
    database.sql("DELETE FROM api_keys");
    wait_at_most(long, async || keys.records().next().is_none()).await;
    assert!(keys.status().problem().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_terminated_connection_no_change_is_missing() {
    let database = Database::migrated();
    let keys = database.mirror().await;
    let others: Vec<_> = (0..5).map(|number| format!("client {number}")).collect();
    for client in &others {
        issue(&keys, client).await;
    }
    for client in &others {
        let name = &database.name;
        database.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid(); \
             UPDATE api_keys SET revoked = now() WHERE client = '{client}'"
        ));
        eventually(async || {
            keys.records().all(|it| it.client().id() != client || it.revoked().is_some())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_or_a_restart_everything_is_read_again() {
    let mut server = servers::Postgres::start();
    add_template(&server);
    let name = server.create_database("tables");
    let url = server.url(&name);
    let open = || tower_api_key_postgres::Postgres::open(&url).unwrap();
    _ = Change::insert_if_absent(keys(3)).commit(&open()).await.unwrap();
    let log = Log::default();
    let following = log.follow(open(), Start::Everything);
    wait_at_most(Duration::from_secs(30), async || log.heard().cursor.is_some()).await;
    following.abort();
    let cursor = || log.heard().cursor.clone().unwrap();

    let mut dump = server.command("pg_dump");
    let dump = dump.args(["--clean", "--dbname", &url]).output().unwrap();
    let file = server.folder().join("dump.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    server.sql(&name, "UPDATE api_keys SET note = 'lost' WHERE key_id = '00000001'");
    server.sql(&name, "DELETE FROM api_keys WHERE key_id = '00000002'");
    // A process that runs meanwhile begins again by itself.
    let running = Log::default();
    let following = running.follow(open(), Start::Everything);
    eventually(async || running.count("ready") > 0).await;
    let mut psql = server.command("psql");
    let restored =
        psql.args(["-Xq", "--single-transaction", "-d", &url, "-f"]).arg(&file).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    wait_at_most(Duration::from_secs(15), async || running.heard().records.len() == 3).await;
    assert!(running.count("restart") > 1 || following.is_finished());
    following.abort();

    for (what, server) in [("a restore", None), ("a restart", Some(&mut server))] {
        if let Some(server) = server {
            server.stop("INT");
            server.start_again();
        }
        log.heard().calls.clear();
        let following = log.follow(open(), Start::After(cursor()));
        wait_at_most(Duration::from_secs(30), async || {
            log.count("ready") > 0 && log.heard().cursor.is_some()
        })
        .await;
        assert_eq!(log.heard().calls.first(), Some(&"restart"), "after {what}");
        following.abort();
    }
}
