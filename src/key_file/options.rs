use std::{
    fmt,
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    KeyFile, KeyFileError, KeyFileEvent, KeyFileStatus, Shared, applied::Loaded, document::At,
    error::Fault, file_stamp::FileStamp, follower,
};
use crate::{Keyring, KeyringBuilder, key::KeyFormat};

pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
pub(super) type Observer = Arc<dyn Fn(&KeyFileEvent) + Send + Sync>;

/// Options for opening a key file. Returned by [`KeyFile::options`].
///
/// # Examples
///
/// ```no_run
/// use tower_api_key::{key::KeyFormat, key_file::KeyFile};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = KeyFile::options()
///     .format(KeyFormat::new("sk_live")?)
///     .observe(|event| eprintln!("{event:?}"))
///     .open("keys.jsonl")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyFileOptions {
    formats: Vec<KeyFormat>,
    clock: Clock,
    observe: Option<Observer>,
    create: bool,
    follow: bool,
    max_size: u64,
}

/// Room for several million keys.
const MAX_SIZE: u64 = 1 << 30;

/// By default, the file must exist and is followed.
impl Default for KeyFileOptions {
    fn default() -> Self {
        let clock = Arc::new(SystemTime::now);
        Self {
            formats: Vec::new(),
            clock,
            observe: None,
            create: false,
            follow: true,
            max_size: MAX_SIZE,
        }
    }
}

impl KeyFileOptions {
    /// Adds a key format. See [`KeyringBuilder::format`].
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Sets the observer, which receives every event of the file.
    ///
    /// The thread that follows the file calls it, and so does [`open`](Self::open). A change calls it if the
    /// change leaves no key or ends a problem.
    pub fn observe(mut self, observe: impl Fn(&KeyFileEvent) + Send + Sync + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// Sets the clock, for tests. See [`KeyringBuilder::clock`].
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Sets whether a missing or empty file counts as a file without keys.
    ///
    /// The first change creates the file. By default, a missing or empty file is an error.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether changes of the file are followed. The default is `true`.
    ///
    /// If the file is not followed, only changes through the handle read the file again.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Sets the maximum size of the file in bytes. The default is 1 GiB.
    ///
    /// If the file is larger, it counts as broken. The service keeps its keys and does not read the file. A
    /// change that would make the file larger is an error.
    ///
    /// # Example: a limit of 1 MiB for a service with little memory
    ///
    /// ```no_run
    /// use tower_api_key::key_file::KeyFile;
    ///
    /// let keys = KeyFile::options().max_size(1 << 20).open("keys.jsonl")?;
    /// # Ok::<(), tower_api_key::key_file::KeyFileError>(())
    /// ```
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyFile::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<KeyFile, KeyFileError> {
        let path = path.as_ref();
        // The process can change its working directory later.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let clock = Arc::clone(&self.clock);
        let keys = self.formats.iter().cloned().fold(Keyring::builder(), KeyringBuilder::format);
        let (follower, stop) = mpsc::channel();
        let status = KeyFileStatus { loaded_at: SystemTime::now(), keys: 0, problem: None };
        let shared = Arc::new(Shared {
            keys: keys.clock(move || clock()).build(),
            #[cfg(feature = "store")]
            polled: super::change_log::Polled::new(&path),
            path,
            formats: self.formats,
            clock: self.clock,
            observe: self.observe,
            create: self.create,
            max_size: self.max_size,
            applied: Mutex::default(),
            status: Mutex::new(status),
            follower: self.follow.then_some(follower),
        });
        shared.load_first().map_err(|(fault, line)| fault.at(&shared.path, line))?;
        if self.follow {
            let file = Arc::downgrade(&shared);
            let thread = thread::Builder::new().name("key-file".to_owned());
            thread.spawn(move || follower::run(&file, &stop)).map_err(|error| {
                Fault::io("start the thread that follows the file")(error).at(&shared.path, None)
            })?;
        }
        Ok(KeyFile { shared })
    }
}

/// The number of attempts at the first load. A program that writes the file has a second to finish.
const MAX_ATTEMPTS: u32 = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

impl Shared {
    fn load_first(&self) -> Result<(), At> {
        let mut applied = self.applied();
        for _ in 0..MAX_ATTEMPTS {
            let stamp = FileStamp::of_path(&self.path);
            let is_missing = stamp == FileStamp::Unavailable(ErrorKind::NotFound);
            let loaded = if self.create && (is_missing || stamp.is_empty()) {
                Loaded::Done(self.apply_absent(&mut applied, stamp))
            } else {
                self.load(&mut applied, stamp, None)?
            };
            if let Loaded::Done(events) = loaded {
                drop(applied);
                events.iter().for_each(|event| self.emit(event));
                return Ok(());
            }
            thread::sleep(RETRY_INTERVAL);
        }
        Err((Fault::Unstable, None))
    }
}

impl fmt::Debug for KeyFileOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileOptions")
            .field("formats", &self.formats)
            .field("create", &self.create)
            .field("follow", &self.follow)
            .field("max_size", &self.max_size)
            .finish_non_exhaustive()
    }
}
