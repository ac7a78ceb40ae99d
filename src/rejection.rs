//! Rejections: why a request was turned away.

use std::{error::Error, fmt, sync::Arc};

use http::StatusCode;

use crate::{key::KeyId, place::Place};

/// Why a request was turned away.
///
/// A [`Respond`](crate::respond::Respond) makes a response of it. The layer puts it into that
/// response's extensions, where layers outside find it: to count refusals by reason, or to help a
/// support team tell a missing key from a revoked one. The caller is told no more than the
/// [`message`](Self::message). A layer that
/// [only reports](crate::ApiKeyLayer::dangerous_report_only) puts it into the request's extensions instead.
///
/// ```
/// use tower_api_key::Rejection;
///
/// fn label<B>(response: &http::Response<B>) -> &'static str {
///     response.extensions().get::<Rejection>().map_or("accepted", |it| it.reason().as_str())
/// }
/// # assert_eq!(label(&http::Response::new(())), "accepted");
/// ```
///
/// As an error it names the reason, and its source is what the verifier failed with.
#[derive(Clone)]
pub struct Rejection {
    reason: Reason,
    place: Option<Place>,
    key_id: Option<KeyId>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of rejection, each with an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// There was no key: 401.
    Missing,
    /// There was more than one: 400.
    Ambiguous,
    /// The key opens nothing: 401.
    Refused,
    /// Nobody could say whose key it is: 503.
    Failed,
    /// The key is good, and its client may not do this: 403.
    Forbidden,
    /// It did not come over a secure connection: 403, whatever key it has.
    Insecure,
}

/// The reason behind a rejection: for operators, not for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was no key.
    Missing,
    /// There was no key, but an `Authorization` that names no scheme, such as `Authorization: KEY`.
    NoScheme,
    /// There was no key, but an `Authorization` with a scheme that the layer does not read, such as
    /// `Basic`.
    OtherScheme,
    /// A place held more than one value, or two places held one each.
    Ambiguous,
    /// The key is nobody's.
    Unknown,
    /// The key is nobody's, and begins with `Bearer ` in a header that takes a key alone.
    SchemeInHeader,
    /// What stood in the key's place can be no key.
    Malformed,
    /// The key is longer than the layer reads.
    TooLong,
    /// The key does not work yet.
    NotYetValid,
    /// The key no longer works.
    Expired,
    /// The key was revoked.
    Revoked,
    /// The verifier failed.
    Failed,
    /// The client lacks a scope that a [`RequireScopeLayer`](crate::RequireScopeLayer) wants.
    InsufficientScope,
    /// It did not come as [`require_secure`](crate::ApiKeyLayer::require_secure) wants.
    Insecure,
}

impl Rejection {
    /// A rejection without place and cause, to test a responder with.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self { reason, place: None, key_id: None, cause: None }
    }

    pub(crate) fn at(self, place: Option<&Place>) -> Self {
        Self { place: place.cloned(), ..self }
    }

    /// Says of an unknown key that it begins with a scheme.
    pub(crate) fn with_scheme_in_header(self) -> Self {
        let is_unknown = self.reason == Reason::Unknown;
        Self { reason: if is_unknown { Reason::SchemeInHeader } else { self.reason }, ..self }
    }

    pub(crate) fn of_key(self, key_id: Option<KeyId>) -> Self {
        Self { key_id, ..self }
    }

    pub(crate) fn because(self, cause: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.map(Arc::from), ..self }
    }

    /// What kind of rejection it is.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        match self.reason {
            Reason::Missing | Reason::NoScheme | Reason::OtherScheme => RejectionKind::Missing,
            Reason::Ambiguous => RejectionKind::Ambiguous,
            Reason::Failed => RejectionKind::Failed,
            Reason::InsufficientScope => RejectionKind::Forbidden,
            Reason::Insecure => RejectionKind::Insecure,
            Reason::Unknown
            | Reason::SchemeInHeader
            | Reason::Malformed
            | Reason::TooLong
            | Reason::NotYetValid
            | Reason::Expired
            | Reason::Revoked => RejectionKind::Refused,
        }
    }

    /// Why, in detail. Not for the caller, who could learn from it which keys there are.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Where the refused key stood.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The public id of the refused key, where a [`Keyring`](crate::Keyring) knows it: it was revoked,
    /// for example. Not for the caller either.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_ref().map(KeyId::as_str)
    }

    /// The status of the response: 401, 400, 503 or 403.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            RejectionKind::Missing | RejectionKind::Refused => StatusCode::UNAUTHORIZED,
            RejectionKind::Ambiguous => StatusCode::BAD_REQUEST,
            RejectionKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
            RejectionKind::Forbidden | RejectionKind::Insecure => StatusCode::FORBIDDEN,
        }
    }

    /// What the caller is told.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.kind() {
            RejectionKind::Missing | RejectionKind::Refused => "Unauthorized access",
            RejectionKind::Ambiguous => "More than one API key in the request",
            RejectionKind::Failed => "Service unavailable",
            RejectionKind::Forbidden => "Forbidden",
            RejectionKind::Insecure => "HTTPS required",
        }
    }
}

impl RejectionKind {
    /// A name that stays the same between versions, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ambiguous => "ambiguous",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Forbidden => "forbidden",
            Self::Insecure => "insecure",
        }
    }
}

impl Reason {
    /// A name that stays the same between versions, for metrics.
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
            Self::Failed => "failed",
            Self::InsufficientScope => "insufficient_scope",
            Self::Insecure => "insecure",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Missing => "no key in the request",
            Self::NoScheme => "no key in the request: its authorization has no scheme",
            Self::OtherScheme => "no key in the request: its authorization has another scheme",
            Self::Ambiguous => "more than one key in the request",
            Self::Unknown => "the key is unknown",
            Self::SchemeInHeader => "the key is unknown: a scheme stands before it",
            Self::Malformed => "the key is malformed",
            Self::TooLong => "the key is too long",
            Self::NotYetValid => "the key is not yet valid",
            Self::Expired => "the key has expired",
            Self::Revoked => "the key was revoked",
            Self::Failed => "the key could not be verified",
            Self::InsufficientScope => "the client lacks a scope",
            Self::Insecure => "the connection is not secure",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Without the cause, which is not ours to print: it is the error's source.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("reason", &self.reason)
            .field("place", &self.place)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
