//! A service of tower's that answers at once, and nothing else around the layer.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use tower::{Layer, Service, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    extract::{Extract, bearer, cookie, header, query, scheme},
};
use tower_http::validate_request::ValidateRequestHeaderLayer;

use super::{
    NAME, by_hand, oauth, ours,
    requests::{in_bearer, in_cookie, in_header, in_no_place, in_query, in_scheme},
};
use crate::{
    harness::Bench,
    keys::{Known, SIZES, Stores, key},
    row::{
        Asked::{self, Hot, Missing, Random, Wrong},
        BY_HAND, OAUTH, OURS, OURS_CACHED, Row,
    },
};

type Body = Full<Bytes>;

pub fn cases(bench: &mut Bench, stores: &Stores) {
    bare(bench);
    peers(bench);
    for keys in SIZES {
        beside_by_hand(bench, stores, keys, Hot, 1);
        if keys > 1 {
            beside_by_hand(bench, stores, keys, Random, 1);
        }
        beside_by_hand(bench, stores, keys, Wrong, 1);
    }
    bench.add(row(BY_HAND).asked(Missing), || by_hand(stores.known(1)), in_no_place);
    bench.add(row(OURS).asked(Missing), || ours(stores.ring(1)).layer(Inner), in_no_place);
    places(bench, stores.ring(1));

    bench.add(row("no layer").threads(2), || Inner, in_header);
    bench.add(row(OAUTH).threads(2), || oauth(1).layer(Inner), in_header);
    for (keys, asked) in [(1, Hot), (1, Wrong), (1_000_000, Hot), (1_000_000, Random)] {
        beside_by_hand(bench, stores, keys, asked, 2);
    }
}

fn row(who: &'static str) -> Row {
    Row::new("tower", who)
}

fn bare(bench: &mut Bench) {
    let client = Client::new("client-0");
    bench.add(row("no layer"), || Inner, in_header);
    let inserted = client.clone();
    let insert = Inner.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(inserted.clone());
        request
    });
    bench.add(row("the client inserted, no more"), || insert, in_header);
    bench.add(row("floor: remove, SHA-256, insert"), || Floor(Inner, client), in_header);
}

fn peers(bench: &mut Bench) {
    for asked in [Hot, Wrong] {
        let plain = || by_hand::plain(key(0), unauthorized).layer(Inner);
        bench.add(row("tower-http's check with `==`").asked(asked), plain, in_header);
    }
    for asked in [Hot, Wrong] {
        #[expect(deprecated, reason = "it is what there was")]
        let bearer = || ValidateRequestHeaderLayer::bearer(&key(0)).layer(Inner);
        bench.add(row("tower-http's bearer (deprecated)").asked(asked), bearer, in_bearer);
    }
    for (keys, asked) in [(1, Hot), (1, Wrong), (1000, Hot), (1000, Wrong)] {
        let oauth = || oauth(keys).layer(Inner);
        bench.add(row(OAUTH).keys(keys).asked(asked), oauth, in_header);
    }
    bench.add(row(OAUTH).asked(Missing), || oauth(1).layer(Inner), in_no_place);
}

fn beside_by_hand(bench: &mut Bench, stores: &Stores, keys: usize, asked: Asked, threads: usize) {
    let row = |who| row(who).keys(keys).asked(asked).threads(threads);
    bench.add(row(BY_HAND), || by_hand(stores.known(keys)), in_header);
    bench.add(row(OURS), || ours(stores.ring(keys)).layer(Inner), in_header);
}

fn by_hand(
    known: Known,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send {
    by_hand::layer(known, unauthorized).layer(Inner)
}

/// The others, and what the headers for caches cost.
fn places(bench: &mut Bench, keys: &Keyring) {
    let cached = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    bench.add(row(OURS_CACHED), || cached.layer(Inner), in_header);
    let names = ["ours, bearer", "ours, bearer, cache headers"];
    place(bench, names, bearer(), keys, in_bearer);
    let names = ["ours, scheme", "ours, scheme, cache headers"];
    place(bench, names, scheme("Token"), keys, in_scheme);
    let names = ["ours, cookie", "ours, cookie, cache headers"];
    place(bench, names, cookie("api_key"), keys, in_cookie);
    let names = ["ours, query", "ours, query, cache headers"];
    place(bench, names, query("api_key"), keys, in_query);
    let names = ["ours, header of three places", "ours, header of three places, cache headers"];
    let three = (header("x-api-key"), bearer(), query("api_key"));
    place(bench, names, three, keys, in_header);
}

fn place<E>(
    bench: &mut Bench,
    [plain, cached]: [&'static str; 2],
    extract: E,
    keys: &Keyring,
    request: fn(&str) -> Request<Body>,
) where
    E: Extract + Clone + Send + Sync + 'static,
{
    let layer = ApiKeyLayer::new(extract, keys.clone());
    bench.add(row(plain), || layer.clone().no_cache_headers().layer(Inner), request);
    bench.add(row(cached), || layer.layer(Inner), request);
}

fn unauthorized() -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"error":"Unauthorized access"}"#));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
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

/// What no API-key layer with digests can do without: the header out, one SHA-256, the client in.
#[derive(Clone)]
struct Floor<S>(S, Client);

impl<S: Service<Request<Body>>> Service<Request<Body>> for Floor<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        if let Some(key) = request.headers_mut().remove(NAME) {
            black_box(Sha256::digest(key.as_bytes()));
        }
        request.extensions_mut().insert(self.1.clone());
        self.0.call(request)
    }
}
