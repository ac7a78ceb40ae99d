use super::mirror::Mirror;
use crate::store::{Change, Changed, Write, key_change::Own};

/// A change by this process, until it is applied.
pub(super) struct OwnChange<'a> {
    mirror: &'a Mirror,
}

impl Mirror {
    /// Begins a change by this process.
    pub(super) fn begin(&self) -> OwnChange<'_> {
        self.state().order.begin();
        OwnChange { mirror: self }
    }
}

impl OwnChange<'_> {
    /// Applies the result of the change.
    pub(super) fn apply(&self, changed: &Changed, own: Own<'_>) {
        let (mirror, version) = (self.mirror, changed.version());
        mirror.step(|state, events| {
            for write in changed.writes() {
                match write {
                    Write::Insert(record) | Write::Update(record) => {
                        if state.order.accepts_write(record.digest(), version) {
                            mirror.put(state, record.clone(), Some(own), events);
                        }
                    }
                    Write::Remove(digest) => {
                        if state.order.accepts_write(*digest, version) {
                            mirror.remove(state, digest, Some(own), events);
                        }
                    }
                }
            }
            for record in changed.unchanged() {
                if state.order.accepts_read(record.digest(), version) {
                    mirror.put(state, record.clone(), None, events);
                }
            }
        });
    }

    /// Revokes the keys of the change in memory, because its outcome is unknown.
    ///
    /// Returns their number.
    pub(super) fn revoke(&self, change: &Change, own: Own<'_>) -> usize {
        if !change.is_revocation() {
            return 0;
        }
        let records = change.target().select(&self.mirror.keys);
        let Ok(draft) = change.apply(records) else { return 0 };
        self.mirror.step(|state, events| {
            for write in draft.writes() {
                if let Write::Update(record) = write {
                    self.mirror.put(state, record.clone(), Some(own), events);
                }
            }
        });
        draft.writes().len()
    }
}

impl Drop for OwnChange<'_> {
    fn drop(&mut self) {
        self.mirror.state().order.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        Client, KeyDigest, Keyring,
        record::Record,
        store::{Listener, mirrored::contact::Contact},
    };

    fn mirror() -> Mirror {
        let (loaded, _) = tokio::sync::mpsc::unbounded_channel();
        Mirror::new("a test".to_owned(), Keyring::new(), Contact::new(None), None, loaded)
    }

    #[test]
    fn a_transaction_that_changed_nothing_does_not_undo_what_was_delivered_since() {
        let mirror = mirror();
        let old = Record::new(KeyDigest::of("a"), Client::new("ci")).with_id("0000000a").unwrap();
        let old = old.with_revoked(SystemTime::UNIX_EPOCH);
        mirror.restart();
        mirror.record(3, old.clone());
        mirror.ready(None);
        let own_change = mirror.begin();
        let unchanged = Change::revoke_key("0000000a").apply([old.clone()]).unwrap();
        mirror.record(5, old.with_note("later"));
        own_change.apply(&unchanged.committed(4), Own { by: None, reason: None });
        drop(own_change);
        assert_eq!(mirror.keys.record("0000000a").unwrap().note(), Some("later"));
    }

    #[test]
    fn versions_of_other_keys_are_forgotten_when_no_change_is_under_way() {
        let mirror = mirror();
        let (one, two) = (mirror.begin(), mirror.begin());
        mirror.record(1, Record::new(KeyDigest::of("a"), Client::new("ci")));
        assert_eq!(mirror.state().order.len(), 1);
        drop(one);
        assert_eq!(mirror.state().order.len(), 1);
        drop(two);
        assert_eq!(mirror.state().order.len(), 0);
    }
}
