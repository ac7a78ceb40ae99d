//! Responders: how a rejection looks to the caller.
//!
//! [`Json`] is the default; [`Problem`] writes RFC 9457 problem details, [`Text`] plain text, and
//! [`ApiKeyLayer::respond_with`](crate::ApiKeyLayer::respond_with) takes a closure. Whatever a
//! responder writes, the layer sees to it that a 401 carries its challenge and that no rejection is
//! cached, and puts the [`Rejection`] into the response's extensions. gRPC callers are answered in
//! their own way (`grpc-status`), which no responder has to know of.
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::header, respond::Problem};
//!
//! let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
//!     .respond(Problem::default());
//! # Ok::<(), tower_api_key::error::ConfigError>(())
//! ```

mod from_fn;
mod grpc;
mod json;
mod problem;
mod text;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

pub(crate) use self::{from_fn::FromFn, grpc::Grpc};
pub use self::{json::Json, problem::Problem, text::Text};
use crate::rejection::Rejection;

/// Writes a rejection as a response.
///
/// Say no more than [`Rejection::message`] does: a caller who is told that a key has expired has
/// learned that it was one.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_key::{Rejection, respond::Respond};
///
/// struct Teapot;
///
/// impl Respond for Teapot {
///     fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
///         let mut response = Response::new(Bytes::from_static(b"no coffee without a key"));
///         *response.status_mut() = rejection.status();
///         response
///     }
/// }
/// ```
pub trait Respond {
    /// Writes the response.
    fn respond(&self, rejection: &Rejection) -> Response<Bytes>;
}

macro_rules! pointers {
    ($($pointer:ident)+) => {$(
        impl<R: Respond + ?Sized> Respond for $pointer<R> {
            fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
                (**self).respond(rejection)
            }
        }
    )+};
}

pointers! { Box Arc }

/// What the responders here have in common: the body of a 401 is written once, and others each time.
#[derive(Clone, Debug, Default)]
struct Body {
    unauthorized: OnceLock<Bytes>,
}

impl Body {
    /// `write` is told whether the body is that of a 401, whose texts can be changed.
    fn respond(
        &self,
        rejection: &Rejection,
        content_type: &'static str,
        write: impl FnOnce(bool) -> String,
    ) -> Response<Bytes> {
        let status = rejection.status();
        let mut response = Response::new(if status == StatusCode::UNAUTHORIZED {
            self.unauthorized.get_or_init(|| write(true).into()).clone()
        } else {
            write(false).into()
        });
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}
