//! Keeps keys in a file and follows its changes. Requires the feature `file`.
//!
//! A [`KeyFile`] is a verifier that holds the keys of a file. The command `apikey`, a [`KeyFile`] or an
//! editor issues, rotates and revokes keys in the file. Every service that follows the file applies a change
//! within about a second, without a restart.
//!
//! # Examples
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
//! # Format of a key file
//!
//! A key file has JSON Lines in UTF-8. The first line names the version, and each further line is a key.
//! Empty lines and lines that begin with `#` are comments. Every line ends in a line break, the last line
//! too.
//!
//! ```text
//! {"v":1}
//! # Issued for the launch.
//! {"id":"0a1B2c3D","client":"mobile-app","digest":"sha256:…","created":"2026-11-24T12:00:00Z","scopes":["reports:read"],"prefix":"sk_live"}
//! {"id":"4e5F6g7H","client":"ci","digest":"sha256:…","created":"2026-11-24T12:00:00Z","expires":"2027-02-22T12:00:00Z","note":"deploys"}
//! ```
//!
//! | field | | meaning |
//! |---|---|---|
//! | `id` | required | the public id: eight letters and digits |
//! | `client` | required | the id of the client that owns the key |
//! | `digest` | required | `sha256:` and 64 hexadecimal digits: [`KeyDigest::encode`](crate::KeyDigest::encode). Never the key |
//! | `created` | required | time of creation |
//! | `expires` | | time of expiry |
//! | `not_before` | | time from which the key is valid |
//! | `retires` | | end of the overlap after a rotation |
//! | `rotated` | version 2 | time of the rotation |
//! | `replaced_by` | version 2 | the public id of the successor |
//! | `rotated_reason` | version 2 | reason for the rotation |
//! | `paused` | version 2 | time of the pause, if the key is paused now |
//! | `revoked` | | time of the revocation |
//! | `revoked_by` | version 2 | the person or program that revoked the key |
//! | `revoked_reason` | version 2 | reason for the revocation |
//! | `issued_by` | version 2 | the person or program that issued the key |
//! | `scopes` | | a list of the client's scopes |
//! | `name` | | the client's name, for people |
//! | `metadata` | version 2 | the client's metadata, an object of strings |
//! | `prefix` | | the prefix of a successor |
//! | `note` | | a note, for people |
//!
//! Times are RFC 3339 in UTC. Any other field is an error, because a misspelt `expires` would otherwise have
//! no effect. A key that has expired is no error. An expiry before `created` or `not_before` is an error.
//!
//! A field of version 2 requires `{"v":2}` as the first line. A service of an older version then reports
//! the version, keeps its keys and does not misread the line. If a key has such a field, a change writes
//! `{"v":2}`. If no key has one, a change writes `{"v":1}`. A rotation writes both fields.
//!
//! If `retires` is not later than `rotated`, the rotation has no overlap. Every service then rejects the
//! key, whatever its clock says.
//!
//! A line has at most 64 KiB. A file has at most 1 GiB, or the size that
//! [`max_size`](KeyFileOptions::max_size) sets. If a line or a file is larger, the file counts as broken. A
//! broken file takes at most twice its size in memory. The reader skips a byte order mark, and a change
//! drops it.
//!
//! # When does a change take effect?
//!
//! A thread polls the file every 500 ms and follows the symbolic links on its path. It compares device,
//! inode, size and times, and so works on any file system. It detects a save by an editor, a rename, and the
//! swap of a symbolic link in a Kubernetes Secret or `ConfigMap`. After a change, the thread
//! waits until the file has not changed for 300 ms, and reads the file.
//!
//! Replace the file by a rename, as the command, [`KeyFile`] and most editors do. If a program writes the
//! file in place, content that ends in a line break and does not change for 300 ms counts as complete.
//!
//! If a line is broken or cut off, the service does not apply the file and keeps its keys.
//! [`KeyFile::status`] has the problem and its time. The [observer](KeyFileOptions::observe) and, with the
//! feature `tracing`, the log receive an event, and another event when the file is valid again. An empty
//! file is applied after two unchanged polls. Every key is then rejected.
//!
//! # How to mount a key file
//!
//! Mount the folder of the file, not the file alone. Kubernetes never updates a file that is mounted by
//! `subPath`.
//!
//! If a file is mounted by itself (`docker run -v ./keys.jsonl:/keys.jsonl`) and a rename replaces it
//! outside, the mount shows the deleted file until it is mounted again. Every change by the command is such
//! a rename. A key that is revoked outside stays valid inside. [`KeyFile::status`] then has a problem of the
//! kind [`Unlinked`](KeyFileErrorKind::Unlinked), and the observer and the log receive it as well.
//!
//! If the old file still has another name, this process cannot detect the replacement. So
//! [`KeyFile::open`] reports a file that is mounted by itself, or that has a second hard link, as
//! [`HasOtherNames`](KeyFileEvent::HasOtherNames).
//!
//! If another user can write the file or replace a part of its path, the observer and the log receive
//! [`WritableByOthers`](KeyFileEvent::WritableByOthers).
//!
//! # How a change is written
//!
//! A change takes the lock `<file>.lock` and reads the file again. It writes a new file beside the old one
//! and renames it. A reader finds the whole old file or the whole new one, even after a crash. The lock file
//! stays.
//!
//! Comments and the lines of unchanged keys stay byte for byte. Mode, owner and group stay, but
//! access-control lists do not. A new file has the mode 0600.
//!
//! A change follows symbolic links, but the lock cannot be a link. If a link belongs to a user other than
//! root and the user of this process, it must lead to a folder of its owner. A user who can write a folder
//! on the path could otherwise make root change any key file.
//!
//! An editor does not take the lock. Do not edit the file while another program changes it.

mod applied;
#[cfg(feature = "store")]
mod change_log;
mod document;
mod error;
mod event;
mod exposure;
mod file_stamp;
mod follower;
mod handle;
mod line;
mod line_fault;
mod options;
#[cfg(unix)]
mod path_walk;
mod status;
#[cfg(feature = "store")]
mod store;
#[cfg(unix)]
mod target;
#[cfg(not(unix))]
#[path = "target_by_path.rs"]
mod target;
mod update;
mod writer;

use self::handle::Shared;
pub use self::{
    error::{KeyFileError, KeyFileErrorKind},
    event::KeyFileEvent,
    handle::KeyFile,
    options::KeyFileOptions,
    status::{KeyFileProblem, KeyFileStatus},
};
