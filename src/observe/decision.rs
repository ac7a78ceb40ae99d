use std::{
    fmt,
    time::{Duration, Instant},
};

use http::Method;

use crate::{
    client::{Client, Identity},
    location::KeyLocation,
    rejection::{Rejection, RejectionKind},
};

/// The decision of a layer or of a guard about one request.
///
/// It holds no key, no digest and no query.
///
/// # Example: test an observer
///
/// ```
/// use http::Method;
/// use tower_api_key::observe::{Decision, Observe, Outcome};
/// use tower_api_key::{Client, Rejection, rejection::Reason};
///
/// fn line(decision: &Decision<'_>) -> String {
///     let client = decision.client().map_or("-", Client::id);
///     format!("{} {client} {} {}", decision.outcome().as_str(), decision.method(), decision.path())
/// }
///
/// let client = Client::new("ci");
/// let accepted = Decision::accepted(&client).with_method(&Method::POST).with_path("/jobs");
/// assert_eq!(line(&accepted), "accepted ci POST /jobs");
///
/// let rejection = Rejection::new(Reason::Revoked);
/// assert_eq!(line(&Decision::rejected(&rejection)), "rejected - GET /");
///
/// let limited = Rejection::new(Reason::Limited);
/// assert_eq!(Decision::by_guard(&limited, Some(&client)).outcome(), Outcome::Limited);
/// ```
pub struct Decision<'a, C = Client> {
    pub(crate) verdict: Verdict<'a, C>,
    pub(crate) location: Option<&'a KeyLocation>,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) elapsed: Elapsed,
}

pub(crate) enum Verdict<'a, C> {
    Accepted(&'a C),
    Anonymous,
    Exempt,
    Rejected(&'a Rejection),
    Reported(&'a Rejection),
    ByGuard(&'a Rejection, Option<&'a C>),
}

#[derive(Clone, Copy)]
pub(crate) enum Elapsed {
    Since(Instant),
    Took(Duration),
}

/// Without a start, no observer asks for the time.
impl From<Option<Instant>> for Elapsed {
    fn from(started: Option<Instant>) -> Self {
        started.map_or(Self::Took(Duration::ZERO), Self::Since)
    }
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The layer accepted the request of a client.
    Accepted,
    /// The layer passed on a request without a key, because the layer is
    /// [`optional`](crate::ApiKeyLayer::optional).
    Anonymous,
    /// The request needed no key, because it was exempt or a CORS preflight.
    Exempt,
    /// The layer, or a guard, rejected the request.
    Rejected,
    /// The layer passed on a request that it would reject, because it
    /// [only reports](crate::ApiKeyLayer::dangerous_report_only).
    Reported,
    /// A guard rejected the request, because the client may not do this.
    Forbidden,
    /// A guard rejected the request, because it exceeds a limit.
    Limited,
}

impl Outcome {
    /// Returns a name for logs and metrics, which stays the same between versions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Anonymous => "anonymous",
            Self::Exempt => "exempt",
            Self::Rejected => "rejected",
            Self::Reported => "reported",
            Self::Forbidden => "forbidden",
            Self::Limited => "limited",
        }
    }
}

/// Constructors, for the test of an observer and for a guard outside of the layer.
///
/// A guard outside calls [`Observe::on_guard`](super::Observe::on_guard) itself, with a decision of
/// [`by_guard`](Self::by_guard), because no layer sees its response. The guard does not call `on_decision`,
/// because the layer did not decide.
///
/// Without a setter the request is `GET /`, has no location, and took no time.
impl<'a, C> Decision<'a, C> {
    /// Creates the decision of a layer that accepted a client.
    #[must_use]
    pub fn accepted(client: &'a C) -> Self {
        Self::new(Verdict::Accepted(client))
    }

    /// Creates the decision of an optional layer about a request without a key.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(Verdict::Anonymous)
    }

    /// Creates the decision about a request that needs no key.
    #[must_use]
    pub fn exempt() -> Self {
        Self::new(Verdict::Exempt)
    }

    /// Creates the decision of a layer that rejected a request.
    #[must_use]
    pub fn rejected(rejection: &'a Rejection) -> Self {
        Self::new(Verdict::Rejected(rejection))
    }

    /// Creates the decision of a layer that only reports a rejection.
    #[must_use]
    pub fn reported(rejection: &'a Rejection) -> Self {
        Self::new(Verdict::Reported(rejection))
    }

    /// Creates the decision of a guard that rejected a request, for [`Observe::on_guard`](super::Observe::on_guard).
    #[must_use]
    pub fn by_guard(rejection: &'a Rejection, client: Option<&'a C>) -> Self {
        Self::new(Verdict::ByGuard(rejection, client))
    }

    fn new(verdict: Verdict<'a, C>) -> Self {
        static GET: Method = Method::GET;

        let elapsed = Elapsed::Took(Duration::ZERO);
        Self { verdict, location: None, method: &GET, path: "/", elapsed }
    }

    /// Sets the location of the key.
    #[must_use]
    pub fn with_location(self, location: &'a KeyLocation) -> Self {
        Self { location: Some(location), ..self }
    }

    /// Sets the method of the request.
    #[must_use]
    pub fn with_method(self, method: &'a Method) -> Self {
        Self { method, ..self }
    }

    /// Sets the path of the request.
    #[must_use]
    pub fn with_path(self, path: &'a str) -> Self {
        Self { path, ..self }
    }

    /// Sets the time that the decision took.
    #[must_use]
    pub fn with_elapsed(self, elapsed: Duration) -> Self {
        Self { elapsed: Elapsed::Took(elapsed), ..self }
    }
}

impl<'a, C> Decision<'a, C> {
    /// Returns the outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.verdict {
            Verdict::Accepted(_) => Outcome::Accepted,
            Verdict::Anonymous => Outcome::Anonymous,
            Verdict::Exempt => Outcome::Exempt,
            Verdict::Rejected(_) => Outcome::Rejected,
            Verdict::Reported(_) => Outcome::Reported,
            Verdict::ByGuard(rejection, _) => match rejection.kind() {
                RejectionKind::Forbidden => Outcome::Forbidden,
                RejectionKind::Limited => Outcome::Limited,
                _ => Outcome::Rejected,
            },
        }
    }

    /// Returns the client that was accepted, or whose request a guard rejected.
    #[must_use]
    pub fn client(&self) -> Option<&'a C> {
        match self.verdict {
            Verdict::Accepted(client) => Some(client),
            Verdict::ByGuard(_, client) => client,
            _ => None,
        }
    }

    /// Returns the public id of the accepted or rejected key, if it is known.
    #[must_use]
    pub fn key_id(&self) -> Option<&'a str>
    where
        C: Identity,
    {
        let of_client = self.client().and_then(C::key_id);
        of_client.or_else(|| self.rejection().and_then(Rejection::key_id))
    }

    /// Returns the rejection, whose source is the error of a verifier that failed.
    #[must_use]
    pub fn rejection(&self) -> Option<&'a Rejection> {
        match self.verdict {
            Verdict::Rejected(rejection)
            | Verdict::Reported(rejection)
            | Verdict::ByGuard(rejection, _) => Some(rejection),
            _ => None,
        }
    }

    /// Returns the location of the key, if there was a key and the extractor named its location.
    ///
    /// The decision of a guard has no location, because a guard reads no key.
    #[must_use]
    pub fn location(&self) -> Option<&'a KeyLocation> {
        self.location
    }

    /// Returns the method of the request.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the path of the request, as the caller wrote it.
    ///
    /// Escape the path before you write it into a log of lines. A guard behind an axum `nest` sees the path
    /// without the prefix.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Returns the time that the decision took, including the wait for the verifier.
    ///
    /// The decision of a guard has no time, and this returns zero.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match self.elapsed {
            Elapsed::Since(started) => started.elapsed(),
            Elapsed::Took(elapsed) => elapsed,
        }
    }
}

impl<C> fmt::Debug for Decision<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.outcome())
            .field("rejection", &self.rejection())
            .field("location", &self.location)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
