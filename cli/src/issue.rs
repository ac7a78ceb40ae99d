//! Issues a key.

use std::time::SystemTime;

use serde_json::Value;
use tower_api_key::{
    key::KeyFormat,
    record::Record,
    store::{Change, Changed, Write},
};

use crate::{
    Failure,
    key_args::{Author, KeyArgs},
    output,
    print_key::{print_key, report_unprinted, require_stdout},
    store::Store,
};

pub(crate) fn issue(
    store: &Store,
    json: bool,
    client: &str,
    format: &KeyFormat,
    args: &KeyArgs,
    author: &Author,
) -> Result<(), Failure> {
    require_stdout()?;
    let is_new = store.is_missing();
    let complete = args.clone();
    let issue = Change::issue_with(format, args.build_client(client), move |record| {
        complete.complete(record)
    });
    let changed = store.commit(issue.with_by(author.name(store)))?;
    let issued = json.then(|| find_issued(&changed, store, is_new)).flatten();
    let Some(minted) = changed.into_minted() else { return Err(lost_key()) };
    let id = minted.id().to_owned();
    if let Err(error) = print_key(minted, issued) {
        let undone = store.commit(Change::remove(&*id)).map(drop);
        return Err(report_unprinted(&error, &id, undone));
    }
    if !json {
        output::print_message(&format!(
            "Issued {id}. The key cannot be shown again, because the {} stores only its digest.",
            store.noun()
        ));
        let verb = if is_new { "Created" } else { "Wrote" };
        output::print_message(&format!("{verb} {}.", store.place()));
    }
    Ok(())
}

fn find_issued(changed: &Changed, store: &Store, is_new: bool) -> Option<Value> {
    let record = inserted(changed).next()?;
    let issued = output::add_place(output::to_json(record, SystemTime::now()), store);
    Some(output::add_is_new(issued, store, is_new))
}

/// Returns the records that a change has inserted.
pub(crate) fn inserted(changed: &Changed) -> impl Iterator<Item = &Record> {
    changed.writes().iter().filter_map(|write| match write {
        Write::Insert(record) => Some(record),
        Write::Update(_) | Write::Remove(_) => None,
    })
}

/// Returns an error that no store of this command causes.
pub(crate) fn lost_key() -> Failure {
    Failure::rejected("output", "the store returned no key")
}
