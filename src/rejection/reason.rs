/// The kinds of rejection, each with a response of its own.
///
/// # Examples
///
/// ```
/// use tower_api_key::rejection::{Reason, Rejection, RejectionKind};
///
/// let rejection = Rejection::new(Reason::Expired);
/// assert_eq!(rejection.kind(), RejectionKind::InvalidKey);
/// assert_eq!(rejection.status(), 401);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request has no key (401).
    Missing,
    /// The request has more than one key (400).
    Ambiguous,
    /// The key is not valid (401).
    InvalidKey,
    /// Verification failed (503).
    Failed,
    /// The key is valid, but its client lacks a permission (403).
    Forbidden,
    /// The connection is not secure (403). The layer did not read a key.
    Insecure,
    /// The request exceeds a limit (429).
    Limited,
}

/// The detailed reason of a rejection, for operators and not for callers.
///
/// # Examples
///
/// ```
/// use tower_api_key::rejection::{Reason, Rejection};
///
/// let (revoked, unknown) = (Rejection::new(Reason::Revoked), Rejection::new(Reason::Unknown));
/// assert_eq!(revoked.reason().as_str(), "revoked");
/// assert_eq!(revoked.message(), unknown.message());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The request has no key.
    Missing,
    /// The request has no key, and its `Authorization` names no scheme, as in `Authorization: KEY`.
    NoScheme,
    /// The request has no key, and the layer does not read the scheme of its `Authorization`.
    OtherScheme,
    /// One location has more than one value, or two locations have a value.
    Ambiguous,
    /// The key belongs to no client.
    Unknown,
    /// The key belongs to no client. It begins with `Bearer `, but its header has no scheme.
    SchemeInHeader,
    /// The value cannot be a key.
    Malformed,
    /// The key is longer than [`max_key_len`](crate::ApiKeyLayer::max_key_len).
    TooLong,
    /// The key is not valid yet.
    NotYetValid,
    /// The key has expired.
    Expired,
    /// The key was revoked.
    Revoked,
    /// The key is paused, and can be resumed.
    Paused,
    /// Verification failed.
    Failed,
    /// The client lacks a scope that a [`RequireScopeLayer`](crate::RequireScopeLayer) requires.
    InsufficientScope,
    /// The connection does not meet [`require_secure`](crate::ApiKeyLayer::require_secure).
    Insecure,
    /// A guard does not allow this request, for a reason other than a scope.
    Forbidden,
    /// The client called more often than its limit allows.
    Limited,
    /// The request costs more than its limit ever allows, so that no retry can succeed.
    CostAboveLimit,
    /// The peer sent too many rejected keys.
    TooManyFailures,
}

impl RejectionKind {
    /// Returns a name that stays the same between versions, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::InvalidKey => "invalid_key",
            Self::Failed => "failed",
            Self::Forbidden => "forbidden",
            Self::Insecure => "insecure",
            Self::Limited => "limited",
        }
    }
}

impl Reason {
    /// Returns a name that stays the same between versions, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoScheme => "no_scheme",
            Self::OtherScheme => "other_scheme",
            Self::Ambiguous => "ambiguous",
            Self::Unknown => "unknown",
            Self::SchemeInHeader => "scheme_in_header",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::InsufficientScope => "insufficient_scope",
            Self::Insecure => "insecure",
            Self::Forbidden => "forbidden",
            Self::Limited => "limited",
            Self::CostAboveLimit => "cost_above_limit",
            Self::TooManyFailures => "too_many_failures",
        }
    }

    pub(super) fn kind(self) -> RejectionKind {
        match self {
            Self::Missing | Self::NoScheme | Self::OtherScheme => RejectionKind::Missing,
            Self::Ambiguous => RejectionKind::Ambiguous,
            Self::Failed => RejectionKind::Failed,
            Self::InsufficientScope | Self::Forbidden => RejectionKind::Forbidden,
            Self::Insecure => RejectionKind::Insecure,
            Self::Limited | Self::CostAboveLimit | Self::TooManyFailures => RejectionKind::Limited,
            Self::Unknown
            | Self::SchemeInHeader
            | Self::Malformed
            | Self::TooLong
            | Self::NotYetValid
            | Self::Expired
            | Self::Revoked
            | Self::Paused => RejectionKind::InvalidKey,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Missing => "no key in the request",
            Self::NoScheme => "no key in the request, and its authorization has no scheme",
            Self::OtherScheme => "no key in the request, and its authorization has another scheme",
            Self::Ambiguous => "more than one key in the request",
            Self::Unknown => "the key is unknown",
            Self::SchemeInHeader => "the key is unknown, and begins with a scheme",
            Self::Malformed => "the key is malformed",
            Self::TooLong => "the key is too long",
            Self::NotYetValid => "the key is not yet valid",
            Self::Expired => "the key has expired",
            Self::Revoked => "the key was revoked",
            Self::Paused => "the key is paused",
            Self::Failed => "the key could not be verified",
            Self::InsufficientScope => "the client lacks a scope",
            Self::Insecure => "the connection is not secure",
            Self::Forbidden => "a guard forbids the request",
            Self::Limited => "the client exceeds its limit",
            Self::CostAboveLimit => "the request costs more than its limit allows",
            Self::TooManyFailures => "the peer sent too many rejected keys",
        }
    }
}
