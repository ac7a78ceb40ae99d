//! The body of responses.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response, from the inner service or from a rejection.
    ///
    /// Frames of the inner service pass through unchanged. This is a [`Body`] if the inner body has
    /// [`Bytes`] as its data, as the bodies of axum, tonic and hyper have. It is `Default` if the inner
    /// body is, because tower-http's `CorsLayer` and `TimeoutLayer` need it.
    ///
    /// It has no constructor. A guard of your own gets this body from a
    /// [`GuardFuture`](crate::respond::GuardFuture).
    ///
    /// # Example: convert a body with other data
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

/// A body whose data is [`Bytes`].
///
/// Every such [`Body`] implements this trait. With the trait, the compiler can explain how to convert
/// another body. See the example of [`ResponseBody`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no body of `Bytes`, which the service inside an `ApiKeyLayer` must return",
    note = "convert the body with `body.map_frame(|frame| frame.map_data(…))` of `http_body_util::BodyExt`"
)]
pub trait BytesBody: Body<Data = Bytes> {}

// Otherwise the compiler would report the bound of this impl and not the note above.
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
