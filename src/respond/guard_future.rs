use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use crate::{body::ResponseBody, macros::opaque};

pin_project! {
    /// The response future of a guard, for the inner service's response or for a rejection.
    ///
    /// Every guard can use it, because its output has a [`ResponseBody`] for both cases. The body of a
    /// rejection without content is at its end at once. So a gRPC server sends one HEADERS frame that ends
    /// the stream ("trailers-only"). The future is `Send` if `F` is.
    ///
    /// [Page 17](crate::guide::_17_guards) of the manual has a complete guard.
    ///
    /// # Example: the `call` of a guard
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower::Service;
    /// use tower_api_key::respond::GuardFuture;
    ///
    /// fn call<S, B, B2>(
    ///     inner: &mut S,
    ///     request: Request<B>,
    ///     rejected: Option<Response<Bytes>>,
    /// ) -> GuardFuture<S::Future>
    /// where
    ///     S: Service<Request<B>, Response = Response<B2>> + Clone,
    /// {
    ///     match rejected {
    ///         None => GuardFuture::inner(inner.call(request)),
    ///         Some(response) => {
    ///             *inner = inner.clone();         // returns the permit that `inner` can hold
    ///             GuardFuture::rejected(response)
    ///         }
    ///     }
    /// }
    /// ```
    pub struct GuardFuture<F> {
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

impl<F> GuardFuture<F> {
    /// Waits for the future of the inner service.
    pub fn inner(future: F) -> Self {
        Self { kind: Kind::Inner { service: future } }
    }

    /// Returns the response of the guard at once, without calling the inner service.
    ///
    /// The instance that returned ready can hold a permit, for example of a `ConcurrencyLimit`. If a guard
    /// does not call this instance, the guard must replace it by a clone, which drops the permit.
    /// Otherwise the guard keeps the permit until its next request.
    pub fn rejected(response: Response<Bytes>) -> Self {
        Self { kind: Kind::Rejected { response: Some(Box::new(response)) } }
    }
}

impl<F, B, E> Future for GuardFuture<F>
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

opaque! { GuardFuture<F> }
