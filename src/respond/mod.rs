//! Responders: write a rejection as an HTTP response.
//!
//! [`Json`] is the default. [`Problem`] writes RFC 9457 problem details, and [`Text`] writes plain text. A
//! closure is a responder as well. The layer adds the challenge to a 401 and `no-store` to every rejection,
//! and puts the [`Rejection`] into the response's extensions. It writes the response to a gRPC request itself.
//!
//! A guard rejects with [`reject`] if it is inside the layer, and with a [`RejectionWriter`] if it is outside.
//! [`GuardFuture`] is the future of both. [Page 17](crate::guide::_17_guards) of the manual has a complete guard.
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, Rejection, extract::header, respond::Problem};
//!
//! let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
//! let problem = layer.clone().respond(Problem::default());
//! let html = layer.respond(|rejection: &Rejection| {
//!     let mut response = http::Response::new(format!("<h1>{}</h1>", rejection.message()));
//!     *response.status_mut() = rejection.status();
//!     response
//! });
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```

mod challenge;
mod grpc;
mod grpc_details;
mod guard;
mod guard_future;
mod json;
mod problem;
mod text;
mod writer;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

#[cfg(feature = "limit")]
pub(crate) use self::json::quoted;
pub(crate) use self::{grpc::Grpc, guard::GuardMark};
pub use self::{
    guard::{reject, server_error},
    guard_future::GuardFuture,
    json::Json,
    problem::Problem,
    text::Text,
    writer::RejectionWriter,
};
use crate::{macros::pointers, rejection::Rejection};

/// Writes a rejection as a response.
///
/// Say no more than [`Rejection::message`] does. If a response says that a key has expired, an attacker
/// learns that the key was valid once.
///
/// A closure that takes a [`&Rejection`](Rejection) and returns a response is a responder. Name the type
/// of its argument, because the compiler cannot infer it.
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a responder",
    note = "use `Json`, `Problem` or `Text`, or a closure `|rejection: &Rejection| …` that returns a response whose body is `Into<Bytes>`"
)]
pub trait Respond {
    /// Writes the response.
    fn respond(&self, rejection: &Rejection) -> Response<Bytes>;
}

impl<F, T> Respond for F
where
    F: Fn(&Rejection) -> Response<T>,
    T: Into<Bytes>,
{
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        self(rejection).map(Into::into)
    }
}

pointers! {
    Respond: [R: Respond + ?Sized] Arc<R>, [] Box<dyn Respond + '_>, [] Box<dyn Respond + Send + '_>,
    [] Box<dyn Respond + Send + Sync + '_>;
    {
        fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
            (**self).respond(rejection)
        }
    }
}

/// Writes the response of a responder. The body of a 401 is written once, and any other body each time.
#[derive(Clone, Debug, Default)]
struct Body {
    unauthorized: OnceLock<Bytes>,
}

impl Body {
    /// The argument of `write` is whether the body is that of a 401, whose texts a user can set.
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
