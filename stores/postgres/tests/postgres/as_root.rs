//! A full disk. `.ci/run` runs these tests as root, because only root can mount a small file system.

use std::process::Command;

use tower_api_key::store::{Change, Mirrored, StoreErrorKind as Kind};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers::{self as servers, Disk};

use crate::{feed::keys, service::Service, support::add_template};

/// Starts a server with a database `keys` on a small disk. The disk goes before the server.
fn on_a_small_disk() -> (servers::Postgres, Disk) {
    let server = servers::Postgres::start();
    add_template(&server);
    let disk = Disk::mount(server.folder().join("disk"), "32m");
    let location = disk.path().display();
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{location}'"));
    server.sql("postgres", "CREATE DATABASE keys TEMPLATE tables TABLESPACE small");
    (server, disk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root"]
async fn a_full_disk_of_the_tables_stops_changes_and_no_requests() {
    let (server, disk) = on_a_small_disk();
    let url = server.url("keys");
    let service = Service::start([&url, &url], &url).await;
    let store = Postgres::open(&url).unwrap();

    disk.fill();
    let import = Change::insert_if_absent(keys(3_000));
    let error = import.clone().commit(&store).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("the disk of the server is full"), "{error}");
    let imported = "SELECT count(*) FROM api_keys WHERE client = 'ci'";
    assert_eq!(server.sql("keys", imported), "0", "a change that failed has changed something");
    service.checks.go_on(20).await;
    let late = Mirrored::open(store.clone()).await.unwrap();
    assert_eq!(late.status().keys(), 2, "a service that starts meanwhile has the good keys");

    disk.free();
    assert_eq!(import.commit(&store).await.unwrap().count(), 3_000);
    service.end().await;
}

#[cfg(feature = "usage")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root"]
async fn usage_that_a_full_disk_refuses_is_written_once_when_there_is_room() {
    use std::time::SystemTime;
    use tower_api_key::usage::{Counts, Subject, UsageBatch, UsageRow, UsageSink as _};

    let (server, disk) = on_a_small_disk();
    let usage = Postgres::open(&server.url("keys")).unwrap().usage();
    let mut counts = Counts::default();
    counts.accepted = 7;
    let row = |id: u32| {
        let subject = Subject::key(format!("{id:08}"), Some("ci"));
        UsageRow::new(subject, SystemTime::now(), counts, None)
    };
    let batch = UsageBatch::new("one", 1, (0..5_000).map(row).collect());

    // The first connection to a database writes a file.
    disk.fill();
    let error = usage.write(&batch).await.unwrap_err();
    assert!(error.to_string().contains("Its disk may be full"), "{error}");
    disk.free();
    usage.write(&UsageBatch::new("two", 1, Vec::new())).await.unwrap();

    disk.fill();
    for _ in 0..3 {
        let error = usage.write(&batch).await.unwrap_err();
        assert!(error.to_string().contains("the disk of the server is full"), "{error}");
    }
    disk.free();
    for _ in 0..2 {
        usage.write(&batch).await.unwrap();
    }
    let sums = "SELECT count(*), min(accepted), max(accepted) FROM api_key_usage";
    assert_eq!(server.sql("keys", sums), "5000|7|7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root"]
async fn a_server_that_a_full_disk_of_its_log_ends_is_used_again_after_its_start() {
    let mut server = servers::Postgres::start();
    add_template(&server);
    server.sql("postgres", "CREATE DATABASE keys TEMPLATE tables");
    server.stop("INT");
    let disk = Disk::mount(server.folder().join("disk"), "160m");
    let script = "mv data/pg_wal/* disk/; rmdir data/pg_wal; ln -s ../disk data/pg_wal";
    let moved = Command::new("sh").args(["-ec", script]).current_dir(server.folder()).status();
    assert!(moved.unwrap().success());
    server.start_again();
    let url = server.url("keys");
    let service = Service::start([&url, &url], &url).await;

    let before = service.faults();
    disk.fill();
    // Another program writes until the log needs room, which ends the server.
    let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)";
    server.try_sql("keys", &format!("CREATE TABLE other AS {rows}")).unwrap_err();
    let error = service.mirrors[0].revoke_client("good").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    service.notice(before).await;
    servers::wait_for("the end of the server", || !server.program().runs());
    service.checks.go_on(20).await;

    disk.free();
    server.start_again();
    service.follow().await;
    service.end().await;
}
