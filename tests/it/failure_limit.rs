//! `FailureLimitLayer`: rejected keys of each peer, over real sockets and in detail.

#![cfg(feature = "limit")]

use crate::support;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::{KEY, OTHER, SPOTS, WRONG, keys, log::Log, strict, value};
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::{
    Code,
    transport::server::{TcpConnectInfo, TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, FailureLimitLayer, KeyDigest, KeyLocation, Keyring, Rejection,
    RequireScopeLayer,
    extract::{RequestHead, header},
    limit::{
        Limit, Peer,
        peer::{self, from_extension, x_forwarded_for},
    },
    observe::{Decision, Observe},
    rejection::Reason,
    respond::{Problem, RejectionWriter},
    verify::{self, Verify},
};

const LIMIT: Limit = Limit::per_minute("failures", 3);

fn layer() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// The peer of a request without a socket.
#[derive(Clone)]
struct From(&'static str);

fn peer_of(head: RequestHead<'_>) -> Option<IpAddr> {
    head.extensions().get().and_then(|From(address)| address.parse().ok())
}

type PeerOf = fn(RequestHead<'_>) -> Option<IpAddr>;

fn failures() -> FailureLimitLayer<PeerOf> {
    FailureLimitLayer::new(LIMIT, peer_of, layer().rejection_writer())
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// A request of 192.0.2.1.
fn with_key(key: &str) -> Request<()> {
    of("192.0.2.1", key)
}

fn of(address: &'static str, key: &str) -> Request<()> {
    let request = Request::post("/jobs?secret=1").header("x-api-key", key);
    request.extension(From(address)).body(()).unwrap()
}

/// A service that answers at once, and whose body ends at once.
fn hello()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone
{
    service_fn(async |_: Request<()>| Ok(Response::new(Full::from("hello"))))
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    reason: Option<Reason>,
}

impl Reply {
    fn line(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |line| line.to_str().unwrap())
    }
}

async fn ask<S, B, B2>(service: &S, request: Request<B>) -> Reply
where
    S: Service<Request<B>, Response = Response<B2>, Error = Infallible> + Clone,
    B2: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    reply(service.clone().oneshot(request).await.unwrap()).await
}

async fn reply<B: Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> Reply {
    let (head, body) = response.into_parts();
    let reason = head.extensions.get::<Rejection>().map(Rejection::reason);
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status.as_u16(), headers: head.headers, body, reason }
}

// Over real sockets.

/// Calls a server from an address of this machine.
async fn call(server: SocketAddr, from: [u8; 4], headers: &[(&'static str, &str)]) -> Reply {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(from.into()));
    let client = legacy::Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let request = Request::get(format!("http://{server}/"));
    let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, *value));
    reply(client.request(request.body(Empty::new()).unwrap()).await.unwrap()).await
}

/// Addresses of this machine. Only Linux has all of them.
const ONE: [u8; 4] = [127, 0, 0, 1];
#[cfg(target_os = "linux")]
const TWO: [u8; 4] = [127, 0, 0, 2];

#[cfg(all(feature = "axum", target_os = "linux"))]
#[tokio::test]
async fn r51_an_axum_caller_with_wrong_keys_gets_429_and_other_callers_do_not() {
    let layer = layer().respond(Problem::default());
    let failures = FailureLimitLayer::new(LIMIT, peer::connect_info, layer.rejection_writer());
    let app = axum::Router::new()
        .route("/", axum::routing::get(async || "hello"))
        .layer(layer)
        .layer(failures.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    let key = |key| [("x-api-key", key)];
    for _ in 0..3 {
        assert_eq!(call(server, ONE, &key(KEY)).await.status, 200);
        assert_eq!(call(server, ONE, &key(WRONG)).await.status, 401);
    }
    for key in [key(WRONG), key(KEY)] {
        let reply = call(server, ONE, &key).await;
        assert_eq!((reply.status, reply.line("cache-control")), (429, "no-store"));
        let wait: u64 = reply.line("retry-after").parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
        assert_eq!(reply.line("content-type"), "application/problem+json");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["violated-policies"], serde_json::json!(["failures"]));
    }
    assert_eq!(call(server, TWO, &key(KEY)).await.status, 200);
    assert_eq!(call(server, TWO, &key(WRONG)).await.status, 401);

    assert!(failures.blocked_for(IpAddr::from(ONE)).is_some());
    assert!(failures.lift(SocketAddr::from((ONE, 4711))));
    assert!(!failures.lift(IpAddr::from(ONE)) && failures.blocked_for(IpAddr::from(ONE)).is_none());
    assert_eq!(call(server, ONE, &key(KEY)).await.status, 200);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_mock_address_is_the_peer_in_the_test_of_an_axum_app() {
    use axum::extract::connect_info::MockConnectInfo;

    let failures = FailureLimitLayer::new(LIMIT, peer::connect_info, layer().rejection_writer());
    let app: axum::Router = axum::Router::new().layer(layer()).layer(failures.clone());
    let app = app.layer(MockConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4711))));
    let request =
        || Request::get("/").header("x-api-key", WRONG).body(axum::body::Body::empty()).unwrap();
    for status in [401, 401, 401, 429] {
        assert_eq!(app.clone().oneshot(request()).await.unwrap().status(), status);
    }
    assert!(failures.blocked_for(address(1)).is_some());
}

#[tokio::test]
async fn r51_behind_a_proxy_the_peer_is_the_address_that_the_proxy_wrote() {
    let failures = FailureLimitLayer::new(LIMIT, x_forwarded_for(1), layer().rejection_writer());
    let inner = service_fn(async |_: Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    });
    let service = failures.layer(layer().layer(inner));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    // The attacker writes another address on the left each time.
    for (number, status) in [(1, 401), (2, 401), (3, 401), (4, 429), (5, 429)] {
        let line = format!("203.0.113.{number}, 192.0.2.1");
        let headers = [("x-api-key", WRONG), ("x-forwarded-for", &line)];
        assert_eq!(call(server, ONE, &headers).await.status, status, "{line}");
    }
    // Another caller has the same list in two lines, in the other order.
    let headers =
        [("x-api-key", KEY), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")];
    assert_eq!(call(server, ONE, &headers).await.status, 200);
    assert_eq!(call(server, ONE, &[("x-api-key", KEY)]).await.status, 200);
}

#[tokio::test]
async fn r51_a_tonic_caller_gets_resource_exhausted_with_the_time_to_retry() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let layer = layer();
    let connection = from_extension(|info: &TcpConnectInfo| info.remote_addr());
    let failures = FailureLimitLayer::new(LIMIT, connection, layer.rejection_writer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(failures.clone())
        .layer(layer)
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let client = HealthClient::new(channel.connect().await.unwrap());
    let check = async |key: &str| {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        client.clone().check(request).await
    };
    for _ in 0..3 {
        assert!(check(KEY).await.is_ok());
        assert_eq!(check(WRONG).await.unwrap_err().code(), Code::Unauthenticated);
    }
    let status = check(KEY).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "Too many requests"));
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    let pushback = Duration::from_millis(pushback.parse().unwrap());
    assert!((1..=20).contains(&pushback.as_secs()), "{pushback:?}");
    // OTLP exporters retry only if this is there.
    let details = status.check_error_details_vec().unwrap();
    assert_eq!(details.len(), 1);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(pushback));

    assert!(failures.lift(IpAddr::from(ONE)));
    assert!(check(KEY).await.is_ok());
}

// What counts.

#[tokio::test]
async fn unknown_and_malformed_keys_count_and_nothing_else() {
    let spot = SPOTS[0];
    for (case, is_counted) in [
        ("unknown", true),
        ("removed", true),
        ("malformed", true),
        ("over_long", true),
        ("revoked", false),
        ("revoked_by_verifier", false),
        ("paused", false),
        ("expired", false),
        ("not_yet_valid", false),
        ("failed", false),
        ("good", false),
    ] {
        let failures = failures();
        let service = failures.layer(spot.layer(strict()).layer(hello()));
        for _ in 0..10 {
            let request = (spot.put)(Request::get("/"), &value(case));
            let request = request.extension(From("192.0.2.1")).body(()).unwrap();
            ask(&service, request).await;
        }
        let is_blocked = failures.blocked_for(address(1)).is_some();
        assert_eq!(is_blocked, is_counted, "{case}");
        assert_eq!(failures.lift(address(1)), is_counted, "{case}");
    }
    let failures = failures();
    let service = failures.layer(
        layer()
            .require_secure(|head| head.uri().path() == "/jobs")
            .layer(RequireScopeLayer::all(["jobs:write"]).layer(hello())),
    );
    let twice = Request::get("/jobs").header("x-api-key", WRONG).header("x-api-key", WRONG);
    for (request, reason) in [
        (Request::get("/jobs"), Reason::Missing),
        (Request::get("/jobs").header("authorization", "Basic eDp5"), Reason::Missing),
        (twice, Reason::Ambiguous),
        (Request::get("/insecure").header("x-api-key", WRONG), Reason::Insecure),
        (Request::get("/jobs").header("x-api-key", KEY), Reason::InsufficientScope),
    ] {
        let request = request.extension(From("192.0.2.1")).body(()).unwrap();
        assert_eq!(ask(&service, request).await.reason, Some(reason));
        assert!(!failures.lift(address(1)), "{reason:?}");
    }
    // `Bearer ` before a wrong key is a wrong key.
    let reply = ask(&service, with_key("Bearer abcdefgh")).await;
    assert_eq!((reply.reason, failures.lift(address(1))), (Some(Reason::SchemeInHeader), true));
}

#[tokio::test]
async fn an_accepted_request_does_not_reset_the_count_and_a_report_counts_nothing() {
    let failures = failures();
    let service = failures.layer(layer().layer(hello()));
    for status in [401, 401, 401, 429] {
        assert_eq!(ask(&service, with_key(WRONG)).await.status, status);
        let after = if failures.blocked_for(address(1)).is_some() { 429 } else { 200 };
        assert_eq!(ask(&service, with_key(KEY)).await.status, after);
    }
    assert!(failures.lift(address(1)));
    let service = failures.layer(layer().dangerous_report_only().layer(hello()));
    assert_eq!(ask(&service, with_key(WRONG)).await.status, 200);
    assert!(!failures.lift(address(1)));
}

#[tokio::test]
async fn an_optional_layer_rejects_and_counts_wrong_keys() {
    let failures = failures();
    let service = failures.layer(layer().optional().exempt_path("/health").layer(hello()));
    for status in [401, 401, 401, 429] {
        assert_eq!(ask(&service, with_key(WRONG)).await.status, status);
    }
    // Outside, the layer knows nothing about exempt paths and anonymous requests.
    let request = Request::get("/health").extension(From("192.0.2.1")).body(()).unwrap();
    assert_eq!(ask(&service, request).await.status, 429);
}

#[tokio::test]
async fn a_peer_is_a_network_of_64_bits_and_a_mapped_address_is_ipv4() {
    let failures = failures();
    let service = failures.layer(layer().layer(hello()));
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"] {
        assert_eq!(ask(&service, of(address, WRONG)).await.status, 401);
    }
    assert_eq!(ask(&service, of("2001:db8::4", KEY)).await.status, 429);
    assert_eq!(ask(&service, of("2001:db8:0:1::1", KEY)).await.status, 200);
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::192.0.2.1"] {
        assert_eq!(ask(&service, of(address, WRONG)).await.status, 401);
    }
    assert_eq!(ask(&service, of("::ffff:c000:201", KEY)).await.status, 429);
    assert_eq!(ask(&service, of("::ffff:192.0.2.2", KEY)).await.status, 200);
}

#[tokio::test]
async fn a_blocked_peer_can_try_again_after_the_time_that_it_was_given() {
    let millis = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&millis);
    let failures = failures().clock(move || Duration::from_millis(clock.load(SeqCst)));
    let service = failures.layer(layer().layer(hello()));
    for status in [401, 401, 401] {
        assert_eq!(ask(&service, with_key(WRONG)).await.status, status);
    }
    for (at, wait) in [(0, "20"), (1, "20"), (1_000, "19"), (19_000, "1"), (19_999, "1")] {
        millis.store(at, SeqCst);
        let reply = ask(&service, with_key(KEY)).await;
        assert_eq!((reply.status, reply.line("retry-after")), (429, wait), "{at}");
    }
    millis.store(20_000, SeqCst);
    assert_eq!(ask(&service, with_key(KEY)).await.status, 200);
    assert_eq!(ask(&service, with_key(WRONG)).await.status, 401);
    assert_eq!(ask(&service, with_key(KEY)).await.status, 429);
}

#[tokio::test]
async fn requests_in_flight_are_answered_and_all_of_them_count() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let verifier = verify::from_async_fn(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            drop(gate.acquire().await);
            Ok::<_, Infallible>(None::<Client>)
        }
    });
    let failures = failures();
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), verifier).layer(hello()));
    let callers: Vec<_> =
        (0..4).map(|_| tokio::spawn(service.clone().oneshot(with_key(WRONG)))).collect();
    tokio::task::yield_now().await;
    gate.close();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 401);
    }
    let wait = failures.blocked_for(address(1)).unwrap();
    assert!(wait > Duration::from_secs(35) && wait <= Duration::from_secs(40), "{wait:?}");
}

/// A verifier that waits until the gate is closed, and accepts [`KEY`] alone.
fn slow(
    gate: &Arc<Semaphore>,
) -> impl Verify<Client = Client, Future: Send> + Clone + Send + Sync + use<> {
    let gate = Arc::clone(gate);
    verify::from_async_fn(move |digest: KeyDigest| {
        let gate = Arc::clone(&gate);
        async move {
            drop(gate.acquire().await);
            Ok::<_, Infallible>((digest == KeyDigest::of(KEY)).then(|| Client::new("ci")))
        }
    })
}

/// Sends requests at once, opens the gate after all of them began, and returns their statuses.
async fn wave<S>(service: &S, gate: &Semaphore, keys: &[&str]) -> Vec<u16>
where
    S: Service<Request<()>, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static,
    S::Response: IntoStatus + Send,
{
    let spawn = |key: &&str| tokio::spawn(service.clone().oneshot(with_key(key)));
    let callers: Vec<_> = keys.iter().map(spawn).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(keys.len());
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.push(caller.await.unwrap().unwrap().status());
    }
    gate.forget_permits(usize::MAX);
    statuses
}

trait IntoStatus {
    fn status(&self) -> u16;
}

impl<B> IntoStatus for Response<B> {
    fn status(&self) -> u16 {
        self.status().as_u16()
    }
}

fn count_of(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|it| **it == status).count()
}

#[tokio::test]
async fn a_wave_of_wrong_keys_is_bounded_and_after_one_failure_it_has_what_the_limit_leaves() {
    let gate = Arc::new(Semaphore::new(0));
    let limit = Limit::per_hour("failures", 10);
    let failures = FailureLimitLayer::new(limit, peer_of as PeerOf, layer().rejection_writer());
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), slow(&gate)).layer(hello()));
    let statuses = wave(&service, &gate, &[WRONG; 1_600]).await;
    assert_eq!((count_of(&statuses, 401), count_of(&statuses, 429)), (128, 1_472));
    assert!(failures.lift(address(1)));
    assert_eq!(wave(&service, &gate, &[WRONG]).await, [401]);
    let statuses = wave(&service, &gate, &[WRONG; 1_600]).await;
    assert_eq!((count_of(&statuses, 401), count_of(&statuses, 429)), (9, 1_591));
    // A larger burst bounds the first wave.
    let limit = Limit::per_hour("failures", 200);
    let failures = FailureLimitLayer::new(limit, peer_of as PeerOf, layer().rejection_writer());
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), slow(&gate)).layer(hello()));
    assert_eq!(count_of(&wave(&service, &gate, &[WRONG; 1_600]).await, 401), 200);
}

#[tokio::test]
async fn a_crowd_with_valid_keys_behind_one_address_passes_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let failures = failures();
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), slow(&gate)).layer(hello()));
    // 128 verifications of a peer without failures can wait.
    for _ in 0..3 {
        assert_eq!(wave(&service, &gate, &[KEY; 128]).await, [200; 128]);
    }
    assert!(!failures.lift(address(1)));
    // After a failure, requests whose verification has ended do not count, even if the service is slow.
    let held = Arc::clone(&gate);
    let handler = service_fn(move |_: Request<()>| {
        let held = Arc::clone(&held);
        async move {
            drop(held.acquire().await);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        }
    });
    for key in ["x-api-key", "x-other-key"] {
        let optional = ApiKeyLayer::new(header(key), keys()).optional().exempt_path("/health");
        let ready = failures.layer(optional.layer(handler.clone()));
        let wrong = Request::post("/jobs").header(key, WRONG).extension(From("192.0.2.1"));
        assert_eq!(ask(&ready, wrong.body(()).unwrap()).await.status, 401);
        assert_eq!(wave(&ready, &gate, &[KEY; 500]).await, [200; 500]);
    }
    assert!(failures.lift(address(1)));
    let verified = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_async_fn(async |digest: KeyDigest| {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>((digest == KeyDigest::of(KEY)).then(|| Client::new("ci")))
        }),
    );
    let service = failures.layer(verified.layer(handler));
    assert_eq!(ask(&service, with_key(WRONG)).await.status, 401);
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(tokio::spawn(service.clone().oneshot(with_key(KEY))));
        // Each verification ends, and each service waits.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    gate.close();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_during_the_verification_gets_no_answer_and_counts_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let failures = failures();
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), slow(&gate)).layer(hello()));
    assert_eq!(wave(&service, &gate, &[WRONG]).await, [401]);
    for _ in 0..100 {
        let caller = tokio::spawn(service.clone().oneshot(with_key(WRONG)));
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.is_err());
    }
    assert_eq!(wave(&service, &gate, &[KEY, KEY, KEY]).await, [200, 200, 429]);
    // A service that fails or panics gives its unit back as well.
    let broken = service_fn(|request: Request<()>| async move {
        match request.uri().path() {
            "/panic" => panic!("on purpose"),
            _ => Err::<Response<Full<Bytes>>, _>("failed"),
        }
    });
    let service = failures.layer(broken);
    for _ in 0..100 {
        assert!(service.clone().oneshot(with_key(KEY)).await.is_err());
        let mut request = with_key(KEY);
        *request.uri_mut() = "/panic".parse().unwrap();
        assert!(tokio::spawn(service.clone().oneshot(request)).await.is_err());
    }
    assert!(failures.blocked_for(address(1)).is_none());
    assert_eq!(wave(&failures.layer(layer().layer(hello())), &gate, &[KEY]).await, [200]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn at_the_limit_64_concurrent_callers_fail_exactly_as_often_as_it_allows() {
    let limit = Limit::per_hour("failures", 100);
    let failures = FailureLimitLayer::new(limit, peer_of as PeerOf, layer().rejection_writer());
    let service = failures.layer(layer().layer(hello()));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                for _ in 0..100 {
                    statuses.push(ask(&service, with_key(WRONG)).await.status);
                }
                statuses
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.extend(caller.await.unwrap());
    }
    assert_eq!((count_of(&statuses, 401), count_of(&statuses, 429)), (100, 6_300));
}

// The 429.

#[tokio::test]
async fn a_blocked_request_is_rejected_before_anything_is_read() {
    struct Unread;
    impl Body for Unread {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("the body was read")
        }
    }
    let verified = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&verified);
    let verifier = verify::from_fn(move |_: &verify::PresentedKey<'_>| {
        counter.fetch_add(1, SeqCst);
        None::<Client>
    });
    let inner = service_fn(async |_: Request<Unread>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("never")))
    });
    let failures = failures();
    let service = failures.layer(ApiKeyLayer::new(header("x-api-key"), verifier).layer(inner));
    for status in [401, 401, 401, 429, 429] {
        let reply = ask(&service, with_key(WRONG).map(|()| Unread)).await;
        assert_eq!(reply.status, status);
    }
    assert_eq!(verified.load(SeqCst), 3);
}

#[tokio::test]
async fn the_429_has_the_style_of_the_writer_and_its_rejection_is_in_the_extensions() {
    for (writer, content_type) in [
        (layer().rejection_writer(), "application/json"),
        (layer().respond(Problem::default()).rejection_writer(), "application/problem+json"),
        (RejectionWriter::default(), "application/json"),
    ] {
        let failures = FailureLimitLayer::new(LIMIT, peer_of as PeerOf, writer);
        let service = failures.layer(layer().layer(hello()));
        for _ in 0..3 {
            ask(&service, with_key(WRONG)).await;
        }
        let response = service.clone().oneshot(with_key(KEY)).await.unwrap();
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.reason(), Reason::TooManyFailures);
        assert!(rejection.violated_limits().eq(["failures"]));
        let reply = reply(response).await;
        assert_eq!((reply.status, reply.line("content-type")), (429, content_type));
        assert_eq!((reply.line("cache-control"), reply.line("retry-after")), ("no-store", "20"));
        assert!(!reply.headers.contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn r39_a_rejected_request_returns_the_permit_of_the_inner_service() {
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(hello(), Arc::clone(&permits));
    let failures = failures();
    let mut service = failures.layer(layer().layer(limited));
    for status in [401, 401, 401, 429, 429, 429] {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(ready.is_ready(), "a permit was lost");
        assert_eq!(permits.available_permits(), 0);
        let response = service.call(with_key(WRONG));
        // Before the response is awaited.
        assert_eq!(permits.available_permits(), 1);
        assert_eq!(response.await.unwrap().status(), status);
    }
    assert!(failures.lift(address(1)));
    let response = service.ready().await.unwrap().call(with_key(KEY));
    assert_eq!(response.await.unwrap().status(), 200);
}

// Events.

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, event: &str, decision: &Decision<'_>) {
        let client = decision.client().map_or("-", Client::id);
        let reason = decision.rejection().map_or("-", |it| it.reason().as_str());
        self.0.lock().unwrap().push(format!(
            "{event} {} {reason} {client} {} {}",
            decision.outcome().as_str(),
            decision.method(),
            decision.path(),
        ));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observe for Notes {
    fn on_decision(&self, decision: &Decision<'_>) {
        self.note("decision", decision);
    }

    fn on_guard(&self, decision: &Decision<'_>) {
        self.note("guard", decision);
    }
}

#[tokio::test]
async fn each_request_is_one_decision_of_the_layer_or_one_event_of_the_guard() {
    let notes = Notes::default();
    let layer = layer().observe(notes.clone());
    // Settings after a clone keep the failures.
    let failures = failures();
    let service = failures.clone().observe(notes.clone()).layer(layer.layer(hello()));
    for key in [WRONG, WRONG, KEY, WRONG, KEY, WRONG] {
        ask(&service, with_key(key)).await;
    }
    assert_eq!(
        notes.take(),
        [
            "decision rejected unknown - POST /jobs",
            "decision rejected unknown - POST /jobs",
            "decision accepted - mobile-app POST /jobs",
            "decision rejected unknown - POST /jobs",
            "guard limited too_many_failures - POST /jobs",
            "guard limited too_many_failures - POST /jobs",
        ]
    );
    assert!(failures.lift(address(1)));
    ask(&service, with_key(OTHER)).await;
    assert_eq!(notes.take(), ["decision accepted - ci POST /jobs"]);
}

#[tokio::test]
async fn between_two_layers_a_429_is_one_event() {
    let outer = || ApiKeyLayer::new(header("x-tenant-key"), keys()).optional();
    for observes in [true, false] {
        let notes = Notes::default();
        let inner = layer().observe(notes.clone()).layer(hello());
        let statuses = if observes {
            let failures = failures().observe(notes.clone()).layer(inner);
            ask_four_times(&outer().observe(notes.clone()).layer(failures)).await
        } else {
            // The outer layer reports the events of a layer without an observer.
            ask_four_times(&outer().observe(notes.clone()).layer(failures().layer(inner))).await
        };
        assert_eq!(statuses, [401, 401, 401, 429]);
        let notes = notes.take();
        let guard: Vec<_> = notes.iter().filter(|it| it.starts_with("guard")).collect();
        assert_eq!(guard, ["guard limited too_many_failures - POST /jobs"], "{observes}");
    }
}

async fn ask_four_times<S, B>(service: &S) -> [u16; 4]
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let mut statuses = [0; 4];
    for status in &mut statuses {
        *status = ask(service, with_key(WRONG)).await.status;
    }
    statuses
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_count_a_blocked_request_once_with_the_name_of_the_limit() {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower_api_key::observe::Metrics;

    let recorder = PrometheusBuilder::new().build_recorder();
    let shared = Arc::new(Metrics::new());
    let layer = layer().observe(Arc::clone(&shared));
    let service = failures().observe(shared).layer(layer.layer(hello()));
    metrics::with_local_recorder(&recorder, || {
        support::block_on(async {
            for key in [WRONG, WRONG, WRONG, KEY, WRONG] {
                ask(&service, with_key(key)).await;
            }
        });
    });
    let text = recorder.handle().render();
    for line in [
        r#"api_key_guard_rejections_total{outcome="limited",reason="too_many_failures",limit="failures"} 2"#,
        r#"api_key_requests_total{outcome="rejected",reason="unknown",location="header x-api-key"} 3"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("api_key_")).count(), 2);
}

// The closure for the peer.

/// Runs with a log, and returns its lines.
#[cfg(feature = "tracing")]
pub(crate) fn logged(run: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.writer());
    tracing::subscriber::with_default(subscriber.finish(), run);
    log.text().lines().map(str::to_owned).collect()
}

#[cfg(feature = "tracing")]
#[test]
fn a_request_without_a_peer_passes_uncounted_and_the_log_warns_once() {
    let failures = failures();
    let service = failures.layer(layer().layer(hello()));
    let lines = logged(|| {
        support::block_on(async {
            for _ in 0..10 {
                assert_eq!(ask(&service, of("garbage", WRONG)).await.status, 401);
                assert_eq!(ask(&service, of("garbage", KEY)).await.status, 200);
            }
        });
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("uncounted"), "{lines:?}");
}

#[cfg(feature = "tracing")]
#[test]
fn the_log_warns_once_if_one_peer_makes_most_of_all_requests() {
    for (others, warnings) in [(1, 1), (3, 0)] {
        let failures = failures();
        let service = failures.layer(layer().layer(hello()));
        let lines = logged(|| {
            support::block_on(async {
                for number in 0..30_000 {
                    let peer = if number % 10 + others >= 10 { "192.0.2.2" } else { "10.0.0.1" };
                    ask(&service, of(peer, KEY)).await;
                }
            });
        });
        assert_eq!(lines.len(), warnings, "{lines:?}");
        for line in lines {
            assert!(line.contains("peer=10.0.0.1") && line.contains("x_forwarded_for"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_panic_in_the_closure_ends_its_request_alone() {
    let peer = |head: RequestHead<'_>| -> Option<Peer> {
        assert!(head.uri().path() != "/panic", "on purpose");
        peer_of(head).map(Peer::from)
    };
    let failures = FailureLimitLayer::new(LIMIT, peer, layer().rejection_writer());
    let service = failures.layer(layer().layer(hello()));
    for status in [401, 401, 401, 429] {
        let mut request = with_key(WRONG);
        assert_eq!(ask(&service, with_key(WRONG)).await.status, status);
        *request.uri_mut() = "/panic".parse().unwrap();
        let mut service = service.clone();
        let panic = std::panic::catch_unwind(AssertUnwindSafe(|| drop(service.call(request))));
        assert!(panic.is_err());
    }
    assert_eq!(ask(&service, of("192.0.2.2", KEY)).await.status, StatusCode::OK);
}

#[test]
fn debug_shows_the_limit() {
    let shown = format!("{:?} {:?}", failures(), failures().layer("inner"));
    assert!(shown.starts_with("FailureLimitLayer { limit: Limit { name: \"failures\""), "{shown}");
    assert!(shown.contains("FailureLimitService { limit: "), "{shown}");
    assert_eq!(failures().layer("inner").into_inner(), "inner");
}
