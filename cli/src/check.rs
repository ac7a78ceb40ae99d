//! Checks whether a key is valid, and explains why not.

use std::time::SystemTime;

use serde_json::json;
use tower_api_key::{
    Client, KeyDigest, Keyring, error::ParseKeyErrorKind, record::Record, store::Page,
};

use crate::{Failure, escape, failure::describe, output, prompt, store::Store};

pub(crate) fn check(store: &Store, json: bool) -> Result<(), Failure> {
    let key = prompt::read_key()?;
    let now = SystemTime::now();
    let Some(record) = store.find(&KeyDigest::of(&*key))? else {
        return Err(reject_unknown(store, json, &key, now)?);
    };
    let reason = record.check(now).err();
    if json {
        let mut found = output::to_json(&record, now);
        found["valid"] = reason.is_none().into();
        found["reason"] = reason.map(|reason| reason.as_str()).into();
        output::print_json(&found)?;
    }
    match reason {
        Some(reason) => {
            let message = format!("invalid: {}", describe_key(&record, now));
            Err(Failure::rejected(reason.as_str(), message))
        }
        None if json => Ok(()),
        None => output::print_lines([format!("valid: {}", describe_key(&record, now))].into_iter()),
    }
}

/// Describes the state of a key that is in the store. The text begins with the key's id.
fn describe_key(record: &Record, now: SystemTime) -> String {
    let key = format!(
        "key {} of {}",
        record.id().unwrap_or_default(),
        escape::text(record.client().id())
    );
    let format_time = |time: Option<SystemTime>| {
        time.map(|time| {
            format!(" {} ({})", output::format_relative(time, now), output::format_rfc3339(time))
        })
        .unwrap_or_default()
    };
    let end = output::find_end(record);
    let successor = record.replaced_by().map(|id| format!(", replaced by {id}"));
    let successor = successor.unwrap_or_default();
    match output::classify(record, now) {
        "revoked" => format!("{key} was revoked{}", format_time(record.revoked())),
        "paused" => format!("{key} was paused{}", format_time(record.paused())),
        "not yet" => format!("{key} becomes valid{}", format_time(record.not_before())),
        _ if record.check(now).is_ok() => {
            let end = end.map(|_| format!(", expires{}", format_time(end))).unwrap_or_default();
            format!("{key}{end}{successor}")
        }
        _ if record.retires().is_some() => {
            format!("{key} was rotated and expired{}{successor}", format_time(end))
        }
        _ => format!("{key} expired{}", format_time(end)),
    }
}

/// Explains why a key is not in the store.
fn reject_unknown(
    store: &Store,
    json: bool,
    key: &[u8],
    now: SystemTime,
) -> Result<Failure, Failure> {
    let why = match strip_pasted(key) {
        None => explain_unknown(store, key)?,
        Some((inner, around)) => {
            let verdict = match store.find(&KeyDigest::of(inner))? {
                None => format!("invalid: {}", explain_unknown(store, inner)?),
                Some(record) if record.check(now).is_ok() => {
                    format!("valid: {}", describe_key(&record, now))
                }
                Some(record) => format!("invalid: {}", describe_key(&record, now)),
            };
            format!("the key has {around}. Without that, the key is {verdict}")
        }
    };
    if json {
        output::print_json(&json!({ "valid": false, "reason": "unknown", "detail": why }))?;
    }
    Ok(Failure::rejected("unknown", format!("invalid: {why}")))
}

/// The formats are those of a key file, or those of the first keys of a database, which can be large.
fn explain_unknown(store: &Store, key: &[u8]) -> Result<String, Failure> {
    if let Err(malformed) = Keyring::new().insert(key, Client::new("check")) {
        return Ok(describe(&malformed));
    }
    let records = store.page(&Page::new().with_limit(store.batch()))?;
    let mut malformed = records.iter().filter_map(|record| record.format()?.parse(key).err());
    let mistyped = malformed.find(|error| error.kind() == ParseKeyErrorKind::Checksum);
    Ok(mistyped.map_or_else(|| "no such key".to_owned(), |error| error.to_string()))
}

/// Removes words and quotes that people paste with a key, and names them.
fn strip_pasted(text: &[u8]) -> Option<(&[u8], String)> {
    let (mut words, mut has_quotes, mut rest) = (Vec::new(), false, text.trim_ascii());
    loop {
        let word = WORDS.into_iter().find_map(|word| Some((word, strip_word(rest, word)?)));
        let quoted = QUOTES.into_iter().find_map(|quotes| strip_quotes(rest, quotes));
        rest = match (word, quoted) {
            (Some((word, behind)), _) => {
                words.push(format!("`{word}`"));
                behind
            }
            (None, Some(inner)) => {
                has_quotes = true;
                inner
            }
            (None, None) => break,
        }
        .trim_ascii();
    }
    let words = (!words.is_empty()).then(|| format!("{} in front of it", words.join(" and ")));
    let quotes = has_quotes.then(|| "quotes around it".to_owned());
    let around: Vec<_> = words.into_iter().chain(quotes).collect();
    (!around.is_empty() && !rest.is_empty()).then(|| (rest, around.join(" and ")))
}

const WORDS: [&str; 2] = ["Authorization:", "Bearer"];
const QUOTES: [[&str; 2]; 5] = [["\"", "\""], ["'", "'"], ["`", "`"], ["“", "”"], ["‘", "’"]];

/// Returns the text after a header's word. The word can be in any case and ends at a blank.
fn strip_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(word.len())?;
    let is_whole = word.ends_with(':') || rest.first()?.is_ascii_whitespace();
    (is_whole && start.eq_ignore_ascii_case(word.as_bytes())).then_some(rest)
}

fn strip_quotes<'a>(text: &'a [u8], [open, close]: [&str; 2]) -> Option<&'a [u8]> {
    text.strip_prefix(open.as_bytes())?.strip_suffix(close.as_bytes())
}
