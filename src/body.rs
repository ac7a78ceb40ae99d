use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The inner service's body, passed through frame by frame, or that of a rejection. It is a [`Body`]
    /// where the inner body is one of [`Bytes`], as those of axum, tonic and hyper are. Of another it is made
    /// like this:
    ///
    /// ```
    /// use bytes::{Buf, Bytes};
    /// use http_body::Body;
    /// use http_body_util::BodyExt;
    ///
    /// fn of_bytes<B: Body<Data: Buf>>(body: B) -> impl Body<Data = Bytes, Error = B::Error> {
    ///     body.map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
    /// }
    /// ```
    ///
    /// It is `Default` where the inner body is, as tower-http's `CorsLayer` and `TimeoutLayer` want
    /// it around them.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Rejection { body: Bytes },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn rejection(body: Bytes) -> Self {
        Self { kind: Kind::Rejection { body } }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

/// A body of [`Bytes`]: a name of ours for that bound, so that the compiler can say what to do about
/// another.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no body of `Bytes`, as the service inside an `ApiKeyLayer` has to have",
    note = "make it one: `body.map_frame(|frame| frame.map_data(…))`, with `http_body_util::BodyExt`"
)]
pub trait BytesBody: Body<Data = Bytes> {}

// Else it would tell of this impl's own bound, which is not ours to explain.
#[diagnostic::do_not_recommend]
impl<B: Body<Data = Bytes>> BytesBody for B {}

impl<B: BytesBody> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx),
            KindProj::Rejection { body } if body.is_empty() => Poll::Ready(None),
            KindProj::Rejection { body } => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(body)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Rejection { body } => body.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Rejection { body } => SizeHint::with_exact(body.len() as u64),
        }
    }
}
