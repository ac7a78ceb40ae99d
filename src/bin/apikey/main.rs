//! Issues, lists, rotates and revokes the keys of a file: `apikey --help`.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod hand_out;
mod import;
mod prompt;
mod show;

use std::{error::Error, io, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind, parser::ValueSource};
use tower_api_key::{
    error::{ConfigError, ConfigErrorKind},
    key_file::{KeyFileError, KeyFileErrorKind},
};

fn main() -> ExitCode {
    match args().and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed nobody can be told more than the code.
            _ = failure.print();
            ExitCode::from(failure.code)
        }
    }
}

/// Words that are not understood are not repeated where they may be a key.
fn args() -> Result<args::Args, Failure> {
    let parse = || {
        let matches = args::Args::command().try_get_matches()?;
        let mut args = args::Args::from_arg_matches(&matches)?;
        // A variable that is set to nothing is as good as none.
        let is_set_to_nothing =
            args.file.is_empty() && matches.value_source("file") == Some(ValueSource::EnvVariable);
        if is_set_to_nothing {
            args.file = args::FILE.into();
        }
        Ok(args)
    };
    parse().map_err(|error: clap::Error| {
        use ErrorKind::{
            DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
            InvalidSubcommand, UnknownArgument,
        };
        let (shortest, hint) = match error.kind() {
            DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            // A command that is mistyped is best shown.
            InvalidSubcommand => (10, ""),
            UnknownArgument => {
                (1, "Keys are read from standard input or a prompt, never from arguments.\n")
            }
            _ => (1, ""),
        };
        let told = without_words(&error.render().to_string(), shortest);
        Failure::usage(format!("{}{hint}", told.trim_start_matches("error: ")))
    })
}

fn without_words(text: &str, shortest: usize) -> String {
    let given: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words = given.iter().flat_map(|word| [Some(&**word), word.split_once('=').map(|it| it.1)]);
    words
        .flatten()
        .filter(|word| word.len() >= shortest && !word.starts_with('-'))
        .fold(text.to_owned(), |text, word| text.replace(&format!("'{word}'"), "'…'"))
}

/// What went wrong, and the code to leave with.
struct Failure {
    code: u8,
    message: String,
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const FILE: u8 = 3;
/// As a shell says it of what Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

impl Failure {
    fn refused(message: impl Into<String>) -> Self {
        Self { code: REFUSED, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    fn print(&self) -> io::Result<()> {
        use io::Write as _;
        match self.message.as_str() {
            "" => Ok(()),
            message => writeln!(io::stderr(), "error: {}", message.trim_end()),
        }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let refused = error.source().and_then(<dyn Error>::downcast_ref::<ConfigError>);
        match (error.kind(), refused) {
            (KeyFileErrorKind::Refused, Some(refused)) => refused.clone().into(),
            _ => Self { code: FILE, message: error.to_string() },
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match error.kind() {
            ConfigErrorKind::UnknownKeyId => ": `apikey list` shows those that there are",
            ConfigErrorKind::DuplicateKey => ": `apikey check` says whose it is",
            _ => "",
        };
        Self::refused(format!("{error}{hint}"))
    }
}

/// Of standard input and output. A reader that has seen enough is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => Self { code: INTERRUPTED, message: String::new() },
            _ => Self::refused(error.to_string()),
        }
    }
}
