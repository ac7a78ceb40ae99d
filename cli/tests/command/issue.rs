//! Issues keys.

use std::fs;

use serde_json::json;
use tower_api_key::key::KeyFormat;

use crate::support::{
    Folder,
    fixtures::{OWN, mistype},
};

#[test]
fn issue_prints_only_the_key_to_standard_output() {
    let folder = Folder::new();
    let outcome = folder.apikey("issue ci").exits(0);
    let key = outcome.key();
    assert_eq!(outcome.out, format!("{}\n", key.text));
    assert_eq!(KeyFormat::new("key").unwrap().parse(&key.text), Ok(&*key.id));
    let said = "The key cannot be shown again, because the file stores only its digest.";
    let file = folder.file();
    assert_eq!(outcome.err, format!("Issued {}. {said}\nCreated {}.\n", key.id, file.display()));
}

#[test]
fn issue_names_the_file_and_reports_whether_it_created_it() {
    let folder = Folder::new();
    for (words, file) in
        [("issue ci", "keys.jsonl"), ("issue ci --file other.jsonl", "other.jsonl")]
    {
        let path = folder.path().join(file);
        let first = folder.apikey(words).exits(0);
        assert!(first.err.ends_with(&format!("\nCreated {}.\n", path.display())), "{first:?}");
        let second = folder.apikey(words).exits(0);
        assert!(second.err.ends_with(&format!("\nWrote {}.\n", path.display())), "{second:?}");
        assert_eq!(second.out, format!("{}\n", second.key().text));
        let third = folder.apikey(words).arg("--json").exits(0);
        let shown = third.json();
        assert_eq!(shown["file"], path.to_str().unwrap());
        assert_eq!((&shown["file_created"], &*third.err), (&json!(false), ""));
    }
    let variable = folder.apikey("issue ci --json").env("API_KEYS_FILE", "third.jsonl").exits(0);
    let shown = variable.json();
    assert_eq!(shown["file"], folder.path().join("third.jsonl").to_str().unwrap());
    assert_eq!(shown["file_created"], true);
    // An empty file exists already.
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let outcome = folder.apikey("issue ci --json --file empty.jsonl").exits(0);
    assert_eq!(outcome.json()["file_created"], false);
}

#[test]
fn a_comma_separates_scopes() {
    let folder = Folder::new();
    let key = folder.issue("ci --scope reports:read,reports:write --scope jobs:run");
    let scopes = ["reports:read", "reports:write", "jobs:run"];
    assert!(folder.record(&key.id).client().scopes().eq(scopes));
    folder.apikey("import other --scope a,b").stdin(OWN).exits(0);
    let outcome = folder.apikey("check --json").stdin(OWN).exits(0);
    assert_eq!(outcome.json()["scopes"], json!(["a", "b"]));
    for (scopes, number) in [("a,", 2), (",a", 1), ("a,b c", 2), ("a,,b", 2), ("", 1)] {
        let outcome = folder.apikey("issue ci --scope").arg(scopes).exits(1);
        outcome.assert_error(&format!("(scope {number})"));
    }
}

#[test]
fn a_service_that_reads_the_file_accepts_an_issued_key() {
    let folder = Folder::new();
    let [one, two, other] = ["ci", "ci", "mobile-app"].map(|client| folder.issue(client));
    assert_eq!(folder.verify(&one.text), Ok("ci".to_owned()));
    assert_eq!(folder.verify(&two.text), Ok("ci".to_owned()));
    assert_eq!(folder.verify(&other.text), Ok("mobile-app".to_owned()));
    assert_eq!(folder.verify(&one.text[1..]), Err("unknown"));
    assert_eq!(folder.verify(&mistype(&one)), Err("unknown"));
    let checked = folder.apikey("check").stdin(&one.text).exits(0);
    assert_eq!(checked.out, format!("valid: key {} of ci\n", one.id));
}

#[test]
fn on_a_terminal_the_key_has_a_line_of_its_own() {
    let folder = Folder::new();
    let shown = folder.apikey("issue ci").on_terminal().exits(0);
    let (key, said) = shown.split_once('\n').unwrap();
    assert_eq!(folder.verify(key), Ok("ci".to_owned()));
    assert!(said.starts_with("Issued "), "{shown}");
    let [old] = &*folder.records() else { panic!("{}", folder.text()) };
    let words = format!("rotate {} --overlap 7d", old.id().unwrap());
    let shown = folder.apikey(&words).on_terminal().exits(0);
    let (key, said) = shown.split_once('\n').unwrap();
    assert_eq!(folder.verify(key), Ok("ci".to_owned()));
    assert!(said.contains(", which is valid until "), "{shown}");
}

#[test]
fn issue_sets_every_field_of_a_record() {
    let folder = Folder::new();
    let outcome = folder
        .apikey("issue mobile-app --prefix sk_live --scope reports:read --scope reports:write")
        .args(&["--name", "Mobile app", "--note", "for the launch"])
        .args(&["--expires", "2040-01-31T12:00:00Z", "--not-before", "2030-01-31 12:00:00"])
        .arg("--json")
        .exits(0);
    let key = outcome.key();
    assert!(key.text.starts_with("sk_live_"));
    let mut shown = outcome.json();
    assert_eq!(shown["key"].take(), key.text);
    let created = shown["created"].take();
    assert_eq!(
        shown,
        json!({
            "key": null, "created": null,
            "id": key.id,
            "client": "mobile-app",
            "name": "Mobile app",
            "metadata": {}, "issued_by": null, "rotated_reason": null, "paused": null,
            "revoked_by": null, "revoked_reason": null,
            "scopes": ["reports:read", "reports:write"],
            "state": "not yet",
            "not_before": "2030-01-31T12:00:00Z",
            "expires": "2040-01-31T12:00:00Z",
            "rotated": null,
            "retires": null,
            "replaced_by": null,
            "revoked": null,
            "prefix": "sk_live",
            "note": "for the launch",
            "file": folder.file().to_str().unwrap(),
            "file_created": true,
        })
    );
    // The list has the same fields and the last use, except the key and the file.
    shown["created"] = created;
    shown["last_used"] = json!(null);
    for field in ["key", "file", "file_created"] {
        shown.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(folder.apikey("list --json").exits(0).json(), json!([shown]));

    let record = folder.record(&key.id);
    assert_eq!(record.client().name(), Some("Mobile app"));
    assert_eq!(record.note(), Some("for the launch"));
    assert!(record.client().scopes().eq(["reports:read", "reports:write"]));
    assert_eq!(folder.verify(&key.text), Err("not_yet_valid"));
}

#[test]
fn issue_rejects_invalid_arguments_and_creates_no_file() {
    let folder = Folder::new();
    let expected = "expected a duration such as 90d, a day such as 2027-01-31";
    for (args, code, why) in [
        (&["ci", "--prefix", "sk live"][..], 1, "a prefix is letters and digits"),
        (&["ci", "--prefix", ""], 1, "a prefix is letters and digits"),
        (&["ci", "--prefix", "_sk"], 1, "a prefix is letters and digits"),
        (&["ci", "--prefix", &"k".repeat(33)], 1, "a prefix is letters and digits"),
        (&["ci", "--scope", "a b"], 1, "(scope 1)"),
        (&["ci", "--scope", "a", "--scope", ""], 1, "(scope 2)"),
        (&[""], 1, "the client's id is blank, holds a control character, or is itself a key"),
        (&[" \t"], 1, "the client's id is blank, holds a control character, or is itself a key"),
        (&["c\ni"], 1, "the client's id is blank, holds a control character, or is itself a key"),
        (
            &["\x1b[31mci"],
            1,
            "the client's id is blank, holds a control character, or is itself a key",
        ),
        (
            &["ci", "--expires", "2020-01-01T00:00:00Z"],
            1,
            "the key would expire before it is valid",
        ),
        (
            &["ci", "--expires", "1d", "--not-before", "2d"],
            1,
            "the key would expire before it is valid",
        ),
        (&["ci", "--expires", "soon"], 2, expected),
        (&["ci", "--expires", "90"], 2, "the number has no unit"),
        (&["ci", "--expires", "-1d"], 2, ""),
        (&["ci", "--not-before", "tomorrow"], 2, expected),
        (&["ci", "--expires", "0"], 2, "the key would expire at once"),
        (&["ci", "--expires", "0s"], 2, "the key would expire at once"),
        (&["ci", "--expires", "600y"], 2, "the time is not before the year 2500"),
        (&["ci", "--expires", "99999999999999999999y"], 2, ""),
        (&["ci", "--expires"], 2, "a value is required"),
        (&["ci", "--file"], 2, "a value is required"),
        (&["ci", "--file", ""], 2, "--file needs a file name"),
        (&["ci", "another"], 2, "unexpected argument"),
        (&["ci", "--overlap", "7d"], 2, "unexpected argument"),
        (&["--client", "ci"], 2, "unexpected argument"),
        (&[], 2, "<CLIENT>"),
    ] {
        let outcome = folder.apikey("issue").args(args).exits(code);
        outcome.assert_error(why);
        assert!(outcome.err.starts_with("error: "), "{outcome:?}");
        assert!(!outcome.err.contains('\x1b'), "{outcome:?}");
        assert!(!folder.file().exists(), "{args:?}");
    }
}
