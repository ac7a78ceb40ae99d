//! How the command fails: with a code for scripts, and words for people or machines.

use std::{
    error::Error,
    io::{self, Write as _},
};

use serde_json::json;
use tower_api_key::{
    error::{ConfigError, ConfigErrorKind},
    key_file::{KeyFileError, KeyFileErrorKind},
};

use crate::show;

/// What went wrong, and the code to leave with.
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// A name for machines, which stays the same between versions.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const FILE: u8 = 3;
const HELP: &str = "help";
/// As a shell says it of what Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn refused(kind: &'static str, message: impl Into<String>) -> Self {
        Self { code: REFUSED, kind, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, kind: "usage", message: message.into() }
    }

    /// Stands for an error, and needs no word before it.
    pub(crate) fn help(text: String) -> Self {
        Self { code: USAGE, kind: HELP, message: text }
    }

    /// Writes one line of JSON for machines. People who pressed Ctrl-C need no words.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        let message = self.message.trim_end();
        if json {
            let error = json!({ "kind": self.kind, "message": message });
            return writeln!(io::stderr(), "{}", show::escaped(&error));
        }
        match (self.code, self.kind) {
            (INTERRUPTED, _) => Ok(()),
            (_, HELP) => writeln!(io::stderr(), "{message}"),
            _ => writeln!(io::stderr(), "error: {message}"),
        }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let refused = error.source().and_then(<dyn Error>::downcast_ref::<ConfigError>);
        match (error.kind(), refused) {
            (KeyFileErrorKind::Refused, Some(refused)) => refused.clone().into(),
            (kind, _) => Self { code: FILE, kind: kind.as_str(), message: error.to_string() },
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::refused(error.kind().as_str(), words(&error))
    }
}

/// What the library says, in the words of the command.
pub(crate) fn words(error: &ConfigError) -> String {
    match error.kind() {
        ConfigErrorKind::DigestAsKey => {
            "this is a digest and no key: `apikey import` takes it, written as `sha256:…`"
                .to_owned()
        }
        ConfigErrorKind::KeyTooLong => {
            "the key is longer than 1,024 bytes: import its digest, which is `sha256:` and what \
             `sha256sum` prints"
                .to_owned()
        }
        ConfigErrorKind::UnknownKeyId => {
            format!("{error}: `apikey list` shows those that there are")
        }
        ConfigErrorKind::DuplicateKey => format!("{error}: `apikey check` says whose it is"),
        _ => error.to_string(),
    }
}

/// Of standard input and output. A reader that has seen enough is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => {
                Self { code: INTERRUPTED, kind: "interrupted", message: "interrupted".to_owned() }
            }
            _ => Self::refused("io", error.to_string()),
        }
    }
}
