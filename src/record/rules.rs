use std::time::{Duration, SystemTime};

use super::{Entry, Record, Time};
use crate::{
    client::{Identity, as_client},
    error::{KeyringError, KeyringErrorKind},
    key::MintedKey,
    rejection::Reason,
};

/// Rules, for a keyring and for each store alike.
impl<C> Record<C> {
    /// Checks whether the key works at this time.
    ///
    /// # Errors
    ///
    /// Returns the reason why the key is rejected. The reason is for operators and not for callers. If
    /// there are several reasons, revoked goes before paused, expired and not valid yet.
    pub fn check(&self, now: SystemTime) -> Result<(), Reason> {
        self.entry.validity.rejects(|| now.into()).map_or(Ok(()), Err)
    }

    /// Checks everything that a keyring requires of a record, apart from other records.
    ///
    /// # Errors
    ///
    /// Returns an error if the client has an id or a scope that is not valid. It also returns an error if
    /// the expiry is before the beginning or the creation. A key that has expired is no error.
    pub fn validate(&self) -> Result<(), KeyringError>
    where
        C: 'static,
    {
        self.entry.validate()
    }

    /// Rotates the key and returns the record of the new key, which was minted before.
    ///
    /// The new key works now. It has the old client, note and length of life. The old key works until
    /// the overlap is over, or until its own expiry if that is sooner. With [`Duration::ZERO`] the old key
    /// is rejected at once and at any time, because a clock may be slow. If the old key is paused, then so
    /// is the new key.
    ///
    /// # Errors
    ///
    /// Returns [`KeyringErrorKind::DeadKey`] if the key is revoked or has expired. The record stays as it is then.
    pub fn rotate(
        &mut self,
        minted: &MintedKey,
        overlap: Duration,
        now: SystemTime,
    ) -> Result<Self, KeyringError>
    where
        C: Clone + Identity,
    {
        let now = Time::from(now);
        let old = &self.entry;
        if old.validity.is_dead(now) {
            return Err(KeyringErrorKind::DeadKey.into());
        }
        let mut client = old.client.clone();
        client.set_key_id(minted.id());
        let validity = old.validity.successor(old.created.or(now), now);
        let format = Some(minted.format().clone());
        let entry = Entry { client, created: now, format, validity };
        self.entry.validity.rotate(now, overlap, minted.key_id());
        Ok(Self { id: Some(minted.key_id()), digest: minted.digest(), entry })
    }

    /// Revokes the key for ever, and returns whether the key was not revoked before.
    ///
    /// The time of the first revocation stays.
    pub fn revoke(&mut self, now: SystemTime) -> bool {
        let is_new = !self.entry.validity.is_revoked();
        if is_new {
            self.entry.validity.change(|extra| extra.revoked = now.into());
        }
        is_new
    }

    /// Pauses the key. It is rejected until it is [resumed](Self::resume).
    ///
    /// A key that is paused already stays paused since the same time.
    ///
    /// # Errors
    ///
    /// Returns [`KeyringErrorKind::RevokedKey`] if the key is revoked.
    pub fn pause(&mut self, now: SystemTime) -> Result<(), KeyringError> {
        self.check_not_revoked()?;
        self.entry.validity.change(|extra| extra.paused = extra.paused.or(now.into()));
        Ok(())
    }

    /// Resumes a paused key. If its time is over meanwhile, the key stays rejected.
    ///
    /// A key that is not paused stays as it is.
    ///
    /// # Errors
    ///
    /// Returns [`KeyringErrorKind::RevokedKey`] if the key is revoked.
    pub fn resume(&mut self) -> Result<(), KeyringError> {
        self.check_not_revoked()?;
        self.entry.validity.change(|extra| extra.paused = Time::NEVER);
        Ok(())
    }

    /// Changes any fields, except for the id and the digest.
    ///
    /// ```
    /// use tower_api_key::{Client, KeyDigest, record::Record};
    ///
    /// let mut record = Record::new(KeyDigest::of("12345abcde"), Client::new("ci"));
    /// record.update(|record| {
    ///     let client = record.client().clone().with_scopes(["jobs:read"]);
    ///     record.with_client(client).with_note("read only")
    /// })?;
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves the record as it is, if
    ///
    /// - the id or the digest is another one: [`KeyringErrorKind::ImmutableId`],
    /// - the key was revoked, and the new record has no revocation or another time of it:
    ///   [`KeyringErrorKind::RevokedKey`],
    /// - the new record is not [valid](Self::validate), or a changed field of a [`Client`](crate::Client) is not.
    pub fn update(&mut self, change: impl FnOnce(Self) -> Self) -> Result<(), KeyringError>
    where
        C: Clone + 'static,
    {
        let new = change(self.clone());
        if (new.id, new.digest) != (self.id, self.digest) {
            return Err(KeyringErrorKind::ImmutableId.into());
        }
        if self.revoked().is_some() && new.revoked() != self.revoked() {
            return Err(KeyringErrorKind::RevokedKey.into());
        }
        new.validate()?;
        new.check_new_client(Some(&self.entry.client))?;
        *self = new;
        Ok(())
    }

    /// Checks the parts of a client that are new in a keyring.
    pub(crate) fn check_new_client(&self, before: Option<&C>) -> Result<(), KeyringError>
    where
        C: 'static,
    {
        match as_client(&self.entry.client) {
            Some(client) => client.check_new(before.and_then(as_client::<C>)),
            None => Ok(()),
        }
    }

    fn check_not_revoked(&self) -> Result<(), KeyringError> {
        if self.entry.validity.is_revoked() {
            return Err(KeyringErrorKind::RevokedKey.into());
        }
        Ok(())
    }
}
