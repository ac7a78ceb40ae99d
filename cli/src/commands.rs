//! Runs the subcommands. Subcommands with their own file are called from here.

use std::time::SystemTime;

use clap::CommandFactory as _;
use tower_api_key::{
    error::{KeyringError, KeyringErrorKind},
    key::KeyFormat,
    key_file::{KeyFile, KeyFileEvent},
    record::Record,
    rejection::Reason,
};

use crate::{
    Failure,
    args::{Args, Command},
    check::check,
    import::{import, import_bulk},
    issue::issue,
    list::{list, sort_records},
    output, prompt,
    rotate::rotate,
    usage::usage,
};

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { file, json, command } = args;
    if file.is_empty() {
        return Err(Failure::usage("--file needs a file name"));
    }
    let open = |create| {
        let options = KeyFile::options().create(create).follow(false);
        options.observe(move |event| warn(event, json)).open(&file)
    };
    match command {
        Command::Issue { client, prefix, key } => {
            key.check_lifetime()?;
            issue(&open(true)?, json, &client, &KeyFormat::new(prefix)?, &key)
        }
        Command::List { from, unused } => list(&open(false)?, json, from, unused),
        Command::Usage { from, client, last } => {
            // Without a key file, the usage data alone is printed.
            let keys = KeyFile::options().follow(false).open(&file).ok();
            usage(json, from, client.as_deref(), &last, keys.as_ref())
        }
        Command::Rotate { key_id, overlap, prefix } => {
            let format = prefix.map(KeyFormat::new).transpose()?;
            rotate(&open(false)?, json, &key_id, overlap, format)
        }
        Command::Revoke { target, confirm } => {
            let target = match (target.key_id, target.client) {
                (Some(key_id), _) => Target::Key(key_id),
                (None, client) => Target::Client(client.unwrap_or_default()),
            };
            revoke(&open(false)?, json, &target, confirm.yes)
        }
        Command::Check => check(&open(false)?, json),
        Command::Import { client, prefix, key, .. } => {
            key.check_lifetime()?;
            let format = prefix.map(KeyFormat::new).transpose()?;
            match client {
                Some(client) => import(&open(true)?, json, &client, &key, format.as_ref()),
                None => import_bulk(&open(true)?, json, &key, format.as_ref()),
            }
        }
        Command::Prune { confirm } => prune(&open(false)?, json, confirm.yes),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "apikey", &mut script);
            output::print_lines([String::from_utf8_lossy(&script).into_owned()].into_iter())
        }
    }
}

fn warn(event: &KeyFileEvent, json: bool) {
    let why = match event {
        KeyFileEvent::WritableByOthers => {
            "another user can write or replace the file: check the owner and mode of the file and of \
             each folder on its path"
        }
        KeyFileEvent::HasOtherNames => {
            "the file has another name (a hard link or a mount): a service that reads it by that name \
             does not see this change"
        }
        _ => return,
    };
    output::warn(why, json);
}

/// The keys that `revoke` revokes.
enum Target {
    Key(String),
    Client(String),
}

impl Target {
    fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Key(id) => record.id() == Some(id),
            Self::Client(id) => record.client().id() == id,
        }
    }
}

fn revoke(file: &KeyFile, json: bool, target: &Target, yes: bool) -> Result<(), Failure> {
    let matching = sort_records(file.records().filter(|record| target.matches(record)));
    if matching.is_empty() {
        return Err(match target {
            Target::Key(_) => KeyringError::from(KeyringErrorKind::UnknownKeyId).into(),
            Target::Client(_) => {
                let why = "this client has no key: `apikey list` shows all clients";
                Failure::rejected("unknown_client", why)
            }
        });
    }
    let live: Vec<_> = matching.iter().filter(|record| record.revoked().is_none()).collect();
    if live.is_empty() {
        if json {
            return output::print_count(json, "revoked", 0);
        }
        output::print_message("Already revoked.");
        return Ok(());
    }
    preview(json, "These keys will be revoked permanently:", live.iter().copied());
    prompt::confirm(yes, &format!("Revoke {}?", output::format_keys(live.len())))?;
    let revoked = match target {
        Target::Key(id) => usize::from(file.revoke_key(id)?),
        Target::Client(id) => file.revoke_client(id)?,
    };
    output::print_count(json, "revoked", revoked)
}

fn prune(file: &KeyFile, json: bool, yes: bool) -> Result<(), Failure> {
    let now = SystemTime::now();
    let is_dead = |record: &Record| {
        matches!(record.check(now).err(), Some(Reason::Revoked | Reason::Expired))
    };
    let dead = sort_records(file.records().filter(is_dead));
    if !dead.is_empty() {
        preview(json, "These keys will be deleted:", &dead);
        prompt::confirm(yes, &format!("Delete {}?", output::format_keys(dead.len())))?;
    }
    let pruned = if dead.is_empty() { 0 } else { file.prune()? };
    output::print_count(json, "pruned", pruned)
}

/// Prints the keys that a change affects, before the change. A script with `--json` gets no preview.
fn preview<'a>(json: bool, title: &str, records: impl IntoIterator<Item = &'a Record>) {
    if json && !prompt::can_ask() {
        return;
    }
    let now = SystemTime::now();
    output::print_message(title);
    for record in records {
        let client = output::escape(record.client().id());
        let id = record.id().unwrap_or_default();
        output::print_message(&format!("  {id}  {client}  {}", output::classify(record, now)));
    }
}
