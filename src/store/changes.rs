use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Cached, Change, Changed, KeyStore, Mirrored, StoreError, StoreErrorKind, caught::caught,
};
use crate::{
    Client,
    key::{KeyFormat, MintedKey},
    record::Record,
};

pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Implements the changes of handles.
macro_rules! changes {
    ($($Handle:ident),+) => {$(
        /// Changes. The store makes each in one transaction. This process applies it before the call returns.
        ///
        /// If the caller drops the future, the change goes on. To note who makes a change and why, use
        /// [`change`](Self::change).
        ///
        /// All of them have the errors of [`change`](Self::change).
        impl $Handle {
            /// Makes a change.
            ///
            /// # Example: revoke a key and note the reason
            ///
            /// ```
            #[doc = concat!(" use tower_api_key::store::{Change, ", stringify!($Handle), ", StoreError};")]
            ///
            #[doc = concat!(" # async fn example(keys: &", stringify!($Handle), ") -> Result<(), StoreError> {")]
            /// let leaked = Change::revoke_key("0a1B2c3D").with_by("alice").with_reason("in a public log");
            /// assert_eq!(keys.change(leaked).await?.count(), 1);
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// If the change is invalid, the kind is [`Refused`](StoreErrorKind::Refused). If the store fails, it is
            /// the kind of the store's error.
            pub async fn change(&self, change: Change) -> Result<Changed, StoreError> {
                let shared = Arc::clone(&self.shared);
                let change = complete(change, &shared.formats, &shared.clock);
                let task = self.shared.runtime.spawn(async move { shared.commit(change).await });
                task.await.unwrap_or_else(|_| {
                    let text = "the runtime shuts down";
                    Err(StoreError::new(StoreErrorKind::OutcomeUnknown, text))
                })
            }

            /// Mints a key and issues it to a client. See [`Change::issue`].
            ///
            /// # Errors
            ///
            /// Returns an error if the client is invalid, or the error of the store.
            pub async fn issue(&self, format: &KeyFormat, client: Client) -> Result<MintedKey, StoreError> {
                self.mint(Change::issue(format, client)).await
            }

            /// Mints a key to take the place of another. See [`Change::rotate`].
            ///
            /// # Errors
            ///
            /// Returns an error if no key has the id, if the key is dead, or the error of the store.
            pub async fn rotate(&self, key_id: &str, overlap: Duration) -> Result<MintedKey, StoreError> {
                self.mint(Change::rotate(key_id, overlap)).await
            }

            /// Revokes all keys of a client and returns their number. No key is no error.
            ///
            /// # Errors
            ///
            /// Returns the error of the store.
            pub async fn revoke_client(&self, client: &str) -> Result<usize, StoreError> {
                Ok(self.change(Change::revoke_client(client)).await?.count())
            }

            /// Revokes one key and returns whether there was a key to revoke.
            ///
            /// # Errors
            ///
            /// Returns the error of the store.
            pub async fn revoke_key(&self, key_id: &str) -> Result<bool, StoreError> {
                Ok(self.change(Change::revoke_key(key_id)).await?.count() > 0)
            }

            /// Changes any fields of a record, except for the id and the digest. See [`Change::update`].
            ///
            /// # Example: change the scopes of one key
            ///
            /// ```
            #[doc = concat!(" # use tower_api_key::store::{", stringify!($Handle), ", StoreError};")]
            #[doc = concat!(" # async fn example(keys: &", stringify!($Handle), ") -> Result<(), StoreError> {")]
            /// keys.update("0a1B2c3D", |record| {
            ///     let client = record.client().clone().with_scopes(["reports:read"]);
            ///     record.with_client(client).with_note("read only since the audit")
            /// })
            /// .await?;
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Returns an error if no key has the id or if the new record is invalid, or the error of the store.
            pub async fn update(
                &self,
                key_id: &str,
                change: impl Fn(Record) -> Record + Send + Sync + 'static,
            ) -> Result<(), StoreError> {
                self.change(Change::update(key_id, change)).await.map(drop)
            }

            /// Pauses a key until it is [resumed](Self::resume). See [`Change::pause`].
            ///
            /// # Errors
            ///
            /// Returns an error if no key has the id, if the key is revoked, or the error of the store.
            pub async fn pause(&self, key_id: &str) -> Result<(), StoreError> {
                self.change(Change::pause(key_id)).await.map(drop)
            }

            /// Resumes a paused key. See [`Change::resume`].
            ///
            /// # Errors
            ///
            /// Returns an error if no key has the id, if the key is revoked, or the error of the store.
            pub async fn resume(&self, key_id: &str) -> Result<(), StoreError> {
                self.change(Change::resume(key_id)).await.map(drop)
            }

            /// Removes the records of keys that are dead since before this time, and returns their number.
            ///
            /// # Errors
            ///
            /// Returns the error of the store.
            pub async fn prune(&self, dead_before: SystemTime) -> Result<usize, StoreError> {
                Ok(self.change(Change::prune(dead_before)).await?.count())
            }

            async fn mint(&self, change: Change) -> Result<MintedKey, StoreError> {
                let changed = self.change(change).await?;
                changed.into_minted().ok_or_else(|| {
                    StoreError::new(StoreErrorKind::Corrupt, "the store has lost the minted key")
                })
            }
        }
    )+};
}

changes! { Cached, Mirrored }

/// Sets the formats of the handle and the time of the change, unless it has a time.
fn complete(change: Change, formats: &[KeyFormat], clock: &Clock) -> Change {
    let change = formats.iter().cloned().fold(change, Change::with_format);
    if change.time().is_none() { change.with_time(clock()) } else { change }
}

/// Commits a change. A closure of the change or the store can panic, before or after the commit.
pub(super) async fn commit(store: &dyn KeyStore, change: Change) -> Result<Changed, StoreError> {
    let text = "the change or the store panicked";
    caught(change.commit(store), StoreErrorKind::OutcomeUnknown, text).await
}
