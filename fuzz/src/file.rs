//! A file of keys, as the documentation of `key_file` has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tower_api_key::record::Record;

use crate::minted::{self, is_prefix};

/// A key's fields, as they are written.
pub type Key = BTreeMap<&'static str, String>;

const TEXTS: [&str; 7] = ["id", "client", "digest", "name", "prefix", "note", "replaced_by"];
const TIMES: [&str; 6] = ["created", "expires", "not_before", "retires", "revoked", "rotated"];
const MAX_LINE: usize = 64 << 10;

pub fn as_written(record: &Record) -> Key {
    let client = record.client();
    let scopes: Vec<_> = client.scopes().collect();
    let time =
        |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339(time).to_string());
    let fields = [
        ("id", record.id().map(str::to_owned)),
        ("client", Some(client.id().to_owned())),
        ("digest", Some(record.digest().encode())),
        ("name", client.name().map(str::to_owned)),
        ("prefix", record.format().map(|format| format.prefix().to_owned())),
        ("note", record.note().map(str::to_owned)),
        ("created", time(record.created())),
        ("expires", time(record.expires())),
        ("not_before", time(record.not_before())),
        ("retires", time(record.retires())),
        ("revoked", time(record.revoked())),
        ("rotated", time(record.rotated())),
        ("replaced_by", record.replaced_by().map(str::to_owned)),
        ("scopes", (!scopes.is_empty()).then(|| scopes.join(" "))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// All keys of a file, sorted; `None` if it cannot be used.
pub fn read(text: &[u8]) -> Option<Vec<Key>> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).strip_suffix('\n')?;
    text.split('\n').all(|line| line.len() < MAX_LINE).then_some(())?;
    let mut lines = text.split('\n').map(str::trim);
    let header = object(lines.next()?)?;
    let version = header.get("v")?.as_u64()?;
    (header.len() == 1 && matches!(version, 1 | 2)).then_some(())?;
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys = lines.map(key).collect::<Option<Vec<_>>>()?;
    let is_new = |key: &Key| key.contains_key("rotated") || key.contains_key("replaced_by");
    (version == 2 || !keys.iter().any(is_new)).then_some(())?;
    keys.sort();
    // Two digests of one beginning count as one.
    for name in [&|key: &Key| key["id"].clone(), &|key: &Key| key["digest"][..7 + 16].to_owned()]
        as [&dyn Fn(&Key) -> String; 2]
    {
        let different: BTreeSet<_> = keys.iter().map(name).collect();
        (different.len() == keys.len()).then_some(())?;
    }
    Some(keys)
}

/// An object in which no field is there twice: it has as many as there are colons outside of strings.
fn object(line: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(object)) = serde_json::from_str(line) else { return None };
    let (mut is_string, mut is_escaped, mut colons) = (false, false, 0);
    for char in line.chars() {
        colons += usize::from(char == ':' && !is_string);
        is_string ^= char == '"' && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
    }
    (object.len() == colons).then_some(object)
}

fn key(line: &str) -> Option<Key> {
    let mut object = object(line)?;
    let mut key = Key::new();
    if let Some(scopes) = object.remove("scopes") {
        let scopes = scopes.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
        let is_in_scope = |char: char| matches!(char, '!'..='~') && !matches!(char, '"' | '\\');
        let is_scope = |scope: &&str| !scope.is_empty() && scope.chars().all(is_in_scope);
        scopes.iter().all(is_scope).then_some(())?;
        if !scopes.is_empty() {
            key.insert("scopes", scopes.join(" "));
        }
    }
    for name in TEXTS.into_iter().chain(TIMES) {
        match object.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if TIMES.contains(&name) => {
                drop(key.insert(name, time(&text)?))
            }
            Some(Value::String(text)) => drop(key.insert(name, text)),
            Some(_) => return None,
        }
    }
    object.is_empty().then_some(())?;
    is_good(&mut key).then_some(key)
}

fn is_good(key: &mut Key) -> bool {
    // Since 1970 is since ever.
    if key.get("not_before").is_some_and(|time| *time == "1970-01-01T00:00:00Z") {
        key.remove("not_before");
    }
    let (Some(id), Some(client), Some(digest), Some(created)) =
        (key.get("id"), key.get("client"), key.get("digest"), key.get("created"))
    else {
        return false;
    };
    let hex = digest.strip_prefix("sha256:");
    let is_hex = |hex: &str| hex.len() == 64 && hex.chars().all(|char| char.is_ascii_hexdigit());
    let is_minted =
        client.rsplitn(3, '_').nth(2).is_some_and(|it| minted::read(it, client.as_bytes()).is_ok());
    let lives = |expires: &String| {
        let moment = |text: &String| humantime::parse_rfc3339(text).expect("a time");
        let begins = key.get("not_before").map_or(UNIX_EPOCH, moment);
        moment(expires) >= begins.max(moment(created))
    };
    let is_id = |id: &String| id.len() == 8 && id.chars().all(|char| char.is_ascii_alphanumeric());
    let is_good = is_id(id)
        && key.get("replaced_by").is_none_or(is_id)
        && !client.trim().is_empty()
        && !client.chars().any(char::is_control)
        && !is_minted
        && hex.is_some_and(is_hex)
        && key.get("prefix").is_none_or(|prefix| is_prefix(prefix))
        && key.get("expires").is_none_or(lives);
    let digest = digest.to_lowercase();
    key.insert("digest", digest);
    is_good
}

/// As a record keeps it: nanoseconds since 1970, in 64 bits, the last of which means never.
fn time(text: &str) -> Option<String> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::from_nanos(u64::MAX - 1));
    Some(humantime::format_rfc3339(UNIX_EPOCH + since).to_string())
}
