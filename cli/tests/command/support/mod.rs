//! Runs the command and asserts after every run that no key leaked.

pub(crate) mod fixtures;
mod folder;
pub(crate) mod stores;
mod terminal;
pub(crate) mod usage;

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::Value;
use tower_api_key::KeyDigest;

pub(crate) use self::{
    folder::{Folder, find_minted_keys},
    terminal::{Exit, Terminal},
};

pub(crate) const APIKEY: &str = env!("CARGO_BIN_EXE_apikey");

/// The version line, which is the first line of a key file.
pub(crate) const HEADER: &str = "{\"v\":1}\n";

/// A run of the command before its start.
#[must_use]
pub(crate) struct Apikey<'f> {
    folder: &'f Folder,
    command: Command,
    stdin: Vec<u8>,
}

impl<'f> Apikey<'f> {
    pub(super) fn new(folder: &'f Folder, mut command: Command) -> Self {
        command.current_dir(folder.path()).env_clear().env("TERM", "xterm");
        // Scripts look for `head` and other programs.
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

    /// Runs as another user.
    pub(crate) fn user(mut self, (user, group): (u32, u32)) -> Self {
        self.command.uid(user).gid(group);
        self
    }

    /// Sets standard input. Every line, or the part after its tab, becomes a secret.
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

    /// Starts the command and does not wait.
    pub(crate) fn start(mut self) -> Running<'f> {
        let issues_key = self.issues_key();
        let mut child = self.command.spawn().unwrap();
        let stdin = child.stdin.take().map(|mut stdin| {
            let text = self.stdin;
            thread::spawn(move || stdin.write_all(&text))
        });
        Running { folder: self.folder, issues_key, child, stdin }
    }

    /// Runs the command and asserts its exit code.
    pub(crate) fn exits(self, code: i32) -> Outcome {
        self.start().exits(code)
    }

    pub(crate) fn finish(self) -> Outcome {
        self.start().finish()
    }

    /// Starts the command on a terminal, which is its input, output and error.
    pub(crate) fn on_terminal(self) -> Terminal<'f> {
        let issues_key = self.issues_key();
        Terminal::start(self.folder, self.command, issues_key)
    }

    /// Returns whether the subcommand issues a key. Only these may print a key.
    fn issues_key(&self) -> bool {
        self.command.get_args().any(|arg| arg == "issue" || arg == "rotate")
    }
}

/// A run of the command after its start.
pub(crate) struct Running<'f> {
    folder: &'f Folder,
    issues_key: bool,
    child: Child,
    stdin: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Running<'_> {
    /// Waits for the end, and asserts that no key leaked.
    pub(crate) fn finish(self) -> Outcome {
        let Output { status, stdout, stderr } = self.child.wait_with_output().unwrap();
        // The command may end without reading its input.
        self.stdin.into_iter().for_each(|writer| _ = writer.join().unwrap());
        assert_eq!(status.signal(), None);
        let [out, err] = [stdout, stderr].map(|output| String::from_utf8(output).unwrap());
        let code = status.code().unwrap();
        let key = match &*find_minted_keys(&out) {
            [key] if self.issues_key && code == 0 => Some((*key).to_owned()),
            _ => None,
        };
        self.folder.assert_no_secret(&format!("{out}\n{err}"), key.as_deref());
        key.iter().for_each(|key| self.folder.keep_secret(key));
        self.folder.assert_no_secret("", None);
        assert!(!err.contains("panicked"), "{err}");
        Outcome { code, out, err, key }
    }

    pub(crate) fn exits(self, code: i32) -> Outcome {
        let outcome = self.finish();
        assert_eq!(outcome.code, code, "{outcome:?}");
        outcome
    }
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    key: Option<String>,
}

impl Outcome {
    /// Returns the key that was issued.
    pub(crate) fn key(&self) -> Key {
        Key::new(self.key.as_ref().unwrap_or_else(|| panic!("no key: {self:?}")))
    }

    /// Parses the one line of JSON on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Asserts that standard error contains a text and standard output is empty.
    #[track_caller]
    pub(crate) fn assert_error(&self, text: &str) {
        assert_eq!(self.out, "");
        assert!(self.err.contains(text), "{text:?} is not in {:?}", self.err);
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

/// Returns the line of a key for the key file, with more fields such as `,"note":"x"`.
pub(crate) fn record_line(id: &str, client: &str, key: &str, more: &str) -> String {
    let digest = KeyDigest::of(key).encode();
    format!(
        r#"{{"id":"{id}","client":"{client}","digest":"{digest}","created":"2020-01-01T00:00:00Z"{more}}}"#
    ) + "\n"
}
