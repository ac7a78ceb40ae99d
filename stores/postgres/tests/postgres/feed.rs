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

use crate::{
    listener::Log,
    support::{Database, SERVER, eventually, issue, wait_at_most},
};

pub(crate) fn keys(count: u32) -> Vec<Record> {
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
    // It waits for a lock before its commit.
    let run = |sql: String| {
        let database = database.clone();
        thread::spawn(move || SERVER.try_sql(&database.name, &sql))
    };
    let waits = async |event: &'static str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = '{event}'",
            database.name
        );
        wait_at_most(Duration::from_secs(30), async || database.sql(&sql) == "1").await;
    };
    let holder = run("SELECT pg_advisory_lock(1), pg_sleep(1000)".to_owned());
    waits("PgSleep").await;
    let update = format!("UPDATE api_keys SET revoked = now() WHERE key_id = '{id}'");
    let late = run(format!("BEGIN; {update}; SELECT pg_advisory_xact_lock(1); COMMIT"));
    waits("advisory").await;
    // Readers pass the open transaction many times.
    for _ in 0..30 {
        issue(&keys, "other").await;
    }
    let is_revoked = || keys.records().any(|it| it.digest() == digest && it.revoked().is_some());
    assert!(!is_revoked());
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
         AND query LIKE '%pg_advisory_lock(1)%'",
    );
    late.join().unwrap().unwrap();
    assert!(holder.join().unwrap().is_err());
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
    let options = tower_api_key_postgres::Postgres::options().max_connections(1);
    let single = options.open(&database.url()).unwrap();
    for client in &others {
        assert!(single.list(&Page::new()).await.is_ok());
        let name = &database.name;
        database.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid(); \
             UPDATE api_keys SET revoked = now() WHERE client = '{client}'"
        ));
        eventually(async || {
            keys.records().all(|it| it.client().id() != client || it.revoked().is_some())
        })
        .await;
        // A closed connection of the pool is replaced.
        assert_eq!(Change::revoke_client(client).commit(&single).await.unwrap().count(), 0);
    }
}
