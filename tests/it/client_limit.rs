//! `ClientLimitLayer`: which requests pass, the response to all others, and the fields of both.

#![cfg(feature = "limit")]

use crate::support;

use std::{
    convert::Infallible,
    future::{pending, ready},
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::{Code, transport::server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, ClientLimitLayer, Identity, KeyLocation, Keyring, Rejection,
    RequireScopeLayer,
    extract::header,
    limit::{Ask, Limit, LimitStore, Limiter, Limits, RateLimitHeaders, Subject, Taken, Taking},
    observe::{Decision, Observe},
    rejection::Reason,
    respond::{Problem, Text},
    verify::Verify,
};

/// Two keys of the client `ci`, which has the plan `pro`.
const CI: &str = "key-of-ci-0123456789-first";
const CI_TOO: &str = "key-of-ci-0123456789-second";
/// The key of `app`, which has no plan.
const APP: &str = "key-of-the-app-0123456789";

static FREE: Limits = Limits::new(&[Limit::per_minute("minute", 2)]);
static PRO: Limits = Limits::new(&[Limit::per_minute("minute", 4), Limit::per_hour("hour", 5)]);

fn limits_of(client: &Client) -> &'static Limits {
    match client.metadata("plan") {
        Some("pro") => &PRO,
        _ => &FREE,
    }
}

type LimitsOf = fn(&Client) -> &'static Limits;

fn keys() -> Keyring {
    let keys = Keyring::new();
    let ci = Client::new("ci").with_metadata("plan", "pro");
    keys.insert(CI, ci.clone()).unwrap();
    keys.insert(CI_TOO, ci).unwrap();
    keys.insert(APP, Client::new("app")).unwrap();
    keys
}

fn layer() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// A limit with a clock that stands.
fn limit() -> ClientLimitLayer<LimitsOf> {
    limit_at(&Arc::default())
}

fn limit_at(millis: &Arc<AtomicU64>) -> ClientLimitLayer<LimitsOf> {
    let clock = Arc::clone(millis);
    let limiter = Limiter::with_clock(move || Duration::from_millis(clock.load(SeqCst)));
    ClientLimitLayer::new(limiter, limits_of)
}

fn hello()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    service_fn(async |_: Request<()>| Ok(Response::new(Full::from("hello"))))
}

/// Answers with the status in the path.
fn status_of_path()
-> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone {
    service_fn(|request: Request<()>| {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        ready(Ok(Response::builder().status(status).body(Full::from("hello")).unwrap()))
    })
}

fn get(key: &str) -> Request<()> {
    path("/jobs", key)
}

fn path(path: &str, key: &str) -> Request<()> {
    Request::get(path).header("x-api-key", key).body(()).unwrap()
}

fn grpc(key: &str) -> Request<()> {
    let request = Request::post("/jobs").header("content-type", "application/grpc");
    request.header("x-api-key", key).body(()).unwrap()
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    rejection: Option<Rejection>,
}

impl Reply {
    fn line(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |line| line.to_str().unwrap())
    }

    fn lines(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
    }

    fn reason(&self) -> Option<Reason> {
        self.rejection.as_ref().map(Rejection::reason)
    }

    fn violated(&self) -> Vec<&str> {
        self.rejection.iter().flat_map(Rejection::violated_limits).collect()
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
    let rejection = head.extensions.get().cloned();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status.as_u16(), headers: head.headers, body, rejection }
}

// Which requests pass.

#[tokio::test]
async fn a_client_has_its_plan_with_all_its_keys_and_other_clients_have_their_own() {
    let service = layer().layer(limit().layer(hello()));
    for (key, status) in [
        (CI, 200),
        (APP, 200),
        (CI_TOO, 200),
        (CI, 200),
        (APP, 200),
        (CI_TOO, 200),
        (CI, 429),
        (CI_TOO, 429),
        (APP, 429),
        ("wrong", 401),
    ] {
        assert_eq!(ask(&service, get(key)).await.status, status, "{key}");
    }
}

#[tokio::test]
async fn per_key_counts_each_key_and_a_key_without_an_id_counts_for_its_client() {
    let service = layer().layer(limit().per_key().layer(hello()));
    for key in [CI, CI_TOO] {
        for status in [200, 200, 200, 200, 429] {
            assert_eq!(ask(&service, get(key)).await.status, status, "{key}");
        }
    }
    #[derive(Clone)]
    struct Nameless;
    impl Identity for Nameless {
        fn id(&self) -> &str {
            "nameless"
        }
    }
    let keys: Keyring<Nameless> = Keyring::new();
    keys.insert(CI, Nameless).unwrap();
    keys.insert(CI_TOO, Nameless).unwrap();
    let limit = ClientLimitLayer::new(Limiter::in_process(), |_: &Nameless| &FREE).per_key();
    let service = ApiKeyLayer::new(header("x-api-key"), keys).layer(limit.layer(hello()));
    for (key, status) in [(CI, 200), (CI_TOO, 200), (CI, 429)] {
        assert_eq!(ask(&service, get(key)).await.status, status);
    }
}

#[tokio::test]
async fn a_custom_client_type_has_its_limits_and_another_type_finds_no_layer() {
    #[derive(Clone)]
    struct Tenant(Arc<Limits>);
    impl Identity for Tenant {
        fn id(&self) -> &str {
            "tenant"
        }
    }
    let keys: Keyring<Tenant> = Keyring::new();
    let limits = Limits::try_new([Limit::try_per_hour("hour", 1).unwrap()]).unwrap();
    keys.insert(CI, Tenant(Arc::new(limits))).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let limiter = Limiter::in_process();
    let limit = ClientLimitLayer::new(limiter.clone(), |tenant: &Tenant| Arc::clone(&tenant.0));
    let service = layer.layer(limit.layer(hello()));
    assert_eq!(ask(&service, get(CI)).await.status, 200);
    assert_eq!(ask(&service, get(CI)).await.status, 429);
    let service = layer.layer(ClientLimitLayer::new(limiter, limits_of).layer(hello()));
    assert_eq!(ask(&service, get(CI)).await.status, 500);
}

#[tokio::test]
async fn a_request_takes_all_limits_or_none() {
    let millis = Arc::default();
    let service = layer().layer(limit_at(&millis).layer(hello()));
    for _ in 0..4 {
        assert_eq!(ask(&service, get(CI)).await.status, 200);
    }
    // Only the minute is exceeded, and nothing is taken from the hour.
    for _ in 0..10 {
        let reply = ask(&service, get(CI)).await;
        assert_eq!((reply.status, reply.violated()), (429, vec!["minute"]));
    }
    millis.store(60_000, SeqCst);
    assert_eq!(ask(&service, get(CI)).await.status, 200);
    let reply = ask(&service, get(CI)).await;
    assert_eq!((reply.status, reply.violated()), (429, vec!["hour"]));
}

#[tokio::test]
async fn a_plan_can_change_while_the_service_runs() {
    let plan =
        Arc::new(Mutex::new(Arc::new(Limits::try_new([Limit::per_minute("minute", 2)]).unwrap())));
    let current = Arc::clone(&plan);
    let limiter = Limiter::with_clock(|| Duration::ZERO);
    let limit =
        ClientLimitLayer::new(limiter, move |_: &Client| Arc::clone(&*current.lock().unwrap()));
    let service = layer().layer(limit.headers(RateLimitHeaders::Always).layer(hello()));
    for status in [200, 200, 429] {
        assert_eq!(ask(&service, get(APP)).await.status, status);
    }
    let larger = Limits::try_new([Limit::per_minute("minute", 600)]).unwrap();
    *plan.lock().unwrap() = Arc::new(larger);
    let reply = ask(&service, get(APP)).await;
    assert_eq!(reply.line("ratelimit-policy"), r#""minute";q=600;w=60"#);
    // The counter goes on. The old debt of a minute is at most the new limit's full refill.
    assert_eq!((reply.status, reply.line("retry-after")), (429, "1"));
}

#[tokio::test]
async fn retry_after_is_in_whole_seconds_at_least_one_and_never_too_early() {
    let millis: Arc<AtomicU64> = Arc::default();
    let service = layer().layer(limit_at(&millis).layer(hello()));
    for status in [200, 200, 429] {
        assert_eq!(ask(&service, get(APP)).await.status, status);
    }
    for (at, wait) in [(0, "30"), (1, "30"), (1_000, "29"), (29_001, "1"), (29_999, "1")] {
        millis.store(at, SeqCst);
        let reply = ask(&service, get(APP)).await;
        assert_eq!((reply.status, reply.line("retry-after")), (429, wait), "{at}");
    }
    millis.store(30_000, SeqCst);
    assert_eq!(ask(&service, get(APP)).await.status, 200);
}

#[tokio::test]
async fn a_request_can_cost_more_and_a_cost_above_the_burst_never_passes() {
    let cost = |head: tower_api_key::extract::RequestHead<'_>| {
        head.uri().path().trim_start_matches('/').parse().unwrap_or(1)
    };
    let millis = Arc::default();
    let limit = limit_at(&millis).cost(cost).headers(RateLimitHeaders::Always);
    let service = layer().layer(limit.layer(hello()));
    for (cost, status, remaining) in [
        ("/0", 200, r#""minute";r=4, "hour";r=5"#),
        ("/3", 200, r#""minute";r=1;t=15, "hour";r=2;t=720"#),
        ("/2", 429, r#""minute";r=1;t=15, "hour";r=2;t=720"#),
        ("/0", 200, r#""minute";r=1;t=15, "hour";r=2;t=720"#),
        ("/1", 200, r#""minute";r=0;t=15, "hour";r=1;t=720"#),
        ("/0", 200, r#""minute";r=0;t=15, "hour";r=1;t=720"#),
    ] {
        let reply = ask(&service, path(cost, CI)).await;
        assert_eq!((reply.status, reply.line("ratelimit")), (status, remaining), "{cost}");
    }
    let reply = ask(&service, path("/2", CI)).await;
    assert_eq!((reply.line("retry-after"), reply.violated()), ("720", vec!["hour", "minute"]));
    for (cost, limit) in [("/5", "minute"), ("/6", "minute"), ("/4294967295", "minute")] {
        let reply = ask(&service, path(cost, CI)).await;
        assert_eq!((reply.status, reply.reason()), (429, Some(Reason::CostAboveLimit)));
        assert!(!reply.headers.contains_key("retry-after"));
        assert_eq!(reply.violated()[0], limit);
        let mut request = grpc(CI);
        *request.uri_mut() = cost.parse().unwrap();
        let reply = ask(&service, request).await;
        assert_eq!((reply.status, reply.line("grpc-status")), (200, "8"));
        assert_eq!(reply.line("grpc-retry-pushback-ms"), "-1");
    }
    // Other requests go on after the wait.
    millis.store(15_000, SeqCst);
    assert_eq!(ask(&service, path("/1", CI)).await.status, 200);
}

#[tokio::test]
async fn a_cost_is_given_back_for_the_statuses_that_the_closure_names() {
    let limit = limit().refund_if(|status| status.is_server_error());
    let service = layer().layer(limit.layer(status_of_path()));
    for _ in 0..10 {
        assert_eq!(ask(&service, path("/503", APP)).await.status, 503);
    }
    assert_eq!(ask(&service, path("/404", APP)).await.status, 404);
    assert_eq!(ask(&service, path("/500", APP)).await.status, 500);
    assert_eq!(ask(&service, path("/200", APP)).await.status, 200);
    for path_of_error in ["/500", "/200"] {
        assert_eq!(ask(&service, path(path_of_error, APP)).await.status, 429);
    }
}

#[tokio::test]
async fn a_refund_returns_the_whole_cost_to_every_limit_of_its_key() {
    let limit = limit()
        .per_key()
        .cost(|head| if head.uri().path() == "/500" { 4 } else { 1 })
        .refund_if(|status| status == StatusCode::INTERNAL_SERVER_ERROR)
        .headers(RateLimitHeaders::Always);
    let service = layer().layer(limit.layer(status_of_path()));
    let reply = ask(&service, path("/500", CI)).await;
    // The fields show the state before the refund.
    assert_eq!(reply.line("ratelimit"), r#""minute";r=0;t=15, "hour";r=1;t=720"#);
    for _ in 0..4 {
        assert_eq!(ask(&service, path("/200", CI)).await.status, 200);
    }
    assert_eq!(ask(&service, path("/200", CI)).await.status, 429);
}

#[tokio::test]
async fn a_late_refund_returns_only_the_part_that_time_has_not_returned() {
    static ONE: Limits = Limits::new(&[Limit::per_minute("minute", 1)]);
    static TWO: Limits = Limits::new(&[Limit::per_minute("a", 1), Limit::per_hour("b", 60)]);
    for (plan, headers) in [(&ONE, true), (&ONE, false), (&TWO, false)] {
        // The refund comes after so many seconds. Another request passes if it comes at this time or later.
        for (refunded_at, passes_at) in [(0, 0), (30, 30), (60, 120)] {
            let millis = Arc::new(AtomicU64::new(0));
            let clock = Arc::clone(&millis);
            let limiter = Limiter::with_clock(move || Duration::from_millis(clock.load(SeqCst)));
            let limit = ClientLimitLayer::new(limiter, |_: &Client| plan);
            let limit = limit.refund_if(|status| status.is_server_error());
            let limit = if headers { limit.headers(RateLimitHeaders::Always) } else { limit };
            let service = layer().layer(limit.layer(status_of_path()));
            let failing = service.clone().call(path("/500", APP));
            millis.store(refunded_at * 1_000, SeqCst);
            if refunded_at == 60 {
                // Time has returned the first request, and this takes it again.
                assert_eq!(ask(&service, get(APP)).await.status, 200);
            }
            assert_eq!(failing.await.unwrap().status(), 500);
            if passes_at > refunded_at {
                millis.store(passes_at * 1_000 - 1, SeqCst);
                assert_eq!(ask(&service, get(APP)).await.status, 429, "{refunded_at} {headers}");
            }
            millis.store(passes_at * 1_000, SeqCst);
            assert_eq!(ask(&service, get(APP)).await.status, 200, "{refunded_at} {headers}");
            assert_eq!(ask(&service, get(APP)).await.status, 429, "{refunded_at} {headers}");
        }
    }
}

#[tokio::test]
async fn retry_after_is_never_before_the_time_of_a_violated_limit() {
    static PLAN: Limits =
        Limits::new(&[Limit::per_minute("a", 7).burst(3), Limit::per_hour("b", 11)]);
    let millis = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&millis);
    let limiter = Limiter::with_clock(move || Duration::from_millis(clock.load(SeqCst)));
    let limit = ClientLimitLayer::new(limiter, |_: &Client| &PLAN);
    let limit =
        limit.headers(RateLimitHeaders::Always).cost(|head| head.uri().path().len() as u32 - 1);
    let service = layer().respond(Problem::default()).layer(limit.layer(hello()));
    let mut rejected = 0;
    for at in 0..600 {
        millis.store(at * 1_237, SeqCst);
        let reply = ask(&service, path(["/a", "/aa", "/aaa"][at as usize % 3], APP)).await;
        let Some(rejection) = reply.rejection.as_ref() else { continue };
        rejected += 1;
        let wait: u64 = reply.line("retry-after").parse().unwrap();
        for member in reply.line("ratelimit").split(", ") {
            let (name, state) = member.split_once(";r=").unwrap();
            let time = state.split_once(";t=").map_or(0, |(_, time)| time.parse().unwrap());
            if rejection.violated_limits().any(|it| it == name.trim_matches('"')) {
                assert!(wait >= time, "{wait} {member}");
            }
        }
    }
    assert!(rejected > 100, "{rejected}");
}

#[tokio::test]
async fn if_the_caller_hangs_up_or_the_service_fails_the_cost_stays_taken() {
    let limit = limit().refund_if(|_| true);
    let never = service_fn(|_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let service = layer().layer(limit.layer(never));
    for _ in 0..2 {
        let mut response = Box::pin(service.clone().oneshot(get(APP)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(response.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(ask(&service, get(APP)).await.status, 429);

    let failing = service_fn(|_: Request<()>| ready(Err::<Response<Full<Bytes>>, _>("broken")));
    let service = limit.layer(failing);
    let with_client = || {
        let mut request = Request::new(());
        request.extensions_mut().insert(Client::new("other"));
        request
    };
    for _ in 0..2 {
        assert_eq!(service.clone().oneshot(with_client()).await.unwrap_err(), "broken");
    }
    assert_eq!(service.oneshot(with_client()).await.unwrap().status(), 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_64_concurrent_requests_with_one_left_exactly_one_passes() {
    for _ in 0..20 {
        let service = layer().layer(limit().layer(hello()));
        assert_eq!(ask(&service, get(APP)).await.status, 200);
        let callers: Vec<_> = (0..64)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move { ask(&service, get(APP)).await.status })
            })
            .collect();
        let mut statuses = Vec::new();
        for caller in callers {
            statuses.push(caller.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!((statuses[0], statuses[1], statuses[63]), (200, 429, 429));
    }
}

// Requests without a client.

#[derive(Clone)]
struct From(&'static str);

#[tokio::test]
async fn anonymous_requests_pass_unless_their_peer_is_limited() {
    static ANONYMOUS: Limits = Limits::new(&[Limit::per_hour("anonymous", 1)]);

    let get = |address| Request::get("/").extension(From(address)).body(()).unwrap();
    let layer = layer().optional();
    let service = layer.layer(limit().layer(hello()));
    for _ in 0..10 {
        assert_eq!(ask(&service, get("192.0.2.1")).await.status, 200);
    }
    let limit = limit().headers(RateLimitHeaders::Always).anonymous_by(&ANONYMOUS, |head| {
        head.extensions().get().and_then(|From(address)| address.parse::<IpAddr>().ok())
    });
    let service = layer.clone().respond(Text::default()).layer(limit.layer(hello()));
    for (address, status) in [
        ("192.0.2.1", 200),
        ("::ffff:192.0.2.1", 429),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 429),
        ("garbage", 200),
        ("garbage", 200),
    ] {
        let reply = ask(&service, get(address)).await;
        assert_eq!(reply.status, status, "{address}");
        if status == 429 {
            assert_eq!(
                (reply.reason(), &*reply.body),
                (Some(Reason::Limited), &b"Too many requests"[..])
            );
            assert_eq!(reply.line("ratelimit"), r#""anonymous";r=0;t=3600"#);
        }
    }
    // A client with the name of a peer has a counter of its own.
    let peer = keys();
    peer.insert("key-of-a-client-of-that-name", Client::new("192.0.2.1")).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), peer).optional();
    let limit = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &ANONYMOUS);
    let limit = limit.anonymous_by(&ANONYMOUS, |_| Some(IpAddr::from([192, 0, 2, 1])));
    let service = layer.layer(limit.layer(hello()));
    assert_eq!(ask(&service, get("")).await.status, 200);
    let client = || path("/", "key-of-a-client-of-that-name");
    assert_eq!(ask(&service, client()).await.status, 200);
    assert_eq!(ask(&service, get("")).await.status, 429);
    assert_eq!(ask(&service, client()).await.status, 429);
}

#[tokio::test]
async fn anonymous_requests_are_refunded_like_others_and_reported_ones_are_anonymous() {
    static ANONYMOUS: Limits = Limits::new(&[Limit::per_hour("anonymous", 1)]);

    let limit = limit()
        .refund_if(|status| status.is_server_error())
        .anonymous_by(&ANONYMOUS, |_| Some(IpAddr::from([192, 0, 2, 1])));
    let service = layer().dangerous_report_only().layer(limit.layer(status_of_path()));
    for (path_and_status, key) in [("/500", "wrong"), ("/500", ""), ("/200", "wrong")] {
        let status: u16 = path_and_status[1..].parse().unwrap();
        assert_eq!(ask(&service, path(path_and_status, key)).await.status, status);
    }
    assert_eq!(ask(&service, path("/200", "wrong")).await.status, 429);
    assert_eq!(ask(&service, path("/200", APP)).await.status, 200);
}

#[tokio::test]
async fn exempt_paths_and_preflights_pass_without_a_limit() {
    static ANONYMOUS: Limits = Limits::new(&[Limit::per_hour("anonymous", 1)]);

    let exempting = layer()
        .exempt_path("/health")
        .exempt_if(|head| head.uri().path() == "/docs")
        .pass_preflight();
    let limit = limit()
        .headers(RateLimitHeaders::Always)
        .anonymous_by(&ANONYMOUS, |_| Some(IpAddr::from([192, 0, 2, 1])));
    let service = exempting.layer(limit.layer(hello()));
    for _ in 0..10 {
        let preflight = Request::options("/").header("origin", "https://a.example");
        let preflight = preflight.header("access-control-request-method", "GET").body(()).unwrap();
        for request in [path("/health", APP), path("/docs", ""), preflight] {
            let reply = ask(&service, request).await;
            assert_eq!((reply.status, reply.line("ratelimit")), (200, ""));
        }
    }
    // Behind a second layer that is optional, the request is anonymous.
    let both = ServiceBuilder::new()
        .layer(ApiKeyLayer::new(header("x-outer"), keys()).exempt_path("/health"))
        .layer(layer().optional())
        .layer(limit)
        .service(hello());
    for status in [200, 429] {
        let request = Request::get("/health").body(()).unwrap();
        assert_eq!(ask(&both, request).await.status, status);
    }
}

#[tokio::test]
async fn without_a_layer_there_is_a_500_with_the_fix_and_the_permit_returns() {
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(hello(), Arc::clone(&permits));
    let mut service = limit().layer(limited);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(get(APP));
        assert_eq!(permits.available_permits(), 1);
        let reply = reply(response.await.unwrap()).await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_eq!((reply.status, reply.line("cache-control")), (500, "no-store"));
        assert!(text.contains("`ApiKeyLayer::new(..)` outside"), "{text}");
    }
    let reply = ask(&limit().layer(hello()), grpc(APP)).await;
    assert_eq!((reply.status, reply.line("grpc-status")), (200, "13"));
}

// The response to a limited request.

#[tokio::test]
async fn a_429_has_the_style_of_the_layer_or_of_its_own_writer() {
    let problem = || layer().realm("jobs").respond(Problem::default());
    for (limit, content_type, body) in [
        (
            limit(),
            "application/problem+json",
            r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"The request exceeds a quota","status":429,"detail":"Too many requests","violated-policies":["minute"]}"#,
        ),
        (limit().respond(Text::default()), "text/plain; charset=utf-8", "Too many requests"),
        (
            limit().rejection_writer(layer().rejection_writer()),
            "application/json",
            r#"{"error":"Too many requests"}"#,
        ),
    ] {
        let service = problem().layer(limit.layer(hello()));
        for _ in 0..2 {
            assert_eq!(ask(&service, get(APP)).await.status, 200);
        }
        let reply = ask(&service, get(APP)).await;
        assert_eq!((reply.status, &*reply.body), (429, body.as_bytes()));
        assert_eq!(reply.line("content-type"), content_type);
        assert_eq!((reply.line("cache-control"), reply.line("retry-after")), ("no-store", "30"));
        assert!(!reply.headers.contains_key("ratelimit"));

        let reply = ask(&service, grpc(APP)).await;
        assert_eq!((reply.status, reply.line("grpc-status")), (200, "8"));
        assert_eq!((reply.line("grpc-retry-pushback-ms"), reply.body.len()), ("30000", 0));
        assert!(reply.headers.contains_key("grpc-status-details-bin"));
    }
}

#[tokio::test]
async fn r39_a_limited_request_returns_the_permit_and_does_not_reach_the_service() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<()>| {
        counter.fetch_add(1, SeqCst);
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))))
    });
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(inner, Arc::clone(&permits));
    let mut service = layer().layer(limit().layer(limited));
    for status in [200, 200, 429, 429, 429] {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(ready.is_ready(), "a permit was lost");
        let response = service.call(get(APP));
        assert_eq!(permits.available_permits(), usize::from(status == 429));
        assert_eq!(response.await.unwrap().status(), status);
    }
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_not_called_and_counts_nothing() {
    let permits = Arc::new(Semaphore::new(0));
    let limited = ConcurrencyLimit::with_semaphore(hello(), Arc::clone(&permits));
    let mut service = layer().layer(limit().layer(limited));
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_pending());
    permits.add_permits(1);
    for status in [200, 200, 429] {
        let response = service.ready().await.unwrap().call(get(APP));
        assert_eq!(response.await.unwrap().status(), status);
    }
}

// `RateLimit` and `RateLimit-Policy`.

#[tokio::test]
async fn the_fields_are_on_rejections_or_on_every_response() {
    for (limit, accepted, rejected) in [
        (limit(), false, false),
        (limit().headers(RateLimitHeaders::OnRejections), false, true),
        (limit().headers(RateLimitHeaders::Always), true, true),
    ] {
        let service = layer().respond(Problem::default()).layer(limit.layer(hello()));
        for remaining in [r#""minute";r=1;t=30"#, r#""minute";r=0;t=30"#] {
            let reply = ask(&service, get(APP)).await;
            assert_eq!(reply.line("ratelimit"), if accepted { remaining } else { "" });
            let policy = if accepted { r#""minute";q=2;w=60"# } else { "" };
            assert_eq!(reply.line("ratelimit-policy"), policy);
        }
        for request in [get(APP), grpc(APP)] {
            let reply = ask(&service, request).await;
            let [state, policy] = [r#""minute";r=0;t=30"#, r#""minute";q=2;w=60"#];
            assert_eq!(reply.lines("ratelimit"), vec![state; usize::from(rejected)]);
            assert_eq!(reply.lines("ratelimit-policy"), vec![policy; usize::from(rejected)]);
        }
    }
}

#[tokio::test]
async fn the_fields_are_added_to_those_of_the_service_and_never_to_a_public_response() {
    let inner = service_fn(|request: Request<()>| {
        let response = Response::builder()
            .header("ratelimit", r#""other";r=7"#)
            .header("cache-control", request.uri().path().trim_start_matches('/'));
        ready(Ok::<_, Infallible>(response.body(Full::<Bytes>::from("hello")).unwrap()))
    });
    let limit = limit().headers(RateLimitHeaders::Always);
    let service = layer().layer(limit.layer(inner));
    let reply = ask(&service, path("/max-age=5", CI)).await;
    assert_eq!(
        reply.lines("ratelimit"),
        [r#""other";r=7"#, r#""minute";r=3;t=15, "hour";r=4;t=720"#]
    );
    assert_eq!(reply.lines("ratelimit-policy"), [r#""minute";q=4;w=60, "hour";q=5;w=3600"#]);
    for directive in ["/public", "/max-age=5,s-maxage=5"] {
        let reply = ask(&service, path(directive, CI)).await;
        assert_eq!(reply.lines("ratelimit"), [r#""other";r=7"#]);
        assert!(!reply.headers.contains_key("ratelimit-policy"));
    }
}

#[tokio::test]
async fn two_limits_around_one_route_have_a_line_each() {
    static TOTAL: Limits = Limits::new(&[Limit::per_hour("total", 10)]);

    let limiter = Limiter::with_clock(|| Duration::ZERO);
    let outer = ClientLimitLayer::new(limiter.clone(), |_: &Client| &TOTAL);
    let inner = ClientLimitLayer::new(limiter, limits_of);
    let service = layer().layer(
        outer
            .headers(RateLimitHeaders::Always)
            .layer(inner.headers(RateLimitHeaders::Always).layer(hello())),
    );
    let lines = [r#""minute";r=1;t=30"#, r#""total";r=9;t=360"#];
    assert_eq!(ask(&service, get(APP)).await.lines("ratelimit"), lines);
    assert_eq!(ask(&service, get(APP)).await.status, 200);
    let reply = ask(&service, get(APP)).await;
    assert_eq!((reply.status, reply.violated()), (429, vec!["minute"]));
    assert_eq!(reply.lines("ratelimit"), [r#""minute";r=0;t=30"#, r#""total";r=7;t=360"#]);
}

// Stores that have to be asked.

/// A store in the process that answers a moment later, and can be down.
#[derive(Clone)]
struct Remote {
    limiter: Limiter,
    is_down: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Remote {
    fn new() -> Self {
        // A clock that stands would not agree with the age of a refund.
        let limiter = Limiter::in_process();
        Self { limiter, is_down: Arc::default(), asked: Arc::default() }
    }
}

impl LimitStore for Remote {
    fn take(&self, ask: &Ask<'_>) -> Taking {
        self.asked.fetch_add(1, SeqCst);
        let taken = match self.is_down.load(SeqCst) {
            true => Taken::failed(),
            false => self.limiter.take(ask).ready().unwrap(),
        };
        Taking::Pending(Box::pin(async move {
            tokio::task::yield_now().await;
            taken
        }))
    }

    fn refund(&self, ask: &Ask<'_>) {
        self.limiter.refund(ask);
    }
}

fn remote(store: &Remote) -> ClientLimitLayer<LimitsOf> {
    ClientLimitLayer::new(Limiter::new(store.clone()), limits_of)
}

#[tokio::test]
async fn a_store_that_has_to_be_asked_gives_the_same_responses() {
    let store = Remote::new();
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(status_of_path(), Arc::clone(&permits));
    let limit = remote(&store)
        .refund_if(|status| status.is_server_error())
        .headers(RateLimitHeaders::Always);
    let mut service = layer().respond(Problem::default()).layer(limit.layer(limited));
    for (path_and_status, status, remaining) in [
        ("/500", 500, r#""minute";r=1;t=30"#),
        ("/200", 200, r#""minute";r=1;t=30"#),
        ("/200", 200, r#""minute";r=0;t=30"#),
        ("/200", 429, r#""minute";r=0;t=30"#),
        ("/200", 429, r#""minute";r=0;t=30"#),
    ] {
        let response = service.ready().await.unwrap().call(path(path_and_status, APP));
        // The instance that returned ready waits with the request.
        assert_eq!(permits.available_permits(), 0);
        let reply = reply(response.await.unwrap()).await;
        assert_eq!((reply.status, reply.line("ratelimit")), (status, remaining));
        assert_eq!(permits.available_permits(), 1);
        if status == 429 {
            assert_eq!(reply.line("content-type"), "application/problem+json");
            assert_eq!(reply.line("retry-after"), "30");
        }
    }
    // An anonymous request is not asked for.
    let asked = store.asked.load(SeqCst);
    let service = layer().optional().layer(remote(&store).layer(hello()));
    assert_eq!(ask(&service, Request::new(())).await.status, 200);
    assert_eq!(store.asked.load(SeqCst), asked);
}

#[tokio::test]
async fn a_dropped_request_that_waits_for_the_store_returns_its_permit() {
    struct Silent;
    impl LimitStore for Silent {
        fn take(&self, _: &Ask<'_>) -> Taking {
            Taking::Pending(Box::pin(pending()))
        }

        fn refund(&self, _: &Ask<'_>) {}
    }
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(hello(), Arc::clone(&permits));
    let limit = ClientLimitLayer::new(Limiter::new(Silent), limits_of as LimitsOf);
    let mut service = layer().layer(limit.layer(limited));
    for _ in 0..3 {
        let mut response = Box::pin(service.ready().await.unwrap().call(get(APP)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(response.as_mut().poll(&mut context), Poll::Pending));
        drop(response);
        assert_eq!(permits.available_permits(), 1);
    }
}

#[tokio::test]
async fn if_the_store_is_down_a_request_gets_503_and_never_passes() {
    let store = Remote::new();
    store.is_down.store(true, SeqCst);
    let service = layer().layer(remote(&store).headers(RateLimitHeaders::Always).layer(hello()));
    for _ in 0..3 {
        let reply = ask(&service, get(APP)).await;
        assert_eq!((reply.status, reply.reason()), (503, Some(Reason::Failed)));
        assert_eq!(&*reply.body, br#"{"error":"Service unavailable"}"#);
        assert!(!reply.headers.contains_key("ratelimit"));
        let cause = std::error::Error::source(reply.rejection.as_ref().unwrap()).unwrap();
        assert_eq!(cause.to_string(), "the store of limits did not answer");
        let reply = ask(&service, grpc(APP)).await;
        assert_eq!((reply.status, reply.line("grpc-status")), (200, "14"));
    }
    store.is_down.store(false, SeqCst);
    assert_eq!(ask(&service, get(APP)).await.status, 200);
}

#[cfg(feature = "tracing")]
#[test]
fn a_layer_that_fails_open_passes_requests_and_logs_an_error() {
    let store = Remote::new();
    let limit = remote(&store).fail_open();
    let service = layer().layer(limit.layer(hello()));
    let lines = crate::failure_limit::logged(|| {
        support::block_on(async {
            for (is_down, status) in [(false, 200), (true, 200), (true, 200), (true, 200)] {
                store.is_down.store(is_down, SeqCst);
                assert_eq!(ask(&service, get(APP)).await.status, status);
            }
        });
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains("fail_open"), "{lines:?}");
}

#[tokio::test]
async fn a_request_that_took_nothing_gives_nothing_back() {
    /// The same store, without a wait.
    struct AtOnce(Remote);
    impl LimitStore for AtOnce {
        fn take(&self, ask: &Ask<'_>) -> Taking {
            match self.0.is_down.load(SeqCst) {
                true => Taking::Ready(Taken::failed()),
                false => self.0.limiter.take(ask),
            }
        }

        fn refund(&self, ask: &Ask<'_>) {
            self.0.refund(ask);
        }
    }
    let store = Remote::new();
    let at_once = Limiter::new(AtOnce(store.clone()));
    for (limiter, key) in [(Limiter::new(store.clone()), APP), (at_once, CI)] {
        let limit = ClientLimitLayer::new(limiter, |_: &Client| &FREE);
        let limit = limit.fail_open().refund_if(|status| status.is_server_error());
        let service = layer().layer(limit.layer(status_of_path()));
        for (is_down, status) in
            [(false, 200), (false, 200), (true, 500), (true, 500), (false, 429)]
        {
            store.is_down.store(is_down, SeqCst);
            let answer = if is_down { "/500" } else { "/200" };
            let reply = ask(&service, path(answer, key)).await;
            assert_eq!(reply.status, status, "{is_down} {key}");
        }
    }
}

// Events.

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, event: &str, decision: &Decision<'_>) {
        let client = decision.client().map_or("-", Client::id);
        let outcome = decision.outcome().as_str();
        let names = decision.rejection().into_iter().flat_map(Rejection::violated_limits);
        let names = names.collect::<Vec<_>>().join("+");
        self.0.lock().unwrap().push(format!("{event} {outcome} {client} {names}"));
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
async fn a_limited_request_is_one_decision_and_one_event_with_the_name_of_the_limit() {
    for own_style in [false, true] {
        let notes = Notes::default();
        let limit = if own_style { limit().respond(Text::default()) } else { limit() };
        let service = layer().observe(notes.clone()).layer(limit.layer(hello()));
        for _ in 0..3 {
            ask(&service, get(APP)).await;
        }
        assert_eq!(
            *notes.0.lock().unwrap(),
            [
                "decision accepted app ",
                "decision accepted app ",
                "decision accepted app ",
                "guard limited app minute",
            ]
        );
    }
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_count_limited_requests_by_limit_and_client() {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower_api_key::observe::Metrics;

    let recorder = PrometheusBuilder::new().build_recorder();
    let layer = layer().observe(Metrics::new().by_client());
    let limit = limit().cost(|head| if head.uri().path() == "/big" { 9 } else { 1 });
    let service = layer.layer(limit.layer(hello()));
    metrics::with_local_recorder(&recorder, || {
        support::block_on(async {
            for path_of_request in ["/", "/", "/", "/", "/big"] {
                ask(&service, path(path_of_request, APP)).await;
            }
        });
    });
    let text = recorder.handle().render();
    for line in [
        r#"api_key_guard_rejections_total{outcome="limited",reason="limited",limit="minute",client="app"} 2"#,
        r#"api_key_guard_rejections_total{outcome="limited",reason="cost_above_limit",limit="minute",client="app"} 1"#,
        r#"api_key_requests_total{outcome="accepted",location="header x-api-key",client="app"} 5"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }
}

// The caller's own view.

#[tokio::test]
async fn a_client_sees_its_own_limits_and_looking_costs_nothing() {
    let limit = limit();
    let (status, service) = (limit.status_service(), limit.layer(hello()));
    let layer = layer().respond(Problem::default());
    let (status, service) = (layer.layer(status), layer.layer(service));
    let remaining = async |key: &str| {
        let reply = ask(&status, get(key)).await;
        assert_eq!((reply.status, reply.line("content-type")), (200, "application/json"));
        assert_eq!(reply.line("cache-control"), "no-store");
        String::from_utf8(reply.body.to_vec()).unwrap()
    };
    let full = r#"{"client":"ci","limits":[{"name":"minute","quota":4,"window_seconds":60,"burst":4,"remaining":4,"seconds_until_more":0},{"name":"hour","quota":5,"window_seconds":3600,"burst":5,"remaining":5,"seconds_until_more":0}]}"#;
    for _ in 0..20 {
        assert_eq!(remaining(CI).await, full);
    }
    assert_eq!(ask(&service, get(CI)).await.status, 200);
    let value: serde_json::Value = serde_json::from_str(&remaining(CI_TOO).await).unwrap();
    assert_eq!(value["limits"][0]["remaining"], 3);
    assert_eq!(value["limits"][0]["seconds_until_more"], 15);
    assert_eq!(value["limits"][1]["remaining"], 4);
    let value: serde_json::Value = serde_json::from_str(&remaining(APP).await).unwrap();
    assert_eq!((&value["client"], &value["limits"][0]["remaining"]), (&"app".into(), &2.into()));
    // At the limit it still answers.
    for _ in 0..3 {
        ask(&service, get(CI)).await;
    }
    assert_eq!(ask(&service, get(CI)).await.status, 429);
    assert!(remaining(CI).await.contains(r#""remaining":0"#));

    assert_eq!(ask(&status, get("wrong")).await.status, 401);
    let mut request = get(CI);
    *request.method_mut() = Method::HEAD;
    assert_eq!(ask(&status, request).await.status, 200);
    let mut request = get(CI);
    *request.method_mut() = Method::POST;
    let reply = ask(&status, request).await;
    assert_eq!((reply.status, reply.line("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn the_view_without_a_client_or_a_store_is_an_error_and_an_id_with_quotes_is_json() {
    let status = limit().status_service();
    assert_eq!(ask(&status, get(CI)).await.status, 500);
    let optional = layer().optional().layer(status);
    assert_eq!(ask(&optional, Request::new(())).await.reason(), Some(Reason::Missing));

    let store = Remote::new();
    let service = layer().respond(Problem::default()).layer(remote(&store).status_service());
    assert_eq!(ask(&service, get(CI)).await.status, 200);
    store.is_down.store(true, SeqCst);
    let reply = ask(&service, get(CI)).await;
    assert_eq!((reply.status, reply.reason()), (503, Some(Reason::Failed)));
    assert_eq!(reply.line("content-type"), "application/problem+json");

    let mut request = Request::new(());
    request.extensions_mut().insert(Client::new("a \"b\"\n\\"));
    let reply = ask(&limit().status_service(), request).await;
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(value["client"], "a \"b\"\n\\");
}

// Over real sockets.

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_view_on_an_exempt_path_names_the_path_and_without_a_store_it_has_no_state() {
    let status = limit().status_service();
    let exempt = layer().exempt_path("/limits").layer(status);
    let reply = ask(&exempt, path("/limits", APP)).await;
    let body = std::str::from_utf8(&reply.body).unwrap();
    assert_eq!(
        (reply.status, body.contains("exempt"), body.contains("no `ApiKeyLayer`")),
        (500, true, false)
    );
    let store = Remote::new();
    store.is_down.store(true, SeqCst);
    let service = layer().layer(remote(&store).fail_open().status_service());
    assert_eq!(ask(&service, get(APP)).await.status, 503);
}

#[tokio::test]
async fn with_layers_for_two_client_types_each_limit_follows_the_layer_for_its_type() {
    #[derive(Clone)]
    struct Tenant(Client);
    impl Identity for Tenant {
        fn id(&self) -> &str {
            self.0.id()
        }
    }
    let tenants = || ApiKeyLayer::new(header("x-tenant-key"), keys().map_client(Tenant));
    let with_both = |uri: &str| {
        let request = Request::get(uri).header("x-api-key", APP).header("x-tenant-key", APP);
        request.body(()).unwrap()
    };
    let of_tenant = || {
        static ONE: Limits = Limits::new(&[Limit::per_hour("tenant", 1)]);
        ClientLimitLayer::new(Limiter::in_process(), |_: &Tenant| &ONE)
    };
    // The outer layer accepts the tenant, and the inner one exempts the path.
    let inner = layer().exempt_path("/health").layer(limit().layer(of_tenant().layer(hello())));
    let service = tenants().layer(inner);
    for status in [200, 429, 429] {
        assert_eq!(ask(&service, with_both("/health")).await.status, status);
    }
    // The other way round: only the client is limited.
    let inner = layer().layer(of_tenant().layer(limit().layer(hello())));
    let service = tenants().exempt_path("/health").layer(inner);
    for status in [200, 200, 429] {
        assert_eq!(ask(&service, with_both("/health")).await.status, status);
    }
    // Both limit elsewhere. The tenant's one request is the second that the client takes.
    let service = tenants().layer(layer().layer(limit().layer(of_tenant().layer(hello()))));
    for status in [200, 429] {
        assert_eq!(ask(&service, with_both("/jobs")).await.status, status);
    }
    // An anonymous tenant passes, and the client has its limit.
    let inner = layer().layer(of_tenant().layer(limit().layer(hello())));
    let service = tenants().optional().layer(inner);
    for status in [200, 200, 429] {
        assert_eq!(ask(&service, get(APP)).await.status, status);
    }
}

#[tokio::test]
async fn an_axum_app_limits_its_routes_and_not_the_health_check() {
    use axum::{Router, routing::get};
    use hyper_util::{client::legacy, rt::TokioExecutor};

    let limit = limit().headers(RateLimitHeaders::Always);
    let status = limit.status_service();
    let app: Router = Router::new()
        .route("/report", get(async |client: Client| client.id().to_owned()))
        .route("/admin", get(async || "admin").layer(RequireScopeLayer::all(["admin"])))
        .layer(limit)
        .route_service("/limits", status)
        .route("/health", get(async || "ok"))
        .layer(layer().exempt_path("/health"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let call = async |path: &str, key: &str| {
        let request = Request::get(format!("http://{addr}{path}")).header("x-api-key", key);
        reply(client.request(request.body(Full::default()).unwrap()).await.unwrap()).await
    };
    for (path, key, status, remaining) in [
        ("/report", CI, 200, r#""minute";r=3;t=15, "hour";r=4;t=720"#),
        ("/report", APP, 200, r#""minute";r=1;t=30"#),
        // The scope layer is inside.
        ("/admin", APP, 403, r#""minute";r=0;t=30"#),
        ("/report", APP, 429, r#""minute";r=0;t=30"#),
        ("/limits", APP, 200, ""),
        ("/health", "", 200, ""),
        ("/report", "wrong", 401, ""),
    ] {
        let reply = call(path, key).await;
        assert_eq!((reply.status, reply.line("ratelimit")), (status, remaining), "{path} {key}");
    }
}

#[tokio::test]
async fn a_tonic_caller_above_its_limit_gets_resource_exhausted_with_the_time_to_retry() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(layer())
        .layer(limit().headers(RateLimitHeaders::Always))
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let mut check = async || {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-api-key", APP.parse().unwrap());
        client.check(request).await
    };
    let metadata = check().await.unwrap().metadata().clone();
    assert_eq!(metadata.get("ratelimit").unwrap(), r#""minute";r=1;t=30"#);
    assert!(check().await.is_ok());
    let status = check().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "Too many requests"));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000");
    let info = status.get_details_retry_info().unwrap();
    assert_eq!(info.retry_delay, Some(Duration::from_secs(30)));
}

// Bad input.

#[tokio::test]
async fn a_panic_in_a_closure_ends_its_request_alone() {
    let limit = ClientLimitLayer::new(Limiter::in_process(), |client: &Client| {
        assert!(client.id() != "ci", "on purpose");
        &FREE
    });
    let limit = limit.cost(|head| {
        assert!(head.uri().path() != "/panic", "on purpose");
        1
    });
    let service = layer().layer(limit.layer(hello()));
    for status in [200, 200, 429] {
        for request in [get(CI), path("/panic", APP)] {
            let mut service = service.clone();
            let panic = std::panic::catch_unwind(AssertUnwindSafe(|| drop(service.call(request))));
            assert!(panic.is_err());
        }
        assert_eq!(ask(&service, get(APP)).await.status, status);
    }
}

#[tokio::test]
async fn a_store_that_knows_more_limits_than_the_plan_changes_nothing() {
    struct Odd;
    impl LimitStore for Odd {
        fn take(&self, ask: &Ask<'_>) -> Taking {
            assert!(matches!(ask.subject(), Subject::Client(_)));
            let taken = Taken::limited(usize::MAX, Duration::MAX);
            Taking::Ready(taken.with_state(usize::MAX, 1, Duration::MAX).with_state(
                3,
                1,
                Duration::MAX,
            ))
        }

        fn refund(&self, _: &Ask<'_>) {}
    }
    for headers in [None, Some(RateLimitHeaders::Always)] {
        let limit = ClientLimitLayer::new(Limiter::new(Odd), limits_of as LimitsOf);
        let limit = match headers {
            Some(headers) => limit.headers(headers),
            None => limit,
        };
        let reply = ask(&layer().layer(limit.layer(hello())), get(APP)).await;
        assert_eq!((reply.status, reply.line("retry-after")), (429, "4294967295"));
        assert_eq!(reply.headers.contains_key("ratelimit"), headers.is_some());
    }
}

#[test]
fn debug_shows_no_client() {
    let limit = limit();
    let shown = format!("{limit:?} {:?} {:?}", limit.layer("inner"), limit.status_service());
    assert_eq!(
        shown,
        "ClientLimitLayer { .. } ClientLimitService { .. } LimitStatusService { .. }"
    );
    assert_eq!(limit.layer("inner").into_inner(), "inner");
}
