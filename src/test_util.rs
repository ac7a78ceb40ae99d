//! For the tests of an app: does every route refuse strangers? (Feature `test-util`.)
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_api_key::{ApiKeyLayer, Keyring, Place, extract::header, test_util};
//!
//! fn app(keys: Keyring) -> Router {
//!     Router::new()
//!         .route("/jobs", get(async || "jobs").post(async || "submitted"))
//!         .layer(ApiKeyLayer::new(header("x-api-key"), keys))
//!         .route("/health", get(async || "healthy"))
//!         .route("/debug", get(async || "whatever"))      // added after the layer: a mistake
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = app(Keyring::single("12345abcde")?);
//! let routes = [("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/health"), ("GET", "/debug")];
//!
//! let open = test_util::strangers_get_in(&app, routes).await;
//! assert_eq!(open, ["GET /health", "GET /debug"]);
//!
//! let places = [Place::header("x-api-key")];      // or `layer.places()`
//! let open = test_util::wrong_keys_get_in(&app, &places, routes).await;
//! assert_eq!(open, ["GET /health", "GET /debug"]);
//! # Ok(())
//! # }
//! ```
//!
//! A request was refused if its response has a [`Rejection`] in its extensions: a 401 or 404 of the
//! handler's own means that the handler was reached, and so it was behind a layer that
//! [only reports](crate::ApiKeyLayer::dangerous_report_only). So hand in the service with its layers for
//! keys, and without such layers around those as make a response anew. Where a layer guards what has no
//! route, a path that is mistyped is refused as well: ask for the same list with a good key, too.
//!
//! What was refused before anybody looked at it shows nothing, and is a panic that says why: one that did
//! not come as [`require_secure`](crate::ApiKeyLayer::require_secure) wants it needs a [`Request`] with
//! what its predicate reads.

use std::{fmt, future::poll_fn};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, HeaderName},
    request,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tower_service::Service;

use crate::{
    place::{Place, PlaceKind},
    rejection::{Reason, Rejection},
};

/// Sends these requests as they are, and gives those that got in.
///
/// A request is a method and a path, and then has an empty `String` for a body, or a [`Request`] of
/// your own, with whatever a stranger may send.
///
/// # Panics
///
/// On a bad method or path, and where a request is refused as insecure, or since the verifier failed.
#[must_use = "it tells who got in, and fails by itself for nobody"]
pub async fn strangers_get_in<S, R, B>(
    service: &S,
    requests: impl IntoIterator<Item = R>,
) -> Vec<GotIn>
where
    R: Stranger,
    S: Service<Request<R::Body>, Response = Response<B>> + Clone,
{
    let mut got_in = Vec::new();
    for request in requests {
        got_in.extend(try_to_get_in(service, request.request(), None).await);
    }
    got_in
}

/// Sends each of these requests once for every place, with a key there that is nobody's, and gives those
/// that got in. It shows a verifier that was left open, for development for example.
///
/// The key stands alone: whatever a [`Request`] of your own has in one of the places is taken out, and for
/// a scheme all of its `Authorization`. Its body is dropped, for an empty one.
///
/// Where a [`RequireScopeLayer`](crate::RequireScopeLayer) refused it for its scopes, the key was taken for
/// somebody's before, and that is in.
///
/// # Panics
///
/// On a bad method or path, without a place, and where it is not the verifier that refuses the key: since
/// it came in no secure way, the verifier failed, nobody looks for a key in that place, or its extractor
/// and [`max_key_len`](crate::ApiKeyLayer::max_key_len) let no such key through. For these send a wrong
/// key of your own, in a [`Request`] to [`strangers_get_in`].
#[allow(clippy::panic, reason = "a test's own mistake")]
#[must_use = "it tells who got in, and fails by itself for nobody"]
pub async fn wrong_keys_get_in<S, R, B>(
    service: &S,
    places: &[Place],
    requests: impl IntoIterator<Item = R>,
) -> Vec<GotIn>
where
    R: Stranger,
    R::Body: Default,
    S: Service<Request<R::Body>, Response = Response<B>> + Clone,
{
    if places.is_empty() {
        panic!("without a place there is no wrong key to send");
    }
    let mut got_in = Vec::new();
    for request in requests {
        let (mut head, _) = request.request().into_parts();
        for place in places {
            place.take_out_of_headers(&mut head.headers);
            place.take_out_of_uri(&mut head.uri);
        }
        for place in places {
            let mut head = head.clone();
            put_wrong_key(&mut head, place);
            let request = Request::from_parts(head, R::Body::default());
            got_in.extend(try_to_get_in(service, request, Some(place)).await);
        }
    }
    got_in
}

async fn try_to_get_in<S, B, B2>(
    service: &S,
    request: Request<B>,
    wrong_key: Option<&Place>,
) -> Option<GotIn>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
{
    let what = format!("{} {}", request.method(), request.uri().path());
    let mut service = service.clone();
    let response = match poll_fn(|cx| service.poll_ready(cx)).await {
        Ok(()) => service.call(request).await,
        Err(error) => Err(error),
    };
    // A rejection is a response, and so an error is of something further in.
    let status = response.as_ref().ok().map(Response::status);
    let got_in = GotIn { what, wrong_key: wrong_key.cloned(), status };
    match response.ok().and_then(|response| response.extensions().get().map(Rejection::reason)) {
        None => Some(got_in),
        Some(reason) => unless_refused(got_in, reason),
    }
}

/// A rejection shows that a request is refused if it is for the key that was sent, or for none: for any
/// other reason the guard that is tested was not asked, and might have let it in.
#[allow(clippy::panic, reason = "a test that shows nothing")]
fn unless_refused(request: GotIn, reason: Reason) -> Option<GotIn> {
    let has_wrong_key = request.wrong_key.is_some();
    let fix = match reason {
        Reason::Unknown
        | Reason::SchemeInHeader
        | Reason::NotYetValid
        | Reason::Expired
        | Reason::Revoked => return None,
        Reason::InsufficientScope => return has_wrong_key.then_some(request),
        Reason::Insecure => "give the request what the predicate of `require_secure` reads",
        Reason::Failed => "give the app a verifier that works",
        Reason::Missing
        | Reason::NoScheme
        | Reason::OtherScheme
        | Reason::Ambiguous
        | Reason::Malformed
        | Reason::TooLong
            if !has_wrong_key =>
        {
            return None;
        }
        Reason::Missing | Reason::NoScheme | Reason::OtherScheme => {
            "name the places of the layer that guards this route"
        }
        Reason::Ambiguous => "name all places of the layer, so that no other key stands there",
        Reason::Malformed => {
            "send a key that the extractor finds well-formed, by `strangers_get_in`"
        }
        Reason::TooLong => "send a key that is no longer than `max_key_len`, by `strangers_get_in`",
    };
    panic!("{request} proves nothing, since it was refused as {}: {fix}", reason.as_str())
}

fn put_wrong_key(head: &mut request::Parts, place: &Place) {
    const WRONG: &str = "a-key-of-nobody";
    let name = place.name();
    let (header, line) = match place.kind() {
        PlaceKind::Header => (name.parse().ok(), WRONG.to_owned()),
        PlaceKind::Cookie => (Some(COOKIE), format!("{name}={WRONG}")),
        PlaceKind::Scheme => (Some(AUTHORIZATION), format!("{name} {WRONG}")),
        PlaceKind::Query => {
            let uri = head.uri.to_string();
            let before = if uri.contains('?') { '&' } else { '?' };
            let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
            head.uri = uri_of(format!("{uri}{before}{name}={WRONG}"));
            return;
        }
    };
    // Names of places were checked to stand in headers.
    if let (Some::<HeaderName>(header), Ok(line)) = (header, HeaderValue::try_from(line)) {
        if header == COOKIE {
            head.headers.append(header, line);
        } else {
            head.headers.insert(header, line);
        }
    }
}

/// A request that a stranger makes: method and path, or a whole [`Request`].
pub trait Stranger {
    /// Its body.
    type Body;

    /// The request.
    fn request(self) -> Request<Self::Body>;
}

impl<B> Stranger for Request<B> {
    type Body = B;

    fn request(self) -> Self {
        self
    }
}

#[allow(clippy::panic, reason = "a test's own mistake")]
impl<M, P> Stranger for (M, P)
where
    Method: TryFrom<M>,
    P: AsRef<str>,
{
    type Body = String;

    fn request(self) -> Request<String> {
        let (method, path) = self;
        let mut request = Request::new(String::new());
        match Method::try_from(method) {
            Ok(method) => *request.method_mut() = method,
            Err(_) => panic!("no method, for {}", path.as_ref()),
        }
        *request.uri_mut() = uri_of(path.as_ref().to_owned());
        request
    }
}

#[allow(clippy::panic, reason = "a test's own mistake")]
fn uri_of(text: String) -> Uri {
    Uri::try_from(text).unwrap_or_else(|error| panic!("a path of a request: {error}"))
}

/// A request that was let in. It is equal to its method and path: `"GET /health"`.
#[derive(Clone)]
pub struct GotIn {
    what: String,
    wrong_key: Option<Place>,
    status: Option<StatusCode>,
}

impl GotIn {
    /// The status of the response, if it was one and no error.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Where the wrong key stood, if one was sent.
    #[must_use]
    pub fn wrong_key(&self) -> Option<&Place> {
        self.wrong_key.as_ref()
    }
}

impl PartialEq<&str> for GotIn {
    fn eq(&self, what: &&str) -> bool {
        self.what == *what
    }
}

/// Such as ``GET /health (200)``, or ``GET /health with a wrong key in header `x-api-key` (200)``.
impl fmt::Display for GotIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.wrong_key {
            write!(f, " with a wrong key in {place}")?;
        }
        match self.status {
            Some(status) => write!(f, " ({})", status.as_u16()),
            None => f.write_str(" (an error)"),
        }
    }
}

/// The same text, since that is what a failed assertion prints.
impl fmt::Debug for GotIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
