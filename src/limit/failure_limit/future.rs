use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::{is_counted, pending::Attempt};
use crate::{body::ResponseBody, macros::opaque, rejection::Rejection, respond::GuardFuture};

pin_project! {
    /// Waits for the inner service and counts its rejection, or returns the response of the layer.
    pub struct ResponseFuture<F> {
        #[pin]
        guard: GuardFuture<Counted<F>>,
    }
}

pin_project! {
    /// Waits for the inner service and counts its rejection.
    struct Counted<F> {
        #[pin]
        service: F,
        attempt: Option<Attempt>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn inner(service: F, attempt: Option<Attempt>) -> Self {
        Self { guard: GuardFuture::inner(Counted { service, attempt }) }
    }

    pub(super) fn rejected(response: Response<Bytes>) -> Self {
        Self { guard: GuardFuture::rejected(response) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guard.poll(cx)
    }
}

impl<F, B, E> Future for Counted<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (service, attempt) = (this.service, this.attempt);
        let polled = match attempt {
            Some(attempt) => attempt.step(|| service.poll(cx)),
            None => service.poll(cx),
        };
        let result = ready!(polled);
        // The request ends here, and not when the caller drops this future.
        let attempt = attempt.take();
        let response = result?;
        let rejection = response.extensions().get::<Rejection>();
        if rejection.is_some_and(|rejection| is_counted(rejection.reason())) {
            if let Some(attempt) = attempt {
                attempt.count_failure();
            }
        }
        Poll::Ready(Ok(response))
    }
}

opaque! { ResponseFuture<F> }
