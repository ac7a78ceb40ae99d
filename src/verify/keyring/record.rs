use std::{any::Any, fmt, time::SystemTime};

use super::{life::Life, time::Time};
use crate::{
    client::Client,
    error::{ConfigError, ConfigErrorKind},
    key::{KeyDigest, KeyFormat, KeyId, MintedKey},
    rejection::Reason,
};

/// What is known of one key: whose it is, and from when until when it opens anything. Never the key.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_api_key::{Client, Keyring, key::KeyFormat, verify::Record};
///
/// let keys = Keyring::new();
/// let minted = KeyFormat::new("sk_live")?.mint()?;
/// let in_90_days = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
/// keys.insert_record(Record::of(&minted, Client::new("ci")).expires_at(in_90_days).note("deploys"))?;
/// minted.reveal(|key| println!("{key}"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// Times before 1970 count as 1970, and those after 2554 as 2554.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Record<C = Client> {
    pub(super) id: Option<KeyId>,
    pub(super) digest: KeyDigest,
    pub(super) entry: Entry<C>,
}

/// The part of a record that a keyring holds for every key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry<C> {
    pub(super) client: C,
    pub(super) created: Time,
    pub(super) format: Option<KeyFormat>,
    pub(super) life: Life,
}

impl<C> Record<C> {
    /// The record of a key by its digest. It gets an id when it is inserted.
    pub fn new(digest: KeyDigest, client: C) -> Self {
        let entry = Entry { client, created: Time::NEVER, format: None, life: Life::default() };
        Self { id: None, digest, entry }
    }

    /// The record of a key that was just minted.
    pub fn of(minted: &MintedKey, client: C) -> Self {
        let mut record = Self::new(minted.digest(), client);
        record.id = Some(minted.key_id());
        record.entry.format = Some(minted.format().clone());
        record
    }

    /// Sets the public id.
    ///
    /// # Errors
    ///
    /// [`ConfigErrorKind::KeyId`] for anything but eight letters and digits.
    pub fn with_id(mut self, id: &str) -> Result<Self, ConfigError> {
        self.id = Some(KeyId::parse(id)?);
        Ok(self)
    }

    /// Sets when the key was made. By default it is when the record is inserted, or the key's expiry if
    /// that is sooner.
    pub fn created_at(mut self, time: SystemTime) -> Self {
        self.entry.created = time.into();
        self
    }

    /// Sets when the key ends: from that very instant it is refused.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.entry.life.expires = time.into();
        self
    }

    /// Sets when the key begins: from that very instant it works.
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.entry.life.rare_mut().begins = time.into();
        self
    }

    /// Sets when a key that was rotated ends, if that is sooner than its own expiry. What
    /// [`Keyring::rotate`](crate::Keyring::rotate) sets.
    pub fn retires_at(mut self, time: SystemTime) -> Self {
        let rare = self.entry.life.rare_mut();
        rare.set_rotation(rare.rotated(), time.into());
        self
    }

    /// Sets since when the key is rotated. [`Keyring::rotate`](crate::Keyring::rotate) sets this time.
    ///
    /// If [`retires_at`](Self::retires_at) is not later, the rotation has no overlap. A keyring then
    /// rejects the key whatever its clock says, because the clock may be slow.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use tower_api_key::{Client, KeyDigest, rejection::Reason, verify::Record};
    ///
    /// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    /// let record = Record::new(KeyDigest::of("12345abcde"), Client::new("ci"));
    /// let record = record.with_rotated(now).retires_at(now);
    ///
    /// assert_eq!(record.refused_at(now - Duration::from_secs(60)), Some(Reason::Expired));
    /// ```
    pub fn with_rotated(mut self, since: SystemTime) -> Self {
        let rare = self.entry.life.rare_mut();
        rare.set_rotation(since.into(), rare.retires());
        self
    }

    /// Sets the public id of the key that takes the place of this key.
    ///
    /// # Errors
    ///
    /// [`ConfigErrorKind::KeyId`] for anything but eight letters and digits.
    pub fn with_replaced_by(mut self, id: &str) -> Result<Self, ConfigError> {
        self.entry.life.rare_mut().replaced_by = Some(KeyId::parse(id)?);
        Ok(self)
    }

    /// Says that the key was revoked, and when.
    pub fn revoked_at(mut self, time: SystemTime) -> Self {
        self.entry.life.rare_mut().revoked = time.into();
        self
    }

    /// Adds a note for people to read.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.entry.life.rare_mut().note = Some(note.into().into_boxed_str());
        self
    }

    /// Sets the format by which the key is rotated. A minted key has its own.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.entry.format = Some(format);
        self
    }

    /// The public id: every record from a keyring has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(KeyId::as_str)
    }

    /// The key's digest.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// Whose key it is.
    #[must_use]
    pub fn client(&self) -> &C {
        &self.entry.client
    }

    /// When it was made: every record from a keyring says so.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.entry.created.known()
    }

    /// When it ends by itself, if it does.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.entry.life.expires.known()
    }

    /// From when it works, if that was set.
    #[must_use]
    pub fn begins(&self) -> Option<SystemTime> {
        let begins = self.entry.life.rare().begins;
        (begins > Time::START).then(|| begins.known())?
    }

    /// When it ends because it was rotated, if it was.
    #[must_use]
    pub fn retires(&self) -> Option<SystemTime> {
        self.entry.life.rare().retires().known()
    }

    /// Returns the time since when the key is rotated.
    ///
    /// If the key was rotated by an older version, this time is not known and [`retires`](Self::retires)
    /// alone is set.
    #[must_use]
    pub fn rotated(&self) -> Option<SystemTime> {
        self.entry.life.rare().rotated().known()
    }

    /// Returns the public id of the key that takes the place of this key.
    #[must_use]
    pub fn replaced_by(&self) -> Option<&str> {
        self.entry.life.rare().replaced_by.as_ref().map(KeyId::as_str)
    }

    /// When it was revoked, if it was.
    #[must_use]
    pub fn revoked(&self) -> Option<SystemTime> {
        self.entry.life.rare().revoked.known()
    }

    /// The note.
    #[must_use]
    pub fn noted(&self) -> Option<&str> {
        self.entry.life.rare().note.as_deref()
    }

    /// The format by which it is rotated, where one is known.
    #[must_use]
    pub fn key_format(&self) -> Option<&KeyFormat> {
        self.entry.format.as_ref()
    }

    /// Why the key is refused at this time: for operators, not for callers. `None` if it works.
    #[must_use]
    pub fn refused_at(&self, time: SystemTime) -> Option<Reason> {
        self.entry.life.refused(|| time.into())
    }

    /// The public id as other records are compared with it.
    #[cfg(feature = "file")]
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.id
    }

    /// Checks what a keyring requires of one record, other records aside.
    #[cfg(feature = "file")]
    pub(crate) fn check_fields(&self) -> Result<(), ConfigError>
    where
        C: 'static,
    {
        self.entry.check()
    }
}

impl<C> Entry<C> {
    /// What a keyring takes: a client that logs can show, and a life.
    ///
    /// The clock is not read, because a key that has expired is no error.
    pub(super) fn check(&self) -> Result<(), ConfigError>
    where
        C: 'static,
    {
        if let Some(client) = (&self.client as &dyn Any).downcast_ref::<Client>() {
            client.check()?;
        }
        if self.life.expires < self.life.rare().begins.max(self.created.or(Time::START)) {
            return Err(ConfigErrorKind::Lifetime.into());
        }
        Ok(())
    }

    /// What takes this one's place.
    pub(super) fn successor(&self, client: C, format: KeyFormat, now: Time) -> Self {
        let life = self.life.successor(self.created.or(now), now);
        Self { client, created: now, format: Some(format), life }
    }
}

impl<C: fmt::Debug> fmt::Debug for Record<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("client", &self.client())
            .field("created", &self.created())
            .field("not_before", &self.begins())
            .field("expires", &self.expires())
            .field("rotated", &self.rotated())
            .field("retires", &self.retires())
            .field("replaced_by", &self.replaced_by())
            .field("revoked", &self.revoked())
            .field("note", &self.noted())
            .finish_non_exhaustive()
    }
}
