use std::{
    fmt, mem,
    ops::Deref,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    ClientLimitLayer,
    decide::Step,
    future::{After, InnerFuture, PendingRequest, ResponseFuture},
};
use crate::{
    body::ResponseBody,
    client::{Client, Identity},
    limit::Limits,
    macros::accessors,
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
        match layer.decide(&request) {
            Step::Pass => ResponseFuture::inner(inner.call(request), After::Nothing),
            Step::PassWith(after) => ResponseFuture::inner(inner.call(request), after),
            Step::Reject(response) => {
                // Returns the permit that the inner service may have reserved in `poll_ready`.
                *inner = inner.clone();
                ResponseFuture::rejected(response)
            }
            Step::Wait(taking, counted) => {
                // After the store's answer, the instance that returned ready must be called.
                let clone = inner.clone();
                let ready = mem::replace(inner, clone);
                ResponseFuture::pending(PendingRequest::new(taking, ready, request, counted))
            }
        }
    }
}

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
