//! A `GET` with three headers, or a gRPC call, with the key in one place or another.

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;

pub fn in_header<B: Default>(key: &str) -> Request<B> {
    get("/secret-data", "x-api-key", key)
}

pub fn in_no_place<B: Default>(_: &str) -> Request<B> {
    get("/secret-data", "x-other", "nothing")
}

pub fn in_bearer<B: Default>(key: &str) -> Request<B> {
    get("/secret-data", "authorization", &format!("Bearer {key}"))
}

pub fn in_scheme<B: Default>(key: &str) -> Request<B> {
    get("/secret-data", "authorization", &format!("Token {key}"))
}

pub fn in_cookie<B: Default>(key: &str) -> Request<B> {
    get("/secret-data", "cookie", &format!("theme=dark; api_key={key}; lang=en"))
}

pub fn in_query<B: Default>(key: &str) -> Request<B> {
    get(&format!("/secret-data?page=1&api_key={key}&size=10"), "x-other", "nothing")
}

fn get<B: Default>(uri: &str, name: &str, value: &str) -> Request<B> {
    Request::get(uri)
        .header("host", "localhost")
        .header("accept", "*/*")
        .header(name, HeaderValue::from_str(value).expect("a header's value"))
        .body(B::default())
        .expect("a request")
}

/// A call of the health service, with an empty message.
pub fn call(key: &str) -> Request<Full<Bytes>> {
    Request::post("/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-api-key", HeaderValue::from_str(key).expect("a header's value"))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .expect("a request")
}
