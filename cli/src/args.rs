//! The arguments of the command and their help texts.

use std::{ffi::OsString, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    key_args::{Author, EditArgs, KeyArgs},
    time_args::{self, Ago},
};

/// The environment variable with the path of the usage file.
pub(crate) const FILE_VARIABLE: &str = "API_USAGE_FILE";

pub(crate) const DEFAULT_FILE: &str = "keys.jsonl";

/// Issues, lists, rotates and revokes the API keys in a file or a database.
///
/// The store holds only digests. A key is printed once, when it is issued. Services that follow the store
/// apply a change within about a second.
#[derive(Parser)]
#[command(
    name = "apikey",
    version,
    after_help = "Exit codes: 0 success, 1 invalid key or failure, 2 wrong usage, 3 key file error or \
        database error, 130 interrupted by Ctrl-C\n\n\
        Examples:\n  \
        apikey issue ci --expires 90d\n  \
        apikey issue mobile-app --scope reports:read,jobs:run --expires 2099-12-31\n  \
        apikey rotate 0a1B2c3D --overlap 7d\n  \
        apikey revoke --client ci\n  \
        apikey usage --last 30d\n  \
        apikey migrate --store sqlite:keys.db\n  \
        apikey copy --from keys.jsonl --to sqlite:keys.db\n  \
        apikey list --store sqlite:keys.db"
)]
pub(crate) struct Args {
    /// The key file. The default is keys.jsonl
    #[arg(long, global = true, env = "API_KEYS_FILE", value_name = "FILE")]
    pub(crate) file: Option<OsString>,

    /// The store: keys.jsonl, sqlite:keys.db, or postgres://user@host/database
    #[arg(
        long,
        global = true,
        env = "API_KEYS_STORE",
        // The URL of a database can hold a password.
        hide_env_values = true,
        value_name = "STORE"
    )]
    pub(crate) store: Option<OsString>,

    /// A file that holds only the password of a PostgreSQL database
    #[arg(long, global = true, env = "API_KEYS_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<OsString>,

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
        #[command(flatten)]
        author: Author,
    },
    /// Lists the keys by client. The keys themselves are never shown
    List {
        #[command(flatten)]
        from: FromArgs,
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Shows all fields of a key. The key itself is never shown
    Show {
        /// The id of the key. `apikey list` shows it
        key_id: String,
    },
    /// Changes scopes, name, note, metadata or times of a key in place
    #[command(override_usage = "apikey edit [OPTIONS] <KEY_ID>")]
    Edit {
        /// The id of the key. `apikey list` shows it
        key_id: String,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Prints how often each key was used
    ///
    /// A service writes the usage data, if it counts usage into a file or into the database. On a terminal, each
    /// key has a bar for each day. Days are in UTC. If the time has more than 90 days, a bar is for several days.
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
        #[arg(long, value_parser = time_args::parse_duration, value_name = "DURATION")]
        overlap: Duration,
        /// The prefix of the new key. The default is the prefix of the old key
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        remarks: RemarkArgs,
    },
    /// Revokes a key, or all keys of a client. A revoked key never becomes valid again
    Revoke {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        remarks: RemarkArgs,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Pauses a key. It is rejected until you resume it
    Pause {
        /// The id of the key. `apikey list` shows it
        key_id: String,
    },
    /// Resumes a paused key. If the key has expired meanwhile, it stays rejected
    Resume {
        /// The id of the key. `apikey list` shows it
        key_id: String,
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
        #[command(flatten)]
        mode: ImportArgs,
        /// The prefix of the key that replaces this one when you rotate it
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        author: Author,
    },
    /// Deletes revoked and expired keys from the store
    Prune {
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Copies all keys from a store to another. You can repeat it
    ///
    /// A key that is in the other store stays as it is there. But if it is revoked in the first store, the copy
    /// revokes it. A database must exist, and `apikey migrate` creates it.
    Copy {
        /// The store to read, such as keys.jsonl
        #[arg(long, value_name = "STORE")]
        from: OsString,
        /// The store to write, such as sqlite:keys.db or postgres://user@host/database
        #[arg(long, value_name = "STORE")]
        to: OsString,
    },
    /// Creates the tables of a database, or upgrades them. You can repeat it
    ///
    /// No other subcommand creates a database or a table. If the tables are up to date, nothing changes. A PostgreSQL
    /// database itself must exist, and `createdb` creates it.
    Migrate,
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
    /// The default for a database is the usage in the database, even if the variable is set.
    /// The files of several processes, such as usage.2.jsonl, are read with it. The variable holds one path.
    #[arg(long, env = FILE_VARIABLE, value_name = "FILE")]
    pub(crate) from: Vec<OsString>,
}

#[derive(ClapArgs)]
pub(crate) struct FilterArgs {
    /// Lists only the keys of a client
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// Lists only keys that end within this time, such as 30d. Keys that have ended are not listed
    #[arg(long, value_parser = time_args::parse_duration, value_name = "DURATION")]
    pub(crate) expiring: Option<Duration>,
    /// Lists only valid keys that were not used for this time, such as 90d
    ///
    /// A key that was issued within this time is not listed. If the usage data does not go back that far,
    /// this is an error. If the data has a gap, because no service counted for some hours, this is a warning.
    #[arg(long, value_parser = time_args::parse_ago, value_name = "DURATION")]
    pub(crate) unused: Option<Ago>,
}

#[derive(ClapArgs)]
pub(crate) struct ImportArgs {
    /// Adds many keys. Reads lines of client id, tab and key (or digest) from standard input
    #[arg(long)]
    pub(crate) bulk: bool,
    /// Accepts only digests. A key that is there already is no error, as with --if-absent
    #[arg(long)]
    pub(crate) digest: bool,
    /// Leaves a key as it is if it is there already, and succeeds
    #[arg(long)]
    pub(crate) if_absent: bool,
}

#[derive(ClapArgs)]
pub(crate) struct RemarkArgs {
    /// The reason, for people. The record of the key keeps it
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) author: Author,
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
