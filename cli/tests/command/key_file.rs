//! The key file with its path, mode, comments and warnings.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{
    Folder, HEADER,
    fixtures::{OWN, list_clients},
    record_line,
};

// R47.
#[test]
fn only_the_owner_can_read_a_new_file_and_it_stores_only_the_digest() {
    let folder = Folder::new();
    // The umask allows every mode.
    let key = folder.shell(r#"umask 0; exec "$0" "$@""#).arg("issue").arg("ci").exits(0).key();
    assert_eq!(folder.file_names(), ["keys.jsonl", "keys.jsonl.lock"]);
    assert_eq!(folder.mode(), 0o600);
    let record = folder.record(&key.id);
    let created = folder.apikey("list --json").exits(0).json()[0]["created"].clone();
    let expected = format!(
        r#"{{"id":"{}","client":"ci","digest":"{}","created":{created},"prefix":"key"}}"#,
        key.id,
        record.digest().encode()
    );
    assert_eq!(folder.text(), format!("{HEADER}{expected}\n"));
    let secret = &key.text[key.text.len() - 28..];
    for name in folder.file_names() {
        let text = fs::read_to_string(folder.path().join(&name)).unwrap();
        assert!(!text.contains(secret), "{name}");
        assert!(!text.contains(&secret[..8]), "{name}");
    }
}

#[test]
fn the_option_wins_over_the_variable_and_the_default_file() {
    let folder = Folder::new();
    folder.issue("here");
    folder.apikey("issue variable").env("API_KEYS_FILE", "variable.jsonl").exits(0);
    let option = folder.apikey("issue option --file option.jsonl");
    option.env("API_KEYS_FILE", "variable.jsonl").exits(0);
    let option = folder.apikey("--file option.jsonl issue before");
    option.env("API_KEYS_FILE", "variable.jsonl").exits(0);
    for (file, clients) in [
        ("keys.jsonl", &["here"][..]),
        ("variable.jsonl", &["variable"]),
        ("option.jsonl", &["before", "option"]),
    ] {
        let listed = folder.apikey("list --json --file").arg(folder.path().join(file)).exits(0);
        assert_eq!(list_clients(&listed), clients, "{file}");
        let listed = folder.apikey("list --json").env("API_KEYS_FILE", file).exits(0);
        assert_eq!(list_clients(&listed), clients, "{file}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let folder = Folder::new();
    folder.apikey("issue ci").env("API_KEYS_FILE", "").exits(0);
    assert_eq!(folder.records().len(), 1);
}

#[test]
fn comments_and_lines_of_other_keys_stay_byte_for_byte() {
    let written = record_line("aaaaaaaa", "by hand", OWN, r#", "note": "with blanks" "#);
    let text = format!("{{ \"v\" : 1 }}\r\n\n# a comment\n{written}  # another\n");
    let folder = Folder::new();
    folder.write(&text);
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let key = folder.issue("ci");
    let new = folder.text();
    assert!(new.starts_with(&text), "{new}");
    assert_eq!(new[text.len()..].lines().count(), 1);
    assert_eq!(folder.mode(), 0o640);
    folder.apikey("revoke --yes").arg(&key.id).exits(0);
    folder.apikey("prune --yes").exits(0);
    assert_eq!(folder.text(), text);
}

#[test]
fn list_suggests_issue_if_the_file_has_no_keys() {
    let folder = Folder::with(&[]);
    let outcome = folder.apikey("list").exits(0);
    assert_eq!(outcome.err, "No keys. `apikey issue CLIENT` issues one.\n");
    assert_eq!(outcome.out.lines().count(), 1);
}

#[test]
fn only_issue_and_import_create_a_missing_file() {
    let folder = Folder::new();
    for words in [
        "list",
        "list --json",
        "rotate 0a1B2c3D --overlap 7d",
        "revoke 0a1B2c3D --yes",
        "revoke --client ci --yes",
        "check",
        "prune --yes",
    ] {
        let outcome = folder.apikey(words).stdin(OWN).exits(3);
        let file = folder.file();
        let hint = "no such file. Create it with `apikey issue`";
        outcome.assert_error(&format!("{}: {hint}", file.display()));
        assert!(folder.file_names().is_empty(), "{words}: {:?}", folder.file_names());
    }
    folder.apikey("import ci").stdin(OWN).exits(0);
    assert_eq!(folder.verify(OWN), Ok("ci".to_owned()));

    let outcome = folder.apikey("issue ci --file nowhere/keys.jsonl").exits(3);
    outcome.assert_error("/nowhere/keys.jsonl: the folder does not exist");
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn a_file_that_others_can_write_or_that_has_another_name_causes_a_warning() {
    let folder = Folder::new();
    folder.issue("ci");
    let warns = |words: &str| folder.apikey("list").exits(0).err.contains(words);
    let (writable, named) = (
        "warning: another user can write or replace the file",
        "warning: the file has another name",
    );
    assert!(!warns(writable) && !warns(named));
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(warns(writable) && !warns(named));
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(folder.file(), folder.path().join("another-name")).unwrap();
    assert!(!warns(writable) && warns(named));
}
