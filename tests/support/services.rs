//! Inner services and request bodies for tests.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, mpsc};
use tower::{Service, ServiceExt, limit::ConcurrencyLimit};
use tower_api_key::{Client, Rejection, rejection::Reason};

/// Panics if it is called before it is ready. A clone is not ready.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    is_ready: bool,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    clones: AtomicUsize,
    calls: AtomicUsize,
}

impl Strict {
    pub(crate) fn new() -> (Self, Arc<Counts>) {
        let counts = Arc::default();
        (Self { is_ready: false, counts: Arc::clone(&counts) }, counts)
    }

    /// Adds a limit with permits that the test can count.
    pub(crate) fn behind(permits: usize) -> (ConcurrencyLimit<Self>, Arc<Semaphore>, Arc<Counts>) {
        let (strict, counts) = Self::new();
        let semaphore = Arc::new(Semaphore::new(permits));
        (ConcurrencyLimit::with_semaphore(strict, Arc::clone(&semaphore)), semaphore, counts)
    }
}

impl Counts {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(crate) fn clones(&self) -> usize {
        self.clones.load(SeqCst)
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.counts.clones.fetch_add(1, SeqCst);
        Self { is_ready: false, counts: Arc::clone(&self.counts) }
    }
}

/// Responds with the client's id.
impl<B> Service<Request<B>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(mem::take(&mut self.is_ready), "called without having been made ready");
        self.counts.calls.fetch_add(1, SeqCst);
        let client = request.extensions().get::<Client>();
        ready(Ok(Response::new(client.map_or("anonymous", Client::id).to_owned())))
    }
}

/// The response to a caller, and the reason of its rejection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) reason: Option<Reason>,
}

impl Answer {
    pub(crate) fn line(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |line| line.to_str().unwrap())
    }
}

/// Sends a request to a service.
pub(crate) async fn ask<S, B, B2>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<B2>, Error = Infallible>,
    B2: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let reason = head.extensions.get::<Rejection>().map(Rejection::reason);
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body, reason }
}

/// A body of frames that a test sends while the request runs.
pub(crate) struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Frames {
    pub(crate) fn channel() -> (mpsc::Sender<Frame<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Ends a stream, and checks that the body of the response ends with the same trailers.
///
/// HTTP/1.1 forwards trailers only if they were announced and requested, so it is tested without them.
pub(crate) async fn assert_stream_ends<B>(
    sender: mpsc::Sender<Frame<Bytes>>,
    body: &mut B,
    http2: bool,
) where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    if http2 {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        sender.send(Frame::trailers(trailers.clone())).await.unwrap();
        drop(sender);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_trailers().unwrap(), trailers);
    } else {
        drop(sender);
    }
    assert!(body.frame().await.is_none());
}
