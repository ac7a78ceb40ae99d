use std::time::{Duration, SystemTime};

use clap::CommandFactory as _;
use serde_json::{Value, json};
use tower_api_key::{
    Client, KeyDigest, Keyring,
    error::{ConfigError, ConfigErrorKind},
    key::KeyFormat,
    key_file::{KeyFile, KeyFileEvent},
    verify::Record,
};

use crate::{
    Failure,
    args::{About, Args, Command},
    hand_out::{hand_out, not_shown, refuse_to_lose_a_key},
    import::{import, import_many},
    prompt, show,
};

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { file, json, command } = args;
    if file.is_empty() {
        return Err(Failure::usage("--file needs the name of a file"));
    }
    let open = |create| KeyFile::options().create(create).follow(false).observe(warn).open(&file);
    match command {
        Command::Issue { client, prefix, about } => {
            issue(&open(true)?, json, &client, &KeyFormat::new(prefix)?, &about)
        }
        Command::List => list(&open(false)?, json),
        Command::Rotate { key_id, overlap } => rotate(&open(false)?, json, &key_id, overlap),
        Command::Revoke { whose, consent } => {
            let whose = match (whose.key_id, whose.client) {
                (Some(key_id), _) => Whose::Key(key_id),
                (None, client) => Whose::Client(client.unwrap_or_default()),
            };
            revoke(&open(false)?, json, &whose, consent.yes)
        }
        Command::Check => check(&open(false)?, json),
        Command::Import { client: Some(client), about, .. } => {
            import(&open(true)?, json, &client, &about)
        }
        Command::Import { client: None, about, .. } => import_many(&open(true)?, json, &about),
        Command::Prune { consent } => prune(&open(false)?, json, consent.yes),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "apikey", &mut script);
            show::lines([String::from_utf8_lossy(&script).into_owned()].into_iter())
        }
    }
}

fn warn(event: &KeyFileEvent) {
    if let KeyFileEvent::WritableByOthers = event {
        show::say("warning: every user may write the file, or put another in its place: chmod o-w");
    }
}

fn issue(
    file: &KeyFile,
    json: bool,
    client: &str,
    format: &KeyFormat,
    about: &About,
) -> Result<(), Failure> {
    refuse_to_lose_a_key()?;
    let minted = file.update(|keys| {
        let minted = format.mint()?;
        keys.insert_record(about.describe(Record::of(&minted, about.client(client))))?;
        Ok(minted)
    })?;
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    if let Err(error) = hand_out(minted, json, file) {
        let taken_back = file.update(|keys| Ok(keys.remove(&digest))).map(drop);
        return Err(not_shown(&error, &id, taken_back));
    }
    show::say(&format!("Issued {id}. The key is shown this once: what is kept is its digest."));
    Ok(())
}

fn rotate(file: &KeyFile, json: bool, key_id: &str, overlap: Duration) -> Result<(), Failure> {
    refuse_to_lose_a_key()?;
    let (minted, before, after) = file.update(|keys| {
        let before = keys.record(key_id);
        let minted = keys.rotate(key_id, overlap)?;
        Ok((minted, before, keys.record(key_id)))
    })?;
    let (id, digest) = (minted.id().to_owned(), minted.digest());
    if let Err(error) = hand_out(minted, json, file) {
        let taken_back = file.update(|keys| {
            keys.remove(&digest);
            match before {
                // Somebody may have revoked it meanwhile.
                Some(before) if keys.record(key_id) == after => {
                    keys.remove(&before.digest());
                    keys.insert_record(before)
                }
                _ => Ok(()),
            }
        });
        return Err(not_shown(&error, &id, taken_back));
    }
    let now = SystemTime::now();
    let old = file.record(key_id).and_then(|old| show::end(&old));
    let old = match old {
        Some(end) if end > now => format!("works until {}", show::rfc3339(end)),
        _ => "has ended".to_owned(),
    };
    show::say(&format!("Issued {id} in the place of {key_id}, which {old}."));
    Ok(())
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
                Failure::refused("this client has no key: `apikey list` shows whose there are")
            }
        });
    }
    let live: Vec<_> = theirs.iter().filter(|record| record.revoked().is_none()).collect();
    if live.is_empty() {
        show::say("Revoked already.");
        return if json { done(json, "revoked", 0) } else { Ok(()) };
    }
    announce("To be revoked, for good:", live.iter().copied());
    prompt::consent(yes, &format!("Revoke {}?", keys(live.len())))?;
    let revoked = match whose {
        Whose::Key(id) => usize::from(file.revoke_key(id)?),
        Whose::Client(id) => file.revoke(id)?,
    };
    done(json, "revoked", revoked)
}

fn prune(file: &KeyFile, json: bool, yes: bool) -> Result<(), Failure> {
    let now = SystemTime::now();
    let is_dead = |record: &Record| matches!(show::state(record, now), "revoked" | "expired");
    let dead = sorted(file.records().filter(is_dead));
    if !dead.is_empty() {
        announce("To be forgotten:", &dead);
        prompt::consent(yes, &format!("Forget {}?", keys(dead.len())))?;
    }
    let pruned = if dead.is_empty() { 0 } else { file.prune()? };
    done(json, "pruned", pruned)
}

fn check(file: &KeyFile, json: bool) -> Result<(), Failure> {
    let key = prompt::key()?;
    let digest = KeyDigest::of(&*key);
    let now = SystemTime::now();
    let Some(record) = file.record_of(&digest) else {
        let why = why_unknown(file, &key);
        if json {
            answer(&json!({ "works": false, "reason": "unknown", "detail": why }))?;
        }
        return Err(Failure::refused(format!("it opens nothing: {why}")));
    };
    let refused = record.refused_at(now);
    if json {
        let mut found = show::json(&record, now);
        found["works"] = refused.is_none().into();
        found["reason"] = refused.map(|reason| reason.as_str()).into();
        answer(&found)?;
    }
    let whose = format!(
        "key {} of {}",
        record.id().unwrap_or_default(),
        show::printable(record.client().id())
    );
    let when = |time: Option<SystemTime>| {
        time.map(|time| format!(" {} ({})", show::words(time, now), show::rfc3339(time)))
            .unwrap_or_default()
    };
    match show::state(&record, now) {
        "active" | "rotated" if json => Ok(()),
        "active" | "rotated" => {
            let ends =
                show::end(&record).map(|_| format!(", and ends{}", when(show::end(&record))));
            show::lines([format!("It works: {whose}{}.", ends.unwrap_or_default())].into_iter())
        }
        "revoked" => {
            Err(Failure::refused(format!("{whose} was revoked{}", when(record.revoked()))))
        }
        "not yet" => Err(Failure::refused(format!("{whose} begins{}", when(record.begins())))),
        _ if record.retires().is_some() => Err(Failure::refused(format!(
            "{whose} was rotated, and ended{}",
            when(show::end(&record))
        ))),
        _ => Err(Failure::refused(format!("{whose} ended{}", when(show::end(&record))))),
    }
}

/// What can be told of a key that is not in the file.
fn why_unknown(file: &KeyFile, key: &[u8]) -> String {
    if let Err(malformed) = Keyring::new().insert(key, Client::new("check")) {
        return malformed.to_string();
    }
    let formats = file.records().filter_map(|record| record.key_format().cloned());
    let is_mistyped = |format: KeyFormat| {
        format.parse(key).is_err_and(|error| error.kind() == ConfigErrorKind::Checksum)
    };
    if formats.into_iter().any(is_mistyped) {
        return ConfigError::from(ConfigErrorKind::Checksum).to_string();
    }
    "no key in the file is this one".to_owned()
}

impl About {
    pub(crate) fn client(&self, id: &str) -> Client {
        let client = Client::new(id).scopes(&self.scopes);
        self.name.iter().fold(client, |client, name| client.with_name(name))
    }

    pub(crate) fn describe(&self, record: Record) -> Record {
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

/// Says which keys are meant, before anything happens to them.
fn announce<'a>(what: &str, records: impl IntoIterator<Item = &'a Record>) {
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
