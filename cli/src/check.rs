//! Whether a key works, and why not.

use std::time::SystemTime;

use serde_json::json;
use tower_api_key::{
    Client, KeyDigest, Keyring,
    error::{ConfigError, ConfigErrorKind},
    key::KeyFormat,
    key_file::KeyFile,
    verify::Record,
};

use crate::{Failure, commands::answer, failure::words, prompt, show};

pub(crate) fn check(file: &KeyFile, json: bool) -> Result<(), Failure> {
    let key = prompt::key()?;
    let now = SystemTime::now();
    let Some(record) = file.record_of(&KeyDigest::of(&*key)) else {
        return Err(unknown(file, json, &key, now)?);
    };
    let refused = record.refused_at(now);
    if json {
        let mut found = show::json(&record, now);
        found["works"] = refused.is_none().into();
        found["reason"] = refused.map(|reason| reason.as_str()).into();
        answer(&found)?;
    }
    match refused {
        Some(reason) => Err(Failure::refused(reason.as_str(), standing(&record, now))),
        None if json => Ok(()),
        None => {
            let successor = record.replaced_by().map(|id| format!(" Its successor is {id}."));
            let works =
                format!("It works: {}.{}", standing(&record, now), successor.unwrap_or_default());
            show::lines([works].into_iter())
        }
    }
}

/// How a key stands that is in the file, beginning with its id.
fn standing(record: &Record, now: SystemTime) -> String {
    let key = format!(
        "key {} of {}",
        record.id().unwrap_or_default(),
        show::printable(record.client().id())
    );
    let when = |time: Option<SystemTime>| {
        time.map(|time| format!(" {} ({})", show::words(time, now), show::rfc3339(time)))
            .unwrap_or_default()
    };
    let end = show::end(record);
    match show::state(record, now) {
        "revoked" => format!("{key} was revoked{}", when(record.revoked())),
        "not yet" => format!("{key} begins{}", when(record.begins())),
        _ if record.refused_at(now).is_none() => {
            format!("{key}{}", end.map(|_| format!(", and ends{}", when(end))).unwrap_or_default())
        }
        _ if record.retires().is_some() => {
            let successor = record.replaced_by().map(|id| format!(": its successor is {id}"));
            format!("{key} was rotated, and ended{}{}", when(end), successor.unwrap_or_default())
        }
        _ => format!("{key} ended{}", when(end)),
    }
}

/// Says what can be told of a key that is not in the file.
fn unknown(file: &KeyFile, json: bool, key: &[u8], now: SystemTime) -> Result<Failure, Failure> {
    let (nothing, why) = match pasted(key) {
        None => ("it opens nothing", why_unknown(file, key)),
        Some((inner, around)) => {
            let inner = match file.record_of(&KeyDigest::of(inner)) {
                None => format!(", {}", why_unknown(file, inner)),
                Some(record) if record.refused_at(now).is_none() => {
                    format!(" it works: {}", standing(&record, now))
                }
                Some(record) => format!(", {}", standing(&record, now)),
            };
            let why = format!("the key has {around}. Without that{inner}");
            ("it opens nothing as it stands", why)
        }
    };
    if json {
        answer(&json!({ "works": false, "reason": "unknown", "detail": why }))?;
    }
    Ok(Failure::refused("unknown", format!("{nothing}: {why}")))
}

fn why_unknown(file: &KeyFile, key: &[u8]) -> String {
    if let Err(malformed) = Keyring::new().insert(key, Client::new("check")) {
        return words(&malformed);
    }
    let formats = file.records().filter_map(|record| record.key_format().cloned());
    let is_mistyped = |format: KeyFormat| {
        format.parse(key).is_err_and(|error| error.kind() == ConfigErrorKind::Checksum)
    };
    if formats.into_iter().any(is_mistyped) {
        return ConfigError::from(ConfigErrorKind::Checksum).to_string();
    }
    "no key in the file is this one".to_owned()
}

/// A key without the words and quotes that people paste with it, and a name for those.
fn pasted(text: &[u8]) -> Option<(&[u8], String)> {
    let (mut words, mut has_quotes, mut rest) = (Vec::new(), false, text.trim_ascii());
    loop {
        let word = WORDS.into_iter().find_map(|word| Some((word, after_word(rest, word)?)));
        let quoted = QUOTES.into_iter().find_map(|quotes| between(rest, quotes));
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

/// What stands behind a word of a header, which is in any case. A blank ends the word.
fn after_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(word.len())?;
    let is_whole = word.ends_with(':') || rest.first()?.is_ascii_whitespace();
    (is_whole && start.eq_ignore_ascii_case(word.as_bytes())).then_some(rest)
}

fn between<'a>(text: &'a [u8], [open, close]: [&str; 2]) -> Option<&'a [u8]> {
    text.strip_prefix(open.as_bytes())?.strip_suffix(close.as_bytes())
}
