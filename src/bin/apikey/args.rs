use std::{
    ffi::OsString,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) const FILE: &str = "keys.jsonl";

/// Issues, lists, rotates and revokes the API keys of a file.
///
/// The file holds digests only: a key is shown once, when it is made. Services that read the file
/// see a change within about a second.
#[derive(Parser)]
#[command(
    name = "apikey",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the file.\n\n\
        Examples:\n  \
        apikey issue ci --expires 90d | pbcopy\n  \
        apikey rotate 0a1B2c3D --overlap 7d\n  \
        apikey revoke --client ci",
    // Words of advice are better than a bare list of what there is.
    arg_required_else_help = true
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

    /// Writes JSON, for machines
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
        #[arg(long, value_parser = duration, value_name = "DURATION")]
        overlap: Duration,
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
    Import {
        /// The client's id
        #[arg(required_unless_present = "bulk", conflicts_with = "bulk")]
        client: Option<String>,
        /// Adds many: lines of a client's id, a tab and a key, from standard input
        #[arg(long)]
        bulk: bool,
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
    /// What the client may do: once for each scope
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// The client's name, for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// When the key ends: in 90d, or at 2027-01-31T12:00:00Z
    #[arg(long, value_parser = moment, value_name = "WHEN")]
    pub(crate) expires: Option<SystemTime>,
    /// When the key begins, as `--expires`
    #[arg(long, value_parser = moment, value_name = "WHEN")]
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

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        parse(text).map_err(|error| format!("{error}: write it as 90d, 12h or '1h 30m'"))?;
    from_now(duration).map(|_| duration)
}

fn parse(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.trim() {
        "0" => Ok(Duration::ZERO),
        text => humantime::parse_duration(text),
    }
}

/// In some time, or at a time.
fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text.trim()) {
        return in_time(time);
    }
    match parse(text) {
        Ok(Duration::ZERO) => Err("a key of no duration would never work".to_owned()),
        Ok(duration) => from_now(duration),
        Err(_) => {
            Err("neither a duration such as 90d nor a time such as 2027-01-31T12:00:00Z".to_owned())
        }
    }
}

/// Times are noted in whole seconds.
fn from_now(duration: Duration) -> Result<SystemTime, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Duration::from_secs(since.as_secs()).checked_add(duration);
    in_time(moment.and_then(|since| UNIX_EPOCH.checked_add(since)).unwrap_or(UNIX_EPOCH + LATEST))
}

/// A record holds times until 2554.
fn in_time(time: SystemTime) -> Result<SystemTime, String> {
    if time < UNIX_EPOCH + LATEST {
        Ok(time)
    } else {
        Err("that is beyond the year 2500".to_owned())
    }
}

/// The beginning of 2500.
const LATEST: Duration = Duration::from_secs(16_725_225_600);
