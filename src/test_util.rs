//! Test helpers: check that every route of an app is protected. (Feature `test-util`.)
//!
//! # Example: find unprotected routes
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_api_key::{ApiKeyLayer, Keyring, KeyLocation, extract::header, test_util};
//!
//! fn app(keys: Keyring) -> Router {
//!     Router::new()
//!         .route("/jobs", get(async || "jobs").post(async || "submitted"))
//!         .layer(ApiKeyLayer::new(header("x-api-key"), keys))
//!         .route("/health", get(async || "healthy"))
//!         .route("/debug", get(async || "internals"))      // added after the layer, by mistake
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = app(Keyring::single("12345abcde")?);
//! let routes = [("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/health"), ("GET", "/debug")];
//!
//! let unprotected = test_util::unprotected(&app, routes).await;
//! assert_eq!(unprotected, ["GET /health", "GET /debug"]);
//!
//! let locations = [KeyLocation::header("x-api-key")];      // or `layer.locations()`
//! let unprotected = test_util::wrong_keys_get_in(&app, &locations, routes).await;
//! assert_eq!(unprotected, ["GET /health", "GET /debug"]);
//! # Ok(())
//! # }
//! ```
//!
//! # When is a request unprotected?
//!
//! A response to a protected request has a [`Rejection`] in its extensions. A 401 or 404 without one is from
//! the handler, so the request is unprotected. That includes a layer that
//! [only reports](crate::ApiKeyLayer::dangerous_report_only).
//!
//! Pass the service with its key layers. Leave out layers further out that create a response anew, because
//! they lose the extensions. If a layer protects paths without a route, it also rejects a mistyped path, so
//! test the same list with a valid key as well.
//!
//! If a request is rejected before its key is checked, the test is void. It then panics and says why.
//! For example, a request to a layer with [`require_secure`](crate::ApiKeyLayer::require_secure) must have
//! the content that the predicate reads.

mod request;
#[cfg(feature = "store")]
mod store;
mod unprotected;

use std::future::poll_fn;

use http::{Request, Response};
use tower_service::Service;

use self::request::put_wrong_key;
#[cfg(feature = "store")]
pub use self::store::{StoreBehaviour, store_behaviours, store_conforms};
pub use self::{request::IntoTestRequest, unprotected::Unprotected};
use crate::{
    location::KeyLocation,
    rejection::{Reason, Rejection},
    respond::GuardMark,
};

/// Sends requests without a key, and returns those that are unprotected.
///
/// A request is a method and a path, with an empty `String` as its body. It can also be a [`Request`] of your
/// own, which is sent unchanged.
///
/// # Panics
///
/// If a method or path is invalid. If the test is void, because a request is insecure, because a guard
/// outside rejects it, because a guard inside forbids it, or because the verifier or a guard failed. If a guard
/// inside rejects an anonymous request by [`Anonymous::reject`](crate::Anonymous::reject), the request is
/// protected.
#[must_use = "this returns the unprotected requests and does not fail for them"]
pub async fn unprotected<S, R, B>(
    service: &S,
    requests: impl IntoIterator<Item = R>,
) -> Vec<Unprotected>
where
    R: IntoTestRequest,
    S: Service<Request<R::Body>, Response = Response<B>> + Clone,
{
    let mut unprotected = Vec::new();
    for request in requests {
        unprotected.extend(send(service, request.into_test_request(), None).await);
    }
    unprotected
}

/// Sends each request with a wrong key, once for each location, and returns those that are unprotected.
///
/// Use it to find a verifier that accepts every key, for example one for development.
///
/// The wrong key is the only key. The keys of a [`Request`] of your own are removed from all locations, and
/// for a scheme the whole `Authorization`. Its body becomes empty.
///
/// If a guard inside rejects the request as forbidden or limited, the layer passed the wrong key on, so the
/// request is unprotected. The guard can be a [`RequireScopeLayer`](crate::RequireScopeLayer), a limit, or your
/// own.
///
/// # Panics
///
/// If a method or path is invalid, or there is no location. If the test is void, because something other
/// than the verifier rejects a request. Such a cause is `require_secure`, a guard outside, a verifier or guard
/// that failed, a location that the layer does not read, an extractor, or
/// [`max_key_len`](crate::ApiKeyLayer::max_key_len).
/// Then pass a [`Request`] with a wrong key of your own to [`unprotected()`].
#[allow(clippy::panic, reason = "a mistake in the test")]
#[must_use = "this returns the unprotected requests and does not fail for them"]
pub async fn wrong_keys_get_in<S, R, B>(
    service: &S,
    locations: &[KeyLocation],
    requests: impl IntoIterator<Item = R>,
) -> Vec<Unprotected>
where
    R: IntoTestRequest,
    R::Body: Default,
    S: Service<Request<R::Body>, Response = Response<B>> + Clone,
{
    if locations.is_empty() {
        panic!("there is no location in which to send a wrong key");
    }
    let mut unprotected = Vec::new();
    for request in requests {
        let (mut head, _) = request.into_test_request().into_parts();
        for location in locations {
            location.strip_headers(&mut head.headers);
            location.strip_uri(&mut head.uri);
        }
        for location in locations {
            let mut head = head.clone();
            put_wrong_key(&mut head, location);
            let request = Request::from_parts(head, R::Body::default());
            unprotected.extend(send(service, request, Some(location)).await);
        }
    }
    unprotected
}

async fn send<S, B, B2>(
    service: &S,
    request: Request<B>,
    wrong_key: Option<&KeyLocation>,
) -> Option<Unprotected>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
{
    let text = format!("{} {}", request.method(), request.uri().path());
    let mut service = service.clone();
    let response = match poll_fn(|cx| service.poll_ready(cx)).await {
        Ok(()) => service.call(request).await,
        Err(error) => Err(error),
    };
    // A rejection is a response, so an error is from a service further in.
    let status = response.as_ref().ok().map(Response::status);
    let sent = Unprotected { text, wrong_key: wrong_key.cloned(), status };
    let extensions = response.as_ref().ok().map(Response::extensions);
    let Some(rejection) = extensions.and_then(|it| it.get::<Rejection>()) else {
        return Some(sent);
    };
    // The layer around a guard removes the mark of the guard.
    let is_outside = extensions.is_some_and(|it| it.get::<GuardMark>().is_some());
    unless_rejected(sent, rejection.reason(), is_outside)
}

/// Returns the request unless the rejection shows that it is protected.
///
/// A rejection shows that if its reason is the key that was sent, or a missing key. If a guard inside forbids or
/// limits a request with a wrong key, the layer passed the key on. In all other cases the layer under test may not
/// have checked the key, and could have accepted the request.
#[allow(clippy::panic, reason = "a test that proves nothing")]
fn unless_rejected(request: Unprotected, reason: Reason, is_outside: bool) -> Option<Unprotected> {
    let has_wrong_key = request.wrong_key.is_some();
    let fix = match reason {
        Reason::Unknown
        | Reason::SchemeInHeader
        | Reason::NotYetValid
        | Reason::Expired
        | Reason::Revoked
        | Reason::Paused => return None,
        Reason::InsufficientScope
        | Reason::Forbidden
        | Reason::Limited
        | Reason::CostAboveLimit
            if has_wrong_key && !is_outside =>
        {
            return Some(request);
        }
        Reason::InsufficientScope | Reason::Limited | Reason::CostAboveLimit if !is_outside => {
            return None;
        }
        Reason::InsufficientScope | Reason::Forbidden if is_outside => {
            "send a request that the guard allows, or put a key layer outside of the guard"
        }
        Reason::InsufficientScope | Reason::Forbidden => {
            "send a request that the guard allows, or let the guard call `Anonymous::reject`"
        }
        Reason::Limited | Reason::CostAboveLimit => "lift the limit",
        Reason::Insecure => "send a request for which the predicate of `require_secure` holds",
        Reason::TooManyFailures => "lift the limit of failures",
        Reason::Failed => "give the app a verifier that works, and guards that work",
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
            "name the locations of the layer that guards this route"
        }
        Reason::Ambiguous => {
            "name all locations of the layer, so that the request has no other key"
        }
        Reason::Malformed => "send a well-formed wrong key of your own with `unprotected`",
        Reason::TooLong => "send a wrong key within `max_key_len` with `unprotected`",
    };
    panic!("{request} proves nothing, because it was rejected as {}: {fix}", reason.as_str())
}
