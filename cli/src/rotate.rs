//! Rotates a key.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tower_api_key::{
    Keyring,
    error::{KeyringError, KeyringErrorKind},
    key::{KeyFormat, MintedKey},
    key_file::KeyFile,
    record::Record,
};

use crate::{
    Failure, output,
    print_key::{print_key, report_unprinted, require_stdout},
};

pub(crate) fn rotate(
    file: &KeyFile,
    json: bool,
    key_id: &str,
    overlap: Duration,
    format: Option<KeyFormat>,
) -> Result<(), Failure> {
    require_stdout()?;
    let mut rotated_to = None;
    let rotated = file.update(|keys| {
        let before = keys.record(key_id);
        let minted = match (&before, format) {
            (Some(before), Some(format)) => rotate_with_format(keys, before, format, overlap),
            _ => keys.rotate(key_id, overlap),
        };
        let minted =
            minted.inspect_err(|_| rotated_to = before.as_ref().and_then(find_successor))?;
        Ok((minted, before, keys.record(key_id)))
    });
    let (minted, before, after) =
        rotated.map_err(|error| suggest_successor(error.into(), rotated_to))?;
    let first_successor = before.as_ref().and_then(find_successor);
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    let now = SystemTime::now();
    let issued = file.record(&id).filter(|_| json).map(|record| {
        let mut issued = output::add_path(output::to_json(&record, now), file);
        issued["replaces"] = after.as_ref().map(|old| summarize_replaced(old, now)).into();
        issued
    });
    if let Err(error) = print_key(minted, issued) {
        let undone = file.update(|keys| {
            keys.remove(&digest);
            match before {
                // If another process has changed the old key meanwhile, that change stays.
                Some(before) if keys.record(key_id) == after => replace_record(keys, before),
                _ => Ok(()),
            }
        });
        return Err(report_unprinted(&error, &id, undone));
    }
    if let Some(first) = first_successor {
        let advice = format!("If no caller uses {first}, run `apikey revoke {first}`");
        output::warn(&format!("key {key_id} was already rotated to {first}. {advice}"), json);
    }
    if !json {
        let old = match after.as_ref().and_then(output::find_end) {
            Some(end) if end > now => format!("is valid until {}", output::format_rfc3339(end)),
            _ => "is no longer valid".to_owned(),
        };
        output::print_message(&format!("Issued {id}. It replaces {key_id}, which {old}."));
    }
    Ok(())
}

fn find_successor(old: &Record) -> Option<String> {
    old.replaced_by().map(str::to_owned)
}

/// If the key has expired after a rotation, the message names its successor.
fn suggest_successor(failure: Failure, successor: Option<String>) -> Failure {
    match successor {
        Some(successor) if failure.kind == KeyringErrorKind::DeadKey.as_str() => {
            let message = format!(
                "the key was rotated and is no longer valid: rotate its successor {successor}"
            );
            Failure { message, ..failure }
        }
        _ => failure,
    }
}

/// Rotates a key to another format. The old record keeps the format of its own key.
fn rotate_with_format(
    keys: &Keyring,
    old: &Record,
    format: KeyFormat,
    overlap: Duration,
) -> Result<MintedKey, KeyringError> {
    let key_id = old.id().unwrap_or_default();
    replace_record(keys, old.clone().with_format(format))?;
    let minted = keys.rotate(key_id, overlap)?;
    let rotated = keys.record(key_id);
    let (since, end) = rotated.map_or((None, None), |it| (it.rotated(), it.retires()));
    let old = old.clone().with_replaced_by(minted.id())?;
    let old = since.into_iter().fold(old, Record::with_rotated);
    replace_record(keys, end.into_iter().fold(old, Record::with_retires))?;
    Ok(minted)
}

/// Replaces the record of a key.
///
/// This is not an insertion, because a record of an older version may have a client that an insertion
/// rejects today.
fn replace_record(keys: &Keyring, record: Record) -> Result<(), KeyringError> {
    let others = keys.records().filter(|other| other.digest() != record.digest());
    let records: Vec<_> = others.collect();
    keys.replace(records.into_iter().chain([record]))
}

fn summarize_replaced(old: &Record, now: SystemTime) -> Value {
    json!({
        "id": old.id(),
        "state": output::classify(old, now),
        "ends": output::find_end(old).map(output::format_rfc3339),
    })
}
