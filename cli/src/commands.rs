use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::CommandFactory as _;
use serde_json::{Value, json};
use tower_api_key::{
    Client,
    error::{ConfigError, ConfigErrorKind},
    key::KeyFormat,
    key_file::{KeyFile, KeyFileEvent},
    rejection::Reason,
    verify::Record,
};

use crate::{
    Failure,
    args::{About, Args, Command},
    check::check,
    hand_out::issue,
    import::{import, import_many},
    prompt,
    rotate::rotate,
    show,
};

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { file, json, command } = args;
    if file.is_empty() {
        return Err(Failure::usage("--file needs the name of a file"));
    }
    let open = |create| {
        let options = KeyFile::options().create(create).follow(false);
        options.observe(move |event| warn(event, json)).open(&file)
    };
    match command {
        Command::Issue { client, prefix, about } => {
            about.check()?;
            issue(&open(true)?, json, &client, &KeyFormat::new(prefix)?, &about)
        }
        Command::List => list(&open(false)?, json),
        Command::Rotate { key_id, overlap, prefix } => {
            let format = prefix.map(KeyFormat::new).transpose()?;
            rotate(&open(false)?, json, &key_id, overlap, format)
        }
        Command::Revoke { whose, consent } => {
            let whose = match (whose.key_id, whose.client) {
                (Some(key_id), _) => Whose::Key(key_id),
                (None, client) => Whose::Client(client.unwrap_or_default()),
            };
            revoke(&open(false)?, json, &whose, consent.yes)
        }
        Command::Check => check(&open(false)?, json),
        Command::Import { client, prefix, about, .. } => {
            about.check()?;
            let format = prefix.map(KeyFormat::new).transpose()?;
            match client {
                Some(client) => import(&open(true)?, json, &client, &about, format.as_ref()),
                None => import_many(&open(true)?, json, &about, format.as_ref()),
            }
        }
        Command::Prune { consent } => prune(&open(false)?, json, consent.yes),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "apikey", &mut script);
            show::lines([String::from_utf8_lossy(&script).into_owned()].into_iter())
        }
    }
}

fn warn(event: &KeyFileEvent, json: bool) {
    let why = match event {
        KeyFileEvent::WritableByOthers => {
            "another user may write the file, or put another in its place: look at the owner and the mode \
             of the file and of each folder on its path"
        }
        KeyFileEvent::HasOtherNames => {
            "the file has another name, by a hard link or a mount: a service that reads it by that name \
             does not see a change made by this one"
        }
        _ => return,
    };
    show::warn(why, json);
}

fn list(file: &KeyFile, json: bool) -> Result<(), Failure> {
    let now = SystemTime::now();
    let records = sorted(file.records());
    if json {
        return answer(&records.iter().map(|record| show::json(record, now)).collect());
    }
    if records.is_empty() {
        show::say("No keys: `apikey issue CLIENT` makes one.");
    }
    show::table(&records, now)
}

enum Whose {
    Key(String),
    Client(String),
}

impl Whose {
    fn is_of(&self, record: &Record) -> bool {
        match self {
            Self::Key(id) => record.id() == Some(id),
            Self::Client(id) => record.client().id() == id,
        }
    }
}

fn revoke(file: &KeyFile, json: bool, whose: &Whose, yes: bool) -> Result<(), Failure> {
    let theirs = sorted(file.records().filter(|record| whose.is_of(record)));
    if theirs.is_empty() {
        return Err(match whose {
            Whose::Key(_) => ConfigError::from(ConfigErrorKind::UnknownKeyId).into(),
            Whose::Client(_) => {
                let why = "this client has no key: `apikey list` shows whose there are";
                Failure::refused("unknown_client", why)
            }
        });
    }
    let live: Vec<_> = theirs.iter().filter(|record| record.revoked().is_none()).collect();
    if live.is_empty() {
        if json {
            return done(json, "revoked", 0);
        }
        show::say("Revoked already.");
        return Ok(());
    }
    announce(json, "To be revoked, for good:", live.iter().copied());
    prompt::consent(yes, &format!("Revoke {}?", keys(live.len())))?;
    let revoked = match whose {
        Whose::Key(id) => usize::from(file.revoke_key(id)?),
        Whose::Client(id) => file.revoke(id)?,
    };
    done(json, "revoked", revoked)
}

fn prune(file: &KeyFile, json: bool, yes: bool) -> Result<(), Failure> {
    let now = SystemTime::now();
    let is_dead =
        |record: &Record| matches!(record.refused_at(now), Some(Reason::Revoked | Reason::Expired));
    let dead = sorted(file.records().filter(is_dead));
    if !dead.is_empty() {
        announce(json, "To be forgotten:", &dead);
        prompt::consent(yes, &format!("Forget {}?", keys(dead.len())))?;
    }
    let pruned = if dead.is_empty() { 0 } else { file.prune()? };
    done(json, "pruned", pruned)
}

impl About {
    /// Refuses a key that would never work, and says which option is the cause.
    fn check(&self) -> Result<(), Failure> {
        let cause = match (self.expires, self.not_before) {
            (Some(end), _) if end <= SystemTime::now() => "--expires has passed",
            (Some(end), Some(begin)) if end < begin => "--expires is before --not-before",
            _ => return Ok(()),
        };
        let error = ConfigError::from(ConfigErrorKind::Lifetime);
        Err(Failure::refused(error.kind().as_str(), format!("{error}: {cause}")))
    }

    pub(crate) fn client(&self, id: &str) -> Client {
        let client = Client::new(id).scopes(&self.scopes);
        self.name.iter().fold(client, |client, name| client.with_name(name))
    }

    pub(crate) fn describe(&self, record: Record) -> Record {
        // A keyring takes a record that has expired. On the command line an expiry in the past is a
        // mistake, which the keyring finds by the time of creation. The file has whole seconds.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = record.created_at(UNIX_EPOCH + Duration::from_secs(now.as_secs()));
        let record = self.expires.iter().fold(record, |record, time| record.expires_at(*time));
        let record = self.not_before.iter().fold(record, |record, time| record.not_before(*time));
        self.note.iter().fold(record, |record, note| record.note(note))
    }
}

/// By client, the oldest first.
fn sorted(records: impl Iterator<Item = Record>) -> Vec<Record> {
    let mut records: Vec<_> = records.collect();
    records.sort_by(|a, b| {
        let of = |record: &'_ Record| (record.created(), record.id().map(str::to_owned));
        a.client().id().cmp(b.client().id()).then_with(|| of(a).cmp(&of(b)))
    });
    records
}

/// Writes JSON to standard output.
pub(crate) fn answer(value: &Value) -> Result<(), Failure> {
    show::lines([show::escaped(value)].into_iter())
}

/// Says which keys are meant, before anything happens to them. Machines have named them.
fn announce<'a>(json: bool, what: &str, records: impl IntoIterator<Item = &'a Record>) {
    if json && !prompt::may_ask() {
        return;
    }
    let now = SystemTime::now();
    show::say(what);
    for record in records {
        let client = show::printable(record.client().id());
        let id = record.id().unwrap_or_default();
        show::say(&format!("  {id}  {client}  {}", show::state(record, now)));
    }
}

pub(crate) fn done(json: bool, what: &str, how_many: usize) -> Result<(), Failure> {
    if json {
        return answer(&json!({ what: how_many }));
    }
    let mut what = what.to_owned();
    what.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    show::say(&format!("{what} {}.", keys(how_many)));
    Ok(())
}

pub(crate) fn keys(how_many: usize) -> String {
    format!("{how_many} key{}", if how_many == 1 { "" } else { "s" })
}
