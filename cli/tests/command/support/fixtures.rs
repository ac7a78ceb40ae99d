//! Key files, outputs and look-ups that several tests share.

use std::{
    fs,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{Folder, Key, Outcome, record_line};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Keys that an operator chose. No file has them at the start of a test.
pub(crate) const OWN: &str = "Grandfathered-Key-of-1999";

pub(crate) const OTHER: &str = "Another-Key-that-was-there";

/// Returns the times when a key was created and expires, from the list.
pub(crate) fn created_and_expires(folder: &Folder, id: &str) -> (String, String) {
    let listed = folder.apikey("list --json").exits(0).json();
    let key = listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    let [created, expires] = ["created", "expires"].map(|it| key[it].as_str().unwrap().to_owned());
    (created, expires)
}

/// Returns the time when a key was created, from the list.
pub(crate) fn find_created(folder: &Folder, id: &str) -> String {
    let listed = folder.apikey("list --json").exits(0).json();
    let key = listed.as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone();
    key["created"].as_str().unwrap().to_owned()
}

/// Returns an output without a reader.
pub(crate) fn open_broken_pipe() -> Stdio {
    // A process that another test starts can inherit the reader of a pipe, but not undo the end of a stream.
    let (writer, reader) = UnixStream::pair().unwrap();
    reader.shutdown(Shutdown::Both).unwrap();
    OwnedFd::from(writer).into()
}

/// Returns outputs that fail, with the reason of each.
pub(crate) fn open_failing_outputs() -> Vec<(&'static str, Stdio)> {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").map(Stdio::from);
    let full = full.ok().map(|full| ("No space left on device", full));
    [("Broken pipe", open_broken_pipe())].into_iter().chain(full).collect()
}

/// Returns a folder whose file has a key in every state, in no order.
pub(crate) fn create_every_state() -> Folder {
    let later = "2500-01-01T00:00:00Z";
    let ago = "2021-01-01T00:00:00Z";
    let folder = Folder::with(&[
        record_line(
            "gggggggg",
            "zeta",
            "Key-that-works",
            r#","scopes":["a","b:c"],"note":"a note""#,
        ),
        record_line("ffffffff", "ci", "Key-to-begin", &format!(r#","not_before":"{later}""#)),
        record_line("eeeeeeee", "ci", "Key-rotated-ended", &format!(r#","retires":"{ago}""#)),
        record_line("dddddddd", "ci", "Key-rotated", &format!(r#","retires":"{later}""#)),
        record_line("cccccccc", "ci", "Key-expired", &format!(r#","expires":"{ago}""#)),
        record_line(
            "bbbbbbbb",
            "ci",
            "Key-revoked",
            &format!(r#","revoked":"{ago}","expires":"{later}""#),
        ),
        record_line(
            "aaaaaaaa",
            "ci",
            "Key-to-end",
            &format!(r#","expires":"{later}","name":"CI""#),
        ),
    ]);
    for key in ["that-works", "to-begin", "rotated", "expired", "revoked", "to-end"] {
        folder.keep_secret(&format!("Key-{key}"));
    }
    folder
}

/// Returns the state of a key, from the list for scripts.
pub(crate) fn find_state(folder: &Folder, id: &str) -> String {
    let listed = folder.apikey("list").exits(0).out;
    let row = listed.lines().find(|row| row.starts_with(id)).unwrap();
    row.split('\t').nth(2).unwrap().to_owned()
}

pub(crate) const PROMPT: &str = "Key (hidden): ";

/// Runs the command with a text as its input.
///
/// This writes the text to a file and does not use `stdin`, because `stdin` makes the text a secret. A digest
/// is not a secret of the key file.
pub(crate) fn run_with_input(folder: &Folder, words: &str, text: &str) -> Outcome {
    let outside = Folder::new();
    let path = outside.path().join("input");
    fs::write(&path, text).unwrap();
    folder.shell(&format!(r#""$0" {words} <"$1""#)).arg(path).finish()
}

/// Returns the lines of a valid and a revoked key.
pub(crate) fn two_records() -> [String; 2] {
    let dead = r#","revoked":"2021-01-01T00:00:00Z""#;
    [record_line("aaaaaaaa", "ci", OWN, ""), record_line("bbbbbbbb", "ci", "Key-revoked", dead)]
}

/// Parses the one line of JSON on standard error.
pub(crate) fn parse_error(outcome: &Outcome) -> Value {
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
    let error: Value = serde_json::from_str(&outcome.err).unwrap();
    let fields: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["kind", "message"], "{outcome:?}");
    assert!(error["message"].as_str().unwrap().starts_with(|char: char| !char.is_whitespace()));
    error
}

/// Changes one character in the secret part of a key.
pub(crate) fn mistype(key: &Key) -> String {
    let at = key.text.len() - 10;
    let other = if key.text.as_bytes()[at] == b'a' { "b" } else { "a" };
    format!("{}{other}{}", &key.text[..at], &key.text[at + 1..])
}

pub(crate) fn list_clients(listed: &Outcome) -> Vec<String> {
    let listed = listed.json();
    let clients = listed.as_array().unwrap().iter().map(|key| key["client"].as_str().unwrap());
    clients.map(str::to_owned).collect()
}

pub(crate) fn count_years(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / (DAY * 365).as_secs()
}
