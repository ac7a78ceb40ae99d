//! What a request costs behind the layer, beside the same without it and beside its peers.
//!
//! `cargo bench --all-features` measures and prints a table; `benches/README.md` holds the last one.

#![allow(clippy::result_large_err, reason = "tower-http's closures answer so")]

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Write,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, middleware::Next, response::IntoResponse, routing::get};
use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower::{Layer, Service, ServiceBuilder};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::{Extract, bearer, cookie, header, query, scheme},
};
use tower_http::validate_request::ValidateRequestHeaderLayer;

type Body = Full<Bytes>;

const NAME: HeaderName = HeaderName::from_static("x-api-key");
const MILLION: usize = 1_000_000;

/// Of the shape and length of a minted key.
fn key(number: usize) -> String {
    format!("sk_live_{number:07}_4f0pGQ8mLz2RxV7nYbT1dK")
}

fn keyring(keys: usize) -> Keyring {
    let ring = Keyring::new();
    let clients: Vec<_> = (0..1000).map(|id| Client::new(format!("client-{id}"))).collect();
    for number in 0..keys {
        ring.insert(key(number), clients[number % 1000].clone()).expect("a new key");
    }
    ring
}

fn request(name: &str, value: &str) -> Request<Body> {
    let value = HeaderValue::from_str(value).expect("a header's value");
    Request::builder()
        .uri("/secret-data")
        .header("host", "localhost")
        .header("accept", "*/*")
        .header(name, value)
        .body(Body::default())
        .expect("a request")
}

fn with_key(value: &str) -> Request<Body> {
    request("x-api-key", value)
}

/// The inner service of all: it answers at once.
#[derive(Clone, Copy)]
struct Inner;

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

/// Polls once: everything here is ready at once.
fn run<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>>,
    S::Error: std::fmt::Debug,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        _ => panic!("not at once"),
    }
}

struct Bench {
    criterion: Criterion,
    cases: Vec<&'static str>,
}

impl Bench {
    fn case<S, B>(
        &mut self,
        name: &'static str,
        status: StatusCode,
        mut service: S,
        mut request: impl FnMut() -> Request<Body>,
    ) where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: std::fmt::Debug,
    {
        assert_eq!(run(&mut service, request()).status(), status, "{name}");
        self.begin(name);
        self.criterion.bench_function(name, |bencher| {
            let size = BatchSize::NumIterations(64);
            bencher.iter_batched(&mut request, |request| drop(run(&mut service, request)), size);
        });
    }

    /// Forgets an earlier run's figure, so that a filtered run shows its own alone.
    fn begin(&mut self, name: &'static str) {
        std::fs::remove_file(estimates(name)).ok();
        self.cases.push(name);
    }

    /// The medians, as ratios to the peers in the same run.
    fn table(&self) -> String {
        let medians: Vec<_> = self.cases.iter().map(|name| (*name, median(name))).collect();
        let of =
            |name| medians.iter().find(|(case, _)| *case == name).map_or(f64::NAN, |(_, ns)| *ns);
        let (by_hand, one, from_fn) =
            (of("tower: by hand, same job"), of("tower: ours, 1 key"), of("axum: from_fn with =="));
        let mut table = String::from(
            "| case | ns | to by hand | to ours, 1 key | to from_fn |\n|---|--:|--:|--:|--:|\n",
        );
        for (name, ns) in medians.iter().filter(|(_, ns)| ns.is_finite()) {
            let ratio = |to: f64| format!("{:.2}", ns / to);
            let (a, b, c) = match name.split_once(':') {
                Some(("axum", _)) => (String::new(), String::new(), ratio(from_fn)),
                _ => (ratio(by_hand), ratio(one), String::new()),
            };
            writeln!(table, "| {name} | {ns:.0} | {a} | {b} | {c} |").expect("a string grows");
        }
        table
    }
}

fn estimates(name: &str) -> String {
    let folder = name.replace([':', '/', '*', '?', '"', '<', '>', '|', '\\'], "_");
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    format!("{target}/criterion/{folder}/new/estimates.json")
}

fn median(name: &str) -> f64 {
    let read = std::fs::read(estimates(name)).ok();
    let json: Option<serde_json::Value> = read.and_then(|it| serde_json::from_slice(&it).ok());
    json.and_then(|it| it["median"]["point_estimate"].as_f64()).unwrap_or(f64::NAN)
}

fn ours<E: Extract>(extract: E, keys: &Keyring) -> ApiKeyLayer<E, Keyring> {
    ApiKeyLayer::new(extract, keys.clone()).no_cache_headers()
}

fn tower_cases(bench: &mut Bench) {
    let good = key(0);
    let client = Client::new("client-0");
    let hot = || with_key(&good);

    bench.case("tower: bare", StatusCode::OK, Inner, hot);
    let insert = client.clone();
    let insert = ServiceBuilder::new().map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(insert.clone());
        request
    });
    bench.case("tower: bare and the insert", StatusCode::OK, insert.service(Inner), hot);
    bench.case(
        "tower: floor (remove, hash, insert)",
        StatusCode::OK,
        Floor(Inner, client.clone()),
        hot,
    );

    let naive = good.clone();
    let naive =
        ValidateRequestHeaderLayer::custom(move |request: &mut Request<Body>| {
            match request.headers().get(NAME) {
                Some(value) if value == naive.as_str() => Ok(()),
                _ => Err(unauthorized()),
            }
        });
    bench.case("tower: tower-http with ==", StatusCode::OK, naive.layer(Inner), hot);

    let known: HashMap<[u8; 32], Client> =
        HashMap::from([(Sha256::digest(&good).into(), client.clone())]);
    let by_hand = ValidateRequestHeaderLayer::custom(move |request: &mut Request<Body>| {
        let value = request.headers().get(NAME).ok_or_else(unauthorized)?;
        let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
        let (stored, client) = known.get_key_value(&digest).ok_or_else(unauthorized)?;
        if !bool::from(stored.ct_eq(&digest)) {
            return Err(unauthorized());
        }
        request.headers_mut().remove(NAME);
        request.extensions_mut().insert(client.clone());
        Ok(())
    });
    bench.case("tower: by hand, same job", StatusCode::OK, by_hand.clone().layer(Inner), hot);
    let wrong = || with_key("sk_live_nobodys_4f0pGQ8mLz2RxV7nYbT1dK");
    bench.case("tower: by hand, refused", StatusCode::UNAUTHORIZED, by_hand.layer(Inner), wrong);

    let one = keyring(1);
    bench.case(
        "tower: ours, 1 key",
        StatusCode::OK,
        ours(header("x-api-key"), &one).layer(Inner),
        hot,
    );
    let thousand = ours(header("x-api-key"), &keyring(1000)).layer(Inner);
    bench.case("tower: ours, 1,000 keys", StatusCode::OK, thousand, hot);
    let million = keyring(MILLION);
    let layer = ours(header("x-api-key"), &million);
    bench.case("tower: ours, 1,000,000 keys, hot", StatusCode::OK, layer.layer(Inner), hot);
    let mut state = 1_usize;
    let random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        with_key(&key((state >> 33) % MILLION))
    };
    bench.case("tower: ours, 1,000,000 keys, random", StatusCode::OK, layer.layer(Inner), random);
    bench.case(
        "tower: ours, 1,000,000 keys, refused",
        StatusCode::UNAUTHORIZED,
        layer.layer(Inner),
        wrong,
    );
    drop((million, layer));

    let refused = ours(header("x-api-key"), &one).layer(Inner);
    bench.case("tower: ours, 1 key, refused", StatusCode::UNAUTHORIZED, refused.clone(), wrong);
    let missing = || request("x-other", "nothing");
    bench.case("tower: ours, no key", StatusCode::UNAUTHORIZED, refused, missing);
    let cached = ApiKeyLayer::new(header("x-api-key"), one.clone()).layer(Inner);
    bench.case("tower: ours, 1 key, cache headers on", StatusCode::OK, cached, hot);

    let authorization = format!("Bearer {good}");
    let hot = || request("authorization", &authorization);
    bench.case("tower: ours, bearer", StatusCode::OK, ours(bearer(), &one).layer(Inner), hot);
    let authorization = format!("Token {good}");
    let hot = || request("authorization", &authorization);
    bench.case(
        "tower: ours, scheme",
        StatusCode::OK,
        ours(scheme("Token"), &one).layer(Inner),
        hot,
    );
    let line = format!("theme=dark; api_key={good}; lang=en");
    let hot = || request("cookie", &line);
    bench.case(
        "tower: ours, cookie",
        StatusCode::OK,
        ours(cookie("api_key"), &one).layer(Inner),
        hot,
    );
    let uri: http::Uri =
        format!("/secret-data?page=1&api_key={good}&size=10").parse().expect("a URI");
    let hot = || {
        let mut request = request("x-other", "nothing");
        *request.uri_mut() = uri.clone();
        request
    };
    bench.case(
        "tower: ours, query",
        StatusCode::OK,
        ours(query("api_key"), &one).layer(Inner),
        hot,
    );
    let several = ours((header("x-api-key"), bearer(), query("api_key")), &one);
    bench.case("tower: ours, header of three", StatusCode::OK, several.layer(Inner), || {
        with_key(&good)
    });
}

fn unauthorized() -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"error":"Unauthorized access"}"#));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

fn axum_cases(bench: &mut Bench) {
    let good = key(0);
    let app = || Router::new().route("/secret-data", get(|| async {}));

    let mut case = |name, router: Router| {
        let mut router = router.with_state::<()>(());
        let service = tower::service_fn(move |request: Request<Body>| {
            Service::call(&mut router, request.map(|_| axum::body::Body::empty()))
        });
        bench.case(name, StatusCode::OK, service, || with_key(&good));
    };
    case("axum: bare", app());
    let client = Client::new("client-0");
    let insert = tower::util::MapRequestLayer::new(move |mut request: axum::extract::Request| {
        request.extensions_mut().insert(client.clone());
        request
    });
    case("axum: insert alone", app().layer(insert));
    let known = good.clone();
    let from_fn = axum::middleware::from_fn(move |headers: HeaderMap, request, next: Next| {
        let known = headers.get(NAME).is_some_and(|value| value == known.as_str());
        async move {
            if known { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    });
    case("axum: from_fn with ==", app().layer(from_fn));
    case("axum: ours, 1 key", app().layer(ours(header("x-api-key"), &keyring(1))));
    let cached = ApiKeyLayer::new(header("x-api-key"), keyring(1));
    case("axum: ours, 1 key, cache headers on", app().layer(cached));
}

fn digest_case(bench: &mut Bench) {
    let good = key(0);
    bench.begin("SHA-256 of a key alone");
    bench.criterion.bench_function("SHA-256 of a key alone", |bencher| {
        bencher.iter(|| KeyDigest::of(black_box(&good)));
    });
}

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut bench = Bench { criterion, cases: Vec::new() };
    digest_case(&mut bench);
    tower_cases(&mut bench);
    axum_cases(&mut bench);
    bench.criterion.final_summary();
    println!("\n{}", bench.table());
}
