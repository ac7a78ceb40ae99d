use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use crate::{body::ResponseBody, macros::opaque};

pin_project! {
    /// Waits for the inner service, or returns the response of the layer.
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Inner { #[pin] service: F },
        // On the heap, so that the futures of accepted requests stay small.
        Rejected { response: Option<Box<Response<Bytes>>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn inner(service: F) -> Self {
        Self { kind: Kind::Inner { service } }
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
            KindProj::Inner { service } => {
                Poll::Ready(Ok(ready!(service.poll(cx))?.map(ResponseBody::inner)))
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
