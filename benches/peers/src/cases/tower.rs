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
    keys::{SIZES, Stores, key},
    row::{
        Asked::{Missing, Random, Wrong},
        BY_HAND, OAUTH, OURS, OURS_CACHED, Row,
    },
};

type Body = Full<Bytes>;

const MILLION: usize = 1_000_000;

pub fn cases(bench: &mut Bench, stores: &Stores) {
    bare(bench);
    peers(bench, stores);
    header_place(bench, stores);
    places(bench, stores.ring(1));
    two_threads(bench, stores);
}

fn row(who: &'static str) -> Row {
    Row::new("tower", who)
}

fn bare(bench: &mut Bench) {
    let client = Client::new("client-0");
    bench.add(row("no layer"), Inner, in_header);
    let inserted = client.clone();
    let insert = Inner.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(inserted.clone());
        request
    });
    bench.add(row("the client inserted, no more"), insert, in_header);
    bench.add(row("floor: remove, SHA-256, insert"), Floor(Inner, client), in_header);
}

fn peers(bench: &mut Bench, stores: &Stores) {
    let plain = by_hand::plain(key(0), unauthorized).layer(Inner);
    let plain_row = row("tower-http's check with `==`");
    bench.add(plain_row.clone(), plain.clone(), in_header);
    bench.add(plain_row.asked(Wrong), plain, in_header);

    #[expect(deprecated, reason = "it is what there was")]
    let bearer = ValidateRequestHeaderLayer::bearer(&key(0)).layer(Inner);
    let bearer_row = row("tower-http's bearer (deprecated)");
    bench.add(bearer_row.clone(), bearer.clone(), in_bearer);
    bench.add(bearer_row.asked(Wrong), bearer, in_bearer);

    for keys in [1, 1000] {
        let (row, oauth) = (row(OAUTH).keys(keys), oauth(keys).layer(Inner));
        bench.add(row.clone(), oauth.clone(), in_header);
        bench.add(row.clone().asked(Wrong), oauth.clone(), in_header);
        if keys == 1 {
            bench.add(row.asked(Missing), oauth, in_no_place);
        }
    }

    let by_hand = |keys| by_hand::layer(stores.known(keys), unauthorized).layer(Inner);
    for keys in SIZES {
        bench.add(row(BY_HAND).keys(keys), by_hand(keys), in_header);
        if keys > 1 {
            bench.add(row(BY_HAND).keys(keys).asked(Random), by_hand(keys), in_header);
        }
        bench.add(row(BY_HAND).keys(keys).asked(Wrong), by_hand(keys), in_header);
    }
    bench.add(row(BY_HAND).asked(Missing), by_hand(1), in_no_place);
}

fn header_place(bench: &mut Bench, stores: &Stores) {
    let ours = |keys| ours(stores.ring(keys)).layer(Inner);
    for keys in SIZES {
        bench.add(row(OURS).keys(keys), ours(keys), in_header);
        if keys > 1 {
            bench.add(row(OURS).keys(keys).asked(Random), ours(keys), in_header);
        }
        bench.add(row(OURS).keys(keys).asked(Wrong), ours(keys), in_header);
    }
    bench.add(row(OURS).asked(Missing), ours(1), in_no_place);
    let cached = ApiKeyLayer::new(header("x-api-key"), stores.ring(1).clone()).layer(Inner);
    bench.add(row(OURS_CACHED), cached, in_header);
}

/// The others, and what the headers for caches cost.
fn places(bench: &mut Bench, keys: &Keyring) {
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
    bench.add(row(plain), layer.clone().no_cache_headers().layer(Inner), request);
    bench.add(row(cached), layer.layer(Inner), request);
}

/// The same service on each, and one store.
fn two_threads(bench: &mut Bench, stores: &Stores) {
    let row = |who| row(who).threads(2);
    bench.add(row("no layer"), Inner, in_header);
    bench.add(row(OAUTH), oauth(1).layer(Inner), in_header);
    for keys in [1, MILLION] {
        let by_hand = by_hand::layer(stores.known(keys), unauthorized).layer(Inner);
        let ours = ours(stores.ring(keys)).layer(Inner);
        bench.add(row(BY_HAND).keys(keys), by_hand.clone(), in_header);
        bench.add(row(OURS).keys(keys), ours.clone(), in_header);
        if keys > 1 {
            bench.add(row(BY_HAND).keys(keys).asked(Random), by_hand, in_header);
            bench.add(row(OURS).keys(keys).asked(Random), ours, in_header);
        } else {
            bench.add(row(BY_HAND).asked(Wrong), by_hand, in_header);
            bench.add(row(OURS).asked(Wrong), ours, in_header);
        }
    }
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
