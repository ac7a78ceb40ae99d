//! Keys on standard input. Keys in arguments are rejected and never repeated.

use crate::support::{
    Folder,
    fixtures::{OTHER, OWN},
};

#[test]
fn no_subcommand_accepts_a_key_as_an_argument() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    for words in ["check", "check --key", "import ci", "import ci --key", "import --bulk ci"] {
        let outcome = folder.apikey(words).arg("not-a-secret-here").exits(2);
        outcome.assert_error("error: ");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn errors_do_not_repeat_a_key_that_is_an_argument() {
    let folder = Folder::new();
    let key = folder.issue("ci");
    let before = folder.text();
    for words in [
        "check",
        "check --key",
        "list",
        "issue ci",
        "import ci",
        "import --bulk",
        "rotate",
        "rotate x --overlap 7d",
        "revoke x",
        "prune",
    ] {
        folder.apikey(words).arg(&key.text).exits(2).assert_error("error: ");
        assert_eq!(folder.text(), before);
    }
    folder.apikey("check").arg(format!("--key={}", key.text)).exits(2);
    folder.apikey("revoke").arg(&key.text).exits(1).assert_error("no key has this id");
    folder.apikey("check --json").arg(&key.text).exits(2);
}

#[test]
fn errors_do_not_repeat_a_key_in_the_place_of_another_argument() {
    let folder = Folder::new();
    let key = folder.issue("ci");
    for words in ["", "help", "completions", "rotate x --overlap", "issue ci --expires"] {
        folder.apikey(words).arg(&key.text).exits(2);
    }
    for flag in ["import --bulk", "prune --yes", "check --json"] {
        folder.apikey(&format!("{flag}={}", key.text)).exits(2);
    }
    folder.apikey("revoke --client").arg(&key.text).exits(1);
}

#[test]
fn errors_do_not_repeat_a_passphrase_that_is_an_argument() {
    let folder = Folder::new();
    folder.issue("ci");
    for words in ["check", "import ci"] {
        folder.keep_secret("correct-horse-battery-staple");
        folder.apikey(words).arg("correct-horse-battery-staple").exits(2).assert_error("error: ");
    }
}

#[test]
fn redaction_keeps_the_advice_in_errors() {
    let folder = Folder::new();
    let outcome = folder.apikey("rotate x --overlap 90").exits(2);
    outcome.assert_error("write it as 90d, 12h or");
    let outcome = folder.apikey("issue ci --expires 2027-01-31T").exits(2);
    outcome.assert_error("2027-01-31T12:00:00Z");
}

#[test]
fn a_key_on_standard_input_can_end_in_a_line_break() {
    for end in ["", "\n", "\r\n"] {
        let folder = Folder::new();
        let outcome = folder.apikey("import ci").stdin(format!("{OWN}{end}")).exits(0);
        let [record] = &*folder.records() else { panic!("{}", folder.text()) };
        outcome.assert_error(&format!("Imported as {}.\n", record.id().unwrap()));
        assert_eq!(folder.verify(OWN), Ok("ci".to_owned()), "{end:?}");
        folder.apikey("check").stdin(format!("{OWN}{end}")).exits(0);
    }
}

#[test]
fn standard_input_without_exactly_one_key_is_wrong_usage() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    let none = "error: no key on standard input: `printf %s \"$KEY\" | apikey …`\n";
    let several = "error: more than one line on standard input: expected one key\n";
    for words in ["import ci", "check"] {
        for (text, why) in [
            ("", none),
            ("\n", none),
            ("\r\n", none),
            (&*format!("{OWN}\n{OTHER}\n"), several),
            (&*format!("{OWN}\r\n{OTHER}"), several),
            (&*format!("{OWN}\n\n"), several),
            (&*format!("\n{OWN}"), several),
        ] {
            let outcome = folder.apikey(words).stdin(text).exits(2);
            assert_eq!((&*outcome.out, &*outcome.err), ("", why), "{words}: {text:?}");
        }
        assert_eq!(folder.shell(&format!(r#""$0" {words} <&-"#)).exits(2).err, none);
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn a_malformed_key_is_neither_imported_nor_repeated() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    let long = "Longer".repeat(200);
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    for (key, why) in [
        (" \t ", "the key is empty or blank"),
        (&*format!(" {OWN}"), "the key begins or ends with white space (at byte 1)"),
        (&*format!("{OWN}\t\n"), "the key begins or ends with white space (at byte 26)"),
        ("Schlüssel-von-anno-dazumal", "the key holds a byte outside 0x20 to 0x7E (at byte 5)"),
        ("Grandfathered\0Key-of-1999", "the key holds a byte outside 0x20 to 0x7E (at byte 14)"),
        (&long, "the key is longer than 1,024 bytes"),
    ] {
        folder.apikey("import ci").stdin(key).exits(1).assert_error(why);
        folder.apikey("check").stdin(key).exits(1).assert_error(why);
        assert_eq!(folder.text(), before);
    }
    folder.apikey("check").stdin(&digest).exits(1).assert_error("this is a digest, not a key");
    // This key is not UTF-8.
    folder.apikey("import ci").stdin(b"Grandfathered\xFFKey").exits(1).assert_error("at byte 14");
}
