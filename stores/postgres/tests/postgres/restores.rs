//! Restores, restarts and crashes, after which numbers of transactions can come again.

use std::time::Duration;

use tower_api_key::store::{Change, Start};
use tower_api_key_test_servers as servers;

use crate::{
    feed::keys,
    listener::Log,
    support::{add_template, eventually, wait_at_most},
};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_that_undoes_commits_of_other_programs_hides_no_change() {
    let server = servers::Postgres::start();
    add_template(&server);
    // Commits that do not wait for the disk are not there for ten seconds.
    for setting in ["wal_writer_delay = '10s'", "wal_writer_flush_after = '1GB'"] {
        server.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    server.sql("postgres", "SELECT pg_reload_conf(), pg_sleep(0.3)");
    let name = server.create_database("tables");
    let store = tower_api_key_postgres::Postgres::open(&server.url(&name)).unwrap();
    server.sql(&name, "CREATE TABLE other (id integer)");
    _ = Change::insert_if_absent(keys(2)).commit(&store).await.unwrap();
    let log = Log::default();
    let following = log.follow(store.clone(), Start::Everything);
    wait_at_most(Duration::from_secs(30), async || log.heard().cursor.is_some()).await;

    // Each block of the loop takes a number.
    let others = "SET synchronous_commit = off; DO $$ BEGIN FOR i IN 1..300 LOOP \
        BEGIN INSERT INTO other VALUES (i); EXCEPTION WHEN others THEN NULL; END; END LOOP; END $$; NOTIFY api_keys";
    let last = || {
        let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
        server.sql(&name, sql).parse::<u64>().unwrap()
    };
    let readies = log.count("ready");
    server.sql(&name, others);
    let before = last();
    wait_at_most(Duration::from_secs(8), async || log.count("ready") > readies).await;
    following.abort();
    let cursor = log.heard().cursor.clone().unwrap();

    let writer =
        server.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
    assert!(
        std::process::Command::new("kill").args(["-KILL", &writer]).status().unwrap().success()
    );
    wait_at_most(Duration::from_secs(30), async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.try_sql("postgres", "SELECT 1").is_ok()
    })
    .await;
    let after = last();
    assert!(
        after < before,
        "the numbers of transactions did not go back: {after} follows {before}"
    );
    server.sql(&name, "UPDATE api_keys SET revoked = now() WHERE key_id = '00000001'");
    server.sql(&name, others);
    log.heard().calls.clear();
    let following = log.follow(store, Start::After(cursor));
    wait_at_most(Duration::from_secs(8), async || log.count("ready") > 0).await;
    assert_eq!(log.heard().calls.first(), Some(&"record"));
    assert!(
        log.heard().records.values().any(|it| it.revoked().is_some()),
        "the revocation is lost"
    );
    following.abort();
}
