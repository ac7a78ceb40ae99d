use std::str::FromStr;

use super::Keyring;
use crate::{
    client::Client,
    error::{ConfigError, ConfigErrorKind},
    key::KeyDigest,
};

/// Reads a list of `client=key` or `client=sha256:…`, by comma or line, as
/// [`from_env`](Keyring::from_env) does. Empty entries are passed over.
impl FromStr for Keyring {
    type Err = ConfigError;

    fn from_str(list: &str) -> Result<Self, ConfigError> {
        let keys = Self::new();
        let entries =
            list.split([',', '\n']).map(|entry| entry.trim_end_matches('\r').trim_start());
        for (number, entry) in (1..).zip(entries.filter(|entry| !entry.trim().is_empty())) {
            insert(&keys, entry).map_err(|error| error.in_entry(number))?;
        }
        if keys.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyList));
        }
        Ok(keys)
    }
}

fn insert(keys: &Keyring, entry: &str) -> Result<(), ConfigError> {
    let Some((id, key)) = entry.split_once('=') else {
        return Err(ConfigError::new(ConfigErrorKind::ListEntry));
    };
    let client = Client::new(id.trim_end());
    if KeyDigest::is_meant_by(key.as_bytes()) {
        keys.insert_digest(KeyDigest::parse(key)?, client)
    } else {
        keys.insert(key, client)
    }
}
