//! Imports many keys.

use std::fs;

use serde_json::json;

use crate::support::{
    Folder,
    fixtures::{OTHER, OWN},
};

#[test]
fn import_bulk_imports_every_line() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let minted = elsewhere.issue("x");
    let text = format!("mobile-app\t{OWN}\n\n  \r\nci of ours\t{OTHER}\r\n\tci\n");
    // The last line has no client id.
    let outcome = folder.apikey("import --bulk").stdin(&text).exits(1);
    outcome.assert_error("error: standard input, line 5: the client's id is blank");
    assert!(!folder.file().exists());

    let text = text.replace("\tci\n", &format!("ci of ours\t{}", minted.text));
    let outcome = folder.apikey("import --bulk --scope a --note moved").stdin(&text).exits(0);
    outcome.assert_error("Imported 3 keys.\n");
    for (key, client) in [(OWN, "mobile-app"), (OTHER, "ci of ours"), (&minted.text, "ci of ours")]
    {
        assert_eq!(folder.verify(key), Ok(client.to_owned()));
    }
    assert_eq!(folder.record(&minted.id).client().id(), "ci of ours");
    let records = folder.records();
    assert!(records.iter().all(|it| it.note() == Some("moved") && it.client().has_scope("a")));

    let outcome =
        folder.apikey("import --bulk --json").stdin("x\tYet-Another-Key-of-ours").exits(0);
    assert_eq!(outcome.json(), json!({ "imported": 1 }));
}

#[test]
fn import_bulk_imports_a_thousand_keys() {
    let folder = Folder::new();
    let text: String =
        (0..1000).map(|n| format!("client-{}\tKey-of-a-thousand-{n:04}\n", n % 7)).collect();
    // This does not use `stdin`, because its search for leaked keys is slow for a thousand keys.
    fs::write(folder.path().join("import.tsv"), text).unwrap();
    let outcome = folder.shell(r#""$0" import --bulk <import.tsv"#).exits(0);
    outcome.assert_error("Imported 1000 keys.\n");
    assert_eq!(folder.records().len(), 1000);
    assert_eq!(folder.verify("Key-of-a-thousand-0700"), Ok("client-0".to_owned()));
    assert!(!folder.text().contains("Key-of-a-thousand"));
}

#[test]
fn import_bulk_names_a_bad_line_and_imports_nothing() {
    let folder = Folder::new();
    folder.apikey("import ci").stdin(OTHER).exits(0);
    let before = folder.text();
    for (bad, number, why) in [
        (&*format!("a\t{OWN}\nb {OTHER}x\n"), 2, ""),
        (&*format!("a\t{OWN}\n\n\nb\t\n"), 4, "the key is empty or blank"),
        (&*format!("a\t{OWN}\nb\t {OTHER}x\n"), 2, "white space (at byte 1)"),
        (&*format!("a\t{OWN}\nb\t{OTHER}x\ty\n"), 2, "a byte outside 0x20 to 0x7E (at byte 28)"),
        (&*format!("a\t{OWN}\n\r\nb\t{OTHER}\r\n"), 3, "the key is in the keyring already"),
        (&*format!("a\t{OWN}\nb\t{OWN}\n"), 2, "the key is in the keyring already"),
        (&*format!("a\t{OWN}\n \t{OTHER}x\n"), 2, "the client's id is blank"),
        (&*format!("a\x1b[31m\t{OWN}\n"), 1, "the client's id is blank, holds a control"),
        (&*format!("client\tkey\na\t{OWN}\na\t{OWN}\n"), 3, "the key is in the keyring already"),
    ] {
        let outcome = folder.apikey("import --bulk").stdin(bad).exits(1);
        outcome.assert_error(&format!("error: standard input, line {number}: "));
        outcome.assert_error(why);
        assert!(outcome.err.ends_with(". Nothing was imported\n"), "{outcome:?}");
        assert_eq!(folder.text(), before, "{bad}");
    }
    let outcome = folder.apikey("import --bulk").stdin(b"caf\xE9\tSome-Key-of-Latin-1\n").exits(1);
    outcome.assert_error("line 1: ");
    let none = "error: no lines on standard input: expected lines of client id, tab and key\n";
    for empty in ["", "\n \r\n\t\n"] {
        assert_eq!(folder.apikey("import --bulk").stdin(empty).exits(2).err, none);
    }
    let shown = folder.apikey("import --bulk").on_terminal().exits(2);
    assert_eq!(
        shown,
        "error: --bulk reads lines of client id, tab and key from standard input, not from a terminal\n"
    );
    folder.apikey("import").stdin(OWN).exits(2).assert_error("<CLIENT>");
    assert_eq!(folder.text(), before);
}

#[test]
fn import_bulk_names_the_missing_tab() {
    let folder = Folder::new();
    let outcome = folder.apikey("import --bulk").stdin(format!("ci={OWN}\n")).exits(1);
    assert!(outcome.err.contains("tab") && !outcome.err.contains("client=key"), "{outcome:?}");
}

#[test]
fn a_byte_order_mark_is_not_part_of_a_client_id() {
    let folder = Folder::new();
    folder.apikey("import --bulk").stdin(format!("\u{feff}ci\t{OWN}\r\n")).finish();
    assert!(!folder.file().exists() || folder.verify(OWN) == Ok("ci".to_owned()));
}

// R47.
#[test]
fn a_minted_key_is_not_accepted_as_a_client_id() {
    let folder = Folder::new();
    let key = folder.issue("ci").text;
    let before = folder.text();
    folder.apikey("import").arg(&key).stdin(OWN).exits(1);
    folder.apikey("issue").arg(&key).exits(1);
    // The columns are swapped.
    folder.apikey("import --bulk").stdin(format!("{key}\tthe-mobile-app-of-ours\n")).exits(1);
    assert_eq!(folder.text(), before);
}
