use super::{Keyring, index::Slot, stored_key::StoredKey};
use crate::{
    error::{
        KeyringError,
        KeyringErrorKind::{DuplicateKey, DuplicateKeyId, RevokedKey},
    },
    record::Record,
};

impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Adds a key by its record, or replaces the record with the same digest. Returns the old record.
    ///
    /// Use it to follow a store of your own. A request finds the old record or the new one. If a new record
    /// has no id, it gets one or keeps the id of the old record.
    ///
    /// # Example: follow a store
    ///
    /// ```
    /// use tower_api_key::{Client, KeyDigest, Keyring, record::Record};
    ///
    /// let keys = Keyring::new();
    /// let row = Record::new(KeyDigest::of("12345abcde"), Client::new("ci"));
    /// assert!(keys.put_record(row.clone())?.is_none());
    ///
    /// let row = row.with_note("deploys");
    /// assert!(keys.put_record(row)?.is_some());
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves the keyring as it is, if
    ///
    /// - the record is not [valid](Record::validate),
    /// - another key has the public id,
    /// - the old record is revoked and the new one is not.
    pub fn put_record(&self, record: Record<C>) -> Result<Option<Record<C>>, KeyringError> {
        let mut index = self.index();
        let keys = self.shared.keys.pin();
        let (old, now) = (keys.get_key_value(&Slot::of(&record.digest)), self.now());
        let Some((digest, old)) = old else {
            self.add(&mut index, record, now)?;
            return Ok(None);
        };
        record.validate()?;
        if *digest != record.digest {
            return Err(DuplicateKey.into());
        }
        let is_revoked = record.revoked().is_some();
        if old.is_revoked() && !is_revoked {
            return Err(RevokedKey.into());
        }
        let id = record.id.unwrap_or(old.id);
        if id != old.id && index.knows(id) {
            return Err(DuplicateKeyId.into());
        }
        let (new, before) = (StoredKey::new(id, record.entry, now.into()), old.record(*digest));
        index.forget(old, digest.slot());
        index.add(&new, digest.slot());
        self.put(*digest, old, new);
        Ok(Some(before))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{Client, KeyDigest, error::KeyringErrorKind};

    fn kind(result: Result<Option<Record>, KeyringError>) -> KeyringErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn a_record_replaces_that_of_its_digest_in_all_indices() {
        let keys = Keyring::new();
        let digest = KeyDigest::of("a");
        let row = Record::new(digest, Client::new("one")).with_id("00000001").unwrap();
        assert!(keys.put_record(row.clone()).unwrap().is_none());
        let moved = row.with_client(Client::new("two")).with_id("00000002").unwrap();
        assert_eq!(keys.put_record(moved).unwrap().unwrap().client().id(), "one");
        assert!(keys.record("00000001").is_none() && !keys.contains_client("one"));
        assert_eq!(keys.record("00000002").unwrap().client().id(), "two");
        assert_eq!((keys.len(), keys.revoke_client("two"), keys.len()), (1, 1, 0));
    }

    #[test]
    fn an_id_of_another_key_and_the_return_of_a_revoked_key_are_refused() {
        let keys = Keyring::new();
        let one = Record::new(KeyDigest::of("a"), Client::new("c")).with_id("00000001").unwrap();
        let two = Record::new(KeyDigest::of("b"), Client::new("c")).with_id("00000002").unwrap();
        keys.put_record(one.clone()).unwrap();
        keys.put_record(two.clone()).unwrap();
        let clash = two.clone().with_id("00000001").unwrap();
        assert_eq!(kind(keys.put_record(clash)), DuplicateKeyId);
        let third = Record::new(KeyDigest::of("c"), Client::new("c")).with_id("00000002").unwrap();
        assert_eq!(kind(keys.put_record(third)), DuplicateKeyId);
        keys.put_record(one.clone().with_revoked(SystemTime::now())).unwrap();
        assert_eq!(kind(keys.put_record(one)), RevokedKey);
        assert_eq!((keys.len(), keys.records().count()), (1, 2));
    }
}
