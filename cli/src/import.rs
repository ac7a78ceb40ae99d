//! Keys that there are already.

use std::{io, str, time::SystemTime};

use tower_api_key::{
    KeyDigest, Keyring,
    error::{ConfigError, ConfigErrorKind},
    key::KeyFormat,
    key_file::KeyFile,
};

use crate::{
    Failure,
    args::About,
    commands::{answer, done, keys},
    hand_out::{is_absent, of_file, path},
    prompt, show,
};

pub(crate) fn import(
    file: &KeyFile,
    json: bool,
    client: &str,
    about: &About,
    format: Option<&KeyFormat>,
) -> Result<(), Failure> {
    let key = prompt::key()?;
    let (id, is_new) = file
        .update(|keys| Ok((take_in(keys, &key, client, about, format)?, is_absent(file.path()))))?;
    if is_short(&key) {
        warn_of_short(&format!("this key has {} characters", key.len()), &id, json);
    }
    match file.record(&id) {
        Some(record) if json => {
            let mut shown = of_file(show::json(&record, SystemTime::now()), file);
            shown["file_created"] = is_new.into();
            answer(&shown)
        }
        _ => {
            let what = if digest_in(&key).is_some() { "Imported the digest" } else { "Imported" };
            show::say(&format!("{what} as {id}."));
            say_created(file, is_new);
            Ok(())
        }
    }
}

fn say_created(file: &KeyFile, is_new: bool) {
    if is_new {
        show::say(&format!("Created {}.", path(file)));
    }
}

pub(crate) fn import_many(
    file: &KeyFile,
    json: bool,
    about: &About,
    format: Option<&KeyFormat>,
) -> Result<(), Failure> {
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
            import_line(keys, line, about, format).inspect_err(|_| wrong = Some(*number))?;
        }
        Ok(is_absent(file.path()))
    });
    let is_new = imported.map_err(|error| {
        let Failure { code, kind, mut message } = error.into();
        if wrong.is_some_and(|line| is_without_tab(&lines, line)) {
            message = "a line is a client's id, a tab and a key".to_owned();
        }
        let place = wrong.map(|line| format!("standard input, line {line}: ")).unwrap_or_default();
        Failure { code, kind, message: format!("{place}{message}; nothing was imported") }
    })?;
    let short = lines.iter().filter(|(_, line)| split(line).is_some_and(|(_, key)| is_short(key)));
    match short.count() {
        0 => {}
        short => {
            let what = format!("{} shorter than {LONG_ENOUGH} characters", keys(short));
            warn_of_short(&what, "ID", json);
        }
    }
    done(json, "imported", lines.len())?;
    say_created(file, is_new && !json);
    Ok(())
}

fn import_line(
    keys: &Keyring,
    line: &[u8],
    about: &About,
    format: Option<&KeyFormat>,
) -> Result<(), ConfigError> {
    let (client, key) = split(line).ok_or(ConfigErrorKind::ListEntry)?;
    let client = str::from_utf8(client).map_err(|_| ConfigErrorKind::ClientId)?;
    take_in(keys, key, client, about, format).map(drop)
}

fn is_without_tab(lines: &[(usize, &[u8])], number: usize) -> bool {
    lines.iter().any(|(at, line)| *at == number && split(line).is_none())
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    Some((line.get(..tab)?, line.get(tab + 1..)?))
}

/// Adds a key under the id that it has, if it was minted, or a new one. A digest stands for its key.
fn take_in(
    keys: &Keyring,
    key: &[u8],
    client: &str,
    about: &About,
    format: Option<&KeyFormat>,
) -> Result<String, ConfigError> {
    let digest = match digest_in(key) {
        Some(digest) => {
            let digest = digest?;
            keys.insert_digest(digest, about.client(client))?;
            digest
        }
        None => {
            keys.insert(key, about.client(client))?;
            KeyDigest::of(key)
        }
    };
    let Some(record) = keys.record_of(&digest) else { return Ok(String::new()) };
    let record = format.into_iter().fold(record, |record, format| record.format(format.clone()));
    let id = record.id().unwrap_or_default().to_owned();
    keys.remove(&digest);
    keys.insert_record(about.describe(record))?;
    Ok(id)
}

/// The digest that somebody wrote in the place of a key, in whole or not.
fn digest_in(key: &[u8]) -> Option<Result<KeyDigest, ConfigError>> {
    let text = str::from_utf8(key).ok()?;
    let prefix = text.get(.."sha256:".len())?;
    prefix.eq_ignore_ascii_case("sha256:").then(|| KeyDigest::parse(text))
}

const LONG_ENOUGH: usize = 22;

fn is_short(key: &[u8]) -> bool {
    key.len() < LONG_ENOUGH
}

fn warn_of_short(what: &str, id: &str, json: bool) {
    let advice = format!("Have it replaced: `apikey rotate {id} --overlap 7d`.");
    show::warn(&format!("{what}: whoever sees the file may guess it. {advice}"), json);
}
