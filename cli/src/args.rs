use std::{
    ffi::OsString,
    time::{Duration, SystemTime},
};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use crate::when;

pub(crate) const FILE: &str = "keys.jsonl";

/// Issues, lists, rotates and revokes the API keys of a file.
///
/// The file holds digests only: a key is shown once, when it is made. Services that read the file
/// see a change within about a second.
#[derive(Parser)]
#[command(
    name = "apikey",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the file. \
        130: interrupted by Ctrl-C.\n\n\
        Examples:\n  \
        apikey issue ci --expires 90d\n  \
        apikey issue mobile-app --scope reports:read,jobs:run --expires 2099-12-31\n  \
        apikey rotate 0a1B2c3D --overlap 7d\n  \
        apikey revoke --client ci"
)]
pub(crate) struct Args {
    /// The file of keys
    #[arg(
        long,
        global = true,
        env = "API_KEYS_FILE",
        default_value = FILE,
        value_name = "FILE"
    )]
    pub(crate) file: OsString,

    /// Writes JSON, for machines: errors too, on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a key for a client, and writes it to standard output: nowhere else, and only once
    Issue {
        /// The client's id, which logs show
        client: String,
        /// What the key begins with
        #[arg(long, default_value = "key")]
        prefix: String,
        #[command(flatten)]
        about: About,
    },
    /// Lists the keys: their ids, never the keys themselves
    List,
    /// Makes a key in the place of another, which works on for a while
    Rotate {
        /// The id of the key to replace: `apikey list` shows it
        key_id: String,
        /// How long the old key works on, such as 7d or 0: longer than the client takes to change over
        #[arg(long, value_parser = when::overlap, value_name = "DURATION")]
        overlap: Duration,
        /// What the new key begins with, if not with the prefix of the old one
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Ends a key, or all keys of a client, for good
    Revoke {
        #[command(flatten)]
        whose: KeyOrClient,
        #[command(flatten)]
        consent: Consent,
    },
    /// Says whether a key works, and if not why: it is read from standard input or a prompt
    Check,
    /// Adds a key that there is already, from standard input or a prompt
    ///
    /// Takes the key itself or its digest, which is `sha256:` and 64 hexadecimal digits.
    Import {
        /// The client's id
        #[arg(required_unless_present = "bulk", conflicts_with = "bulk")]
        client: Option<String>,
        /// Adds many: lines of a client's id, a tab and a key or digest, from standard input
        #[arg(long)]
        bulk: bool,
        /// What the key that replaces this one begins with, once it is rotated
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// Forgets the keys that are revoked or whose time is over
    Prune {
        #[command(flatten)]
        consent: Consent,
    },
    /// Writes a completion script, to be read by your shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(ClapArgs)]
pub(crate) struct About {
    /// What the client may do: a comma separates two scopes, and the option may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
    /// The client's name, for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// When the key ends: in 90d, 6mo or 1y, with the day 2027-01-31, or at 2027-01-31T12:00:00+02:00
    ///
    /// Months and years are those of the calendar: a year after 29 February is 28 February. A day ends
    /// at midnight in UTC. A time without an offset is in UTC too.
    #[arg(long, value_parser = when::end, value_name = "WHEN")]
    pub(crate) expires: Option<SystemTime>,
    /// When the key begins, as `--expires`, but with the start of a day
    #[arg(long, value_parser = when::begin, value_name = "WHEN")]
    pub(crate) not_before: Option<SystemTime>,
    /// A note, for people
    #[arg(long)]
    pub(crate) note: Option<String>,
}

#[derive(ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyOrClient {
    /// The id of the key
    pub(crate) key_id: Option<String>,
    /// The id of the client, all of whose keys end
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
}

#[derive(ClapArgs)]
pub(crate) struct Consent {
    /// Does it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}
