use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::{is_counted, pending::Attempt};
use crate::{body::ResponseBody, macros::opaque, rejection::Rejection};

pin_project! {
    /// Waits for the inner service and counts its rejection, or returns the response of the layer.
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Inner { #[pin] service: F, attempt: Option<Attempt> },
        // On the heap, so that the futures of all other requests stay small.
        Rejected { response: Option<Box<Response<Bytes>>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn inner(service: F, attempt: Option<Attempt>) -> Self {
        Self { kind: Kind::Inner { service, attempt } }
    }

    pub(super) fn rejected(response: Response<Bytes>) -> Self {
        Self { kind: Kind::Rejected { response: Some(Box::new(response)) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Inner { service, attempt } => {
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
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            KindProj::Rejected { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                // The future was polled after completion.
                None => Poll::Pending,
            },
        }
    }
}

opaque! { ResponseFuture<F> }
