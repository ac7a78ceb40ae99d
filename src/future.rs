use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::{
    body::ResponseBody, cache::CacheHeaders, policy::Policy, rejection::Rejection, respond::Grpc,
};

pin_project! {
    /// Waits for the verifier, where that takes time, and then for the inner service.
    ///
    /// To name it in full, write `<ApiKeyService<S, E, V> as Service<Request<B>>>::Future`.
    pub struct ResponseFuture<F, W> {
        #[pin]
        kind: Kind<F, W>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, W> {
        Waiting { #[pin] verifier: W },
        Decided { #[pin] step: Step<F> },
    }
}

pin_project! {
    /// What is done with a request once it is decided. It is `pub` only since the verifier's wait
    /// ends in one.
    #[derive(Debug)]
    #[project = StepProj]
    pub enum Step<F> {
        Inner { #[pin] service: F, cache: Option<CacheHeaders> },
        Refused { refused: Option<Refused> },
    }
}

/// A rejection that is yet to be written: much smaller than its response.
#[derive(Debug)]
pub struct Refused {
    pub(crate) policy: Arc<Policy>,
    pub(crate) rejection: Rejection,
    pub(crate) grpc: Option<Grpc>,
}

impl<F, W> ResponseFuture<F, W> {
    pub(crate) fn waiting(verifier: W) -> Self {
        Self { kind: Kind::Waiting { verifier } }
    }
}

impl<F, W> From<Step<F>> for ResponseFuture<F, W> {
    #[inline]
    fn from(step: Step<F>) -> Self {
        Self { kind: Kind::Decided { step } }
    }
}

impl<F> Step<F> {
    #[inline]
    pub(crate) fn inner(service: F, cache: Option<CacheHeaders>) -> Self {
        Self::Inner { service, cache }
    }

    #[inline]
    pub(crate) fn refused(refused: Refused) -> Self {
        Self::Refused { refused: Some(refused) }
    }
}

impl<F, W, B, E> Future for ResponseFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: Future<Output = Step<F>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.kind.as_mut().project() {
                KindProj::Waiting { verifier } => {
                    let step = ready!(verifier.poll(cx));
                    this.kind.set(Kind::Decided { step });
                }
                KindProj::Decided { step } => return step.poll(cx),
            }
        }
    }
}

impl<F, B, E> Future for Step<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            // Apart from the next one, so that the response is moved but once.
            StepProj::Inner { service, cache: None } => service.poll(cx).map_ok(wrapped),
            StepProj::Inner { service, cache } => {
                let mut polled = service.poll(cx).map_ok(wrapped);
                if let Poll::Ready(Ok(response)) = &mut polled {
                    if let Some(cache) = cache.take() {
                        cache.write(response.headers_mut());
                    }
                }
                polled
            }
            StepProj::Refused { refused } => {
                // There is nothing left only if it is polled after completion.
                let Some(Refused { policy, rejection, grpc }) = refused.take() else {
                    return Poll::Pending;
                };
                let response = policy.reject(rejection, grpc);
                Poll::Ready(Ok(response.map(ResponseBody::rejection)))
            }
        }
    }
}

#[inline]
fn wrapped<B>(response: Response<B>) -> Response<ResponseBody<B>> {
    response.map(ResponseBody::inner)
}

impl<F, W> fmt::Debug for ResponseFuture<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
