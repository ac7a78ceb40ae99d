//! Guards of your own as tower services, over sockets, and the marks of requests without a client.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::FromRequestParts, middleware, routing::any};
use bytes::Bytes;
use http::{Extensions, Request, Response, Version, request};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tonic::{Code, transport::server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{
    Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn, util::BoxCloneSyncService,
};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, Exempt, Identity, KeyLocation, Keyring, Rejection,
    RequireScopeLayer, ResponseBody,
    extract::{RequestHead, header},
    observe::{Decision, Observe, Outcome},
    rejection::Reason,
    respond::{self, GuardFuture, Problem},
    verify::{self, VerifyError},
};

const KEY: &str = "key-of-the-client-0123456789";

fn keys() -> Keyring {
    let keys = Keyring::new();
    let client = Client::new("ci").with_key_id("k_42").with_metadata("regions", "eu us");
    keys.insert(KEY, client).unwrap();
    keys
}

fn layer() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

fn styled() -> ApiKeyLayer<KeyLocation, Keyring> {
    layer().realm("jobs").respond(Problem::default())
}

type Inner = BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;

fn inner() -> Inner {
    Inner::new(service_fn(async |_| Ok(Response::new(Full::from("done")))))
}

/// A request to `/jobs` with the key in a header of this name.
fn keyed(name: &str) -> Request<()> {
    Request::get("/jobs").header(name, KEY).body(()).unwrap()
}

async fn ask<S, B>(service: S, request: Request<()>) -> Response<Bytes>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn reason_of<B>(response: &Response<B>) -> Option<Reason> {
    response.extensions().get().map(Rejection::reason)
}

fn line<'r, B>(response: &'r Response<B>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |line| line.to_str().unwrap())
}

/// Keeps a line for each event.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn push<C: Identity>(&self, event: &str, decision: &Decision<'_, C>) {
        let outcome = decision.outcome().as_str();
        let client = decision.client().map_or("-", C::id);
        let line = format!("{event} {outcome} {client} {} {}", decision.method(), decision.path());
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<C: Identity> Observe<C> for Events {
    fn on_decision(&self, decision: &Decision<'_, C>) {
        self.push("decision", decision);
    }

    fn on_guard(&self, decision: &Decision<'_, C>) {
        self.push("guard", decision);
    }
}

// The guard of page 17 of the manual.

#[derive(Clone)]
struct RegionLayer;

impl<S> Layer<S> for RegionLayer {
    type Service = RegionGuard<S>;

    fn layer(&self, inner: S) -> RegionGuard<S> {
        RegionGuard { inner }
    }
}

#[derive(Clone)]
struct RegionGuard<S> {
    inner: S,
}

impl<S, B, B2> Service<Request<B>> for RegionGuard<S>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match rejection(RequestHead::of(&request)) {
            None => GuardFuture::inner(self.inner.call(request)),
            Some(response) => {
                self.inner = self.inner.clone();
                GuardFuture::rejected(response)
            }
        }
    }
}

fn rejection(head: RequestHead<'_>) -> Option<Response<Bytes>> {
    let extensions = head.extensions();
    match extensions.get::<Client>() {
        Some(client) if is_allowed(client, head) => None,
        Some(_) => {
            Some(respond::reject(head, Rejection::new(Reason::Forbidden).with_guard("region")))
        }
        None if Exempt::of::<Client>(extensions).is_some() => None,
        None => Some(match Anonymous::of::<Client>(extensions) {
            Some(anonymous) => anonymous.reject(head),
            None => respond::server_error(head, "Put an `ApiKeyLayer` outside."),
        }),
    }
}

fn is_allowed(client: &Client, head: RequestHead<'_>) -> bool {
    let region = head.headers().get("x-region").and_then(|line| line.to_str().ok());
    let mut regions = client.metadata("regions").unwrap_or_default().split_ascii_whitespace();
    region.is_some_and(|region| regions.any(|it| it == region))
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Sends a request over a socket of its own. Returns whether the head ended the response as well.
async fn send(
    addr: SocketAddr,
    version: Version,
    request: request::Builder,
) -> (Response<Bytes>, bool) {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let path = request.uri_ref().unwrap().clone();
    let body = Full::new(Bytes::from_static(b"\0\0\0\0\0"));
    let response = if version == Version::HTTP_2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = request.uri(format!("http://{addr}{path}"));
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = request.header("host", addr.to_string());
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let is_ended = body.is_end_stream();
    (Response::from_parts(head, body.collect().await.unwrap().to_bytes()), is_ended)
}

#[tokio::test]
async fn a_guard_of_your_own_rejects_over_a_socket_as_the_layer_and_is_observed() {
    let log = Events::default();
    let layer = styled().optional().exempt_path("/health").observe(log.clone());
    let routes = Router::new().route("/jobs", any(async || "done"));
    let routes = routes.route("/health", any(async || "healthy"));
    let addr = serve(routes.layer(RegionLayer).layer(layer)).await;
    let problem = "application/problem+json";
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (path, key, region, status, content_type, events) in [
            ("/jobs", KEY, "us", 200, "text/plain; charset=utf-8", &["decision accepted ci"][..]),
            ("/jobs", KEY, "asia", 403, problem, &["decision accepted ci", "guard forbidden ci"]),
            ("/jobs", "", "eu", 401, problem, &["decision anonymous -", "guard rejected -"]),
            ("/health", "", "", 200, "text/plain; charset=utf-8", &["decision exempt -"]),
            ("/jobs", "wrong", "eu", 401, problem, &["decision rejected -"]),
        ] {
            let request = Request::get(path).header("x-api-key", key).header("x-region", region);
            let (response, _) = send(addr, version, request).await;
            assert_eq!(response.status(), status, "{path} {key} {region}");
            assert_eq!(line(&response, "content-type"), content_type);
            assert_eq!(line(&response, "www-authenticate").contains("jobs"), status == 401);
            let is_rejected = status != 200;
            assert_eq!(line(&response, "cache-control").contains("no-store"), is_rejected);
            let shown = format!("{:?} {:?}", response.headers(), response.body());
            assert!(!shown.contains("region"), "{shown}");
            let expected: Vec<_> = events.iter().map(|it| format!("{it} GET {path}")).collect();
            assert_eq!(log.take(), expected);
        }
    }
}

#[tokio::test]
async fn a_guard_of_your_own_rejects_a_grpc_call_with_one_frame_that_ends_the_stream() {
    let routes = || Router::new().route("/jobs", any(async || "done")).layer(RegionLayer);
    let guarded = serve(routes().layer(styled().optional())).await;
    let without_layer = serve(routes()).await;
    for content_type in ["application/grpc", "application/grpc-web", "application/grpc-web-text"] {
        for (addr, key, code) in
            [(guarded, KEY, "7"), (guarded, "", "16"), (without_layer, KEY, "13")]
        {
            let request = Request::post("/jobs").header("content-type", content_type);
            let request = request.header("x-api-key", key).header("x-region", "asia");
            let (response, is_ended) = send(addr, Version::HTTP_2, request).await;
            assert_eq!((response.status().as_u16(), line(&response, "grpc-status")), (200, code));
            assert_eq!(line(&response, "content-type"), content_type);
            assert!(is_ended, "the frame of the head does not end the stream: {response:?}");
        }
    }
}

#[tokio::test]
async fn a_guard_of_your_own_rejects_a_call_of_a_tonic_client() {
    let log = Events::default();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(styled().optional().observe(log.clone()))
        .layer(RegionLayer)
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let client = HealthClient::new(channel.connect().await.unwrap());
    for (key, region, code, events) in [
        (KEY, "eu", Code::Ok, 1),
        (KEY, "asia", Code::PermissionDenied, 2),
        ("", "eu", Code::Unauthenticated, 2),
    ] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        request.metadata_mut().insert("x-region", region.parse().unwrap());
        let answer = client.clone().check(request).await;
        assert_eq!(answer.err().map_or(Code::Ok, |status| status.code()), code);
        assert_eq!(log.take().len(), events);
    }
}

#[tokio::test]
async fn a_guard_that_replaces_the_ready_instance_returns_its_permit() {
    let permits = Arc::new(Semaphore::new(1));
    let limited = ConcurrencyLimit::with_semaphore(inner(), Arc::clone(&permits));
    let mut service = styled().optional().layer(RegionLayer.layer(limited));
    for key in ["", KEY] {
        let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
        service.ready().await.unwrap();
        assert_eq!(permits.available_permits(), 0);
        let rejected = service.call(request);
        assert_eq!(permits.available_permits(), 1);
        assert!(rejected.await.unwrap().status().is_client_error());
    }
}

#[test]
fn the_future_of_a_guard_is_small_and_sent_to_another_thread() {
    fn is_send<F: Send>(_: &F) -> usize {
        size_of::<F>()
    }
    let future = std::future::ready(Ok::<_, Infallible>(Response::new(())));
    let (inner, whole) = (is_send(&future), is_send(&GuardFuture::inner(future)));
    assert!(whole <= inner + size_of::<usize>(), "{whole} bytes for {inner}");
}

// A request without a client.

#[derive(Clone)]
struct Tenant;

impl Identity for Tenant {
    fn id(&self) -> &str {
        "acme"
    }
}

fn tenants() -> ApiKeyLayer<KeyLocation, Keyring<Tenant>> {
    let keys: Keyring<Tenant> = Keyring::new();
    keys.insert(KEY, Tenant).unwrap();
    ApiKeyLayer::new(header("x-tenant-key"), keys).realm("tenants")
}

/// Keeps the reasons of guards.
#[derive(Clone, Default)]
struct Reasons(Arc<Mutex<Vec<Option<Reason>>>>);

impl Observe for Reasons {
    fn on_decision(&self, _: &Decision<'_>) {}

    fn on_guard(&self, decision: &Decision<'_>) {
        assert_eq!((decision.outcome(), decision.elapsed()), (Outcome::Rejected, Duration::ZERO));
        assert_eq!(decision.location(), None);
        self.0.lock().unwrap().push(decision.rejection().map(Rejection::reason));
    }
}

async fn is_observed_without_a_client<S, B>(guard: impl Layer<Inner, Service = S>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (log, reasons) = (Events::default(), Reasons::default());
    let guarded = guard.layer(inner());
    for (layer, key, outcome, reason) in [
        (layer().optional(), "", "anonymous", Reason::Missing),
        (layer().dangerous_report_only(), "", "reported", Reason::Missing),
        (layer().dangerous_report_only(), "wrong", "reported", Reason::Unknown),
    ] {
        let observed = layer.observe((log.clone(), reasons.clone()));
        let request = Request::get("/jobs").header("x-api-key", key).body(()).unwrap();
        let reply = ask(observed.layer(guarded.clone()), request).await;
        assert_eq!((reply.status().as_u16(), reason_of(&reply)), (401, Some(reason)));
        let decision = format!("decision {outcome} - GET /jobs");
        assert_eq!(log.take(), [&*decision, "guard rejected - GET /jobs"]);
        assert_eq!(std::mem::take(&mut *reasons.0.lock().unwrap()), [Some(reason)]);
    }
}

#[tokio::test]
async fn a_guard_that_rejects_an_anonymous_request_is_observed_with_the_reason_of_the_layer() {
    is_observed_without_a_client(RequireScopeLayer::all(["a"])).await;
    is_observed_without_a_client(RegionLayer).await;
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_handler_without_its_client_is_observed_over_a_socket() {
    let log = Events::default();
    let layer = styled().optional().exempt_path("/open").observe(log.clone());
    let app = Router::new()
        .route("/jobs", any(async |client: Client| client.id().to_owned()))
        .route("/open", any(async |_: Client| "never"))
        .layer(layer);
    let addr = serve(app).await;
    let (response, _) = send(addr, Version::HTTP_11, Request::get("/jobs")).await;
    assert_eq!((response.status().as_u16(), line(&response, "grpc-status")), (401, ""));
    assert_eq!(line(&response, "content-type"), "application/problem+json");
    let events = ["decision anonymous - GET /jobs", "guard rejected - GET /jobs"];
    assert_eq!(log.take(), events);
    for (path, code) in [("/jobs", "16"), ("/open", "13")] {
        let call = Request::post(path).header("content-type", "application/grpc");
        let (response, is_ended) = send(addr, Version::HTTP_2, call).await;
        assert_eq!((response.status().as_u16(), line(&response, "grpc-status")), (200, code));
        assert!(is_ended);
    }
}

#[tokio::test]
async fn an_anonymous_request_is_observed_by_the_layer_of_the_guard_s_client_type() {
    let (of_clients, of_tenants) = (Events::default(), Events::default());
    let clients = layer().realm("clients").optional().observe(of_clients.clone());
    let tenants = tenants().observe(of_tenants.clone());
    let guarded = || RegionLayer.layer(inner());
    let (decision, guard) = ("decision anonymous - GET /jobs", "guard rejected - GET /jobs");
    for reply in [
        ask(clients.layer(tenants.layer(guarded())), keyed("x-tenant-key")).await,
        ask(tenants.layer(clients.layer(guarded())), keyed("x-tenant-key")).await,
    ] {
        assert_eq!(reply.status(), 401);
        assert!(line(&reply, "www-authenticate").contains("clients"));
    }
    assert_eq!(of_clients.take(), [decision, guard, decision, guard]);
    let accepted = "decision accepted acme GET /jobs";
    assert_eq!(of_tenants.take(), [accepted, accepted]);
    // A guard for clients has no other mark than that of the tenants.
    let reply = ask(tenants.clone().optional().layer(guarded()), Request::default()).await;
    assert!(line(&reply, "www-authenticate").contains("tenants"));
    assert_eq!(of_tenants.take(), ["decision anonymous - GET /", "guard rejected - GET /"]);
}

/// The state of a request for a client type.
fn state<C: Clone + Send + Sync + 'static>(extensions: &Extensions) -> &'static str {
    let states = [
        extensions.get::<C>().map(|_| "client"),
        Anonymous::of::<C>(extensions).map(|_| "anonymous"),
        Exempt::of::<C>(extensions).map(|_| "exempt"),
    ];
    let mut states = states.into_iter().flatten();
    let state = states.next().unwrap_or("none");
    assert_eq!(states.next(), None, "{state}");
    state
}

/// The marks of a request behind layers: for clients, for tenants, and of the innermost layer.
fn marks() -> Inner {
    Inner::new(service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        let innermost = [
            extensions.get::<Anonymous>().map(|_| "anonymous"),
            extensions.get::<Exempt>().map(|_| "exempt"),
        ];
        let innermost: Vec<_> = innermost.into_iter().flatten().collect();
        let (client, tenant) = (state::<Client>(extensions), state::<Tenant>(extensions));
        Ok(Response::new(Full::from(format!("{client} {tenant} {}", innermost.join("+")))))
    }))
}

#[tokio::test]
async fn a_request_that_needs_no_key_is_marked_as_exempt() {
    let preflight = Request::options("/").header("origin", "https://a.example");
    let preflight = preflight.header("access-control-request-method", "GET").body(()).unwrap();
    for (layer, request, expected) in [
        (layer().exempt_path("/jobs"), keyed("x-api-key"), "exempt exempt exempt"),
        (layer().exempt_if(|_| true), keyed("x-api-key"), "exempt exempt exempt"),
        (layer().pass_preflight(), preflight, "exempt exempt exempt"),
        (layer().optional(), Request::default(), "anonymous anonymous anonymous"),
        (layer().dangerous_report_only(), Request::default(), "anonymous anonymous anonymous"),
        (layer(), keyed("x-api-key"), "client none "),
    ] {
        let reply = ask(layer.layer(marks()), request).await;
        assert_eq!(reply.body(), expected, "{layer:?}");
    }
    let waiting = verify::from_async_fn(async |_| {
        tokio::task::yield_now().await;
        Some(Client::new("later"))
    });
    let waiting = ApiKeyLayer::new(header("x-api-key"), waiting);
    let outer = layer().exempt_path("/jobs").forward_key();
    // An exempt path strips the key, so that the inner layer needs another one.
    let inner = ApiKeyLayer::new(header("x-second-key"), keys());
    let mut two = keyed("x-api-key");
    two.headers_mut().insert("x-second-key", KEY.parse().unwrap());
    assert_eq!(ask(outer.layer(inner.layer(marks())), two).await.body(), "client none ");
    assert_eq!(
        ask(outer.layer(waiting.layer(marks())), keyed("x-api-key")).await.body(),
        "client none "
    );
}

#[tokio::test]
async fn nested_layers_mark_a_request_for_their_own_client_types() {
    let (clients, tenants) = (layer(), tenants());
    let keyless = || Request::get("/jobs").body(()).unwrap();
    let optional = || clients.clone().optional();
    let exempt = || clients.clone().exempt_path("/jobs");
    for (outer, inner, request, expected) in [
        (optional(), tenants.clone(), keyed("x-tenant-key"), "anonymous client "),
        (exempt(), tenants.clone(), keyed("x-tenant-key"), "exempt client "),
        (
            clients.clone(),
            tenants.clone().exempt_path("/jobs"),
            keyed("x-api-key"),
            "client exempt exempt",
        ),
        (
            clients.clone(),
            tenants.clone().optional(),
            keyed("x-api-key"),
            "client anonymous anonymous",
        ),
        (optional(), tenants.clone().exempt_path("/jobs"), keyless(), "anonymous exempt exempt"),
        (exempt(), tenants.clone().optional(), keyless(), "exempt anonymous anonymous"),
        (optional(), tenants.clone().optional(), keyless(), "anonymous anonymous anonymous"),
    ] {
        let reply = ask(outer.layer(inner.layer(marks())), request).await;
        assert_eq!(reply.body(), expected);
    }
    // Of two layers for one client type, the inner layer counts.
    let second = ApiKeyLayer::new(header("x-second-key"), keys());
    for (outer, inner, request, expected) in [
        (exempt(), second.clone(), keyed("x-second-key"), "client none "),
        (exempt(), second.clone().optional(), keyless(), "anonymous anonymous anonymous"),
        (optional(), second.clone(), keyed("x-second-key"), "client none "),
        (optional(), second.clone().exempt_path("/jobs"), keyless(), "exempt exempt exempt"),
        (
            clients.clone(),
            second.clone().exempt_path("/jobs"),
            keyed("x-api-key"),
            "exempt exempt exempt",
        ),
        (exempt(), second.dangerous_report_only(), keyless(), "anonymous anonymous anonymous"),
    ] {
        let reply = ask(outer.layer(inner.layer(marks())), request).await;
        assert_eq!(reply.body(), expected);
    }
}

// The response of a guard on its way.

#[tokio::test]
async fn the_layer_finds_the_response_of_a_guard_by_its_extensions() {
    #[derive(Clone)]
    struct Why;

    let log = Events::default();
    let styled = || styled().observe(log.clone());
    let guarded = || RegionLayer.layer(inner());
    let changed = guarded().map_response(|mut response: Response<_>| {
        response.extensions_mut().insert(Why);
        response.map(|_| Full::from("another body"))
    });
    let reply = ask(styled().layer(changed), keyed("x-api-key")).await;
    assert!(reply.extensions().get::<Why>().is_some());
    assert!(reply.body().starts_with(br#"{"type":"about:blank""#), "{reply:?}");
    assert_eq!(log.take().len(), 2);

    let cleared = guarded().map_response(|mut response: Response<_>| {
        response.extensions_mut().clear();
        response
    });
    let reply = ask(styled().layer(cleared), keyed("x-api-key")).await;
    assert_eq!((reply.status().as_u16(), &**reply.body()), (403, &br#"{"error":"Forbidden"}"#[..]));
    assert_eq!((reason_of(&reply), log.take().len()), (None, 1));
}

#[tokio::test]
async fn an_extractor_of_your_own_rejects_with_the_head_that_it_has() {
    struct Paid;

    impl<S: Sync> FromRequestParts<S> for Paid {
        type Rejection = axum::response::Response;

        async fn from_request_parts(
            parts: &mut request::Parts,
            _: &S,
        ) -> Result<Self, Self::Rejection> {
            let rejection = Rejection::new(Reason::Forbidden);
            Err(respond::reject(RequestHead::of_parts(parts), rejection).map(Into::into))
        }
    }

    let log = Events::default();
    let app = Router::new().route("/jobs", any(async |_: Paid| "never"));
    let addr = serve(app.layer(styled().observe(log.clone()))).await;
    let (response, _) =
        send(addr, Version::HTTP_11, Request::get("/jobs").header("x-api-key", KEY)).await;
    assert_eq!(response.status(), 403);
    assert_eq!(line(&response, "content-type"), "application/problem+json");
    let events = ["decision accepted ci GET /jobs", "guard forbidden ci GET /jobs"];
    assert_eq!(log.take(), events);
}

#[tokio::test]
async fn a_guard_outside_reports_its_rejection_itself() {
    let log = Events::default();
    let layer = styled().observe(log.clone());
    let writer = layer.rejection_writer();
    let observer = log.clone();
    let limit = middleware::from_fn(move |request: axum::extract::Request, _: middleware::Next| {
        let rejection = Rejection::new(Reason::TooManyFailures);
        let rejection = rejection.with_retry_after(Duration::from_secs(30));
        let decision = Decision::<Client>::by_guard(&rejection, None);
        let decision = decision.with_method(request.method()).with_path(request.uri().path());
        observer.on_guard(&decision);
        let response = writer.write(RequestHead::of(&request), rejection);
        async move { response.map(axum::body::Body::from) }
    });
    let app = Router::new().route("/jobs", any(async || "never")).layer(layer).layer(limit);
    let addr = serve(app).await;
    let get = Request::get("/jobs").header("x-api-key", KEY);
    let (response, _) = send(addr, Version::HTTP_11, get).await;
    assert_eq!((response.status().as_u16(), line(&response, "retry-after")), (429, "30"));
    assert_eq!(line(&response, "content-type"), "application/problem+json");
    assert_eq!(log.take(), ["guard limited - GET /jobs"]);
    let call = Request::post("/jobs").header("content-type", "application/grpc");
    let (response, is_ended) = send(addr, Version::HTTP_2, call).await;
    assert_eq!((line(&response, "grpc-status"), is_ended), ("8", true));
    assert_eq!(line(&response, "grpc-retry-pushback-ms"), "30000");
}

#[cfg(any(feature = "axum", feature = "tracing"))]
#[test]
fn the_500_of_a_guard_has_one_line_in_the_log_and_a_rejection_has_none() {
    let log = crate::support::log::Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(log.writer()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let request = Request::new(());
        let head = RequestHead::of(&request);
        assert_eq!(respond::reject(head, Rejection::new(Reason::Forbidden)).status(), 403);
        assert_eq!(respond::server_error(head, "Put the layer outside.").status(), 500);
    });
    let log = log.text();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("ERROR tower_api_key") && log.contains("Put the layer outside."), "{log}");
}

#[test]
fn the_name_of_a_guard_stays_beside_the_id_and_the_cause_of_a_rejection() {
    let failed = Rejection::from(VerifyError::failed("down").with_key_id("k_7"));
    let named = failed.clone().with_guard("quota");
    assert_eq!((failed.guard(), named.guard()), (None, Some("quota")));
    assert_eq!((named.key_id(), named.reason()), (Some("k_7"), Reason::Failed));
    assert_eq!(std::error::Error::source(&named).unwrap().to_string(), "down");
    assert_eq!(named.message(), failed.message());
}
