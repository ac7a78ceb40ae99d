//! The reasons why a layer or a guard rejected a request.

mod reason;

use std::{error::Error, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use http::StatusCode;

pub use self::reason::{Reason, RejectionKind};
use crate::{key::KeyId, location::KeyLocation};

/// The reason why a request was rejected.
///
/// A [`Respond`](crate::respond::Respond) writes the rejection as a response. The layer puts the
/// rejection into the extensions of the response, for outer layers. Use it to count rejections by reason,
/// or to help a caller with a revoked key. The caller sees only the [`message`](Self::message). If the
/// layer [only reports](crate::ApiKeyLayer::dangerous_report_only), the rejection is in the extensions of
/// the request.
///
/// As an error it names the reason, and its source is the cause of a failed verification.
///
/// # Example: label responses with the reason
///
/// ```
/// use tower_api_key::Rejection;
///
/// fn label<B>(response: &http::Response<B>) -> &'static str {
///     response.extensions().get::<Rejection>().map_or("accepted", |it| it.reason().as_str())
/// }
/// # assert_eq!(label(&http::Response::new(())), "accepted");
/// ```
#[derive(Clone)]
pub struct Rejection {
    reason: Reason,
    location: Option<KeyLocation>,
    /// `KeyId::NONE` without one, because an `Option` is copied in different steps for each case.
    key_id: KeyId,
    /// In seconds.
    retry_after: Option<NonZeroU32>,
    /// On the heap, because a rejection should be small.
    detail: Option<Arc<Detail>>,
}

/// The rare parts of a verifier's error, and of a guard's rejection.
#[derive(Clone, Default)]
pub(crate) struct Detail {
    pub(crate) guard: Option<&'static str>,
    /// The public id of a key, as a verifier of the user's own names it.
    pub(crate) key_id: Option<Box<str>>,
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
    pub(crate) violated_limits: Box<[Box<str>]>,
}

impl Rejection {
    /// Creates a rejection without location and cause, for a guard or for the test of a responder.
    ///
    /// A [`VerifyError`](crate::verify::VerifyError) converts into a rejection with the id of a key or with a cause.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_api_key::{Rejection, rejection::Reason, verify::VerifyError};
    ///
    /// let limited = Rejection::new(Reason::Limited).with_retry_after(Duration::from_millis(1500));
    /// assert_eq!((limited.status().as_u16(), limited.retry_after()), (429, Some(Duration::from_secs(2))));
    ///
    /// let failed = Rejection::from(VerifyError::failed("the store of limits is down"));
    /// assert_eq!(failed.status(), 503);
    /// ```
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self { reason, location: None, key_id: KeyId::NONE, retry_after: None, detail: None }
    }

    /// Sets the time after which the caller can try again, in whole seconds, rounded up, and at least one.
    ///
    /// The response has it as `Retry-After`, and a gRPC response as `grpc-retry-pushback-ms`. If no retry can
    /// succeed, a gRPC response has -1, so that stubs do not retry.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = u32::try_from(whole_seconds(wait)).unwrap_or(u32::MAX);
        Self { retry_after: NonZeroU32::new(seconds), ..self }
    }

    /// Sets the names of the limits that the request exceeds.
    ///
    /// Put the limit with the longest wait first. [`Problem`](crate::respond::Problem) shows the names to the
    /// caller. A log line names them, and a metric has the first as a label. So take the names from your
    /// configuration and never from a request.
    ///
    /// ```
    /// use tower_api_key::{Rejection, rejection::Reason};
    ///
    /// let limited = Rejection::new(Reason::Limited).with_violated_limits(["hour", "burst"]);
    /// assert!(limited.violated_limits().eq(["hour", "burst"]));
    /// ```
    #[must_use]
    pub fn with_violated_limits<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Box<str>>,
    {
        let names = names.into_iter().map(Into::into).collect();
        Arc::make_mut(self.detail.get_or_insert_default()).violated_limits = names;
        self
    }

    pub(crate) fn at(self, location: Option<&KeyLocation>) -> Self {
        Self { location: location.cloned(), ..self }
    }

    /// Refines the reason of an unknown key with a scheme before it.
    pub(crate) fn with_scheme_in_header(self) -> Self {
        let is_unknown = self.reason == Reason::Unknown;
        Self { reason: if is_unknown { Reason::SchemeInHeader } else { self.reason }, ..self }
    }

    /// Sets the name of the guard that rejects the request, for operators.
    ///
    /// Use it to distinguish the guards of an app, because many guards have the same reason. A log line and a
    /// metric of the rejection have the name. The caller does not see it.
    ///
    /// ```
    /// use tower_api_key::{Rejection, rejection::Reason};
    ///
    /// let rejection = Rejection::new(Reason::Forbidden).with_guard("region");
    /// assert_eq!(rejection.guard(), Some("region"));
    /// ```
    #[must_use]
    pub fn with_guard(mut self, name: &'static str) -> Self {
        Arc::make_mut(self.detail.get_or_insert_default()).guard = Some(name);
        self
    }

    pub(crate) fn with_key_id(self, key_id: KeyId) -> Self {
        Self { key_id, ..self }
    }

    pub(crate) fn with_detail(self, detail: Option<Box<Detail>>) -> Self {
        Self { detail: detail.map(Arc::from), ..self }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.reason.kind()
    }

    /// Returns the reason. Do not show it to callers, because it reveals existing keys.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the name of the guard that rejected the request, if the guard set its name.
    #[must_use]
    pub fn guard(&self) -> Option<&'static str> {
        self.detail.as_ref()?.guard
    }

    /// Returns the location of the rejected key.
    #[must_use]
    pub fn location(&self) -> Option<&KeyLocation> {
        self.location.as_ref()
    }

    /// Returns the public id of the rejected key.
    ///
    /// A [`Keyring`](crate::Keyring) knows it if it has a record of the key, of a revoked key for
    /// example. Do not show the id to callers.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        let own = self.detail.as_ref().and_then(|detail| detail.key_id.as_deref());
        own.or(Some(self.key_id.as_str()).filter(|id| !id.is_empty()))
    }

    /// Returns the names of the limits that the request exceeds.
    pub fn violated_limits(&self) -> impl Iterator<Item = &str> {
        let detail = self.detail.as_deref();
        detail.into_iter().flat_map(|detail| &detail.violated_limits).map(AsRef::as_ref)
    }

    /// Returns the time after which the caller can try again.
    ///
    /// If nothing was set, it is one second for a request that exceeds a limit. For a request that costs
    /// more than its limit allows there is none.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let can_pass_later = matches!(self.reason, Reason::Limited | Reason::TooManyFailures);
        let seconds = self.retry_after.or(can_pass_later.then_some(NonZeroU32::MIN));
        seconds.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Returns the status of the response (400, 401, 403, 429 or 503).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            RejectionKind::Missing | RejectionKind::InvalidKey => StatusCode::UNAUTHORIZED,
            RejectionKind::Ambiguous => StatusCode::BAD_REQUEST,
            RejectionKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
            RejectionKind::Forbidden | RejectionKind::Insecure => StatusCode::FORBIDDEN,
            RejectionKind::Limited => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the message for the caller.
    ///
    /// It is the same for all reasons of a kind. If a guard needs a text of its own, it can write the response
    /// with a [`RejectionWriter`](crate::respond::RejectionWriter) and a responder of its own.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.kind() {
            RejectionKind::Missing | RejectionKind::InvalidKey => "Unauthorized access",
            RejectionKind::Ambiguous => "More than one API key in the request",
            RejectionKind::Failed => "Service unavailable",
            RejectionKind::Forbidden => "Forbidden",
            RejectionKind::Insecure => "HTTPS required",
            RejectionKind::Limited => "Too many requests",
        }
    }
}

/// Rounds up, to at least one second. HTTP knows whole seconds only, and zero would invite callers to
/// try again at once.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.detail.as_ref()?.cause.as_deref().map(|cause| cause as _)
    }
}

/// Leaves the cause out, because it can hold a secret. It is the source of the error.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("reason", &self.reason)
            .field("location", &self.location)
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}
