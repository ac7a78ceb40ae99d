//! Modes and owners of files, and text about them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tower_api_key::store::{KeyStore as _, StoreErrorKind as Kind};
use tower_api_key_sqlite::{Sqlite, SqliteWarning::WritableByOthers};

use crate::support::{Folder, issue};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_can_read_a_new_database_and_the_files_beside_it() {
    let folder = Folder::migrated();
    issue(&folder.mirror().await, "ci").await;
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        assert_eq!(mode(folder.join(name)), 0o600, "{name}");
    }
    // An existing file keeps its mode, for a group that may change keys.
    fs::set_permissions(folder.file(), Permissions::from_mode(0o660)).unwrap();
    Sqlite::migrate(folder.file()).unwrap();
    assert_eq!(mode(folder.file()), 0o660);
}

#[test]
fn a_place_that_every_user_can_write_is_a_warning() {
    let folder = Folder::migrated();
    assert_eq!(folder.open().warnings(), []);
    let (inner, link) = (folder.join("inner"), folder.join("link"));
    fs::create_dir(&inner).unwrap();
    symlink("inner/../keys.db", &link).unwrap();
    assert_eq!(Sqlite::open(&link).unwrap().warnings(), []);

    for (path, risky, harmless) in
        [(&*folder, 0o777, 0o755), (&inner, 0o777, 0o1777), (&folder.file(), 0o602, 0o600)]
    {
        fs::set_permissions(path, Permissions::from_mode(risky)).unwrap();
        assert_eq!(Sqlite::open(&link).unwrap().warnings(), [WritableByOthers], "{path:?}");
        fs::set_permissions(path, Permissions::from_mode(harmless)).unwrap();
        assert_eq!(Sqlite::open(&link).unwrap().warnings(), [], "{path:?}");
    }
    assert!(WritableByOthers.to_string().contains("another user"));
}

#[test]
fn what_is_no_database_is_not_opened() {
    let folder = Folder::new();
    fs::write(
        folder.file(),
        "a text that is long enough to be a header of a file, but is none\n".repeat(20),
    )
    .unwrap();
    let error = Sqlite::open(folder.file()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
    assert_eq!(Sqlite::migrate(folder.file()).unwrap_err().kind(), Kind::Corrupt);

    let error = Sqlite::open(&*folder).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let error = Sqlite::open(folder.join("no/such/folder/keys.db")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = Sqlite::migrate(folder.join("no/such/folder/keys.db")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[test]
fn a_path_cannot_break_a_line_of_the_log() {
    let folder = Folder::new();
    let path = folder.join("keys\n2026 ERROR.db");
    let error = Sqlite::open(&path).unwrap_err().to_string();
    assert!(error.contains("keys\\n2026") && !error.contains('\n'), "{error}");
    Sqlite::migrate(&path).unwrap();
    let store = Sqlite::open(&path).unwrap();
    assert!(store.name().ends_with("keys\\n2026 ERROR.db"), "{}", store.name());
}
