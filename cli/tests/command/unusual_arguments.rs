//! Unusual ids, notes, paths and bytes.

use std::fs;

use crate::support::{
    Folder, HEADER,
    fixtures::{OWN, PROMPT},
};

#[test]
fn a_client_id_can_be_unusual() {
    let folder = Folder::new();
    let long = "x".repeat(128);
    for client in ["a b", "Größe 🦀 日本語", "-x", "--json", "a\"b\\c", "$HOME;`id`", "''", &long]
    {
        let key = folder.apikey("issue --").arg(client).exits(0).key();
        assert_eq!(folder.verify(&key.text), Ok(client.to_owned()));
        let outcome = folder.apikey("check --json").stdin(&key.text).exits(0);
        assert_eq!(outcome.json()["client"], client);
        let outcome = folder.apikey("revoke --yes").arg(format!("--client={client}")).exits(0);
        assert!(outcome.err.ends_with("Revoked 1 key.\n"), "{outcome:?}");
        assert_eq!(folder.verify(&key.text), Err("revoked"));
    }
    folder.apikey("list").on_terminal().exits(0);
    let terminal = folder.apikey("import --").arg("-x").on_terminal().expect(PROMPT);
    terminal.type_secret(&format!("{OWN}\n")).exits(0);
    assert_eq!(folder.verify(OWN), Ok("-x".to_owned()));
}

#[test]
fn a_note_can_be_long_and_contain_any_text() {
    let folder = Folder::new();
    let long = "long note \u{1F980} \"quoted\" \\ {\"v\":1}\n".repeat(1000);
    let key = folder.apikey("issue ci --note").arg(&long).exits(0).key();
    assert_eq!(folder.record(&key.id).note(), Some(&*long));
    assert_eq!(folder.text().lines().count(), 2);
    assert_eq!(folder.apikey("list").exits(0).out.lines().count(), 2);
    let outcome = folder.apikey(&format!("rotate {} --overlap 7d", key.id)).exits(0);
    assert_eq!(folder.record(&outcome.key().id).note(), Some(&*long));
    folder.apikey("issue ci --note").arg("").exits(0);
    // The length of a line is limited.
    let before = folder.text();
    let outcome = folder.apikey("issue ci --note").arg(long.repeat(2)).exits(3);
    outcome
        .assert_error("not changed, because the new file would be invalid: more than 65536 bytes");
    assert_eq!(folder.text(), before);
}

#[test]
fn an_argument_that_is_not_utf_8_is_wrong_usage() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let folder = Folder::new();
    folder.apikey("issue").arg(OsStr::from_bytes(b"c\xFFi")).exits(2).assert_error("error: ");
    assert!(folder.file_names().is_empty());
    // A path can have any bytes.
    let path = OsStr::from_bytes(b"k\xFF.jsonl");
    if fs::write(folder.path().join(path), HEADER).is_ok() {
        fs::remove_file(folder.path().join(path)).unwrap();
        let other = Folder::new();
        let key = other.apikey("issue ci --file").arg(folder.path().join(path)).exits(0).key();
        let outcome = other.apikey("check --file").arg(folder.path().join(path));
        outcome.stdin(&key.text).exits(0);
        for path in [path, OsStr::from_bytes(b"k\xFF.jsonl.lock")] {
            fs::remove_file(folder.path().join(path)).unwrap();
        }
    }
}
