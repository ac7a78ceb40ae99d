use std::str::FromStr;

use zeroize::Zeroizing;

use super::Keyring;
use crate::{
    client::Client,
    error::{
        KeyringError,
        KeyringErrorKind::{
            self, EmptyList, EnvironmentUnset, ListAssignment, ListComment, ListEntry, ListFormat,
            ListSeparator, PlaceholderKey, QuotedKey,
        },
    },
    key::{self, KeyDigest},
};

/// Reads a list of `client=key` or `client=sha256:…`: see [Key lists](Keyring#key-lists).
impl FromStr for Keyring {
    type Err = KeyringError;

    fn from_str(list: &str) -> Result<Self, KeyringError> {
        Self::from_list(list, None)
    }
}

impl Keyring {
    /// Reads a list of keys from an environment variable.
    ///
    /// ```no_run
    /// use tower_api_key::Keyring;
    ///
    /// // API_KEYS="mobile-app=sk_live_…,ci=sha256:9f86d0…"
    /// let keys = Keyring::from_env("API_KEYS")?;
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Key lists
    ///
    /// This method and [`str::parse`] read a list of keys in clear or by their digests:
    ///
    /// ```text
    /// # The launch.
    /// mobile-app=sk_live_…,mobile-app=sk_live_…
    /// ci=sha256:9f86d0…
    /// ```
    ///
    /// - A comma or a line break ends an entry. Blank entries are ignored.
    /// - A line that begins with `#` is a comment. All of the line is.
    /// - The client's id ends at the first `=`. The key may hold more of them.
    /// - A client may have several entries.
    /// - If a key holds a comma or begins with `sha256:`, list it by its digest.
    /// - A key may hold a blank or a semicolon. If `client=key` seems to follow it, list the key by its digest.
    /// - A list is rejected if it is JSON, YAML, in quotes, or begins with `export` or the variable's name.
    ///
    /// The error names the entry by its number. With the feature `tracing`, the log says how many keys and
    /// clients a list had.
    ///
    /// # What is no key
    ///
    /// Every method rejects a text that is certainly a mistake, because it would be accepted as a key:
    ///
    /// | text | [kind of error](crate::error::KeyringErrorKind) |
    /// |---|---|
    /// | `sha256:…`, a line of `sha256sum`, `sha256-…`, `SHA2-256(stdin)= …` | `DigestAsKey` |
    /// | `"abc"`, `'abc'`, `` `abc` ``, `{"key":"abc"}` | `QuotedKey` |
    /// | `Bearer abc`, `Basic …`, `ApiKey …`, `Token …`, `X-Api-Key: abc` | `KeyWithScheme` |
    /// | `${KEY}`, `$KEY`, `$(cat key)`, `%KEY%`, `{{ .key }}`, `<key>`, `[key]`, `__KEY__` | `PlaceholderKey` |
    /// | `=`, `****`, `xxxx`, `changeme`, `null`, `undefined` | `PlaceholderKey` |
    /// | `op://vault/key`, `/run/secrets/key`, `arn:aws:…` | `PlaceholderKey` |
    ///
    /// Random keys stay legal in hexadecimal, base64 and base64url, and so do 64 bare hexadecimal digits,
    /// because `openssl rand -hex 32` makes such keys. If a key that you issued is rejected, insert it by
    /// its digest.
    ///
    /// # Errors
    ///
    /// Returns an error if the variable is not set, is not Unicode, or lists no key. It also returns an
    /// error for the first entry that is not valid, with the entry's number. If there is an error, end
    /// the program.
    pub fn from_env(variable: &str) -> Result<Self, KeyringError> {
        std::env::var(variable)
            .map_err(|_| EnvironmentUnset.into())
            .and_then(|list| Self::from_list(&Zeroizing::new(list), Some(variable)))
            .map_err(|error| error.in_variable(variable))
    }

    /// Reads a list, which may come from an environment variable.
    pub(super) fn from_list(list: &str, variable: Option<&str>) -> Result<Self, KeyringError> {
        let keys = Self::new();
        for (number, entry) in (1..).zip(entries(list)) {
            insert(&keys, entry, variable).map_err(|error| error.in_entry(number))?;
        }
        if keys.is_empty() {
            return Err(KeyringError::new(EmptyList));
        }
        #[cfg(feature = "tracing")]
        keys.log_loaded(variable);
        Ok(keys)
    }

    #[cfg(feature = "tracing")]
    fn log_loaded(&self, variable: Option<&str>) {
        let clients = self.clients().collect::<Vec<_>>();
        let ids: std::collections::BTreeSet<_> = clients.iter().map(Client::id).collect();
        let (keys, clients) = (self.len(), ids.len());
        tracing::info!(target: super::TARGET, variable, keys, clients, "keys loaded");
    }
}

/// Returns the entries that are not blank, without the comments.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    // Some systems write a byte order mark before the text.
    let list = list.strip_prefix('\u{feff}').unwrap_or(list);
    let lines = list.split('\n').filter(|line| !line.trim_start().starts_with('#'));
    let entries = lines.flat_map(|line| line.split(','));
    entries
        .map(|entry| entry.trim_end_matches('\r').trim_start())
        .filter(|entry| !entry.trim().is_empty())
}

fn insert(keys: &Keyring, entry: &str, variable: Option<&str>) -> Result<(), KeyringError> {
    if let Some(mistake) = mistake(entry, variable) {
        return Err(mistake.into());
    }
    let Some((id, key)) = entry.split_once('=') else {
        return Err(ListEntry.into());
    };
    let client = Client::new(id.trim_end());
    if KeyDigest::is_meant_by(key.as_bytes()) {
        keys.insert_digest(KeyDigest::parse(key)?, client)
    } else {
        keys.insert(key, client)
    }
}

/// Returns the kind of mistake if an entry is certainly not `client=key`.
fn mistake(entry: &str, variable: Option<&str>) -> Option<KeyringErrorKind> {
    const QUOTES: [char; 4] = ['"', '\'', '`', '\\'];

    let (id, key) = match entry.split_once('=') {
        Some((id, key)) => (id.trim_end(), Some(key)),
        None => (entry, None),
    };
    let is_template = || {
        id.starts_with('<') || ["${", "$(", "{{", "<%", "{%"].into_iter().any(|it| id.contains(it))
    };
    let is_assignment = || {
        let (word, name) = id.split_once(' ').unwrap_or(("", id));
        variable == Some(name)
            || name.starts_with("$env:")
            || (key.is_some() && ["export", "set", "SET", "ENV", "-e"].contains(&word))
    };
    if id.starts_with('#') {
        Some(ListComment)
    } else if is_template() {
        Some(PlaceholderKey)
    } else if id.starts_with(['{', '[']) || id.starts_with("- ") || id.contains(": ") {
        Some(ListFormat)
    } else if id.starts_with(QUOTES) {
        Some(QuotedKey)
    } else if is_assignment() {
        Some(ListAssignment)
    } else if let Some(key) = key {
        mistake_in_key(id, key)
    } else {
        key::mistake(entry.as_bytes())
    }
}

fn mistake_in_key(id: &str, key: &str) -> Option<KeyringErrorKind> {
    let is_padding = !key.is_empty() && key.bytes().all(|byte| byte == b'=');
    if is_padding || KeyDigest::is_meant_by(id.as_bytes()) {
        Some(ListEntry)
    } else if key.contains(" #") {
        Some(ListComment)
    } else if holds_an_entry(key) {
        Some(ListSeparator)
    } else {
        None
    }
}

/// Returns whether a separator, a client and its key follow a key, as in `k1;b=k2` or `k1 b=k2`.
fn holds_an_entry(key: &str) -> bool {
    // A random key of all visible characters may hold a semicolon, and then it holds others as well.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=: \t;|&".contains(&byte);
    let separators: &[char] =
        if key.bytes().all(is_token) { &[' ', '\t', ';', '|', '&'] } else { &[' ', '\t'] };
    let rest = key.match_indices(separators).filter_map(|(at, it)| key.get(at + it.len()..));
    rest.filter_map(|rest| rest.split_once('=')).any(|(id, key)| {
        let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        id.starts_with(|char: char| char.is_ascii_alphabetic())
            && id.bytes().all(is_of_an_id)
            && !key.trim_matches('=').is_empty()
    })
}
