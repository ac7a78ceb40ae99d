//! Errors of layers and names. They occur before the first request.

use std::fmt;

use super::{SCOPE, errors, kinds};

kinds! {
    /// The kinds of [`ConfigError`].
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
    pub enum ConfigErrorKind of ConfigError {
        /// The name is not a header name (RFC 9110 §5.1).
        HeaderName = "header_name", "not a header name";
        /// The header is `authorization` or `cookie`. Both have functions of their own.
        ReservedHeader = "reserved_header",
            "this header has extractors of its own. Use `bearer()` or `scheme(…)` for authorization and `cookie(…)` for cookie";
        /// The name of a query parameter is not one or more visible ASCII characters.
        QueryName = "query_name",
            "a query parameter's name is one or more visible ASCII characters";
        /// The name is not a cookie name (RFC 6265 §4.1.1).
        CookieName = "cookie_name", "not a cookie name";
        /// The name is not an authentication scheme (RFC 9110 §11.1).
        Scheme = "scheme", "not an authentication scheme";
        /// One location is named twice.
        DuplicateLocation = "duplicate_location", "one location is named twice";
        /// The extractor declares no location.
        NoLocation = "no_location", "the extractor declares no location";
        /// No request can have this path, because it is a pattern, for example.
        ExemptPath = "exempt_path",
            "an exempt path is one path as callers send it. It begins with `/`, is no pattern, and has no query and no fragment";
        /// The realm holds a control or non-ASCII character.
        Realm = "realm", "the realm holds a control or non-ASCII character";
        /// One of the client's scopes is not valid (RFC 6749 §3.3), because it has a blank, for example.
        Scope = "scope", SCOPE;
        /// The list of required scopes is empty.
        NoScope = "no_scope", "no scope is named";
        /// One scope is named twice.
        DuplicateScope = "duplicate_scope", "one scope is named twice";
        /// One header is named twice, or two headers that some servers do not distinguish (`x-id`, `x_id`).
        DuplicateHeader = "duplicate_header", "one header is named twice";
        /// The header has another meaning, such as `content-length` or `proxy-authorization`.
        TakenHeader = "taken_header",
            "this header has another meaning. Use `x-api-key` for a key or `x-client-id` for a client";
        /// The name of a limit is not 1 to 64 visible ASCII characters without `"` and `\`.
        LimitName = "limit_name",
            "the name of a limit is 1 to 64 visible ASCII characters without `\"` and `\\`";
        /// The quota of a limit is zero.
        LimitQuota = "limit_quota", "the quota of a limit is at least 1";
        /// The burst of a limit is zero.
        LimitBurst = "limit_burst", "the burst of a limit is at least 1";
        /// The burst of a limit takes more than 366 days to refill.
        LimitRefill = "limit_refill", "the burst of a limit refills within 366 days";
        /// The limit is for each day or month, and such a limit has no burst.
        CalendarBurst = "calendar_burst", "a limit for each day or month has no burst";
        /// The list of limits is empty.
        NoLimit = "no_limit", "no limit is named";
        /// Two limits of one list have the same name.
        DuplicateLimit = "duplicate_limit", "two limits have one name";
        /// The list has more than six limits.
        TooManyLimits = "too_many_limits", "a list has at most 6 limits";
        /// The number of trusted proxies is zero.
        TrustedHops = "trusted_hops", "at least one trusted proxy writes the header";
    }
}

/// An invalid name, location, path, realm, limit or required scope of a layer.
///
/// The error names the mistake and its position, and never repeats the value.
///
/// # Examples
///
/// ```
/// use tower_api_key::{RequireScopeLayer, error::ConfigErrorKind};
///
/// let error = RequireScopeLayer::try_all(["jobs:read", "two words"]).unwrap_err();
/// assert_eq!((error.kind(), error.position()), (ConfigErrorKind::Scope, Some(1)));
/// assert!(error.to_string().ends_with("(scope 2)"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    at: Option<usize>,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind) -> Self {
        Self { kind, at: None }
    }

    pub(crate) fn at(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Returns the kind of mistake.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the index of the wrong scope, or of the first wrong byte of a path or realm.
    ///
    /// It counts from 0, as slices do. The text of the error counts from 1.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.at
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        let unit = match self.kind {
            ConfigErrorKind::Scope | ConfigErrorKind::DuplicateScope => "scope",
            ConfigErrorKind::DuplicateLimit | ConfigErrorKind::TooManyLimits => "limit",
            _ => "at byte",
        };
        match self.at {
            Some(at) => write!(f, " ({unit} {})", at.saturating_add(1)),
            None => Ok(()),
        }
    }
}

errors!(ConfigError);

/// Panics at the caller's line if a literal is not valid.
#[track_caller]
#[allow(
    clippy::panic,
    reason = "only for literals, because names from configuration have `try_` twins"
)]
pub(crate) fn expect_valid<T>(result: Result<T, ConfigError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
