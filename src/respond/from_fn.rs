use bytes::Bytes;
use http::Response;

use super::Respond;
use crate::rejection::Rejection;

/// A responder made of a closure.
pub(crate) struct FromFn<F>(pub(crate) F);

impl<F, T> Respond for FromFn<F>
where
    F: Fn(&Rejection) -> Response<T>,
    T: Into<Bytes>,
{
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        (self.0)(rejection).map(Into::into)
    }
}
