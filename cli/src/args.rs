//! The arguments of the command and their help texts.

use std::{
    ffi::OsString,
    time::{Duration, SystemTime},
};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use crate::time_args::{self, Ago};

/// The environment variable with the path of the usage file.
pub(crate) const FILE_VARIABLE: &str = "API_USAGE_FILE";

pub(crate) const DEFAULT_FILE: &str = "keys.jsonl";

/// Issues, lists, rotates and revokes the API keys in a file.
///
/// The file stores only digests. A key is printed once, when it is issued. Services that read the file
/// apply a change within about a second.
#[derive(Parser)]
#[command(
    name = "apikey",
    version,
    after_help = "Exit codes: 0 success, 1 invalid key or failure, 2 wrong usage, 3 key file error, \
        130 interrupted by Ctrl-C\n\n\
        Examples:\n  \
        apikey issue ci --expires 90d\n  \
        apikey issue mobile-app --scope reports:read,jobs:run --expires 2099-12-31\n  \
        apikey rotate 0a1B2c3D --overlap 7d\n  \
        apikey revoke --client ci\n  \
        apikey usage --last 30d"
)]
pub(crate) struct Args {
    /// The key file
    #[arg(
        long,
        global = true,
        env = "API_KEYS_FILE",
        default_value = DEFAULT_FILE,
        value_name = "FILE"
    )]
    pub(crate) file: OsString,

    /// Prints JSON for scripts, and errors as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Issues a key and prints it once to standard output. The key cannot be shown again
    Issue {
        /// The id of the client, which appears in logs
        client: String,
        /// The prefix of the key
        #[arg(long, default_value = "key")]
        prefix: String,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Lists the keys by id. The keys themselves are never shown
    List {
        #[command(flatten)]
        from: FromArgs,
        /// Lists only valid keys that were not used for this time, such as 90d
        ///
        /// A key that was issued within this time is not listed. If the usage data does not go back that far,
        /// this is an error. If the data has a gap, because no service counted for some hours, this is a warning.
        #[arg(long, value_parser = time_args::parse_ago, value_name = "DURATION")]
        unused: Option<Ago>,
    },
    /// Prints how often each key was used
    ///
    /// A service writes the usage data, if it counts usage into a file. On a terminal, each key has a bar for
    /// each day. Days are in UTC. If the time has more than 90 days, a bar is for several days.
    Usage {
        #[command(flatten)]
        from: FromArgs,
        /// Prints only the keys of a client
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// The time until now, such as 7d, 3mo or 12h. If it is a day or longer, whole days count
        #[arg(
            long,
            default_value = "7d",
            value_parser = time_args::parse_ago,
            value_name = "DURATION"
        )]
        last: Ago,
    },
    /// Issues a key that replaces another. The old key stays valid for the overlap
    Rotate {
        /// The id of the key to replace. `apikey list` shows it
        key_id: String,
        /// How long the old key stays valid, such as 7d or 0. Choose longer than the client needs to switch
        #[arg(long, value_parser = time_args::parse_overlap, value_name = "DURATION")]
        overlap: Duration,
        /// The prefix of the new key. The default is the prefix of the old key
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Revokes a key, or all keys of a client. A revoked key never becomes valid again
    Revoke {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Checks whether a key is valid and explains why not. Reads the key from standard input or a prompt
    Check,
    /// Adds an existing key. Reads the key from standard input or a prompt
    ///
    /// You can also import the digest of the key, which is `sha256:` and 64 hexadecimal digits.
    Import {
        /// The id of the client
        #[arg(required_unless_present = "bulk", conflicts_with = "bulk")]
        client: Option<String>,
        /// Adds many keys. Reads lines of client id, tab and key (or digest) from standard input
        #[arg(long)]
        bulk: bool,
        /// The prefix of the key that replaces this one when you rotate it
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Deletes revoked and expired keys from the file
    Prune {
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Prints a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(ClapArgs)]
pub(crate) struct FromArgs {
    /// A usage file. Repeat the option for services on several hosts. The default is usage.jsonl, if it exists
    ///
    /// The files of several processes, such as usage.2.jsonl, are read with it. The variable holds one path.
    #[arg(long, env = FILE_VARIABLE, value_name = "FILE")]
    pub(crate) from: Vec<OsString>,
}

#[derive(ClapArgs)]
pub(crate) struct KeyArgs {
    /// A scope of the client. Separate scopes by commas, or repeat the option
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
    /// The name of the client, for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// When the key expires, such as 90d, 6mo, 1y, 2027-01-31 or 2027-01-31T12:00:00+02:00
    ///
    /// Months and years follow the calendar. One year after 29 February is 28 February. A day ends at
    /// midnight in UTC. A time without an offset is in UTC.
    #[arg(long, value_parser = time_args::parse_end, value_name = "WHEN")]
    pub(crate) expires: Option<SystemTime>,
    /// When the key becomes valid, in the same form as `--expires`. A day begins at midnight in UTC
    #[arg(long, value_parser = time_args::parse_begin, value_name = "WHEN")]
    pub(crate) not_before: Option<SystemTime>,
    /// A note, for people
    #[arg(long)]
    pub(crate) note: Option<String>,
}

#[derive(ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// The id of the key
    pub(crate) key_id: Option<String>,
    /// The id of the client. All keys of the client are revoked
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
}

#[derive(ClapArgs)]
pub(crate) struct Confirm {
    /// Does not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
}
