//! What can be wrong with a configuration, told before the first request.

use std::{error::Error, fmt};

/// A name, key, digest, realm or list that cannot be used.
///
/// It says what is wrong and where (the entry of a list, the byte of a key), and never repeats the
/// value: a key does not get into a log by being mistyped.
///
/// ```
/// use tower_api_key::{Client, Keyring, error::ConfigErrorKind};
///
/// let pasted = Keyring::new().insert("12345abcde\n", Client::new("ci")).unwrap_err();
/// assert_eq!(pasted.kind(), ConfigErrorKind::KeyEdge);
/// assert_eq!(pasted.to_string(), "the key begins or ends with white space (at byte 11)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    variable: Option<String>,
    entry: Option<usize>,
    at: Option<usize>,
}

/// What is wrong, for code that wants to tell one [`ConfigError`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// Not a header name (RFC 9110 §5.1).
    HeaderName,
    /// `authorization` or `cookie` as a plain header: both have extractors of their own.
    ReservedHeader,
    /// Not a name of a query parameter: visible ASCII, at least one byte.
    QueryName,
    /// Not a cookie name (RFC 6265 §4.1.1).
    CookieName,
    /// Not an authentication scheme (RFC 9110 §11.1).
    Scheme,
    /// One place is named twice.
    DuplicatePlace,
    /// The extractor declares no place.
    NoPlace,
    /// Not one literal path that a request can have: a pattern, for example.
    ExemptPath,
    /// The realm holds a control or non-ASCII character.
    Realm,
    /// The key is empty or blank.
    BlankKey,
    /// The key is longer than [`DEFAULT_MAX_LEN`](crate::key::DEFAULT_MAX_LEN) bytes.
    KeyTooLong,
    /// The key begins or ends with a space, tab or line break, as pasted keys do.
    KeyEdge,
    /// The key holds a byte outside 0x20 to 0x7E.
    KeyByte,
    /// The key, or a key with this digest, is in the keyring already.
    DuplicateKey,
    /// Not `sha256:` and 64 hexadecimal digits.
    Digest,
    /// The key is the text of a digest, such as `sha256:…` or a line of `sha256sum`. A digest must not
    /// open anything by itself.
    DigestAsKey,
    /// Quotes surround the key, or it is a value of JSON. Only a shell takes quotes away.
    QuotedKey,
    /// The key begins with a scheme or the name of a header, such as `Bearer abc`.
    KeyWithScheme,
    /// A placeholder stands where a key should, such as `${KEY}`, `{{ key }}`, `<key>` or `changeme`.
    PlaceholderKey,
    /// The client's id is blank, holds a control character, or is itself a key.
    ClientId,
    /// A new client's id has more than 128 characters.
    ClientIdTooLong,
    /// A new client's id begins or ends with a blank, or holds a character that cannot be seen.
    HiddenInId,
    /// A new client's name has more than 256 characters.
    ClientNameTooLong,
    /// A new client's name begins or ends with a blank, or holds a character that cannot be seen.
    HiddenInName,
    /// One of the client's scopes is not a valid scope (RFC 6749 §3.3): it is empty, or has a blank in
    /// it, for example.
    Scope,
    /// No scope is named where one is wanted.
    NoScope,
    /// One scope is named twice.
    DuplicateScope,
    /// One header is named twice, or two that some servers take for one (`x-id`, `x_id`).
    DuplicateHeader,
    /// A header that has a meaning of its own, such as `content-length` or `proxy-authorization`, and can
    /// neither hold a key nor name the client.
    TakenHeader,
    /// The environment variable is not set, or is not Unicode.
    EnvironmentUnset,
    /// The list of keys is empty.
    EmptyList,
    /// An entry of the list is not `client=key`.
    ListEntry,
    /// The list is written in JSON, YAML or another format.
    ListFormat,
    /// A blank, a semicolon or the like stands between two entries of the list.
    ListSeparator,
    /// The list begins with the name of its variable, or with `export`.
    ListAssignment,
    /// A comment follows an entry of the list in the same line.
    ListComment,
    /// Not a prefix of minted keys: letters and digits, with single underscores between them.
    KeyPrefix,
    /// The key is not laid out as minted keys are.
    KeyLayout,
    /// The key was minted with another prefix.
    ForeignKey,
    /// The key's checksum is wrong: a typo, or a part of a key.
    Checksum,
    /// Not the public id of a key, which is eight letters and digits.
    KeyId,
    /// Two keys have one public id.
    DuplicateKeyId,
    /// No key in the keyring has this public id.
    UnknownKeyId,
    /// The key is revoked, or its time is over.
    DeadKey,
    /// The key was revoked, and is not to come back.
    RevokedKey,
    /// The key would end before it begins.
    Lifetime,
    /// The operating system gave no random bytes.
    Randomness,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind) -> Self {
        Self { kind, variable: None, entry: None, at: None }
    }

    pub(crate) fn at(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(crate) fn in_entry(self, entry: usize) -> Self {
        Self { entry: Some(entry), ..self }
    }

    pub(crate) fn in_variable(self, name: &str) -> Self {
        Self { variable: Some(name.to_owned()), ..self }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// The entry of a list that is wrong, counted from 1.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    /// Returns the index of the first wrong byte of the key, or of the wrong scope.
    ///
    /// It counts from 0, as slices do. The text of the error counts from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.at
    }
}

impl ConfigErrorKind {
    /// A name that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeaderName => "header_name",
            Self::ReservedHeader => "reserved_header",
            Self::QueryName => "query_name",
            Self::CookieName => "cookie_name",
            Self::Scheme => "scheme",
            Self::DuplicatePlace => "duplicate_place",
            Self::NoPlace => "no_place",
            Self::ExemptPath => "exempt_path",
            Self::Realm => "realm",
            Self::BlankKey => "blank_key",
            Self::KeyTooLong => "key_too_long",
            Self::KeyEdge => "key_edge",
            Self::KeyByte => "key_byte",
            Self::DuplicateKey => "duplicate_key",
            Self::Digest => "digest",
            Self::DigestAsKey => "digest_as_key",
            Self::QuotedKey => "quoted_key",
            Self::KeyWithScheme => "key_with_scheme",
            Self::PlaceholderKey => "placeholder_key",
            Self::ClientId => "client_id",
            Self::ClientIdTooLong => "client_id_too_long",
            Self::HiddenInId => "hidden_in_id",
            Self::ClientNameTooLong => "client_name_too_long",
            Self::HiddenInName => "hidden_in_name",
            Self::Scope => "scope",
            Self::NoScope => "no_scope",
            Self::DuplicateScope => "duplicate_scope",
            Self::DuplicateHeader => "duplicate_header",
            Self::TakenHeader => "taken_header",
            Self::EnvironmentUnset => "environment_unset",
            Self::EmptyList => "empty_list",
            Self::ListEntry => "list_entry",
            Self::ListFormat => "list_format",
            Self::ListSeparator => "list_separator",
            Self::ListAssignment => "list_assignment",
            Self::ListComment => "list_comment",
            Self::KeyPrefix => "key_prefix",
            Self::KeyLayout => "key_layout",
            Self::ForeignKey => "foreign_key",
            Self::Checksum => "checksum",
            Self::KeyId => "key_id",
            Self::DuplicateKeyId => "duplicate_key_id",
            Self::UnknownKeyId => "unknown_key_id",
            Self::DeadKey => "dead_key",
            Self::RevokedKey => "revoked_key",
            Self::Lifetime => "lifetime",
            Self::Randomness => "randomness",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::HeaderName => "not a header name",
            Self::ReservedHeader => {
                "this header has places of its own: use `bearer()` or `scheme(…)` for authorization, `cookie(…)` for cookie"
            }
            Self::QueryName => "a query parameter's name is one or more visible ASCII characters",
            Self::CookieName => "not a cookie name",
            Self::Scheme => "not an authentication scheme",
            Self::DuplicatePlace => "one place is named twice",
            Self::NoPlace => "the extractor declares no place",
            Self::ExemptPath => {
                "an exempt path is one path as callers send it: it begins with `/`, is no pattern, and has neither query nor fragment"
            }
            Self::Realm => "the realm holds a control or non-ASCII character",
            Self::BlankKey => "the key is empty or blank",
            Self::KeyTooLong => {
                "the key is longer than 1,024 bytes: insert its digest, and raise `max_key_len` on the layer"
            }
            Self::KeyEdge => "the key begins or ends with white space",
            Self::KeyByte => "the key holds a byte outside 0x20 to 0x7E",
            Self::DuplicateKey => "the key is in the keyring already",
            Self::Digest => "a digest is `sha256:` and 64 hexadecimal digits",
            Self::DigestAsKey => {
                "this is a digest and no key: use `insert_digest`, or `client=sha256:…` in a list"
            }
            Self::QuotedKey => "only a shell takes quotes away, so write the text without them",
            Self::KeyWithScheme => {
                "the key begins with a scheme or a header's name, so write the key alone"
            }
            Self::PlaceholderKey => {
                "this is a placeholder and no key, so put the key itself in its place"
            }
            Self::ClientId => {
                "the client's id is blank, holds a control character, or is itself a key"
            }
            Self::ClientIdTooLong => "the client's id has more than 128 characters",
            Self::HiddenInId => {
                "the client's id begins or ends with a blank, or holds a character that cannot be seen"
            }
            Self::ClientNameTooLong => "the client's name has more than 256 characters",
            Self::HiddenInName => {
                "the client's name begins or ends with a blank, or holds a character that cannot be seen"
            }
            Self::Scope => "a scope is one or more visible ASCII characters but `\"` and `\\`",
            Self::NoScope => "no scope is named: nobody could tell what is wanted",
            Self::DuplicateScope => "one scope is named twice",
            Self::DuplicateHeader => "one header is named twice",
            Self::TakenHeader => {
                "this header has a meaning of its own: choose another, such as `x-api-key` for a key, `x-client-id` for a client"
            }
            Self::EnvironmentUnset => {
                "not set, or not Unicode: set it to `client=key,client=sha256:…`"
            }
            Self::EmptyList => "there is no key in the list, which is `client=key,client=sha256:…`",
            Self::ListEntry => "an entry is `client=key` or `client=sha256:…`",
            Self::ListFormat => {
                "this is JSON, YAML or another format, so write it as `client=key,client=key`"
            }
            Self::ListSeparator => {
                "only a comma or a line break separates entries, so list a key like this one by its digest"
            }
            Self::ListAssignment => {
                "the list begins with its variable, so write the value without the name and `export`"
            }
            Self::ListComment => "a comment is a line of its own that begins with `#`",
            Self::KeyPrefix => {
                "a prefix is letters and digits, with single `_` between them, at most 32 in all"
            }
            Self::KeyLayout => "the key is not of the form prefix_id_secret",
            Self::ForeignKey => "the key has another prefix",
            Self::Checksum => {
                "the key's checksum is wrong: it is mistyped, or not all of it is there"
            }
            Self::KeyId => "a key's id is eight letters and digits",
            Self::DuplicateKeyId => "another key has this id already",
            Self::UnknownKeyId => "no key has this id",
            Self::DeadKey => "the key is revoked or its time is over: issue a new one",
            Self::RevokedKey => "the key was revoked, and is not to come back",
            Self::Lifetime => "the key would end before it begins",
            Self::Randomness => "the operating system gave no random bytes",
        }
    }
}

/// For code that refuses a change of its own, in `KeyFile::update` for example.
impl From<ConfigErrorKind> for ConfigError {
    fn from(kind: ConfigErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(self.kind.text())?;
        match (self.kind, self.at) {
            (_, None) => Ok(()),
            (ConfigErrorKind::Scope | ConfigErrorKind::DuplicateScope, Some(at)) => {
                write!(f, " (scope {})", at.saturating_add(1))
            }
            (_, Some(at)) => write!(f, " (at byte {})", at.saturating_add(1)),
        }
    }
}

/// The same text, since that is what a `main` that returns the error prints.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ConfigError {}

/// Turns a mistake in a literal into a panic at the caller's line, at start-up.
#[track_caller]
#[allow(clippy::panic, reason = "for literals alone; names from configuration have `try_` twins")]
pub(crate) fn literal<T>(result: Result<T, ConfigError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
