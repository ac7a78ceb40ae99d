//! Copies all keys from a store to another.

use std::collections::HashMap;

use serde_json::json;
use tower_api_key::{
    record::Record,
    store::{Change, Page, StoreError, StoreErrorKind},
};

use crate::{Failure, output, store::Store};

#[derive(Default)]
struct Counts {
    copied: usize,
    present: usize,
    revoked: usize,
}

pub(crate) fn copy(from: &Store, to: &Store, json: bool) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let page = Page::new().with_limit(from.batch().max(to.batch()));
    from.each_page(page, |records| {
        records.chunks(to.batch()).try_for_each(|records| insert(records, to, &mut counts))
    })?;
    let Counts { copied, present, revoked } = counts;
    if json {
        let copied = json!({ "copied": copied, "present": present, "revoked": revoked });
        return output::print_json(&copied);
    }
    let mut message = format!("Copied {} to {}.", output::format_keys(copied), to.place());
    if present > 0 {
        message += &format!(" {}", output::format_present(present));
    }
    if revoked > 0 {
        message += &format!(" Revoked {} of them.", output::format_keys(revoked));
    }
    output::print_message(&message);
    Ok(())
}

fn insert(records: &[Record], to: &Store, counts: &mut Counts) -> Result<(), Failure> {
    let changed = to.commit(Change::insert_if_absent(records.iter().cloned()));
    let changed = changed.map_err(|error| explain(error, records, to))?;
    counts.copied += changed.count();
    counts.present += changed.unchanged().len();
    let revoked = records.iter().filter(|record| record.revoked().is_some());
    let revoked: HashMap<_, _> = revoked.map(|record| (record.digest(), record)).collect();
    let live = changed.unchanged().iter().filter(|record| record.revoked().is_none());
    for there in live {
        if let (Some(id), Some(record)) = (there.id(), revoked.get(&there.digest())) {
            counts.revoked += to.commit(revoke_like(id, record))?.count();
        }
    }
    Ok(())
}

/// Revokes a key that another store has revoked. The time and the texts are those of the other store.
fn revoke_like(id: &str, record: &Record) -> Change {
    let change = Change::revoke_key(id).with_by(record.revoked_by().unwrap_or_default());
    let change = change.with_reason(record.revoked_reason().unwrap_or_default());
    record.revoked().into_iter().fold(change, Change::with_time)
}

/// Names the key whose id another key has.
fn explain(error: StoreError, records: &[Record], to: &Store) -> Failure {
    if error.kind() != StoreErrorKind::Conflict {
        return error.into();
    }
    let taken = to.find_id_conflicts(records).unwrap_or_default();
    let taken = records.iter().find(|record| taken.contains(&record.digest()));
    let Some(taken) = taken else { return error.into() };
    let id = taken.id().unwrap_or_default();
    let advice = "Rotate one of the two keys, and prune it when it has expired";
    let message = format!("another key of {} has the id {id}. {advice}", to.place());
    Failure { message, ..error.into() }
}
