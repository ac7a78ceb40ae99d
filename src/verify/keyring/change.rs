use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use foldhash::fast::RandomState;

use super::{
    Kept, Keyring, Record,
    index::{Index, Slot},
    time::Time,
};
use crate::{
    client::Identity,
    error::{
        ConfigError,
        ConfigErrorKind::{self, DuplicateKey, DuplicateKeyId, RevokedKey},
    },
    key::{KeyDigest, KeyFormat, MintedKey},
};

type Digests = HashMap<u64, KeyDigest, RandomState>;

/// Changes. They come one after another, and requests go on meanwhile.
impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    /// Makes a new key for a client.
    ///
    /// ```
    /// use tower_api_key::{Client, Keyring, key::KeyFormat};
    ///
    /// let keys = Keyring::new();
    /// let minted = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app"))?;
    /// minted.reveal(|key| println!("{key}"));
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// For a client that cannot be inserted, for a format that this keyring does not accept, and
    /// where the operating system gives no random bytes.
    pub fn issue(&self, format: &KeyFormat, mut client: C) -> Result<MintedKey, ConfigError>
    where
        C: Identity,
    {
        if !self.formats.is_empty() && !self.formats.contains(format) {
            return Err(ConfigErrorKind::ForeignKey.into());
        }
        let mut index = self.index();
        let minted = index.mint(format)?;
        client.set_key_id(minted.id());
        self.add_new(&mut index, Record::of(&minted, client), self.now())?;
        Ok(minted)
    }

    /// Makes a new key in the place of another, by the other's public id.
    ///
    /// The new one works now. It has the old one's client (with name and scopes), note, format and
    /// length of life. The old one works on for the time of the overlap, or until its own expiry if
    /// that is sooner. With [`Duration::ZERO`] it ends at once, and a replica whose clock is slow rejects
    /// it too, because the record then says that there is no overlap.
    ///
    /// The old key's record names the new key: [`replaced_by`](Record::replaced_by). If a key is rotated
    /// twice, the record names the newest one.
    ///
    /// # Errors
    ///
    /// For an id that no key has, for a key that is revoked or whose time is over, and where the
    /// operating system gives no random bytes. Nothing is changed then.
    pub fn rotate(&self, key_id: &str, overlap: Duration) -> Result<MintedKey, ConfigError>
    where
        C: Identity,
    {
        let mut index = self.index();
        let keys = self.shared.keys.pin();
        let (digest, old) = index
            .find(key_id)
            .and_then(|slot| keys.get_key_value(&slot))
            .ok_or(ConfigErrorKind::UnknownKeyId)?;
        let now = self.now();
        if old.entry.life.is_dead(now) {
            return Err(ConfigErrorKind::DeadKey.into());
        }
        let format = self.format_to_rotate(old.entry.format.as_ref());
        let minted = index.mint(&format)?;
        let mut client = old.entry.client.clone();
        client.set_key_id(minted.id());
        let entry = old.entry.successor(client, format, now);
        let mut retired = old.clone();
        retired.entry.life.rotate(now, overlap, minted.key_id());

        let id = Some(minted.key_id());
        self.add(&mut index, Record { id, digest: minted.digest(), entry }, now)?;
        keys.insert(*digest, retired);
        Ok(minted)
    }

    /// Takes a key away without a trace, and says whose it was: it can be inserted again.
    /// [`revoke_key`](Self::revoke_key) is for keys that are not to come back.
    pub fn remove(&self, digest: &KeyDigest) -> Option<C> {
        let mut index = self.index();
        self.forget(&mut index, digest).map(|kept| kept.entry.client)
    }

    /// Keeps the keys whose client is wanted, and says how many went, without a trace. It looks at
    /// every key that is not revoked.
    pub fn retain(&self, mut wanted: impl FnMut(&C) -> bool) -> usize {
        let is_live = |kept: &Kept<C>| !kept.entry.life.is_revoked();
        self.forget_where(|kept| is_live(kept) && !wanted(&kept.entry.client), is_live)
    }

    /// Forgets the keys that are revoked or whose time is over, and says how many there were. It looks
    /// at every key.
    ///
    /// A key that was pruned is unknown. If the keyring stands before another verifier
    /// ([`or`](crate::verify::Verify::or)), that verifier is then asked about it, and can accept it. Revoke
    /// the key there first.
    pub fn prune(&self) -> usize {
        let now = self.now();
        let is_dead = |kept: &Kept<C>| kept.entry.life.is_dead(now);
        self.forget_where(is_dead, is_dead)
    }

    /// Revokes all keys of a client, by its id, and says how many there were: none is no error.
    ///
    /// Once this has returned, no request that starts gets in with one of them. Their records stay
    /// until they are [pruned](Self::prune), so that observers can tell a revoked key from an unknown
    /// one, and so that the same key is not inserted again.
    ///
    /// It looks at the keys of that client alone. For a client type of your own the first call looks
    /// at every key, to learn the ids.
    pub fn revoke(&self, id: &str) -> usize
    where
        C: Identity,
    {
        let index = self.index_by_client();
        let keys = self.shared.keys.pin();
        let theirs = index.of_client(id).filter_map(|slot| keys.get_key_value(&slot));
        let live = theirs.filter(|(_, kept)| kept.is_live_of(id));
        live.map(|(digest, kept)| self.revoke_kept(*digest, kept)).count()
    }

    /// Revokes one key, by its public id, as [`revoke`](Self::revoke) does all of a client's. It says
    /// whether there was one that was not revoked yet.
    pub fn revoke_key(&self, key_id: &str) -> bool {
        let index = self.index();
        let keys = self.shared.keys.pin();
        let live = index
            .find(key_id)
            .and_then(|slot| keys.get_key_value(&slot))
            .filter(|(_, kept)| !kept.entry.life.is_revoked());
        live.map(|(digest, kept)| self.revoke_kept(*digest, kept)).is_some()
    }

    /// Moves to another set of keys. What is in both is there all the time; what is not in the new
    /// one goes without a trace. Records without an id keep the one that their key has, if it is
    /// there already. Each key changes on its own: a request may see a new key while an old one, that
    /// is about to go, still works.
    ///
    /// # Errors
    ///
    /// For the first record that [`insert_record`](Self::insert_record) would not take, named by its
    /// number: entry 1 is the first. Nothing is changed then.
    pub fn replace(&self, records: impl IntoIterator<Item = Record<C>>) -> Result<(), ConfigError> {
        // Before the lock is taken, since the iterator may use this keyring.
        let mut records: Vec<_> = records.into_iter().collect();
        let mut index = self.index();
        let keys = self.shared.keys.pin();
        let now = self.now();
        let mut next = index.of_others(records.len());
        let mut digests = Digests::with_capacity_and_hasher(records.len(), RandomState::default());
        for (number, record) in (1..).zip(&mut records) {
            let slot = record.digest.slot();
            let mut claim = || {
                record.entry.check()?;
                if digests.insert(slot, record.digest).is_some() {
                    return Err(DuplicateKey.into());
                }
                let known = record.id.or_else(|| keys.get(&record.digest).map(|kept| kept.id));
                let id = known.unwrap_or_else(|| next.derived_id(&record.digest));
                record.id = Some(id);
                next.claim(id, slot)
            };
            claim().map_err(|error: ConfigError| error.in_entry(number))?;
        }
        next.add_clients(records.iter().map(|record| (record.client(), record.digest.slot())));

        let revoked = records.iter().filter(|record| record.entry.life.is_revoked()).count();
        keys.reserve(records.len().saturating_sub(keys.len()));
        for Record { id, digest, entry } in records {
            if let Some(id) = id {
                keys.insert(digest, Kept::new(id, entry, now));
            }
        }
        keys.retain(|digest, _| digests.get(&digest.slot()) == Some(digest));
        self.shared.revoked.store(revoked, Ordering::Relaxed);
        *index = next;
        Ok(())
    }

    pub(super) fn add(
        &self,
        index: &mut Index<C>,
        record: Record<C>,
        now: Time,
    ) -> Result<(), ConfigError> {
        let Record { id, digest, entry } = record;
        entry.check()?;
        let keys = self.shared.keys.pin();
        if let Some(kept) = keys.get(&Slot::of(&digest)) {
            return Err(if kept.entry.life.is_revoked() { RevokedKey } else { DuplicateKey }.into());
        }
        let id = match id {
            Some(id) if index.knows(id) => return Err(DuplicateKeyId.into()),
            Some(id) => id,
            None => index.derived_id(&digest),
        };
        let kept = Kept::new(id, entry, now);
        // Somebody's `Identity` may panic in there: nothing is changed yet.
        index.add(&kept, digest.slot());
        if kept.entry.life.is_revoked() {
            self.shared.revoked.fetch_add(1, Ordering::Relaxed);
        }
        keys.insert(digest, kept);
        Ok(())
    }

    /// Once this has returned, requests read the revoked one.
    fn revoke_kept(&self, digest: KeyDigest, kept: &Kept<C>) {
        let mut revoked = kept.clone();
        revoked.entry.life.revoke(self.now());
        self.shared.keys.pin().insert(digest, revoked);
        self.shared.revoked.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self, index: &mut Index<C>, digest: &KeyDigest) -> Option<Kept<C>> {
        let keys = self.shared.keys.pin();
        let kept = keys.get(digest)?;
        index.forget(kept, digest.slot());
        keys.remove(digest);
        if kept.entry.life.is_revoked() {
            self.shared.revoked.fetch_sub(1, Ordering::Relaxed);
        }
        Some(kept.clone())
    }

    /// Asks before the lock is taken, so that a closure may use this keyring, and once more under the
    /// lock whether that still holds.
    fn forget_where(
        &self,
        mut unwanted: impl FnMut(&Kept<C>) -> bool,
        still: impl Fn(&Kept<C>) -> bool,
    ) -> usize {
        let keys = self.shared.keys.pin();
        let unwanted = keys.iter().filter(|(_, kept)| unwanted(kept)).map(|(digest, _)| *digest);
        let unwanted: Vec<_> = unwanted.collect();
        let mut index = self.index();
        let gone = unwanted.iter().filter(|digest| keys.get(*digest).is_some_and(&still));
        gone.filter_map(|digest| self.forget(&mut index, digest)).count()
    }

    /// The key's own format, if it is accepted here; else the first that is.
    fn format_to_rotate(&self, own: Option<&KeyFormat>) -> KeyFormat {
        let accepted = own.filter(|own| self.formats.is_empty() || self.formats.contains(own));
        accepted.or(self.formats.first()).cloned().unwrap_or_default()
    }

    /// A panic in somebody's `Identity` does not end changes for good.
    pub(super) fn index(&self) -> MutexGuard<'_, Index<C>> {
        self.shared.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Identity + Clone + Send + Sync + 'static> Keyring<C> {
    pub(super) fn index_by_client(&self) -> MutexGuard<'_, Index<C>> {
        let mut index = self.index();
        index.learn(C::id, self.shared.keys.pin().iter());
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn a_digest_that_shares_its_slot_is_refused_so_that_revoking_finds_every_key() {
        let [one, two] = [1, 2].map(|last| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            KeyDigest::from_bytes(bytes)
        });
        let keys = Keyring::new();
        keys.insert_digest(one, Client::new("a")).unwrap();
        let refused = keys.insert_digest(two, Client::new("b")).unwrap_err();
        assert_eq!(refused.kind(), DuplicateKey);
        assert!(keys.remove(&two).is_none());
        assert_eq!((keys.revoke("b"), keys.revoke("a"), keys.len()), (0, 1, 0));

        keys.replace([Record::new(two, Client::new("b"))]).unwrap();
        assert_eq!((keys.records().count(), keys.revoke("a"), keys.revoke("b")), (1, 0, 1));
    }
}
