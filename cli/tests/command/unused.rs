//! Lists the last use of each key, and keys that were not used.

use std::fs;

use serde_json::json;

use crate::support::usage::{format, line, today, write_usage};
use crate::support::{Folder, Outcome, record_line};

const DAY: u64 = 86_400;

fn ids(outcome: &Outcome) -> Vec<&str> {
    outcome.out.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect()
}

fn create_keys() -> Folder {
    let day_ago = format(today() - DAY);
    let created = "\"created\":\"2020-01-01T00:00:00Z\"";
    let new = format!("\"created\":\"{day_ago}\"");
    let folder = Folder::with(&[
        record_line("used0000", "ci", "Key-in-use", ""),
        record_line("old00000", "ci", "Key-used-long-ago", ""),
        record_line("never000", "ci", "Key-never-used", ""),
        record_line("new00000", "ci", "Key-that-is-new", "").replace(created, &new),
        record_line("begins00", "ci", "Key-that-began", &format!(r#","not_before":"{day_ago}""#)),
        record_line("revoked0", "ci", "Key-revoked", r#","revoked":"2021-01-01T00:00:00Z""#),
        record_line("expired0", "ci", "Key-expired", r#","expires":"2021-01-01T00:00:00Z""#),
    ]);
    write_usage(
        &folder,
        "usage.jsonl",
        120,
        &[
            line("used0000", "ci", 3, "\"accepted\":1"),
            line("old00000", "ci", 100, "\"accepted\":1"),
            // A rejected request is no use.
            line("old00000", "ci", 0, "\"rejected\":5"),
            line("never000", "ci", 0, "\"rejected\":5"),
        ],
    );
    folder
}

#[test]
fn list_has_the_last_use_of_each_key() {
    let folder = create_keys();
    let outcome = folder.apikey("list").exits(0);
    let used = |id: &str| {
        let row = outcome.out.lines().find(|line| line.starts_with(id)).unwrap();
        row.split('\t').nth(5).unwrap().to_owned()
    };
    assert_eq!(used("ID"), "LAST USED");
    assert_eq!(used("used0000"), format(today() - 3 * DAY + 60));
    assert_eq!((used("never000"), used("revoked0")), ("-".to_owned(), "-".to_owned()));
    let shown = folder.apikey("list").env("TERM", "dumb").on_terminal().exits(0);
    assert!(shown.contains("LAST USED") && shown.contains("100 days ago"), "{shown}");
    let listed = folder.apikey("list --json").exits(0).json();
    let listed = listed.as_array().unwrap().iter().find(|key| key["id"] == "old00000").unwrap();
    assert_eq!(listed["last_used"], json!(format(today() - 100 * DAY + 60)));
    // Another file, whose last use is later.
    write_usage(&folder, "b.jsonl", 9, &[line("old00000", "ci", 1, "\"accepted\":1")]);
    let outcome = folder.apikey("list --from usage.jsonl --from b.jsonl").exits(0);
    assert!(outcome.out.contains(&format!("\t{}\t", format(today() - DAY + 60))), "{outcome:?}");
}

#[test]
fn unused_lists_valid_keys_that_had_the_whole_time_and_no_use() {
    let folder = create_keys();
    assert_eq!(ids(&folder.apikey("list --unused 90d").exits(0)), ["never000", "old00000"]);
    assert_eq!(ids(&folder.apikey("list --unused 110d").exits(0)), ["never000"]);
    assert_eq!(
        ids(&folder.apikey("list --unused 2d").exits(0)),
        ["never000", "old00000", "used0000"]
    );
    let listed = folder.apikey("list --unused 90d --json").exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    fs::write(folder.file(), "{\"v\":1}\n").unwrap();
    let outcome = folder.apikey("list --unused 90d").exits(0);
    assert_eq!(outcome.err, "Every valid key was used or issued within 90d.\n");
}

#[test]
fn unused_fails_if_the_data_does_not_go_back_that_far() {
    let folder = create_keys();
    let outcome = folder.apikey("list --unused 121d").exits(1);
    let since = format(today() - 120 * DAY);
    outcome.assert_error(&format!(
        "error: the usage data begins only at {since}, so a key may have been used within 121d"
    ));
    // A second host has served for less time, or its data is lost.
    write_usage(&folder, "b.jsonl", 60, &[]);
    let words = "list --from usage.jsonl --from b.jsonl --unused";
    folder.apikey(&format!("{words} 90d")).exits(1).assert_error("begins only at");
    assert_eq!(ids(&folder.apikey(&format!("{words} 59d")).exits(0)), ["never000", "old00000"]);
    // The file of a second process begins as early as the first file.
    write_usage(&folder, "usage.2.jsonl", 120, &[line("old00000", "ci", 0, "\"accepted\":1")]);
    assert_eq!(ids(&folder.apikey("list --unused 90d").exits(0)), ["never000"]);
    // If one of the files begins later, it replaces a file whose uses are lost.
    for (name, other) in [("usage.jsonl", "usage.2.jsonl"), ("usage.2.jsonl", "usage.jsonl")] {
        write_usage(&folder, name, 1, &[]);
        write_usage(&folder, other, 120, &[]);
        folder.apikey("list --unused 90d").exits(1).assert_error("begins only at");
    }
    // A file is lost, and its process has not started again.
    write_usage(&folder, "usage.2.jsonl", 120, &[]);
    fs::remove_file(folder.path().join("usage.jsonl")).unwrap();
    folder.apikey("list --unused 90d").exits(1).assert_error("begins only at");

    fs::write(folder.path().join("usage.jsonl"), "").unwrap();
    fs::remove_file(folder.path().join("usage.2.jsonl")).unwrap();
    folder.apikey("list --unused 90d").exits(1).assert_error("the usage file is empty");
    fs::remove_file(folder.path().join("usage.jsonl")).unwrap();
    folder
        .apikey("list --unused 90d")
        .exits(1)
        .assert_error("no usage data: there is no usage.jsonl");
    folder.apikey("list --unused 90d --from gone.jsonl").exits(3).assert_error("no such file");
    folder.apikey("list --unused 9999y").exits(2).assert_error("--unused <DURATION>");
    folder.apikey("list --unused 100y").exits(2).assert_error("the time is before the year 1970");
    folder.apikey("list --unused -1d").exits(2);
}

#[test]
fn unused_fails_if_one_of_several_files_is_empty() {
    for empty in ["b.jsonl", "usage.2.jsonl"] {
        let folder = create_keys();
        // Its uses are lost, for example because another program emptied it.
        fs::write(folder.path().join(empty), "").unwrap();
        let from = if empty == "b.jsonl" { " --from usage.jsonl --from b.jsonl" } else { "" };
        folder.apikey(&format!("list{from}")).exits(0);
        let outcome = folder.apikey(&format!("list --unused 90d{from}")).exits(1);
        outcome.assert_error("begins only at");
    }
}

#[test]
fn unused_lists_no_key_whose_use_has_another_name_in_the_data() {
    // All keys above the maximum of a `Usage` share a total.
    let folder = create_keys();
    let overflow = |days_ago| {
        line("x", "y", days_ago, "\"accepted\":1")
            .replace("\"key\":\"x\",\"client\":\"y\"", "\"total\":\"overflow\"")
    };
    write_usage(&folder, "usage.2.jsonl", 120, &[overflow(100)]);
    assert_eq!(ids(&folder.apikey("list --unused 90d").exits(0)), ["never000", "old00000"]);
    write_usage(&folder, "usage.2.jsonl", 120, &[overflow(100), overflow(50)]);
    let outcome = folder.apikey("list --unused 90d").exits(1);
    outcome.assert_error("more keys than its maximum");

    // A verifier with a client type of its own can lack the ids of keys.
    let folder = create_keys();
    let alone = |client| line("x", client, 50, "\"accepted\":1").replace("\"key\":\"x\",", "");
    write_usage(&folder, "usage.2.jsonl", 120, &[alone("ci")]);
    assert_eq!(ids(&folder.apikey("list --unused 90d").exits(0)), [""; 0]);
    assert_eq!(
        ids(&folder.apikey("list --unused 40d").exits(0)),
        ["never000", "old00000", "used0000"][..2]
    );
    write_usage(&folder, "usage.2.jsonl", 120, &[alone("tenant-7")]);
    let outcome = folder.apikey("list --unused 90d").exits(0);
    assert!(
        outcome.err.contains("warning: tenant-7 was used without the id of a key"),
        "{outcome:?}"
    );
}

#[test]
fn a_default_usage_file_that_cannot_be_read_does_not_hide_the_keys() {
    let folder = create_keys();
    fs::write(folder.path().join("usage.jsonl"), "{\"prompt_tokens\":5}\n").unwrap();
    let outcome = folder.apikey("list").exits(0);
    assert_eq!(ids(&outcome).len(), 7);
    assert!(
        outcome.err.starts_with("warning: usage.jsonl, line 1: not a usage file"),
        "{outcome:?}"
    );
    folder.apikey("list --from usage.jsonl").exits(3).assert_error("not a usage file");
    // The variable can name a file that a service has not created yet.
    let with_variable = |words: &str| folder.apikey(words).env("API_USAGE_FILE", "later.jsonl");
    let outcome = with_variable("list").exits(0);
    assert_eq!(ids(&outcome).len(), 7);
    assert!(outcome.err.starts_with("warning: later.jsonl: no such file"), "{outcome:?}");
    with_variable("list --from gone.jsonl").exits(3).assert_error("gone.jsonl: no such file");
    with_variable("list --unused 90d").exits(3).assert_error("no such file");
    with_variable("usage").exits(3).assert_error("no such file");
    folder.apikey("list --unused 90d").exits(3).assert_error("not a usage file");
    folder.apikey("usage").exits(3).assert_error("not a usage file");
}
