//! A sink that appends to a file, and the reader of such files.

mod compact;
mod error;
mod file;
mod history;
mod line;
mod open;
mod output;
mod runs;
mod slots;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::output::Output;
pub use self::{
    error::{UsageFileError, UsageFileErrorKind},
    history::UsageHistory,
};
use super::{SinkFuture, UsageBatch, UsageSink};

/// A sink that appends counts to a file, as JSON Lines.
///
/// Clones share the file. Writing blocks, so use [`in_thread`](super::UsageWriterBuilder::in_thread). The command
/// `apikey usage` prints the file, and [`read`](Self::read) reads it.
///
/// # Format of a usage file
///
/// ```text
/// {"v":1,"kind":"usage","since":"2026-11-24T12:00:00Z"}
/// {"key":"0a1B2c3D","client":"ci","hour":"2026-11-28T12:00:00Z","accepted":12,"limited":2,"last_used":"2026-11-28T12:34:00Z"}
/// {"total":"unknown","hour":"2026-11-28T12:00:00Z","rejected":3}
/// ```
///
/// | field | meaning |
/// |---|---|
/// | `key` | the public id of the key |
/// | `client` | the id of the client, if it is known |
/// | `total` | `unknown` for requests without a known key, `overflow` for keys above the maximum |
/// | `hour` | the beginning of the hour. A line without it has only a last use |
/// | `accepted`, `rejected`, `limited`, `forbidden` | the requests since the previous line of the key, if there are any |
/// | `last_used` | the minute of the last accepted request |
/// | `ran_from`, `ran_until` | a time in which a process counted. A process writes such a line every hour |
///
/// Times are RFC 3339 in UTC. A key and hour has many lines, and the sum of their counts is the number of requests.
///
/// # How large does the file get?
///
/// When a file reaches its maximum size, a new file replaces it. The new file has one line for each key and hour.
/// If these lines take more than half of the maximum size, the oldest hours are left out, and the last use of each
/// key stays. A hundred busy keys take about 300 kB a day then, so that the default of 64 MiB holds months.
///
/// # How do several processes write?
///
/// Every process writes a file of its own. The first process that opens `usage.jsonl` takes that name. A second
/// process at the same time takes `usage.2.jsonl`, and so on. After a restart, a process takes the first free file
/// and continues it. A lock beside each file (`usage.jsonl.lock`) shows whether it is free, and the lock stays.
/// [`read`](Self::read) and the command read the files of all numbers. On another host use another name or folder,
/// because locks may not work over a network.
///
/// # What happens if writing fails?
///
/// If the disk is full, the sink removes the incomplete line and writes the batch later. If a crash
/// cut off the last line, the next start removes that line. If the file is removed or renamed, a new file begins
/// with the last use of each key. If you delete the file while its process is stopped, its uses are lost, and
/// [`since`](UsageHistory::since) says so. If you delete the lock too, nothing shows that the last of several files
/// is gone.
///
/// If a full file cannot be made smaller, it grows to twice its maximum size, and
/// [`last_error`](super::UsageWriter::last_error) has the reason. The sink tries again every five minutes.
///
/// A new file has the mode 0600. The sink follows no symbolic link in place of the
/// file. The file is not synced after each batch, so a crash of the machine can lose the last batches.
///
/// # Which folder is safe?
///
/// Only the service's user and root should be able to write to the folder, so do not use `/tmp`. Another user there
/// could create a file with wrong counts before the service does, or hold its locks. The sink accepts a file of
/// another owner, because a service in a container often has another user than the folder.
#[derive(Clone)]
pub struct JsonLines {
    output: Arc<Mutex<Output>>,
}

/// Options for opening a usage file. Returned by [`JsonLines::options`].
///
/// # Examples
///
/// ```no_run
/// use tower_api_key::usage::JsonLines;
///
/// let sink = JsonLines::options().max_size(1 << 20).open("usage.jsonl")?;
/// # Ok::<(), tower_api_key::usage::UsageFileError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct JsonLinesOptions {
    max_size: u64,
}

impl JsonLines {
    /// Opens or creates a file, and appends to it.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened or written, or if it is not a usage file. If the path is a
    /// symbolic link, this returns an error as well.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, UsageFileError> {
        Self::options().open(path)
    }

    /// Returns the default options, for a file that needs another maximum size.
    pub fn options() -> JsonLinesOptions {
        JsonLinesOptions { max_size: 64 << 20 }
    }

    /// Reads the files of several paths, with those of all processes, and adds their counts.
    ///
    /// A file that two paths name counts once. This reads the lines one by one, and keeps one row for each key
    /// and hour.
    ///
    /// # Errors
    ///
    /// Returns an error if a path has no file, or if a line is invalid. A last line that is cut off is not an
    /// error.
    pub fn read<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<UsageHistory, UsageFileError> {
        history::read_all(paths)
    }

    /// Returns the path of the file that this process writes, such as `usage.2.jsonl`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.output().path().to_owned()
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JsonLinesOptions {
    /// Sets the size in bytes at which a smaller file replaces the file. The default is 64 MiB.
    ///
    /// The minimum is 64 KiB, because a smaller file would have no room for the rows of an hour.
    pub fn max_size(self, bytes: u64) -> Self {
        Self { max_size: bytes.max(64 << 10) }
    }

    /// Opens or creates the file.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`JsonLines::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<JsonLines, UsageFileError> {
        let path = path.as_ref();
        // The process can change its working directory later.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let output = Output::open(&path, self.max_size)?;
        Ok(JsonLines { output: Arc::new(Mutex::new(output)) })
    }
}

impl UsageSink for JsonLines {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        Box::pin(async move { Ok(self.output().write(batch)?) })
    }

    fn maintain(&self) -> SinkFuture<'_> {
        Box::pin(async move { Ok(self.output().maintain()?) })
    }
}

/// Shows the path.
impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("path", &self.path()).finish_non_exhaustive()
    }
}
