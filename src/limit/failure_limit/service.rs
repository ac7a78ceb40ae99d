use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{FailureLimitLayer, ResponseFuture, pending::Attempt};
use crate::{
    body::ResponseBody,
    client::Client,
    extract::RequestHead,
    limit::Peer,
    macros::accessors,
    observe::{Decision, Observe},
    rejection::{Reason, Rejection},
    respond::GuardMark,
};

/// Rejects requests of peers that sent too many rejected keys.
///
/// Created by [`FailureLimitLayer`].
pub struct FailureLimitService<S, F, O = ()> {
    inner: S,
    layer: FailureLimitLayer<F, O>,
}

impl<S, B, B2, F, P, O> Service<Request<B>> for FailureLimitService<S, F, O>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    F: Fn(RequestHead<'_>) -> Option<P>,
    P: Into<Peer>,
    O: Observe<Client>,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { inner, layer } = self;
        let head = RequestHead::of(&request);
        let Some(peer) = (layer.config.peer)(head).map(Into::into) else {
            layer.failures.warnings.no_peer();
            return ResponseFuture::inner(inner.call(request), None);
        };
        layer.failures.warnings.watch(peer);
        let wait = match layer.failures.table.begin(peer) {
            Ok(hash) => {
                let failures = Arc::clone(&layer.failures);
                let mut attempt = Attempt { failures, peer, hash, is_pending: true };
                let response = attempt.step(|| inner.call(request));
                return ResponseFuture::inner(response, Some(attempt));
            }
            Err(wait) => wait,
        };
        // Returns the permit that the inner service may have reserved in `poll_ready`.
        *inner = inner.clone();

        let limit = layer.failures.table.limit().name();
        let rejection = Rejection::new(Reason::TooManyFailures);
        let rejection = rejection.with_retry_after(wait).with_violated_limits([limit]);
        let decision = Decision::by_guard(&rejection, None);
        let decision = decision.with_method(head.method()).with_path(head.uri().path());
        layer.config.observe.on_guard(&decision);
        let mut response = layer.config.writer.write(head, rejection);
        if layer.config.is_observed {
            // The observer got the rejection. So a layer outside does not report it again.
            GuardMark::remove(response.extensions_mut());
        }
        ResponseFuture::rejected(response)
    }
}

accessors! { FailureLimitService<S, F, O> }

impl<S, F, O> FailureLimitService<S, F, O> {
    pub(super) fn new(inner: S, layer: FailureLimitLayer<F, O>) -> Self {
        Self { inner, layer }
    }
}

impl<S: Clone, F, O> Clone for FailureLimitService<S, F, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S, F, O> fmt::Debug for FailureLimitService<S, F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer.fmt_as("FailureLimitService", f)
    }
}
