//! Rotates a key.

use std::time::SystemTime;

use serde_json::{Value, json};
use tower_api_key::{
    error::{KeyringError, KeyringErrorKind},
    record::Record,
    store::{Change, StoreError, Write},
};

use crate::{
    Failure,
    issue::{inserted, lost_key},
    output,
    print_key::{print_key, report_unprinted, require_stdout},
    store::Store,
};

pub(crate) fn rotate(
    store: &Store,
    json: bool,
    key_id: &str,
    rotate: Change,
) -> Result<(), Failure> {
    require_stdout()?;
    let before = store.record(key_id)?;
    let first_successor = before.replaced_by().map(str::to_owned);
    let changed = store
        .commit(rotate)
        .map_err(|error| suggest_successor(error.into(), first_successor.as_deref()))?;
    let now = SystemTime::now();
    let after = changed.writes().iter().find_map(|write| match write {
        Write::Update(old) => Some(old.clone()),
        Write::Insert(_) | Write::Remove(_) => None,
    });
    let after = after.unwrap_or_else(|| before.clone());
    let issued = inserted(&changed).next().filter(|_| json).map(|new| {
        let mut issued = output::add_place(output::to_json(new, now), store);
        issued["replaces"] = summarize_replaced(&after, now);
        issued
    });
    let Some(minted) = changed.into_minted() else { return Err(lost_key()) };
    let id = minted.id().to_owned();
    if let Err(error) = print_key(minted, issued) {
        return Err(report_unprinted(&error, &id, undo(store, &id, before, after)));
    }
    if let Some(first) = first_successor {
        let advice = format!("If no caller uses {first}, run `apikey revoke {first}`");
        output::warn(&format!("key {key_id} was already rotated to {first}. {advice}"), json);
    }
    if !json {
        let old = match output::find_end(&after) {
            Some(end) if end > now => format!("is valid until {}", output::format_rfc3339(end)),
            _ => "is no longer valid".to_owned(),
        };
        output::print_message(&format!("Issued {id}. It replaces {key_id}, which {old}."));
    }
    Ok(())
}

/// If the key has expired after a rotation, the message names its successor.
fn suggest_successor(failure: Failure, successor: Option<&str>) -> Failure {
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

/// Removes the new key and restores the record of the old key.
///
/// If another process has changed the old key meanwhile, that change stays.
fn undo(store: &Store, id: &str, before: Record, after: Record) -> Result<(), StoreError> {
    store.commit(Change::remove(id))?;
    if !is_rotated(before.clone(), &after).unwrap_or(false) {
        return Ok(());
    }
    let key_id = before.id().unwrap_or_default().to_owned();
    let restore =
        Change::update(key_id, move |record| if record == after { before.clone() } else { record });
    store.commit(restore).map(drop)
}

/// Returns whether two records differ only by a rotation.
fn is_rotated(before: Record, after: &Record) -> Result<bool, KeyringError> {
    let rotated = before.with_rotated(after.rotated()).with_retires(after.retires());
    let rotated = rotated.with_rotated_reason(after.rotated_reason().unwrap_or_default());
    Ok(rotated.with_replaced_by(after.replaced_by().unwrap_or_default())? == *after)
}

fn summarize_replaced(old: &Record, now: SystemTime) -> Value {
    json!({
        "id": old.id(),
        "state": output::classify(old, now),
        "ends": output::find_end(old).map(output::format_rfc3339),
    })
}
