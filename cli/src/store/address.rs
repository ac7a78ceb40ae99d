//! The addresses of stores.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{engine::Engine, key_file::KeyFileEngine, sqlite::SqliteEngine};
use crate::Failure;

const FORMS: &str = "expected a key file such as keys.jsonl, or a database such as sqlite:keys.db or postgres://user@host/keys";

/// Finds the engine of an address, such as `sqlite:keys.db` or the path of a key file.
///
/// An error names the option and never the address, because the URL of a database can hold a password.
pub(crate) fn find_engine(
    option: &str,
    address: &OsStr,
    password_file: Option<&Path>,
) -> Result<Box<dyn Engine>, Failure> {
    let fail = |why: &str| Err(Failure::usage(format!("{option} {why}")));
    let text = address.to_string_lossy();
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return match Path::new(address).extension().and_then(OsStr::to_str) {
            _ if address.is_empty() => fail(&format!("is empty: {FORMS}")),
            Some("db" | "sqlite" | "sqlite3") => fail(
                "lacks the scheme of a database: write sqlite:keys.db. If it is a key file, use `--file`",
            ),
            _ => Ok(key_file(address)),
        };
    };
    if rest.trim_start_matches('/').is_empty() {
        return fail(&format!("names no database: {FORMS}"));
    }
    let Some(url) = address.to_str() else {
        return fail("is not UTF-8, which the address of a database must be");
    };
    match &*scheme.to_ascii_lowercase() {
        "sqlite" => Ok(Box::new(SqliteEngine::new(rest))),
        "postgres" | "postgresql" => postgres(url, password_file).or_else(|why| fail(&why)),
        _ => fail(&format!(
            "has an unknown scheme: {FORMS}. If a key file has a colon in its name, write ./ before it"
        )),
    }
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, password_file: Option<&Path>) -> Result<Box<dyn Engine>, String> {
    let engine = super::postgres::PostgresEngine::new(url, password_file);
    engine.map(|it| Box::new(it) as _).map_err(|error| format!("is not usable: {error}"))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: Option<&Path>) -> Result<Box<dyn Engine>, String> {
    Err("needs PostgreSQL, and this command was built without it: install it again with \
        `--features postgres`"
        .to_owned())
}

/// Returns the engine of a key file, whatever its name.
pub(crate) fn key_file(path: &OsStr) -> Box<dyn Engine> {
    Box::new(KeyFileEngine { path: PathBuf::from(path) })
}

/// Returns whether a text is the scheme of a URL. One letter is the drive of a path.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}
