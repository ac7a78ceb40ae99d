//! Imports existing keys.

use std::{io, str, time::SystemTime};

use tower_api_key::{
    KeyDigest, Keyring,
    error::{KeyringError, KeyringErrorKind, ParseDigestError},
    key::KeyFormat,
    key_file::KeyFile,
};

use crate::{Failure, args::KeyArgs, issue::is_missing, output, prompt};

pub(crate) fn import(
    file: &KeyFile,
    json: bool,
    client: &str,
    args: &KeyArgs,
    format: Option<&KeyFormat>,
) -> Result<(), Failure> {
    let key = prompt::read_key()?;
    let (id, is_new) = file.update(|keys| {
        Ok((insert_key(keys, &key, client, args, format)?, is_missing(file.path())))
    })?;
    if is_short(&key) {
        warn_short(&format!("this key has only {} characters", key.len()), &id, json);
    }
    match file.record(&id) {
        Some(record) if json => {
            let mut imported = output::add_path(output::to_json(&record, SystemTime::now()), file);
            imported["file_created"] = is_new.into();
            output::print_json(&imported)
        }
        _ => {
            let verb =
                if parse_digest(&key).is_some() { "Imported the digest" } else { "Imported" };
            output::print_message(&format!("{verb} as {id}."));
            report_created(file, is_new);
            Ok(())
        }
    }
}

fn report_created(file: &KeyFile, is_new: bool) {
    if is_new {
        output::print_message(&format!("Created {}.", output::format_path(file)));
    }
}

pub(crate) fn import_bulk(
    file: &KeyFile,
    json: bool,
    args: &KeyArgs,
    format: Option<&KeyFormat>,
) -> Result<(), Failure> {
    use io::IsTerminal as _;
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "--bulk reads lines of client id, tab and key from standard input, not from a terminal",
        ));
    }
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
    let mut wrong = None;
    let imported = file.update(|keys| {
        for (number, line) in &lines {
            import_line(keys, line, args, format).inspect_err(|_| wrong = Some(*number))?;
        }
        Ok(is_missing(file.path()))
    });
    let is_new = imported.map_err(|error| {
        let Failure { code, kind, mut message } = error.into();
        if wrong.is_some_and(|line| lacks_tab(&lines, line)) {
            message = "expected a client id, a tab and a key".to_owned();
        }
        let place = wrong.map(|line| format!("standard input, line {line}: ")).unwrap_or_default();
        Failure { code, kind, message: format!("{place}{message}. Nothing was imported") }
    })?;
    let short =
        lines.iter().filter(|(_, line)| split_line(line).is_some_and(|(_, key)| is_short(key)));
    match short.count() {
        0 => {}
        short => {
            let keys = output::format_keys(short);
            warn_short(&format!("{keys} shorter than {MIN_LEN} characters"), "ID", json);
        }
    }
    output::print_count(json, "imported", lines.len())?;
    report_created(file, is_new && !json);
    Ok(())
}

fn import_line(
    keys: &Keyring,
    line: &[u8],
    args: &KeyArgs,
    format: Option<&KeyFormat>,
) -> Result<(), KeyringError> {
    let (client, key) = split_line(line).ok_or(KeyringErrorKind::ListEntry)?;
    let client = str::from_utf8(client).map_err(|_| KeyringErrorKind::ClientId)?;
    insert_key(keys, key, client, args, format).map(drop)
}

fn lacks_tab(lines: &[(usize, &[u8])], number: usize) -> bool {
    lines.iter().any(|(at, line)| *at == number && split_line(line).is_none())
}

fn split_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    Some((line.get(..tab)?, line.get(tab + 1..)?))
}

/// Inserts a key or its digest, and returns the id. A minted key keeps its id.
fn insert_key(
    keys: &Keyring,
    key: &[u8],
    client: &str,
    args: &KeyArgs,
    format: Option<&KeyFormat>,
) -> Result<String, KeyringError> {
    let digest = match parse_digest(key) {
        Some(digest) => {
            let digest = digest?;
            keys.insert_digest(digest, args.build_client(client))?;
            digest
        }
        None => {
            keys.insert(key, args.build_client(client))?;
            KeyDigest::of(key)
        }
    };
    let Some(record) = keys.record_by_digest(&digest) else { return Ok(String::new()) };
    let record =
        format.into_iter().fold(record, |record, format| record.with_format(format.clone()));
    let id = record.id().unwrap_or_default().to_owned();
    keys.remove(&digest);
    keys.insert_record(args.complete(record))?;
    Ok(id)
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

fn warn_short(keys: &str, id: &str, json: bool) {
    let risk = "an attacker who has the file can guess such a key from its digest";
    let advice = format!("Run `apikey rotate {id} --overlap 7d` to replace it");
    output::warn(&format!("{keys}: {risk}. {advice}"), json);
}
