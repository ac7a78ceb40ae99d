use std::{any::TypeId, sync::LazyLock};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
        CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, TRANSFER_ENCODING,
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Grpc, RejectionWriter};
use crate::{rejection::Rejection, request_head::RequestHead};

/// Writes the rejection of a guard inside an [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// The response is complete. A gRPC request gets a gRPC response without a body, and every other request gets
/// JSON. The response has `Cache-Control: no-store`. The nearest `ApiKeyLayer` outside then writes the response in
/// its own style, and reports it to its observer by [`on_guard`](crate::observe::Observe::on_guard). If layers for
/// two client types are nested, the nearest layer can be the one for the other type.
///
/// The style includes the responder and the challenges. Only some reasons have a challenge.
/// [`Missing`](crate::rejection::Reason::Missing) has all challenges of the layer, and
/// [`InsufficientScope`](crate::rejection::Reason::InsufficientScope) has one if the layer reads `Bearer`.
/// [`Forbidden`](crate::rejection::Reason::Forbidden) and [`Limited`](crate::rejection::Reason::Limited) have none.
///
/// If the request is [`Anonymous`](crate::Anonymous), reject it with
/// [`Anonymous::reject`](crate::Anonymous::reject). [Page 17](crate::guide::_17_guards) of the manual has a complete
/// guard as a tower service, whose future is a [`GuardFuture`](super::GuardFuture).
///
/// # What can a guard change in the response?
///
/// The layer recognizes the response by its extensions. It replaces the status, the body and the headers that
/// describe the body.
///
/// | change, by the guard or by a layer between | result |
/// |---|---|
/// | a header that the layer does not write, an extension | stays |
/// | the body | is replaced |
/// | the status or the content type | the response stays as it is, and is reported |
/// | compression | the layer removes the body's `Content-Encoding` |
/// | the extensions are removed | the response stays as it is, and is **not** reported |
///
/// If the guard needs a text of its own, write the response with a [`RejectionWriter`] and a responder of your
/// own. The layer reports such a response as well, and does not write it again.
///
/// # Example: a guard of your own
///
/// ```
/// use axum::{Router, extract::Request, middleware::{self, Next}, response::{IntoResponse, Response}, routing::get};
/// use tower_api_key::extract::{RequestHead, header};
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, Rejection, rejection::Reason, respond};
///
/// async fn only_ci(request: Request, next: Next) -> Response {
///     match request.extensions().get::<Client>() {
///         Some(client) if client.id() == "ci" => next.run(request).await,
///         _ => {
///             let rejection = Rejection::new(Reason::Forbidden);
///             respond::reject(RequestHead::of(&request), rejection).map(Into::into)
///         }
///     }
/// }
///
/// let app: Router = Router::new()
///     .route("/builds", get(async || "builds").layer(middleware::from_fn(only_ci)))
///     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[must_use]
pub fn reject(head: RequestHead<'_>, rejection: Rejection) -> Response<Bytes> {
    static DEFAULT: LazyLock<RejectionWriter> = LazyLock::new(RejectionWriter::default);

    DEFAULT.write_marked(head, rejection, Finish::Write)
}

/// Writes a 500, or gRPC 13, for a guard that finds a mistake in the order of layers.
///
/// The text is the body, or the `grpc-message`, so that a developer sees the fix. Name no key and no client
/// in it. The response has `Cache-Control: no-store`. With the feature `tracing` or `axum` this writes the text
/// into the log, as an error. No observer receives it, because it is not a rejection.
///
/// ```
/// use http::Request;
/// use tower_api_key::{extract::RequestHead, respond};
///
/// let response = respond::server_error(
///     RequestHead::of(&Request::new(())),
///     "Add `ApiKeyLayer` around the limit.",
/// );
/// assert_eq!(response.status(), 500);
/// ```
#[must_use]
pub fn server_error(head: RequestHead<'_>, text: &str) -> Response<Bytes> {
    #[cfg(any(feature = "axum", feature = "tracing"))]
    tracing::error!("{text}");
    let mut response = match Grpc::of(head.method(), head.headers()) {
        Some(grpc) => {
            let text = utf8_percent_encode(text, NOT_IN_A_MESSAGE).to_string();
            // After percent-encoding, the text is visible ASCII.
            let message = HeaderValue::try_from(text);
            grpc.answer("13", message.unwrap_or(HeaderValue::from_static("")))
        }
        None => {
            let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            response
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The bytes that a `grpc-message` percent-encodes.
const NOT_IN_A_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The layer that finishes the response of a guard, and its work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// The nearest layer writes the response in its own style, and reports it.
    Write,
    /// The nearest layer reports the response.
    Report,
    /// The nearest layer for this client type reports the response.
    ReportBy(TypeId),
}

/// The mark of a response that a guard wrote, in its extensions.
#[derive(Clone)]
pub(crate) struct GuardMark {
    grpc: Option<Grpc>,
    finish: Finish,
    status: StatusCode,
    content_type: Option<HeaderValue>,
    method: Method,
    uri: Uri,
    /// The request's extensions, because only the layer knows the type of its client.
    extensions: Extensions,
}

impl GuardMark {
    pub(super) fn new(
        head: RequestHead<'_>,
        response: &Response<Bytes>,
        grpc: Option<Grpc>,
        finish: Finish,
    ) -> Self {
        Self {
            grpc,
            finish,
            status: response.status(),
            content_type: response.headers().get(CONTENT_TYPE).cloned(),
            method: head.method().clone(),
            uri: head.uri().clone(),
            extensions: head.extensions().clone(),
        }
    }

    /// Takes the mark and the rejection of a response that the layer for this client type finishes.
    pub(crate) fn take<C: 'static>(extensions: &mut Extensions) -> Option<(Box<Self>, Rejection)> {
        match extensions.get::<Self>()?.finish {
            Finish::ReportBy(client_type) if client_type != TypeId::of::<C>() => return None,
            _ => {}
        }
        let mark = Box::new(extensions.remove::<Self>()?);
        extensions.get().cloned().map(|rejection| (mark, rejection))
    }

    /// Removes the mark, so that no layer outside finishes the response.
    #[cfg(feature = "limit")]
    pub(crate) fn remove(extensions: &mut Extensions) {
        extensions.remove::<Self>();
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path as the guard saw it.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(crate) fn client<C: Send + Sync + 'static>(&self) -> Option<&C> {
        self.extensions.get()
    }

    /// Writes the response in the style of a layer, unless the guard or a layer between has a style of its
    /// own. Returns the new body.
    pub(crate) fn rewrite(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        rejection: Rejection,
        writer: &RejectionWriter,
    ) -> Option<Response<Bytes>> {
        let is_unchanged =
            status == self.status && headers.get(CONTENT_TYPE) == self.content_type.as_ref();
        if self.finish != Finish::Write || !is_unchanged {
            return None;
        }
        let written = writer.write_as(rejection, self.grpc);
        remove_metadata_of_body(headers);
        // Some headers have several lines, such as challenges.
        for name in written.headers().keys() {
            headers.remove(name);
        }
        for (name, line) in written.headers() {
            headers.try_append(name, line.clone()).ok();
        }
        Some(written)
    }
}

fn remove_metadata_of_body(headers: &mut HeaderMap) {
    for name in [
        ACCEPT_RANGES,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_LENGTH,
        CONTENT_LOCATION,
        CONTENT_RANGE,
        CONTENT_TYPE,
        ETAG,
        LAST_MODIFIED,
        TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    for name in ["content-digest", "repr-digest", "digest", "content-md5"] {
        headers.remove(HeaderName::from_static(name));
    }
}
