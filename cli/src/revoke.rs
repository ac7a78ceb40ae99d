//! Revokes keys.

use tower_api_key::{
    error::{KeyringError, KeyringErrorKind},
    store::{Change, Page},
};

use crate::{Failure, args::RemarkArgs, list::sort_records, output, prompt, store::Store};

/// The keys to revoke.
pub(crate) enum Target {
    Key(String),
    Client(String),
}

impl RemarkArgs {
    pub(crate) fn add_to(&self, change: Change, store: &Store) -> Change {
        let change = change.with_by(self.author.name(store));
        self.reason.iter().fold(change, |change, reason| change.with_reason(reason))
    }
}

pub(crate) fn revoke(
    store: &Store,
    json: bool,
    target: &Target,
    remarks: &RemarkArgs,
    yes: bool,
) -> Result<(), Failure> {
    let page = match target {
        Target::Key(id) => Page::new().with_key_id(id),
        Target::Client(id) => Page::new().with_client(id),
    };
    let matching = sort_records(store.records(page)?);
    if matching.is_empty() {
        return Err(match target {
            Target::Key(_) => KeyringError::from(KeyringErrorKind::UnknownKeyId).into(),
            Target::Client(_) => {
                let why = "this client has no key: `apikey list` shows all clients";
                Failure::rejected("unknown_client", why)
            }
        });
    }
    let live: Vec<_> = matching.iter().filter(|record| record.revoked().is_none()).collect();
    if live.is_empty() {
        if json {
            return output::print_count(json, "revoked", 0);
        }
        output::print_message("Already revoked.");
        return Ok(());
    }
    output::preview(json, "These keys will be revoked permanently:", live.iter().copied());
    prompt::confirm(yes, &format!("Revoke {}?", output::format_keys(live.len())))?;
    let change = match target {
        Target::Key(id) => Change::revoke_key(id),
        Target::Client(id) => Change::revoke_client(id),
    };
    let revoked = store.commit(remarks.add_to(change, store))?.count();
    output::print_count(json, "revoked", revoked)
}
