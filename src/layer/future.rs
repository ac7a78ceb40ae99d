use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    authenticate::{Rejected, Source, conclude},
    cache_headers::CacheHeaders,
    config::Config,
    guarded::finish_guarded,
};
use crate::{
    body::ResponseBody, location::KeyLocation, macros::opaque, observe::Observe, verify::Verify,
};

pin_project! {
    /// The response future of [`ApiKeyService`](crate::ApiKeyService).
    ///
    /// It waits for a pending verification, and then for the inner service. To name the type in full,
    /// write `<ApiKeyService<S, E, V> as Service<Request<B>>>::Future`. It is `Send` if the inner
    /// service, its future, the body of the request and the verifier's future are.
    pub struct ResponseFuture<F, P> {
        #[pin]
        state: State<F, P>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, P> {
        Inner { #[pin] future: F },
        Rejected { rejected: Option<Rejected> },
        // On the heap, so that the futures of all other requests are small.
        Pending { request: Pin<Box<P>> },
    }
}

pin_project! {
    /// The future of the inner service, and the work on its response.
    pub struct InnerFuture<F, E, V, O> {
        #[pin]
        service: F,
        cache: Option<CacheHeaders>,
        config: Arc<Config<E, V, O>>,
    }
}

pin_project! {
    /// A request with a pending verification. The layer has stripped its keys.
    pub struct PendingRequest<S, B, E, V, O, F> {
        #[pin]
        verification: F,
        inner: S,
        config: Arc<Config<E, V, O>>,
        // `None` after the verification.
        request: Option<Request<B>>,
        location: Option<KeyLocation>,
        has_scheme: bool,
        started: Option<Instant>,
    }
}

impl<F, P> ResponseFuture<F, P> {
    #[inline]
    pub(super) fn inner(future: F) -> Self {
        Self { state: State::Inner { future } }
    }

    #[inline]
    pub(super) fn rejected(rejected: Rejected) -> Self {
        Self { state: State::Rejected { rejected: Some(rejected) } }
    }

    pub(super) fn pending(request: P) -> Self {
        Self { state: State::Pending { request: Box::pin(request) } }
    }
}

impl<F, E, V, O> InnerFuture<F, E, V, O> {
    #[inline]
    pub(super) fn new(
        service: F,
        cache: Option<CacheHeaders>,
        config: &Arc<Config<E, V, O>>,
    ) -> Self {
        Self { service, cache, config: Arc::clone(config) }
    }
}

impl<F, B, Error, E, V, O> Future for InnerFuture<F, E, V, O>
where
    F: Future<Output = Result<Response<B>, Error>>,
    V: Verify,
    O: Observe<V::Client>,
{
    type Output = Result<Response<ResponseBody<B>>, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut polled = this.service.poll(cx).map_ok(wrap);
        if let Poll::Ready(Ok(response)) = &mut polled {
            // A guard puts a mark into the extensions.
            if !response.extensions().is_empty() {
                finish_guarded(this.config, response);
            }
            if let Some(cache) = this.cache.take() {
                cache.write(&this.config.settings.vary, response.headers_mut());
            }
        }
        polled
    }
}

impl<S, B, E, V, O, F> PendingRequest<S, B, E, V, O, F> {
    /// `inner` is the instance that returned ready.
    pub(super) fn new(
        verification: F,
        inner: S,
        config: &Arc<Config<E, V, O>>,
        request: Request<B>,
        source: Source<'_>,
        started: Option<Instant>,
    ) -> Self {
        Self {
            verification,
            inner,
            config: Arc::clone(config),
            request: Some(request),
            location: source.location.cloned(),
            has_scheme: source.has_scheme,
            started,
        }
    }
}

/// The state after a pending verification.
type NextState<S, B, E, V, O> = State<
    InnerFuture<<S as Service<Request<B>>>::Future, E, V, O>,
    PendingRequest<S, B, E, V, O, <V as Verify>::Future>,
>;

impl<S, B, E, V, O> PendingRequest<S, B, E, V, O, V::Future>
where
    S: Service<Request<B>>,
    V: Verify,
    O: Observe<V::Client>,
{
    fn poll_verified(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextState<S, B, E, V, O>> {
        let this = self.project();
        let result = ready!(this.verification.poll(cx));
        let Some(mut request) = this.request.take() else {
            // Unreachable, because the next state replaces this request.
            return Poll::Pending;
        };
        let source = Source { location: this.location.as_ref(), has_scheme: *this.has_scheme };
        Poll::Ready(match conclude(this.config, &mut request, source, result, *this.started) {
            Ok(cache) => {
                #[cfg(feature = "limit")]
                super::passed::note_passed();
                let service = this.inner.call(request);
                State::Inner { future: InnerFuture::new(service, cache, this.config) }
            }
            Err(rejected) => State::Rejected { rejected: Some(rejected) },
        })
    }
}

impl<S, B, B2, E, V, O> Future
    for ResponseFuture<InnerFuture<S::Future, E, V, O>, PendingRequest<S, B, E, V, O, V::Future>>
where
    S: Service<Request<B>, Response = Response<B2>>,
    V: Verify,
    O: Observe<V::Client>,
{
    type Output = Result<Response<ResponseBody<B2>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Inner { future } => return future.poll(cx),
                StateProj::Rejected { rejected } => {
                    let Some(Rejected { writer, rejection, grpc }) = rejected.take() else {
                        // The future was polled after completion.
                        return Poll::Pending;
                    };
                    let response = writer.write_as(rejection, grpc);
                    return Poll::Ready(Ok(response.map(ResponseBody::rejection)));
                }
                StateProj::Pending { request } => {
                    let next = ready!(request.as_mut().poll_verified(cx));
                    state.set(next);
                }
            }
        }
    }
}

#[inline]
fn wrap<B>(response: Response<B>) -> Response<ResponseBody<B>> {
    response.map(ResponseBody::inner)
}

opaque! { ResponseFuture<F, P> InnerFuture<F, E, V, O> PendingRequest<S, B, E, V, O, F> }
