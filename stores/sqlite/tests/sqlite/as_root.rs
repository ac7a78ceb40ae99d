//! Other users and mounts. `.ci/run` runs these tests as root.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use tower_api_key::store::StoreErrorKind;
use tower_api_key_sqlite::{Sqlite, SqliteWarning::WritableByOthers};

use crate::{
    child::Child,
    faults::{assert_intact, run},
    service::{Service, at_rest},
    support::{Folder, NOBODY, eventually, issue},
};

#[test]
#[ignore = "needs root"]
fn a_file_or_a_folder_of_another_user_is_a_warning() {
    let folder = Folder::migrated();
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    let file = inner.join("keys.db");
    Sqlite::migrate(&file).unwrap();
    for path in [&*folder, &inner, &file] {
        let warnings = || Sqlite::open(&file).unwrap().warnings().to_vec();
        chown(path, Some(NOBODY), None).unwrap();
        assert_eq!(warnings(), [WritableByOthers], "{path:?}");
        chown(path, Some(0), None).unwrap();
        assert_eq!(warnings(), [], "{path:?}");
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_user_who_may_not_read_or_write_the_database_is_denied() {
    let folder = Folder::migrated();
    fs::set_permissions(&*folder, Permissions::from_mode(0o755)).unwrap();
    let set_mode = |mode| {
        for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
            _ = fs::set_permissions(folder.join(name), Permissions::from_mode(mode));
        }
    };
    let outcome = || Child::start_as(NOBODY, "try", &folder.file()).line().unwrap();
    set_mode(0o600);
    assert!(outcome().starts_with("open denied: "), "{}", outcome());
    set_mode(0o644);
    let keys = folder.mirror().await;
    assert!(outcome().starts_with("issue denied: "), "{}", outcome());
    fs::set_permissions(&*folder, Permissions::from_mode(0o700)).unwrap();
    assert!(outcome().starts_with("open denied: "), "{}", outcome());
    assert!(keys.status().problem().is_none());
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_change_by_root_does_not_lock_the_user_of_the_service_out() {
    let folder = Folder::migrated();
    for path in [&*folder, &folder.file()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for name in ["keys.db-wal", "keys.db-shm"] {
        _ = fs::remove_file(folder.join(name));
    }
    issue(&folder.mirror().await, "ci").await;
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let about = fs::metadata(folder.join(name)).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o777), (NOBODY, 0o600), "{name}");
    }
    assert_eq!(Child::start_as(NOBODY, "try", &folder.file()).line().unwrap(), "");
}

/// A file system in memory, which is unmounted on drop.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(options: &str, at: &'a Path) -> Self {
        run(at, &format!("mount {options} '{}'", at.display()));
        Self(at)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        _ = Command::new("umount").args(["--lazy".as_ref(), self.0.as_os_str()]).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root"]
async fn the_disk_is_full() {
    let folder = Folder::new();
    let _mount = Mount::new("-t tmpfs -o size=1m none", &folder);
    Sqlite::migrate(folder.file()).unwrap();
    let service = Service::start(&folder).await;
    at_rest(&folder).await;
    run(&folder, "head -c 9000000 /dev/zero >filler || true");
    assert_eq!(service.fail_to_revoke().await, StoreErrorKind::Unavailable);
    service.checks.go_on(20).await;
    let sql = "SELECT count(*) FROM api_key WHERE client = 'good' AND revoked IS NULL";
    let good: i64 = folder.connect().query_row(sql, (), |row| row.get(0)).unwrap();
    assert_eq!(good, 2, "a change that failed has changed nothing");
    run(&folder, "rm filler");
    service.end().await;
    assert_intact(&folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root"]
async fn a_service_on_a_read_only_mount_follows_the_changes_that_others_make() {
    let (folder, view) = (Folder::migrated(), Folder::new());
    let path = folder.display();
    let _mount = Mount::new(&format!("--bind '{path}'"), &view);
    run(&view, "mount -o remount,bind,ro .");
    let writer = folder.mirror().await;
    let service = view.mirror().await;
    let (key_id, _) = issue(&writer, "ci").await;
    eventually(async || service.record(&key_id).is_some()).await;
    let error = service.revoke_client("ci").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
    assert!(service.record(&key_id).unwrap().revoked().is_none());
    writer.revoke_client("ci").await.unwrap();
    eventually(async || service.record(&key_id).unwrap().revoked().is_some()).await;
    assert!(service.status().problem().is_none());

    // The mount can be written again.
    run(&view, "mount -o remount,bind,rw .");
    let (key_id, _) = issue(&service, "ci").await;
    eventually(async || writer.record(&key_id).is_some()).await;
    assert_intact(&folder);
}
