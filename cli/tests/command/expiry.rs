//! Times and durations: `--expires`, `--not-before` and `--overlap`.

use std::time::{Duration, SystemTime};

use crate::support::{
    Folder,
    fixtures::{OWN, created_and_expires, find_created},
    record_line,
};

#[test]
fn a_key_becomes_valid_at_the_start_of_a_day_and_expires_at_the_end() {
    let folder = Folder::new();
    let key = folder.issue("ci --not-before 2040-01-31 --expires 2040-02-29");
    let record = folder.apikey("check --json").stdin(&key.text).exits(1).json();
    assert_eq!(record["not_before"], "2040-01-31T00:00:00Z");
    assert_eq!(record["expires"], "2040-03-01T00:00:00Z");
    // A key can be valid for one day.
    folder.issue("ci --not-before 2040-01-31 --expires 2040-01-31");
}

#[test]
fn a_time_can_have_an_offset_from_utc() {
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
        let key = folder.apikey("issue ci --expires").arg(time).exits(0).key();
        assert_eq!(created_and_expires(&folder, &key.id).1, utc, "{time}");
    }
}

#[test]
fn years_and_months_follow_the_calendar() {
    let folder = Folder::new();
    for (words, years, months) in
        [("1y", 1, 0), ("4 years", 4, 0), ("1mo", 0, 1), ("18 months", 1, 6), ("1y 1mo", 1, 1)]
    {
        let key = folder.apikey("issue ci --expires").arg(words).exits(0).key();
        let (created, expires) = created_and_expires(&folder, &key.id);
        let number = |text: &str| text.parse::<u32>().unwrap();
        let month = number(&created[5..7]) - 1 + months;
        let start =
            format!("{}-{:02}-", number(&created[..4]) + years + month / 12, month % 12 + 1);
        assert!(expires.starts_with(&start), "{words}: {created} {expires}");
        // The month may not have that day.
        let is_cut = number(&created[8..10]) > 28;
        assert!(expires[7..] == created[7..] || is_cut, "{words}: {created} {expires}");
    }
    let key = folder.issue("ci");
    let outcome = folder.apikey(&format!("rotate {} --overlap 1y", key.id)).exits(0);
    let created = find_created(&folder, &outcome.key().id);
    let (_, until) = outcome.err.split_once("valid until ").unwrap();
    let next = created[..4].parse::<u32>().unwrap() + 1;
    assert!(until.starts_with(&next.to_string()), "{outcome:?}");
    assert!(until[4..].starts_with(&created[4..7]) || &created[5..10] == "02-29", "{outcome:?}");
}

#[test]
fn list_counts_calendar_years() {
    let folder = Folder::new();
    for words in ["1y", "4y", "5y"] {
        let key = folder.issue(&format!("ci --expires {words}"));
        let shown = folder.apikey("list").env("TERM", "dumb").on_terminal().exits(0);
        let row = shown.lines().find(|line| line.starts_with(&key.id)).unwrap();
        let years =
            if words == "1y" { "in 1 year " } else { &format!("in {} years ", &words[..1]) };
        assert!(row.contains(years) && !row.contains("day"), "{shown}");
    }
}

#[test]
fn every_rejected_time_has_a_reason() {
    let folder = Folder::new();
    let unit = "the number has no unit: write it as 90d, 12h or '1h 30m'";
    let day = "no such day: write year, month and day as 2027-01-31";
    let time = "no such time: write it as 2027-01-31T12:00:00Z, or with an offset such as +02:00";
    for (text, why) in [
        ("soon", "expected a duration such as 90d, a day such as 2027-01-31"),
        ("31.01.2027", "expected a duration such as 90d, a day such as 2027-01-31"),
        ("", "expected a duration such as 90d, a day such as 2027-01-31"),
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
        (
            "2027-01-31T12:00:00+01:00[Europe/Berlin]",
            "names of time zones are not supported: write an offset",
        ),
        ("600y", "the time is not before the year 2500"),
        ("99999999999999999999y", "the time is not before the year 2500"),
        ("2500-01-01", "the time is not before the year 2500"),
        ("9999-12-31T23:59:59-12:00", "the time is not before the year 2500"),
        ("0", "the key would expire at once"),
        ("0d", "the key would expire at once"),
        ("5ms", "the key would expire at once"),
        ("-1d", "a duration cannot be negative"),
        ("1d ago", "a duration cannot be negative"),
    ] {
        let outcome = folder.apikey("issue ci").arg(format!("--expires={text}")).exits(2);
        outcome.assert_error(why);
        let value = if text.is_empty() { "" } else { "…" };
        let start = format!("error: invalid value '{value}' for '--expires <WHEN>': ");
        assert!(outcome.err.starts_with(&start), "{outcome:?}");
    }
    for (text, why) in [
        (
            "2020-01-01T00:00:00Z",
            "the key would expire before it is valid: --expires is in the past",
        ),
        ("2020-01-01", "the key would expire before it is valid: --expires is in the past"),
    ] {
        folder.apikey("issue ci --expires").arg(text).exits(1).assert_error(why);
        folder.apikey("import ci --expires").arg(text).stdin(OWN).exits(1).assert_error(why);
    }
    let outcome = folder.apikey("issue ci --expires 1d --not-before 2d").exits(1);
    outcome
        .assert_error("the key would expire before it is valid: --expires is before --not-before");
    assert!(folder.file_names().is_empty());
    let key = folder.issue("ci");
    for (text, why) in [
        ("week", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("7", unit),
        ("-1d", "a duration cannot be negative"),
        ("2027-01-31", "not a duration: write it as 90d, 12h or '1h 30m'"),
        ("1000y", "the time is not before the year 2500"),
    ] {
        let outcome =
            folder.apikey("rotate").arg(&key.id).arg(format!("--overlap={text}")).exits(2);
        outcome.assert_error(why);
    }
}

#[test]
fn a_duration_starts_now() {
    let folder = Folder::new();
    for (words, days) in [("90d", 90), ("12w", 84), ("36h", 1)] {
        let key = folder.issue(&format!("ci --expires {words} --not-before {days}d"));
        let record = folder.record(&key.id);
        for time in [record.expires(), record.not_before()] {
            let from_now = time.unwrap().duration_since(SystemTime::now()).unwrap().as_secs();
            let hours = from_now.div_ceil(3600);
            assert!(hours == days * 24 || (words, hours) == ("36h", 36), "{words}: {hours}");
        }
    }
    let outcome = folder.apikey("issue ci --expires").arg("1h 30m").exits(0);
    let left = folder.record(&outcome.key().id).expires().unwrap();
    let left = left.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(89 * 60) && left <= Duration::from_secs(90 * 60));
}

#[test]
fn a_time_beyond_the_range_of_a_record_is_rejected() {
    let folder = Folder::new();
    let old = folder.issue("ci");
    let before = folder.text();
    for args in [
        &["issue", "late", "--not-before", "2999-01-01T00:00:00Z"][..],
        &["issue", "late", "--expires", "2999-01-01T00:00:00Z"],
        &["rotate", &old.id, "--overlap", "1000y"],
    ] {
        let outcome = folder.apikey("").args(args).finish();
        assert_eq!((outcome.code, folder.text()), (2, before.clone()), "{outcome:?}");
    }
}

#[test]
fn rotation_does_not_make_a_key_valid_that_is_not_yet_valid() {
    let later = r#","not_before":"2999-01-01T00:00:00Z""#;
    let folder = Folder::with(&[record_line("aaaaaaaa", "ci", OWN, later)]);
    let outcome = folder.apikey("check").stdin(OWN).finish();
    assert_ne!(outcome.code, 0, "{outcome:?}");
    folder.apikey("rotate aaaaaaaa --overlap 7d").finish();
    let outcome = folder.apikey("check").stdin(OWN).finish();
    assert_ne!(outcome.code, 0, "{outcome:?}");
}
