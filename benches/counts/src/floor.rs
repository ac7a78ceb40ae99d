//! What a request costs without this library. It is compiled apart from all that is counted, so that
//! no change of that changes what is inlined here.

#![allow(clippy::result_large_err, reason = "tower-http's closures answer so")]

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Ready,
    hint::black_box,
    task::{Context, Poll},
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_api_key::Client;
use tower_http::validate_request::ValidateRequestHeaderLayer;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Body, Inner, count, key, request, with_key, wrong_key};

pub const FLOOR: &str = "floor";
pub const FLOOR_WITHOUT_KEY: &str = "floor, no key";
pub const FLOOR_WITHOUT_LIMIT: &str = "floor, no limit";
pub const BY_HAND: &str = "by hand, accepted";
pub const BY_HAND_REFUSED: &str = "by hand, refused";

const NAME: HeaderName = HeaderName::from_static("x-api-key");

pub fn cases() {
    let floor = Floor(Client::new("client"));
    count(FLOOR, StatusCode::OK, floor.clone(), |_| with_key(&key(0)));
    count(FLOOR_WITHOUT_KEY, StatusCode::OK, floor, |_| request("x-other", "nothing"));
    count(BY_HAND, StatusCode::OK, by_hand(), |_| with_key(&key(0)));
    let wrong = |number| with_key(&wrong_key(number));
    count(BY_HAND_REFUSED, StatusCode::UNAUTHORIZED, by_hand(), wrong);
}

/// What no API-key layer with digests can do without: the header out, one SHA-256, the client in.
#[derive(Clone)]
struct Floor(Client);

impl Service<Request<Body>> for Floor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(key) = request.headers_mut().remove(NAME) {
            black_box(Sha256::digest(key.as_bytes()));
        }
        request.extensions_mut().insert(self.0.clone());
        Inner.call(request)
    }
}

/// The same job in a closure for tower-http.
fn by_hand() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    let known: HashMap<[u8; 32], Client> =
        HashMap::from([(Sha256::digest(key(0)).into(), Client::new("client"))]);
    let unauthorized = || {
        let mut response = Response::new(Body::from(r#"{"error":"Unauthorized access"}"#));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response
    };
    let layer = ValidateRequestHeaderLayer::custom(move |request: &mut Request<Body>| {
        let value: &HeaderValue = request.headers().get(NAME).ok_or_else(unauthorized)?;
        let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
        let (stored, client) = known.get_key_value(&digest).ok_or_else(unauthorized)?;
        if !bool::from(stored.ct_eq(&digest)) {
            return Err(unauthorized());
        }
        request.headers_mut().remove(NAME);
        request.extensions_mut().insert(client.clone());
        Ok(())
    });
    layer.layer(Inner)
}
