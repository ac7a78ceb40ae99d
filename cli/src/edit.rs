//! Changes a key in place: its fields, and whether it is paused.

use std::time::SystemTime;

use tower_api_key::{
    error::KeyringErrorKind,
    store::{Change, Changed, Write},
};

use crate::{Failure, key_args::EditArgs, output, store::Store};

pub(crate) fn edit(store: &Store, json: bool, key_id: &str, args: EditArgs) -> Result<(), Failure> {
    let change = Change::update(key_id, move |record| args.edit(record));
    report(&store.commit(change)?, json, ["Changed", "active"], "has these values already")
}

pub(crate) fn pause(store: &Store, json: bool, key_id: &str) -> Result<(), Failure> {
    let changed = store.commit(Change::pause(key_id)).map_err(|error| explain(error.into()))?;
    report(&changed, json, ["Paused", "paused"], "is paused already")
}

pub(crate) fn resume(store: &Store, json: bool, key_id: &str) -> Result<(), Failure> {
    let changed = store.commit(Change::resume(key_id)).map_err(|error| explain(error.into()))?;
    report(&changed, json, ["Resumed", "active"], "is not paused")
}

/// The library's text is about an insertion.
fn explain(failure: Failure) -> Failure {
    if failure.kind != KeyringErrorKind::RevokedKey.as_str() {
        return failure;
    }
    Failure { message: "the key is revoked, and never becomes valid again".to_owned(), ..failure }
}

/// Prints the key after a change and its state, unless the state is the expected one.
fn report(
    changed: &Changed,
    json: bool,
    [verb, expected]: [&str; 2],
    same: &str,
) -> Result<(), Failure> {
    let now = SystemTime::now();
    let writes = changed.writes().iter().filter_map(|write| match write {
        Write::Insert(record) | Write::Update(record) => Some(record),
        Write::Remove(_) => None,
    });
    let Some(record) = writes.chain(changed.unchanged()).next() else { return Ok(()) };
    let is_changed = changed.count() > 0;
    if json {
        let mut shown = output::to_json(record, now);
        shown["changed"] = is_changed.into();
        return output::print_json(&shown);
    }
    let id = record.id().unwrap_or_default();
    let state = match output::classify(record, now) {
        "not yet" => "not valid yet",
        state => state,
    };
    output::print_message(&match is_changed {
        true if state == expected => format!("{verb} {id}."),
        true => format!("{verb} {id}. It is {state}."),
        false => format!("Nothing changed, because {id} {same}."),
    });
    Ok(())
}
