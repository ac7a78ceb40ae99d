use std::{
    fmt, mem,
    ops::Deref,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::{
    ClientLimitLayer,
    future::{After, InnerFuture, PendingRequest, ResponseFuture},
    refund::{OwnedSubject, Plan, Refund},
    settings::{AnonymousLimits, Settings},
};
use crate::{
    body::ResponseBody,
    client::{Client, Identity},
    extract::RequestHead,
    layer::{Anonymous, Exempt},
    limit::{Limits, Peer, Subject, Taking},
    macros::accessors,
    respond::server_error,
};

/// Passes only requests within the limits of their client on to the inner service.
///
/// Created by [`ClientLimitLayer`].
pub struct ClientLimitService<S, F, C = Client> {
    inner: S,
    layer: ClientLimitLayer<F, C>,
}

impl<S, B, B2, F, P, C> Service<Request<B>> for ClientLimitService<S, F, C>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    F: Fn(&C) -> P,
    P: Deref<Target = Limits>,
    C: Identity + Clone + Send + Sync + 'static,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<InnerFuture<S::Future, P>, PendingRequest<S, B, P>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { inner, layer } = self;
        let settings = &layer.settings;
        let head = RequestHead::of(&request);
        let peer: String;
        let (plan, subject) = match head.extensions().get::<C>() {
            Some(client) => (Plan::OfClient((layer.plan)(client)), settings.subject_of(client)),
            None => match without_client::<C>(settings, head) {
                WithoutClient::Limited(limits, found) => {
                    peer = found.to_string();
                    (Plan::Anonymous(limits), Subject::Peer(&peer))
                }
                WithoutClient::Unlimited => {
                    return ResponseFuture::inner(inner.call(request), After::default());
                }
                WithoutClient::Misplaced => {
                    *inner = inner.clone();
                    return ResponseFuture::rejected(misplaced(head));
                }
            },
        };
        let limits = plan.limits();
        let ask = settings.ask(subject, limits, head);
        let cost = ask.cost();
        match settings.limiter.take(&ask) {
            Taking::Ready(taken) => match settings.conclude(limits, cost, &taken, head) {
                Ok(fields) => {
                    let refund = settings.refunds(&taken).then(|| OwnedSubject::of(subject));
                    let refund = refund.map(|subject| {
                        let settings = Arc::clone(settings);
                        let taken = Some((taken, settings.limiter.now()));
                        Box::new(Refund { settings, plan, subject, cost, taken })
                    });
                    ResponseFuture::inner(inner.call(request), After { fields, refund })
                }
                Err(response) => {
                    // Returns the permit that the inner service may have reserved in `poll_ready`.
                    *inner = inner.clone();
                    ResponseFuture::rejected(response)
                }
            },
            Taking::Pending(taking) => {
                let subject = OwnedSubject::of(subject);
                let settings = Arc::clone(settings);
                let counted = Refund { settings, plan, subject, cost, taken: None };
                // After the store's answer, the instance that returned ready must be called.
                let clone = inner.clone();
                let ready = mem::replace(inner, clone);
                ResponseFuture::pending(PendingRequest::new(taking, ready, request, counted))
            }
        }
    }
}

/// The kinds of requests without a client.
enum WithoutClient {
    /// The request is anonymous, and limited by its peer.
    Limited(AnonymousLimits, Peer),
    /// The request is anonymous or exempt, and has no limit.
    Unlimited,
    /// No `ApiKeyLayer` saw the request.
    Misplaced,
}

fn without_client<C: Clone + Send + Sync + 'static>(
    settings: &Settings,
    head: RequestHead<'_>,
) -> WithoutClient {
    let is_anonymous = Anonymous::of::<C>(head.extensions()).is_some();
    match &settings.anonymous {
        _ if !is_anonymous && Exempt::of::<C>(head.extensions()).is_none() => {
            WithoutClient::Misplaced
        }
        Some(anonymous) if is_anonymous => match (anonymous.peer)(head) {
            Some(peer) => WithoutClient::Limited(Arc::clone(&anonymous.limits), peer),
            None => {
                settings.warnings.no_peer();
                WithoutClient::Unlimited
            }
        },
        _ => WithoutClient::Unlimited,
    }
}

#[cold]
fn misplaced(head: RequestHead<'_>) -> Box<Response<Bytes>> {
    Box::new(server_error(head, FIX))
}

pub(super) const FIX: &str = "A `ClientLimitLayer` needs a client, and no `ApiKeyLayer` saw this request. Put \
     `ApiKeyLayer::new(..)` outside of it (in axum `.layer(..)` after the limit, in a `ServiceBuilder` before \
     it). If the verifier has a client type of its own, name it in the closure (`|client: &Tenant| ..`).";

accessors! { ClientLimitService<S, F, C> }

impl<S, F, C> ClientLimitService<S, F, C> {
    pub(super) fn new(inner: S, layer: ClientLimitLayer<F, C>) -> Self {
        Self { inner, layer }
    }
}

impl<S: Clone, F, C> Clone for ClientLimitService<S, F, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S, F, C> fmt::Debug for ClientLimitService<S, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLimitService").finish_non_exhaustive()
    }
}
