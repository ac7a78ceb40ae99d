use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Duration,
};

use super::{
    KeyFileError, KeyFileEvent, KeyFileOptions, KeyFileStatus,
    applied::Applied,
    options::{Clock, Observer},
};
use crate::{
    Client, KeyDigest, Keyring,
    error::KeyringError,
    key::{KeyFormat, MintedKey},
    record::Record,
    verify::{Never, PresentedKey, Verification, Verify},
};

/// A keyring that lives in a file and follows its changes.
///
/// This is a verifier for the layer and a handle for changes. Clones share the keys. The
/// [module](super) has an example.
///
/// A change goes into the file first. When the call returns, the change has taken effect in this process.
/// Other processes that follow the file apply it within about a second.
///
/// A change reads and writes the whole file, and may wait for the disk and for other writers. In
/// asynchronous code, call it in a thread for blocking work, such as `spawn_blocking`.
///
/// A thread follows the file. It ends when the last handle is dropped.
#[derive(Clone)]
pub struct KeyFile {
    pub(super) shared: Arc<Shared>,
}

/// The state that all clones of a handle and the follower share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) keys: Keyring,
    pub(super) formats: Vec<KeyFormat>,
    pub(super) clock: Clock,
    pub(super) observe: Option<Observer>,
    pub(super) create: bool,
    pub(super) max_size: u64,
    /// Locked while the file is read or written, so that no reload undoes a change.
    pub(super) applied: Mutex<Applied>,
    pub(super) status: Mutex<KeyFileStatus>,
    /// Tells the tasks that follow this file as a store of each poll.
    #[cfg(feature = "store")]
    pub(super) polled: super::change_log::Polled,
    /// `None` if the file is not followed. The follower ends when the sender is dropped.
    pub(super) follower: Option<Sender<Infallible>>,
}

impl Shared {
    /// Reports an event to the log and to the observer.
    pub(super) fn emit(&self, event: &KeyFileEvent) {
        #[cfg(feature = "tracing")]
        event.log(&self.path);
        if let Some(observe) = &self.observe {
            observe(event);
        }
    }

    pub(super) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, KeyFileStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyFile {
    /// Opens a file and follows its changes.
    ///
    /// Use [`options`](Self::options) to set formats, an observer or a clock.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or if a line is invalid. The error names the line. If a
    /// mount shows a file that was deleted or replaced outside, the kind is
    /// [`Unlinked`](super::KeyFileErrorKind::Unlinked).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        Self::options().open(path)
    }

    /// Returns the default options, for a file that needs other options.
    pub fn options() -> KeyFileOptions {
        KeyFileOptions::default()
    }

    /// Returns the absolute path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Returns the time of the last load, the number of keys and the current problem.
    #[must_use]
    pub fn status(&self) -> KeyFileStatus {
        self.shared.status().clone()
    }

    /// Returns the record of every key that was last loaded, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = Record> + use<> {
        self.shared.keys.records()
    }

    /// Returns the record of the key with this public id.
    #[must_use]
    pub fn record(&self, key_id: &str) -> Option<Record> {
        self.shared.keys.record(key_id)
    }

    /// Returns the record of the key with this digest.
    #[must_use]
    pub fn record_by_digest(&self, digest: &KeyDigest) -> Option<Record> {
        self.shared.keys.record_by_digest(digest)
    }

    /// Issues a key to a client. See [`Keyring::issue`].
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written. If [`Keyring::issue`] fails, its error is
    /// the source.
    pub fn issue(&self, format: &KeyFormat, client: Client) -> Result<MintedKey, KeyFileError> {
        self.update(|keys| keys.issue(format, client))
    }

    /// Issues a key that replaces another. See [`Keyring::rotate`].
    ///
    /// Other processes need about a second to see the new key. So use an overlap under two seconds only if
    /// the old key has leaked.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written. If [`Keyring::rotate`] fails, its error is
    /// the source.
    pub fn rotate(&self, key_id: &str, overlap: Duration) -> Result<MintedKey, KeyFileError> {
        self.update(|keys| keys.rotate(key_id, overlap))
    }

    /// Revokes all keys of a client and returns their number. See [`Keyring::revoke_client`].
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written. No key is then revoked in this process
    /// either.
    pub fn revoke_client(&self, client: &str) -> Result<usize, KeyFileError> {
        self.update(|keys| Ok(keys.revoke_client(client)))
    }

    /// Revokes one key and returns whether there was a key to revoke. See [`Keyring::revoke_key`].
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written.
    pub fn revoke_key(&self, key_id: &str) -> Result<bool, KeyFileError> {
        self.update(|keys| Ok(keys.revoke_key(key_id)))
    }

    /// Deletes revoked and expired keys and returns their number. See [`Keyring::prune`].
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written.
    pub fn prune(&self) -> Result<usize, KeyFileError> {
        self.update(|keys| Ok(keys.prune()))
    }

    /// Makes any change to the keys of the file.
    ///
    /// The closure receives the current keys of the file. If it returns `Ok`, its changes are written. If it
    /// returns `Err`, the file stays as it is. The keyring sets times in whole seconds.
    ///
    /// The closure must not change the file through another handle, because that handle would wait for this
    /// change.
    ///
    /// # Example: add a key by its digest
    ///
    /// ```no_run
    /// # use tower_api_key::{Client, KeyDigest, key_file::KeyFile};
    /// # fn change(keys: &KeyFile) -> Result<(), Box<dyn std::error::Error>> {
    /// let digest = KeyDigest::parse("sha256:9f86d0…")?;
    /// keys.update(|keys| keys.insert_digest(digest, Client::new("ci")))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or written. If the closure fails, its error is the
    /// source.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&Keyring) -> Result<T, KeyringError>,
    ) -> Result<T, KeyFileError> {
        let changed = self.shared.update(change);
        let (result, _) = changed.map_err(|(fault, line)| fault.at(&self.shared.path, line))?;
        Ok(result)
    }
}

impl Verify for KeyFile {
    type Client = Client;
    type Future = Never<Client>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Client> {
        self.shared.keys.verify(key)
    }
}

/// Shows the path and the status.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.shared.path)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
