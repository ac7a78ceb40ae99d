use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{RateLimitHeaders, headers::Fields, warnings::Warnings};
use crate::{
    client::Identity,
    extract::RequestHead,
    limit::{Ask, Limiter, Limits, Outcome, Peer, Subject, Taken},
    rejection::{Reason, Rejection},
    respond::{self, RejectionWriter},
    verify::VerifyError,
};

/// The settings of a layer, but for the closure that returns a client's limits.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) limiter: Limiter,
    pub(super) per_key: bool,
    pub(super) fail_open: bool,
    pub(super) headers: Option<RateLimitHeaders>,
    pub(super) cost: Option<Arc<CostOf>>,
    pub(super) refund_if: Option<Arc<RefundIf>>,
    pub(super) anonymous: Option<Anonymous>,
    /// If there is none, the `ApiKeyLayer` outside has the style.
    pub(super) writer: Option<RejectionWriter>,
    pub(super) warnings: Arc<Warnings>,
}

pub(super) type CostOf = dyn Fn(RequestHead<'_>) -> u32 + Send + Sync;
pub(super) type RefundIf = dyn Fn(StatusCode) -> bool + Send + Sync;
pub(super) type AnonymousLimits = Arc<dyn Deref<Target = Limits> + Send + Sync>;
pub(super) type PeerOf = dyn Fn(RequestHead<'_>) -> Option<Peer> + Send + Sync;

/// The limits of requests without a client.
#[derive(Clone)]
pub(super) struct Anonymous {
    pub(super) limits: AnonymousLimits,
    pub(super) peer: Arc<PeerOf>,
}

impl Settings {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self {
            limiter,
            per_key: false,
            fail_open: false,
            headers: None,
            cost: None,
            refund_if: None,
            anonymous: None,
            writer: None,
            warnings: Arc::default(),
        }
    }

    /// Returns whether a request passes, and its response needs no work.
    #[inline]
    pub(super) fn is_done_after(&self, taken: &Taken) -> bool {
        taken.is_passed() && !self.writes_fields() && self.refund_if.is_none()
    }

    /// Returns whether the responses of the service get fields.
    #[inline]
    fn writes_fields(&self) -> bool {
        self.headers == Some(RateLimitHeaders::Always)
    }

    /// Returns the counted party of a client. A key without a public id counts for its client.
    pub(super) fn subject_of<'a>(&self, client: &'a impl Identity) -> Subject<'a> {
        // A client reads its key id, which takes longer than all else here.
        match self.per_key.then(|| client.key_id()).flatten() {
            Some(key_id) => Subject::Key(key_id),
            None => Subject::Client(client.id()),
        }
    }

    #[inline]
    pub(super) fn ask<'a>(&self, subject: Subject<'a>, limits: &'a Limits, cost: u32) -> Ask<'a> {
        let ask = Ask::new(subject, limits).with_cost(cost);
        // A refund needs the state after the take.
        let wants_state = self.headers.is_some() || self.refund_if.is_some();
        if wants_state { ask.with_state() } else { ask }
    }

    /// Returns the fields for the response of the service, or the response to a rejected request.
    pub(super) fn conclude(
        &self,
        limits: &Limits,
        cost: u32,
        taken: &Taken,
        head: RequestHead<'_>,
    ) -> Result<Option<Fields>, Box<Response<Bytes>>> {
        let (reason, limit, wait) = match taken.outcome() {
            Outcome::Passed => {
                return Ok(self.writes_fields().then(|| Fields::of(limits, taken)).flatten());
            }
            Outcome::Limited { limit, wait } => (Reason::Limited, limit, Some(wait)),
            Outcome::Never { limit } => (Reason::CostAboveLimit, limit, None),
            Outcome::Failed if self.fail_open => {
                self.warnings.fails_open();
                return Ok(None);
            }
            Outcome::Failed => {
                let failed = VerifyError::failed("the store of limits did not answer");
                return Err(Box::new(self.reject(head, failed.into())));
            }
        };
        let rejection = limited(reason, limits, limit, wait, cost, taken);
        let mut response = Box::new(self.reject(head, rejection));
        if let Some(fields) = self.headers.and_then(|_| Fields::of(limits, taken)) {
            fields.write(response.headers_mut());
        }
        Err(response)
    }

    /// Returns whether a cost was taken that may be given back.
    pub(super) fn refunds(&self, taken: &Taken) -> bool {
        self.refund_if.is_some() && taken.is_passed()
    }

    pub(super) fn reject(&self, head: RequestHead<'_>, rejection: Rejection) -> Response<Bytes> {
        match &self.writer {
            Some(writer) => writer.write(head, rejection),
            None => respond::reject(head, rejection),
        }
    }
}

/// Names the limit with the longest wait first, and then the others if their state is known.
#[cold]
fn limited(
    reason: Reason,
    limits: &Limits,
    worst: usize,
    wait: Option<Duration>,
    cost: u32,
    taken: &Taken,
) -> Rejection {
    let worst = limits.as_slice().get(worst).map(|limit| limit.name());
    let others = taken.states(limits).filter(|state| state.remaining < cost);
    let others = others.map(|state| state.name).filter(|name| Some(*name) != worst);
    let rejection = Rejection::new(reason).with_violated_limits(worst.into_iter().chain(others));
    match wait {
        Some(wait) => rejection.with_retry_after(wait),
        None => rejection,
    }
}
