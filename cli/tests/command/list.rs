//! Lists keys.

use std::fs;

use serde_json::json;

use crate::support::{
    Folder, HEADER,
    fixtures::{create_every_state, open_broken_pipe},
    record_line,
};

#[test]
fn list_prints_tabs_and_exact_times_for_scripts() {
    let folder = create_every_state();
    let outcome = folder.apikey("list").exits(0);
    assert_eq!(outcome.err, "");
    assert_eq!(
        outcome.out,
        "ID\tCLIENT\tSTATE\tCREATED\tENDS\tLAST USED\tSCOPES\tNOTE\tNAME\n\
         aaaaaaaa\tci\tactive\t2020-01-01T00:00:00Z\t2500-01-01T00:00:00Z\t-\t-\t-\tCI\n\
         bbbbbbbb\tci\trevoked\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\t-\t-\n\
         cccccccc\tci\texpired\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\t-\t-\n\
         dddddddd\tci\trotated\t2020-01-01T00:00:00Z\t2500-01-01T00:00:00Z\t-\t-\t-\t-\n\
         eeeeeeee\tci\texpired\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\t-\t-\n\
         ffffffff\tci\tnot yet\t2020-01-01T00:00:00Z\t-\t-\t-\t-\t-\n\
         gggggggg\tzeta\tactive\t2020-01-01T00:00:00Z\t-\t-\ta b:c\ta note\t-\n"
    );
}

#[test]
fn list_prints_one_json_array() {
    let folder = create_every_state();
    let outcome = folder.apikey("--json list").exits(0);
    assert_eq!(outcome.err, "");
    let listed = outcome.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 7);
    assert_eq!(
        listed[0],
        json!({
            "id": "aaaaaaaa", "client": "ci", "name": "CI", "scopes": [], "state": "active",
            "created": "2020-01-01T00:00:00Z", "not_before": null,
            "expires": "2500-01-01T00:00:00Z", "rotated": null, "retires": null,
            "replaced_by": null, "revoked": null, "prefix": null, "note": null,
            "metadata": {}, "issued_by": null, "rotated_reason": null, "paused": null,
            "revoked_by": null, "revoked_reason": null, "last_used": null,
        })
    );
    assert_eq!(listed[1]["revoked"], "2021-01-01T00:00:00Z");
    assert_eq!(listed[4]["retires"], "2021-01-01T00:00:00Z");
    assert_eq!(listed[5]["not_before"], "2500-01-01T00:00:00Z");
    assert_eq!(listed[6]["scopes"], json!(["a", "b:c"]));
    assert_eq!(listed[6]["note"], "a note");
    let states: Vec<_> = listed.iter().map(|key| key["state"].as_str().unwrap()).collect();
    let expected = ["active", "revoked", "expired", "rotated", "expired", "not yet", "active"];
    assert_eq!(states, expected);

    folder.write(HEADER);
    let outcome = folder.apikey("list --json").exits(0);
    assert_eq!((&*outcome.out, &*outcome.err), ("[]\n", ""));
}

#[test]
fn list_sorts_by_client_and_age() {
    let folder = Folder::with(&[
        record_line("aaaaaaaa", "z", "Key-of-z", ""),
        record_line("bbbbbbbb", "a", "Key-younger", "").replace("2020", "2022"),
        record_line("cccccccc", "a", "Key-older", "").replace("2020", "2021"),
        record_line("dddddddd", "b", "Key-of-b", ""),
    ]);
    let outcome = folder.apikey("list").exits(0);
    let ids: Vec<_> = outcome.out.lines().skip(1).map(|line| &line[..1]).collect();
    assert_eq!(ids, ["c", "b", "d", "a"]);
}

#[test]
fn list_prints_columns_colours_and_relative_times_on_a_terminal() {
    let folder = create_every_state();
    let key = folder.issue("new --expires 90d");
    let shown = folder.apikey("list").on_terminal().exits(0);
    let has = |text: &str| assert!(shown.contains(text), "{text:?} is not in {shown}");
    for (word, colour) in [
        ("ID", 1),
        ("NOTE", 1),
        ("active", 32),
        ("rotated", 33),
        ("not yet", 33),
        ("revoked", 31),
        ("expired", 31),
    ] {
        has(&format!("\x1b[{colour}m{word}\x1b[0m"));
    }
    has("less than a minute ago");
    has("in 90 days");
    assert!(!shown.contains('\t') && !shown.contains("00:00:00Z"), "{shown}");

    let plain = folder.apikey("list").env("TERM", "dumb").on_terminal().exits(0);
    let column = |name| plain.lines().next().unwrap().find(name).unwrap();
    for (id, client, state) in
        [("aaaaaaaa", "ci", "active"), ("gggggggg", "zeta", "active"), (&key.id, "new", "active")]
    {
        let row = plain.lines().find(|line| line.starts_with(id)).unwrap();
        assert!(row[column("CLIENT")..].starts_with(client), "{plain}");
        assert!(row[column("STATE")..].starts_with(state), "{plain}");
    }
    let revoked = plain.lines().find(|line| line.starts_with("bbbbbbbb")).unwrap();
    let (_, ended) = revoked[column("CREATED")..].split_once("ago").unwrap();
    assert!(ended.contains(" years ") && ended.contains(" ago"), "{plain}");
}

#[test]
fn colours_can_be_turned_off() {
    let folder = create_every_state();
    let list = || folder.apikey("list");
    for list in [
        list().env("NO_COLOR", "1"),
        list().env("NO_COLOR", "0"),
        list().env("TERM", "dumb"),
        list().without_env("TERM"),
        folder.apikey("list --json"),
    ] {
        let shown = list.on_terminal().exits(0);
        assert!(!shown.contains('\x1b'), "{shown}");
        assert!(shown.contains("revoked"), "{shown}");
    }
    // https://no-color.org: when not an empty string.
    let shown = list().env("NO_COLOR", "").on_terminal().exits(0);
    assert!(shown.contains("\x1b[31mrevoked"), "{shown}");
    let shown = folder.apikey("check").env("TERM", "dumb").on_terminal();
    let shown = shown.expect("Key (hidden): ").type_secret("Key-revoked\n").exits(1);
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[test]
fn list_ends_without_an_error_if_the_reader_closes_the_pipe() {
    let lines: Vec<_> = (0..3000)
        .map(|number| record_line(&format!("{number:08}"), "ci", &format!("Key-{number}"), ""))
        .collect();
    let folder = Folder::with(&lines);
    for words in ["list", "list --json", "completions bash", "--help"] {
        let outcome = folder.apikey(words).stdout(open_broken_pipe()).exits(0);
        assert_eq!(outcome.err, "", "{words}");
    }
    let outcome = folder.shell(r#"{ "$0" list; echo "$?" >&2; } | head -1"#).exits(0);
    assert_eq!(outcome.out, "ID\tCLIENT\tSTATE\tCREATED\tENDS\tLAST USED\tSCOPES\tNOTE\tNAME\n");
    assert_eq!(outcome.err, "0\n");
}

#[test]
fn list_fails_if_it_cannot_write() {
    let folder = create_every_state();
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return println!("skipped: there is no /dev/full");
    };
    let outcome = folder.apikey("list").stdout(full).exits(1);
    assert!(outcome.err.starts_with("error: No space left on device"), "{outcome:?}");
}
