use std::time::SystemTime;

use super::{
    Record, Time,
    validity::{Extra, Remarks},
};
use crate::{
    error::KeyringError,
    key::{KeyFormat, KeyId},
};

/// Setters. A time can be `None`, and an empty text counts as none.
impl<C> Record<C> {
    /// Sets the public id.
    ///
    /// # Errors
    ///
    /// Returns [`KeyringErrorKind::KeyId`](crate::error::KeyringErrorKind::KeyId) if the id is not eight
    /// letters and digits.
    pub fn with_id(mut self, id: &str) -> Result<Self, KeyringError> {
        self.id = Some(KeyId::parse(id)?);
        Ok(self)
    }

    /// Sets the client that owns the key.
    pub fn with_client(mut self, client: C) -> Self {
        self.entry.client = client;
        self
    }

    /// Sets the format by which the key is rotated. A minted key has its own.
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.entry.format = Some(format);
        self
    }

    /// Sets a note for people to read.
    pub fn with_note(self, note: impl Into<String>) -> Self {
        let note = text(note);
        self.change(|extra| extra.note = note)
    }

    /// Sets when the key was created.
    ///
    /// By default this is the time of the insertion, or the expiry of the key if that is sooner.
    pub fn with_created(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.entry.created = time.into().into();
        self
    }

    /// Sets the name of the person or program that issued the key.
    pub fn with_issued_by(self, name: impl Into<String>) -> Self {
        let name = text(name);
        self.change_remarks(|remarks| remarks.issued_by = name)
    }

    /// Sets the time before which the key is not valid yet. At this very instant the key works.
    pub fn with_not_before(self, time: impl Into<Option<SystemTime>>) -> Self {
        let time = time.into().map_or(Time::START, Time::from);
        self.change(|extra| extra.not_before = time)
    }

    /// Sets when the key expires. At this very instant the key is rejected.
    pub fn with_expires(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.entry.validity.expires = time.into().into();
        self
    }

    /// Sets since when the key is rotated. [`rotate`](Self::rotate) sets this time.
    ///
    /// If [`retires`](Self::with_retires) is not later, the rotation has no overlap. The key is then
    /// rejected at any time, because a clock may be slow.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use tower_api_key::{Client, KeyDigest, record::Record, rejection::Reason};
    ///
    /// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    /// let record = Record::new(KeyDigest::of("12345abcde"), Client::new("ci"));
    /// let record = record.with_rotated(now).with_retires(now);
    ///
    /// assert_eq!(record.check(now - Duration::from_secs(60)), Err(Reason::Expired));
    /// ```
    pub fn with_rotated(self, since: impl Into<Option<SystemTime>>) -> Self {
        let since = since.into().into();
        self.change(|extra| extra.rotated = since)
    }

    /// Sets until when a rotated key works, if that is sooner than its expiry. [`rotate`](Self::rotate)
    /// sets this time.
    pub fn with_retires(self, time: impl Into<Option<SystemTime>>) -> Self {
        let time = time.into().into();
        self.change(|extra| extra.retires = time)
    }

    /// Sets the public id of the key that replaces this key.
    ///
    /// # Errors
    ///
    /// Returns [`KeyringErrorKind::KeyId`](crate::error::KeyringErrorKind::KeyId) if the id is not eight
    /// letters and digits.
    pub fn with_replaced_by(self, id: &str) -> Result<Self, KeyringError> {
        let id = KeyId::parse(id)?;
        Ok(self.change(|extra| extra.replaced_by = Some(id)))
    }

    /// Sets the reason why the key was rotated, for people to read.
    pub fn with_rotated_reason(self, reason: impl Into<String>) -> Self {
        let reason = text(reason);
        self.change_remarks(|remarks| remarks.rotated_reason = reason)
    }

    /// Sets since when the key is paused. With `None` the key is not paused.
    pub fn with_paused(self, since: impl Into<Option<SystemTime>>) -> Self {
        let since = since.into().into();
        self.change(|extra| extra.paused = since)
    }

    /// Sets since when the key is revoked. No setter takes a revocation back.
    pub fn with_revoked(self, since: SystemTime) -> Self {
        self.change(|extra| extra.revoked = since.into())
    }

    /// Sets the name of the person or program that revoked the key.
    pub fn with_revoked_by(self, name: impl Into<String>) -> Self {
        let name = text(name);
        self.change_remarks(|remarks| remarks.revoked_by = name)
    }

    /// Sets the reason why the key was revoked, for people to read.
    pub fn with_revoked_reason(self, reason: impl Into<String>) -> Self {
        let reason = text(reason);
        self.change_remarks(|remarks| remarks.revoked_reason = reason)
    }

    fn change(mut self, change: impl FnOnce(&mut Extra)) -> Self {
        self.entry.validity.change(change);
        self
    }

    fn change_remarks(self, change: impl FnOnce(&mut Remarks)) -> Self {
        self.change(|extra| extra.change_remarks(change))
    }
}

fn text(text: impl Into<String>) -> Option<Box<str>> {
    Some(text.into().into_boxed_str()).filter(|text| !text.is_empty())
}
