//! Records: one stored key with its id, digest, client, times and state.
//!
//! A [`Record`] never holds the key. A [`Keyring`](crate::Keyring) holds records in memory, and a store
//! of your own can hold them in a database. Both use the same rules: [`check`](Record::check),
//! [`rotate`](Record::rotate), [`revoke`](Record::revoke), [`pause`](Record::pause),
//! [`resume`](Record::resume) and [`update`](Record::update).
//!
//! # Example: insert a key that expires
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_api_key::{Client, Keyring, key::KeyFormat, record::Record};
//!
//! let keys = Keyring::new();
//! let minted = KeyFormat::new("sk_live")?.mint()?;
//! let in_90_days = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
//! let record = Record::of(&minted, Client::new("ci")).with_expires(in_90_days).with_note("deploys");
//! keys.insert_record(record)?;
//! minted.reveal(|key| println!("{key}"));
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```
//!
//! # Example: rotate a key in a store of your own
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_api_key::{Client, KeyDigest, record::Record, rejection::Reason};
//!
//! # let row = Record::new(KeyDigest::of("12345abcde"), Client::new("ci"));
//! let mut old = row;                                       // read it in a transaction
//! let now = SystemTime::now();
//! let minted = old.format().cloned().unwrap_or_default().mint()?;
//! let new = old.rotate(&minted, Duration::from_secs(60 * 60), now)?;
//! // Write both records, and reveal the minted key once the transaction is committed.
//! assert_eq!((old.check(now), new.check(now)), (Ok(()), Ok(())));
//!
//! old.revoke(now);
//! assert_eq!(old.check(now), Err(Reason::Revoked));
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```

mod get;
mod rules;
mod set;
mod time;
mod validity;

use std::fmt;

pub(crate) use self::{time::Time, validity::Validity};
use crate::{
    client::{Client, as_client},
    error::{KeyringError, KeyringErrorKind},
    key::{KeyDigest, KeyFormat, KeyId, MintedKey},
};

/// One stored key with its id, digest, client, times and state. It never holds the key.
///
/// Times before 1970 count as 1970, and times after 2554 as 2554. See the [module](self) for examples.
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Record<C = Client> {
    pub(crate) id: Option<KeyId>,
    pub(crate) digest: KeyDigest,
    pub(crate) entry: Entry<C>,
}

/// The part of a record that a keyring holds for each key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry<C> {
    pub(crate) client: C,
    pub(crate) created: Time,
    pub(crate) format: Option<KeyFormat>,
    pub(crate) validity: Validity,
}

impl<C> Record<C> {
    /// Creates the record of a key from its digest. The key gets an id when it is inserted.
    pub fn new(digest: KeyDigest, client: C) -> Self {
        let validity = Validity::default();
        let entry = Entry { client, created: Time::NEVER, format: None, validity };
        Self { id: None, digest, entry }
    }

    /// Creates the record of a key that was just minted.
    pub fn of(minted: &MintedKey, client: C) -> Self {
        let mut record = Self::new(minted.digest(), client);
        record.id = Some(minted.key_id());
        record.entry.format = Some(minted.format().clone());
        record
    }
}

impl<C> Entry<C> {
    /// Checks the client and the times.
    ///
    /// The clock is not read, because a key that has expired is no error.
    pub(crate) fn validate(&self) -> Result<(), KeyringError>
    where
        C: 'static,
    {
        if let Some(client) = as_client(&self.client) {
            client.check()?;
        }
        let begins = self.validity.extra().not_before.max(self.created.or(Time::START));
        if self.validity.expires() < begins {
            return Err(KeyringErrorKind::Lifetime.into());
        }
        Ok(())
    }
}

/// The digest is left out.
impl<C: fmt::Debug> fmt::Debug for Record<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("client", &self.client())
            .field("created", &self.created())
            .field("issued_by", &self.issued_by())
            .field("not_before", &self.not_before())
            .field("expires", &self.expires())
            .field("rotated", &self.rotated())
            .field("retires", &self.retires())
            .field("replaced_by", &self.replaced_by())
            .field("rotated_reason", &self.rotated_reason())
            .field("paused", &self.paused())
            .field("revoked", &self.revoked())
            .field("revoked_by", &self.revoked_by())
            .field("revoked_reason", &self.revoked_reason())
            .field("note", &self.note())
            .finish_non_exhaustive()
    }
}
