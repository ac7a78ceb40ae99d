use std::{sync::atomic::Ordering, time::SystemTime};

use super::{
    Keyring,
    index::{Index, Slot},
    stored_key::StoredKey,
};
use crate::{
    error::{
        KeyringError,
        KeyringErrorKind::{DuplicateKey, DuplicateKeyId, RevokedKey},
    },
    key::{self, KeyDigest, KeyFormat, KeyId},
    record::Record,
};

/// Insertion of keys that exist already.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Adds a key and keeps its digest. The key gets an [id](Self#the-id-of-a-key).
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves the keyring as it is, if
    ///
    /// - the key is empty, blank or longer than 1,024 bytes, has white space at an edge, or holds a byte
    ///   outside 0x20 to 0x7E,
    /// - the key is [an obvious mistake](Self#what-is-no-key), such as `Bearer abc` or `${KEY}`,
    /// - the key has none of the [formats](super::KeyringBuilder::format) of the keyring,
    /// - the key is in the keyring already, or was revoked,
    /// - the client is a [`Client`](crate::Client) whose id, name, metadata or scopes are not valid.
    ///
    /// The error names the position, never the value.
    pub fn insert(&self, key: impl AsRef<[u8]>, client: C) -> Result<(), KeyringError> {
        let key = key.as_ref();
        key::check(key)?;
        self.check_form(key)?;
        let mut record = Record::new(KeyDigest::of(key), client);
        let mut index = self.index();
        if let Some((format, id)) = KeyFormat::of(key) {
            record.entry.format = Some(index.share(format));
            record.id = Some(id).filter(|id| !index.knows(*id));
        }
        if key.len() < key::LONG_ENOUGH {
            // The id is public. If it came from the digest, an attacker could guess the key from it.
            let id = index.free_id()?;
            record.id = Some(id);
            self.add_new(&mut index, record, self.now())?;
            drop(index);
            warn_of_short_key(id);
            return Ok(());
        }
        self.add_new(&mut index, record, self.now())
    }

    /// Adds a key by its digest.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert), except those of the key's text, which the digest
    /// does not show.
    pub fn insert_digest(&self, digest: KeyDigest, client: C) -> Result<(), KeyringError> {
        self.insert_record(Record::new(digest, client))
    }

    /// Adds a key by its record, such as one with an expiry or one from a store.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert_digest`](Self::insert_digest). It also returns an error if another
    /// key has the public id, or if the expiry is before the beginning or the creation. A key that has
    /// expired is no error. The keyring holds it and rejects it.
    pub fn insert_record(&self, record: Record<C>) -> Result<(), KeyringError> {
        self.add_new(&mut self.index(), record, self.now())
    }

    /// Adds a key whose client may be new.
    pub(super) fn add_new(
        &self,
        index: &mut Index<C>,
        record: Record<C>,
        now: SystemTime,
    ) -> Result<(), KeyringError> {
        record.check_new_client(None)?;
        self.add(index, record, now)
    }

    /// Adds a key. [`rotate`](Self::rotate) calls this, because its client was accepted before.
    pub(super) fn add(
        &self,
        index: &mut Index<C>,
        record: Record<C>,
        now: SystemTime,
    ) -> Result<(), KeyringError> {
        record.validate()?;
        let Record { id, digest, entry } = record;
        let keys = self.shared.keys.pin();
        if let Some(key) = keys.get(&Slot::of(&digest)) {
            return Err(if key.is_revoked() { RevokedKey } else { DuplicateKey }.into());
        }
        let id = match id {
            Some(id) if index.knows(id) => return Err(DuplicateKeyId.into()),
            Some(id) => id,
            None => index.derived_id(&digest),
        };
        let key = StoredKey::new(id, entry, now.into());
        // This comes first, because the `Identity` of the user may panic in it.
        index.add(&key, digest.slot());
        self.shared.revoked.fetch_add(key.is_revoked().into(), Ordering::Relaxed);
        keys.insert(digest, key);
        Ok(())
    }
}

#[cfg(feature = "tracing")]
fn warn_of_short_key(id: KeyId) {
    tracing::event!(
        target: super::TARGET,
        tracing::Level::WARN,
        api_key.id = id.as_str(),
        "the key has fewer than 22 characters, so an attacker may guess it, and its id changes at every start"
    );
}

#[cfg(not(feature = "tracing"))]
fn warn_of_short_key(_: KeyId) {}
