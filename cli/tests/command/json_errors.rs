//! Errors and warnings as JSON.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::support::{
    Folder,
    fixtures::{OWN, PROMPT, create_every_state, parse_error, run_with_input},
};

#[test]
fn with_json_every_error_is_one_object_with_the_same_exit_code() {
    let folder = create_every_state();
    let before = folder.text();
    let broken = Folder::new();
    broken.write("nonsense\n");
    for (words, code, kind, message) in [
        ("rotate 00000000 --overlap 7d", 1, "unknown_key_id", "no key has this id: `apikey list`"),
        ("rotate bbbbbbbb --overlap 7d", 1, "dead_key", "the key is revoked"),
        ("revoke 00000000", 1, "unknown_key_id", "no key has this id"),
        ("revoke --client nobody", 1, "unknown_client", "this client has no key"),
        (
            "revoke aaaaaaaa",
            2,
            "usage",
            "cannot ask for confirmation without a terminal: add --yes to confirm",
        ),
        (
            "prune",
            2,
            "usage",
            "cannot ask for confirmation without a terminal: add --yes to confirm",
        ),
        ("issue ci --prefix -", 1, "key_prefix", "a prefix is letters and digits"),
        ("issue ci --scope a,", 1, "scope", "a scope is one or more"),
        ("issue ci --expires 2020-01-01", 1, "lifetime", "the key would expire before it is valid"),
        (
            "issue ci --expires soon",
            2,
            "usage",
            "invalid value '…' for '--expires <WHEN>': expected",
        ),
        ("issue", 2, "usage", "the following required arguments were not provided"),
        ("isue", 2, "usage", "unrecognized subcommand"),
        ("", 2, "usage", "'apikey' requires a subcommand"),
        ("list another", 2, "usage", "unexpected argument"),
        ("list --file nothing.jsonl", 3, "missing", ""),
        ("issue ci --file nowhere/keys.jsonl", 3, "missing", ""),
        ("issue ci --file .", 3, "not_a_file", ""),
        ("list --file=", 2, "usage", "--file needs a file name"),
        ("usage --from nothing.jsonl", 3, "missing", ""),
        ("usage --from keys.jsonl", 3, "content", ""),
        ("usage --from .", 3, "not_a_file", ""),
        ("list --from nothing.jsonl", 3, "missing", ""),
        (
            "list --unused 90d",
            1,
            "usage_data",
            "no usage data: there is no usage.jsonl, and `--from`",
        ),
        (
            "list --unused 0",
            2,
            "usage",
            "invalid value '…' for '--unused <DURATION>': the time is empty",
        ),
        (
            "usage --last never",
            2,
            "usage",
            "invalid value '…' for '--last <DURATION>': not a duration",
        ),
        ("check", 2, "usage", "no key on standard input"),
        ("import ci", 2, "usage", "no key on standard input"),
        ("import --bulk", 2, "usage", "no lines on standard input"),
    ] {
        for words in [format!("{words} --json"), format!("--json {words}")] {
            let outcome = folder.apikey(&words).exits(code);
            let error = parse_error(&outcome);
            assert_eq!((&error["kind"], &*outcome.out), (&json!(kind), ""), "{words}");
            assert!(
                error["message"].as_str().unwrap().starts_with(message),
                "{words}: {outcome:?}"
            );
            assert_eq!(folder.text(), before, "{words}");
        }
    }
    assert_eq!(parse_error(&broken.apikey("list --json").exits(3))["kind"], "content");
    for (key, kind) in
        [("Key-revoked", "revoked"), ("Key-to-begin", "not_yet_valid"), ("X", "unknown")]
    {
        let outcome = folder.apikey("check --json").stdin(key).exits(1);
        assert_eq!(
            (&parse_error(&outcome)["kind"], &outcome.json()["reason"]),
            (&json!(kind), &json!(kind))
        );
    }
    let outcome = folder.apikey("import --bulk --json").stdin("a\tKey-that-works\n").exits(1);
    let error = parse_error(&outcome);
    assert_eq!(error["kind"], "duplicate_key");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("standard input, line 1: "), "{outcome:?}");
    // After `--`, the word `--json` is an id.
    let outcome = folder.apikey("revoke --yes --client=x -- --json").finish();
    assert!(outcome.err.starts_with("error: "), "{outcome:?}");
}

#[test]
fn with_json_a_warning_is_an_object() {
    let folder = Folder::new();
    let outcome = folder.apikey("import ci --json").stdin("Short-key").exits(0);
    let warning: Value = serde_json::from_str(&outcome.err).unwrap();
    let text = warning["warning"].as_str().unwrap();
    assert!(text.starts_with("this key has only 9 characters: "), "{outcome:?}");
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = folder.apikey("list --json").exits(0);
    let warning: Value = serde_json::from_str(&outcome.err).unwrap();
    assert!(
        warning["warning"].as_str().unwrap().starts_with("another user can write"),
        "{outcome:?}"
    );
    let outcome = folder.apikey("list").exits(0);
    assert!(outcome.err.starts_with("warning: another user can write"), "{outcome:?}");
}

#[test]
fn with_json_an_interrupt_is_an_object() {
    let folder = create_every_state();
    let terminal = folder.apikey("check --json").on_terminal().expect(PROMPT);
    let shown = terminal.type_text("\x03").exits(130);
    let object = r#"{"kind":"interrupted","message":"interrupted"}"#;
    assert_eq!(shown, format!("{PROMPT}\n{object}\n"));
}

#[test]
fn messages_name_subcommands_and_no_items_of_the_library() {
    let folder = create_every_state();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    let long = "Longer".repeat(200);
    for outcome in [
        run_with_input(&folder, "check", &digest),
        folder.apikey("check").stdin(&long).exits(1),
        folder.apikey("import ci").stdin(&long).exits(1),
        folder.apikey("import --bulk").stdin(format!("ci\t{long}\n")).exits(1),
        folder.apikey("import ci").stdin("Key-that-works").exits(1),
        folder.apikey("rotate bbbbbbbb --overlap 1d").exits(1),
    ] {
        for name in ["insert", "max_key_len", "layer", "`Keyring", "client=key", "()"] {
            assert!(!outcome.err.contains(name), "{name}: {outcome:?}");
        }
    }
    run_with_input(&folder, "check", &digest)
        .assert_error("this is a digest, not a key: `apikey import` accepts it");
    let outcome = folder.apikey("import ci").stdin(&long).exits(1);
    outcome.assert_error(
        "the key is longer than 1,024 bytes: import its digest, which is `sha256:` and",
    );
}
