use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use super::{Keyring, index::Index, stored_key::StoredKey};
use crate::{
    client::Identity,
    error::{KeyringError, KeyringErrorKind},
    key::{KeyDigest, KeyFormat, MintedKey},
    record::Record,
};

/// Changes to keys. Changes are serialized, and requests never wait for them.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Mints a new key and issues it to a client.
    ///
    /// ```
    /// use tower_api_key::{Client, Keyring, key::KeyFormat};
    ///
    /// let keys = Keyring::new();
    /// let minted = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app"))?;
    /// minted.reveal(|key| println!("{key}"));
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the client cannot be inserted, if this keyring does not accept the format, or
    /// if the operating system gives no random bytes.
    pub fn issue(&self, format: &KeyFormat, mut client: C) -> Result<MintedKey, KeyringError>
    where
        C: Identity,
    {
        let formats = &self.shared.formats;
        if !formats.is_empty() && !formats.contains(format) {
            return Err(KeyringErrorKind::ForeignKey.into());
        }
        let mut index = self.index();
        let minted = index.mint(format)?;
        client.set_key_id(minted.id());
        self.add_new(&mut index, Record::of(&minted, client), self.now())?;
        Ok(minted)
    }

    /// Mints a new key that replaces another key.
    ///
    /// The rule is that of [`Record::rotate`]. The new key has the format of the old one, if this keyring
    /// accepts it.
    ///
    /// The record of the old key names the new key: [`replaced_by`](Record::replaced_by). If a key is
    /// rotated twice, its record names the newest key.
    ///
    /// # Errors
    ///
    /// Returns an error if no key has the id, if the key is revoked or has expired, or if the operating
    /// system gives no random bytes. The keyring stays as it is then.
    pub fn rotate(&self, key_id: &str, overlap: Duration) -> Result<MintedKey, KeyringError>
    where
        C: Identity,
    {
        self.change(key_id, |index, old, now| {
            let minted = index.mint(&self.format_to_rotate(old.format()))?;
            let new = old.rotate(&minted, overlap, now)?;
            self.add(index, new, now)?;
            Ok(minted)
        })
    }

    /// Changes any fields of a record, except for the id and the digest.
    ///
    /// The next request sees the change. The closure runs under the keyring's lock. Do not call the
    /// keyring from it.
    ///
    /// # Example: change the scopes of one key
    ///
    /// ```
    /// # use tower_api_key::{Client, Keyring, key::KeyFormat};
    /// # let keys = Keyring::new();
    /// # let minted = keys.issue(&KeyFormat::default(), Client::new("mobile-app"))?;
    /// # let key_id = minted.id();
    /// keys.update(key_id, |record| {
    ///     let client = record.client().clone().with_scopes(["reports:read"]);
    ///     record.with_client(client).with_note("read only since the audit")
    /// })?;
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no key has the id, and the errors of [`Record::update`]. The keyring stays
    /// as it is then.
    pub fn update(
        &self,
        key_id: &str,
        change: impl FnOnce(Record<C>) -> Record<C>,
    ) -> Result<(), KeyringError> {
        self.change(key_id, |index, record, _| {
            let client = record.client().clone();
            record.update(change)?;
            index.move_key(&client, record.client(), record.digest.slot());
            Ok(())
        })
    }

    /// Pauses a key. The layer rejects it, like any wrong key, until it is [resumed](Self::resume).
    ///
    /// Once this has returned, the layer rejects each request that starts with the key. A paused key
    /// still counts in [`len`](Self::len).
    ///
    /// ```
    /// # use tower_api_key::{Client, Keyring, key::KeyFormat};
    /// # let keys = Keyring::new();
    /// # let minted = keys.issue(&KeyFormat::default(), Client::new("mobile-app"))?;
    /// # let key_id = minted.id();
    /// keys.pause(key_id)?;          // the invoice is overdue
    /// keys.resume(key_id)?;         // and paid
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if no key has the id or if the key is revoked.
    pub fn pause(&self, key_id: &str) -> Result<(), KeyringError> {
        self.change(key_id, |_, record, now| record.pause(now))
    }

    /// Resumes a paused key. If its time is over meanwhile, the key stays rejected.
    ///
    /// # Errors
    ///
    /// Returns an error if no key has the id or if the key is revoked.
    pub fn resume(&self, key_id: &str) -> Result<(), KeyringError> {
        self.change(key_id, |_, record, _| record.resume())
    }

    /// Revokes all keys of a client, by its id, and returns their number. No key is no error.
    ///
    /// Once this has returned, the layer rejects each request that starts with one of the keys. The
    /// records stay until they are [pruned](Self::prune), so that observers can tell a revoked key from
    /// an unknown key, and so that the same key is not inserted again.
    ///
    /// This reads the keys of that client only. If the client type is your own, the first call reads
    /// every key, because the keyring does not know the ids before.
    pub fn revoke_client(&self, id: &str) -> usize
    where
        C: Identity,
    {
        let index = self.index_by_client();
        let keys = self.shared.keys.pin();
        let theirs = index.of_client(id).filter_map(|slot| keys.get_key_value(&slot));
        let live = theirs.filter(|(_, key)| key.is_live_of(id));
        live.map(|(digest, key)| self.revoke_stored(*digest, key)).count()
    }

    /// Revokes one key, by its public id, and returns whether a key was revoked.
    ///
    /// It returns `false` if no key has the id, or if the key was revoked before. Otherwise this is
    /// [`revoke_client`](Self::revoke_client) for one key.
    pub fn revoke_key(&self, key_id: &str) -> bool {
        let index = self.index();
        let keys = self.shared.keys.pin();
        let live = index
            .find(key_id)
            .and_then(|slot| keys.get_key_value(&slot))
            .filter(|(_, key)| !key.is_revoked());
        live.map(|(digest, key)| self.revoke_stored(*digest, key)).is_some()
    }

    /// Changes the record of a key. On an error the keyring stays as it is.
    fn change<T>(
        &self,
        key_id: &str,
        change: impl FnOnce(&mut Index<C>, &mut Record<C>, SystemTime) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        let mut index = self.index();
        let keys = self.shared.keys.pin();
        let (digest, old) = index
            .find(key_id)
            .and_then(|slot| keys.get_key_value(&slot))
            .ok_or(KeyringErrorKind::UnknownKeyId)?;
        let (mut record, now) = (old.record(*digest), self.now());
        let result = change(&mut index, &mut record, now)?;
        self.put(*digest, old, StoredKey::new(old.id, record.entry, now.into()));
        Ok(result)
    }

    fn revoke_stored(&self, digest: KeyDigest, old: &StoredKey<C>) {
        let mut record = old.record(digest);
        record.revoke(self.now());
        self.put(digest, old, StoredKey { id: old.id, entry: record.entry });
    }

    /// Stores a key that has changed. Once this has returned, requests read the new one.
    pub(super) fn put(&self, digest: KeyDigest, old: &StoredKey<C>, new: StoredKey<C>) {
        let is_newly_revoked = new.is_revoked() && !old.is_revoked();
        self.shared.keys.pin().insert(digest, new);
        self.shared.revoked.fetch_add(is_newly_revoked.into(), Ordering::Relaxed);
    }

    /// Returns the format of the key if this keyring accepts it, and else the first that it accepts.
    fn format_to_rotate(&self, own: Option<&KeyFormat>) -> KeyFormat {
        let formats = &self.shared.formats;
        let accepted = own.filter(|own| formats.is_empty() || formats.contains(own));
        accepted.or(formats.first()).cloned().unwrap_or_default()
    }

    /// Locks the index. A panic in the `Identity` of the user does not block later changes.
    pub(super) fn index(&self) -> MutexGuard<'_, Index<C>> {
        self.shared.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Identity + Clone + Send + Sync + 'static> Keyring<C> {
    pub(super) fn index_by_client(&self) -> MutexGuard<'_, Index<C>> {
        let mut index = self.index();
        index.build(C::id, self.shared.keys.pin().iter());
        index
    }
}
