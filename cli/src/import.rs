//! Imports existing keys.

use std::{
    collections::{HashMap, HashSet},
    io::{self, IsTerminal as _},
    str,
    time::SystemTime,
};

use serde_json::json;
use tower_api_key::{
    KeyDigest, Keyring,
    error::{KeyringError, KeyringErrorKind, ParseDigestError},
    key::KeyFormat,
    record::Record,
    store::{Change, Changed, Page, StoreErrorKind},
};

use crate::{
    Failure,
    args::ImportArgs,
    escape,
    issue::inserted,
    key_args::{Author, KeyArgs},
    output, prompt,
    store::Store,
};

/// The arguments of an import.
pub(crate) struct Import<'a> {
    pub(crate) store: &'a Store,
    pub(crate) json: bool,
    pub(crate) mode: ImportArgs,
    pub(crate) key: KeyArgs,
    pub(crate) author: Author,
    pub(crate) format: Option<KeyFormat>,
}

pub(crate) fn import(args: &Import<'_>, client: &str) -> Result<(), Failure> {
    let (store, json) = (args.store, args.json);
    let key = prompt::read_key()?;
    let is_new = store.is_missing();
    let records = [args.build_record(&Keyring::new(), &key, client)?];
    let changed = args.commit(&records)?;
    let imported = inserted(&changed).next();
    let Some(there) = imported.or_else(|| changed.unchanged().first()) else { return Ok(()) };
    let id = there.id().unwrap_or_default();
    if imported.is_some() && is_short(&key) {
        warn_short(&format!("this key has only {} characters", key.len()), id, args);
    }
    warn_of_present(&changed, &records, json);
    if json {
        let shown = output::add_place(output::to_json(there, SystemTime::now()), store);
        let mut shown = output::add_is_new(shown, store, is_new);
        shown["imported"] = imported.is_some().into();
        return output::print_json(&shown);
    }
    let verb = match (imported, parse_digest(&key)) {
        (None, _) => "There already",
        (_, Some(_)) => "Imported the digest",
        _ => "Imported",
    };
    output::print_message(&format!("{verb} as {id}."));
    report_created(store, is_new);
    Ok(())
}

fn report_created(store: &Store, is_new: bool) {
    if is_new {
        output::print_message(&format!("Created {}.", store.place()));
    }
}

pub(crate) fn import_bulk(args: &Import<'_>) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "--bulk reads lines of client id, tab and key from standard input, not from a terminal",
        ));
    }
    let (store, json) = (args.store, args.json);
    let text = prompt::read_all()?;
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    let lines = lines.map(|(number, line)| (number, line.strip_suffix(b"\r").unwrap_or(line)));
    let lines: Vec<(usize, &[u8])> =
        lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    if lines.is_empty() {
        return Err(Failure::usage(
            "no lines on standard input: expected lines of client id, tab and key",
        ));
    }
    let is_new = store.is_missing();
    let keys = Keyring::new();
    let records = lines.iter().map(|(number, line)| {
        args.build_line(&keys, line).map_err(|failure| fail_at(Some(*number), failure))
    });
    let records: Vec<_> = records.collect::<Result<_, _>>()?;
    let changed = args.commit(&records).map_err(|failure| match failure.kind {
        kind if kind == StoreErrorKind::OutcomeUnknown.as_str() => failure,
        _ => {
            let first = find_known(&failure, &records, store);
            fail_at(first.and_then(|at| lines.get(at)).map(|(number, _)| *number), failure)
        }
    })?;
    let new: HashSet<_> = inserted(&changed).map(Record::digest).collect();
    let short = lines.iter().zip(&records).filter(|((_, line), record)| {
        new.contains(&record.digest()) && split_line(line).is_some_and(|(_, key)| is_short(key))
    });
    match short.count() {
        0 => {}
        short => {
            let keys = output::format_keys(short);
            warn_short(&format!("{keys} shorter than {MIN_LEN} characters"), "ID", args);
        }
    }
    warn_of_present(&changed, &records, json);
    report_imported(args, &changed)?;
    report_created(store, is_new && !json);
    Ok(())
}

fn report_imported(args: &Import<'_>, changed: &Changed) -> Result<(), Failure> {
    let (imported, present) = (changed.count(), changed.unchanged().len());
    if !args.is_repeatable() {
        return output::print_count(args.json, "imported", imported);
    }
    if args.json {
        return output::print_json(&json!({ "imported": imported, "present": present }));
    }
    let (imported, present) = (output::format_keys(imported), output::format_present(present));
    output::print_message(&format!("Imported {imported}. {present}"));
    Ok(())
}

fn fail_at(line: Option<usize>, mut failure: Failure) -> Failure {
    let place = line.map(|line| format!("standard input, line {line}: ")).unwrap_or_default();
    failure.message = format!("{place}{}. Nothing was imported", failure.message);
    failure
}

/// Finds the first record that the store has already, because the error of a change does not name it.
fn find_known(failure: &Failure, records: &[Record], store: &Store) -> Option<usize> {
    let kinds = [KeyringErrorKind::DuplicateKey, KeyringErrorKind::RevokedKey];
    if !kinds.iter().any(|kind| kind.as_str() == failure.kind) {
        return None;
    }
    let places: HashMap<_, _> =
        (0..).zip(records).map(|(at, record)| (record.digest(), at)).collect();
    let mut first = None;
    let searched = store.each_page(Page::new().with_limit(store.batch()), |known| {
        let found = known.iter().filter_map(|record| places.get(&record.digest()).copied());
        first = first.into_iter().chain(found).min();
        Ok(())
    });
    searched.ok().and(first)
}

impl Import<'_> {
    /// Returns whether a key that is there already is no error.
    fn is_repeatable(&self) -> bool {
        self.mode.digest || self.mode.if_absent
    }

    fn build_line(&self, keys: &Keyring, line: &[u8]) -> Result<Record, Failure> {
        let Some((client, key)) = split_line(line) else {
            let kind = KeyringErrorKind::ListEntry.as_str();
            return Err(Failure::rejected(kind, "expected a client id, a tab and a key"));
        };
        let client = str::from_utf8(client).map_err(|_| KeyringErrorKind::ClientId);
        self.build_record(keys, key, client.map_err(KeyringError::from)?)
    }

    /// Builds the record of a key or its digest. A minted key keeps its id.
    ///
    /// The keyring checks the key, and finds a key that comes twice.
    fn build_record(&self, keys: &Keyring, key: &[u8], client: &str) -> Result<Record, Failure> {
        let client = self.key.build_client(client);
        let digest = match parse_digest(key) {
            Some(digest) => {
                let digest = digest.map_err(KeyringError::from)?;
                keys.insert_digest(digest, client)?;
                digest
            }
            None if self.mode.digest => {
                let why = "not a digest: --digest accepts only `sha256:` and 64 hexadecimal digits";
                return Err(Failure::rejected(KeyringErrorKind::Digest.as_str(), why));
            }
            None => {
                keys.insert(key, client)?;
                KeyDigest::of(key)
            }
        };
        let record = keys.record_by_digest(&digest);
        let record = record.ok_or_else(|| KeyringError::from(KeyringErrorKind::Digest))?;
        let record = self.format.iter().cloned().fold(record, Record::with_format);
        Ok(self.key.complete(record).with_issued_by(self.author.name(self.store)))
    }

    /// Inserts all records or none. If another key has the id of a record, the record gets another id.
    fn commit(&self, records: &[Record]) -> Result<Changed, Failure> {
        let insert = |records: Vec<Record>| match self.is_repeatable() {
            true => Change::insert_if_absent(records),
            false => Change::insert_all(records),
        };
        match self.store.commit(insert(records.to_vec())) {
            Err(error) if error.kind() == StoreErrorKind::Conflict => {
                let records = with_free_ids(records, self.store)?;
                Ok(self.store.commit(insert(records))?)
            }
            committed => Ok(committed?),
        }
    }
}

/// Replaces ids that other keys of the store have.
fn with_free_ids(records: &[Record], store: &Store) -> Result<Vec<Record>, Failure> {
    let taken = store.find_id_conflicts(records)?;
    let replaced = records.iter().cloned().map(|record| {
        if !taken.contains(&record.digest()) {
            return Ok(record);
        }
        record.with_id(KeyFormat::default().mint()?.id())
    });
    Ok(replaced.collect::<Result<_, KeyringError>>()?)
}

/// Warns of keys that the store has with another state or client, because they stay as they are.
fn warn_of_present(changed: &Changed, records: &[Record], json: bool) {
    let clients: HashMap<_, _> =
        records.iter().map(|record| (record.digest(), record.client().id())).collect();
    for present in changed.unchanged() {
        let id = present.id().unwrap_or_default();
        let client = present.client().id();
        if present.revoked().is_some() {
            output::warn(&format!("key {id} was revoked before, and stays revoked"), json);
        } else if clients.get(&present.digest()) != Some(&client) {
            let client = escape::text(client);
            output::warn(&format!("key {id} belongs to {client}, and stays as it is"), json);
        }
    }
}

fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    Some((line.get(..tab)?, line.get(tab + 1..)?))
}

/// Parses a digest. Text without the prefix `sha256:` is a key and returns `None`.
fn parse_digest(key: &[u8]) -> Option<Result<KeyDigest, ParseDigestError>> {
    let text = str::from_utf8(key).ok()?;
    let prefix = text.get(.."sha256:".len())?;
    prefix.eq_ignore_ascii_case("sha256:").then(|| KeyDigest::parse(text))
}

/// The length below which an attacker can guess a key from its digest.
const MIN_LEN: usize = 22;

fn is_short(key: &[u8]) -> bool {
    key.len() < MIN_LEN
}

fn warn_short(keys: &str, id: &str, args: &Import<'_>) {
    let noun = args.store.noun();
    let risk = format!("an attacker who has the {noun} can guess such a key from its digest");
    let advice = format!("Run `apikey rotate {id} --overlap 7d` to replace it");
    output::warn(&format!("{keys}: {risk}. {advice}"), args.json);
}
