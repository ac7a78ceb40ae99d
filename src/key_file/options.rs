use std::{
    fmt,
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    KeyFile, KeyFileError, KeyFileEvent, KeyFileStatus, Shared,
    document::At,
    error::Fault,
    follow::{self, Loaded},
    look::Look,
};
use crate::{Keyring, key::KeyFormat};

pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
pub(super) type Observer = Arc<dyn Fn(&KeyFileEvent) + Send + Sync>;

/// What can be chosen before a file of keys is opened. Made by [`KeyFile::options`].
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

/// 1 GiB, which is several million keys.
const MAX_SIZE: u64 = 1 << 30;

/// It is followed, and has to be there.
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
    /// Adds a format that keys have: see [`Keyring::format`].
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Sets who is told of what happens to the file: one closure, called by the thread that follows
    /// it, by [`open`](Self::open), and by a change that finds a broken file mended.
    pub fn observe(mut self, observe: impl Fn(&KeyFileEvent) + Send + Sync + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// Sets the clock, for tests: see [`Keyring::clock`].
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Whether a file that is not there, or empty, counts as one without keys, and is written by the
    /// first change. By default it is an error.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether the file is followed. By default it is; without that, the keys are those that it held
    /// when it was opened or last changed by this handle.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Sets the maximum size of the file in bytes. The default is 1 GiB.
    ///
    /// If the file is larger, it counts as broken: the service keeps the keys that it has, and does not
    /// read the file. A change that would make the file larger is an error.
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

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Those of [`KeyFile::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<KeyFile, KeyFileError> {
        let path = path.as_ref();
        // Somebody may go elsewhere later.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let clock = Arc::clone(&self.clock);
        let keys = self.formats.iter().cloned().fold(Keyring::new(), Keyring::format);
        let (follower, stop) = mpsc::channel();
        let status = KeyFileStatus { loaded_at: SystemTime::now(), keys: 0, problem: None };
        let shared = Arc::new(Shared {
            keys: keys.clock(move || clock()),
            path,
            formats: self.formats,
            clock: self.clock,
            observe: self.observe,
            create: self.create,
            max_size: self.max_size,
            taken: Mutex::default(),
            status: Mutex::new(status),
            follower: self.follow.then_some(follower),
        });
        shared.start().map_err(|(fault, line)| fault.at(&shared.path, line))?;
        if self.follow {
            let file = Arc::downgrade(&shared);
            let thread = thread::Builder::new().name("key-file".to_owned());
            thread.spawn(move || follow::run(&file, &stop)).map_err(|error| {
                Fault::io("start a thread to follow it")(error).at(&shared.path, None)
            })?;
        }
        Ok(KeyFile { shared })
    }
}

impl Shared {
    /// Loads for the first time.
    fn start(&self) -> Result<(), At> {
        let mut taken = self.taken();
        for _ in 0..TRIES {
            let look = Look::at(&self.path);
            if self.create && (look == Look::Unseen(ErrorKind::NotFound) || look.is_empty()) {
                taken.note(look);
                let events = self.warnings(&mut taken);
                drop(taken);
                events.iter().for_each(|event| self.tell(event));
                return Ok(());
            }
            if let Loaded::Is(events) = self.load(&mut taken, look, None)? {
                drop(taken);
                events.iter().for_each(|event| self.tell(event));
                return Ok(());
            }
            thread::sleep(BETWEEN);
        }
        Err((Fault::Restless, None))
    }
}

/// A file that is being written is given a second to be done.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);

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
