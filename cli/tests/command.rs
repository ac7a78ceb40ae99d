//! The command `apikey`, run as people and scripts run it. What every run has to keep to is in
//! `command_support`: no key is shown but the one that it has made, no digest, and no file holds a key.

#![cfg(unix)]

mod command_support;

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, fs::symlink, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use command_support::{APIKEY, Ended, Folder, HEADER, Key, Told, line, minted_keys};
use serde_json::{Value, json};
use tower_api_key::key::KeyFormat;

const DAY: Duration = Duration::from_secs(86_400);

/// Keys of an operator's own choice, which are in no file.
const OWN: &str = "Grandfathered-Key-of-1999";
const OTHER: &str = "Another-Key-that-was-there";

// ===== Issuing =====

#[test]
fn issue_writes_the_key_and_a_line_break_to_standard_output_and_all_else_beside() {
    let folder = Folder::new();
    let told = folder.apikey("issue ci").ends(0);
    let key = told.key();
    assert_eq!(told.out, format!("{}\n", key.text));
    assert_eq!(KeyFormat::new("key").unwrap().parse(&key.text), Ok(&*key.id));
    let said = "The key is shown this once: what is kept is its digest.";
    let file = folder.file();
    assert_eq!(told.err, format!("Issued {}. {said}\nCreated {}.\n", key.id, file.display()));
}

#[test]
fn issue_names_the_file_that_it_wrote_and_says_whether_it_created_it() {
    let folder = Folder::new();
    for (words, file) in
        [("issue ci", "keys.jsonl"), ("issue ci --file other.jsonl", "other.jsonl")]
    {
        let path = folder.path().join(file);
        let first = folder.apikey(words).ends(0);
        assert!(first.err.ends_with(&format!("\nCreated {}.\n", path.display())), "{first:?}");
        let second = folder.apikey(words).ends(0);
        assert!(second.err.ends_with(&format!("\nWrote {}.\n", path.display())), "{second:?}");
        assert_eq!(second.out, format!("{}\n", second.key().text));
        let third = folder.apikey(words).arg("--json").ends(0);
        let shown = third.json();
        assert_eq!(shown["file"], path.to_str().unwrap());
        assert_eq!((&shown["file_created"], &*third.err), (&json!(false), ""));
    }
    let variable = folder.apikey("issue ci --json").env("API_KEYS_FILE", "third.jsonl").ends(0);
    let shown = variable.json();
    assert_eq!(shown["file"], folder.path().join("third.jsonl").to_str().unwrap());
    assert_eq!(shown["file_created"], true);
    // An empty file is there already.
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let told = folder.apikey("issue ci --json --file empty.jsonl").ends(0);
    assert_eq!(told.json()["file_created"], false);
}

#[test]
fn import_says_that_it_created_the_file() {
    let folder = Folder::new();
    let created = format!("Created {}.\n", folder.file().display());
    let told = folder.apikey("import ci").stdin(OWN).ends(0);
    assert!(told.err.ends_with(&created), "{told:?}");
    let told = folder.apikey("import ci").stdin(OTHER).ends(0);
    assert!(!told.err.contains("Created"), "{told:?}");
    fs::remove_file(folder.file()).unwrap();
    let told = folder.apikey("import --bulk").stdin(format!("ci\t{OWN}\n")).ends(0);
    assert!(told.err.ends_with(&created), "{told:?}");
    fs::remove_file(folder.file()).unwrap();
    let told = folder.apikey("import ci --json").stdin(OWN).ends(0);
    assert_eq!((told.json()["file_created"].clone(), &*told.err), (json!(true), ""));
}

#[test]
fn a_comma_separates_scopes() {
    let folder = Folder::new();
    let key = folder.issue("ci --scope reports:read,reports:write --scope jobs:run");
    let scopes = ["reports:read", "reports:write", "jobs:run"];
    assert!(folder.record(&key.id).client().granted().eq(scopes));
    folder.apikey("import other --scope a,b").stdin(OWN).ends(0);
    let told = folder.apikey("check --json").stdin(OWN).ends(0);
    assert_eq!(told.json()["scopes"], json!(["a", "b"]));
    for (scopes, number) in [("a,", 2), (",a", 1), ("a,b c", 2), ("a,,b", 2), ("", 1)] {
        let told = folder.apikey("issue ci --scope").arg(scopes).ends(1);
        told.says(&format!("(scope {number})"));
    }
}

/// Created and expires, as the list tells them.
fn life(folder: &Folder, id: &str) -> (String, String) {
    let listed = folder.apikey("list --json").ends(0).json();
    let key = listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    let [created, expires] = ["created", "expires"].map(|it| key[it].as_str().unwrap().to_owned());
    (created, expires)
}

#[test]
fn a_key_expires_at_the_end_of_a_day_and_begins_at_its_start() {
    let folder = Folder::new();
    let key = folder.issue("ci --not-before 2040-01-31 --expires 2040-02-29");
    let record = folder.apikey("check --json").stdin(&key.text).ends(1).json();
    assert_eq!(record["not_before"], "2040-01-31T00:00:00Z");
    assert_eq!(record["expires"], "2040-03-01T00:00:00Z");
    // One day is a life.
    folder.issue("ci --not-before 2040-01-31 --expires 2040-01-31");
}

#[test]
fn a_time_may_have_an_offset_from_utc() {
    let folder = Folder::new();
    for (time, utc) in [
        ("2040-01-31T12:00:00+02:00", "2040-01-31T10:00:00Z"),
        ("2040-01-31T23:30:00-05:30", "2040-02-01T05:00:00Z"),
        ("2040-01-31 12:00:00+02", "2040-01-31T10:00:00Z"),
        ("2040-01-31T12:00Z", "2040-01-31T12:00:00Z"),
        ("2040-01-31t12:00:00z", "2040-01-31T12:00:00Z"),
        ("2040-01-31T12:00:00", "2040-01-31T12:00:00Z"),
        ("2040-01-31T12:00:00.75Z", "2040-01-31T12:00:00Z"),
    ] {
        let key = folder.apikey("issue ci --expires").arg(time).ends(0).key();
        assert_eq!(life(&folder, &key.id).1, utc, "{time}");
    }
}

#[test]
fn a_year_and_a_month_are_those_of_the_calendar() {
    let folder = Folder::new();
    for (words, years, months) in
        [("1y", 1, 0), ("4 years", 4, 0), ("1mo", 0, 1), ("18 months", 1, 6), ("1y 1mo", 1, 1)]
    {
        let key = folder.apikey("issue ci --expires").arg(words).ends(0).key();
        let (created, expires) = life(&folder, &key.id);
        let number = |text: &str| text.parse::<u32>().unwrap();
        let month = number(&created[5..7]) - 1 + months;
        let start =
            format!("{}-{:02}-", number(&created[..4]) + years + month / 12, month % 12 + 1);
        assert!(expires.starts_with(&start), "{words}: {created} {expires}");
        // A month may have no such day.
        let is_cut = number(&created[8..10]) > 28;
        assert!(expires[7..] == created[7..] || is_cut, "{words}: {created} {expires}");
    }
    let key = folder.issue("ci");
    let told = folder.apikey(&format!("rotate {} --overlap 1y", key.id)).ends(0);
    let created = created(&folder, &told.key().id);
    let (_, until) = told.err.split_once("works until ").unwrap();
    let next = created[..4].parse::<u32>().unwrap() + 1;
    assert!(until.starts_with(&next.to_string()), "{told:?}");
    assert!(until[4..].starts_with(&created[4..7]) || &created[5..10] == "02-29", "{told:?}");
}

fn created(folder: &Folder, id: &str) -> String {
    let listed = folder.apikey("list --json").ends(0).json();
    let key = listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    key["created"].as_str().unwrap().to_owned()
}

#[test]
fn a_list_counts_years_of_the_calendar() {
    let folder = Folder::new();
    for words in ["1y", "4y", "5y"] {
        let key = folder.issue(&format!("ci --expires {words}"));
        let shown = folder.apikey("list").env("TERM", "dumb").on_a_terminal().ends(0);
        let row = shown.lines().find(|line| line.starts_with(&key.id)).unwrap();
        let years =
            if words == "1y" { "in 1 year " } else { &format!("in {} years ", &words[..1]) };
        assert!(row.contains(years) && !row.contains("day"), "{shown}");
    }
}

#[test]
fn each_time_that_is_refused_names_its_cause() {
    let folder = Folder::new();
    let unit = "a number without a unit: write it as 90d, 12h or '1h 30m'";
    let day = "there is no such day: write year, month and day as 2027-01-31";
    let time = "no time of day: write it as 2027-01-31T12:00:00Z, or with an offset such as +02:00";
    for (text, why) in [
        ("soon", "neither a duration such as 90d nor a day such as 2027-01-31"),
        ("31.01.2027", "neither a duration such as 90d nor a day such as 2027-01-31"),
        ("", "neither a duration such as 90d nor a day such as 2027-01-31"),
        ("90", unit),
        ("20270131", unit),
        ("90x", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("3M", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("2027-02-29", day),
        ("2027-13-01", day),
        ("2027-1-31", day),
        ("2027-04-31T12:00:00Z", day),
        ("2027-01-31T25:00:00Z", time),
        ("2027-01-31T12:00:00+99:00", time),
        ("2027-01-31T", time),
        ("2027-01-31T12:00:00 CET", time),
        ("2027-01-31T12:00:00+01:00[Europe/Berlin]", "a time zone has no name here: write its"),
        ("600y", "that is beyond the year 2500"),
        ("99999999999999999999y", "that is beyond the year 2500"),
        ("2500-01-01", "that is beyond the year 2500"),
        ("9999-12-31T23:59:59-12:00", "that is beyond the year 2500"),
        ("0", "a key of no duration would never work"),
        ("0d", "a key of no duration would never work"),
        ("5ms", "a key of no duration would never work"),
        ("-1d", "a duration is not negative"),
        ("1d ago", "a duration is not negative"),
    ] {
        let told = folder.apikey("issue ci").arg(format!("--expires={text}")).ends(2);
        told.says(why);
        let value = if text.is_empty() { "" } else { "…" };
        let start = format!("error: invalid value '{value}' for '--expires <WHEN>': ");
        assert!(told.err.starts_with(&start), "{told:?}");
    }
    for (text, why) in [
        ("2020-01-01T00:00:00Z", "the key would end before it begins: --expires has passed"),
        ("2020-01-01", "the key would end before it begins: --expires has passed"),
    ] {
        folder.apikey("issue ci --expires").arg(text).ends(1).says(why);
        folder.apikey("import ci --expires").arg(text).stdin(OWN).ends(1).says(why);
    }
    let told = folder.apikey("issue ci --expires 1d --not-before 2d").ends(1);
    told.says("the key would end before it begins: --expires is before --not-before");
    assert!(folder.names().is_empty());
    let key = folder.issue("ci");
    for (text, why) in [
        ("week", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("7", unit),
        ("-1d", "a duration is not negative"),
        ("2027-01-31", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("1000y", "that is beyond the year 2500"),
    ] {
        let told = folder.apikey("rotate").arg(&key.id).arg(format!("--overlap={text}")).ends(2);
        told.says(why);
    }
}

// R47.
#[test]
fn a_new_file_is_its_owners_alone_and_holds_the_digest_alone() {
    let folder = Folder::new();
    // Whatever the shell would let others do.
    let key = folder.shell(r#"umask 0; exec "$0" "$@""#).arg("issue").arg("ci").ends(0).key();
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
    assert_eq!(folder.mode(), 0o600);
    let record = folder.record(&key.id);
    let created = folder.apikey("list --json").ends(0).json()[0]["created"].clone();
    let expected = format!(
        r#"{{"id":"{}","client":"ci","digest":"{}","created":{created},"prefix":"key"}}"#,
        key.id,
        record.digest().encode()
    );
    assert_eq!(folder.text(), format!("{HEADER}{expected}\n"));
    let secret = &key.text[key.text.len() - 28..];
    for name in folder.names() {
        let text = fs::read_to_string(folder.path().join(&name)).unwrap();
        assert!(!text.contains(secret), "{name}");
        assert!(!text.contains(&secret[..8]), "{name}");
    }
}

#[test]
fn an_issued_key_opens_a_service_that_reads_the_file() {
    let folder = Folder::new();
    let [one, two, other] = ["ci", "ci", "mobile-app"].map(|client| folder.issue(client));
    assert_eq!(folder.opens(&one.text), Ok("ci".to_owned()));
    assert_eq!(folder.opens(&two.text), Ok("ci".to_owned()));
    assert_eq!(folder.opens(&other.text), Ok("mobile-app".to_owned()));
    assert_eq!(folder.opens(&one.text[1..]), Err("unknown"));
    assert_eq!(folder.opens(&mistyped(&one)), Err("unknown"));
    let checked = folder.apikey("check").stdin(&one.text).ends(0);
    assert_eq!(checked.out, format!("It works: key {} of ci.\n", one.id));
}

#[test]
fn on_a_terminal_the_key_is_a_line_of_its_own() {
    let folder = Folder::new();
    let shown = folder.apikey("issue ci").on_a_terminal().ends(0);
    let (key, said) = shown.split_once('\n').unwrap();
    assert_eq!(folder.opens(key), Ok("ci".to_owned()));
    assert!(said.starts_with("Issued "), "{shown}");
    let [old] = &*folder.records() else { panic!("{}", folder.text()) };
    let words = format!("rotate {} --overlap 7d", old.id().unwrap());
    let shown = folder.apikey(&words).on_a_terminal().ends(0);
    let (key, said) = shown.split_once('\n').unwrap();
    assert_eq!(folder.opens(key), Ok("ci".to_owned()));
    assert!(said.contains(", which works until "), "{shown}");
}

#[test]
fn issue_takes_all_there_is_to_say_of_a_key() {
    let folder = Folder::new();
    let told = folder
        .apikey("issue mobile-app --prefix sk_live --scope reports:read --scope reports:write")
        .args(&["--name", "Mobile app", "--note", "for the launch"])
        .args(&["--expires", "2040-01-31T12:00:00Z", "--not-before", "2030-01-31 12:00:00"])
        .arg("--json")
        .ends(0);
    let key = told.key();
    assert!(key.text.starts_with("sk_live_"));
    let mut shown = told.json();
    assert_eq!(shown["key"].take(), key.text);
    let created = shown["created"].take();
    assert_eq!(
        shown,
        json!({
            "key": null, "created": null,
            "id": key.id,
            "client": "mobile-app",
            "name": "Mobile app",
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
    // The list says the same, but for the key and the file.
    shown["created"] = created;
    for field in ["key", "file", "file_created"] {
        shown.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(folder.apikey("list --json").ends(0).json(), json!([shown]));

    let record = folder.record(&key.id);
    assert_eq!(record.client().name(), Some("Mobile app"));
    assert_eq!(record.noted(), Some("for the launch"));
    assert!(record.client().granted().eq(["reports:read", "reports:write"]));
    assert_eq!(folder.opens(&key.text), Err("not_yet_valid"));
}

#[test]
fn a_duration_reckons_from_now() {
    let folder = Folder::new();
    for (words, days) in [("90d", 90), ("12w", 84), ("36h", 1)] {
        let key = folder.issue(&format!("ci --expires {words} --not-before {days}d"));
        let record = folder.record(&key.id);
        for time in [record.expires(), record.begins()] {
            let from_now = time.unwrap().duration_since(SystemTime::now()).unwrap().as_secs();
            let hours = from_now.div_ceil(3600);
            assert!(hours == days * 24 || (words, hours) == ("36h", 36), "{words}: {hours}");
        }
    }
    let told = folder.apikey("issue ci --expires").arg("1h 30m").ends(0);
    let left = folder.record(&told.key().id).expires().unwrap();
    let left = left.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(89 * 60) && left <= Duration::from_secs(90 * 60));
}

#[test]
fn what_cannot_be_issued_is_refused_and_makes_no_file() {
    let folder = Folder::new();
    let neither = "neither a duration such as 90d nor a day such as 2027-01-31";
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
        (&["ci", "--expires", "2020-01-01T00:00:00Z"], 1, "the key would end before it begins"),
        (&["ci", "--expires", "1d", "--not-before", "2d"], 1, "the key would end before it begins"),
        (&["ci", "--expires", "soon"], 2, neither),
        (&["ci", "--expires", "90"], 2, "a number without a unit"),
        (&["ci", "--expires", "-1d"], 2, ""),
        (&["ci", "--not-before", "tomorrow"], 2, neither),
        (&["ci", "--expires", "0"], 2, "a key of no duration would never work"),
        (&["ci", "--expires", "0s"], 2, "a key of no duration would never work"),
        (&["ci", "--expires", "600y"], 2, "that is beyond the year 2500"),
        (&["ci", "--expires", "99999999999999999999y"], 2, ""),
        (&["ci", "--expires"], 2, "a value is required"),
        (&["ci", "--file"], 2, "a value is required"),
        (&["ci", "--file", ""], 2, "--file needs the name of a file"),
        (&["ci", "another"], 2, "unexpected argument"),
        (&["ci", "--overlap", "7d"], 2, "unexpected argument"),
        (&["--client", "ci"], 2, "unexpected argument"),
        (&[], 2, "<CLIENT>"),
    ] {
        let told = folder.apikey("issue").args(args).ends(code);
        told.says(why);
        assert!(told.err.starts_with("error: "), "{told:?}");
        assert!(!told.err.contains('\x1b'), "{told:?}");
        assert!(!folder.file().exists(), "{args:?}");
    }
}

#[test]
fn a_time_that_no_record_can_hold_is_refused() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let before = folder.text();
    for args in [
        &["issue", "late", "--not-before", "2999-01-01T00:00:00Z"][..],
        &["issue", "late", "--expires", "2999-01-01T00:00:00Z"],
        &["rotate", &old.id, "--overlap", "1000y"],
    ] {
        let told = folder.apikey("").args(args).end();
        assert_eq!((told.code, folder.text()), (2, before.clone()), "{told:?}");
    }
}

#[test]
fn a_key_that_begins_later_than_a_record_can_hold_does_not_begin_by_being_rotated() {
    let later = r#","not_before":"2999-01-01T00:00:00Z""#;
    let folder = Folder::with(&[line("aaaaaaaa", "ci", OWN, later)]);
    let told = folder.apikey("check").stdin(OWN).end();
    assert_ne!(told.code, 0, "{told:?}");
    folder.apikey("rotate aaaaaaaa --overlap 7d").end();
    let told = folder.apikey("check").stdin(OWN).end();
    assert_ne!(told.code, 0, "{told:?}");
}

#[test]
fn the_file_is_the_option_then_the_variable_then_keys_jsonl_here() {
    let folder = Folder::new();
    folder.issue("here");
    folder.apikey("issue variable").env("API_KEYS_FILE", "variable.jsonl").ends(0);
    let option = folder.apikey("issue option --file option.jsonl");
    option.env("API_KEYS_FILE", "variable.jsonl").ends(0);
    let option = folder.apikey("--file option.jsonl issue before");
    option.env("API_KEYS_FILE", "variable.jsonl").ends(0);
    for (file, clients) in [
        ("keys.jsonl", &["here"][..]),
        ("variable.jsonl", &["variable"]),
        ("option.jsonl", &["before", "option"]),
    ] {
        let listed = folder.apikey("list --json --file").arg(folder.path().join(file)).ends(0);
        assert_eq!(clients_of(&listed), clients, "{file}");
        let listed = folder.apikey("list --json").env("API_KEYS_FILE", file).ends(0);
        assert_eq!(clients_of(&listed), clients, "{file}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_as_one_that_is_not_set() {
    let folder = Folder::new();
    folder.apikey("issue ci").env("API_KEYS_FILE", "").ends(0);
    assert_eq!(folder.records().len(), 1);
}

#[test]
fn comments_and_the_lines_of_other_keys_stay_byte_for_byte() {
    let written = line("aaaaaaaa", "by hand", OWN, r#", "note": "with blanks" "#);
    let text = format!("{{ \"v\" : 1 }}\r\n\n# a comment\n{written}  # another\n");
    let folder = Folder::new();
    folder.put(&text);
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let key = folder.issue("ci");
    let new = folder.text();
    assert!(new.starts_with(&text), "{new}");
    assert_eq!(new[text.len()..].lines().count(), 1);
    assert_eq!(folder.mode(), 0o640);
    folder.apikey("revoke --yes").arg(&key.id).ends(0);
    folder.apikey("prune --yes").ends(0);
    assert_eq!(folder.text(), text);
}

// ===== A key that nobody got =====

/// A pipe whose reader is gone.
fn broken_pipe() -> Stdio {
    // Through a process that ends without reading.
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    pipe.into()
}

/// Where nothing can be written: each fails in its own way.
fn failing_outputs() -> Vec<(&'static str, Stdio)> {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").map(Stdio::from);
    let full = full.ok().map(|full| ("No space left on device", full));
    [("Broken pipe", broken_pipe())].into_iter().chain(full).collect()
}

#[test]
fn a_key_that_cannot_be_printed_is_taken_back() {
    for json in ["", " --json"] {
        for (why, stdout) in failing_outputs() {
            let folder = Folder::new();
            folder.issue("before");
            let before = folder.text();
            let told = folder.apikey(&format!("issue ci{json}")).stdout(stdout).ends(1);
            let so = "the new key could not be written to standard output, so it was taken back";
            let start = match json {
                "" => format!("error: {so}: {why}"),
                _ => format!(r#"{{"kind":"output","message":"{so}: {why}"#),
            };
            assert!(told.err.starts_with(&start), "{told:?}");
            assert_eq!(told.err.lines().count(), 1, "{told:?}");
            assert_eq!(folder.text(), before);
        }
    }
    for (_, stdout) in failing_outputs() {
        let folder = Folder::new();
        folder.apikey("issue ci").stdout(stdout).ends(1);
        assert!(folder.records().is_empty());
    }
}

#[test]
fn a_rotation_that_cannot_be_printed_leaves_the_old_key_as_it_was() {
    for json in ["", " --json"] {
        for (why, stdout) in failing_outputs() {
            let folder = Folder::new();
            folder.issue("before");
            let old = folder.issue("ci --scope a --expires 90d --note n");
            folder.issue("behind");
            let (before, record) = (folder.text(), folder.record(&old.id));
            let words = format!("rotate {} --overlap 0{json}", old.id);
            let told = folder.apikey(&words).stdout(stdout).ends(1);
            let so = "the new key could not be written to standard output, so it was taken back";
            let start = match json {
                "" => format!("error: {so}: {why}"),
                _ => format!(r#"{{"kind":"output","message":"{so}: {why}"#),
            };
            assert!(told.err.starts_with(&start), "{told:?}");
            assert_eq!((folder.record(&old.id), folder.text()), (record, before));
            assert_eq!(folder.opens(&old.text), Ok("ci".to_owned()));
        }
    }
}

#[test]
fn a_rotation_that_cannot_be_printed_keeps_what_was_set_for_the_old_key_before() {
    let more = r#","expires":"2500-01-01T00:00:00Z","retires":"2400-01-01T00:00:00Z","scopes":["a"],"name":"N","note":"n""#;
    let folder = Folder::with(&[line("aaaaaaaa", "ci", OWN, more)]);
    let (before, record) = (folder.text(), folder.record("aaaaaaaa"));
    folder.apikey("rotate aaaaaaaa --overlap 1d").stdout(broken_pipe()).ends(1);
    assert_eq!((folder.record("aaaaaaaa"), folder.text()), (record, before));
}

#[test]
fn a_rotation_that_cannot_be_printed_brings_no_revoked_key_back() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    // A reader that does not read: the command waits with the key in hand.
    let (mut full, reader) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'.'; 4096]).is_ok() {}
    while full.write(b".").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let rotation = folder.apikey(&format!("rotate {} --overlap 7d", old.id));
    let rotation = rotation.stdout(OwnedFd::from(full)).start();
    let started = Instant::now();
    while folder.records().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not rotated");
        thread::sleep(Duration::from_millis(5));
    }
    folder.apikey(&format!("revoke {} --yes", old.id)).ends(0);
    assert_eq!(folder.opens(&old.text), Err("revoked"));
    drop(reader);
    rotation.ends(1);
    assert_eq!(folder.opens(&old.text), Err("revoked"));
}

#[test]
fn where_a_key_would_be_lost_none_is_made() {
    let folder = Folder::new();
    let lost = "error: standard output is closed or leads nowhere: the new key would be lost\n";
    for nowhere in [">&-", ">/dev/null"] {
        let told = folder.shell(&format!(r#""$0" issue ci {nowhere}"#)).ends(1);
        assert_eq!(told.err, lost, "{nowhere}");
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
    let old = folder.issue("ci");
    let before = folder.text();
    for nowhere in [">&-", ">/dev/null"] {
        let script = format!(r#""$0" rotate {} --overlap 7d {nowhere}"#, old.id);
        assert_eq!(folder.shell(&script).ends(1).err, lost, "{nowhere}");
        assert_eq!(folder.text(), before);
    }
    // Who needs no output may do without.
    for words in ["list", "prune", "completions bash"] {
        folder.shell(&format!(r#""$0" {words} >/dev/null"#)).ends(0);
    }
}

#[test]
fn a_key_for_an_output_that_was_opened_for_reading_is_not_issued() {
    let folder = Folder::new();
    folder.issue("before");
    let before = folder.text();
    folder.shell(r#""$0" issue ci 1<keys.jsonl"#).ends(1);
    assert_eq!(folder.text(), before);
}

#[test]
fn nobody_has_to_listen_to_standard_error() {
    let folder = Folder::new();
    let told = folder.shell(r#"exec "$0" "$@" 2>&-"#).arg("issue").arg("ci").ends(0);
    assert_eq!(told.out, format!("{}\n", told.key().text));
    folder.shell(r#"exec "$0" revoke nobody 2>&-"#).ends(1);
    folder.shell(r#"exec "$0" revoke --client ci --yes 2>/dev/full"#).ends(0);
    assert_eq!(folder.opens(&told.key().text), Err("revoked"));
}

// ===== Keys that are handed in =====

#[test]
fn no_key_is_an_argument() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    for words in ["check", "check --key", "import ci", "import ci --key", "import --bulk ci"] {
        let told = folder.apikey(words).arg("not-a-secret-here").ends(2);
        told.says("error: ");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn a_key_that_somebody_gives_as_an_argument_is_not_repeated() {
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
        folder.apikey(words).arg(&key.text).ends(2).says("error: ");
        assert_eq!(folder.text(), before);
    }
    folder.apikey("check").arg(format!("--key={}", key.text)).ends(2);
    folder.apikey("revoke").arg(&key.text).ends(1).says("no key has this id");
    folder.apikey("check --json").arg(&key.text).ends(2);
}

#[test]
fn a_key_that_stands_where_something_else_belongs_is_not_repeated() {
    let folder = Folder::new();
    let key = folder.issue("ci");
    for words in ["", "help", "completions", "rotate x --overlap", "issue ci --expires"] {
        folder.apikey(words).arg(&key.text).ends(2);
    }
    for flag in ["import --bulk", "prune --yes", "check --json"] {
        folder.apikey(&format!("{flag}={}", key.text)).ends(2);
    }
    folder.apikey("revoke --client").arg(&key.text).ends(1);
}

#[test]
fn a_passphrase_that_somebody_gives_as_an_argument_is_not_repeated() {
    let folder = Folder::new();
    folder.issue("ci");
    for words in ["check", "import ci"] {
        folder.keep_secret("correct-horse-battery-staple");
        folder.apikey(words).arg("correct-horse-battery-staple").ends(2).says("error: ");
    }
}

#[test]
fn what_is_not_repeated_leaves_the_advice_whole() {
    let folder = Folder::new();
    let told = folder.apikey("rotate x --overlap 90").ends(2);
    told.says("write it as 90d, 12h or");
    let told = folder.apikey("issue ci --expires 2027-01-31T").ends(2);
    told.says("2027-01-31T12:00:00Z");
}

#[test]
fn a_key_from_standard_input_may_end_in_a_line_break() {
    for end in ["", "\n", "\r\n"] {
        let folder = Folder::new();
        let told = folder.apikey("import ci").stdin(format!("{OWN}{end}")).ends(0);
        let [record] = &*folder.records() else { panic!("{}", folder.text()) };
        told.says(&format!("Imported as {}.\n", record.id().unwrap()));
        assert_eq!(folder.opens(OWN), Ok("ci".to_owned()), "{end:?}");
        folder.apikey("check").stdin(format!("{OWN}{end}")).ends(0);
    }
}

#[test]
fn standard_input_without_one_key_is_a_mistake_of_usage() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    let none = "error: no key on standard input: `printf %s \"$KEY\" | apikey …`\n";
    let several = "error: more than one line on standard input: one key is wanted\n";
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
            let told = folder.apikey(words).stdin(text).ends(2);
            assert_eq!((&*told.out, &*told.err), ("", why), "{words}: {text:?}");
        }
        assert_eq!(folder.shell(&format!(r#""$0" {words} <&-"#)).ends(2).err, none);
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn a_key_that_cannot_be_one_is_neither_imported_nor_repeated() {
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
        folder.apikey("import ci").stdin(key).ends(1).says(why);
        folder.apikey("check").stdin(key).ends(1).says(why);
        assert_eq!(folder.text(), before);
    }
    folder.apikey("check").stdin(&digest).ends(1).says("this is a digest and no key");
    // Not UTF-8.
    folder.apikey("import ci").stdin(b"Grandfathered\xFFKey").ends(1).says("at byte 14");
}

// ===== Listing =====

/// One key in each state, and not in order.
fn one_of_each() -> Folder {
    let later = "2500-01-01T00:00:00Z";
    let ago = "2021-01-01T00:00:00Z";
    let folder = Folder::with(&[
        line("gggggggg", "zeta", "Key-that-works", r#","scopes":["a","b:c"],"note":"a note""#),
        line("ffffffff", "ci", "Key-to-begin", &format!(r#","not_before":"{later}""#)),
        line("eeeeeeee", "ci", "Key-rotated-ended", &format!(r#","retires":"{ago}""#)),
        line("dddddddd", "ci", "Key-rotated", &format!(r#","retires":"{later}""#)),
        line("cccccccc", "ci", "Key-expired", &format!(r#","expires":"{ago}""#)),
        line(
            "bbbbbbbb",
            "ci",
            "Key-revoked",
            &format!(r#","revoked":"{ago}","expires":"{later}""#),
        ),
        line("aaaaaaaa", "ci", "Key-to-end", &format!(r#","expires":"{later}","name":"CI""#)),
    ]);
    for key in ["that-works", "to-begin", "rotated", "expired", "revoked", "to-end"] {
        folder.keep_secret(&format!("Key-{key}"));
    }
    folder
}

#[test]
fn a_list_for_scripts_is_tabs_and_exact_times() {
    let folder = one_of_each();
    let told = folder.apikey("list").ends(0);
    assert_eq!(told.err, "");
    assert_eq!(
        told.out,
        "ID\tCLIENT\tSTATE\tCREATED\tENDS\tSCOPES\tNOTE\n\
         aaaaaaaa\tci\tactive\t2020-01-01T00:00:00Z\t2500-01-01T00:00:00Z\t-\t-\n\
         bbbbbbbb\tci\trevoked\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\n\
         cccccccc\tci\texpired\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\n\
         dddddddd\tci\trotated\t2020-01-01T00:00:00Z\t2500-01-01T00:00:00Z\t-\t-\n\
         eeeeeeee\tci\texpired\t2020-01-01T00:00:00Z\t2021-01-01T00:00:00Z\t-\t-\n\
         ffffffff\tci\tnot yet\t2020-01-01T00:00:00Z\t-\t-\t-\n\
         gggggggg\tzeta\tactive\t2020-01-01T00:00:00Z\t-\ta b:c\ta note\n"
    );
}

#[test]
fn a_list_in_json_is_one_array() {
    let folder = one_of_each();
    let told = folder.apikey("--json list").ends(0);
    assert_eq!(told.err, "");
    let listed = told.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 7);
    assert_eq!(
        listed[0],
        json!({
            "id": "aaaaaaaa", "client": "ci", "name": "CI", "scopes": [], "state": "active",
            "created": "2020-01-01T00:00:00Z", "not_before": null,
            "expires": "2500-01-01T00:00:00Z", "rotated": null, "retires": null,
            "replaced_by": null, "revoked": null, "prefix": null, "note": null,
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

    folder.put(HEADER);
    let told = folder.apikey("list --json").ends(0);
    assert_eq!((&*told.out, &*told.err), ("[]\n", ""));
}

#[test]
fn a_list_is_by_client_and_the_oldest_first() {
    let folder = Folder::with(&[
        line("aaaaaaaa", "z", "Key-of-z", ""),
        line("bbbbbbbb", "a", "Key-younger", "").replace("2020", "2022"),
        line("cccccccc", "a", "Key-older", "").replace("2020", "2021"),
        line("dddddddd", "b", "Key-of-b", ""),
    ]);
    let told = folder.apikey("list").ends(0);
    let ids: Vec<_> = told.out.lines().skip(1).map(|line| &line[..1]).collect();
    assert_eq!(ids, ["c", "b", "d", "a"]);
}

#[test]
fn a_list_on_a_terminal_is_in_words_columns_and_colours() {
    let folder = one_of_each();
    let key = folder.issue("new --expires 90d");
    let shown = folder.apikey("list").on_a_terminal().ends(0);
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

    let plain = folder.apikey("list").env("TERM", "dumb").on_a_terminal().ends(0);
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
fn whoever_wants_no_colours_gets_none() {
    let folder = one_of_each();
    let list = || folder.apikey("list");
    for list in [
        list().env("NO_COLOR", "1"),
        list().env("NO_COLOR", "0"),
        list().env("TERM", "dumb"),
        list().without_env("TERM"),
        folder.apikey("list --json"),
    ] {
        let shown = list.on_a_terminal().ends(0);
        assert!(!shown.contains('\x1b'), "{shown}");
        assert!(shown.contains("revoked"), "{shown}");
    }
    // https://no-color.org: when not an empty string.
    let shown = list().env("NO_COLOR", "").on_a_terminal().ends(0);
    assert!(shown.contains("\x1b[31mrevoked"), "{shown}");
    let shown = folder.apikey("check").env("TERM", "dumb").on_a_terminal();
    let shown = shown.shows("Key (it is not shown): ").types_secretly("Key-revoked\n").ends(1);
    assert!(!shown.contains('\x1b'), "{shown}");
}

#[test]
fn nothing_that_was_noted_takes_hold_of_a_terminal() {
    let folder = Folder::new();
    let note =
        "bell\x07 red\x1b[31m title\x1b]0;x\x07 csi\u{9b}2J\nnew line\ttab\rback \u{202e}right";
    folder.apikey("issue ci --note").arg(note).ends(0);
    let escaped = r"bell\u{7} red\u{1b}[31m title\u{1b}]0;x\u{7} csi\u{9b}2J\nnew line\ttab\rback \u{202e}right";

    let piped = folder.apikey("list").ends(0);
    let row = piped.out.lines().nth(1).unwrap();
    assert_eq!(row.split('\t').nth(6), Some(escaped), "{piped:?}");
    assert_eq!(piped.out.lines().count(), 2);
    let shown = folder.apikey("list").env("NO_COLOR", "1").on_a_terminal().ends(0);
    assert!(shown.contains(escaped), "{shown}");
    assert!(!shown.contains(|char: char| char.is_control() && char != '\n'), "{shown}");
    assert_eq!(shown.lines().count(), 2);

    // In JSON it is all there, escaped as JSON does it.
    let listed = folder.apikey("list --json").ends(0);
    let raw = |char: char| char != '\n' && char.is_control() || char == '\u{202e}';
    assert!(!listed.out.contains(raw), "{listed:?}");
    assert_eq!(listed.json()[0]["note"], note);
}

/// Clients that look alike, and as the list shows them.
const LOOK_ALIKE: [(&str, &str); 8] = [
    ("admin", "admin"),
    ("admin\u{200b}", r"admin\u{200b}"),
    ("admin\u{a0}", r"admin\u{a0}"),
    ("\u{feff}admin", r"\u{feff}admin"),
    ("admin\u{e0061}", r"admin\u{e0061}"),
    ("admin\u{3164}", r"admin\u{3164}"),
    ("admin\u{fe0f}", r"admin\u{fe0f}"),
    (r"admin\\u{200b}", r"admin\\u{200b}"),
];

#[test]
fn clients_that_look_alike_are_listed_so_that_they_do_not() {
    let lines = (1..).zip(LOOK_ALIKE).map(|(number, (client, _))| {
        line(&format!("Alike00{number}"), client, &format!("Key-of-{number}"), "")
    });
    let folder = Folder::with(&lines.collect::<Vec<_>>());
    let piped = folder.apikey("list").ends(0);
    let shown = folder.apikey("list").on_a_terminal().ends(0);
    let json = folder.apikey("list --json").ends(0);
    for (client, escaped) in LOOK_ALIKE {
        let is_listed = |line: &str| line.split('\t').nth(1) == Some(escaped);
        assert!(piped.out.lines().any(is_listed), "{escaped} is not in {piped:?}");
        assert!(shown.contains(&format!("{escaped} ")), "{escaped} is not in {shown}");
        let client = client.replace("\\\\", "\\");
        let clients = json.json();
        assert!(clients.as_array().unwrap().iter().any(|it| it["client"] == client), "{json:?}");
    }
    for out in [&piped.out, &shown, &json.out] {
        assert!(!out.contains(|char: char| !char.is_ascii()), "{out}");
    }
}

#[test]
fn a_client_that_looks_like_another_gets_no_new_key_and_its_old_key_can_be_rotated() {
    let folder = Folder::with(&[line("Odd00001", "admin\u{200b}", OWN, "")]);
    let before = folder.text();
    let why =
        "the client's id begins or ends with a blank, or holds a character that cannot be seen";
    folder.apikey("issue").arg("admin\u{200b}").ends(1).says(why);
    folder.apikey("issue").arg(" admin").ends(1).says(why);
    folder.apikey("import").arg("admin\u{a0}").stdin(OTHER).ends(1).says(why);
    folder.apikey("import --bulk").stdin(format!("admin \t{OTHER}\n")).ends(1).says(why);
    let told = folder.apikey("issue").arg("a".repeat(129)).ends(1);
    told.says("the client's id has more than 128 characters");
    let told = folder.apikey("issue ci --name").arg("CI\u{200b}").ends(1);
    told.says("the client's name begins or ends with a blank");
    assert_eq!(folder.text(), before);

    for (_, stdout) in failing_outputs() {
        let told = folder.apikey("rotate Odd00001 --overlap 1d").stdout(stdout).ends(1);
        told.says("so it was taken back");
        assert_eq!(folder.text(), before);
    }
    let new = folder.apikey("rotate Odd00001 --overlap 1d").ends(0).key();
    for key in [OWN, &new.text] {
        assert_eq!(folder.opens(key), Ok("admin\u{200b}".to_owned()));
    }
}

#[test]
fn an_obvious_mistake_is_not_imported() {
    let folder = Folder::new();
    folder.issue("ci");
    let before = folder.text();
    for (key, why) in [
        ("Bearer Grandfathered", "the key begins with a scheme"),
        ("'Grandfathered-Key'", "only a shell takes quotes away"),
        ("${MOBILE_APP_KEY}", "this is a placeholder and no key"),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  -", "this is a digest"),
    ] {
        folder.apikey("import mobile-app").stdin(key).ends(1).says(why);
        let told = folder.apikey("import --bulk").stdin(format!("a\t{OTHER}\nb\t{key}\n"));
        told.ends(1).says(&format!("line 2: {why}"));
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn no_client_takes_hold_of_a_terminal() {
    let folder = Folder::new();
    // Only a file that was written by hand, or by an older version, has such a client.
    folder.put(&(HEADER.to_owned() + &line("Odd00001", "c\u{202e}i\u{2066}", OWN, "")));
    let escaped = r"c\u{202e}i\u{2066}";
    assert!(folder.apikey("list").ends(0).out.contains(escaped));
    let checked = folder.apikey("check").stdin(OWN).ends(0);
    assert_eq!(checked.out, format!("It works: key Odd00001 of {escaped}.\n"));
    let told = folder.apikey("revoke --yes Odd00001").ends(0);
    assert!(told.err.contains(escaped) && !told.err.contains('\u{202e}'), "{told:?}");
    let told = folder.apikey("revoke --client").arg("x\x1b[31m\u{202e}").ends(1);
    told.says("this client has no key");
    let told = folder.apikey("list --file").arg("x\x1b[31m\n").ends(3);
    told.says(r"x\u{1b}[31m\n: ");
}

#[test]
fn a_list_whose_reader_has_read_enough_ends_quietly() {
    let lines: Vec<_> = (0..3000)
        .map(|number| line(&format!("{number:08}"), "ci", &format!("Key-{number}"), ""))
        .collect();
    let folder = Folder::with(&lines);
    for words in ["list", "list --json", "completions bash", "--help"] {
        let told = folder.apikey(words).stdout(broken_pipe()).ends(0);
        assert_eq!(told.err, "", "{words}");
    }
    let told = folder.shell(r#"{ "$0" list; echo "$?" >&2; } | head -1"#).ends(0);
    assert_eq!(told.out, "ID\tCLIENT\tSTATE\tCREATED\tENDS\tSCOPES\tNOTE\n");
    assert_eq!(told.err, "0\n");
}

#[test]
fn a_list_that_cannot_be_written_is_a_failure() {
    let folder = one_of_each();
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return println!("skipped: there is no /dev/full");
    };
    let told = folder.apikey("list").stdout(full).ends(1);
    assert!(told.err.starts_with("error: No space left on device"), "{told:?}");
}

#[test]
fn a_file_without_keys_says_what_to_do() {
    let folder = Folder::with(&[]);
    let told = folder.apikey("list").ends(0);
    assert_eq!(told.err, "No keys: `apikey issue CLIENT` makes one.\n");
    assert_eq!(told.out.lines().count(), 1);
}

#[test]
fn a_file_that_is_not_there_is_made_by_issue_and_import_alone() {
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
        let told = folder.apikey(words).stdin(OWN).ends(3);
        let file = folder.file();
        let hint = "there is no such file: `apikey issue` makes one";
        told.says(&format!("{}: {hint}", file.display()));
        assert!(folder.names().is_empty(), "{words}: {:?}", folder.names());
    }
    folder.apikey("import ci").stdin(OWN).ends(0);
    assert_eq!(folder.opens(OWN), Ok("ci".to_owned()));

    let told = folder.apikey("issue ci --file nowhere/keys.jsonl").ends(3);
    told.says("/nowhere/keys.jsonl: its folder is not there");
    assert!(!folder.path().join("nowhere").exists());
}

// ===== Rotating =====

#[test]
fn after_a_rotation_both_keys_work_for_as_long_as_was_said() {
    let folder = Folder::new();
    let words = "ci --prefix sk_live --scope a --scope b --name CI --note deploys --expires 30d";
    let old = folder.issue(words);
    let told = folder.apikey(&format!("rotate {} --overlap 7d", old.id)).ends(0);
    let new = told.key();
    assert_eq!(told.out, format!("{}\n", new.text));
    assert!(new.text.starts_with("sk_live_"));
    for key in [&old, &new] {
        assert_eq!(folder.opens(&key.text), Ok("ci".to_owned()));
    }
    let listed = folder.apikey("list --json").ends(0).json();
    let find = |id: &str| listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap();
    let retires = find(&old.id)["retires"].as_str().unwrap();
    let (id, old_id) = (&new.id, &old.id);
    let works = format!("Issued {id} in the place of {old_id}, which works until {retires}.\n");
    assert_eq!(told.err, works);
    let (old, new) = (folder.record(&old.id), folder.record(&new.id));
    let left = old.retires().unwrap().duration_since(SystemTime::now()).unwrap();
    assert_eq!(left.as_secs().div_ceil(3600), 7 * 24);
    assert_eq!((new.client(), new.noted()), (old.client(), old.noted()));
    assert_eq!((new.key_format(), new.retires()), (old.key_format(), None));
    let life = |record: &tower_api_key::verify::Record| {
        record.expires().unwrap().duration_since(record.created().unwrap()).unwrap()
    };
    assert!(life(&new) == life(&old), "{:?} {:?}", life(&new), life(&old));
    assert_eq!(find(id)["state"], "active");
    assert_eq!(find(old_id)["state"], "rotated");
}

#[test]
fn a_rotation_ends_the_old_key_no_later_than_it_would_have_ended() {
    let folder = Folder::new();
    let old = folder.issue("ci --expires 2d");
    let told = folder.apikey(&format!("rotate {} --overlap 7d", old.id)).ends(0);
    let expires = &folder.apikey("list --json").ends(0).json();
    let expires = expires.as_array().unwrap().iter().find(|key| key["id"] == *old.id).unwrap();
    let expires = expires["expires"].as_str().unwrap();
    assert!(told.err.ends_with(&format!("which works until {expires}.\n")), "{told:?}");
}

#[test]
fn without_an_overlap_the_old_key_ends_at_once() {
    for zero in ["0", "0s", "0d"] {
        let folder = Folder::new();
        let old = folder.issue("ci");
        let told = folder.apikey(&format!("rotate {} --overlap {zero}", old.id)).ends(0);
        let new = told.key();
        assert_eq!(
            told.err,
            format!("Issued {} in the place of {}, which has ended.\n", new.id, old.id)
        );
        assert_eq!(folder.opens(&old.text), Err("expired"));
        assert_eq!(folder.opens(&new.text), Ok("ci".to_owned()));
    }
}

/// The state of a key, as the list shows it to scripts.
fn state(folder: &Folder, id: &str) -> String {
    let listed = folder.apikey("list").ends(0).out;
    let row = listed.lines().find(|row| row.starts_with(id)).unwrap();
    row.split('\t').nth(2).unwrap().to_owned()
}

#[test]
fn a_key_that_was_rotated_without_an_overlap_is_rotated_and_not_expired() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let told = folder.apikey(&format!("rotate {} --overlap 0 --json", old.id)).ends(0);
    let new = told.key();
    assert_eq!(told.json()["replaces"]["state"], "rotated");
    assert_eq!(
        (state(&folder, &old.id), state(&folder, &new.id)),
        ("rotated".into(), "active".into())
    );
    let told = folder.apikey("check --json").stdin(&old.text).ends(1);
    let shown = told.json();
    assert_eq!((&shown["works"], &shown["state"]), (&json!(false), &json!("rotated")));
    assert_eq!((&shown["replaced_by"], &shown["rotated"]), (&json!(new.id), &shown["retires"]));
    let told = folder.apikey("check").stdin(&old.text).ends(1);
    told.says(&format!("error: key {} of ci was rotated, and ended ", old.id));
    assert!(told.err.ends_with(&format!(": its successor is {}\n", new.id)), "{told:?}");

    // It is pruned nevertheless.
    let told = folder.apikey("prune --yes").ends(0);
    told.says(&format!("  {}  ci  rotated\nPruned 1 key.\n", old.id));

    // A key that ended before it would have retired has expired.
    let more = r#","expires":"2021-01-01T00:00:00Z","rotated":"2020-12-31T00:00:00Z","retires":"2021-06-01T00:00:00Z","replaced_by":"bbbbbbbb""#;
    folder.put(&format!("{{\"v\":2}}\n{}", line("aaaaaaaa", "ci", OWN, more)));
    assert_eq!(state(&folder, "aaaaaaaa"), "expired");
}

#[test]
fn a_second_rotation_warns_and_names_the_successor() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let words = format!("rotate {} --overlap 7d", old.id);
    let told = folder.apikey(&words).ends(0);
    assert!(!told.err.contains("warning"), "{told:?}");
    let first = told.key();
    let told = folder.apikey(&words).ends(0);
    let second = told.key();
    let warning = format!(
        "warning: key {} was rotated before, and its successor was {}: if nobody uses that key, \
         revoke it with `apikey revoke {}`\n",
        old.id, first.id, first.id
    );
    assert!(told.err.starts_with(&warning), "{told:?}");
    assert_eq!(folder.record(&old.id).replaced_by(), Some(&*second.id));
    for key in [&old, &first, &second] {
        assert_eq!(folder.opens(&key.text), Ok("ci".to_owned()));
    }
    let told = folder.apikey(&words).arg("--json").ends(0);
    let warning: Value = serde_json::from_str(&told.err).unwrap();
    assert!(warning["warning"].as_str().unwrap().contains(&second.id), "{told:?}");
    // The successor is another key, which was never rotated.
    let told = folder.apikey(&format!("rotate {} --overlap 7d", second.id)).ends(0);
    assert!(!told.err.contains("warning"), "{told:?}");
    let told = folder.apikey("check").stdin(&old.text).ends(0);
    let next = folder.record(&old.id).replaced_by().unwrap().to_owned();
    assert!(told.out.ends_with(&format!("Z). Its successor is {next}.\n")), "{told:?}");

    // A key that has ended is not rotated, and the error names the successor too.
    folder.apikey(&format!("rotate {} --overlap 0", second.id)).ends(0);
    let next = folder.record(&second.id).replaced_by().unwrap().to_owned();
    let before = folder.text();
    let told = folder.apikey(&format!("rotate {} --overlap 7d", second.id)).ends(1);
    told.says(&format!("error: the key was rotated, and has ended: rotate its successor {next}\n"));
    assert_eq!(folder.text(), before);
    let told = folder.apikey(&format!("rotate {} --overlap 7d --json", second.id)).ends(1);
    assert_eq!(error_of(&told)["kind"], "dead_key");
}

#[test]
fn a_rotation_that_cannot_be_printed_keeps_the_first_successor() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    folder.apikey(&format!("rotate {} --overlap 7d", old.id)).ends(0);
    let before = folder.text();
    for prefix in ["", " --prefix pk"] {
        let words = format!("rotate {} --overlap 1d{prefix}", old.id);
        let told = folder.apikey(&words).stdout(broken_pipe()).ends(1);
        // A warning about a rotation that did not happen would mislead.
        assert_eq!(told.err.lines().count(), 1, "{told:?}");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn rotate_in_json_is_the_new_key() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let told = folder.apikey(&format!("rotate {} --overlap 1h --json", old.id)).ends(0);
    let (shown, new) = (told.json(), told.key());
    assert_eq!((&shown["key"], &shown["id"]), (&json!(new.text), &json!(new.id)));
    assert_eq!((&shown["client"], &shown["state"]), (&json!("ci"), &json!("active")));
}

#[test]
fn rotate_in_json_names_the_replaced_key_and_its_end() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let told = folder.apikey(&format!("rotate {} --overlap 1h --json", old.id)).ends(0);
    let retires = folder.apikey("check --json").stdin(&old.text).ends(0).json()["retires"].clone();
    let shown = told.json();
    let replaced = json!({ "id": old.id, "state": "rotated", "ends": retires });
    assert_eq!((&shown["replaces"], &*told.err), (&replaced, ""));
    assert_eq!(shown["file"], folder.file().to_str().unwrap());

    // A key that would have ended sooner ends then.
    let old = folder.issue("ci --expires 2d");
    let told = folder.apikey(&format!("rotate {} --overlap 7d --json", old.id)).ends(0);
    let (_, expires) = life(&folder, &old.id);
    assert_eq!(told.json()["replaces"]["ends"], expires);
}

#[test]
fn rotate_gives_the_new_key_another_prefix() {
    let folder = Folder::new();
    let old = folder.issue("ci --prefix sk_test --note n --scope a --expires 90d");
    let before = folder.record(&old.id);
    let told = folder.apikey(&format!("rotate {} --overlap 7d --prefix sk_live", old.id)).ends(0);
    let new = told.key();
    assert!(new.text.starts_with("sk_live_"), "{new:?}");
    for key in [&old, &new] {
        assert_eq!(folder.opens(&key.text), Ok("ci".to_owned()));
    }
    let (was, is) = (folder.record(&old.id), folder.record(&new.id));
    assert_eq!((was.key_format(), was.expires()), (before.key_format(), before.expires()));
    assert_eq!((was.created(), was.noted()), (before.created(), Some("n")));
    assert!(was.retires().is_some() && was.rotated().is_some());
    assert_eq!(was.replaced_by(), Some(&*new.id));
    assert_eq!((is.noted(), is.client()), (Some("n"), before.client()));
    // The next one keeps it.
    let next = folder.apikey(&format!("rotate {} --overlap 7d", new.id)).ends(0).key();
    assert!(next.text.starts_with("sk_live_"));

    // A key that was not minted has no prefix, and gets none.
    folder.apikey("import own").stdin(OWN).ends(0);
    let id = folder.apikey("check --json").stdin(OWN).ends(0).json()["id"].clone();
    let words = format!("rotate {} --overlap 7d --prefix pk", id.as_str().unwrap());
    assert!(folder.apikey(&words).ends(0).key().text.starts_with("pk_"));
    let old = folder.apikey("check --json").stdin(OWN).ends(0).json();
    assert_eq!((&old["prefix"], &old["state"]), (&Value::Null, &json!("rotated")));

    let before = folder.text();
    let told = folder.apikey(&format!("rotate {} --overlap 7d --prefix -", new.id)).end();
    assert_eq!((told.code, folder.text()), (1, before.clone()), "{told:?}");
    let words = format!("rotate {} --overlap 0 --prefix pk", new.id);
    folder.apikey(&words).stdout(broken_pipe()).ends(1);
    assert_eq!(folder.text(), before);
}

#[test]
fn what_cannot_be_rotated_is_refused_and_changes_nothing() {
    let folder = one_of_each();
    let before = folder.text();
    let unknown = "error: no key has this id: `apikey list` shows those that there are\n";
    let dead = "error: the key is revoked or its time is over: issue a new one\n";
    for (words, code, why) in [
        ("rotate 00000000 --overlap 7d", 1, unknown),
        ("rotate nonsense-id --overlap 7d", 1, unknown),
        ("rotate ci --overlap 7d", 1, unknown),
        ("rotate bbbbbbbb --overlap 7d", 1, dead),
        ("rotate cccccccc --overlap 7d", 1, dead),
        ("rotate eeeeeeee --overlap 7d", 1, dead),
        ("rotate aaaaaaaa", 2, "--overlap <DURATION>"),
        ("rotate --overlap 7d", 2, "<KEY_ID>"),
        ("rotate aaaaaaaa --overlap", 2, "a value is required"),
        ("rotate aaaaaaaa --overlap week", 2, "write it as 90d, 12h or '1h 30m'"),
        ("rotate aaaaaaaa --overlap 7", 2, "write it as 90d, 12h or '1h 30m'"),
        ("rotate aaaaaaaa --overlap -1d", 2, ""),
    ] {
        let told = folder.apikey(words).ends(code);
        told.says(why);
        assert_eq!(folder.text(), before, "{words}");
    }
}

// ===== Revoking =====

#[test]
fn off_a_terminal_nothing_is_revoked_without_yes() {
    let folder = Folder::new();
    let [one, two, other] = ["ci", "ci", "other"].map(|client| folder.issue(client));
    let before = folder.text();
    let nobody = "error: nobody is here to be asked: add --yes to do it\n";
    for (words, ids) in [
        (format!("revoke {}", one.id), &[&one][..]),
        ("revoke --client ci".to_owned(), &[&one, &two]),
    ] {
        for answer in ["", "y\n"] {
            let told = folder.apikey(&words).stdin(answer).ends(2);
            assert_eq!((&*told.out, folder.text()), ("", before.clone()));
            assert!(told.err.starts_with("To be revoked, for good:\n"), "{told:?}");
            assert!(told.err.ends_with(nobody), "{told:?}");
            for id in ids {
                assert!(told.err.contains(&format!("  {}  ci  active\n", id.id)), "{told:?}");
            }
            assert_eq!(told.err.lines().count(), 2 + ids.len(), "{told:?}");
            assert!(!told.err.contains(&other.id));
        }
    }
}

#[test]
fn with_yes_a_key_or_all_of_a_clients_are_revoked() {
    let folder = Folder::new();
    let keys = ["ci", "ci", "ci", "other"].map(|client| folder.issue(client));
    let told = folder.apikey("revoke --yes").arg(&keys[0].id).ends(0);
    assert!(told.err.ends_with("Revoked 1 key.\n"), "{told:?}");
    let works = || keys.clone().map(|key| folder.opens(&key.text).is_ok());
    assert_eq!(works(), [false, true, true, true]);
    assert_eq!(folder.opens(&keys[0].text), Err("revoked"));
    assert!(folder.record(&keys[0].id).revoked().is_some());

    let told = folder.apikey("revoke --client ci -y").ends(0);
    assert!(told.err.ends_with("Revoked 2 keys.\n"), "{told:?}");
    assert!(!told.err.contains(&keys[0].id), "{told:?}");
    assert_eq!(works(), [false, false, false, true]);

    let told = folder.apikey("revoke --client other --yes --json").ends(0);
    assert_eq!(told.json(), json!({ "revoked": 1 }));
    assert_eq!(works(), [false; 4]);
    assert_eq!(folder.records().len(), 4);
}

#[test]
fn revoking_twice_is_no_mistake_and_keeps_the_first_time() {
    let folder = one_of_each();
    let before = folder.text();
    let told = folder.apikey("revoke bbbbbbbb").ends(0);
    told.says("Revoked already.\n");
    let told = folder.apikey("revoke bbbbbbbb --json --yes").ends(0);
    assert_eq!(told.json(), json!({ "revoked": 0 }));
    assert_eq!(folder.text(), before);
    folder.apikey("revoke --client ci --yes").ends(0);
    let once = folder.text();
    folder.apikey("revoke --client ci --yes").ends(0).says("Revoked already.\n");
    assert_eq!(folder.text(), once);
    assert_eq!(folder.record("bbbbbbbb").revoked().map(years), Some(51));
}

#[test]
fn what_cannot_be_revoked_is_refused_and_changes_nothing() {
    let folder = one_of_each();
    let before = folder.text();
    for (words, code, why) in [
        ("revoke 00000000", 1, "no key has this id: `apikey list` shows those that there are"),
        ("revoke ci", 1, "no key has this id"),
        ("revoke --client nobody", 1, "this client has no key: `apikey list` shows whose"),
        ("revoke --client CI", 1, "this client has no key"),
        ("revoke --client aaaaaaaa", 1, "this client has no key"),
        ("revoke aaaaaaaa --client ci", 2, "cannot be used with"),
        ("revoke aaaaaaaa bbbbbbbb", 2, "unexpected argument"),
        ("revoke", 2, "<KEY_ID|--client <ID>>"),
        ("revoke --client", 2, "a value is required"),
    ] {
        for yes in ["", " --yes"] {
            folder.apikey(&format!("{words}{yes}")).ends(code).says(why);
            assert_eq!(folder.text(), before, "{words}");
        }
    }
    folder.apikey("revoke --yes --client").arg("").ends(1).says("has no key");
}

#[test]
fn on_a_terminal_a_yes_revokes_and_all_else_does_not() {
    for (answer, is_yes) in [
        ("y\n", true),
        ("Y\n", true),
        (" yes \n", true),
        ("\n", false),
        ("n\n", false),
        ("no\n", false),
        ("yeah\n", false),
        ("\x04", false),
    ] {
        let folder = Folder::new();
        let keys = ["ci", "ci", "other"].map(|client| folder.issue(client));
        let before = folder.text();
        let terminal = folder.apikey("revoke --client ci").on_a_terminal();
        let terminal = terminal.shows("Revoke 2 keys? [y/N] ");
        assert_eq!(folder.text(), before);
        let shown = terminal.types(answer).ends(i32::from(!is_yes));
        assert!(shown.contains(&format!("  {}  ci  active\n", keys[0].id)), "{shown}");
        let works = keys.map(|key| folder.opens(&key.text).is_ok());
        assert_eq!(works, [!is_yes, !is_yes, true], "{answer:?}");
        let last = if is_yes { "Revoked 2 keys.\n" } else { "error: nothing was changed\n" };
        assert!(shown.ends_with(last), "{shown}");
        assert_eq!(is_yes, folder.text() != before);
    }
}

#[test]
fn an_interrupt_at_the_question_leaves_the_file_byte_for_byte() {
    for (words, question) in [
        ("revoke aaaaaaaa", "Revoke 1 key? [y/N] "),
        ("revoke --client ci", "Revoke 5 keys? [y/N] "),
        ("prune", "Forget 3 keys? [y/N] "),
    ] {
        let folder = one_of_each();
        let before = folder.text();
        let terminal = folder.apikey(words).on_a_terminal().shows(question);
        let (ended, shown) = terminal.interrupt().end();
        assert!(matches!(ended, Ended::Signal(2 | 15) | Ended::Code(130)), "{ended:?}: {shown}");
        assert_eq!((folder.text(), folder.names()), (before, vec!["keys.jsonl".to_owned()]));
    }
}

#[test]
fn with_yes_nobody_is_asked_on_a_terminal_either() {
    let folder = one_of_each();
    let shown = folder.apikey("revoke --client zeta --yes").on_a_terminal().ends(0);
    assert_eq!(shown, "To be revoked, for good:\n  gggggggg  zeta  active\nRevoked 1 key.\n");
    let shown = folder.apikey("prune -y").on_a_terminal().ends(0);
    assert!(shown.ends_with("Pruned 4 keys.\n") && !shown.contains('?'), "{shown}");
}

// ===== Pruning =====

#[test]
fn prune_forgets_what_will_never_work_again_and_nothing_else() {
    let folder = one_of_each();
    let before = folder.text();
    let told = folder.apikey("prune").stdin("y\n").ends(2);
    assert!(told.err.starts_with("To be forgotten:\n"), "{told:?}");
    assert!(told.err.ends_with("add --yes to do it\n"), "{told:?}");
    assert_eq!(folder.text(), before);

    let told = folder.apikey("prune --yes").ends(0);
    assert_eq!(
        told.err,
        "To be forgotten:\n  bbbbbbbb  ci  revoked\n  cccccccc  ci  expired\n  eeeeeeee  ci  expired\n\
         Pruned 3 keys.\n"
    );
    let is_left = |line: &&str| !["bbbb", "cccc", "eeee"].iter().any(|id| line.contains(id));
    let left: String = before.split_inclusive('\n').filter(is_left).collect();
    assert_eq!(folder.text(), left);

    let told = folder.apikey("prune").ends(0);
    told.says("Pruned 0 keys.\n");
    assert_eq!(folder.apikey("prune --json").ends(0).json(), json!({ "pruned": 0 }));
    assert_eq!(folder.text(), left);
}

#[test]
fn on_a_terminal_prune_asks() {
    for (answer, code) in [("y\n", 0), ("\n", 1), ("\x04", 1)] {
        let folder = one_of_each();
        let before = folder.text();
        let terminal = folder.apikey("prune").on_a_terminal().shows("Forget 3 keys? [y/N] ");
        terminal.types(answer).ends(code);
        assert_eq!(folder.records().len(), if code == 0 { 4 } else { 7 });
        assert_eq!(folder.text() == before, code != 0);
    }
    let folder = one_of_each();
    let told = folder.apikey("prune --yes --json").ends(0);
    assert_eq!(told.json(), json!({ "pruned": 3 }));
}

// ===== Checking =====

#[test]
fn check_says_why_a_key_does_not_work() {
    let folder = one_of_each();
    let minted = folder.issue("ci --prefix sk_live");
    let before = folder.text();
    let unknown = "error: it opens nothing: no key in the file is this one\n".to_owned();
    let checksum = "error: it opens nothing: the key's checksum is wrong: it is mistyped, or not all of it is there\n";
    let edge = |at| {
        format!("error: it opens nothing: the key begins or ends with white space (at byte {at})\n")
    };
    for (key, reason, said) in [
        ("Key-revoked", "revoked", "error: key bbbbbbbb of ci was revoked %".to_owned()),
        ("Key-expired", "expired", "error: key cccccccc of ci ended %".to_owned()),
        (
            "Key-rotated-ended",
            "expired",
            "error: key eeeeeeee of ci was rotated, and ended %".to_owned(),
        ),
        ("Key-to-begin", "not_yet_valid", "error: key ffffffff of ci begins %".to_owned()),
        ("Key-that-works.", "unknown", unknown.clone()),
        ("key-that-works", "unknown", unknown.clone()),
        ("Key-that", "unknown", unknown.clone()),
        (&*mistyped(&minted), "unknown", checksum.to_owned()),
        (&*minted.text.replace("sk_live", "sk_test"), "unknown", unknown.clone()),
        (&minted.text[..minted.text.len() - 1], "unknown", unknown),
        ("Key-that-works ", "unknown", edge(15)),
        ("\tKey-that-works", "unknown", edge(1)),
    ] {
        let told = folder.apikey("check").stdin(key).ends(1);
        assert_eq!(told.out, "", "{key}");
        match said.split_once('%') {
            None => assert_eq!(told.err, said, "{key}"),
            Some((start, _)) => {
                assert!(told.err.starts_with(start), "{key}: {told:?}");
                let time = if reason == "not_yet_valid" { "2500" } else { "2021" };
                let end = format!(" ({time}-01-01T00:00:00Z)\n");
                assert!(told.err.ends_with(&end), "{key}: {told:?}");
                let words = if time == "2500" { "in 4" } else { " ago (" };
                assert!(told.err.contains(words), "{key}: {told:?}");
            }
        }
        let told = folder.apikey("check --json").stdin(key).ends(1);
        let shown = told.json();
        assert_eq!((&shown["works"], &shown["reason"]), (&json!(false), &json!(reason)), "{key}");
        assert_eq!(folder.text(), before);
    }
}

#[test]
fn check_says_whose_key_works_and_until_when() {
    let folder = one_of_each();
    for (key, said) in [
        ("Key-that-works", "It works: key gggggggg of zeta.\n"),
        ("Key-to-end", "It works: key aaaaaaaa of ci, and ends in % (2500-01-01T00:00:00Z).\n"),
        ("Key-rotated", "It works: key dddddddd of ci, and ends in % (2500-01-01T00:00:00Z).\n"),
    ] {
        let told = folder.apikey("check").stdin(key).ends(0);
        assert_eq!(told.err, "");
        let (start, end) = said.split_once('%').unwrap_or((said, ""));
        assert!(told.out.starts_with(start) && told.out.ends_with(end), "{told:?}");
        assert_eq!(told.out.contains("years"), !end.is_empty(), "{told:?}");
    }
    let told = folder.apikey("check --json").stdin("Key-rotated").ends(0);
    let shown = told.json();
    assert_eq!((&shown["works"], &shown["reason"]), (&json!(true), &Value::Null));
    assert_eq!((&shown["id"], &shown["state"]), (&json!("dddddddd"), &json!("rotated")));
    assert_eq!(shown["retires"], "2500-01-01T00:00:00Z");
    let told = folder.apikey("check --json").stdin("Nobody's key").ends(1);
    let detail = "no key in the file is this one";
    assert_eq!(told.json(), json!({ "works": false, "reason": "unknown", "detail": detail }));
    assert_eq!(folder.names(), ["keys.jsonl"]);
}

#[test]
fn check_recognises_what_was_pasted_around_a_key() {
    let folder = one_of_each();
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
        let nothing = format!("the key has {named}");
        for (key, standing) in [
            ("Key-that-works", "Without that it works: key gggggggg of zeta"),
            ("Key-revoked", "Without that, key bbbbbbbb of ci was revoked "),
            ("Key-to-begin", "Without that, key ffffffff of ci begins in "),
            ("Key-of-nobody", "Without that, no key in the file is this one"),
            (&*mistyped(&minted), "Without that, the key's checksum is wrong"),
        ] {
            let text = format!("{before}{key}{after}");
            let told = folder.apikey("check").stdin(&text).ends(1);
            told.says(&format!("error: it opens nothing as it stands: {nothing}. {standing}"));
            let told = folder.apikey("check --json").stdin(&text).ends(1);
            let shown = told.json();
            assert_eq!((&shown["works"], &shown["reason"]), (&json!(false), &json!("unknown")));
            let detail = shown["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("{nothing}. {standing}")), "{shown}");
        }
    }
    // A word is no part of another word.
    let told = folder.apikey("check").stdin("BearerOfAKey").ends(1);
    told.says("error: it opens nothing: no key in the file is this one\n");
    // A key that has them is a key.
    folder.apikey("import quoted").stdin("\"Key-in-quotes-of-its-own\"").end();
    let told = folder.apikey("check").stdin("\"Key-in-quotes-of-its-own\"").end();
    let is_imported = told.out.starts_with("It works: ");
    assert!(is_imported || told.err.contains("quotes around it"), "{told:?}");
    for alone in ["\"", "\"\"", "Bearer", "Bearer ", "Bearer \"\"", "'\""] {
        folder.apikey("check").stdin(alone).ends(1);
    }
}

// ===== The prompt that shows nothing =====

const PROMPT: &str = "Key (it is not shown): ";

#[test]
fn a_key_that_is_typed_is_not_shown() {
    let folder = one_of_each();
    let works = format!("{PROMPT}\nIt works: key gggggggg of zeta.\n");
    for typed in [
        "Key-that-works\n",
        "Key-that-works\r",
        // Backspace, of both kinds; Ctrl-U; Ctrl-D behind the key.
        "Key-that-wy\x7forkz\x08s\r",
        "\x7f\x08Key-that-works\r",
        "nonsense\x15Key-that-works\n",
        "Key-that-works\x04",
    ] {
        let terminal = folder.apikey("check").on_a_terminal().shows(PROMPT);
        assert_eq!(terminal.types_secretly(typed).ends(0), works, "{typed:?}");
    }
    let terminal = folder.apikey("check").on_a_terminal().shows(PROMPT);
    let shown = terminal.types_secretly("Key-revoked\n").ends(1);
    assert!(shown.starts_with(&format!("{PROMPT}\nerror: key bbbbbbbb of ci was")), "{shown}");
}

#[test]
fn a_key_may_be_typed_to_be_imported() {
    let folder = Folder::new();
    let terminal = folder.apikey("import ci").on_a_terminal().shows(PROMPT);
    let shown = terminal.types_secretly(&format!("{OWN}\n")).ends(0);
    let [record] = &*folder.records() else { panic!("{}", folder.text()) };
    let said =
        format!("Imported as {}.\nCreated {}.\n", record.id().unwrap(), folder.file().display());
    assert_eq!(shown, format!("{PROMPT}\n{said}"));
    assert_eq!(folder.opens(OWN), Ok("ci".to_owned()));
}

#[test]
fn an_interrupted_prompt_ends_as_a_shell_says_it_and_writes_nothing() {
    for typed in ["\x03", "Key-that-w\x03", "\x1c", "Key\x1c", "\x04", "Key\x7f\x7f\x7f\x04"] {
        let folder = one_of_each();
        let before = folder.text();
        for words in ["import ci", "check"] {
            let terminal = folder.apikey(words).on_a_terminal().shows(PROMPT);
            let shown = terminal.types_secretly(typed).ends(130);
            assert_eq!(shown, format!("{PROMPT}\n"), "{typed:?}");
            assert_eq!(
                (folder.text(), folder.names()),
                (before.clone(), vec!["keys.jsonl".into()])
            );
        }
    }
    let folder = Folder::new();
    folder.apikey("import ci").on_a_terminal().shows(PROMPT).types("\x03").ends(130);
    assert!(folder.names().is_empty());
}

#[test]
fn a_prompt_without_a_key_imports_nothing() {
    let folder = Folder::new();
    let long = format!("{}\n", "L".repeat(4097));
    for (typed, why) in [
        ("\n", "error: the key is empty or blank"),
        (&*long, "error: that is too long to be a key"),
    ] {
        let terminal = folder.apikey("import ci").on_a_terminal().shows(PROMPT);
        let shown = terminal.types_secretly(typed).ends(1);
        assert!(shown.starts_with(&format!("{PROMPT}\n{why}")), "{shown}");
        assert!(!folder.file().exists());
    }
}

#[test]
fn the_rest_of_a_line_that_is_too_long_is_not_shown_either() {
    let folder = Folder::new();
    folder.keep_secret("-and-the-rest");
    let line = format!("{}\n", "-and-the-rest".repeat(600));
    let terminal = folder.apikey("import ci").on_a_terminal().shows(PROMPT);
    let shown = terminal.types_secretly(&line).ends(1);
    assert_eq!(shown, format!("{PROMPT}\nerror: that is too long to be a key\n"));
}

// ===== Importing =====

#[test]
fn an_imported_key_works_and_can_be_rotated() {
    let folder = Folder::new();
    let import = folder.apikey("import ci --scope a --name CI --note old --expires 90d --json");
    let told = import.stdin(OWN).ends(0);
    assert_eq!(told.err, "");
    let shown = told.json();
    assert_eq!((&shown["client"], &shown["scopes"]), (&json!("ci"), &json!(["a"])));
    assert_eq!((&shown["name"], &shown["note"]), (&json!("CI"), &json!("old")));
    assert_eq!((&shown["state"], &shown["prefix"]), (&json!("active"), &Value::Null));
    let id = shown["id"].as_str().unwrap();
    assert!(id.len() == 8 && folder.record(id).expires().is_some());

    let new = folder.apikey(&format!("rotate {id} --overlap 1d")).ends(0).key();
    assert!(new.text.starts_with("key_"), "the default prefix");
    for key in [OWN, &new.text] {
        assert_eq!(folder.opens(key), Ok("ci".to_owned()));
    }
    assert_eq!(folder.record(&new.id).noted(), Some("old"));
}

#[test]
fn an_imported_key_may_say_with_which_prefix_it_is_rotated() {
    let folder = Folder::new();
    let told = folder.apikey("import ci --prefix sk_live --json").stdin(OWN).ends(0);
    let shown = told.json();
    assert_eq!(shown["prefix"], "sk_live");
    let id = shown["id"].as_str().unwrap();
    let new = folder.apikey(&format!("rotate {id} --overlap 1d")).ends(0).key();
    assert!(new.text.starts_with("sk_live_"));

    folder.apikey("import --bulk --prefix pk").stdin(format!("ci\t{OTHER}\n")).ends(0);
    let shown = folder.apikey("check --json").stdin(OTHER).ends(0).json();
    assert_eq!(shown["prefix"], "pk");
    let told = folder.apikey("import ci --prefix").arg("s k").stdin("Key-of-nobody-at-all").ends(1);
    told.says("a prefix is letters and digits");
}

/// Standard input from a file, since a digest is in the file of keys and is no secret of it.
fn with_input(folder: &Folder, words: &str, text: &str) -> Told {
    let outside = Folder::new();
    let path = outside.path().join("input");
    fs::write(&path, text).unwrap();
    folder.shell(&format!(r#""$0" {words} <"$1""#)).arg(path).end()
}

#[test]
fn a_digest_is_imported_as_one() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    for text in
        [digest.clone(), format!("{digest}\n"), digest.to_uppercase().replacen("SHA", "sha", 1)]
    {
        let told = with_input(&folder, "import ci --scope a --prefix pk --note n", &text);
        assert_eq!(told.code, 0, "{told:?}");
        let [record] = &*folder.records() else { panic!("{}", folder.text()) };
        told.says(&format!("Imported the digest as {}.\n", record.id().unwrap()));
        assert_eq!((record.noted(), record.client().has_scope("a")), (Some("n"), true));
        assert_eq!(folder.opens(OWN), Ok("ci".to_owned()));
        assert_eq!(folder.opens(&digest), Err("unknown"));
        assert_eq!(with_input(&folder, "import ci", &text).code, 1);
        fs::remove_file(folder.file()).unwrap();
    }
    let other = tower_api_key::KeyDigest::of(OTHER).encode();
    let told = with_input(&folder, "import --bulk", &format!("a\t{digest}\nb\t{other}\r\n"));
    told.says("Imported 2 keys.\n");
    assert_eq!(folder.opens(OTHER), Ok("b".to_owned()));
}

#[test]
fn a_digest_may_be_typed_to_be_imported() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    let terminal = folder.apikey("import ci").on_a_terminal().shows(PROMPT);
    let shown = terminal.types(&format!("{digest}\n")).ends(0);
    assert!(shown.contains("Imported the digest as "), "{shown}");
    assert_eq!(folder.opens(OWN), Ok("ci".to_owned()));
}

#[test]
fn a_digest_that_is_cut_off_is_no_key() {
    let folder = Folder::new();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    for text in
        [&digest[..70], &format!("{digest}0"), "sha256:", &digest.replace("sha256:", "SHA256:")]
    {
        let told = with_input(&folder, "import ci", text);
        assert_eq!(told.code, 1, "{told:?}");
        told.says("a digest is `sha256:` and 64 hexadecimal digits");
        let told = with_input(&folder, "import --bulk", &format!("ci\t{text}\n"));
        told.says("line 1: a digest is `sha256:` and 64 hexadecimal digits; nothing was imported");
        assert!(!folder.file().exists());
    }
}

#[test]
fn a_minted_key_that_is_imported_keeps_its_id() {
    let elsewhere = Folder::new();
    let minted = elsewhere.issue("ci --prefix sk_live");
    let folder = Folder::new();
    let told = folder.apikey("import ci").stdin(&minted.text).ends(0);
    told.says(&format!("Imported as {}.\n", minted.id));
    let new = folder.apikey(&format!("rotate {} --overlap 0", minted.id)).ends(0).key();
    assert!(new.text.starts_with("sk_live_"));

    // Another has it already.
    let folder = Folder::with(&[line(&minted.id, "first", OWN, "")]);
    folder.apikey("import second").stdin(&minted.text).ends(0);
    assert_eq!(folder.opens(OWN), Ok("first".to_owned()));
    assert_eq!(folder.opens(&minted.text), Ok("second".to_owned()));
}

#[test]
fn a_key_that_is_there_is_not_imported_again_nor_one_that_was_revoked() {
    let folder = Folder::new();
    folder.apikey("import ci").stdin(OWN).ends(0);
    let before = folder.text();
    for client in ["ci", "other"] {
        let told = folder.apikey(&format!("import {client}")).stdin(OWN).ends(1);
        told.says("error: the key is in the keyring already: `apikey check` says whose it is\n");
    }
    assert_eq!(folder.text(), before);
    folder.apikey("revoke --client ci --yes").ends(0);
    let before = folder.text();
    let told = folder.apikey("import ci").stdin(OWN).ends(1);
    told.says("error: the key was revoked, and is not to come back\n");
    let told = folder.apikey("import --bulk").stdin(format!("ci\t{OWN}\n")).ends(1);
    told.says("line 1: the key was revoked, and is not to come back; nothing was imported\n");
    assert_eq!(folder.text(), before);
}

#[cfg(unix)]
#[test]
fn a_warning_names_a_file_that_others_may_write_or_that_has_another_name() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    folder.issue("ci");
    let warns = |words: &str| folder.apikey("list").ends(0).err.contains(words);
    let (writable, named) =
        ("warning: another user may write the file", "warning: the file has another name");
    assert!(!warns(writable) && !warns(named));
    std::fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o666)).unwrap();
    assert!(warns(writable) && !warns(named));
    std::fs::set_permissions(folder.file(), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::hard_link(folder.file(), folder.path().join("another-name")).unwrap();
    assert!(!warns(writable) && warns(named));
}

// R47: whoever sees the file may guess a short key.
#[test]
fn a_short_key_is_imported_with_a_warning() {
    let folder = Folder::new();
    let short = "Twenty-one-characters";
    let told = folder.apikey("import ci").stdin(short).ends(0);
    let [record] = &*folder.records() else { panic!() };
    let id = record.id().unwrap();
    told.says(&format!("Imported as {id}.\n"));
    let warning = "warning: this key has 21 characters: whoever sees the file may guess it. Have it \
                   replaced: `apikey rotate";
    told.says(&format!("{warning} {id} --overlap 7d`.\n"));
    assert_eq!(folder.opens(short), Ok("ci".to_owned()));

    let told = folder.apikey("import ci").stdin("Twenty-two-characters.").ends(0);
    assert_eq!(told.err.lines().count(), 1, "{told:?}");

    let lines = "ci\tHowever-short\nci\tHowever\nci\tLong-enough-to-be-imported\n";
    let told = folder.apikey("import --bulk").stdin(lines).ends(0);
    told.says("warning: 2 keys shorter than 22 characters: ");
    told.says("Imported 3 keys.\n");
}

#[test]
fn many_keys_are_imported_at_once() {
    let folder = Folder::new();
    let elsewhere = Folder::new();
    let minted = elsewhere.issue("x");
    let text = format!("mobile-app\t{OWN}\n\n  \r\nci of ours\t{OTHER}\r\n\tci\n");
    // The last line has no client.
    let told = folder.apikey("import --bulk").stdin(&text).ends(1);
    told.says("error: standard input, line 5: the client's id is blank");
    assert!(!folder.file().exists());

    let text = text.replace("\tci\n", &format!("ci of ours\t{}", minted.text));
    let told = folder.apikey("import --bulk --scope a --note moved").stdin(&text).ends(0);
    told.says("Imported 3 keys.\n");
    for (key, client) in [(OWN, "mobile-app"), (OTHER, "ci of ours"), (&minted.text, "ci of ours")]
    {
        assert_eq!(folder.opens(key), Ok(client.to_owned()));
    }
    assert_eq!(folder.record(&minted.id).client().id(), "ci of ours");
    let records = folder.records();
    assert!(records.iter().all(|it| it.noted() == Some("moved") && it.client().has_scope("a")));

    let told = folder.apikey("import --bulk --json").stdin("x\tYet-Another-Key-of-ours").ends(0);
    assert_eq!(told.json(), json!({ "imported": 1 }));
}

#[test]
fn a_thousand_keys_are_imported_in_one_change() {
    let folder = Folder::new();
    let text: String =
        (0..1000).map(|n| format!("client-{}\tKey-of-a-thousand-{n:04}\n", n % 7)).collect();
    // Not through `stdin`, which would look for each of them everywhere.
    fs::write(folder.path().join("import.tsv"), text).unwrap();
    let told = folder.shell(r#""$0" import --bulk <import.tsv"#).ends(0);
    told.says("Imported 1000 keys.\n");
    assert_eq!(folder.records().len(), 1000);
    assert_eq!(folder.opens("Key-of-a-thousand-0700"), Ok("client-0".to_owned()));
    assert!(!folder.text().contains("Key-of-a-thousand"));
}

#[test]
fn a_bad_line_names_its_number_and_nothing_is_imported() {
    let folder = Folder::new();
    folder.apikey("import ci").stdin(OTHER).ends(0);
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
        let told = folder.apikey("import --bulk").stdin(bad).ends(1);
        told.says(&format!("error: standard input, line {number}: "));
        told.says(why);
        assert!(told.err.ends_with("; nothing was imported\n"), "{told:?}");
        assert_eq!(folder.text(), before, "{bad}");
    }
    let told = folder.apikey("import --bulk").stdin(b"caf\xE9\tSome-Key-of-Latin-1\n").ends(1);
    told.says("line 1: ");
    let none = "error: no lines on standard input: client, tab and key are wanted\n";
    for nothing in ["", "\n \r\n\t\n"] {
        assert_eq!(folder.apikey("import --bulk").stdin(nothing).ends(2).err, none);
    }
    let shown = folder.apikey("import --bulk").on_a_terminal().ends(2);
    assert_eq!(shown, "error: lines of client, tab and key are read from standard input\n");
    folder.apikey("import").stdin(OWN).ends(2).says("<CLIENT>");
    assert_eq!(folder.text(), before);
}

#[test]
fn a_line_without_a_tab_is_told_of_the_tab() {
    let folder = Folder::new();
    let told = folder.apikey("import --bulk").stdin(format!("ci={OWN}\n")).ends(1);
    assert!(told.err.contains("tab") && !told.err.contains("client=key"), "{told:?}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_client() {
    let folder = Folder::new();
    folder.apikey("import --bulk").stdin(format!("\u{feff}ci\t{OWN}\r\n")).end();
    assert!(!folder.file().exists() || folder.opens(OWN) == Ok("ci".to_owned()));
}

// R47.
#[test]
fn a_minted_key_in_the_place_of_a_client_is_not_written() {
    let folder = Folder::new();
    let key = folder.issue("ci").text;
    let before = folder.text();
    folder.apikey("import").arg(&key).stdin(OWN).ends(1);
    folder.apikey("issue").arg(&key).ends(1);
    // Columns that were swapped.
    folder.apikey("import --bulk").stdin(format!("{key}\tthe-mobile-app-of-ours\n")).ends(1);
    assert_eq!(folder.text(), before);
}

// ===== Several at once =====

#[test]
fn sixty_that_issue_at_once_issue_sixty_keys() {
    let folder = Folder::new();
    let running: Vec<_> = (0..60)
        .map(|number| folder.apikey(&format!("issue client-{number} --note {number}")).start())
        .collect();
    let keys: Vec<_> = running.into_iter().map(|running| running.ends(0).key()).collect();
    assert_eq!(keys.iter().map(|key| &key.text).collect::<HashSet<_>>().len(), 60);
    assert_eq!(keys.iter().map(|key| &key.id).collect::<HashSet<_>>().len(), 60);

    let text = folder.text();
    assert_eq!(text.lines().count(), 61);
    assert!(text.starts_with(HEADER) && text.ends_with("}\n"), "{text}");
    for line in text.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = line["note"].as_str().unwrap();
        assert_eq!(line["client"], format!("client-{number}"));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(folder.opens(&key.text), Ok(format!("client-{number}")));
    }
    assert_eq!(folder.names(), ["keys.jsonl", "keys.jsonl.lock"]);
}

#[test]
fn of_many_changes_at_once_none_is_lost() {
    let folder = Folder::new();
    let rotated: Vec<Key> = (0..8).map(|_| folder.issue("rotated")).collect();
    let revoked: Vec<Key> = (0..8).map(|_| folder.issue("revoked")).collect();
    let mut running = Vec::new();
    for (old, gone) in rotated.iter().zip(&revoked) {
        running.push(folder.apikey("issue new").start());
        running.push(folder.apikey(&format!("rotate {} --overlap 7d", old.id)).start());
        running.push(folder.apikey(&format!("revoke {} --yes", gone.id)).start());
        running.push(folder.apikey("list").start());
    }
    let told: Vec<_> = running.into_iter().map(|running| running.ends(0)).collect();
    let made: Vec<_> =
        told.iter().filter(|it| it.err.starts_with("Issued")).map(Told::key).collect();
    assert_eq!(made.len(), 16);
    for key in rotated.iter().chain(&made) {
        assert!(folder.opens(&key.text).is_ok());
    }
    for key in &revoked {
        assert_eq!(folder.opens(&key.text), Err("revoked"));
    }
    let records = folder.records();
    assert_eq!(records.len(), 32);
    let count = |client: &str| records.iter().filter(|it| it.client().id() == client).count();
    assert_eq!((count("new"), count("rotated"), count("revoked")), (8, 16, 8));
    assert_eq!(records.iter().filter(|record| record.retires().is_some()).count(), 8);
}

// ===== Where a file cannot be written =====

/// Every command that changes the file, with what it reads.
fn changes(id: &str) -> Vec<(String, &'static str)> {
    vec![
        ("issue ci".to_owned(), ""),
        (format!("rotate {id} --overlap 7d"), ""),
        (format!("revoke {id} --yes"), ""),
        ("revoke --client ci --yes".to_owned(), ""),
        ("import ci".to_owned(), OTHER),
        ("import --bulk".to_owned(), "ci\tAnother-Key-that-was-there\n"),
        ("prune --yes".to_owned(), ""),
    ]
}

/// Tries each of them: the file stays, and nothing is left beside it.
fn nothing_changes(folder: &Folder, why: &str, run: impl Fn(&str, &str) -> Told) {
    let (before, names) = (folder.text(), folder.names());
    for (words, input) in changes("aaaaaaaa") {
        let told = run(&words, input);
        assert_eq!(told.code, 3, "{words}: {told:?}");
        let said = format!("error: {}: {why}", folder.file().display());
        // Those that say beforehand what they are going to do.
        assert!(told.err.contains(&said) && told.err.ends_with('\n'), "{words}: {told:?}");
        assert_eq!((&*told.out, &*folder.text()), ("", &*before), "{words}");
        let left: Vec<_> =
            folder.names().into_iter().filter(|name| !name.ends_with(".lock")).collect();
        assert!(left.iter().eq(names.iter().filter(|name| !name.ends_with(".lock"))), "{left:?}");
    }
    folder.apikey("list").ends(0);
}

/// A key that works and one to be pruned.
fn two_lines() -> [String; 2] {
    let dead = r#","revoked":"2021-01-01T00:00:00Z""#;
    [line("aaaaaaaa", "ci", OWN, ""), line("bbbbbbbb", "ci", "Key-revoked", dead)]
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let folder = Folder::new();
    let is_mounted =
        folder.mounts(&["-t", "tmpfs", "-o", "size=64k", "apikey-tests"], folder.path());
    if !is_mounted {
        return println!("skipped: this user may not mount a small disk");
    }
    folder.put(&(HEADER.to_owned() + &two_lines().concat()));
    let mut file = fs::File::create(folder.path().join("filler")).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    nothing_changes(&folder, "cannot write beside it: No space left on device", |words, input| {
        folder.apikey(words).stdin(input).end()
    });
    assert_eq!(folder.opens(OWN), Ok("ci".to_owned()));
    // Not by removing it, which others who hold it for a moment, forked by other tests, would put off.
    file.set_len(0).unwrap();
    folder.issue("ci");
}

#[test]
fn a_read_only_disk_says_where_to_change_the_file() {
    let folder = Folder::new();
    if !folder.mounts(&["-t", "tmpfs", "apikey-tests"], folder.path()) {
        return println!("skipped: this user may not mount a disk");
    }
    folder.put(&(HEADER.to_owned() + &two_lines().concat()));
    assert!(folder.mounts(&["-o", "remount,ro"], folder.path()));
    let why =
        "it lies on a read-only file system: change it where it comes from, such as the Secret";
    nothing_changes(&folder, why, |words, input| folder.apikey(words).stdin(input).end());
}

#[test]
fn a_file_that_is_mounted_by_itself_says_what_to_mount() {
    let folder = Folder::with(&two_lines());
    let file = folder.file();
    if !folder.mounts(&["--bind", file.to_str().unwrap()], &file) {
        return println!("skipped: this user may not mount a file");
    }
    let why = "it is mounted by itself, so that it cannot be replaced from here: change it where it \
               comes from, or mount its folder";
    nothing_changes(&folder, why, |words, input| folder.apikey(words).stdin(input).end());
}

/// Somebody to whom modes mean something, who is not root, and may run the command.
fn somebody() -> Option<(u32, u32)> {
    use std::os::unix::process::CommandExt as _;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if !user.is_root() {
        return Some((user.as_raw(), group.as_raw()));
    }
    let (user, group) = (65_534, 65_534);
    let version = Command::new(APIKEY).arg("--version").uid(user).gid(group).output();
    version.is_ok_and(|version| version.status.success()).then_some((user, group))
}

#[test]
fn a_folder_that_may_not_be_written_says_who_may() {
    let Some(user) = somebody() else {
        return println!("skipped: no other user may run the command where it was built");
    };
    let folder = Folder::with(&two_lines());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let run = |words: &str, input: &str| folder.apikey(words).stdin(input).user(user).end();
    let why = "this user may not write to its folder, where a new file and a lock have to go: change \
               it as the user who may";
    nothing_changes(&folder, why, run);
    assert_eq!(folder.names(), ["keys.jsonl"]);
    assert_eq!(run("list", "").code, 0);
    assert_eq!(run("check", OWN).code, 0);

    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o000)).unwrap();
    let told = run("list", "");
    assert_eq!(told.code, 3, "{told:?}");
    told.says("keys.jsonl: cannot read it: Permission denied");
}

#[test]
fn a_file_of_another_user_is_not_taken_over() {
    let own = rustix::process::geteuid().as_raw();
    let Some(user) = somebody().filter(|(user, _)| *user != own) else {
        return println!("skipped: no other user may run the command");
    };
    let folder = Folder::with(&two_lines());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let why = "it belongs to another user or group, to whom the new file could not be given: change \
               it as its owner";
    nothing_changes(&folder, why, |words, input| {
        folder.apikey(words).stdin(input).user(user).end()
    });
}

// ===== Files that are not as they should be =====

#[test]
fn a_broken_file_is_named_with_line_and_reason_and_stays_as_it_is() {
    let good = line("aaaaaaaa", "ci", OWN, "");
    let twice = good.replace("aaaaaaaa", "bbbbbbbb");
    let cut = good.trim_end();
    for (text, place, why) in [
        ("nonsense\n".to_owned(), ", line 1", "the first line of a file of keys is {\"v\":1}"),
        (good.clone(), ", line 1", "the first line of a file of keys is {\"v\":1}"),
        ("{\"v\":3}\n".to_owned(), ", line 1", "a version of this format that is not known here"),
        (format!("{HEADER}\n# x\n{{oops\n"), ", line 4", "not JSON from column 2 on"),
        (format!("{HEADER}[]\n"), ", line 2", "not a JSON object"),
        (format!("{HEADER}{good}{cut}"), ", line 3", "the last line has no line break"),
        (HEADER.to_owned() + &good.replace("client", "klient"), ", line 2", "`client` is missing"),
        (
            HEADER.to_owned() + &line("aaaaaaaa", "ci", OWN, r#","expire":"x""#),
            ", line 2",
            "a field",
        ),
        (HEADER.to_owned() + &good.replace("sha256", "sha1"), ", line 2", "a digest is `sha256:`"),
        (HEADER.to_owned() + &good.replace("aaaaaaaa", "a"), ", line 2", "a key's id is eight"),
        (
            HEADER.to_owned() + &good.replace("\"ci\"", "\" \""),
            ", line 2",
            "the client's id is blank",
        ),
        (
            HEADER.to_owned() + &good.replace("2020-01", "2020-13"),
            ", line 2",
            "`created` is not a time",
        ),
        (format!("{HEADER}{good}{twice}"), ", line 3", "the key is in the keyring already"),
        (format!("{HEADER}{good}{good}"), ", line 3", ""),
    ] {
        let folder = Folder::new();
        folder.put(&text);
        for words in [
            "list",
            "list --json",
            "check",
            "issue ci",
            "rotate aaaaaaaa --overlap 7d",
            "revoke aaaaaaaa --yes",
            "revoke --client ci --yes",
            "import ci",
            "import --bulk",
            "prune --yes",
        ] {
            let told = folder.apikey(words).stdin(format!("ci\t{OTHER}")).ends(3);
            let said = format!("{}{place}: {why}", folder.file().display());
            let is_said = match words.contains("--json") {
                true => error_of(&told)["message"].as_str().unwrap().starts_with(&said),
                false => told.err.starts_with(&format!("error: {said}")),
            };
            assert!(is_said, "{words}: {told:?} instead of {said}");
            assert_eq!((told.err.lines().count(), &*told.out), (1, ""), "{words}");
            assert_eq!((folder.text(), folder.names()), (text.clone(), vec!["keys.jsonl".into()]));
        }
    }
}

#[test]
fn a_file_without_a_first_line_may_be_half_written() {
    let folder = Folder::new();
    folder.put("");
    for words in ["list", "check", "rotate aaaaaaaa --overlap 0", "revoke aaaaaaaa", "prune"] {
        let told = folder.apikey(words).stdin(OWN).ends(3);
        told.says("keys.jsonl: the file is empty: without a first line {\"v\":1}");
        assert_eq!((folder.text(), folder.names()), (String::new(), vec!["keys.jsonl".into()]));
    }
    // Those that make a file where there is none begin this one.
    let key = folder.issue("ci");
    assert_eq!(folder.opens(&key.text), Ok("ci".to_owned()));
}

#[test]
fn a_folder_in_the_place_of_the_file_is_told_from_one() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for words in ["list", "issue ci", "import ci", "prune --yes", "check"] {
        for path in ["sub", "sub/", "."] {
            let told = folder.apikey(words).stdin(OWN).arg("--file").arg(path).ends(3);
            told.says("error: ");
            told.says(": not a file\n");
            assert_eq!(folder.names(), ["sub"]);
        }
    }
    assert!(fs::read_dir(folder.path().join("sub")).unwrap().next().is_none());
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = Folder::new();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::write(real.join("live.jsonl"), HEADER).unwrap();
    symlink(Path::new("real/live.jsonl"), folder.file()).unwrap();
    let key = folder.issue("ci");
    folder.apikey(&format!("rotate {} --overlap 7d", key.id)).ends(0);
    assert_eq!(fs::read_link(folder.file()).unwrap(), Path::new("real/live.jsonl"));
    assert!(fs::symlink_metadata(real.join("live.jsonl")).unwrap().is_file());
    assert_eq!(folder.opens(&key.text), Ok("ci".to_owned()));
    assert_eq!(folder.names(), ["keys.jsonl", "real"]);

    fs::remove_file(folder.file()).unwrap();
    symlink(Path::new("real/nothing.jsonl"), folder.file()).unwrap();
    for words in ["list", "issue ci"] {
        folder.apikey(words).ends(3).says("");
        assert!(!real.join("nothing.jsonl").exists());
    }
}

// ===== Unusual words =====

#[test]
fn clients_may_have_unusual_ids() {
    let folder = Folder::new();
    let long = "x".repeat(128);
    for client in ["a b", "Größe 🦀 日本語", "-x", "--json", "a\"b\\c", "$HOME;`id`", "''", &long]
    {
        let key = folder.apikey("issue --").arg(client).ends(0).key();
        assert_eq!(folder.opens(&key.text), Ok(client.to_owned()));
        let told = folder.apikey("check --json").stdin(&key.text).ends(0);
        assert_eq!(told.json()["client"], client);
        let told = folder.apikey("revoke --yes").arg(format!("--client={client}")).ends(0);
        assert!(told.err.ends_with("Revoked 1 key.\n"), "{told:?}");
        assert_eq!(folder.opens(&key.text), Err("revoked"));
    }
    folder.apikey("list").on_a_terminal().ends(0);
    let terminal = folder.apikey("import --").arg("-x").on_a_terminal().shows(PROMPT);
    terminal.types_secretly(&format!("{OWN}\n")).ends(0);
    assert_eq!(folder.opens(OWN), Ok("-x".to_owned()));
}

#[test]
fn a_note_may_be_long_and_hold_anything() {
    let folder = Folder::new();
    let long = "long note \u{1F980} \"quoted\" \\ {\"v\":1}\n".repeat(1000);
    let key = folder.apikey("issue ci --note").arg(&long).ends(0).key();
    assert_eq!(folder.record(&key.id).noted(), Some(&*long));
    assert_eq!(folder.text().lines().count(), 2);
    assert_eq!(folder.apikey("list").ends(0).out.lines().count(), 2);
    let told = folder.apikey(&format!("rotate {} --overlap 7d", key.id)).ends(0);
    assert_eq!(folder.record(&told.key().id).noted(), Some(&*long));
    folder.apikey("issue ci --note").arg("").ends(0);
    // A line has its limits.
    let before = folder.text();
    let told = folder.apikey("issue ci --note").arg(long.repeat(2)).ends(3);
    told.says("not changed, because it would be broken: more than 65536 bytes");
    assert_eq!(folder.text(), before);
}

#[test]
fn an_argument_that_is_not_utf_8_is_a_mistake_of_usage() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let folder = Folder::new();
    folder.apikey("issue").arg(OsStr::from_bytes(b"c\xFFi")).ends(2).says("error: ");
    assert!(folder.names().is_empty());
    // A path may be anything.
    let path = OsStr::from_bytes(b"k\xFF.jsonl");
    if fs::write(folder.path().join(path), HEADER).is_ok() {
        fs::remove_file(folder.path().join(path)).unwrap();
        let other = Folder::new();
        let key = other.apikey("issue ci --file").arg(folder.path().join(path)).ends(0).key();
        let told = other.apikey("check --file").arg(folder.path().join(path));
        told.stdin(&key.text).ends(0);
        for path in [path, OsStr::from_bytes(b"k\xFF.jsonl.lock")] {
            fs::remove_file(folder.path().join(path)).unwrap();
        }
    }
}

// ===== Help =====

#[test]
fn every_command_has_help() {
    let folder = Folder::new();
    let help = folder.apikey("--help").ends(0);
    assert!(help.out.contains("Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the file."));
    for command in ["issue", "list", "rotate", "revoke", "check", "import", "prune", "completions"]
    {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}");
        for words in
            [&*format!("{command} --help"), &format!("{command} -h"), &format!("help {command}")]
        {
            let told = folder.apikey(words).ends(0);
            assert!(told.out.contains(&format!("Usage: apikey {command}")), "{told:?}");
            assert_eq!(told.err, "", "{words}");
        }
    }
    let told = folder.apikey("--version").ends(0);
    assert_eq!(told.out, format!("apikey {}\n", env!("CARGO_PKG_VERSION")));
    let told = folder.apikey("").ends(2);
    told.says("Usage: apikey [OPTIONS] <COMMAND>");
    told.says("apikey issue ci --expires 90d");
    folder.apikey("--json").ends(2).says("Usage: ");
    folder.apikey("isue ci").ends(2).says("issue");
    assert!(folder.names().is_empty());
}

#[test]
fn without_a_command_the_help_is_no_error() {
    let told = Folder::new().apikey("").ends(2);
    assert!(told.err.starts_with("Issues, lists, rotates and revokes"), "{told:?}");
}

#[test]
fn without_a_command_the_help_is_shown_whatever_else_is_set() {
    let folder = Folder::new();
    for bare in [
        folder.apikey("").env("API_KEYS_FILE", "keys.jsonl"),
        folder.apikey("").env("API_KEYS_FILE", ""),
        folder.apikey("--file keys.jsonl"),
    ] {
        let told = bare.ends(2);
        assert!(told.err.starts_with("Issues, lists, rotates and revokes"), "{told:?}");
        assert!(told.out.is_empty() && told.err.contains("apikey revoke --client ci"), "{told:?}");
    }
    let bare = || folder.apikey("").env("API_KEYS_FILE", "keys.jsonl");
    let shown = bare().on_a_terminal().ends(2);
    assert!(shown.starts_with("Issues, ") && shown.contains('\x1b'), "{shown}");
    let shown = bare().env("NO_COLOR", "1").on_a_terminal().ends(2);
    assert!(shown.starts_with("Issues, ") && !shown.contains('\x1b'), "{shown}");
}

#[test]
fn the_examples_of_the_help_run_as_they_stand() {
    let folder = Folder::new();
    let help = folder.apikey("--help").ends(0).out;
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let examples: Vec<_> =
        examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(examples.len() >= 3 && examples.iter().all(|it| it.starts_with("apikey ")), "{help}");
    let id = folder.issue("ci").id;
    for example in examples {
        let words = example.strip_prefix("apikey").unwrap().replace("0a1B2c3D", &id);
        // A question is answered by a person.
        let yes = if words.contains("revoke") { "--yes" } else { "" };
        let told = folder.shell(&format!(r#""$0" {words} {yes}"#));
        told.arg("issue").ends(0);
    }
    for code in ["0 done", "1 refused", "2 usage", "3 the file", "130: "] {
        assert!(help.contains(code), "{code}");
    }
}

#[test]
fn shells_get_completions_without_a_file() {
    let folder = Folder::new();
    for (shell, its_own) in [
        ("bash", "complete -F _apikey"),
        ("zsh", "#compdef apikey"),
        ("fish", "complete -c apikey"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let told = folder.apikey(&format!("completions {shell}")).ends(0);
        assert_eq!(told.err, "");
        for word in [its_own, "rotate", "overlap"] {
            assert!(told.out.contains(word), "{shell}: {word}");
        }
        let Ok(checker) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() else {
            println!("skipped: no {shell} to read its script");
            continue;
        };
        let mut checker = checker;
        checker.stdin.take().unwrap().write_all(told.out.as_bytes()).unwrap();
        assert!(checker.wait().unwrap().success(), "{shell}");
    }
    folder.apikey("completions tcsh").ends(2).says("possible values");
    assert!(folder.names().is_empty());
}

// ===== Errors for machines =====

/// The one line of JSON on standard error.
fn error_of(told: &Told) -> Value {
    assert_eq!(told.err.lines().count(), 1, "{told:?}");
    let error: Value = serde_json::from_str(&told.err).unwrap();
    let fields: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["kind", "message"], "{told:?}");
    assert!(error["message"].as_str().unwrap().starts_with(|char: char| !char.is_whitespace()));
    error
}

#[test]
fn with_json_every_error_is_one_object_and_the_code_stays() {
    let folder = one_of_each();
    let before = folder.text();
    let broken = Folder::new();
    broken.put("nonsense\n");
    for (words, code, kind, message) in [
        ("rotate 00000000 --overlap 7d", 1, "unknown_key_id", "no key has this id: `apikey list`"),
        ("rotate bbbbbbbb --overlap 7d", 1, "dead_key", "the key is revoked"),
        ("revoke 00000000", 1, "unknown_key_id", "no key has this id"),
        ("revoke --client nobody", 1, "unknown_client", "this client has no key"),
        ("revoke aaaaaaaa", 2, "usage", "nobody is here to be asked: add --yes to do it"),
        ("prune", 2, "usage", "nobody is here to be asked: add --yes to do it"),
        ("issue ci --prefix -", 1, "key_prefix", "a prefix is letters and digits"),
        ("issue ci --scope a,", 1, "scope", "a scope is one or more"),
        ("issue ci --expires 2020-01-01", 1, "lifetime", "the key would end before it begins"),
        (
            "issue ci --expires soon",
            2,
            "usage",
            "invalid value '…' for '--expires <WHEN>': neither",
        ),
        ("issue", 2, "usage", "the following required arguments were not provided"),
        ("isue", 2, "usage", "unrecognized subcommand"),
        ("", 2, "usage", "'apikey' requires a subcommand"),
        ("list another", 2, "usage", "unexpected argument"),
        ("list --file nothing.jsonl", 3, "missing", ""),
        ("issue ci --file nowhere/keys.jsonl", 3, "missing", ""),
        ("issue ci --file .", 3, "not_a_file", ""),
        ("list --file=", 2, "usage", "--file needs the name of a file"),
        ("check", 2, "usage", "no key on standard input"),
        ("import ci", 2, "usage", "no key on standard input"),
        ("import --bulk", 2, "usage", "no lines on standard input"),
    ] {
        for words in [format!("{words} --json"), format!("--json {words}")] {
            let told = folder.apikey(&words).ends(code);
            let error = error_of(&told);
            assert_eq!((&error["kind"], &*told.out), (&json!(kind), ""), "{words}");
            assert!(error["message"].as_str().unwrap().starts_with(message), "{words}: {told:?}");
            assert_eq!(folder.text(), before, "{words}");
        }
    }
    assert_eq!(error_of(&broken.apikey("list --json").ends(3))["kind"], "content");
    for (key, kind) in
        [("Key-revoked", "revoked"), ("Key-to-begin", "not_yet_valid"), ("X", "unknown")]
    {
        let told = folder.apikey("check --json").stdin(key).ends(1);
        assert_eq!(
            (&error_of(&told)["kind"], &told.json()["reason"]),
            (&json!(kind), &json!(kind))
        );
    }
    let told = folder.apikey("import --bulk --json").stdin("a\tKey-that-works\n").ends(1);
    let error = error_of(&told);
    assert_eq!(error["kind"], "duplicate_key");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("standard input, line 1: "), "{told:?}");
    // Behind `--` it is the name of a client.
    let told = folder.apikey("revoke --yes --client=x -- --json").end();
    assert!(told.err.starts_with("error: "), "{told:?}");
}

#[test]
fn with_json_a_warning_is_an_object_too() {
    let folder = Folder::new();
    let told = folder.apikey("import ci --json").stdin("Short-key").ends(0);
    let warning: Value = serde_json::from_str(&told.err).unwrap();
    let text = warning["warning"].as_str().unwrap();
    assert!(text.starts_with("this key has 9 characters: "), "{told:?}");
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let told = folder.apikey("list --json").ends(0);
    let warning: Value = serde_json::from_str(&told.err).unwrap();
    assert!(warning["warning"].as_str().unwrap().starts_with("another user may write"), "{told:?}");
    let told = folder.apikey("list").ends(0);
    assert!(told.err.starts_with("warning: another user may write"), "{told:?}");
}

#[test]
fn with_json_an_interrupt_is_an_object_too() {
    let folder = one_of_each();
    let terminal = folder.apikey("check --json").on_a_terminal().shows(PROMPT);
    let shown = terminal.types("\x03").ends(130);
    let object = r#"{"kind":"interrupted","message":"interrupted"}"#;
    assert_eq!(shown, format!("{PROMPT}\n{object}\n"));
}

#[test]
fn messages_speak_of_the_command_and_not_of_the_library() {
    let folder = one_of_each();
    let digest = tower_api_key::KeyDigest::of(OWN).encode();
    let long = "Longer".repeat(200);
    for told in [
        with_input(&folder, "check", &digest),
        folder.apikey("check").stdin(&long).ends(1),
        folder.apikey("import ci").stdin(&long).ends(1),
        folder.apikey("import --bulk").stdin(format!("ci\t{long}\n")).ends(1),
        folder.apikey("import ci").stdin("Key-that-works").ends(1),
        folder.apikey("rotate bbbbbbbb --overlap 1d").ends(1),
    ] {
        for name in ["insert", "max_key_len", "layer", "`Keyring", "client=key", "()"] {
            assert!(!told.err.contains(name), "{name}: {told:?}");
        }
    }
    with_input(&folder, "check", &digest)
        .says("this is a digest and no key: `apikey import` takes it");
    let told = folder.apikey("import ci").stdin(&long).ends(1);
    told.says("the key is longer than 1,024 bytes: import its digest, which is `sha256:` and");
}

// ===== What these tests are made of =====

#[test]
fn what_looks_for_keys_finds_them() {
    let minted = KeyFormat::new("sk_live").unwrap().mint().unwrap();
    let digest = minted.digest().encode();
    let key = minted.reveal(str::to_owned);
    assert_eq!(minted_keys(&format!("a \"{key}\", b\n{key}")), [&*key, &*key]);
    assert!(minted_keys("Issued 0a1B2c3D. some_other_words").is_empty());
    let folder = Folder::new();
    folder.keep_secret(&key);
    for text in [&*key, &key[key.len() - 28..], &digest] {
        let told = || folder.shell("printf %s \"$1\"").arg(text).ends(0);
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(told));
        assert!(looked.is_err(), "{text}");
    }
}

/// With one character of the secret part turned into another.
fn mistyped(key: &Key) -> String {
    let at = key.text.len() - 10;
    let other = if key.text.as_bytes()[at] == b'a' { "b" } else { "a" };
    format!("{}{other}{}", &key.text[..at], &key.text[at + 1..])
}

fn clients_of(listed: &Told) -> Vec<String> {
    let listed = listed.json();
    let clients = listed.as_array().unwrap().iter().map(|key| key["client"].as_str().unwrap());
    clients.map(str::to_owned).collect()
}

fn years(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / (DAY * 365).as_secs()
}
