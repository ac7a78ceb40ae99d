use std::{
    fmt,
    time::{Duration, Instant},
};

use http::Method;

use crate::{
    client::{Client, Identity},
    place::Place,
    rejection::Rejection,
};

/// One decision about one request. It holds no key, no digest, and no query.
pub struct Decision<'a, C = Client> {
    pub(crate) verdict: Verdict<'a, C>,
    pub(crate) place: Option<&'a Place>,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) started: Instant,
}

pub(crate) enum Verdict<'a, C> {
    Accepted(&'a C),
    Anonymous,
    Exempt,
    Rejected(&'a Rejection),
    Reported(&'a Rejection),
}

/// How it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// A client was let in.
    Accepted,
    /// No key came, and none was needed.
    Anonymous,
    /// The request was not asked for a key: an exempt path, or a CORS preflight.
    Exempt,
    /// The request was turned away.
    Rejected,
    /// The request would have been turned away, and was let by without a client: the layer
    /// [only reports](crate::ApiKeyLayer::dangerous_report_only).
    Reported,
}

impl Outcome {
    /// A name that stays the same between versions, for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Anonymous => "anonymous",
            Self::Exempt => "exempt",
            Self::Rejected => "rejected",
            Self::Reported => "reported",
        }
    }
}

impl<'a, C> Decision<'a, C> {
    /// How it was decided.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.verdict {
            Verdict::Accepted(_) => Outcome::Accepted,
            Verdict::Anonymous => Outcome::Anonymous,
            Verdict::Exempt => Outcome::Exempt,
            Verdict::Rejected(_) => Outcome::Rejected,
            Verdict::Reported(_) => Outcome::Reported,
        }
    }

    /// Who was let in.
    #[must_use]
    pub fn client(&self) -> Option<&'a C> {
        match self.verdict {
            Verdict::Accepted(client) => Some(client),
            _ => None,
        }
    }

    /// The public id of the key, accepted or refused, if one is known.
    #[must_use]
    pub fn key_id(&self) -> Option<&'a str>
    where
        C: Identity,
    {
        match self.verdict {
            Verdict::Accepted(client) => client.key_id(),
            Verdict::Rejected(rejection) | Verdict::Reported(rejection) => rejection.key_id(),
            Verdict::Anonymous | Verdict::Exempt => None,
        }
    }

    /// Why the request was turned away, or would have been; its source is what a verifier failed with.
    #[must_use]
    pub fn rejection(&self) -> Option<&'a Rejection> {
        match self.verdict {
            Verdict::Rejected(rejection) | Verdict::Reported(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Where the key stood, if there was one and the extractor told.
    #[must_use]
    pub fn place(&self) -> Option<&'a Place> {
        self.place
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's path, as the caller wrote it: escape it before it goes into a log of lines.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// How long the decision took, with the verifier's own waiting.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl<C> fmt::Debug for Decision<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("outcome", &self.outcome())
            .field("rejection", &self.rejection())
            .field("place", &self.place)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
