//! A key in the place of another.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tower_api_key::{
    Keyring,
    error::{ConfigError, ConfigErrorKind},
    key::{KeyFormat, MintedKey},
    key_file::KeyFile,
    verify::Record,
};

use crate::{
    Failure,
    hand_out::{hand_out, not_shown, of_file, refuse_to_lose_a_key},
    show,
};

pub(crate) fn rotate(
    file: &KeyFile,
    json: bool,
    key_id: &str,
    overlap: Duration,
    format: Option<KeyFormat>,
) -> Result<(), Failure> {
    refuse_to_lose_a_key()?;
    let mut ended = None;
    let rotated = file.update(|keys| {
        let before = keys.record(key_id);
        let minted = match (&before, format) {
            (Some(before), Some(format)) => rotate_with(keys, before, format, overlap),
            _ => keys.rotate(key_id, overlap),
        };
        let minted = minted.inspect_err(|_| ended = before.as_ref().and_then(successor))?;
        Ok((minted, before, keys.record(key_id)))
    });
    let (minted, before, after) = rotated.map_err(|error| explain(error.into(), ended))?;
    let successor = before.as_ref().and_then(successor);
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let now = SystemTime::now();
    let shown = file.record(&id).filter(|_| json).map(|record| {
        let mut shown = of_file(show::json(&record, now), file);
        shown["replaces"] = after.as_ref().map(|old| replaced(old, now)).into();
        shown
    });
    if let Err(error) = hand_out(minted, shown) {
        let taken_back = file.update(|keys| {
            keys.remove(&digest);
            match before {
                // Somebody may have revoked it meanwhile.
                Some(before) if keys.record(key_id) == after => put(keys, before),
                _ => Ok(()),
            }
        });
        return Err(not_shown(&error, &id, taken_back));
    }
    if let Some(successor) = successor {
        let before = format!("key {key_id} was rotated before, and its successor was {successor}");
        let advice = format!("if nobody uses that key, revoke it with `apikey revoke {successor}`");
        show::warn(&format!("{before}: {advice}"), json);
    }
    if !json {
        let old = match after.as_ref().and_then(show::end) {
            Some(end) if end > now => format!("works until {}", show::rfc3339(end)),
            _ => "has ended".to_owned(),
        };
        show::say(&format!("Issued {id} in the place of {key_id}, which {old}."));
    }
    Ok(())
}

fn successor(old: &Record) -> Option<String> {
    old.replaced_by().map(str::to_owned)
}

/// If a key has ended, its successor is the one to rotate.
fn explain(failure: Failure, successor: Option<String>) -> Failure {
    match successor {
        Some(successor) if failure.kind == ConfigErrorKind::DeadKey.as_str() => {
            let message =
                format!("the key was rotated, and has ended: rotate its successor {successor}");
            Failure { message, ..failure }
        }
        _ => failure,
    }
}

/// The old record keeps the format of its own key.
fn rotate_with(
    keys: &Keyring,
    old: &Record,
    format: KeyFormat,
    overlap: Duration,
) -> Result<MintedKey, ConfigError> {
    let key_id = old.id().unwrap_or_default();
    put(keys, old.clone().format(format))?;
    let minted = keys.rotate(key_id, overlap)?;
    let rotated = keys.record(key_id);
    let (since, end) = rotated.map_or((None, None), |it| (it.rotated(), it.retires()));
    let old = old.clone().with_replaced_by(minted.id())?;
    let old = since.into_iter().fold(old, Record::with_rotated);
    put(keys, end.into_iter().fold(old, Record::retires_at))?;
    Ok(minted)
}

/// Puts a record in the place of the one that its key has.
///
/// This is no insertion, because a record of an older version may have a client that is refused today.
fn put(keys: &Keyring, record: Record) -> Result<(), ConfigError> {
    let others = keys.records().filter(|other| other.digest() != record.digest());
    let records: Vec<_> = others.collect();
    keys.replace(records.into_iter().chain([record]))
}

/// The key that was replaced, for machines.
fn replaced(old: &Record, now: SystemTime) -> Value {
    json!({
        "id": old.id(),
        "state": show::state(old, now),
        "ends": show::end(old).map(show::rfc3339),
    })
}
