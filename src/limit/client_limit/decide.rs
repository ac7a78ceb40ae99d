use std::{ops::Deref, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};

use super::{
    ClientLimitLayer,
    future::After,
    refund::{OwnedSubject, Plan, Refund},
    settings::Settings,
    warnings::FIX,
};
use crate::{
    client::Identity,
    extract::RequestHead,
    layer::{Anonymous, Exempt},
    limit::{Limits, Subject, Taken, Taking},
    respond::server_error,
};

/// The next step of a request.
pub(super) enum Step<P> {
    /// The request passes, and its response needs no work. Most requests do so, and this variant is one word.
    Pass,
    /// The request passes.
    PassWith(After<P>),
    Reject(Box<Response<Bytes>>),
    /// The request waits for the store.
    Wait(Pin<Box<dyn Future<Output = Taken> + Send>>, Box<Refund<P>>),
}

// The functions take the request, because a `RequestHead` would be copied at each call.
impl<F, C> ClientLimitLayer<F, C> {
    #[inline]
    pub(super) fn decide<P, B>(&self, request: &Request<B>) -> Step<P>
    where
        F: Fn(&C) -> P,
        P: Deref<Target = Limits>,
        C: Identity + Clone + Send + Sync + 'static,
    {
        match request.extensions().get::<C>() {
            Some(client) => {
                let (plan, subject) = ((self.plan)(client), self.settings.subject_of(client));
                self.settings.take(Plan::OfClient(plan), subject, request)
            }
            None => self.settings.decide_without::<C, P, B>(request),
        }
    }
}

impl Settings {
    #[inline(never)]
    fn decide_without<C, P, B>(self: &Arc<Self>, request: &Request<B>) -> Step<P>
    where
        P: Deref<Target = Limits>,
        C: Clone + Send + Sync + 'static,
    {
        let is_anonymous = Anonymous::of::<C>(request.extensions()).is_some();
        if !is_anonymous && Exempt::of::<C>(request.extensions()).is_none() {
            // No `ApiKeyLayer` saw the request.
            return Step::Reject(Box::new(server_error(RequestHead::of(request), FIX)));
        }
        let Some(anonymous) = self.anonymous.as_ref().filter(|_| is_anonymous) else {
            return Step::Pass;
        };
        let Some(peer) = (anonymous.peer)(RequestHead::of(request)) else {
            self.warnings.no_peer();
            return Step::Pass;
        };
        let plan = Plan::Anonymous(Arc::clone(&anonymous.limits));
        self.take(plan, Subject::Peer(&peer.to_string()), request)
    }

    // A call would write the subject to memory, and read it before the write has ended.
    #[inline(always)]
    fn take<P, B>(
        self: &Arc<Self>,
        plan: Plan<P>,
        subject: Subject<'_>,
        request: &Request<B>,
    ) -> Step<P>
    where
        P: Deref<Target = Limits>,
    {
        let cost = self.cost.as_ref().map_or(1, |cost| cost(RequestHead::of(request)));
        match self.limiter.take(&self.ask(subject, plan.limits(), cost)) {
            Taking::Ready(taken) if self.is_done_after(&taken) => Step::Pass,
            taking => self.conclude_take(plan, subject, cost, taking, request),
        }
    }

    /// Concludes the take of a request that waits, that is rejected, or whose response needs work.
    #[inline(never)]
    fn conclude_take<P, B>(
        self: &Arc<Self>,
        plan: Plan<P>,
        subject: Subject<'_>,
        cost: u32,
        taking: Taking,
        request: &Request<B>,
    ) -> Step<P>
    where
        P: Deref<Target = Limits>,
    {
        match taking {
            Taking::Ready(taken) => {
                match self.conclude(plan.limits(), cost, &taken, RequestHead::of(request)) {
                    Ok(fields) if self.refunds(&taken) => {
                        let taken = Some((taken, self.limiter.recent()));
                        let refund = self.refund(plan, subject, cost);
                        let refund = Box::new(Refund { taken, fields, ..refund });
                        Step::PassWith(After::Refund(refund))
                    }
                    Ok(fields) => Step::PassWith(fields.map_or(After::Nothing, After::Fields)),
                    Err(response) => Step::Reject(response),
                }
            }
            Taking::Pending(taking) => {
                Step::Wait(taking, Box::new(self.refund(plan, subject, cost)))
            }
        }
    }

    fn refund<P>(self: &Arc<Self>, plan: Plan<P>, subject: Subject<'_>, cost: u32) -> Refund<P> {
        let (settings, subject) = (Arc::clone(self), OwnedSubject::of(subject));
        Refund { settings, plan, subject, cost, taken: None, fields: None }
    }
}
