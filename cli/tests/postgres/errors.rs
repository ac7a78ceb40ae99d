//! Databases that cannot be used, and the next step that each error names.

use std::net::TcpListener;

use serde_json::json;
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

use crate::{
    database::SERVER,
    support::{
        Folder,
        fixtures::{OTHER, create_every_state, parse_error},
        stores::TestStore,
    },
};

/// Runs subcommands of each kind on an address and asserts their errors.
fn assert_errors(address: &str, kind: &str, parts: &[&str]) {
    let folder = create_every_state();
    for words in ["list", "issue ci", "revoke --client ci --yes", "import --bulk", "prune --yes"] {
        let run = |more: &[&str]| {
            let apikey = folder.apikey(words).env("API_KEYS_STORE", address).args(more);
            apikey.stdin(format!("ci\t{OTHER}")).exits(3)
        };
        let outcome = run(&[]);
        parts.iter().for_each(|part| outcome.assert_error(part));
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
        assert_eq!(parse_error(&run(&["--json"]))["kind"], kind, "{words}");
    }
    for words in ["copy --from keys.jsonl --to", "copy --to keys.jsonl --from", "usage --store"] {
        let outcome = folder.apikey(words).arg(address).exits(3);
        parts.iter().for_each(|part| outcome.assert_error(part));
    }
}

#[test]
fn migrate_creates_and_upgrades_the_tables_of_a_database() {
    let name = SERVER.create_database("template0");
    let store = TestStore::file(Folder::new());
    let store = TestStore { address: SERVER.url(&name), ..store };
    let why = "does not exist (SQLSTATE 42P01). Create or upgrade them with `apikey migrate --store postgres://…`";
    assert_errors(&store.address, "unsupported_version", &[why]);

    let place = store.name();
    let outcome = store.apikey("migrate").exits(0);
    assert_eq!(outcome.err, format!("Created the tables of {place}, with version 2.\n"));
    let outcome = store.apikey("migrate").exits(0);
    assert_eq!(outcome.err, format!("The tables of {place} have version 2 already.\n"));
    let shown = store.apikey("migrate --json").exits(0).json();
    assert_eq!(shown, json!({ "store": place, "from": 2, "to": 2 }));
    let key = store.issue("ci");
    assert_eq!(store.verify(&key.text), Ok("ci".to_owned()));

    SERVER.sql(&name, "UPDATE api_keys_schema SET version = 9, compatible = 8");
    let why = "the tables have version 9, and this program knows only versions up to 2. Use a newer program";
    assert_errors(&store.address, "unsupported_version", &[why]);
    store.apikey("migrate").exits(3).assert_error(why);
}

#[test]
fn a_wrong_address_names_the_next_step() {
    let port = servers::free_port();
    let refused = format!("postgres://postgres@127.0.0.1:{port}/keys");
    let part = "Check the host and the port of the URL";
    assert_errors(&refused, "unavailable", &["cannot connect", "refused", part]);
    let unknown = "postgres://postgres@no-such-host.invalid/keys";
    assert_errors(unknown, "unavailable", &["cannot connect", part]);
    assert_errors(&SERVER.url("none"), "unavailable", &["does not exist", "`createdb`"]);
    let folder = Folder::new();
    for address in ["postgres:keys", "postgres://u:Pass-w0rd@host:port/keys"] {
        for words in ["list", "migrate"] {
            let outcome = folder.apikey(words).env("API_KEYS_STORE", address).exits(2);
            outcome.assert_error("--store is not usable: the URL of the database is not valid");
            assert!(!outcome.err.contains("Pass-w0rd"), "{outcome:?}");
        }
    }
}

#[test]
fn a_server_that_does_not_answer_ends_the_command_after_five_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("postgres://postgres@{}/keys", silent.local_addr().unwrap());
    let outcome = Folder::new().apikey("list --store").arg(address).exits(3);
    // The deadline of the connection and that of the wait for it end at the same time.
    outcome.assert_error("in time");
}

#[test]
fn a_missing_right_is_named() {
    let store = TestStore::database(Folder::new());
    let name = store.database_name();
    let role = format!("service_{name}");
    let rights = Postgres::service_rights(&role);
    SERVER.sql(name, &format!("CREATE ROLE {role} LOGIN; CREATE ROLE {role}_no LOGIN; {rights}"));
    let id = store.issue("ci").id;
    let service =
        |words: &str| store.folder.apikey(words).env("API_KEYS_STORE", SERVER.url_of(&role, name));
    assert!(service("list").exits(0).out.contains(&id));
    for words in ["issue ci", &format!("revoke {id} --yes")] {
        let outcome = service(words).exits(3);
        outcome.assert_error("`Postgres::service_rights` or `operator_rights`");
        outcome.assert_error("permission denied");
    }
    let none = SERVER.url_of(&format!("{role}_no"), name);
    assert_errors(&none, "denied", &["permission denied", "grant the rights"]);
}

#[test]
fn a_standby_names_the_primary_as_the_next_step() {
    let primary = servers::Postgres::start();
    primary.sql("postgres", &Postgres::schema());
    let standby = servers::Postgres::standby_of(&primary);
    let part = "Give the URL of the primary";
    assert_errors(&standby.url("postgres"), "unavailable", &["standby", part]);
}
