//! The format of a key file, invalid files and their errors.

#![cfg(feature = "file")]

use crate::support;
use crate::support::key_file as key_file_support;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use key_file_support::{
    Events, Folder, HEADER, all_of, id, line, line_and, millis, outcome, read, text, text_of,
    within,
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};
use support::{KEY, OTHER, WRONG, cases};
use tower_api_key::{
    Client, KeyDigest,
    error::{KeyringError, KeyringErrorKind},
    key::KeyFormat,
    key_file::{KeyFile, KeyFileErrorKind as Kind},
    record::Record,
};

/// 2026-11-24T12:00:00Z, the creation time in the lines of these tests.
const CREATED: u64 = 1_795_521_600;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn records(file: &KeyFile) -> BTreeMap<String, Record> {
    file.records().map(|record| (record.id().unwrap().to_owned(), record)).collect()
}

#[test]
fn a_line_holds_every_field_of_a_record() {
    let more = concat!(
        r#","expires":"2027-02-22T12:00:00Z","not_before":"2026-11-25T00:00:00.5Z","#,
        r#""retires":"2027-01-01T00:00:00.000000001Z","revoked":"2026-12-24T18:00:00Z","#,
        r#""scopes":["reports:read","b"],"name":"Caf\u00e9 \"Nord\"","prefix":"sk_live","note":"a\nb""#
    );
    let folder = Folder::with(text([line_and(1, "ci", KEY, more), line(2, "mobile-app", OTHER)]));
    let file = read(folder.file()).unwrap();
    let record = file.record(&id(1)).unwrap();
    assert_eq!((record.id(), record.client().id()), (Some("Key00001"), "ci"));
    assert_eq!(record.digest(), KeyDigest::of(KEY));
    assert_eq!(record.created(), Some(at(CREATED)));
    assert_eq!(record.expires(), Some(at(1_803_297_600)));
    assert_eq!(record.not_before(), Some(at(1_795_564_800) + millis(500)));
    assert_eq!(record.retires(), Some(at(1_798_761_600) + Duration::from_nanos(1)));
    assert_eq!(record.revoked(), Some(at(1_798_135_200)));
    assert_eq!(record.client().scopes().collect::<Vec<_>>(), ["reports:read", "b"]);
    assert_eq!(record.client().name(), Some("Café \"Nord\""));
    assert_eq!(record.format().map(KeyFormat::prefix), Some("sk_live"));
    assert_eq!(record.note(), Some("a\nb"));

    let record = file.record(&id(2)).unwrap();
    assert_eq!(
        (record.expires(), record.not_before(), record.retires(), record.revoked()),
        (None, None, None, None)
    );
    assert_eq!((record.client().name(), record.note()), (None, None));
    assert_eq!((record.client().scopes().count(), record.format()), (0, None));

    assert_eq!((file.status().keys(), file.records().count()), (1, 2));
    assert_eq!(outcome(&file, KEY), "401 revoked");
    assert_eq!(outcome(&file, OTHER), "200 mobile-app");
    assert_eq!(outcome(&file, WRONG), "401 unknown");
}

#[test]
fn a_new_file_has_a_header_and_one_json_line_per_key() {
    let folder = Folder::new();
    let clock = || at(CREATED) + Duration::from_nanos(999_999_999);
    let file = KeyFile::options().create(true).clock(clock).open(folder.file()).unwrap();
    assert!(folder.names().is_empty());
    let client = Client::new("mobile-app").with_scopes(["b", "a"]).with_name("Mobile \"app\"");
    let minted = file.issue(&KeyFormat::new("sk_live").unwrap(), client).unwrap();
    let written = folder.text();
    let (header, line) = written.split_once('\n').unwrap();
    assert_eq!(header, r#"{"v":1}"#);
    assert!(line.ends_with('\n') && line.lines().count() == 1, "{line}");
    assert_eq!(
        serde_json::from_str::<Value>(line).unwrap(),
        json!({
            "id": minted.id(),
            "client": "mobile-app",
            "digest": minted.digest().encode(),
            "created": "2026-11-24T12:00:00Z",
            "scopes": ["b", "a"],
            "name": "Mobile \"app\"",
            "prefix": "sk_live",
        })
    );
}

#[test]
fn comments_empty_lines_white_space_and_cr_lf_are_accepted() {
    let (one, two) = (line(1, "mobile-app", KEY), line(2, "ci", OTHER));
    for text in [
        format!("{{\"v\":1}}\n{one}\n{two}\n"),
        format!("{{\"v\":1}}\r\n{one}\r\n{two}\r\n"),
        format!(" {{ \"v\" : 1 }}\t\n\n\n{one}\n \t\n{two}\n\n"),
        format!("{{\"v\":1}}\n# A comment\n#\n  # {{\"id\":1}}\n{one}\n#{two}\n\t{two}  \n#\n"),
        format!("{{\"v\":1}}\n{two}\n# caf\u{e9} \u{1f511}\n{one}\n"),
        format!("{{\"v\":1}}\n{}\n{two}\n", one.replace(":", " :\t"))
            .replace("12 :\t00 :\t", "12:00:")
            .replace("sha256 :\t", "sha256:"),
        // The hexadecimal digits of a digest can be in upper case.
        format!("{{\"v\":1}}\n{one}\n{two}\n").replace(
            KeyDigest::of(KEY).encode().trim_start_matches("sha256:"),
            &KeyDigest::of(KEY).encode().trim_start_matches("sha256:").to_uppercase(),
        ),
    ] {
        let folder = Folder::with(&text);
        let file = read(folder.file()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(outcome(&file, KEY), "200 mobile-app", "{text}");
        assert_eq!(outcome(&file, OTHER), "200 ci", "{text}");
        assert_eq!(file.status().keys(), 2);
    }
}

#[test]
fn null_in_an_optional_field_counts_as_missing() {
    for field in ["expires", "not_before", "retires", "revoked", "name", "prefix", "note"] {
        let more = format!(",\"{field}\":null");
        let folder = Folder::with(text([line_and(1, "ci", KEY, &more)]));
        assert_eq!(outcome(&read(folder.file()).unwrap(), KEY), "200 ci", "{field}");
    }
}

/// Each field of version 2, a value, and the error of an older service or of a file of version 1.
const FIELDS_OF_VERSION_2: [(&str, &str, &str); 8] = [
    ("issued_by", "\"alice\"", "`issued_by` requires {\"v\":2}"),
    ("rotated", "\"2027-01-31T12:00:00Z\"", "`rotated` requires {\"v\":2}"),
    ("replaced_by", "\"Key00009\"", "`replaced_by` requires {\"v\":2}"),
    ("rotated_reason", "\"yearly\"", "`rotated_reason` requires {\"v\":2}"),
    ("paused", "\"2027-01-31T12:00:00Z\"", "`paused` requires {\"v\":2}"),
    ("revoked_by", "\"bob\"", "`revoked_by` requires {\"v\":2}"),
    ("revoked_reason", "\"leaked\"", "`revoked_reason` requires {\"v\":2}"),
    ("metadata", "{\"plan\":\"pro\"}", "`metadata` requires {\"v\":2}"),
];

#[test]
fn each_field_of_version_2_is_read_and_requires_that_version() {
    for (name, value, error) in FIELDS_OF_VERSION_2 {
        let file = text([line_and(1, "ci", KEY, &format!(",\"{name}\":{value}"))]);
        let folder = Folder::with(&file);
        let message = read(folder.file()).unwrap_err().to_string();
        assert!(message.contains(error), "{message}");
        let folder = Folder::with(file.replace("\"v\":1", "\"v\":2"));
        let expected = if name == "paused" { "401 paused" } else { "200 ci" };
        assert_eq!(outcome(&read(folder.file()).unwrap(), KEY), expected, "{name}");
    }
}

#[test]
fn a_file_of_version_2_has_who_issued_and_revoked_a_key_and_why_and_metadata() {
    let more = r#","issued_by":"alice","rotated_reason":"yearly","paused":"2026-12-01T00:00:00Z",
        "revoked":"2026-12-01T00:00:00Z","revoked_by":"bob","revoked_reason":"le\u0061ked",
        "metadata":{"plan":"pro","\u0061":"b"}"#;
    let file = text([line_and(1, "ci", KEY, &more.replace('\n', ""))]);
    let folder = Folder::with(file.replace("\"v\":1", "\"v\":2"));
    let file = read(folder.file()).unwrap();
    let record = file.record(&id(1)).unwrap();
    assert_eq!((record.issued_by(), record.rotated_reason()), (Some("alice"), Some("yearly")));
    assert_eq!((record.paused(), record.revoked()), (Some(at(1_796_083_200)), record.paused()));
    assert_eq!((record.revoked_by(), record.revoked_reason()), (Some("bob"), Some("leaked")));
    let metadata: Vec<_> = record.client().metadata_entries().collect();
    assert_eq!(metadata, [("a", "b"), ("plan", "pro")]);
    assert_eq!(outcome(&file, KEY), "401 revoked");
}

#[test]
fn a_version_2_file_holds_the_time_and_the_successor_of_a_rotation() {
    let more = r#","rotated":"2026-12-01T00:00:00Z","replaced_by":"Key00002""#;
    let file = text([line_and(1, "ci", KEY, more), line(2, "ci", OTHER)]);
    let folder = Folder::with(file.replace("\"v\":1", "\"v\":2"));
    let file = read(folder.file()).unwrap();
    let (old, new) = (file.record(&id(1)).unwrap(), file.record(&id(2)).unwrap());
    assert_eq!((old.rotated(), old.replaced_by()), (Some(at(1_796_083_200)), Some(&*id(2))));
    assert_eq!((new.rotated(), new.replaced_by()), (None, None));
    assert_eq!([outcome(&file, KEY), outcome(&file, OTHER)], ["200 ci", "200 ci"]);
}

#[test]
fn a_key_that_was_rotated_without_overlap_is_rejected_by_a_service_whose_clock_is_slow() {
    let rotated = "2026-12-01T00:00:00Z";
    for (retires, expected) in [
        ("2026-11-30T23:59:59Z", "401 expired"),
        (rotated, "401 expired"),
        ("2026-12-01T00:00:00.000000001Z", "200 ci"),
    ] {
        let more = format!(r#","retires":"{retires}","rotated":"{rotated}""#);
        let text = text([line_and(1, "ci", KEY, &more)]).replace("\"v\":1", "\"v\":2");
        let folder = Folder::with(text);
        let slow = || at(CREATED);
        let file = KeyFile::options().follow(false).clock(slow).open(folder.file()).unwrap();
        assert_eq!(outcome(&file, KEY), expected, "{retires}");
    }
}

#[test]
fn a_row_that_has_already_expired_is_an_expired_key_and_no_error() {
    let more = ",\"expires\":\"2026-11-24T12:00:00Z\"";
    let folder = Folder::with(text([line_and(1, "ci", KEY, more), line(2, "ci", OTHER)]));
    for now in [CREATED - 1, CREATED, CREATED + 86_400] {
        let options = KeyFile::options().follow(false).clock(move || at(now));
        let file = options.open(folder.file()).unwrap();
        let expected = if now < CREATED { "200 ci" } else { "401 expired" };
        assert_eq!(outcome(&file, KEY), expected);
        file.update(|_| Ok(())).unwrap();
    }
}

// A table of a database may have no creation time.
#[test]
fn an_expired_record_without_a_creation_time_can_be_written_and_read() {
    let folder = Folder::new();
    let options = || KeyFile::options().create(true).follow(false).clock(|| at(CREATED));
    let file = options().open(folder.file()).unwrap();
    let expiry = at(CREATED - 86_400);
    let record = Record::new(KeyDigest::of(KEY), Client::new("ci")).with_expires(expiry);
    file.update(|keys| keys.insert_record(record)).unwrap();
    for file in [file, options().open(folder.file()).unwrap()] {
        assert_eq!(outcome(&file, KEY), "401 expired");
        let record = file.records().next().unwrap();
        assert_eq!((record.created(), record.expires()), (Some(expiry), Some(expiry)));
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_a_change_drops_it() {
    let text = text_of(KEY);
    let folder = Folder::with(format!("\u{feff}{text}"));
    let file = read(folder.file()).unwrap();
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
    // A change without effect leaves the file as it is.
    file.update(|_| Ok(())).unwrap();
    assert_eq!(folder.text(), format!("\u{feff}{text}"));
    file.update(|keys| keys.insert(OTHER, Client::new("ci"))).unwrap();
    assert!(folder.text().starts_with(&text), "{}", folder.text());
    assert_eq!(outcome(&read(folder.file()).unwrap(), KEY), "200 mobile-app");
    // The mark does not change the number of a line.
    folder.save(format!("\u{feff}{HEADER}nothing\n"));
    assert_eq!(read(folder.file()).unwrap_err().line(), Some(2));
}

#[test]
fn a_file_and_a_line_can_be_as_large_as_the_maximum_and_no_larger() {
    let text = text_of(KEY);
    let folder = Folder::with(&text);
    let len = text.len() as u64;
    let options = |max| KeyFile::options().follow(false).max_size(max);
    let file = options(len).open(folder.file()).unwrap();
    assert_eq!(outcome(&file, KEY), "200 mobile-app");
    for max in [0, 1, len - 1] {
        let error = options(max).open(folder.file()).unwrap_err();
        assert_eq!((error.kind(), error.line()), (Kind::Content, None), "{error}");
        assert!(error.to_string().contains(&format!("more than {max} bytes")), "{error}");
    }
    // A change does not write a file that could not be read.
    let error = file.update(|keys| keys.insert(OTHER, Client::new("ci"))).unwrap_err();
    assert!(error.to_string().contains(&format!("more than {len} bytes")), "{error}");
    assert_eq!((error.kind(), error.line()), (Kind::Refused, None));
    assert_eq!((folder.text(), outcome(&file, OTHER)), (text.clone(), "401 unknown".into()));
    // The file grows beyond the maximum after it was opened.
    folder.save(format!("{text}\n"));
    let error = file.revoke_client("mobile-app").unwrap_err();
    assert!(error.to_string().contains(&format!("more than {len} bytes")), "{error}");
    assert_eq!(outcome(&file, KEY), "200 mobile-app");

    let comment = format!("{HEADER}#{}\n{}", "x".repeat(65_534), text_of(KEY).replace(HEADER, ""));
    folder.save(comment);
    assert_eq!(outcome(&read(folder.file()).unwrap(), KEY), "200 mobile-app");
    let long = Record::new(KeyDigest::of(OTHER), Client::new("ci")).with_note("x".repeat(65_536));
    let error = read(folder.file()).unwrap().update(|keys| keys.insert_record(long)).unwrap_err();
    assert!(error.to_string().contains("more than 65536 bytes"), "{error}");
    assert_eq!(error.kind(), Kind::Refused);
}

#[test]
fn a_file_without_keys_rejects_every_key_and_is_reported() {
    for header in [HEADER, "{\"v\":1}\n# None yet.\n\n"] {
        let folder = Folder::with(header);
        let (events, options) = Events::of(KeyFile::options());
        let file = options.open(folder.file()).unwrap();
        assert_eq!(events.all(), ["emptied"]);
        assert_eq!((file.status().keys(), outcome(&file, KEY)), (0, "401 unknown".into()));
    }
}

#[test]
fn a_file_in_which_every_key_is_revoked_is_loaded() {
    let more = ",\"revoked\":\"2026-12-24T18:00:00Z\"";
    let folder = Folder::with(text([line_and(1, "ci", KEY, more)]));
    let file = read(folder.file()).unwrap();
    assert_eq!((file.status().keys(), outcome(&file, KEY)), (0, "401 revoked".into()));
}

/// An invalid file, the number of the wrong line, and words of the reason.
type Bad = (Vec<u8>, Option<usize>, &'static str);

fn bad_files() -> Vec<Bad> {
    let (one, two) = (line(1, "mobile-app", KEY), line(2, "ci", OTHER));
    let bad = |third: &str| {
        // Comments and empty lines count as lines.
        format!("{HEADER}# Keys\n\n{one}\n{third}\n{two}\n").into_bytes()
    };
    let field = |field: &str, value: Value| {
        let mut line: Value = serde_json::from_str(&line(3, "web", WRONG)).unwrap();
        line[field] = value;
        bad(&line.to_string())
    };
    let without = |field: &str| {
        let mut line: Value = serde_json::from_str(&line(3, "web", WRONG)).unwrap();
        line.as_object_mut().unwrap().remove(field).unwrap();
        bad(&line.to_string())
    };
    let of_version_2 = |file: Vec<u8>| {
        String::from_utf8(file).unwrap().replacen("\"v\":1", "\"v\":2", 1).into_bytes()
    };
    let mut files: Vec<Bad> = vec![
        (b"".to_vec(), None, "empty"),
        (b"\n".to_vec(), Some(1), "first line"),
        (b" \n".to_vec(), Some(1), "first line"),
        (b"# Keys\n{\"v\":1}\n".to_vec(), Some(1), "first line"),
        (one.clone().into_bytes(), Some(1), "line break"),
        (format!("{one}\n").into_bytes(), Some(1), "first line"),
        (b"{\"v\":1}".to_vec(), Some(1), "line break"),
        (b"{\"v\":3}\n".to_vec(), Some(1), "version"),
        (b"{\"v\":0}\n".to_vec(), Some(1), "version"),
        (b"{\"v\":1,\"w\":1}\n".to_vec(), Some(1), "first line"),
        (b"{\"v\":1,\"v\":1}\n".to_vec(), Some(1), "first line"),
        (b"{\"v\":\"1\"}\n".to_vec(), Some(1), "first line"),
        (b"{\"v\":-1}\n".to_vec(), Some(1), "first line"),
        (b"{}\n".to_vec(), Some(1), "first line"),
        (b"\xEF\xBB\xBF".to_vec(), None, "empty"),
        (b"\xEF\xBB\xBF\xEF\xBB\xBF{\"v\":1}\n".to_vec(), Some(1), "first line"),
        (format!("{HEADER}\u{feff}{one}\n").into_bytes(), Some(2), "not JSON from column 1 on"),
        (format!("{HEADER}{HEADER}").into_bytes(), Some(2), "`id` is missing"),
        (format!("{HEADER}{one}\n{two}").into_bytes(), Some(3), "line break"),
        (format!("{HEADER}{one}\n# cut o").into_bytes(), Some(3), "line break"),
        (format!("{HEADER}{one}\n ").into_bytes(), Some(3), "line break"),
        (format!("{HEADER}{one}\r").into_bytes(), Some(2), "line break"),
        ([HEADER.as_bytes(), one.as_bytes(), b"\n# caf\xE9\n"].concat(), Some(3), "not UTF-8"),
        ([b"\xFF\xFE", HEADER.as_bytes()].concat(), Some(1), "not UTF-8"),
        (bad("\0"), Some(5), "not JSON from column 1 on"),
        (bad("not json"), Some(5), "not JSON"),
        (bad("//"), Some(5), "not JSON"),
        (bad("[]"), Some(5), "not a JSON object"),
        (bad("\"text\""), Some(5), "not a JSON object"),
        (bad("null"), Some(5), "not a JSON object"),
        (bad("{}"), Some(5), "`id` is missing"),
        (
            bad(&format!("{} {}", line(3, "web", WRONG), line(4, "web", "four"))),
            Some(5),
            "not JSON",
        ),
        (bad(&line(3, "web", WRONG)[..60]), Some(5), "not JSON"),
        (bad(&"[".repeat(60_000)), Some(5), "not a JSON object"),
        (bad(&"[".repeat(100_000)), Some(5), "more than 65536 bytes"),
        (
            format!("{HEADER}# {}", "x".repeat(65_535)).into_bytes(),
            Some(2),
            "more than 65536 bytes",
        ),
        (of_version_2(field("replaced_by", json!("short"))), Some(5), "eight letters"),
        (of_version_2(field("rotates", json!("Key00009"))), Some(5), "unknown or repeated"),
        (bad(&line(3, "web", KEY)), Some(5), "already"),
        (bad(&line(1, "web", WRONG)), Some(5), "another key has this id"),
        (
            bad(&line_and(3, "web", WRONG, ",\"note\":\"a\",\"note\":\"b\"")),
            Some(5),
            "unknown or repeated",
        ),
        (bad(&line_and(3, "web", WRONG, ",\"client\":\"b\"")), Some(5), "unknown or repeated"),
        (field("client", json!("")), Some(5), "client's id"),
        (field("client", json!(" \t")), Some(5), "client's id"),
        (field("client", json!("a\nb")), Some(5), "client's id"),
        (field("scopes", json!(["two words"])), Some(5), "scope"),
        (field("scopes", json!(["ok", ""])), Some(5), "scope"),
        (field("scopes", json!("reports:read")), Some(5), "`scopes` is not a list of strings"),
        (field("scopes", json!(["ok", 1])), Some(5), "`scopes` is not a list of strings"),
        (field("scopes", json!(null)), Some(5), "`scopes` is not a list of strings"),
        (field("digest", json!("")), Some(5), "a digest is"),
        (
            field("digest", json!(KeyDigest::of(WRONG).encode().replace("sha256:", ""))),
            Some(5),
            "a digest is",
        ),
        (field("digest", json!(&KeyDigest::of(WRONG).encode()[..70])), Some(5), "a digest is"),
        (field("digest", json!(WRONG)), Some(5), "a digest is"),
        (field("id", json!("short")), Some(5), "eight letters"),
        (field("id", json!("Key_0003")), Some(5), "eight letters"),
        (field("id", json!("\u{e9}\u{e9}\u{e9}\u{e9}")), Some(5), "eight letters"),
        (field("prefix", json!("sk__live")), Some(5), "a prefix is"),
        (field("prefix", json!("")), Some(5), "a prefix is"),
        (
            field("expires", json!("2026-11-24T11:59:59Z")),
            Some(5),
            "would expire before it is valid",
        ),
        (field("expired", json!("2027-11-24T11:59:59Z")), Some(5), "unknown or repeated"),
        (field("Expires", json!("2027-11-24T11:59:59Z")), Some(5), "unknown or repeated"),
        (field("key", json!(WRONG)), Some(5), "unknown or repeated"),
        (field("", json!("")), Some(5), "unknown or repeated"),
    ];
    for value in [json!("pro"), json!(["pro"]), json!({"plan": 1}), json!({"plan": null}), json!(1)]
    {
        files.push((field("metadata", value), Some(5), "`metadata` is not an object of strings"));
    }
    files.push((field("networks", json!(["10.0.0.0/8"])), Some(5), "unknown or repeated field"));
    for (name, value, reason) in FIELDS_OF_VERSION_2 {
        files.push((field(name, serde_json::from_str(value).unwrap()), Some(5), reason));
    }
    for needed in ["id", "client", "digest", "created"] {
        files.push((without(needed), Some(5), "is missing"));
        files.push((field(needed, json!(null)), Some(5), "is not a string"));
    }
    for name in ["id", "client", "digest", "created", "expires", "not_before", "retires", "revoked"]
        .into_iter()
        .chain([
            "rotated",
            "replaced_by",
            "rotated_reason",
            "paused",
            "revoked_by",
            "revoked_reason",
        ])
        .chain(["issued_by", "name", "prefix", "note"])
    {
        for value in [json!(1), json!(1_795_521_600.5), json!(true), json!(["x"]), json!({"x": 1})]
        {
            files.push((field(name, value), Some(5), "is not a string"));
        }
    }
    for name in ["created", "expires", "not_before", "retires", "revoked", "rotated", "paused"] {
        for time in [
            "",
            "never",
            "1795521600",
            "2027-01-31",
            "2027-01-31T12:00:00",
            "2027-01-31 12:00:00",
            "2027-01-31T12:00:00+01:00",
            "2027-02-31T12:00:00Z",
            "2027-01-31T25:00:00Z",
            " 2027-01-31T12:00:00Z",
            "2027-01-31T12:00:00Zz",
            "\u{e9}027-01-31T12:00:00Z",
            "2027-01-31T12:00:0\u{e9}Z",
        ] {
            let file = of_version_2(field(name, json!(time)));
            files.push((file, Some(5), "is not a time in UTC"));
        }
    }
    files
}

#[test]
fn an_invalid_file_is_an_error_that_names_file_line_and_reason() {
    let folder = Folder::new();
    for (text, line, reason) in bad_files() {
        folder.put(&text);
        let shown = text.escape_ascii().to_string();
        let shown = shown.get(..1000).unwrap_or(&shown);
        let error = match read(folder.file()) {
            Err(error) => error,
            Ok(_) => panic!("loaded, and not {reason:?}: {shown}"),
        };
        assert_eq!((error.kind(), error.line()), (Kind::Content, line), "{error}\n{shown}");
        assert_eq!(error.path(), folder.file());
        let at = line.map_or(String::new(), |line| format!(", line {line}"));
        let start = format!("{}{at}: ", folder.file().display());
        let text = error.to_string();
        assert!(text.starts_with(&start) && text.contains(reason), "{text}, not {reason}\n{shown}");
        assert_eq!(text, format!("{error:?}"));
    }
}

#[test]
fn a_list_instead_of_an_object_is_rejected() {
    let key =
        format!(r#"["Key00001","ci","{}","2026-11-24T12:00:00Z"]"#, KeyDigest::of(KEY).encode());
    for (text, line) in [(text([key]), 2), ("[1]\n".to_owned(), 1)] {
        let folder = Folder::with(&text);
        match read(folder.file()) {
            Ok(file) => panic!("loaded, with the outcome {}: {text}", outcome(&file, KEY)),
            Err(error) => assert_eq!((error.kind(), error.line()), (Kind::Content, Some(line))),
        }
    }
}

/// A time after 2554 counts as never.
#[test]
fn a_time_after_2554_survives_the_file() {
    let never = at(60 * 60 * 24 * 366 * 800);
    for (set, expected) in [
        (Record::with_not_before as fn(Record, SystemTime) -> Record, "401 not_yet_valid"),
        (Record::with_revoked, "401 revoked"),
    ] {
        let folder = Folder::new();
        let file = KeyFile::options().create(true).follow(false).open(folder.file()).unwrap();
        let record = set(Record::new(KeyDigest::of(KEY), Client::new("ci")), never);
        file.update(|keys| keys.insert_record(record)).unwrap();
        assert_eq!(outcome(&file, KEY), expected, "here");
        assert_eq!(
            outcome(&read(folder.file()).unwrap(), KEY),
            expected,
            "elsewhere: {}",
            folder.text()
        );
    }
}

#[test]
fn the_source_of_a_line_error_has_the_kind() {
    let folder = Folder::with(text([line(1, "ci", KEY), line(2, "ci", KEY)]));
    let error = read(folder.file()).unwrap_err();
    let source = error.source().unwrap().downcast_ref::<KeyringError>().unwrap();
    assert_eq!(source.kind(), KeyringErrorKind::DuplicateKey);
}

const CANARY: &str = "kx9QCanary7zPw";
const CANARY_ID: &str = "kx9QCan7";
const CANARY_NUMBER: u64 = 867_530_912_345;

/// Returns lines with a secret value in every field and in every form.
fn lines_with_a_canary() -> Vec<String> {
    let good: Value = serde_json::from_str(&line(3, "web", WRONG)).unwrap();
    let mut lines = Vec::new();
    let fields = ["id", "client", "digest", "created", "expires", "not_before", "retires"];
    for field in fields.into_iter().chain(["revoked", "scopes", "name", "prefix", "note", "v"]) {
        for value in [
            json!(CANARY),
            json!(CANARY_ID),
            json!(CANARY_NUMBER),
            json!(-0.867_530_912_345),
            json!([CANARY]),
            json!([CANARY, CANARY_NUMBER]),
            json!([[CANARY]]),
            json!([format!("{CANARY} {CANARY}")]),
            json!({ CANARY: CANARY }),
            json!({ "x": { CANARY: [CANARY_NUMBER] } }),
            json!(format!("{CANARY}\u{1f511}\n{CANARY}")),
            json!(format!("sha256:{CANARY}")),
            json!(format!("2027-01-31T12:00:00Z{CANARY}")),
            json!(format!("{CANARY}__{CANARY}")),
            json!(format!("{CANARY} ").repeat(200)),
        ] {
            let mut line = good.clone();
            line[field] = value;
            lines.push(line.to_string());
            lines.push(line.to_string().replace(field, &field.to_uppercase()));
            // Cut off, and with trailing text.
            lines.push(line.to_string().replace('}', ""));
            lines.push(line.to_string() + CANARY);
            lines.push(line.to_string() + "," + &line.to_string());
        }
        lines.push(good.to_string().replace(&format!("\"{field}\""), &format!("\"{CANARY}\"")));
    }
    for key in [CANARY, &format!("{CANARY}\n"), &format!("expires {CANARY}"), "\u{1f511}"] {
        let mut line = good.clone();
        line[key] = json!(CANARY);
        lines.push(line.to_string());
    }
    for text in ["{C}", "{\"C", "\"C\"", "[C]", "[\"C\"]", "C", "{C:1}", "{\"C\":C}", "\"\\C\""] {
        lines.push(text.replace('C', CANARY));
    }
    // Duplicate keys and ids, and an expiry before the creation.
    lines.push(
        good.to_string().replace(&id(3), CANARY_ID)
            + "\n"
            + &line(4, CANARY, "k4").replace(&id(4), CANARY_ID),
    );
    lines.push(line(3, CANARY, "k3") + "\n" + &line(4, CANARY, "k3"));
    lines.push(line_and(3, CANARY, "k3", ",\"expires\":\"2001-01-01T00:00:00Z\""));
    lines
}

#[test]
fn no_error_shows_the_content_of_the_file() {
    let folder = Folder::new();
    let mut seen = 0;
    let digest = KeyDigest::of(KEY).encode();
    let check = |text: &[u8]| -> bool {
        folder.put(text);
        let Err(error) = read(folder.file()) else { return false };
        assert_eq!(error.kind(), Kind::Content);
        let text_of_error = all_of(&error);
        for secret in [CANARY, CANARY_ID, "8675309", "Canary", "CANARY", &digest[7..20], WRONG, KEY]
        {
            assert!(!text_of_error.contains(secret), "{text_of_error}\n{}", text.escape_ascii());
        }
        true
    };
    for bad in lines_with_a_canary() {
        let text = format!("{HEADER}{}\n{bad}\n", line(1, "ci", KEY));
        seen += usize::from(check(text.as_bytes()));
        // As the first line, and as a last line without a line break.
        check(format!("{bad}\n").as_bytes());
        assert!(check(format!("{HEADER}{bad}").as_bytes()));
        assert!(check(&[HEADER.as_bytes(), bad.as_bytes(), b"\xFF\n"].concat()));
    }
    assert!(seen > 700, "{seen}");
}

#[test]
fn a_path_cannot_break_a_line_of_the_log() {
    let folder = Folder::new();
    let error = read(folder.join("a\nb\u{1b}[31m")).unwrap_err();
    let text = all_of(&error);
    assert!(!text.contains(['\n', '\u{1b}']) && text.contains(r"a\nb"), "{text}");
}

#[test]
fn a_missing_file_and_a_folder_are_errors() {
    let folder = Folder::new();
    fs::create_dir(folder.join("folder")).unwrap();
    for (name, kind, reason) in
        [("gone", Kind::Missing, "no such file"), ("folder", Kind::NotAFile, "not a regular file")]
    {
        let error = read(folder.join(name)).unwrap_err();
        assert_eq!((error.kind(), error.line()), (kind, None));
        let text = error.to_string();
        let start = folder.join(name).display().to_string();
        assert!(text.starts_with(&start) && text.contains(reason), "{text}");
    }
    assert_eq!(read(folder.join("gone/keys.jsonl")).unwrap_err().kind(), Kind::Missing);
    assert_eq!(read("").unwrap_err().path().to_str(), Some(""));
    assert_eq!(folder.names(), ["folder"]);
}

#[cfg(unix)]
#[test]
fn dangling_links_pipes_and_devices_are_errors_and_do_not_hang() {
    use key_file_support::make_fifo;
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    make_fifo(&folder.join("pipe"));
    symlink("pipe", folder.join("link")).unwrap();
    symlink("/dev/zero", folder.join("zeros")).unwrap();
    for (name, kind) in [
        ("dangling", Kind::Missing),
        ("loop", Kind::Io),
        ("pipe", Kind::NotAFile),
        ("link", Kind::NotAFile),
        ("zeros", Kind::NotAFile),
    ] {
        let path = folder.join(name);
        let error = within(Duration::from_secs(10), move || read(path)).unwrap_err();
        assert_eq!((error.kind(), error.line()), (kind, None), "{error}");
        assert!(error.to_string().starts_with(&folder.join(name).display().to_string()));
        // With `create`, each of these is still an error and not a missing file.
        if name != "dangling" {
            let path = folder.join(name);
            let options = KeyFile::options().create(true).follow(false);
            let error = within(Duration::from_secs(10), move || options.open(path)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_an_error_that_names_the_reason() {
    use key_file_support::{NOBODY, as_nobody, is_root, role};
    use std::os::unix::fs::{PermissionsExt, chown};

    if let Some(folder) = role() {
        for name in ["mine", "hidden/keys.jsonl"] {
            let error = read(folder.join(name)).unwrap_err();
            let text = error.to_string();
            assert_eq!((error.kind(), error.line()), (Kind::Io, None), "{text}");
            assert!(text.starts_with(&folder.join(name).display().to_string()), "{text}");
            assert!(text.to_lowercase().contains("permission denied"), "{text}");
            assert!(error.source().is_some());
        }
        println!("child done");
        return;
    }
    let folder = Folder::new();
    fs::create_dir(folder.join("hidden")).unwrap();
    for name in ["mine", "hidden/keys.jsonl"] {
        fs::write(folder.join(name), text_of(KEY)).unwrap();
        if is_root() {
            chown(folder.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    fs::set_permissions(folder.join("mine"), PermissionsExt::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.join("hidden"), PermissionsExt::from_mode(0o000)).unwrap();
    let test = "an_unreadable_file_is_an_error_that_names_the_reason";
    if let Some(output) = as_nobody(test, &folder) {
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("child done"), "{output:?}");
    }
    fs::set_permissions(folder.join("hidden"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_that_is_cut_off_within_a_line_is_never_loaded() {
    let lines = [
        line_and(1, "caf\u{e9}", KEY, ",\"note\":\"\u{1f511}\""),
        line(2, "ci", OTHER) + "\n# An old one:",
        line(3, "ci", WRONG),
    ];
    let whole = text(lines).into_bytes();
    let folder = Folder::new();
    let mut loaded = Vec::new();
    for end in 0..=whole.len() {
        folder.put(&whole[..end]);
        match read(folder.file()) {
            Ok(file) => loaded.push((end, file.status().keys())),
            Err(error) => assert_eq!(error.kind(), Kind::Content, "{end}: {error}"),
        }
    }
    // A cut between two lines cannot be detected.
    let breaks = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let between: Vec<_> = breaks.map(|(at, _)| at + 1).zip([0, 1, 2, 2, 3]).collect();
    assert_eq!(loaded, between);
}

#[test]
fn extreme_times_survive_the_file() {
    let folder = Folder::new();
    let key = |more: &str| {
        folder.put(text([line_and(1, "ci", KEY, more)]));
        let file = read(folder.file()).unwrap();
        (file.record(&id(1)).unwrap(), outcome(&file, KEY))
    };
    let last = Some(UNIX_EPOCH + Duration::from_nanos(u64::MAX - 1));
    for expires in ["9999-12-31T23:59:59Z", "2554-07-21T23:34:33.709551614Z"] {
        let (record, outcome) = key(&format!(",\"expires\":\"{expires}\""));
        assert_eq!((record.expires(), outcome.as_str()), (last, "200 ci"));
    }
    assert_eq!(key(",\"not_before\":\"9999-12-31T23:59:59Z\"").1, "401 not_yet_valid");
    assert_eq!(key(",\"revoked\":\"9999-12-31T23:59:59Z\"").1, "401 revoked");
    assert_eq!(key(",\"retires\":\"9999-12-31T23:59:59Z\"").1, "200 ci");
    assert_eq!(key(",\"expires\":\"2026-11-24T12:00:00Z\"").0.expires(), Some(at(CREATED)));
    // The state changes at the exact instant, by the clock of the file.
    for (field, before, then) in
        [("expires", "200 ci", "401 expired"), ("not_before", "401 not_yet_valid", "200 ci")]
    {
        folder.put(text([line_and(
            1,
            "ci",
            KEY,
            &format!(",\"{field}\":\"2030-01-01T00:00:00Z\""),
        )]));
        for (now, expected) in [(1_893_455_999, before), (1_893_456_000, then)] {
            let options = KeyFile::options().follow(false).clock(move || at(now));
            assert_eq!(outcome(&options.open(folder.file()).unwrap(), KEY), expected, "{field}");
        }
    }
}

fn time() -> impl Strategy<Value = SystemTime> {
    let nanoseconds = prop_oneof![
        4 => 0..u64::MAX,
        1 => (0..4_000_000_000_u64).prop_map(|seconds| seconds * 1_000_000_000),
        1 => prop_oneof![Just(0), Just(1), Just(u64::MAX - 1)],
    ];
    nanoseconds.prop_map(|nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

/// Any text, often with characters that need an escape.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        ".{0,12}",
        "[\\\\\"\n\r\t\u{0}#{}\u{85}\u{2028}\u{feff}\u{1f511} ]{0,8}",
        Just(String::new())
    ]
}

fn a_client() -> impl Strategy<Value = Client> {
    let id = odd_text().prop_map(|id| id.chars().filter(|char| !char.is_control()).collect());
    let id = id.prop_map(|id: String| if id.trim().is_empty() { "ci".into() } else { id });
    let scopes = vec(r"[!#-\[\]-~]{1,12}", 0..4);
    let metadata = vec((odd_text(), odd_text()), 0..3);
    (id, scopes, option::of(odd_text()), metadata).prop_map(|(id, scopes, name, metadata)| {
        let mut client = Client::new(id).with_scopes(scopes);
        for (key, value) in metadata {
            client = client.with_metadata(key, value);
        }
        match name {
            Some(name) => client.with_name(name),
            None => client,
        }
    })
}

fn a_record() -> impl Strategy<Value = Record> {
    let times = (time(), option::of(time()), option::of(time()), option::of(time()));
    let rotation = (option::of(time()), option::of("[0-9A-Za-z]{8}"));
    let prefix = option::of("[0-9A-Za-z]{1,8}(_[0-9A-Za-z]{1,8}){0,2}");
    let texts =
        ("[0-9A-Za-z]{8}", prefix, [odd_text(), odd_text(), odd_text(), odd_text(), odd_text()]);
    let times = (times, rotation);
    let states = (option::of(time()), option::of(time()));
    (any::<[u8; 32]>(), a_client(), times, states, texts).prop_map(
        |(
            digest,
            client,
            (times, (rotated, successor)),
            (paused, revoked),
            (id, prefix, texts),
        )| {
            let (created, expires, begins, retires) = times;
            let record = Record::new(KeyDigest::from_bytes(digest), client);
            let mut record = record.with_id(&id).unwrap().with_created(created);
            for (time, set) in [
                (begins, Record::with_not_before as fn(Record, SystemTime) -> Record),
                (retires, Record::with_retires),
                (rotated, Record::with_rotated),
                (paused, Record::with_paused),
                (revoked, Record::with_revoked),
                (
                    expires.map(|at| at.max(created).max(begins.unwrap_or(created))),
                    Record::with_expires,
                ),
            ] {
                if let Some(time) = time {
                    record = set(record, time);
                }
            }
            if let Some(successor) = successor {
                record = record.with_replaced_by(&successor).unwrap();
            }
            if let Some(prefix) = prefix {
                record = record.with_format(KeyFormat::new(prefix).unwrap());
            }
            // An empty text is no text.
            let [note, issued_by, rotated_reason, revoked_by, revoked_reason] = texts;
            record
                .with_note(note)
                .with_issued_by(issued_by)
                .with_rotated_reason(rotated_reason)
                .with_revoked_by(revoked_by)
                .with_revoked_reason(revoked_reason)
        },
    )
}

/// Returns every field of a record.
fn fields_of(record: &Record) -> String {
    let client = record.client();
    format!(
        "{:?}",
        (
            (record.id(), record.digest().encode(), record.note(), record.format()),
            (client.id(), client.name(), client.scopes().collect::<Vec<_>>()),
            client.metadata_entries().collect::<Vec<_>>(),
            (record.issued_by(), record.rotated_reason(), record.paused()),
            (record.revoked_by(), record.revoked_reason()),
            (record.created(), record.expires(), record.not_before()),
            (record.retires(), record.revoked(), record.rotated(), record.replaced_by()),
        )
    )
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn every_written_record_is_read_back(new in vec(a_record(), 1..6)) {
        let folder = Folder::new();
        let new: BTreeMap<_, _> =
            new.into_iter().map(|record| (record.id().unwrap().to_owned(), record)).collect();
        let open = || KeyFile::options().create(true).follow(false).open(folder.file()).unwrap();
        let file = open();
        // A file can hold clients with ids that a new client cannot have.
        file.update(|keys| keys.replace(new.values().cloned())).unwrap();
        for read in [records(&file), records(&open())] {
            prop_assert_eq!(read.len(), new.len());
            for (id, new) in &new {
                prop_assert_eq!(fields_of(&read[id]), fields_of(new));
            }
        }
        // A second change leaves every line as it was.
        let before = folder.text();
        open().update(|keys| keys.insert_digest(KeyDigest::from_bytes([7; 32]), Client::new("ci"))).unwrap();
        let after = folder.text();
        prop_assert!(after.starts_with(&before));
        prop_assert_eq!(after[before.len()..].lines().count(), 1);
    }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn no_bytes_cause_a_panic(text in vec(any::<u8>(), 0..300), has_header in any::<bool>()) {
        thread_local! { static FOLDER: Folder = Folder::new(); }
        let text = if has_header { [HEADER.as_bytes(), &text, b"\n"].concat() } else { text };
        FOLDER.with(|folder| {
            folder.put(&text);
            let read = catch_unwind(AssertUnwindSafe(|| read(folder.file()).map(|file| file.status())));
            let read = read.unwrap_or_else(|_| panic!("{}", text.escape_ascii()));
            // Random bytes can be a comment, but not a key.
            read.map_or_else(|error| assert_eq!(error.kind(), Kind::Content), |it| assert_eq!(it.keys(), 0));
        });
    }

    #[test]
    fn no_json_line_causes_a_panic(
        fields in vec((
            prop_oneof![
                4 => prop::sample::select(vec![
                    "id", "client", "digest", "created", "expires", "not_before", "retires", "revoked",
                    "scopes", "name", "prefix", "note",
                ]).prop_map(str::to_owned),
                1 => ".{0,9}",
            ],
            prop_oneof![
                odd_text().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                vec(odd_text(), 0..3).prop_map(Value::from),
                r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,12})?Z".prop_map(Value::from),
                Just(Value::Null),
            ],
        ), 0..5),
    ) {
        thread_local! { static FOLDER: Folder = Folder::new(); }
        let mut line: Value = serde_json::from_str(&line(1, "ci", KEY)).unwrap();
        fields.into_iter().for_each(|(name, value)| line[name] = value);
        FOLDER.with(|folder| {
            folder.put(text([line]));
            if let Err(error) = read(folder.file()) {
                assert_eq!((error.kind(), error.line()), (Kind::Content, Some(2)), "{error}");
            }
        });
    }

    #[test]
    fn no_change_to_a_valid_file_causes_a_panic(
        changes in vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..4),
    ) {
        thread_local! { static FOLDER: Folder = Folder::new(); }
        let more = ",\"expires\":\"2030-01-01T00:00:00Z\",\"scopes\":[\"a\"],\"note\":\"\u{e9}\"";
        let mut text = text([line_and(1, "ci", KEY, more), line(2, "ci", OTHER)]).into_bytes();
        for (at, change, byte) in changes {
            let at = at.index(text.len());
            match change {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 => _ = text.remove(at),
                _ => text[at] ^= 1 << (byte % 8),
            }
        }
        FOLDER.with(|folder| {
            folder.put(&text);
            match read(folder.file()) {
                Ok(file) => assert!(file.records().count() <= 2 && text.ends_with(b"\n")),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Content);
                    let text = all_of(&error);
                    assert!(!text.contains(&KeyDigest::of(OTHER).encode()[20..40]), "{text}");
                }
            }
        });
    }
}
