//! Deletes keys that will never work again.

use std::time::SystemTime;

use tower_api_key::store::{Change, Page};

use crate::{Failure, list::sort_records, output, prompt, store::Store};

pub(crate) fn prune(store: &Store, json: bool, yes: bool) -> Result<(), Failure> {
    let prune = Change::prune(SystemTime::now());
    let mut dead = Vec::new();
    store.each_page(Page::new().with_limit(store.batch()), |records| {
        dead.extend(records.into_iter().filter(|record| prune.target().contains(record)));
        Ok(())
    })?;
    let pruned = if dead.is_empty() {
        0
    } else {
        let dead = sort_records(dead);
        output::preview(json, "These keys will be deleted:", &dead);
        prompt::confirm(yes, &format!("Delete {}?", output::format_keys(dead.len())))?;
        store.commit(prune)?.count()
    };
    output::print_count(json, "pruned", pruned)
}
