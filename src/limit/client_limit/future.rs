use std::{
    mem,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{headers::Fields, refund::Refund};
use crate::{
    body::ResponseBody,
    extract::RequestHead,
    limit::{Limits, Taken},
    macros::opaque,
};

pin_project! {
    /// Waits for a store of limits, and then for the inner service, or returns the response of the layer.
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Inner { #[pin] future: F },
        // On the heap, so that the futures of all other requests stay small.
        Rejected { response: Option<Box<Response<Bytes>>> },
        Pending { request: Box<R> },
    }
}

pin_project! {
    /// The future of the inner service, and the work on its response.
    pub struct InnerFuture<F, P> {
        #[pin]
        service: F,
        after: After<P>,
    }
}

/// The work on a response of the inner service.
#[derive(Default)]
pub(super) enum After<P> {
    #[default]
    Nothing,
    Fields(Fields),
    /// On the heap, because few layers refund.
    Refund(Box<Refund<P>>),
}

pin_project! {
    /// A request whose limits a store was asked for.
    pub struct PendingRequest<S, B, P> {
        taking: Pin<Box<dyn Future<Output = Taken> + Send>>,
        // `None` after the store's answer.
        ready: Option<(S, Request<B>, Box<Refund<P>>)>,
    }
}

impl<F, R> ResponseFuture<F, R> {
    pub(super) fn rejected(response: Box<Response<Bytes>>) -> Self {
        Self { state: State::Rejected { response: Some(response) } }
    }

    pub(super) fn pending(request: R) -> Self {
        Self { state: State::Pending { request: Box::new(request) } }
    }
}

impl<F, P, R> ResponseFuture<InnerFuture<F, P>, R> {
    #[inline]
    pub(super) fn inner(service: F, after: After<P>) -> Self {
        Self { state: State::inner(service, after) }
    }
}

impl<F, P, R> State<InnerFuture<F, P>, R> {
    #[inline]
    fn inner(service: F, after: After<P>) -> Self {
        Self::Inner { future: InnerFuture { service, after } }
    }
}

impl<P: Deref<Target = Limits>> After<P> {
    fn finish<B>(self, response: &mut Response<B>) {
        let fields = match self {
            Self::Nothing => None,
            Self::Fields(fields) => Some(fields),
            Self::Refund(mut refund) => {
                refund.after(response.status());
                refund.fields.take()
            }
        };
        if let Some(fields) = fields {
            fields.write_unless_public(response.headers_mut());
        }
    }
}

impl<F, P, B, E> Future for InnerFuture<F, P>
where
    F: Future<Output = Result<Response<B>, E>>,
    P: Deref<Target = Limits>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut polled = this.service.poll(cx).map_ok(|it| it.map(ResponseBody::inner));
        if let Poll::Ready(Ok(response)) = &mut polled {
            mem::take(this.after).finish(response);
        }
        polled
    }
}

impl<S, B, P> PendingRequest<S, B, P> {
    /// `inner` is the instance that returned ready.
    pub(super) fn new(
        taking: Pin<Box<dyn Future<Output = Taken> + Send>>,
        inner: S,
        request: Request<B>,
        counted: Box<Refund<P>>,
    ) -> Self {
        Self { taking, ready: Some((inner, request, counted)) }
    }
}

/// The state after the store's answer.
type NextState<S, B, P> =
    State<InnerFuture<<S as Service<Request<B>>>::Future, P>, PendingRequest<S, B, P>>;

impl<S, B, P> PendingRequest<S, B, P>
where
    S: Service<Request<B>>,
    P: Deref<Target = Limits>,
{
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<NextState<S, B, P>> {
        let taken = ready!(self.taking.as_mut().poll(cx));
        let Some((mut inner, request, mut counted)) = self.ready.take() else {
            // Unreachable, because the next state replaces this request.
            return Poll::Pending;
        };
        let (settings, head) = (&counted.settings, RequestHead::of(&request));
        Poll::Ready(match settings.conclude(counted.plan.limits(), counted.cost, &taken, head) {
            Ok(fields) if settings.refunds(&taken) => {
                counted.taken = Some((taken, settings.limiter.recent()));
                counted.fields = fields;
                State::inner(inner.call(request), After::Refund(counted))
            }
            Ok(fields) => {
                let after = fields.map_or(After::Nothing, After::Fields);
                State::inner(inner.call(request), after)
            }
            Err(response) => State::Rejected { response: Some(response) },
        })
    }
}

impl<S, B, B2, P> Future for ResponseFuture<InnerFuture<S::Future, P>, PendingRequest<S, B, P>>
where
    S: Service<Request<B>, Response = Response<B2>>,
    P: Deref<Target = Limits>,
{
    type Output = Result<Response<ResponseBody<B2>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Inner { future } => return future.poll(cx),
                StateProj::Rejected { response } => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                        // The future was polled after completion.
                        None => Poll::Pending,
                    };
                }
                StateProj::Pending { request } => {
                    let next = ready!(request.poll_taken(cx));
                    state.set(next);
                }
            }
        }
    }
}

opaque! { ResponseFuture<F, R> InnerFuture<F, P> PendingRequest<S, B, P> }
