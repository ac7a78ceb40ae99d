//! The sources of a password, and a password in the arguments.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tower_api_key_postgres::Postgres;

use crate::{
    database::SERVER,
    support::{Folder, stores::TestStore},
};

const WARNING: &str = "warning: other users of this machine can see the password in the arguments";

#[test]
fn a_password_comes_from_the_url_or_a_file_and_is_never_shown() {
    let store = TestStore::database(Folder::new());
    let (folder, name) = (&store.folder, store.database_name());
    let role = format!("password_{name}");
    let rights = Postgres::operator_rights(&role);
    SERVER.sql(
        name,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'Pass/w0rd' IN ROLE needs_password; {rights}; \
             GRANT CREATE ON SCHEMA public TO {role}"
        ),
    );
    let with = |password: &str| SERVER.url_of(&format!("{role}:{password}"), name);
    let (bare, right, wrong) =
        (SERVER.url_of(&role, name), with("Pass%2Fw0rd"), with("Wrong-w0rd"));
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (passwords, password, other) = (
        write("pgpass", &format!("*:*:*:{role}:Pass/w0rd\n")),
        write("password", "Pass/w0rd\n"),
        write("other", "Wrong-w0rd\n"),
    );
    let with_variable = |url: &str| folder.apikey("issue ci").env("API_KEYS_STORE", url);
    let assert_silent = |outcome: &crate::support::Outcome| {
        let shown = format!("{}{}", outcome.out, outcome.err);
        assert!(!shown.contains("w0rd"), "{shown}");
    };
    for apikey in [
        with_variable(&right),
        with_variable(&bare).env("PGPASSFILE", &passwords),
        with_variable(&bare).env("API_KEYS_PASSWORD_FILE", &password),
        with_variable(&bare).arg("--password-file").arg(&password),
    ] {
        let outcome = apikey.exits(0);
        assert_silent(&outcome);
        assert!(!outcome.err.contains("warning"), "{outcome:?}");
    }
    for words in ["list", "copy --to back.jsonl"] {
        let option = if words == "list" { "--store" } else { "--from" };
        let outcome = folder.apikey(words).arg(option).arg(&right).exits(0);
        assert_silent(&outcome);
        assert!(outcome.err.starts_with(WARNING), "{outcome:?}");
        let bare = folder.apikey(words).arg(option).arg(&bare).env("PGPASSFILE", &passwords);
        assert!(!bare.exits(0).err.contains("warning"), "{words}");
    }
    let outcome = folder.apikey("copy --from back.jsonl --to").arg(format!("{bare}?password=x"));
    assert!(outcome.finish().err.starts_with(WARNING));
    let wrong = [
        with_variable(&wrong),
        with_variable(&wrong).arg("--json"),
        folder.apikey("migrate --store").arg(&wrong),
        with_variable(&bare).arg("--password-file").arg(&other),
    ];
    for apikey in wrong {
        let outcome = apikey.exits(3);
        assert_silent(&outcome);
        outcome.assert_error("check the user and the password of the URL, and pg_hba.conf");
    }
    let outcome = with_variable(&bare).exits(3);
    outcome.assert_error("password missing");
    outcome.assert_error("PGPASSFILE");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = with_variable(&bare).arg("--password-file").arg(&password).exits(3);
    outcome.assert_error("other users can read the password file");
}
