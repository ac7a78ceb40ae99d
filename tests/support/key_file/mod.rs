//! Helpers for tests of key files: folders, lines, requests, events and waiting.

#![allow(dead_code, unused_imports, unused_macros, reason = "no test program uses every helper")]

use std::{
    collections::HashMap,
    env, fmt, fs,
    ops::Deref,
    panic::{self, Location},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use http::Request;
use tower_api_key::{
    ApiKeyLayer, KeyDigest,
    extract::header,
    key_file::{KeyFile, KeyFileError, KeyFileEvent, KeyFileOptions},
};

use super::ask;

/// The longest time until a change takes effect, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(3);

pub(crate) const HEADER: &str = "{\"v\":1}\n";

/// A new folder, which is deleted on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(&env::temp_dir())
    }

    /// Creates a folder in memory, because a busy disk would slow the test down.
    pub(crate) fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::new() }
    }

    fn within(folder: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("key-file-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let path = fs::canonicalize(folder).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Creates a folder with a key file of this text.
    pub(crate) fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.save(text);
        folder
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.join("keys.jsonl")
    }

    /// Returns the names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Writes a new file, because some file systems need much longer to truncate an old one.
    pub(crate) fn put(&self, text: impl AsRef<[u8]>) {
        _ = fs::remove_file(self.file());
        self.save(text);
    }

    /// Writes the file in place, as some editors do.
    pub(crate) fn save(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file(), text).unwrap();
    }

    /// Replaces the file by a rename.
    pub(crate) fn swap(&self, text: impl AsRef<[u8]>) {
        fs::write(self.join("another"), text).unwrap();
        fs::rename(self.join("another"), self.file()).unwrap();
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the line of a key without a line break. The number gives the id.
pub(crate) fn line(number: usize, client: &str, key: &str) -> String {
    line_and(number, client, key, "")
}

/// Returns a line with more fields, such as `,"note":"deploys"`.
pub(crate) fn line_and(number: usize, client: &str, key: &str, more: &str) -> String {
    let digest = KeyDigest::of(key).encode();
    format!(
        r#"{{"id":"{}","client":"{client}","digest":"{digest}","created":"2026-11-24T12:00:00Z"{more}}}"#,
        id(number)
    )
}

pub(crate) fn id(number: usize) -> String {
    format!("Key{number:05}")
}

/// Returns the text of a file with these lines.
pub(crate) fn text<I>(lines: I) -> String
where
    I: IntoIterator,
    I::Item: fmt::Display,
{
    lines.into_iter().fold(HEADER.to_owned(), |text, line| format!("{text}{line}\n"))
}

/// Returns the text of a file with one valid key.
pub(crate) fn text_of(key: &str) -> String {
    text([line(1, "mobile-app", key)])
}

/// Returns the status of a request with this key, and the client or the reason.
pub(crate) fn outcome(file: &KeyFile, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), file.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

/// Opens a file without a follower.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<KeyFile, KeyFileError> {
    KeyFile::options().follow(false).open(path)
}

/// Returns every text of an error and of its sources.
pub(crate) fn all_of(error: &KeyFileError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(" {error} {error:?} {error:#?}");
        source = error.source();
    }
    text
}

/// The events that an observer received, in words such as `loaded 1` or `broken <error>`.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub(crate) fn of(options: KeyFileOptions) -> (Self, KeyFileOptions) {
        let events = Self::default();
        let sink = events.clone();
        (events, options.observe(move |event| sink.push(event)))
    }

    pub(crate) fn push(&self, event: &KeyFileEvent) {
        let name = event.as_str();
        let event = match event {
            KeyFileEvent::Loaded { keys, .. } => format!("loaded {keys}"),
            KeyFileEvent::Recovered { keys, .. } => format!("recovered {keys}"),
            KeyFileEvent::Emptied => "emptied".to_owned(),
            KeyFileEvent::WritableByOthers => "writable by others".to_owned(),
            KeyFileEvent::HasOtherNames => "has other names".to_owned(),
            KeyFileEvent::Broken(error) => format!("broken {error}"),
            other => format!("{other:?}"),
        };
        // The name for metrics consists of the same words.
        assert!(event.replace(' ', "_").starts_with(name), "{event}, {name}");
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the first word of each event.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let first = |event: &String| event.split(' ').next().unwrap_or_default().to_owned();
        self.all().iter().map(first).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }
}

/// Opens a file with a follower and an observer.
pub(crate) fn follow(folder: &Folder) -> (KeyFile, Events) {
    let (events, options) = Events::of(KeyFile::options());
    (options.open(folder.file()).unwrap(), events)
}

/// Waits until a condition is true and returns the time that it took.
#[track_caller]
pub(crate) fn soon(condition: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "not after {SOON:?}: {condition}");
        thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

/// Checks that a condition is true all the time.
#[track_caller]
pub(crate) fn stays(duration: Duration, condition: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while started.elapsed() < duration {
        assert!(is_so(), "not any more after {:?}: {condition}", started.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

const ROLE: &str = "TOWER_API_KEY_TEST_FOLDER";

/// Returns a command that runs one test of the caller's file in a child process.
///
/// The test gets the folder from [`role`].
#[track_caller]
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let module = Path::new(Location::caller().file()).file_stem().unwrap().to_str().unwrap();
    // The root of a test program is no part of the name of its tests.
    let is_root = module == env!("CARGO_CRATE_NAME");
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg(if is_root { test.to_owned() } else { format!("{module}::{test}") });
    command.args(["--exact", "--nocapture", "--test-threads=1"]).env(ROLE, folder);
    command
}

/// Returns the folder of the parent, or `None` if this process is not a child.
pub(crate) fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Runs one test as a user other than root who owns the folder. Returns `None` if that is not possible.
#[cfg(unix)]
#[track_caller]
pub(crate) fn as_nobody(test: &str, folder: &Path) -> Option<std::process::Output> {
    use std::os::unix::process::CommandExt;

    let mut command = child(test, folder);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: cannot run this program as another user: {error}");
            None
        }
    }
}

pub(crate) const NOBODY: u32 = 65534;

#[cfg(unix)]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0)
}

/// A mounted file system, which is unmounted on drop.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Returns `None` if this process cannot mount.
    pub(crate) fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: this process cannot mount");
        None
    }

    #[track_caller]
    pub(crate) fn again(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Creates a named pipe. A program that opens it for reading waits for a writer.
#[track_caller]
pub(crate) fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs a closure in a thread, because it may hang.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    longest: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = std::sync::mpsc::channel();
    thread::spawn(move || _ = done.send(run()));
    result.recv_timeout(longest).unwrap_or_else(|_| panic!("not done after {longest:?}"))
}

/// Runs a closure for each item in its own thread.
///
/// The threads have the name of this thread, so that [`join`] finds their panics.
pub(crate) fn each<T: Send>(all: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    let (name, run) = (thread::current().name().unwrap_or_default().to_owned(), &run);
    thread::scope(|scope| {
        for one in all {
            let thread = thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, move || run(one)).unwrap();
        }
    });
}

/// Declares tests that run at the same time, even if the test program has fewer threads.
///
/// These tests mostly wait.
macro_rules! at_once {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod at_once {
            const ALL: &[(&str, fn())] = &[$((stringify!($name), super::$name)),+];

            $($(#[$attribute])* #[test] fn $name() {
                crate::support::key_file::join(module_path!(), ALL, stringify!($name), super::$name);
            })+
        }
    };
}
pub(crate) use at_once;

/// Starts all selected tests of a module, and waits for one of them.
pub(crate) fn join(module: &'static str, all: &[(&'static str, fn())], name: &str, run: fn()) {
    type Threads = HashMap<&'static str, JoinHandle<()>>;
    static MODULES: LazyLock<Mutex<HashMap<&'static str, Threads>>> = LazyLock::new(|| {
        // Only a hook receives the location of a panic.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            PANICS.lock().unwrap().push((name, info.to_string()));
            before(info);
        }));
        Mutex::default()
    });
    static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

    let start = || {
        let filters: Vec<_> = env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
        let (_, path) = module.split_once("::").unwrap(); // libtest leaves the name of the program out
        let is_selected = |name: &str| {
            filters.is_empty() || filters.iter().any(|it| format!("{path}::{name}").contains(it))
        };
        let selected = all.iter().filter(|(name, _)| is_selected(name));
        let start = |(name, run): &(&'static str, fn())| {
            (*name, thread::Builder::new().name((*name).to_owned()).spawn(*run).unwrap())
        };
        selected.map(start).collect()
    };
    let thread = MODULES.lock().unwrap().entry(module).or_insert_with(start).remove(name);
    match thread {
        None => run(),
        Some(thread) => {
            if thread.join().is_err() {
                // A clone, because the hook takes the lock again when this panics.
                let panics = PANICS.lock().unwrap().clone();
                let own = panics.iter().find(|(thread, _)| thread == name);
                panic!("{}", own.map_or("no panic message", |(_, message)| message));
            }
        }
    }
}
