//! What the tests of a file of keys share: a folder of one's own, lines, requests, and waiting.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test takes what it needs")]

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

/// "Within about a second", on a machine that has other things to do.
pub(crate) const SOON: Duration = Duration::from_secs(3);

pub(crate) const HEADER: &str = "{\"v\":1}\n";

/// A folder that is gone when this is.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(&env::temp_dir())
    }

    /// In memory, where nobody waits for a disk that has other things to do.
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

    /// A folder with such a file in it.
    pub(crate) fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = Self::new();
        folder.save(text);
        folder
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.join("keys.jsonl")
    }

    /// What is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// A new file, which some file systems are much quicker with than with an old one.
    pub(crate) fn put(&self, text: impl AsRef<[u8]>) {
        _ = fs::remove_file(self.file());
        self.save(text);
    }

    /// In place, as an editor may: cut off first, then written.
    pub(crate) fn save(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file(), text).unwrap();
    }

    /// Beside it, then renamed.
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

/// The line of a key in clear, without a line break. The id is made of its number.
pub(crate) fn line(number: usize, client: &str, key: &str) -> String {
    line_and(number, client, key, "")
}

/// With more fields, such as `,"note":"deploys"`.
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

/// A file of these lines.
pub(crate) fn text<I>(lines: I) -> String
where
    I: IntoIterator,
    I::Item: fmt::Display,
{
    lines.into_iter().fold(HEADER.to_owned(), |text, line| format!("{text}{line}\n"))
}

/// A file with one good key.
pub(crate) fn text_of(key: &str) -> String {
    text([line(1, "mobile-app", key)])
}

/// What comes of a request with this key.
pub(crate) fn outcome(file: &KeyFile, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), file.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

/// Without a thread that follows.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<KeyFile, KeyFileError> {
    KeyFile::options().follow(false).open(path)
}

/// Everything that an error tells anybody.
pub(crate) fn all_of(error: &KeyFileError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(" {error} {error:?} {error:#?}");
        source = error.source();
    }
    text
}

/// What an observer was told, in words: `loaded 1`, `broken <error>`.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub(crate) fn of(options: KeyFileOptions) -> (Self, KeyFileOptions) {
        let events = Self::default();
        let told = events.clone();
        (events, options.observe(move |event| told.push(event)))
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
        // A name for metrics, which is these words.
        assert!(event.replace(' ', "_").starts_with(name), "{event}, {name}");
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The first words alone.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let first = |event: &String| event.split(' ').next().unwrap_or_default().to_owned();
        self.all().iter().map(first).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }
}

/// A file that is followed, and what its observer is told.
pub(crate) fn follow(folder: &Folder) -> (KeyFile, Events) {
    let (events, options) = Events::of(KeyFile::options());
    (options.open(folder.file()).unwrap(), events)
}

/// Waits until it is so, and says how long that took.
#[track_caller]
pub(crate) fn soon(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "not after {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

/// Looks all the time whether it is so.
#[track_caller]
pub(crate) fn stays(duration: Duration, what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while started.elapsed() < duration {
        assert!(is_so(), "not any more after {:?}: {what}", started.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

const ROLE: &str = "TOWER_API_KEY_TEST_FOLDER";

/// This test program, about to run one test of the caller's file as a child: that test finds the folder
/// by [`role`].
#[track_caller]
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let module = Path::new(Location::caller().file()).file_stem().unwrap().to_str().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg(format!("{module}::{test}"));
    command.args(["--exact", "--nocapture", "--test-threads=1"]).env(ROLE, folder);
    command
}

/// The folder of the parent, if this is a child.
pub(crate) fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Runs one test as a user who is not root, who owns the folder; `None` if that is not possible here.
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
            println!("skipped: this program cannot be run as another user: {error}");
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

/// A file system of its own, until this is dropped; `None` where it cannot be mounted.
pub(crate) struct Mount(PathBuf);

impl Mount {
    pub(crate) fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: nothing can be mounted here");
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

/// A named pipe: whoever opens it for reading waits.
#[track_caller]
pub(crate) fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs it in a thread, as it may hang.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    longest: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = std::sync::mpsc::channel();
    thread::spawn(move || _ = done.send(run()));
    result.recv_timeout(longest).unwrap_or_else(|_| panic!("not done after {longest:?}"))
}

/// Runs it for each of them, all at once, in threads of this one's name: so a panic is found.
pub(crate) fn each<T: Send>(all: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    let (name, run) = (thread::current().name().unwrap_or_default().to_owned(), &run);
    thread::scope(|scope| {
        for one in all {
            let thread = thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, move || run(one)).unwrap();
        }
    });
}

/// Tests that run all at once, however few threads the test program has: they wait more than they
/// work.
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

/// Waits for one of the tests of a module, after it has started all of them that were asked for.
pub(crate) fn join(module: &'static str, all: &[(&'static str, fn())], name: &str, run: fn()) {
    type Threads = HashMap<&'static str, JoinHandle<()>>;
    static MODULES: LazyLock<Mutex<HashMap<&'static str, Threads>>> = LazyLock::new(|| {
        // Where it happened is told to a hook alone.
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
        let asked: Vec<_> = env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
        let (_, path) = module.split_once("::").unwrap(); // libtest leaves the program's name out
        let is_asked = |name: &str| {
            asked.is_empty() || asked.iter().any(|it| format!("{path}::{name}").contains(it))
        };
        let wanted = all.iter().filter(|(name, _)| is_asked(name));
        let start = |(name, run): &(&'static str, fn())| {
            (*name, thread::Builder::new().name((*name).to_owned()).spawn(*run).unwrap())
        };
        wanted.map(start).collect()
    };
    let thread = MODULES.lock().unwrap().entry(module).or_insert_with(start).remove(name);
    match thread {
        None => run(),
        Some(thread) => {
            if thread.join().is_err() {
                // The hook takes the lock again, when this panics.
                let panics = PANICS.lock().unwrap().clone();
                let own = panics.iter().find(|(thread, _)| thread == name);
                panic!("{}", own.map_or("no reason given", |(_, told)| told));
            }
        }
    }
}
