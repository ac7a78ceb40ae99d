//! Imports keys and digests.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Folder,
    fixtures::{OTHER, OWN, PROMPT, run_with_input},
    record_line,
};

#[test]
fn import_reports_that_it_created_the_file() {
    let folder = Folder::new();
    let created = format!("Created {}.\n", folder.file().display());
    let outcome = folder.apikey("import ci").stdin(OWN).exits(0);
    assert!(outcome.err.ends_with(&created), "{outcome:?}");
    let outcome = folder.apikey("import ci").stdin(OTHER).exits(0);
    assert!(!outcome.err.contains("Created"), "{outcome:?}");
    fs::remove_file(folder.file()).unwrap();
    let outcome = folder.apikey("import --bulk").stdin(format!("ci\t{OWN}\n")).exits(0);
    assert!(outcome.err.ends_with(&created), "{outcome:?}");
    fs::remove_file(folder.file()).unwrap();
    let outcome = folder.apikey("import ci --json").stdin(OWN).exits(0);
    assert_eq!((outcome.json()["file_created"].clone(), &*outcome.err), (json!(true), ""));
}

#[test]
fn import_rejects_obvious_mistakes() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    for (key, why) in [
        ("Bearer Grandfathered", "the key begins with a scheme"),
        ("'Grandfathered-Key'", "only a shell removes quotes"),
        ("${MOBILE_APP_KEY}", "this is a placeholder and no key"),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  -", "this is a digest"),
    ] {
        folder.apikey("import mobile-app").stdin(key).exits(1).assert_error(why);
        let outcome = folder.apikey("import --bulk").stdin(format!("a\t{OTHER}\nb\t{key}\n"));
        outcome.exits(1).assert_error(&format!("line 2: {why}"));
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn an_imported_key_is_valid_and_can_be_rotated() {
    let folder = Folder::new();
    let import = folder.apikey("import ci --scope a --name CI --note old --expires 90d --json");
    let outcome = import.stdin(OWN).exits(0);
    assert_eq!(outcome.err, "");
    let shown = outcome.json();
    assert_eq!((&shown["client"], &shown["scopes"]), (&json!("ci"), &json!(["a"])));
    assert_eq!((&shown["name"], &shown["note"]), (&json!("CI"), &json!("old")));
    assert_eq!((&shown["state"], &shown["prefix"]), (&json!("active"), &Value::Null));
    let id = shown["id"].as_str().unwrap();
    assert!(id.len() == 8 && folder.record(id).expires().is_some());

    let new = folder.apikey(&format!("rotate {id} --overlap 1d")).exits(0).key();
    assert!(new.text.starts_with("key_"), "the default prefix");
    for key in [OWN, &new.text] {
        assert_eq!(folder.verify(key), Ok("ci".to_owned()));
    }
    assert_eq!(folder.record(&new.id).note(), Some("old"));
}

#[test]
fn import_sets_the_prefix_for_the_next_rotation() {
    let folder = Folder::new();
    let outcome = folder.apikey("import ci --prefix sk_live --json").stdin(OWN).exits(0);
    let shown = outcome.json();
    assert_eq!(shown["prefix"], "sk_live");
    let id = shown["id"].as_str().unwrap();
    let new = folder.apikey(&format!("rotate {id} --overlap 1d")).exits(0).key();
    assert!(new.text.starts_with("sk_live_"));

    folder.apikey("import --bulk --prefix pk").stdin(format!("ci\t{OTHER}\n")).exits(0);
    let shown = folder.apikey("check --json").stdin(OTHER).exits(0).json();
    assert_eq!(shown["prefix"], "pk");
    let outcome =
        folder.apikey("import ci --prefix").arg("s k").stdin("Key-of-nobody-at-all").exits(1);
    outcome.assert_error("a prefix is letters and digits");
}

#[test]
fn import_accepts_a_digest() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    for text in
        [digest.clone(), format!("{digest}\n"), digest.to_uppercase().replacen("SHA", "sha", 1)]
    {
        let outcome = run_with_input(&folder, "import ci --scope a --prefix pk --note n", &text);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let [record] = &*folder.records() else { panic!("{}", folder.text()) };
        outcome.assert_error(&format!("Imported the digest as {}.\n", record.id().unwrap()));
        assert_eq!((record.note(), record.client().has_scope("a")), (Some("n"), true));
        assert_eq!(folder.verify(OWN), Ok("ci".to_owned()));
        assert_eq!(folder.verify(&digest), Err("unknown"));
        assert_eq!(run_with_input(&folder, "import ci", &text).code, 1);
        fs::remove_file(folder.file()).unwrap();
    }
    let other = tower_api_key::KeyDigest::of(OTHER).encode();
    let outcome = run_with_input(&folder, "import --bulk", &format!("a\t{digest}\nb\t{other}\r\n"));
    outcome.assert_error("Imported 2 keys.\n");
    assert_eq!(folder.verify(OTHER), Ok("b".to_owned()));
}

#[test]
fn the_prompt_of_import_accepts_a_digest() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    let terminal = folder.apikey("import ci").on_terminal().expect(PROMPT);
    let shown = terminal.type_text(&format!("{digest}\n")).exits(0);
    assert!(shown.contains("Imported the digest as "), "{shown}");
    assert_eq!(folder.verify(OWN), Ok("ci".to_owned()));
}

#[test]
fn a_truncated_digest_is_not_a_key() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    for text in
        [&digest[..70], &format!("{digest}0"), "sha256:", &digest.replace("sha256:", "SHA256:")]
    {
        let outcome = run_with_input(&folder, "import ci", text);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        outcome.assert_error("a digest is `sha256:` and 64 hexadecimal digits");
        let outcome = run_with_input(&folder, "import --bulk", &format!("ci\t{text}\n"));
        outcome.assert_error(
            "line 1: a digest is `sha256:` and 64 hexadecimal digits. Nothing was imported",
        );
        assert!(!folder.file().exists());
    }
}

#[test]
fn an_imported_minted_key_keeps_its_id() {
    let elsewhere = Folder::new();
    let minted = elsewhere.issue("ci --prefix sk_live");
    let folder = Folder::new();
    let outcome = folder.apikey("import ci").stdin(&minted.text).exits(0);
    outcome.assert_error(&format!("Imported as {}.\n", minted.id));
    let new = folder.apikey(&format!("rotate {} --overlap 0", minted.id)).exits(0).key();
    assert!(new.text.starts_with("sk_live_"));

    // If another key has that id, the key gets a new id.
    let folder = Folder::with(&[record_line(&minted.id, "first", OWN, "")]);
    folder.apikey("import second").stdin(&minted.text).exits(0);
    assert_eq!(folder.verify(OWN), Ok("first".to_owned()));
    assert_eq!(folder.verify(&minted.text), Ok("second".to_owned()));
}

#[test]
fn import_rejects_an_existing_or_revoked_key() {
    let folder = Folder::new();
    folder.apikey("import ci").stdin(OWN).exits(0);
    let before = folder.text();
    for client in ["ci", "other"] {
        let outcome = folder.apikey(&format!("import {client}")).stdin(OWN).exits(1);
        outcome.assert_error(
            "error: the key is in the keyring already: `apikey check` shows its client\n",
        );
    }
    assert_eq!(folder.text(), before);
    folder.apikey("revoke --client ci --yes").exits(0);
    let before = folder.text();
    let outcome = folder.apikey("import ci").stdin(OWN).exits(1);
    outcome.assert_error("error: the key was revoked and cannot be inserted again\n");
    let outcome = folder.apikey("import --bulk").stdin(format!("ci\t{OWN}\n")).exits(1);
    outcome.assert_error(
        "line 1: the key was revoked and cannot be inserted again. Nothing was imported\n",
    );
    assert_eq!(folder.text(), before);
}

// R47. An attacker who has the file can guess a short key.
#[test]
fn a_short_key_is_imported_with_a_warning() {
    let folder = Folder::new();
    let short = "Twenty-one-characters";
    let outcome = folder.apikey("import ci").stdin(short).exits(0);
    let [record] = &*folder.records() else { panic!() };
    let id = record.id().unwrap();
    outcome.assert_error(&format!("Imported as {id}.\n"));
    let warning = "warning: this key has only 21 characters: an attacker who has the file can guess such a \
                   key from its digest. Run `apikey rotate";
    outcome.assert_error(&format!("{warning} {id} --overlap 7d` to replace it\n"));
    assert_eq!(folder.verify(short), Ok("ci".to_owned()));

    let outcome = folder.apikey("import ci").stdin("Twenty-two-characters.").exits(0);
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");

    let lines = "ci\tHowever-short\nci\tHowever\nci\tLong-enough-to-be-imported\n";
    let outcome = folder.apikey("import --bulk").stdin(lines).exits(0);
    outcome.assert_error("warning: 2 keys shorter than 22 characters: ");
    outcome.assert_error("Imported 3 keys.\n");
}
