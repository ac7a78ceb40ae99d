//! Issues, lists, rotates and revokes the keys of a file: `apikey --help`.

#![forbid(unsafe_code)]

mod args;
mod check;
mod commands;
mod failure;
mod hand_out;
mod import;
mod prompt;
mod rotate;
mod show;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind, parser::ValueSource};

use self::failure::Failure;

fn main() -> ExitCode {
    let json = is_json_wanted();
    match args(json).and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed nobody can be told more than the code.
            _ = failure.print(json);
            ExitCode::from(failure.code)
        }
    }
}

/// Looks for the option itself, because arguments that do not parse have errors too.
fn is_json_wanted() -> bool {
    let options = std::env::args_os().skip(1).take_while(|word| word != "--");
    options.into_iter().any(|word| word == "--json")
}

/// Words that are not understood are not repeated where they may be a key.
fn args(json: bool) -> Result<args::Args, Failure> {
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
            InvalidSubcommand, MissingSubcommand, UnknownArgument,
        };
        let (shortest, hint) = match error.kind() {
            DisplayHelp | DisplayVersion => error.exit(),
            DisplayHelpOnMissingArgumentOrSubcommand => return help(),
            // Clap counts a variable that is set as an argument, and shows an error alone.
            MissingSubcommand if !json => return help(),
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

/// The help, for people who gave no command. As with Clap and Git it is no success.
fn help() -> Failure {
    let help = args::Args::command().render_help();
    let is_coloured = show::is_coloured(&std::io::stderr());
    Failure::help(if is_coloured { help.ansi().to_string() } else { help.to_string() })
}

fn without_words(text: &str, shortest: usize) -> String {
    let given: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let values = given.iter().filter_map(|word| word.split_once('=').map(|(_, value)| value));
    let words = given.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    words
        .chain(values)
        .filter(|word| word.len() >= shortest)
        .fold(text.to_owned(), |text, word| text.replace(&format!("'{word}'"), "'…'"))
}
