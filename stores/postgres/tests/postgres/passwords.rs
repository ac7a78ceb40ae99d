//! Passwords of the URL and of files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use tower_api_key::store::{KeyStore as _, Page, StoreErrorKind as Kind};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers::Folder;

use crate::support::{Database, SERVER};

/// Creates a role that needs a password, and returns its name.
fn role(database: &Database, password: &str) -> String {
    let role = format!("role_{}", database.name);
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{password}' IN ROLE needs_password; {}",
        Postgres::service_rights(&role)
    ));
    role
}

fn private(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn a_password_comes_from_the_url_or_a_file_and_is_never_shown() {
    let database = Database::migrated();
    let role = role(&database, "hunt/er2");
    let (bare, name) = (SERVER.url_of(&role, &database.name), &database.name);
    let with = |password: &str| SERVER.url_of(&format!("{role}:{password}"), name);
    let page = Page::new();
    assert!(Postgres::open(&with("hunt%2Fer2")).unwrap().list(&page).await.is_ok());

    let folder = Folder::new("password");
    let file = private(&folder, "password", "wrong hunter\n");
    let store = Postgres::options().password_file(&file).open(&bare).unwrap();
    for store in [&store, &Postgres::open(&with("hunter3")).unwrap()] {
        let error = store.list(&page).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        let text = format!("{error} {error:?} {store:?} {}", store.name());
        assert!(text.contains("check the user and the password"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
    // The file is read for each connection.
    fs::write(&file, "hunt/er2\n").unwrap();
    assert!(store.list(&page).await.is_ok());
    let options = Postgres::options().feed_url(with("hunt%2Fer2"));
    assert!(!format!("{options:?}").contains("hunt"));

    let error = Postgres::open(&bare).unwrap().list(&page).await.unwrap_err();
    assert!(error.to_string().contains("password missing"), "{error}");
}
