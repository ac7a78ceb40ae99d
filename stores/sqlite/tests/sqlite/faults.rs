//! Faults of the file while two services run.

use std::{path::Path, process::Command, time::Duration};

use rusqlite::Connection;
use tower_api_key::store::{Change, StoreErrorKind as Kind};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::Child,
    service::{Service, at_rest},
    support::{Folder, at},
};

/// Runs a command on files of a folder.
///
/// This process must not open the database apart from SQLite, because closing it would drop SQLite's locks.
#[track_caller]
pub(crate) fn run(folder: &Path, command: &str) {
    let status = Command::new("sh").args(["-ec", command]).current_dir(folder).status();
    assert!(status.unwrap().success(), "{command}");
}

#[track_caller]
pub(crate) fn assert_intact(folder: &Folder) {
    let sql = "PRAGMA integrity_check";
    let found: String = folder.connect().query_row(sql, (), |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

/// Breaks the file of a running service, repairs it from a copy and checks the answers.
async fn breaks(break_it: &str, repair: &str, kinds: &[Kind]) {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    run(&folder, "cp keys.db backup");
    run(&folder, break_it);
    service.reports("broken ").await;
    let kind = service.fail_to_revoke().await;
    assert!(kinds.contains(&kind), "{break_it}: {kind:?}");
    service.checks.go_on(20).await;
    run(&folder, repair);
    service.recovers().await;
    service.end().await;
    assert_intact(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted() {
    breaks("rm keys.db", "cp backup keys.db", &[Kind::Unavailable]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_with_the_files_beside_it() {
    breaks("rm keys.db*", "cp backup new; mv new keys.db", &[Kind::Unavailable]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated() {
    truncated_to(20_000).await;
}

pub(crate) async fn truncated_to(len: u64) {
    let kinds = [Kind::Corrupt, Kind::UnsupportedVersion, Kind::Unavailable];
    breaks(&format!("truncate -s {len} keys.db"), "cat backup >keys.db", &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_file_stays_empty_and_a_new_service_does_not_start() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    run(&folder, "cp keys.db backup; : >keys.db");
    service.reports("broken ").await;
    assert_ne!(service.fail_to_revoke().await, Kind::OutcomeUnknown);
    assert!(Sqlite::open(folder.file()).is_err());
    run(&folder, "test ! -s keys.db; cat backup >keys.db");
    service.recovers().await;
    service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_another_journal_mode_gets_the_right_one_again() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    let copy = format!("VACUUM INTO '{}'", folder.join("export").display());
    folder.connect().execute_batch(&copy).unwrap();
    let mode = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.query_row("PRAGMA journal_mode", (), |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(mode(&folder.join("export")), "delete");
    run(&folder, "rm keys.db*; mv export keys.db");
    service.recovers().await;
    service.end().await;
    assert_eq!(mode(&folder.file()), "wal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwritten_by_what_is_no_database() {
    let kinds = [Kind::Corrupt, Kind::Unavailable];
    breaks("yes | head -c 90000 >keys.db", "cat backup >keys.db", &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_beside_the_database_are_deleted() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    run(&folder, "rm keys.db-wal keys.db-shm");
    service.reports("broken ").await;
    service.recovers().await;
    service.end().await;
    assert_intact(&folder);
}

/// A backup is copied back. It has a key that was revoked since, and lacks one that was issued since.
async fn restored(restore: &str) {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    let key = service.issue("bad").await;
    at_rest(&folder).await;
    run(&folder, "cp keys.db backup");
    service.checks.forget(&key);
    let revoked = service.revoke().await;
    service.checks.both(&key, 401).await;
    let lost = service.issue("lost").await;
    at_rest(&folder).await;

    service.checks.forget(&lost);
    run(&folder, restore);
    service.checks.both(&lost, 401).await;
    service.reports("stays_revoked ").await;
    service.checks.both(&revoked, 401).await;
    // A service that starts now accepts the key, as the database says.
    assert!(
        folder
            .mirror()
            .await
            .records()
            .any(|record| { record.client().id() == "bad" && record.revoked().is_none() })
    );
    service.checks.go_on(20).await;
    service.checks.both(&key, 401).await;
    service.end().await;
    assert_intact(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_the_place_of_the_file() {
    restored("mv backup keys.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_copied_into_the_file() {
    restored("cat backup >keys.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_the_place_of_all_files() {
    restored("rm keys.db*; mv backup keys.db").await;
}

/// Both wait for five seconds, so they run at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_holds_the_lock_or_stops_inside_a_transaction() {
    tokio::join!(locked(Duration::ZERO), stopped());
}

pub(crate) async fn locked(time: Duration) {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    let mut other = Child::start("lock", &folder.file());
    assert_eq!(other.line().unwrap(), "locked");
    tokio::time::sleep(time).await;
    assert_eq!(service.fail_to_revoke().await, Kind::Unavailable);
    service.checks.go_on(20).await;
    // Readers go on, so that there is no problem to report.
    assert!(!service.has_reported("broken "));
    assert_eq!(other.ask("release"), "released");
    service.end().await;
    assert_intact(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_excludes_all_others() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    // SQLite grants it only while no other process has the database open. So the file is replaced by a copy.
    run(&folder, "cp keys.db copy");
    let other = Connection::open(folder.join("copy")).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE api_key_schema SET one = 1; COMMIT")
        .unwrap();
    run(&folder, "mv copy keys.db");
    service.reports("broken ").await;
    service.checks.go_on(20).await;
    assert_eq!(service.fail_to_revoke().await, Kind::Unavailable);
    drop(other);
    service.recovers().await;
    service.end().await;
}

async fn stopped() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    let mut other = Child::start("lock", &folder.file());
    assert_eq!(other.line().unwrap(), "locked");
    other.signal("STOP");
    assert_eq!(service.fail_to_revoke().await, Kind::Unavailable);
    service.checks.go_on(20).await;
    assert!(!service.has_reported("broken "));
    other.signal("CONT");
    assert_eq!(other.ask("release"), "released");
    // A process that is killed inside a transaction holds no lock.
    let mut third = Child::start("lock", &folder.file());
    assert_eq!(third.line().unwrap(), "locked");
    third.signal("STOP");
    third.kill();
    service.end().await;
    assert_intact(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_steps_back() {
    let folder = Folder::migrated();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    run(&folder, "touch -d 2001-01-01 keys.db");
    let key = service.issue("past").await;
    service.checks.forget(&key);
    let past = at(1_000_000_000, 0);
    let revoke = Change::revoke_client("past").with_time(past);
    assert_eq!(service.keys.change(revoke).await.unwrap().count(), 1);
    service.checks.both(&key, 401).await;
    service.end().await;
}
