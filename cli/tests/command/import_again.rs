//! Imports that a deployment repeats.

use serde_json::{Value, json};
use tower_api_key::KeyDigest;

use crate::support::{
    fixtures::{OTHER, OWN, run_with_input},
    stores::{TestStore, on_both_stores},
};

/// Runs the command with a digest as its input, which is no secret.
fn import_digest(store: &TestStore, words: &str, key: &str) -> crate::support::Outcome {
    let text = KeyDigest::of(key).encode();
    run_with_input(&store.folder, &format!("{words} --store {}", store.address), &text)
}

#[test]
fn if_absent_adds_a_key_once() {
    on_both_stores(|store| {
        let words = "import ci --if-absent --scope a --meta plan=pro --by alice";
        let outcome = store.apikey(words).stdin(OWN).exits(0);
        assert!(outcome.err.starts_with("Imported as "), "{outcome:?}");
        let before = store.records();
        assert_eq!((before.len(), before[0].issued_by()), (1, Some("alice")));
        assert_eq!(before[0].client().metadata("plan"), Some("pro"));
        let id = before[0].id().unwrap();
        // The key stays as it is, even if the arguments are others.
        let outcome = store.apikey("import ci --if-absent --scope b").stdin(OWN).exits(0);
        assert_eq!(outcome.err, format!("There already as {id}.\n"));
        let shown = store.apikey("import ci --if-absent --json").stdin(OWN).exits(0).json();
        assert_eq!((&shown["id"], &shown["imported"]), (&json!(id), &json!(false)));
        assert_eq!(store.records(), before);
        store.apikey("import ci").stdin(OWN).exits(1).assert_error("the key is in the keyring");

        let outcome = store.apikey("import other --if-absent").stdin(OWN).exits(0);
        let warning = format!("warning: key {id} belongs to ci, and stays as it is\n");
        assert_eq!(outcome.err, format!("{warning}There already as {id}.\n"));
        store.apikey("revoke --client ci --yes").exits(0);
        let outcome = store.apikey("import ci --if-absent --json").stdin(OWN).exits(0);
        let warning: Value = serde_json::from_str(&outcome.err).unwrap();
        assert_eq!(warning["warning"], format!("key {id} was revoked before, and stays revoked"));
        assert_eq!(store.verify(OWN), Err("revoked"));
        store.apikey("import ci").stdin(OWN).exits(1).assert_error("the key was revoked");
    });
}

#[test]
fn digest_accepts_only_digests_and_adds_each_once() {
    on_both_stores(|store| {
        let outcome = import_digest(store, "import ci --digest --prefix sk", OWN);
        let record = store.records().remove(0);
        let id = record.id().unwrap();
        assert_eq!((outcome.code, outcome.err), (0, format!("Imported the digest as {id}.\n")));
        let outcome = import_digest(store, "import ci --digest", OWN);
        assert_eq!((outcome.code, outcome.err), (0, format!("There already as {id}.\n")));
        assert_eq!(store.records(), [record]);
        assert_eq!(store.verify(OWN), Ok("ci".to_owned()));
        let outcome = store.apikey("import ci --digest").stdin(OTHER).exits(1);
        outcome.assert_error("error: not a digest: --digest accepts only `sha256:` and 64");
        let outcome = import_digest(store, "import ci", OWN);
        assert_eq!(outcome.code, 1);
        assert_eq!(store.records().len(), 1);
    });
}

#[test]
fn a_bulk_import_can_be_repeated() {
    on_both_stores(|store| {
        let lines = format!("a\t{OWN}\nb\t{OTHER}\n");
        let import = |words: &str| store.apikey(&format!("import --bulk {words}")).stdin(&lines);
        let one = format!("a\t{OWN}\n");
        store.apikey("import --bulk").stdin(one).exits(0).assert_error("Imported 1 key.\n");
        let before = store.records();
        let outcome = import("").exits(1);
        outcome.assert_error("error: standard input, line 1: the key is in the keyring already");
        outcome.assert_error(". Nothing was imported\n");
        assert_eq!(store.records(), before);
        let outcome = import("--if-absent").exits(0);
        assert_eq!(outcome.err, "Imported 1 key. 1 key was there already.\n");
        let shown = import("--if-absent --json").exits(0).json();
        assert_eq!(shown, json!({ "imported": 0, "present": 2 }));
        assert_eq!(store.records().len(), 2);
        import("--digest").exits(1).assert_error("line 1: not a digest");
        let twice = format!("a\t{OWN}\na\t{OWN}\n");
        let outcome = store.apikey("import --bulk --if-absent").stdin(twice).exits(1);
        outcome.assert_error("line 2: the key is in the keyring already");
        let outcome = store.apikey("import --bulk --if-absent").stdin("c\tShort-key\n").exits(0);
        outcome.assert_error("warning: 1 key shorter than 22 characters");
        let noun = store.choose("has the file", "has the database");
        outcome.assert_error(noun);
        let outcome = store.apikey("import --bulk --if-absent").stdin("c\tShort-key\n").exits(0);
        assert_eq!(outcome.err, "Imported 0 keys. 1 key was there already.\n");
    });
}

#[test]
fn an_imported_key_gets_another_id_if_its_own_is_taken() {
    on_both_stores(|store| {
        let minted = store.issue("first");
        store.apikey("import other").stdin(OWN).exits(0);
        // The other key takes the id of the minted one.
        store.apikey("prune").exits(0);
        let folder = crate::support::Folder::with(&[crate::support::record_line(
            &minted.id, "taken", OTHER, "",
        )]);
        let to = match store.is_database() {
            true => TestStore::database(folder),
            false => TestStore::file(folder),
        };
        if to.is_database() {
            to.copy_file().exits(0);
        }
        let lines = format!("x\t{}\ny\t{OWN}\n", minted.text);
        to.apikey("import --bulk").stdin(lines).exits(0);
        let listed = to.apikey("list --json").exits(0).json();
        let id = |client: &str| {
            let key = listed.as_array().unwrap().iter().find(|key| key["client"] == client);
            key.unwrap()["id"].as_str().unwrap().to_owned()
        };
        assert_eq!(id("taken"), minted.id);
        assert_ne!(id("x"), minted.id);
    });
}
