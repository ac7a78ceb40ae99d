//! The ways in which the command fails, with an exit code for scripts and a message for people.

use std::{
    error::Error,
    io::{self, Write as _},
};

use serde_json::json;
use tower_api_key::{
    error::{KeyringError, KeyringErrorKind, ParseFormatError},
    key_file::KeyFileError,
    store::{StoreError, StoreErrorKind},
    usage::UsageFileError,
};

use crate::escape;

/// An error of the command, with its exit code.
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// A name for scripts, which stays the same between versions.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

const REJECTED: u8 = 1;
const USAGE: u8 = 2;
const STORE: u8 = 3;
/// The exit code by which a shell reports a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

const HELP: &str = "help";

impl Failure {
    pub(crate) fn rejected(kind: &'static str, message: impl Into<String>) -> Self {
        Self { code: REJECTED, kind, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, kind: "usage", message: message.into() }
    }

    /// Prints the help instead of an error message.
    pub(crate) fn help(text: String) -> Self {
        Self { code: USAGE, kind: HELP, message: text }
    }

    /// Prints the message to standard error. If Ctrl-C interrupted the command, this prints only JSON.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        let message = self.message.trim_end();
        if json {
            let error = json!({ "kind": self.kind, "message": message });
            return writeln!(io::stderr(), "{}", escape::json(&error));
        }
        match (self.code, self.kind) {
            (INTERRUPTED, _) => Ok(()),
            (_, HELP) => writeln!(io::stderr(), "{message}"),
            _ => writeln!(io::stderr(), "error: {message}"),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if let Some(refused) = error.refused() {
            return refused.clone().into();
        }
        let in_file = error.source().and_then(<dyn Error>::downcast_ref::<KeyFileError>);
        if let Some(error) = in_file {
            return Self { code: STORE, kind: error.kind().as_str(), message: error.to_string() };
        }
        let (code, advice) = match error.kind() {
            StoreErrorKind::Conflict => (REJECTED, ". Try again"),
            StoreErrorKind::OutcomeUnknown => {
                (STORE, ". The change may be made: `apikey list` shows whether it is")
            }
            _ => (STORE, ""),
        };
        Self { code, kind: error.kind().as_str(), message: format!("{error}{advice}") }
    }
}

impl From<UsageFileError> for Failure {
    fn from(error: UsageFileError) -> Self {
        Self { code: STORE, kind: error.kind().as_str(), message: error.to_string() }
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        Self::rejected(error.kind().as_str(), describe(&error))
    }
}

impl From<ParseFormatError> for Failure {
    fn from(error: ParseFormatError) -> Self {
        KeyringError::from(error).into()
    }
}

/// Describes an error of the library, with the subcommand that helps.
pub(crate) fn describe(error: &KeyringError) -> String {
    match error.kind() {
        KeyringErrorKind::DigestAsKey => {
            "this is a digest, not a key: `apikey import` accepts it in the form `sha256:…`"
                .to_owned()
        }
        KeyringErrorKind::KeyTooLong => {
            "the key is longer than 1,024 bytes: import its digest, which is `sha256:` and the output \
             of `sha256sum`"
                .to_owned()
        }
        KeyringErrorKind::UnknownKeyId => format!("{error}: `apikey list` shows all ids"),
        KeyringErrorKind::DuplicateKey => format!("{error}: `apikey check` shows its client"),
        _ => error.to_string(),
    }
}

/// Converts errors of standard input and output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => {
                Self { code: INTERRUPTED, kind: "interrupted", message: "interrupted".to_owned() }
            }
            _ => Self::rejected("io", error.to_string()),
        }
    }
}
