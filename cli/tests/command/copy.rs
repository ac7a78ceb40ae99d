//! Copies keys between stores.

use std::fs;

use serde_json::json;
use tower_api_key::record::Record;

use crate::{
    database,
    support::{
        Folder,
        fixtures::{OWN, create_every_state, open_broken_pipe, parse_error},
        record_line,
        stores::{TestStore, on_both_with_every_state},
    },
};

/// Returns a key file whose records have every field.
fn create_every_field() -> Folder {
    let folder = create_every_state();
    let words = "issue full --scope a,b --name N --note n --meta plan=pro --by alice --prefix sk_live \
                 --expires 90d --not-before 1d";
    let key = folder.apikey(words).exits(0).key();
    folder.apikey(&format!("rotate {} --overlap 7d --reason x --by bob", key.id)).exits(0);
    folder.apikey(&format!("pause {}", key.id)).exits(0);
    folder.apikey("revoke aaaaaaaa --yes --by bob --reason leaked").exits(0);
    // Services write fractions of a second.
    let text = folder.text().replace("2500-01-01T00:00:00Z", "2500-01-01T00:00:00.123456Z");
    folder.write(&text);
    folder
}

#[test]
fn copy_keeps_every_field_on_the_way_forth_and_back() {
    let database = TestStore::database(create_every_field());
    let folder = &database.folder;
    let records = folder.records();
    assert_eq!(records.len(), 9);
    assert_eq!(
        database.copy_file().exits(0).err,
        format!("Copied 9 keys to {}.\n", database.name())
    );
    assert_eq!(database.records(), records);
    let path = folder.path().join("back.jsonl");
    let outcome = database.copy_back().exits(0);
    assert_eq!(outcome.err, format!("Copied 9 keys to {}.\n", path.display()));
    fs::rename(path, folder.file()).unwrap();
    assert_eq!(folder.records(), records);
}

#[test]
fn a_second_copy_changes_nothing() {
    let database = TestStore::database(create_every_field());
    let folder = &database.folder;
    database.copy_file().exits(0);
    database.copy_back().exits(0);
    let before = (database.records(), fs::read(folder.path().join("back.jsonl")).unwrap());
    let outcome = database.copy_file().exits(0);
    assert_eq!(
        outcome.err,
        format!("Copied 0 keys to {}. 9 keys were there already.\n", database.name())
    );
    let outcome = database.copy_back().arg("--json").exits(0);
    assert_eq!(outcome.json(), json!({ "copied": 0, "present": 9, "revoked": 0 }));
    let after = (database.records(), fs::read(folder.path().join("back.jsonl")).unwrap());
    assert_eq!(before, after);
}

#[test]
fn copy_brings_no_revoked_key_back_and_undoes_no_change() {
    let database = TestStore::database(create_every_state());
    database.copy_file().exits(0);
    database.apikey("revoke gggggggg --yes").exits(0);
    database.apikey("edit aaaaaaaa --note changed").exits(0);
    let before = database.records();
    database.copy_file().exits(0);
    assert_eq!(database.records(), before);
    assert_eq!(database.verify("Key-that-works"), Err("revoked"));
}

#[test]
fn a_key_that_was_revoked_in_the_source_meanwhile_is_revoked_by_the_next_copy() {
    let database = TestStore::database(create_every_state());
    let folder = &database.folder;
    database.copy_file().exits(0);
    folder.apikey("revoke gggggggg --yes --by alice --reason leaked").exits(0);
    assert_eq!(database.verify("Key-that-works"), Ok("zeta".to_owned()));
    let outcome = database.copy_file().exits(0);
    let place = database.name();
    let said =
        format!("Copied 0 keys to {place}. 7 keys were there already. Revoked 1 key of them.\n");
    assert_eq!(outcome.err, said);
    assert_eq!(database.record("gggggggg"), folder.record("gggggggg"));
    let outcome = database.copy_file().arg("--json").exits(0);
    assert_eq!(outcome.json(), json!({ "copied": 0, "present": 7, "revoked": 0 }));
}

#[test]
fn copy_works_in_pages() {
    let lines: Vec<_> = (0..10100)
        .map(|number| record_line(&format!("{number:08}"), "ci", &format!("Key-{number}"), ""))
        .collect();
    let database = TestStore::database(Folder::with(&lines));
    let folder = &database.folder;
    database.copy_file().exits(0).assert_error("Copied 10100 keys to ");
    let ids = |records: &[Record]| {
        records.iter().map(|record| record.id().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&database.records()), ids(&folder.records()));
    // Between databases, and into a file.
    let other = database::create(folder, "other");
    let copy = |from: &str, to: &str| folder.apikey("copy").args(&["--from", from, "--to", to]);
    let outcome = copy(&database.address, &other).exits(0);
    outcome.assert_error("Copied 10100 keys to ");
    copy(&other, "back.jsonl").exits(0);
    let listed = folder.apikey("list --file back.jsonl").exits(0);
    assert_eq!(listed.out.lines().count(), 10101);
    let listed = folder.apikey("list --store").arg(&other).exits(0);
    assert_eq!(listed.out.lines().count(), 10101);
    let outcome = copy(&other, "back.jsonl").exits(0);
    outcome.assert_error("Copied 0 keys to ");
    outcome.assert_error(" 10100 keys were there already.\n");
}

#[test]
fn copy_names_a_key_whose_id_another_key_has() {
    let database = TestStore::database(Folder::with(&[record_line("aaaaaaaa", "ci", OWN, "")]));
    let folder = &database.folder;
    database.copy_file().exits(0);
    let other = [
        record_line("bbbbbbbb", "ci", "Key-of-another", ""),
        record_line("aaaaaaaa", "ci", "Key-with-the-same-id", ""),
    ];
    folder.write(&format!("{{\"v\":1}}\n{}", other.concat()));
    let before = database.records();
    let outcome = database.copy_file().exits(1);
    let place = database.name();
    outcome
        .assert_error(&format!("error: another key of {place} has the id aaaaaaaa. Rotate one of"));
    assert_eq!(database.records(), before);
    assert_eq!(parse_error(&database.copy_file().arg("--json").exits(1))["kind"], "conflict");
    folder
        .apikey("copy --to keys.jsonl --from")
        .arg(&database.address)
        .exits(1)
        .assert_error("aaaaaaaa");
}

#[test]
fn copy_needs_two_stores_that_it_names_itself() {
    let database = TestStore::database(create_every_state());
    let folder = &database.folder;
    let address = &database.address;
    let forth = format!("copy --from keys.jsonl --to {address}");
    for (words, code, why) in [
        ("copy", 2, "--from <STORE>"),
        ("copy --from keys.jsonl", 2, "--to <STORE>"),
        (
            "copy --from keys.jsonl --to sqlite:none.db",
            3,
            "none.db: no such database. Create it with `apikey migrate`",
        ),
        (&format!("copy --from none.jsonl --to {address}"), 3, "none.jsonl: no such file"),
        (&format!("copy --from oracle:x --to {address}"), 2, "--from has an unknown scheme"),
        ("copy --from keys.jsonl --to keys.db", 2, "--to lacks the scheme of a database"),
        (&format!("{forth} --store keys.jsonl"), 2, "takes its stores from --from and --to alone"),
        (&format!("{forth} --file keys.jsonl"), 2, "takes its stores from --from and --to alone"),
    ] {
        folder.apikey(words).exits(code).assert_error(why);
        assert!(database.records().is_empty(), "{words}");
    }
    assert!(!folder.path().join("none.db").exists() && !folder.path().join("none.jsonl").exists());
    // The variable names the store of other subcommands.
    database.copy_file().env("API_KEYS_STORE", "elsewhere.jsonl").exits(0);
    database.copy_back().arg("--json").stdout(open_broken_pipe()).exits(0);
}

#[test]
fn a_store_can_be_copied_into_itself() {
    on_both_with_every_state(|store| {
        let before = store.records();
        let words = format!("copy --from {0} --to {0}", store.address);
        store.folder.apikey(&words).exits(0).assert_error("7 keys were there already.");
        assert_eq!(store.records(), before);
    });
}
