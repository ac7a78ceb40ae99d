//! One change in one transaction.

use std::time::Instant;

use tower_api_key::store::{Change, Changed, StoreError};

use crate::{
    database::{Database, Opened},
    error,
    query::Keys,
    row::unsigned,
};

/// Makes a change. It waits until the deadline for other writers.
pub(crate) fn run(
    database: &Database,
    opened: &mut Opened,
    change: &Change,
    deadline: Instant,
) -> Result<Changed, StoreError> {
    let transaction = database.begin_write(opened, deadline)?;
    let keys = Keys { database, connection: &transaction };
    let draft = change.apply(keys.target(change.target())?)?;
    let last = unsigned(keys.last()?.version);
    if draft.writes().is_empty() {
        return Ok(draft.committed(last));
    }
    for write in draft.writes() {
        keys.write(write)?;
    }
    transaction.commit().map_err(|error| error::commit_failed(database.file(), &error))?;
    Ok(draft.committed(last + 1))
}
