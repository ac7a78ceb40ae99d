//! The folder of one test, and the search for leaked keys in it.

use std::{
    cell::RefCell,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::SystemTime,
};

use http::Request;
use tower_api_key::{
    extract,
    key_file::KeyFile,
    record::Record,
    verify::{PresentedKey, Verify as _},
};

use super::{APIKEY, Apikey, HEADER, Key};

/// The folder of one test, with its key file. Dropping it removes the folder.
pub(crate) struct Folder {
    path: PathBuf,
    /// Texts that no output and no file may contain.
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

    /// Creates a folder whose file has these lines after the version line.
    pub(crate) fn with(lines: &[String]) -> Self {
        let folder = Self::new();
        folder.write(&(HEADER.to_owned() + &lines.concat()));
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path.join("keys.jsonl")
    }

    /// Returns the content of the key file.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Returns the sorted names of all files.
    pub(crate) fn file_names(&self) -> Vec<String> {
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

    /// Mounts a file system, and returns whether this user is allowed to. Dropping the folder unmounts it.
    pub(crate) fn mount(&self, arguments: &[&str], at: &Path) -> bool {
        let mount = Command::new("mount").args(arguments).arg(at).output();
        let is_done = mount.is_ok_and(|mount| mount.status.success());
        if is_done && !arguments.iter().any(|argument| argument.contains("remount")) {
            self.mounts.borrow_mut().push(at.to_owned());
        }
        is_done
    }

    /// Makes a text a secret. From now on, no output and no file may contain it.
    pub(crate) fn keep_secret(&self, secret: &str) {
        self.secrets.borrow_mut().push(secret.to_owned());
        // The prefix and id of a minted key are public.
        if let [.., rest] = &*find_minted_keys(secret) {
            let (_, rest) = rest.rsplit_once('_').unwrap();
            self.secrets.borrow_mut().push(rest.to_owned());
        }
    }

    /// Builds a run of the command in this folder. Blanks separate the arguments.
    pub(crate) fn apikey(&self, words: &str) -> Apikey<'_> {
        let mut command = Command::new(APIKEY);
        command.args(words.split_whitespace());
        Apikey::new(self, command)
    }

    /// Builds a run of a shell script. `$0` is the path of the command.
    pub(crate) fn shell(&self, script: &str) -> Apikey<'_> {
        let mut command = Command::new("sh");
        command.args(["-c", script, APIKEY]);
        Apikey::new(self, command)
    }

    /// Issues a key. Blanks separate the arguments.
    pub(crate) fn issue(&self, words: &str) -> Key {
        self.apikey(&format!("issue {words}")).exits(0).key()
    }

    /// Reads all records with the library.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.open().records().collect();
        records.sort_by_key(|record| record.id().map(str::to_owned));
        records
    }

    pub(crate) fn record(&self, id: &str) -> Record {
        self.open().record(id).unwrap_or_else(|| panic!("{id}: {}", self.text()))
    }

    /// Verifies a key as a service does, and returns the client's id or the reason.
    pub(crate) fn verify(&self, key: &str) -> Result<String, &'static str> {
        let request = Request::new(());
        let head = extract::RequestHead::of(&request);
        let answer = self.open().verify(&PresentedKey::new(key.as_bytes(), head)).into_result();
        let answer = answer.map_err(|refusal| refusal.reason().as_str());
        answer.map(|client| client.id().to_owned())
    }

    fn open(&self) -> KeyFile {
        KeyFile::options().follow(false).open(self.file()).unwrap()
    }

    /// Asserts that no key, digest or secret is in an output, and no secret is in a file.
    pub(super) fn assert_no_secret(&self, output: &str, except: Option<&str>) {
        let output = except.map_or_else(|| output.to_owned(), |key| output.replacen(key, "", 1));
        assert!(find_minted_keys(&output).is_empty(), "a key is shown:\n{output}");
        assert!(!contains_digest(&output), "a digest is shown:\n{output}");
        for secret in self.secrets.borrow().iter() {
            assert!(!output.contains(secret), "{secret} is shown:\n{output}");
            for (name, text) in self.contents() {
                assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
            }
        }
    }

    fn contents(&self) -> Vec<(String, String)> {
        let text = |name: String| {
            // Another process may remove a file, and some files are folders or not readable.
            let path = self.path.join(&name);
            let text = match name.contains(".db") {
                // If this process closed the file of a database, the connections of its tests would lose their
                // locks.
                true => Command::new("cat").arg(path).output().ok()?.stdout,
                false => fs::read(path).ok()?,
            };
            Some((name, String::from_utf8_lossy(&text).into_owned()))
        };
        self.file_names().into_iter().filter_map(text).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let left = self.file_names();
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

/// Finds every text in the form of a minted key.
pub(crate) fn find_minted_keys(text: &str) -> Vec<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let is_key = |word: &&str| {
        let mut parts = word.rsplit('_').map(str::len);
        parts.next() == Some(28) && parts.next() == Some(8) && parts.next() > Some(0)
    };
    words.filter(is_key).collect()
}

fn contains_digest(text: &str) -> bool {
    let is_digest = |word: &str| word.len() >= 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let after = text.split("sha256:").skip(1);
    text.split(|char: char| !char.is_ascii_alphanumeric()).any(is_digest) || { after }
        .any(|rest| rest.starts_with(|char: char| char.is_ascii_hexdigit()))
}
