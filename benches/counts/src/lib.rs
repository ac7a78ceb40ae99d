//! What the counts and checks under valgrind have in common: keys, requests, and the service inside.

mod arena;
pub mod callgrind;
pub mod client_request;
pub mod floor;
pub mod secret;

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower_api_key::{Client, KeyDigest, Keyring};
use tower_service::Service;

pub type Body = Full<Bytes>;

/// Of the shape and length of a minted key.
pub fn key(number: usize) -> String {
    format!("sk_live_{number:07}_4f0pGQ8mLz2RxV7nYbT1dK")
}

/// As long as a key, and nobody's.
pub fn wrong_key(number: usize) -> String {
    format!("sk_live_{number:07}_0000000000000000000000")
}

#[inline]
pub fn keyring(keys: usize) -> Keyring {
    fill(Keyring::new(), keys)
}

/// Inserts the digests of so many keys.
pub fn fill(ring: Keyring, keys: usize) -> Keyring {
    let client = Client::new("client");
    for number in 0..keys {
        ring.insert_digest(KeyDigest::of(key(number)), client.clone()).expect("a new key");
    }
    ring
}

pub fn request(name: &str, value: &str) -> Request<Body> {
    let value = HeaderValue::from_str(value).expect("a header's value");
    Request::builder()
        .uri("/secret-data")
        .header("host", "localhost")
        .header("accept", "*/*")
        .header(name, value)
        .body(Body::default())
        .expect("a request")
}

pub fn with_key(value: &str) -> Request<Body> {
    request("x-api-key", value)
}

/// The inner service of all: it answers at once.
#[derive(Clone, Copy)]
pub struct Inner;

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::default())))
    }
}

/// Polls once: everything here is ready at once.
#[inline(never)]
pub fn answer<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>>,
    S::Error: Debug,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        _ => panic!("not at once"),
    }
}

/// Counts one request, up to the response's end.
pub fn count<S, B>(
    case: &str,
    status: StatusCode,
    mut service: S,
    request: impl Fn(usize) -> Request<Body>,
) where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Debug,
{
    assert_eq!(answer(&mut service, request(0)).status(), status, "{case}");
    callgrind::count(case, request, &mut |request| discard(answer(&mut service, request)));
}

/// Drops in one place, whoever calls, so that it costs all of them the same.
#[inline(never)]
pub fn discard<T>(value: T) {
    drop(value);
}

/// A digest that differs from that of a key in one bit.
pub fn differing_at(key: &str, byte: usize) -> KeyDigest {
    let mut bytes = KeyDigest::of(key).to_bytes();
    bytes[byte] ^= 0x10;
    KeyDigest::from_bytes(bytes)
}
