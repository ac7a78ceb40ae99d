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

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};

pub(crate) use self::{from_fn::FromFn, grpc::Grpc};
pub use self::{json::Json, problem::Problem, text::Text};
use crate::rejection::{Rejection, RejectionKind};

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

/// The responder's own text for missing and refused keys, or the message that the rejection has.
fn text<'a>(rejection: &Rejection, own: Option<&'a str>) -> &'a str {
    match (rejection.kind(), own) {
        (RejectionKind::Missing | RejectionKind::Refused, Some(own)) => own,
        _ => rejection.message(),
    }
}

fn response(rejection: &Rejection, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = rejection.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
