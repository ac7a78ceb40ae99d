//! Keys that there are already.

use std::{io, str, time::SystemTime};

use tower_api_key::{
    KeyDigest, Keyring,
    error::{ConfigError, ConfigErrorKind},
    key_file::KeyFile,
};

use crate::{
    Failure,
    args::About,
    commands::{answer, done, keys},
    prompt, show,
};

pub(crate) fn import(
    file: &KeyFile,
    json: bool,
    client: &str,
    about: &About,
) -> Result<(), Failure> {
    let key = prompt::key()?;
    let id = file.update(|keys| take_in(keys, &key, client, about))?;
    if is_short(&key) {
        warn_of_short(&format!("this key has {} characters", key.len()), &id);
    }
    match file.record(&id) {
        Some(record) if json => answer(&show::json(&record, SystemTime::now())),
        _ => {
            show::say(&format!("Imported as {id}."));
            Ok(())
        }
    }
}

pub(crate) fn import_many(file: &KeyFile, json: bool, about: &About) -> Result<(), Failure> {
    use io::IsTerminal as _;
    if io::stdin().is_terminal() {
        return Err(Failure::usage("lines of client, tab and key are read from standard input"));
    }
    let text = prompt::all()?;
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    let lines = lines.map(|(number, line)| (number, line.strip_suffix(b"\r").unwrap_or(line)));
    let lines: Vec<(usize, &[u8])> =
        lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    if lines.is_empty() {
        return Err(Failure::usage("no lines on standard input: client, tab and key are wanted"));
    }
    let mut wrong = None;
    let imported = file.update(|keys| {
        for (number, line) in &lines {
            import_line(keys, line, about).inspect_err(|_| wrong = Some(*number))?;
        }
        Ok(lines.len())
    });
    let imported = imported.map_err(|error| {
        let Failure { code, mut message } = error.into();
        if wrong.is_some_and(|line| is_without_tab(&lines, line)) {
            message = "a line is a client's id, a tab and a key".to_owned();
        }
        let place = wrong.map(|line| format!("standard input, line {line}: ")).unwrap_or_default();
        Failure { code, message: format!("{place}{message}; nothing was imported") }
    })?;
    let short = lines.iter().filter(|(_, line)| split(line).is_some_and(|(_, key)| is_short(key)));
    match short.count() {
        0 => {}
        short => {
            warn_of_short(&format!("{} shorter than {LONG_ENOUGH} characters", keys(short)), "ID")
        }
    }
    done(json, "imported", imported)
}

fn import_line(keys: &Keyring, line: &[u8], about: &About) -> Result<(), ConfigError> {
    let (client, key) = split(line).ok_or(ConfigErrorKind::ListEntry)?;
    let client = str::from_utf8(client).map_err(|_| ConfigErrorKind::ClientId)?;
    take_in(keys, key, client, about).map(drop)
}

fn is_without_tab(lines: &[(usize, &[u8])], number: usize) -> bool {
    lines.iter().any(|(at, line)| *at == number && split(line).is_none())
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    Some((line.get(..tab)?, line.get(tab + 1..)?))
}

/// Adds a key under the id that it has, if it was minted, or a new one.
fn take_in(keys: &Keyring, key: &[u8], client: &str, about: &About) -> Result<String, ConfigError> {
    keys.insert(key, about.client(client))?;
    let digest = KeyDigest::of(key);
    let Some(record) = keys.record_of(&digest) else { return Ok(String::new()) };
    let id = record.id().unwrap_or_default().to_owned();
    keys.remove(&digest);
    keys.insert_record(about.describe(record))?;
    Ok(id)
}

const LONG_ENOUGH: usize = 22;

fn is_short(key: &[u8]) -> bool {
    key.len() < LONG_ENOUGH
}

fn warn_of_short(what: &str, id: &str) {
    show::say(&format!(
        "warning: {what}: whoever sees the file may guess it. Have it replaced: `apikey rotate {id} --overlap 7d`."
    ));
}
