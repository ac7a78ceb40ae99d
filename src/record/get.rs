use std::time::SystemTime;

use super::{
    Record, Time,
    validity::{Extra, Remarks},
};
use crate::key::{KeyDigest, KeyFormat, KeyId};

/// Getters.
impl<C> Record<C> {
    /// Returns the public id. Each record from a keyring has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(KeyId::as_str)
    }

    /// Returns the digest of the key.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// Returns the client that owns the key.
    #[must_use]
    pub fn client(&self) -> &C {
        &self.entry.client
    }

    /// Returns the format by which the key is rotated, if it is known. It has the prefix.
    #[must_use]
    pub fn format(&self) -> Option<&KeyFormat> {
        self.entry.format.as_ref()
    }

    /// Returns the note.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.extra().note.as_deref()
    }

    /// Returns when the key was created. Each record from a keyring has this time.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.entry.created.known()
    }

    /// Returns the name of the person or program that issued the key.
    #[must_use]
    pub fn issued_by(&self) -> Option<&str> {
        self.remarks().issued_by.as_deref()
    }

    /// Returns the time before which the key is not valid yet.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        let not_before = self.extra().not_before;
        (not_before > Time::START).then(|| not_before.known())?
    }

    /// Returns when the key expires. A rotation can end it sooner: [`retires`](Self::retires).
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.entry.validity.expires().known()
    }

    /// Returns since when the key is rotated.
    ///
    /// If the key was rotated by an older version, this time is not known and [`retires`](Self::retires)
    /// alone is set.
    #[must_use]
    pub fn rotated(&self) -> Option<SystemTime> {
        self.extra().rotated.known()
    }

    /// Returns until when a rotated key works.
    #[must_use]
    pub fn retires(&self) -> Option<SystemTime> {
        self.extra().retires.known()
    }

    /// Returns the public id of the key that replaces this key.
    #[must_use]
    pub fn replaced_by(&self) -> Option<&str> {
        self.extra().replaced_by.as_ref().map(KeyId::as_str)
    }

    /// Returns the reason why the key was rotated.
    #[must_use]
    pub fn rotated_reason(&self) -> Option<&str> {
        self.remarks().rotated_reason.as_deref()
    }

    /// Returns since when the key is paused, if it is paused now.
    #[must_use]
    pub fn paused(&self) -> Option<SystemTime> {
        self.extra().paused.known()
    }

    /// Returns since when the key is revoked.
    #[must_use]
    pub fn revoked(&self) -> Option<SystemTime> {
        self.extra().revoked.known()
    }

    /// Returns the name of the person or program that revoked the key.
    #[must_use]
    pub fn revoked_by(&self) -> Option<&str> {
        self.remarks().revoked_by.as_deref()
    }

    /// Returns the reason why the key was revoked.
    #[must_use]
    pub fn revoked_reason(&self) -> Option<&str> {
        self.remarks().revoked_reason.as_deref()
    }

    fn extra(&self) -> &Extra {
        self.entry.validity.extra()
    }

    fn remarks(&self) -> &Remarks {
        self.extra().remarks()
    }
}
