//! Stores that cannot be opened or written, and their addresses.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rusqlite::Connection;
use serde_json::json;

use crate::{
    database::DATABASE,
    support::{
        Folder,
        fixtures::{OTHER, OWN, create_every_state, list_clients, parse_error},
        stores::TestStore,
    },
    write_errors::unprivileged_user,
};

/// Subcommands that open a store.
const COMMANDS: [&str; 14] = [
    "list",
    "usage",
    "issue ci",
    "show aaaaaaaa",
    "edit aaaaaaaa --note x",
    "rotate aaaaaaaa --overlap 7d",
    "revoke aaaaaaaa --yes",
    "revoke --client ci --yes",
    "pause aaaaaaaa",
    "resume aaaaaaaa",
    "check",
    "import ci --if-absent",
    "import --bulk",
    "prune --yes",
];

/// Runs each subcommand on a database and asserts its error.
fn assert_errors(folder: &Folder, store: &str, kind: &str, why: &str) {
    let names = folder.file_names();
    for words in COMMANDS {
        let run = |more: &str| {
            let words = format!("{words} --store {store} {more}");
            folder.apikey(&words).stdin(format!("ci\t{OTHER}")).exits(3)
        };
        let outcome = run("");
        outcome.assert_error(why);
        assert!(outcome.err.starts_with("error: "), "{outcome:?}");
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
        assert_eq!(parse_error(&run("--json"))["kind"], kind, "{words}");
        assert_eq!(folder.file_names(), names, "{words}");
    }
}

#[test]
fn only_migrate_creates_a_database() {
    let folder = Folder::new();
    let why = "error: keys.db: no such database. Create it with `apikey migrate`";
    assert_errors(&folder, DATABASE, "unavailable", why);
    let why = "error: no/such/keys.db: no such database. Create it with `apikey migrate`";
    assert_errors(&folder, "sqlite:no/such/keys.db", "unavailable", why);
    let outcome = folder.apikey("migrate --store sqlite:no/such/keys.db").exits(3);
    outcome.assert_error("error: no/such/keys.db: cannot create the file: No such file or");
    assert!(folder.file_names().is_empty());

    let migrate = || folder.apikey("migrate --store sqlite:keys.db");
    let first = migrate().exits(0);
    assert_eq!(first.err, "Created the tables of sqlite:keys.db, with version 2.\n");
    let mode = fs::metadata(folder.path().join("keys.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(migrate().exits(0).err, "The tables of sqlite:keys.db have version 2 already.\n");
    let shown = migrate().arg("--json").exits(0).json();
    assert_eq!(shown, json!({ "store": DATABASE, "from": 2, "to": 2 }));
    folder.apikey("list --store sqlite:keys.db").exits(0);
}

#[test]
fn migrate_needs_a_database() {
    let folder = create_every_state();
    let before = folder.text();
    for words in ["migrate", "migrate --file keys.jsonl", "migrate --store keys.jsonl"] {
        folder.apikey(words).exits(2).assert_error("error: a key file has no tables: ");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn the_error_on_a_file_that_is_no_database_says_so() {
    let folder = create_every_state();
    assert_errors(&folder, "sqlite:keys.jsonl", "corrupt", "keys.jsonl: cannot read the version");
    folder
        .apikey("migrate --store sqlite:keys.jsonl")
        .exits(3)
        .assert_error("not an SQLite database");
    assert!(folder.text().starts_with("{\"v\":1}\n"));
    folder.apikey("list --store sqlite:.").exits(3).assert_error("not a regular file");
    // A database of another program.
    let other = Connection::open(folder.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE todo (text TEXT)").unwrap();
    let why = "other.db: the database has no tables of keys. Create them with `apikey migrate`";
    assert_errors(&folder, "sqlite:other.db", "unsupported_version", why);
    folder.apikey("migrate --store sqlite:other.db").exits(0).assert_error("Created the tables");
}

#[test]
fn newer_tables_are_refused_with_their_version() {
    let database = TestStore::database(Folder::new());
    database.issue("ci");
    let connection = Connection::open(database.folder.path().join("keys.db")).unwrap();
    let sql = "UPDATE api_key_schema SET version = 41, compatible = 40";
    connection.execute_batch(sql).unwrap();
    let why = "keys.db: the tables have version 41, and this program knows only versions up to 2";
    assert_errors(&database.folder, DATABASE, "unsupported_version", why);
    database.apikey("migrate").exits(3).assert_error(why);
}

#[test]
fn migrate_upgrades_tables_without_usage() {
    let database = TestStore::database(Folder::new());
    let key = database.issue("ci");
    let connection = Connection::open(database.folder.path().join("keys.db")).unwrap();
    for table in ["usage", "last_use", "flush", "usage_since"] {
        connection.execute_batch(&format!("DROP TABLE api_key_{table}")).unwrap();
    }
    connection.execute_batch("UPDATE api_key_schema SET version = 1").unwrap();
    let outcome = database.apikey("list").exits(0);
    let why =
        "keys.db: the tables have version 1, and this program requires 2. Run `apikey migrate`";
    assert!(outcome.err.starts_with(&format!("warning: {why}")), "{outcome:?}");
    assert!(outcome.out.contains(&key.id));
    database.apikey("list --unused 1d").exits(3).assert_error(why);
    database.apikey("usage").exits(3).assert_error(why);
    let outcome = database.apikey("migrate").exits(0);
    assert_eq!(outcome.err, "Upgraded the tables of sqlite:keys.db from version 1 to 2.\n");
    assert_eq!(database.apikey("list").exits(0).err, "");
}

#[test]
fn a_read_only_database_can_be_read_and_keeps_its_keys() {
    let Some(user) = unprivileged_user() else {
        return println!("skipped: no other user may run the command where it was built");
    };
    let database = TestStore::database(Folder::new());
    let key = database.issue("ci");
    let path = database.folder.path();
    for name in database.folder.file_names() {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    let run = |words: &str| database.apikey(words).user(user).stdin(OWN).finish();
    for words in ["list", &format!("show {}", key.id), "usage"] {
        assert_eq!(run(words).code, 0, "{words}");
    }
    for words in
        ["issue ci", &format!("edit {} --note x", key.id), "revoke --client ci --yes", "import ci"]
    {
        let outcome = run(words);
        assert_eq!((outcome.code, &*outcome.out), (3, ""), "{outcome:?}");
        assert!(outcome.err.contains("read-only"), "{outcome:?}");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(database.records().len(), 1);
    assert_eq!(database.verify(&key.text), Ok("ci".to_owned()));
}

#[test]
fn a_wrong_address_lists_the_right_forms_and_is_not_repeated() {
    let folder = create_every_state();
    let forms = "expected a key file such as keys.jsonl, or a database such as sqlite:keys.db or \
                 postgres://user@host/keys";
    for (store, why) in [
        ("oracle:keys", &*format!("--store has an unknown scheme: {forms}")),
        ("mysql://root:Pass-w0rd@host/db", "has an unknown scheme"),
        ("SQLITE3:keys.db", "has an unknown scheme"),
        ("sqlite:", &format!("--store names no database: {forms}")),
        ("sqlite://", "names no database"),
        ("", "--store is empty"),
        (
            "keys.db",
            "--store lacks the scheme of a database: write sqlite:keys.db. If it is a key file",
        ),
        ("/tmp/x.sqlite3", "lacks the scheme"),
    ] {
        for words in ["list", "issue ci", "migrate"] {
            let outcome = folder.apikey(words).arg(format!("--store={store}")).exits(2);
            outcome.assert_error(why);
            assert!(!outcome.err.contains("Pass-w0rd"), "{outcome:?}");
            if !store.is_empty() {
                let outcome = folder.apikey(words).env("API_KEYS_STORE", store).exits(2);
                outcome.assert_error(why);
                assert!(!outcome.err.contains("Pass-w0rd"), "{outcome:?}");
            }
        }
    }
    let secret = "postgres://u:Pass-w0rd@host/db";
    for words in ["--help", "list --help", "", "completions bash"] {
        let outcome = folder.apikey(words).env("API_KEYS_STORE", secret).finish();
        let shown = format!("{}{}", outcome.out, outcome.err);
        assert!(!shown.contains("Pass-w0rd"), "{words}: {shown}");
    }
    assert_eq!(folder.file_names(), ["keys.jsonl"]);
    // A scheme in any case, and the form of other programs.
    for (store, name) in [("SQLite:a.db", "a.db"), ("sqlite://b.db", "b.db")] {
        folder.apikey("migrate --store").arg(store).exits(0);
        assert!(folder.path().join(name).exists());
        folder.apikey("list --store").arg(store).exits(0);
    }
    let absolute = format!("sqlite://{}", folder.path().join("a.db").display());
    folder.apikey("list --store").arg(absolute).exits(0);
    // A key file can have a colon in its name, and any ending.
    folder.apikey("issue ci --store ./a:b").exits(0);
    folder.apikey("issue ci --file file.db").exits(0);
    assert!(folder.path().join("a:b").exists() && folder.path().join("file.db").exists());
}

#[test]
fn file_and_store_do_not_go_together() {
    let folder = Folder::new();
    for name in ["file", "store", "variable"] {
        folder.apikey(&format!("issue {name} --file {name}.jsonl")).exits(0);
    }
    let both = "error: --file and --store name two stores: use one of them\n";
    for words in ["list --file a.jsonl --store b.jsonl", "--store b.jsonl list --file a.jsonl"] {
        assert_eq!(folder.apikey(words).exits(2).err, both);
    }
    let with = |words: &str, file: &str, store: &str| {
        folder.apikey(words).env("API_KEYS_FILE", file).env("API_KEYS_STORE", store)
    };
    let both = "error: API_KEYS_FILE and API_KEYS_STORE are both set: unset one, or add --file or --store\n";
    assert_eq!(with("list", "file.jsonl", "store.jsonl").exits(2).err, both);
    // An option wins over both variables, and an empty variable counts as unset.
    for (words, file, store, client) in [
        ("list --json --file file.jsonl", "variable.jsonl", "variable.jsonl", "file"),
        ("list --json --store store.jsonl", "variable.jsonl", "variable.jsonl", "store"),
        ("list --json", "", "store.jsonl", "store"),
        ("list --json", "file.jsonl", "", "file"),
    ] {
        assert_eq!(list_clients(&with(words, file, store).exits(0)), [client], "{words}");
    }
}

#[test]
fn a_copy_of_the_database_file_alone_has_the_last_change() {
    let database = TestStore::database(Folder::new());
    for _ in 0..3 {
        database.issue("ci");
        let path = database.folder.path();
        database.folder.shell("cp keys.db copy.db").exits(0);
        let copied = database.folder.apikey("list --json --store sqlite:copy.db").exits(0).json();
        assert_eq!(copied, database.apikey("list --json").exits(0).json());
        for name in ["copy.db", "copy.db-wal", "copy.db-shm"] {
            fs::remove_file(path.join(name)).unwrap();
        }
    }
}

#[test]
fn a_database_that_others_can_write_causes_a_warning() {
    let database = TestStore::database(Folder::new());
    let path = database.folder.path().join("keys.db");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = database.apikey("list").exits(0);
    assert!(outcome.err.starts_with("warning: another user can write or replace"), "{outcome:?}");
    let outcome = database.apikey("list --json").exits(0);
    assert!(outcome.err.starts_with(r#"{"warning":"another user"#), "{outcome:?}");
}
