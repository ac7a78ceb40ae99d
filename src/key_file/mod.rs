//! A file of keys: the feature `file`.
//!
//! A [`KeyFile`] is a verifier that holds what a file says, and follows it: keys are issued, rotated
//! and revoked in the file, by the command `apikey`, a [`KeyFile`] or an editor, and every service
//! that reads it sees them within about a second. No restart, no server.
//!
//! ```no_run
//! use std::time::Duration;
//! use tower_api_key::{ApiKeyLayer, Client, extract::header, key::KeyFormat, key_file::KeyFile};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = KeyFile::open("keys.jsonl")?;
//! let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
//!
//! let minted = keys.issue(&KeyFormat::new("sk_live")?, Client::new("mobile-app"))?;
//! keys.rotate(minted.id(), Duration::from_secs(7 * 24 * 60 * 60))?.reveal(|key| println!("{key}"));
//! # Ok(())
//! # }
//! ```
//!
//! # The format
//!
//! JSON Lines, in UTF-8: a first line that names the version, then a key a line. Empty lines, and
//! lines that begin with `#`, are comments. Every line ends in a line break, the last one too.
//!
//! ```text
//! {"v":1}
//! # Issued for the launch.
//! {"id":"0a1B2c3D","client":"mobile-app","digest":"sha256:…","created":"2026-11-24T12:00:00Z","scopes":["reports:read"],"prefix":"sk_live"}
//! {"id":"4e5F6g7H","client":"ci","digest":"sha256:…","created":"2026-11-24T12:00:00Z","expires":"2027-02-22T12:00:00Z","note":"deploys"}
//! ```
//!
//! | field | | what it is |
//! |---|---|---|
//! | `id` | needed | the public id: eight letters and digits |
//! | `client` | needed | whose key it is |
//! | `digest` | needed | `sha256:` and 64 hexadecimal digits: [`KeyDigest::encode`](crate::KeyDigest::encode). Never the key |
//! | `created` | needed | when it was made |
//! | `expires` | | when it ends |
//! | `not_before` | | when it begins |
//! | `retires` | | when it ends because it was rotated |
//! | `rotated` | version 2 | since when it is rotated |
//! | `replaced_by` | version 2 | the public id of the key that takes its place |
//! | `revoked` | | when it was revoked |
//! | `scopes` | | what the client may do: a list |
//! | `name` | | the client's name, for people |
//! | `prefix` | | what a key begins with that takes its place |
//! | `note` | | for people |
//!
//! Times are RFC 3339 in UTC. Any other field is an error, so that a misspelt `expires` is found. A key
//! that has expired is no error. An expiry before `created` or `not_before` is one.
//!
//! A field of version 2 requires `{"v":2}` as the first line. A service of an older version then reports
//! the version, keeps its keys and does not misread the line. A change writes `{"v":2}` if a key has such a
//! field, and `{"v":1}` once no key has one any more. A rotation writes both fields.
//!
//! If `retires` is not later than `rotated`, the rotation has no overlap. Every service then rejects the
//! key whatever its clock says.
//!
//! A line has at most 64 KiB, and a file at most 1 GiB or [`max_size`](KeyFileOptions::max_size). A larger
//! file counts as broken, and so does a longer line. A broken file takes at most twice its size in
//! memory. The reader skips a byte order mark, and a change drops it.
//!
//! # Following
//!
//! Every 500 ms the file is looked at, wherever its path leads (device, inode, size, times), on any file
//! system. This sees an editor's save, a rename and the swap of a symbolic link, as Kubernetes does it with a
//! mounted Secret or `ConfigMap`. A file that has changed is read once it has stood still for 300 ms.
//!
//! Mount the folder of the file, not the file alone. Kubernetes never updates a file that is mounted by
//! `subPath`. If a file is mounted by itself (`docker run -v ./keys.jsonl:/keys.jsonl`) and is replaced
//! outside by a rename, as every change does it, then the mount shows the deleted file for ever. A key
//! that is revoked outside keeps working inside. Once the file is deleted, [`KeyFile::status`] has a
//! problem of the kind [`Unlinked`](KeyFileErrorKind::Unlinked), and the observer and the log receive it
//! as well. If the old file lives on under another name, this process cannot see that. So a file that is
//! mounted by itself, or that has a second hard link, is reported when it is opened:
//! [`HasOtherNames`](KeyFileEvent::HasOtherNames).
//!
//! If another user may write the file or replace a part of its path, the observer and the log receive
//! [`WritableByOthers`](KeyFileEvent::WritableByOthers).
//!
//! It is best replaced by a rename, as the command and [`KeyFile`] do it, and most editors. Of a file
//! that is written in place, what ends in a line break and has stood still is taken for all of it.
//!
//! A file with a line that is broken or cut off is not taken: the keys stay, [`KeyFile::status`] says what is
//! wrong since when, an event goes to the [observer](KeyFileOptions::observe) and, with the feature
//! `tracing`, to the log. Once the file is mended that is noticed, too. A file that was emptied is
//! taken after two quiet looks, and refuses everybody.
//!
//! # Writing
//!
//! A change takes the lock `<file>.lock`, which stays there, reads the file anew, writes the new one
//! beside it and renames it: whoever reads finds the old or the new file, whole, even after a
//! crash. Mode, owner and group are kept (not access-control lists); a new file is its writer's alone
//! (0600). Symbolic links are followed. If a link belongs to a user other than root and the user of this
//! process, then it must lead to a folder of that user, because a user who may write a folder on the path
//! could otherwise have root change any key file. The writer follows no link in the place of the lock. Comments, and the lines of keys that do not change, stay byte
//! for byte. Programs that write the file in another way, such as an editor, do not take the lock:
//! leave it alone meanwhile.

mod change;
mod document;
mod error;
mod exposure;
mod follow;
mod line;
mod look;
mod options;
mod status;
#[cfg(unix)]
mod target;
#[cfg(not(unix))]
#[path = "target_by_path.rs"]
mod target;
#[cfg(unix)]
mod walk;
mod write;

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc::Sender},
    time::Duration,
};

pub use self::{
    error::{KeyFileError, KeyFileErrorKind},
    options::KeyFileOptions,
    status::{KeyFileEvent, KeyFileProblem, KeyFileStatus},
};
use self::{
    follow::Taken,
    options::{Clock, Observer},
};
use crate::{
    Client, KeyDigest, Keyring,
    error::ConfigError,
    key::{KeyFormat, MintedKey},
    verify::{Or, Presented, Record, Refusal, Verify},
};

/// A keyring that lives in a file and follows it.
///
/// It is a verifier for the layer, and a handle: clones share the keys. Changes go into the file
/// first, and work when the call returns; other processes that follow the file see them within about
/// a second. Each change reads and writes the whole file, and may wait for the disk and for other
/// writers: from asynchronous code call it in a thread for that, such as `spawn_blocking`.
///
/// Following takes a thread, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct KeyFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    keys: Keyring,
    formats: Vec<KeyFormat>,
    clock: Clock,
    observe: Option<Observer>,
    create: bool,
    max_size: u64,
    /// Held while the file is read or written, so that no reload undoes a change.
    taken: Mutex<Taken>,
    status: Mutex<KeyFileStatus>,
    /// The thread that follows ends when this goes.
    follower: Option<Sender<Infallible>>,
}

impl KeyFile {
    /// Reads a file, and follows it from then on. [`options`](Self::options) has more to choose.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or a line of it cannot be used: the error names it. If the file was
    /// deleted or replaced outside of a mount that still shows it, the kind is
    /// [`Unlinked`](KeyFileErrorKind::Unlinked).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        Self::options().open(path)
    }

    /// What can be chosen: formats, an observer, a clock, whether to create the file.
    pub fn options() -> KeyFileOptions {
        KeyFileOptions::default()
    }

    /// The path that is followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// How the file stands: when it was loaded, with how many keys, and what is wrong now.
    #[must_use]
    pub fn status(&self) -> KeyFileStatus {
        self.shared.status().clone()
    }

    /// The record of every key, as it was last loaded, in no order.
    pub fn records(&self) -> impl Iterator<Item = Record> + use<> {
        self.shared.keys.records()
    }

    /// The record of the key with this public id.
    #[must_use]
    pub fn record(&self, key_id: &str) -> Option<Record> {
        self.shared.keys.record(key_id)
    }

    /// The record of the key with this digest.
    #[must_use]
    pub fn record_of(&self, digest: &KeyDigest) -> Option<Record> {
        self.shared.keys.record_of(digest)
    }

    /// Makes a new key for a client: see [`Keyring::issue`].
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::issue`], as the source; and where the file cannot be read or written.
    pub fn issue(&self, format: &KeyFormat, client: Client) -> Result<MintedKey, KeyFileError> {
        self.update(|keys| keys.issue(format, client))
    }

    /// Makes a new key in the place of another: see [`Keyring::rotate`]. Other processes have to see
    /// the new key before it is handed out, and the old one has to outlive that: an overlap under two
    /// seconds is for keys that are lost anyway.
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::rotate`], as the source; and where the file cannot be read or written.
    pub fn rotate(&self, key_id: &str, overlap: Duration) -> Result<MintedKey, KeyFileError> {
        self.update(|keys| keys.rotate(key_id, overlap))
    }

    /// Revokes all keys of a client, and says how many: see [`Keyring::revoke`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or written. Nothing is revoked then, here neither.
    pub fn revoke(&self, client: &str) -> Result<usize, KeyFileError> {
        self.update(|keys| Ok(keys.revoke(client)))
    }

    /// Revokes one key, and says whether there was one to revoke: see [`Keyring::revoke_key`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or written.
    pub fn revoke_key(&self, key_id: &str) -> Result<bool, KeyFileError> {
        self.update(|keys| Ok(keys.revoke_key(key_id)))
    }

    /// Forgets the keys that are revoked or whose time is over, and says how many: see
    /// [`Keyring::prune`].
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or written.
    pub fn prune(&self) -> Result<usize, KeyFileError> {
        self.update(|keys| Ok(keys.prune()))
    }

    /// Makes any change: the closure gets the keys of the file as it is now, and what it leaves is
    /// written. Times that the keyring sets are in whole seconds. On an `Err` nothing is written.
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
    /// The closure must not change the file by way of another handle: that waits for this change.
    ///
    /// # Errors
    ///
    /// The closure's, as the source; and where the file cannot be read or written.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&Keyring) -> Result<T, ConfigError>,
    ) -> Result<T, KeyFileError> {
        self.shared.update(change).map_err(|(fault, line)| fault.at(&self.shared.path, line))
    }

    /// [`Verify::or`], without importing the trait.
    pub fn or<V>(self, next: V) -> Or<Self, V>
    where
        V: Verify,
        V::Answer: crate::verify::Answer<Client = Client>,
    {
        Verify::or(self, next)
    }
}

impl Verify for KeyFile {
    type Answer = Result<Client, Refusal>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        self.shared.keys.verify(key)
    }
}

/// The path and the status.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.shared.path)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
