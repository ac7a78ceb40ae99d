//! Checks keys.

use serde_json::{Value, json};

use crate::support::fixtures::{create_every_state, mistype};

#[test]
fn check_explains_why_a_key_is_invalid() {
    let folder = create_every_state();
    let minted = folder.issue("ci --prefix sk_live");
    let before = folder.text();
    let unknown = "error: invalid: no such key\n".to_owned();
    let checksum =
        "error: invalid: the key's checksum is wrong, so the key is mistyped or incomplete\n";
    let edge =
        |at| format!("error: invalid: the key begins or ends with white space (at byte {at})\n");
    for (key, reason, said) in [
        ("Key-revoked", "revoked", "error: invalid: key bbbbbbbb of ci was revoked %".to_owned()),
        ("Key-expired", "expired", "error: invalid: key cccccccc of ci expired %".to_owned()),
        (
            "Key-rotated-ended",
            "expired",
            "error: invalid: key eeeeeeee of ci was rotated and expired %".to_owned(),
        ),
        (
            "Key-to-begin",
            "not_yet_valid",
            "error: invalid: key ffffffff of ci becomes valid %".to_owned(),
        ),
        ("Key-that-works.", "unknown", unknown.clone()),
        ("key-that-works", "unknown", unknown.clone()),
        ("Key-that", "unknown", unknown.clone()),
        (&*mistype(&minted), "unknown", checksum.to_owned()),
        (&*minted.text.replace("sk_live", "sk_test"), "unknown", unknown.clone()),
        (&minted.text[..minted.text.len() - 1], "unknown", unknown),
        ("Key-that-works ", "unknown", edge(15)),
        ("\tKey-that-works", "unknown", edge(1)),
    ] {
        let outcome = folder.apikey("check").stdin(key).exits(1);
        assert_eq!(outcome.out, "", "{key}");
        match said.split_once('%') {
            None => assert_eq!(outcome.err, said, "{key}"),
            Some((start, _)) => {
                assert!(outcome.err.starts_with(start), "{key}: {outcome:?}");
                let time = if reason == "not_yet_valid" { "2500" } else { "2021" };
                let end = format!(" ({time}-01-01T00:00:00Z)\n");
                assert!(outcome.err.ends_with(&end), "{key}: {outcome:?}");
                let words = if time == "2500" { "in 4" } else { " ago (" };
                assert!(outcome.err.contains(words), "{key}: {outcome:?}");
            }
        }
        let outcome = folder.apikey("check --json").stdin(key).exits(1);
        let shown = outcome.json();
        assert_eq!((&shown["valid"], &shown["reason"]), (&json!(false), &json!(reason)), "{key}");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn check_prints_the_client_and_the_expiry_of_a_valid_key() {
    let folder = create_every_state();
    for (key, said) in [
        ("Key-that-works", "valid: key gggggggg of zeta\n"),
        ("Key-to-end", "valid: key aaaaaaaa of ci, expires in % (2500-01-01T00:00:00Z)\n"),
        ("Key-rotated", "valid: key dddddddd of ci, expires in % (2500-01-01T00:00:00Z)\n"),
    ] {
        let outcome = folder.apikey("check").stdin(key).exits(0);
        assert_eq!(outcome.err, "");
        let (start, end) = said.split_once('%').unwrap_or((said, ""));
        assert!(outcome.out.starts_with(start) && outcome.out.ends_with(end), "{outcome:?}");
        assert_eq!(outcome.out.contains("years"), !end.is_empty(), "{outcome:?}");
    }
    let outcome = folder.apikey("check --json").stdin("Key-rotated").exits(0);
    let shown = outcome.json();
    assert_eq!((&shown["valid"], &shown["reason"]), (&json!(true), &Value::Null));
    assert_eq!((&shown["id"], &shown["state"]), (&json!("dddddddd"), &json!("rotated")));
    assert_eq!(shown["retires"], "2500-01-01T00:00:00Z");
    let outcome = folder.apikey("check --json").stdin("Nobody's key").exits(1);
    let detail = "no such key";
    assert_eq!(outcome.json(), json!({ "valid": false, "reason": "unknown", "detail": detail }));
    assert_eq!(folder.file_names(), ["keys.jsonl"]);
}

#[test]
fn check_recognizes_words_and_quotes_around_a_key() {
    let folder = create_every_state();
    let minted = folder.issue("ci");
    for (before, after, named) in [
        ("Bearer ", "", "`Bearer` in front of it"),
        ("bearer  ", "", "`Bearer` in front of it"),
        ("Authorization: Bearer ", "", "`Authorization:` and `Bearer` in front of it"),
        ("\"", "\"", "quotes around it"),
        ("'", "'", "quotes around it"),
        (" `", "` ", "quotes around it"),
        ("\u{201c}", "\u{201d}", "quotes around it"),
        ("Bearer \"", "\"", "`Bearer` in front of it and quotes around it"),
        ("\"Bearer ", "\"", "`Bearer` in front of it and quotes around it"),
    ] {
        let pasted = format!("the key has {named}");
        for (key, standing) in [
            ("Key-that-works", "Without that, the key is valid: key gggggggg of zeta"),
            ("Key-revoked", "Without that, the key is invalid: key bbbbbbbb of ci was revoked "),
            (
                "Key-to-begin",
                "Without that, the key is invalid: key ffffffff of ci becomes valid in ",
            ),
            ("Key-of-nobody", "Without that, the key is invalid: no such key"),
            (&*mistype(&minted), "Without that, the key is invalid: the key's checksum is wrong"),
        ] {
            let text = format!("{before}{key}{after}");
            let outcome = folder.apikey("check").stdin(&text).exits(1);
            outcome.assert_error(&format!("error: invalid: {pasted}. {standing}"));
            let outcome = folder.apikey("check --json").stdin(&text).exits(1);
            let shown = outcome.json();
            assert_eq!((&shown["valid"], &shown["reason"]), (&json!(false), &json!("unknown")));
            let detail = shown["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("{pasted}. {standing}")), "{shown}");
        }
    }
    // `Bearer` has to be a whole word.
    let outcome = folder.apikey("check").stdin("BearerOfAKey").exits(1);
    outcome.assert_error("error: invalid: no such key\n");
    // If quotes belong to a key, the key is valid.
    folder.apikey("import quoted").stdin("\"Key-in-quotes-of-its-own\"").finish();
    let outcome = folder.apikey("check").stdin("\"Key-in-quotes-of-its-own\"").finish();
    let is_imported = outcome.out.starts_with("valid: ");
    assert!(is_imported || outcome.err.contains("quotes around it"), "{outcome:?}");
    for alone in ["\"", "\"\"", "Bearer", "Bearer ", "Bearer \"\"", "'\""] {
        folder.apikey("check").stdin(alone).exits(1);
    }
}
