//! Errors of keys that are loaded, and of changes to records.

use std::fmt;

use super::{
    SCOPE, errors, kinds,
    parse::{self, ParseDigestError, ParseFormatError, ParseKeyError, ParseKeyErrorKind},
};

kinds! {
    /// The kinds of [`KeyringError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::{Keyring, error::KeyringErrorKind};
    ///
    /// let error = Keyring::from_env("NO_SUCH_VARIABLE").unwrap_err();
    /// assert_eq!(error.kind(), KeyringErrorKind::EnvironmentUnset);
    /// assert_eq!(error.kind().as_str(), "environment_unset");
    /// ```
    pub enum KeyringErrorKind of KeyringError {
        /// The key is empty or blank.
        BlankKey = "blank_key", "the key is empty or blank";
        /// The key is longer than [`DEFAULT_MAX_LEN`](crate::key::DEFAULT_MAX_LEN) bytes.
        KeyTooLong = "key_too_long",
            "the key is longer than 1,024 bytes. Insert its digest, and raise `max_key_len` on the layer";
        /// The key begins or ends with a space, tab or line break, as pasted keys do.
        KeyEdge = "key_edge", "the key begins or ends with white space";
        /// The key holds a byte outside 0x20 to 0x7E.
        KeyByte = "key_byte", "the key holds a byte outside 0x20 to 0x7E";
        /// The key, or a key with this digest, is in the keyring already.
        DuplicateKey = "duplicate_key", "the key is in the keyring already";
        /// The digest is not `sha256:` and 64 hexadecimal digits.
        Digest = "digest", parse::DIGEST;
        /// The key is the text of a digest, such as `sha256:…` or a line of `sha256sum`.
        DigestAsKey = "digest_as_key",
            "this is a digest and no key. Use `insert_digest`, or `client=sha256:…` in a list";
        /// Quotes surround the key, or it is a value of JSON. Only a shell removes quotes.
        QuotedKey = "quoted_key", "only a shell removes quotes, so write the key without them";
        /// The key begins with a scheme or the name of a header, such as `Bearer abc`.
        KeyWithScheme = "key_with_scheme",
            "the key begins with a scheme or a header's name, so write the key alone";
        /// The key is a placeholder, such as `${KEY}`, `{{ key }}`, `<key>` or `changeme`.
        PlaceholderKey = "placeholder_key",
            "this is a placeholder and no key, so put the key itself in its place";
        /// The client's id is blank, holds a control character, or is itself a key.
        ClientId = "client_id",
            "the client's id is blank, holds a control character, or is itself a key";
        /// A new client's id has more than 128 characters.
        ClientIdTooLong = "client_id_too_long", "the client's id has more than 128 characters";
        /// A new client's id begins or ends with a blank, or holds an invisible character.
        HiddenInId = "hidden_in_id",
            "the client's id begins or ends with a blank, or holds a character that cannot be seen";
        /// A new client's name has more than 256 characters.
        ClientNameTooLong = "client_name_too_long",
            "the client's name has more than 256 characters";
        /// A new client's name begins or ends with a blank, or holds an invisible character.
        HiddenInName = "hidden_in_name",
            "the client's name begins or ends with a blank, or holds a character that cannot be seen";
        /// A metadata key of a new client is empty, has more than 64 characters, begins or ends with a blank,
        /// or holds an invisible character.
        MetadataKey = "metadata_key",
            "a metadata key has 1 to 64 characters, which can be seen, and no blank at its ends";
        /// A metadata value of a new client has more than 256 characters.
        MetadataTooLong = "metadata_too_long", "a metadata value has at most 256 characters";
        /// A new client has more than 16 metadata keys.
        TooMuchMetadata = "too_much_metadata", "the client has more than 16 metadata keys";
        /// One of the client's scopes is not valid (RFC 6749 §3.3), because it has a blank, for example.
        Scope = "scope", SCOPE;
        /// The environment variable is not set, or is not Unicode.
        EnvironmentUnset = "environment_unset",
            "not set, or not Unicode. Set it to `client=key,client=sha256:…`";
        /// The list of keys is empty.
        EmptyList = "empty_list", "the list has no key. It is written `client=key,client=sha256:…`";
        /// An entry of the list is not `client=key`.
        ListEntry = "list_entry", "an entry is `client=key` or `client=sha256:…`";
        /// The list is written in JSON, YAML or another format.
        ListFormat = "list_format",
            "this is JSON, YAML or another format, so write it as `client=key,client=key`";
        /// A blank, a semicolon or the like stands between two entries of the list.
        ListSeparator = "list_separator",
            "only a comma or a line break separates entries, so list a key like this one by its digest";
        /// The list begins with the name of its variable, or with `export`.
        ListAssignment = "list_assignment",
            "the list begins with its variable, so write the value without the name and `export`";
        /// A comment follows an entry of the list in the same line.
        ListComment = "list_comment", "a comment is a line of its own that begins with `#`";
        /// The prefix of minted keys is not letters and digits, with single underscores between them.
        KeyPrefix = "key_prefix", parse::PREFIX;
        /// The key does not have the layout of minted keys.
        KeyLayout = "key_layout", ParseKeyErrorKind::KeyLayout.text();
        /// The key was minted with another prefix.
        ForeignKey = "foreign_key", ParseKeyErrorKind::ForeignKey.text();
        /// The checksum of the key is wrong, because the key is mistyped or incomplete.
        Checksum = "checksum", ParseKeyErrorKind::Checksum.text();
        /// The public id of a key is not eight letters and digits.
        KeyId = "key_id", "a key's id is eight letters and digits";
        /// Two keys have one public id.
        DuplicateKeyId = "duplicate_key_id", "another key has this id already";
        /// No key in the keyring has this public id.
        UnknownKeyId = "unknown_key_id", "no key has this id";
        /// An update changes the id or the digest of a record.
        ImmutableId = "immutable_id", "an update cannot change a key's id or digest";
        /// The key is revoked or expired.
        DeadKey = "dead_key", "the key is revoked or expired, so issue a new one";
        /// The key was revoked and cannot be inserted again.
        RevokedKey = "revoked_key", "the key was revoked and cannot be inserted again";
        /// The key would expire before it is valid.
        Lifetime = "lifetime", "the key would expire before it is valid";
        /// The operating system returned no random bytes.
        Randomness = "randomness", "the operating system returned no random bytes";
    }
}

/// A key that cannot be loaded, or a change to a record that is not valid.
///
/// The error names the mistake and its position, such as the entry of a list or the byte of a key. It
/// never repeats the value, because a mistyped key must not get into a log.
///
/// # Examples
///
/// ```
/// use tower_api_key::{Client, Keyring, error::KeyringErrorKind};
///
/// let pasted = Keyring::new().insert("12345abcde\n", Client::new("ci")).unwrap_err();
/// assert_eq!(pasted.kind(), KeyringErrorKind::KeyEdge);
/// assert_eq!(pasted.to_string(), "the key begins or ends with white space (at byte 11)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyringError {
    kind: KeyringErrorKind,
    variable: Option<String>,
    entry: Option<usize>,
    at: Option<usize>,
}

impl KeyringError {
    pub(crate) fn new(kind: KeyringErrorKind) -> Self {
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

    /// Returns the kind of mistake.
    #[must_use]
    pub fn kind(&self) -> KeyringErrorKind {
        self.kind
    }

    /// Returns the number of the wrong entry of a list, counted from 1.
    #[must_use]
    pub fn entry(&self) -> Option<usize> {
        self.entry
    }

    /// Returns the index of the first wrong byte of a text, or of the wrong scope or metadata key.
    ///
    /// It counts from 0, as slices do. The text of the error counts from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.at
    }
}

impl From<ParseDigestError> for KeyringError {
    fn from(_: ParseDigestError) -> Self {
        Self::new(KeyringErrorKind::Digest)
    }
}

impl From<ParseFormatError> for KeyringError {
    fn from(_: ParseFormatError) -> Self {
        Self::new(KeyringErrorKind::KeyPrefix)
    }
}

impl From<ParseKeyError> for KeyringError {
    fn from(error: ParseKeyError) -> Self {
        Self::new(match error.kind() {
            ParseKeyErrorKind::KeyLayout => KeyringErrorKind::KeyLayout,
            ParseKeyErrorKind::ForeignKey => KeyringErrorKind::ForeignKey,
            ParseKeyErrorKind::Checksum => KeyringErrorKind::Checksum,
        })
    }
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(self.kind.text())?;
        let unit = match self.kind {
            KeyringErrorKind::Scope => "scope",
            KeyringErrorKind::MetadataKey | KeyringErrorKind::MetadataTooLong => "metadata",
            _ => "at byte",
        };
        match self.at {
            Some(at) => write!(f, " ({unit} {})", at.saturating_add(1)),
            None => Ok(()),
        }
    }
}

errors!(KeyringError);
