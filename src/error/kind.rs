/// The kinds of mistakes in a configuration.
///
/// # Examples
///
/// ```
/// use tower_api_key::{KeyLocation, error::ConfigErrorKind};
///
/// let error = KeyLocation::try_header("authorization").unwrap_err();
/// assert_eq!(error.kind(), ConfigErrorKind::ReservedHeader);
/// assert_eq!(error.kind().as_str(), "reserved_header");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The name is not a header name (RFC 9110 §5.1).
    HeaderName,
    /// The header is `authorization` or `cookie`. Both have functions of their own.
    ReservedHeader,
    /// The name of a query parameter is not one or more visible ASCII characters.
    QueryName,
    /// The name is not a cookie name (RFC 6265 §4.1.1).
    CookieName,
    /// The name is not an authentication scheme (RFC 9110 §11.1).
    Scheme,
    /// One location is named twice.
    DuplicateLocation,
    /// The extractor declares no location.
    NoLocation,
    /// No request can have this path, because it is a pattern, for example.
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
    /// The digest is not `sha256:` and 64 hexadecimal digits.
    Digest,
    /// The key is the text of a digest, such as `sha256:…` or a line of `sha256sum`.
    DigestAsKey,
    /// Quotes surround the key, or it is a value of JSON. Only a shell removes quotes.
    QuotedKey,
    /// The key begins with a scheme or the name of a header, such as `Bearer abc`.
    KeyWithScheme,
    /// The key is a placeholder, such as `${KEY}`, `{{ key }}`, `<key>` or `changeme`.
    PlaceholderKey,
    /// The client's id is blank, holds a control character, or is itself a key.
    ClientId,
    /// A new client's id has more than 128 characters.
    ClientIdTooLong,
    /// A new client's id begins or ends with a blank, or holds an invisible character.
    HiddenInId,
    /// A new client's name has more than 256 characters.
    ClientNameTooLong,
    /// A new client's name begins or ends with a blank, or holds an invisible character.
    HiddenInName,
    /// A metadata key of a new client is empty, has more than 64 characters, begins or ends with a blank,
    /// or holds an invisible character.
    MetadataKey,
    /// A metadata value of a new client has more than 256 characters.
    MetadataTooLong,
    /// A new client has more than 16 metadata keys.
    TooMuchMetadata,
    /// One of the client's scopes is not valid (RFC 6749 §3.3), because it has a blank, for example.
    Scope,
    /// The list of required scopes is empty.
    NoScope,
    /// One scope is named twice.
    DuplicateScope,
    /// One header is named twice, or two headers that some servers do not distinguish (`x-id`, `x_id`).
    DuplicateHeader,
    /// The header has another meaning, such as `content-length` or `proxy-authorization`.
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
    /// The prefix of minted keys is not letters and digits, with single underscores between them.
    KeyPrefix,
    /// The key does not have the layout of minted keys.
    KeyLayout,
    /// The key was minted with another prefix.
    ForeignKey,
    /// The checksum of the key is wrong, because the key is mistyped or incomplete.
    Checksum,
    /// The public id of a key is not eight letters and digits.
    KeyId,
    /// Two keys have one public id.
    DuplicateKeyId,
    /// No key in the keyring has this public id.
    UnknownKeyId,
    /// An update changes the id or the digest of a record.
    ImmutableId,
    /// The key is revoked or expired.
    DeadKey,
    /// The key was revoked and cannot be inserted again.
    RevokedKey,
    /// The key would expire before it is valid.
    Lifetime,
    /// The operating system returned no random bytes.
    Randomness,
}

impl ConfigErrorKind {
    /// Returns a name that stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeaderName => "header_name",
            Self::ReservedHeader => "reserved_header",
            Self::QueryName => "query_name",
            Self::CookieName => "cookie_name",
            Self::Scheme => "scheme",
            Self::DuplicateLocation => "duplicate_location",
            Self::NoLocation => "no_location",
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
            Self::MetadataKey => "metadata_key",
            Self::MetadataTooLong => "metadata_too_long",
            Self::TooMuchMetadata => "too_much_metadata",
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
            Self::ImmutableId => "immutable_id",
            Self::DeadKey => "dead_key",
            Self::RevokedKey => "revoked_key",
            Self::Lifetime => "lifetime",
            Self::Randomness => "randomness",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::HeaderName => "not a header name",
            Self::ReservedHeader => {
                "this header has extractors of its own. Use `bearer()` or `scheme(…)` for authorization and `cookie(…)` for cookie"
            }
            Self::QueryName => "a query parameter's name is one or more visible ASCII characters",
            Self::CookieName => "not a cookie name",
            Self::Scheme => "not an authentication scheme",
            Self::DuplicateLocation => "one location is named twice",
            Self::NoLocation => "the extractor declares no location",
            Self::ExemptPath => {
                "an exempt path is one path as callers send it. It begins with `/`, is no pattern, and has no query and no fragment"
            }
            Self::Realm => "the realm holds a control or non-ASCII character",
            Self::BlankKey => "the key is empty or blank",
            Self::KeyTooLong => {
                "the key is longer than 1,024 bytes. Insert its digest, and raise `max_key_len` on the layer"
            }
            Self::KeyEdge => "the key begins or ends with white space",
            Self::KeyByte => "the key holds a byte outside 0x20 to 0x7E",
            Self::DuplicateKey => "the key is in the keyring already",
            Self::Digest => "a digest is `sha256:` and 64 hexadecimal digits",
            Self::DigestAsKey => {
                "this is a digest and no key. Use `insert_digest`, or `client=sha256:…` in a list"
            }
            Self::QuotedKey => "only a shell removes quotes, so write the key without them",
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
            Self::MetadataKey => {
                "a metadata key has 1 to 64 characters, which can be seen, and no blank at its ends"
            }
            Self::MetadataTooLong => "a metadata value has at most 256 characters",
            Self::TooMuchMetadata => "the client has more than 16 metadata keys",
            Self::Scope => "a scope is one or more visible ASCII characters but `\"` and `\\`",
            Self::NoScope => "no scope is named",
            Self::DuplicateScope => "one scope is named twice",
            Self::DuplicateHeader => "one header is named twice",
            Self::TakenHeader => {
                "this header has another meaning. Use `x-api-key` for a key or `x-client-id` for a client"
            }
            Self::EnvironmentUnset => {
                "not set, or not Unicode. Set it to `client=key,client=sha256:…`"
            }
            Self::EmptyList => "the list has no key. It is written `client=key,client=sha256:…`",
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
            Self::Checksum => "the key's checksum is wrong, so the key is mistyped or incomplete",
            Self::KeyId => "a key's id is eight letters and digits",
            Self::DuplicateKeyId => "another key has this id already",
            Self::UnknownKeyId => "no key has this id",
            Self::ImmutableId => "an update cannot change a key's id or digest",
            Self::DeadKey => "the key is revoked or expired, so issue a new one",
            Self::RevokedKey => "the key was revoked and cannot be inserted again",
            Self::Lifetime => "the key would expire before it is valid",
            Self::Randomness => "the operating system returned no random bytes",
        }
    }
}
