use std::{ops::Deref, sync::Arc};

use http::StatusCode;

use super::{
    headers::Fields,
    settings::{AnonymousLimits, Settings},
};
use crate::limit::{Ask, Limits, Subject, Taken};

/// The limits of one request.
pub(super) enum Plan<P> {
    /// Those that the closure returned for the client.
    OfClient(P),
    /// Those of requests without a client.
    Anonymous(AnonymousLimits),
}

impl<P: Deref<Target = Limits>> Plan<P> {
    pub(super) fn limits(&self) -> &Limits {
        match self {
            Self::OfClient(limits) => limits,
            Self::Anonymous(limits) => limits,
        }
    }
}

/// A counted party that outlives its request.
pub(super) enum OwnedSubject {
    Client(Box<str>),
    Key(Box<str>),
    Peer(Box<str>),
}

impl OwnedSubject {
    pub(super) fn of(subject: Subject<'_>) -> Self {
        match subject {
            Subject::Client(id) => Self::Client(id.into()),
            Subject::Key(id) => Self::Key(id.into()),
            Subject::Peer(id) => Self::Peer(id.into()),
        }
    }

    fn borrow(&self) -> Subject<'_> {
        match self {
            Self::Client(id) => Subject::Client(id),
            Self::Key(id) => Subject::Key(id),
            Self::Peer(id) => Subject::Peer(id),
        }
    }
}

/// A cost that was taken, and may be given back after the response.
pub(super) struct Refund<P> {
    pub(super) settings: Arc<Settings>,
    pub(super) plan: Plan<P>,
    pub(super) subject: OwnedSubject,
    pub(super) cost: u32,
    /// The result of the take and the limiter's time. A pending take has none yet.
    pub(super) taken: Option<(Taken, u64)>,
    /// The fields of the response.
    pub(super) fields: Option<Fields>,
}

impl<P: Deref<Target = Limits>> Refund<P> {
    /// Gives the cost back if the closure says so for this status.
    pub(super) fn after(&self, status: StatusCode) {
        if self.settings.refund_if.as_ref().is_some_and(|refund_if| refund_if(status)) {
            let limiter = &self.settings.limiter;
            let ask = Ask::new(self.subject.borrow(), self.plan.limits()).with_cost(self.cost);
            limiter.refund(&match &self.taken {
                // If the clock stepped back, no time has passed.
                Some((taken, since)) => {
                    ask.with_taken_units(taken, limiter.recent().saturating_sub(*since))
                }
                None => ask,
            });
        }
    }
}
