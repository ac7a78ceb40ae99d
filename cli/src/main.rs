//! The command `apikey` issues, lists, rotates and revokes the keys in a file or a database.

#![forbid(unsafe_code)]

mod args;
mod check;
mod commands;
mod copy;
mod edit;
mod escape;
mod failure;
mod import;
mod issue;
mod key_args;
mod list;
mod output;
mod print_key;
mod prompt;
mod prune;
mod revoke;
mod rotate;
mod show;
mod store;
mod time_args;
mod usage;
mod usage_data;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, error::ErrorKind, parser::ValueSource};

use self::failure::Failure;

fn main() -> ExitCode {
    let json = wants_json();
    match parse_args(json).and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed, the exit code is the only report.
            _ = failure.print(json);
            ExitCode::from(failure.code)
        }
    }
}

/// Looks for `--json` itself, because the errors of arguments that do not parse are JSON too.
fn wants_json() -> bool {
    let options = std::env::args_os().skip(1).take_while(|word| word != "--");
    options.into_iter().any(|word| word == "--json")
}

/// Parses the arguments. An error does not repeat an argument that may be a key.
fn parse_args(json: bool) -> Result<args::Args, Failure> {
    let parse = || {
        let matches = args::Args::command().try_get_matches()?;
        Ok((args::Args::from_arg_matches(&matches)?, matches))
    };
    let parsed = parse().map_err(|error: clap::Error| {
        use ErrorKind::{
            DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
            InvalidSubcommand, MissingSubcommand, UnknownArgument,
        };
        let (min_len, hint) = match error.kind() {
            DisplayHelp | DisplayVersion => error.exit(),
            DisplayHelpOnMissingArgumentOrSubcommand => return render_help(),
            // Clap counts a set variable as an argument, and then shows an error without the help.
            MissingSubcommand if !json => return render_help(),
            // A mistyped subcommand is short, and the user needs to see it.
            InvalidSubcommand => (10, ""),
            UnknownArgument => (
                1,
                "The command reads keys from standard input or a prompt, never from arguments.\n",
            ),
            _ => (1, ""),
        };
        let message = redact_arguments(&error.render().to_string(), min_len);
        Failure::usage(format!("{}{hint}", message.trim_start_matches("error: ")))
    });
    let (mut args, matches) = parsed?;
    let is_option = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    match (is_option("file"), is_option("store")) {
        (false, false) => {
            // An empty variable counts as unset.
            for address in [&mut args.file, &mut args.store] {
                address.take_if(|address| address.is_empty());
            }
        }
        _ if matches!(args.command, args::Command::Copy { .. }) => {
            return Err(Failure::usage("`copy` takes its stores from --from and --to alone"));
        }
        (true, true) => {
            return Err(Failure::usage("--file and --store name two stores: use one of them"));
        }
        // An option wins over a variable.
        (true, false) => args.store = None,
        (false, true) => args.file = None,
    }
    warn_of_password(&args, is_option("store"), json);
    Ok(args)
}

/// Warns of a password that other users of the machine can see in the list of processes.
fn warn_of_password(args: &args::Args, is_store_argument: bool, json: bool) {
    let store = args.store.as_deref().filter(|_| is_store_argument);
    let addresses = match &args.command {
        args::Command::Copy { from, to } => [Some(&**from), Some(&**to)],
        _ => [store, None],
    };
    if addresses.into_iter().flatten().any(|it| store::has_password(&it.to_string_lossy())) {
        let why = "other users of this machine can see the password in the arguments of this process: \
            set API_KEYS_STORE, PGPASSFILE or --password-file instead";
        output::warn(why, json);
    }
}

/// Renders the help for a call without a subcommand. As in Clap and Git, the exit code is not 0.
fn render_help() -> Failure {
    let help = args::Args::command().render_help();
    let is_coloured = output::supports_colour(&std::io::stderr());
    Failure::help(if is_coloured { help.ansi().to_string() } else { help.to_string() })
}

/// Removes arguments of at least this length from a message.
fn redact_arguments(text: &str, min_len: usize) -> String {
    let given: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let values = given.iter().filter_map(|word| word.split_once('=').map(|(_, value)| value));
    let words = given.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    words
        .chain(values)
        .filter(|word| word.len() >= min_len)
        .fold(text.to_owned(), |text, word| text.replace(&format!("'{word}'"), "'…'"))
}
