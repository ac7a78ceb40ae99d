//! Runs the command as people and scripts do, and looks at all that it says and leaves behind: no run
//! may show a key but the one it has made, or a digest, and no file may hold a key.

mod terminal;

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::SystemTime,
};

use http::Request;
use serde_json::Value;
use tower_api_key::{
    KeyDigest, extract,
    key_file::KeyFile,
    verify::{Presented, Record, Verify as _},
};

pub(crate) use self::terminal::{Ended, Terminal};

pub(crate) const APIKEY: &str = env!("CARGO_BIN_EXE_apikey");

/// The first line.
pub(crate) const HEADER: &str = "{\"v\":1}\n";

/// A folder for one test, with its file of keys. It goes when it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    /// What nobody is to see again.
    secrets: RefCell<Vec<String>>,
    mounts: RefCell<Vec<PathBuf>>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("apikey-{}-{}-{next}", std::process::id(), since.as_millis());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        let path = fs::canonicalize(path).unwrap();
        Self { path, secrets: RefCell::default(), mounts: RefCell::default() }
    }

    /// A folder whose file holds these lines, each with a line break, behind the first.
    pub(crate) fn with(lines: &[String]) -> Self {
        let folder = Self::new();
        folder.put(&(HEADER.to_owned() + &lines.concat()));
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path.join("keys.jsonl")
    }

    /// What the file holds.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    pub(crate) fn put(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn mode(&self) -> u32 {
        fs::metadata(self.file()).unwrap().permissions().mode() & 0o7777
    }

    /// Mounts something, and says whether this user may. It is taken away with the folder.
    pub(crate) fn mounts(&self, arguments: &[&str], at: &Path) -> bool {
        let mount = Command::new("mount").args(arguments).arg(at).output();
        let is_done = mount.is_ok_and(|mount| mount.status.success());
        if is_done && !arguments.iter().any(|argument| argument.contains("remount")) {
            self.mounts.borrow_mut().push(at.to_owned());
        }
        is_done
    }

    /// From now on nothing may show this.
    pub(crate) fn keep_secret(&self, secret: &str) {
        self.secrets.borrow_mut().push(secret.to_owned());
        // Prefix and id of a minted key are no secret; the rest is.
        if let [.., rest] = &*minted_keys(secret) {
            let (_, rest) = rest.rsplit_once('_').unwrap();
            self.secrets.borrow_mut().push(rest.to_owned());
        }
    }

    /// The command, in this folder, with words that hold no blanks.
    pub(crate) fn apikey(&self, words: &str) -> Apikey<'_> {
        let mut command = Command::new(APIKEY);
        command.args(words.split_whitespace());
        Apikey::new(self, command)
    }

    /// A script, to which `$0` is the command.
    pub(crate) fn shell(&self, script: &str) -> Apikey<'_> {
        let mut command = Command::new("sh");
        command.args(["-c", script, APIKEY]);
        Apikey::new(self, command)
    }

    /// Makes a key, with words that hold no blanks.
    pub(crate) fn issue(&self, words: &str) -> Key {
        self.apikey(&format!("issue {words}")).ends(0).key()
    }

    /// All records, as the library reads them.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.library().records().collect();
        records.sort_by_key(|record| record.id().map(str::to_owned));
        records
    }

    pub(crate) fn record(&self, id: &str) -> Record {
        self.library().record(id).unwrap_or_else(|| panic!("{id}: {}", self.text()))
    }

    /// Whose key it is, as a service says that reads the file.
    pub(crate) fn opens(&self, key: &str) -> Result<String, &'static str> {
        let request = Request::new(());
        let head = extract::Head::of(&request);
        let answer = self.library().verify(Presented::new(key.as_bytes(), head));
        let answer = answer.map_err(|refusal| refusal.reason().as_str());
        answer.map(|client| client.id().to_owned())
    }

    fn library(&self) -> KeyFile {
        KeyFile::options().follow(false).open(self.file()).unwrap()
    }

    /// Looks for what may not be there: in what was said, and in every file.
    fn look(&self, said: &str, but_for: Option<&str>) {
        let said = but_for.map_or_else(|| said.to_owned(), |key| said.replacen(key, "", 1));
        assert!(minted_keys(&said).is_empty(), "a key is shown:\n{said}");
        assert!(!holds_a_digest(&said), "a digest is shown:\n{said}");
        for secret in self.secrets.borrow().iter() {
            assert!(!said.contains(secret), "{secret} is shown:\n{said}");
            for (name, text) in self.contents() {
                assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
            }
        }
    }

    fn contents(&self) -> Vec<(String, String)> {
        let text = |name| {
            // Others may take a file away meanwhile; some may be folders, or unreadable.
            let text = fs::read(self.path.join(&name)).ok()?;
            Some((name, String::from_utf8_lossy(&text).into_owned()))
        };
        self.names().into_iter().filter_map(text).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let left = self.names();
        for mount in self.mounts.borrow().iter().rev() {
            _ = Command::new("umount").arg("-l").arg(mount).status();
        }
        _ = fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700));
        _ = fs::remove_dir_all(&self.path);
        if !thread::panicking() {
            assert!(!left.iter().any(|name| name.ends_with(".new")), "left over: {left:?}");
        }
    }
}

/// The command, about to be run.
#[must_use]
pub(crate) struct Apikey<'f> {
    folder: &'f Folder,
    command: Command,
    stdin: Vec<u8>,
}

impl<'f> Apikey<'f> {
    fn new(folder: &'f Folder, mut command: Command) -> Self {
        command.current_dir(&folder.path).env_clear().env("TERM", "xterm");
        // For scripts, which look for `head` and the like.
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { folder, command, stdin: Vec::new() }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    /// As another user, where this one may.
    pub(crate) fn user(mut self, (user, group): (u32, u32)) -> Self {
        self.command.uid(user).gid(group);
        self
    }

    /// Hands something in. Every line of it, or what follows a tab, is a secret.
    pub(crate) fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        for line in String::from_utf8_lossy(text.as_ref()).lines() {
            let key = line.split_once('\t').map_or(line, |(_, key)| key).trim();
            if key.len() > 5 {
                self.folder.keep_secret(key);
            }
        }
        text.as_ref().clone_into(&mut self.stdin);
        self.command.stdin(Stdio::piped());
        self
    }

    /// Starts it, for those that run at once.
    pub(crate) fn start(mut self) -> Running<'f> {
        let makes_a_key = self.makes_a_key();
        let mut child = self.command.spawn().unwrap();
        let stdin = child.stdin.take().map(|mut stdin| {
            let text = self.stdin;
            thread::spawn(move || stdin.write_all(&text))
        });
        Running { folder: self.folder, makes_a_key, child, stdin }
    }

    /// Runs it to its end, which has this code.
    pub(crate) fn ends(self, code: i32) -> Told {
        self.start().ends(code)
    }

    pub(crate) fn end(self) -> Told {
        self.start().end()
    }

    /// Starts it on a terminal, which is all three: what is typed, shown and told.
    pub(crate) fn on_a_terminal(self) -> Terminal<'f> {
        let makes_a_key = self.makes_a_key();
        Terminal::start(self.folder, self.command, makes_a_key)
    }

    /// Those that do are the only ones that may show one.
    fn makes_a_key(&self) -> bool {
        self.command.get_args().any(|arg| arg == "issue" || arg == "rotate")
    }
}

/// The command while it runs.
pub(crate) struct Running<'f> {
    folder: &'f Folder,
    makes_a_key: bool,
    child: Child,
    stdin: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Running<'_> {
    /// How it ends.
    pub(crate) fn end(self) -> Told {
        let Output { status, stdout, stderr } = self.child.wait_with_output().unwrap();
        // One that does not want its input is free to leave it.
        self.stdin.into_iter().for_each(|writer| _ = writer.join().unwrap());
        assert_eq!(status.signal(), None);
        let [out, err] = [stdout, stderr].map(|said| String::from_utf8(said).unwrap());
        let code = status.code().unwrap();
        let key = match &*minted_keys(&out) {
            [key] if self.makes_a_key && code == 0 => Some((*key).to_owned()),
            _ => None,
        };
        self.folder.look(&format!("{out}\n{err}"), key.as_deref());
        key.iter().for_each(|key| self.folder.keep_secret(key));
        self.folder.look("", None);
        assert!(!err.contains("panicked"), "{err}");
        Told { code, out, err, key }
    }

    pub(crate) fn ends(self, code: i32) -> Told {
        let told = self.end();
        assert_eq!(told.code, code, "{told:?}");
        told
    }
}

/// What the command has said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    key: Option<String>,
}

impl Told {
    /// The key that was made.
    pub(crate) fn key(&self) -> Key {
        Key::new(self.key.as_ref().unwrap_or_else(|| panic!("no key: {self:?}")))
    }

    /// The one line of JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// It said this beside, and nothing to standard output.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) {
        assert_eq!(self.out, "");
        assert!(self.err.contains(what), "{what:?} is not in {:?}", self.err);
    }
}

/// A key and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) id: String,
}

impl Key {
    fn new(text: &str) -> Self {
        let id = text.rsplit('_').nth(1).unwrap().to_owned();
        Self { text: text.to_owned(), id }
    }
}

/// A line of the file for a key, with more fields such as `,"note":"x"`.
pub(crate) fn line(id: &str, client: &str, key: &str, more: &str) -> String {
    let digest = KeyDigest::of(key).encode();
    format!(
        r#"{{"id":"{id}","client":"{client}","digest":"{digest}","created":"2020-01-01T00:00:00Z"{more}}}"#
    ) + "\n"
}

/// All that looks like a minted key.
pub(crate) fn minted_keys(text: &str) -> Vec<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let is_key = |word: &&str| {
        let mut parts = word.rsplit('_').map(str::len);
        parts.next() == Some(28) && parts.next() == Some(8) && parts.next() > Some(0)
    };
    words.filter(is_key).collect()
}

fn holds_a_digest(text: &str) -> bool {
    let is_digest = |word: &str| word.len() >= 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let after = text.split("sha256:").skip(1);
    text.split(|char: char| !char.is_ascii_alphanumeric()).any(is_digest) || { after }
        .any(|rest| rest.starts_with(|char: char| char.is_ascii_hexdigit()))
}
