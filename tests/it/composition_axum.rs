//! The layer in axum, by direct calls and over sockets.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Extension, Router,
    body::{Body, Bytes},
    error_handling::HandleErrorLayer,
    extract::{ConnectInfo, MatchedPath, Path, RawQuery, State},
    handler::Handler,
    http::{HeaderMap, Method, Request, StatusCode, Uri, Version},
    middleware::{self, Next},
    response::Response,
    routing::{any, get, get_service, post},
};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tower::{
    ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer,
    service_fn, timeout::TimeoutLayer, util::option_layer,
};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring, ResponseBody,
    extract::{Extract, bearer, header, query},
    verify::{self, Verify, VerifyError},
};

const KEY: &str = "12345abcde";
const UNAUTHORIZED: &str = r#"{"error":"Unauthorized access"}"#;

type KeyLayer = ApiKeyLayer<KeyLocation, Keyring>;

fn keys() -> Keyring {
    Keyring::single(KEY).unwrap()
}

fn layer() -> KeyLayer {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// Says which client it was called by, where and how.
async fn who(client: Option<Extension<Client>>, method: Method, uri: Uri) -> String {
    let client = client.as_ref().map_or("nobody", |Extension(client)| client.id());
    format!("{client} {method} {uri}")
}

fn request(method: &str, uri: &str, key: Option<&str>) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    }
    .body(Body::empty())
    .unwrap()
}

async fn ask(app: &Router, method: &str, uri: &str, key: Option<&str>) -> (u16, String) {
    let response = app.clone().oneshot(request(method, uri, key)).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

/// `GET uri` is for clients alone.
async fn guards(app: &Router, uri: &str) {
    for key in [None, Some("wrong"), Some("")] {
        assert_eq!(
            ask(app, "GET", uri, key).await,
            (401, UNAUTHORIZED.to_owned()),
            "{uri} {key:?}"
        );
    }
    let (status, body) = ask(app, "GET", uri, Some(KEY)).await;
    assert!(status == 200 && body.starts_with("default GET "), "{uri}: {status} {body}");
}

// ===== where a layer can go =====

#[tokio::test]
async fn router_layer_guards_all_routes_before_it_the_fallback_too_and_none_after_it() {
    let app = Router::new().route("/a", get(who)).route("/b/{id}", get(who)).layer(layer());
    let app = app.route("/health", get(who));
    guards(&app, "/a").await;
    guards(&app, "/b/7").await;
    assert_eq!(ask(&app, "GET", "/health", None).await.0, 200);
    // Without a key nobody learns which paths and methods there are.
    assert_eq!(ask(&app, "GET", "/nowhere", None).await.0, 401);
    assert_eq!(ask(&app, "GET", "/nowhere", Some(KEY)).await.0, 404);
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 401);
    assert_eq!(ask(&app, "DELETE", "/a", Some(KEY)).await.0, 405);
}

#[tokio::test]
async fn an_unknown_path_is_401_only_if_the_layer_stands_around_the_fallback_that_answers_it() {
    let routes = || Router::new().route("/a", get(who));
    let guarded = || routes().layer(layer());
    let statuses = async |app: &Router, path: &str| {
        (ask(app, "GET", path, None).await.0, ask(app, "GET", path, Some(KEY)).await.0)
    };
    // The layer is the outermost of the whole router.
    let whole = guarded();
    assert_eq!(statuses(&whole, "/nope").await, (401, 404));
    // Below a guarded nest, and beside it.
    let nested = Router::new().nest("/api", guarded());
    assert_eq!(statuses(&nested, "/api/nope").await, (404, 404));
    assert_eq!(statuses(&nested, "/nope").await, (404, 404));
    let around = Router::new().nest("/api", routes()).layer(layer());
    assert_eq!(statuses(&around, "/api/nope").await, (401, 404));
    // Merged with routes that are open.
    let merged = Router::new().route("/open", get(who)).merge(guarded());
    assert_eq!(statuses(&merged, "/nope").await, (401, 404));
    let merged = guarded().merge(Router::new().route("/open", get(who)));
    assert_eq!(statuses(&merged, "/nope").await, (404, 404));
    // A fallback that is added after the layer answers in its place.
    let fallback = guarded().fallback(who);
    assert_eq!(statuses(&fallback, "/nope").await, (200, 200));
    let inside = routes().fallback(who).layer(layer());
    assert_eq!(statuses(&inside, "/nope").await, (401, 200));
    // Without routes before it the layer guards none, although it answers for unknown paths.
    let early = Router::new().layer(layer()).route("/a", get(who));
    assert_eq!(statuses(&early, "/a").await, (200, 200));
    assert_eq!(statuses(&early, "/nope").await, (401, 404));
}

#[tokio::test]
async fn route_layer_leaves_unknown_paths_and_a_method_router_s_unknown_methods_what_they_are() {
    let app = Router::new().route("/a", get(who)).route_layer(layer());
    guards(&app, "/a").await;
    for key in [None, Some("wrong"), Some(KEY)] {
        assert_eq!(ask(&app, "GET", "/nowhere", key).await.0, 404);
    }
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 401);
    assert_eq!(ask(&app, "DELETE", "/a", Some(KEY)).await.0, 405);

    let app = Router::new().route("/a", get(who).route_layer(layer()));
    guards(&app, "/a").await;
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 405);
}

#[tokio::test]
async fn method_router_layer_guards_one_route_and_a_handler_s_layer_one_method() {
    let app = Router::new()
        .route("/route", get(who).post(who).layer(layer()))
        .route("/method", get(who).post(who.layer(layer())))
        .route("/merged", get(who).merge(post(who).layer(layer())))
        .route("/open", get(who));
    guards(&app, "/route").await;
    assert_eq!(ask(&app, "POST", "/route", None).await.0, 401);
    for uri in ["/method", "/merged"] {
        assert_eq!(ask(&app, "GET", uri, None).await, (200, format!("nobody GET {uri}")));
        assert_eq!(ask(&app, "POST", uri, None).await.0, 401);
        assert_eq!(ask(&app, "POST", uri, Some(KEY)).await, (200, format!("default POST {uri}")));
    }
    assert_eq!(ask(&app, "GET", "/open", Some(KEY)).await.1, "nobody GET /open");
}

#[tokio::test]
async fn nested_routers_are_guarded_from_outside_and_from_inside() {
    let outside = Router::new().nest("/api", Router::new().route("/a", get(who))).layer(layer());
    guards(&outside, "/api/a").await;
    let inside = Router::new().nest("/api", Router::new().route("/a", get(who)).layer(layer()));
    guards(&inside, "/api/a").await;
    assert_eq!(ask(&inside, "GET", "/elsewhere", None).await.0, 404);
    let deep = Router::new().route("/c", get(who)).route_layer(layer());
    let deep = Router::new().nest("/a", Router::new().nest("/b", deep));
    guards(&deep, "/a/b/c").await;
    assert_eq!(ask(&deep, "GET", "/a/b/c", Some(KEY)).await.1, "default GET /c");
}

#[tokio::test]
async fn nested_services_are_guarded_from_outside_and_from_inside() {
    let service = || {
        service_fn(|request: Request<Body>| async move {
            let client = request.extensions().get::<Client>().map_or("nobody", Client::id);
            let line = format!("{client} {} {}", request.method(), request.uri());
            Ok::<_, Infallible>(Response::new(Body::from(line)))
        })
    };
    let outside = Router::new().nest_service("/files", service()).layer(layer());
    guards(&outside, "/files/a").await;
    let guarded = ServiceBuilder::new().layer(layer()).service(service());
    let inside = Router::new()
        .nest_service("/files", guarded.clone())
        .route_service("/one", guarded.clone())
        .route("/get", get_service(guarded.clone()));
    for uri in ["/files/a", "/one", "/get"] {
        guards(&inside, uri).await;
    }
    let fallback = Router::new().route("/open", get(who)).fallback_service(guarded);
    guards(&fallback, "/anything").await;
    assert_eq!(ask(&fallback, "GET", "/open", None).await.0, 200);
}

#[tokio::test]
async fn r52_an_exempt_path_below_nest_is_the_path_without_the_prefix() {
    let routes = || Router::new().route("/health", get(who)).route("/a", get(who));
    let inside = Router::new().nest("/api", routes().layer(layer().exempt_path("/health")));
    assert_eq!(ask(&inside, "GET", "/api/health", None).await.0, 200);
    guards(&inside, "/api/a").await;
    // The prefix is gone where that layer looks, so the whole path opens nothing.
    let whole = Router::new().nest("/api", routes().layer(layer().exempt_path("/api/health")));
    guards(&whole, "/api/health").await;

    let outside = Router::new().nest("/api", routes()).layer(layer().exempt_path("/api/health"));
    assert_eq!(ask(&outside, "GET", "/api/health", None).await.0, 200);
    guards(&outside, "/api/a").await;
    let stripped = Router::new().nest("/api", routes()).layer(layer().exempt_path("/health"));
    guards(&stripped, "/api/health").await;
}

#[tokio::test]
async fn r52_what_is_not_the_exempt_path_to_the_layer_is_not_its_route_to_axum() {
    let app = Router::new()
        .route("/health", get(who))
        .fallback(any(who))
        .layer(layer().exempt_path("/health"));
    assert_eq!(ask(&app, "GET", "/health", None).await.1, "nobody GET /health");
    assert_eq!(ask(&app, "GET", "/health?a=b", None).await.0, 200);
    for uri in ["/Health", "/%68ealth", "//health", "/health/", "/health;x", "/a/../health"] {
        guards(&app, uri).await;
    }
    guards(&app, "http://evil.example/secret").await;
    assert_eq!(ask(&app, "GET", "http://evil.example/health", None).await.0, 200);
}

#[tokio::test]
async fn merged_routers_keep_their_own_guards() {
    let other = Keyring::new();
    other.insert("the-other-key", Client::new("other")).unwrap();
    let other = ApiKeyLayer::new(header("x-api-key"), other);
    let app = Router::new()
        .merge(Router::new().route("/a", get(who)).route_layer(layer()))
        .merge(Router::new().route("/b", get(who)).route_layer(other))
        .merge(Router::new().route("/open", get(who)));
    guards(&app, "/a").await;
    assert_eq!(ask(&app, "GET", "/b", Some(KEY)).await.0, 401);
    assert_eq!(ask(&app, "GET", "/b", Some("the-other-key")).await.1, "other GET /b");
    assert_eq!(ask(&app, "GET", "/a", Some("the-other-key")).await.0, 401);
    assert_eq!(ask(&app, "GET", "/open", None).await.0, 200);
}

#[tokio::test]
async fn a_fallback_is_guarded_by_a_layer_after_it_and_not_by_route_layer() {
    let app = Router::new().route("/a", get(who)).fallback(who).layer(layer());
    guards(&app, "/nowhere").await;
    let app = Router::new().route("/a", get(who)).fallback(who).route_layer(layer());
    assert_eq!(ask(&app, "GET", "/nowhere", None).await.0, 200);
    guards(&app, "/a").await;
}

#[tokio::test]
async fn a_router_with_state_is_guarded_before_and_after_it_has_it() {
    async fn with_state(
        State(word): State<&'static str>,
        Extension(client): Extension<Client>,
        method: Method,
    ) -> String {
        format!("{} {method} {word}", client.id())
    }
    let routes = || -> Router<&'static str> { Router::new().route("/a", get(with_state)) };
    for app in [
        routes().layer(layer()).with_state("word"),
        routes().with_state("word").layer(layer()),
        routes().route_layer(layer()).with_state("word"),
        Router::new()
            .nest("/n", routes().layer(layer()))
            .merge(routes().layer(layer()))
            .with_state("word"),
    ] {
        guards(&app, "/a").await;
        assert_eq!(ask(&app, "GET", "/a", Some(KEY)).await.1, "default GET word");
    }
}

#[tokio::test]
async fn several_places_and_axum_s_own_extractors_agree_on_what_is_left() {
    async fn left(
        path: MatchedPath,
        Path(id): Path<u32>,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> String {
        format!("{} {id} {query:?} {}", path.as_str(), headers.len())
    }
    let places = (header("x-api-key"), bearer(), query("api_key"));
    let app = Router::new().route("/jobs/{id}", get(left)).layer(ApiKeyLayer::new(places, keys()));
    let by_header = ask(&app, "GET", "/jobs/7?page=2", Some(KEY)).await;
    assert_eq!(by_header, (200, r#"/jobs/{id} 7 Some("page=2") 0"#.to_owned()));
    let by_query = ask(&app, "GET", &format!("/jobs/7?api_key={KEY}"), None).await;
    assert_eq!(by_query, (200, "/jobs/{id} 7 None 0".to_owned()));
    let by_both = ask(&app, "GET", &format!("/jobs/7?api_key={KEY}"), Some(KEY)).await;
    assert_eq!(by_both.0, 400);
}

// ===== among other middleware =====

#[tokio::test]
async fn from_fn_outside_sees_the_refusal_and_inside_the_client() {
    async fn outside(request: Request<Body>, next: Next) -> Response {
        let mut response = next.run(request).await;
        let refused = response.extensions().get::<tower_api_key::Rejection>().is_some();
        response.headers_mut().insert("x-refused", refused.to_string().parse().unwrap());
        response
    }
    async fn inside(
        Extension(client): Extension<Client>,
        request: Request<Body>,
        next: Next,
    ) -> Response {
        assert!(!request.headers().contains_key("x-api-key"));
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-client", client.id().parse().unwrap());
        response
    }
    let app = Router::new()
        .route("/a", get(who))
        .layer(middleware::from_fn(inside))
        .layer(layer())
        .layer(middleware::from_fn(outside));
    guards(&app, "/a").await;
    let accepted = app.clone().oneshot(request("GET", "/a", Some(KEY))).await.unwrap();
    assert_eq!(accepted.headers()["x-client"], "default");
    assert_eq!(accepted.headers()["x-refused"], "false");
    let refused = app.oneshot(request("GET", "/a", None)).await.unwrap();
    assert_eq!(refused.headers()["x-refused"], "true");
    assert!(!refused.headers().contains_key("x-client"));
}

#[tokio::test(start_paused = true)]
async fn r36_a_verifier_that_never_answers_is_a_timeout_s_business() {
    async fn too_slow(error: BoxError) -> (StatusCode, String) {
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
    let never = verify::from_async_fn(|_| pending::<Option<Client>>());
    let app = Router::new().route("/a", get(who)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(too_slow))
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(ApiKeyLayer::new(header("x-api-key"), never)),
    );
    assert_eq!(ask(&app, "GET", "/a", Some(KEY)).await, (503, "request timed out".to_owned()));
    assert_eq!(ask(&app, "GET", "/a", None).await.0, 401);
}

#[tokio::test]
async fn r39_limits_inside_and_outside_lose_no_permit_in_a_router() {
    let (inside, outside) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
    async fn overloaded(error: BoxError) -> (StatusCode, String) {
        (StatusCode::TOO_MANY_REQUESTS, error.to_string())
    }
    let app = Router::new().route("/a", get(who)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(overloaded))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&outside)))
            .layer(layer())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&inside))),
    );
    for _ in 0..20 {
        guards(&app, "/a").await;
    }
    assert_eq!((inside.available_permits(), outside.available_permits()), (1, 1));
    let _held = inside.acquire().await.unwrap();
    assert_eq!(ask(&app, "GET", "/a", Some(KEY)).await.0, 429);
}

#[tokio::test]
async fn option_layer_takes_the_layer_with_its_body_made_axum_s() {
    let app = |layer: Option<KeyLayer>| {
        let as_axum_s = |response: Response<ResponseBody<Body>>| response.map(Body::new);
        let layer =
            layer.map(|it| ServiceBuilder::new().map_response(as_axum_s).layer(it).into_inner());
        Router::new().route("/a", get(who)).layer(option_layer(layer))
    };
    guards(&app(Some(layer())), "/a").await;
    assert_eq!(ask(&app(None), "GET", "/a", None).await.1, "nobody GET /a");
}

/// A layer whose types have no names, as a function of a user's own returns it.
fn from_a_function() -> ApiKeyLayer<
    impl Extract,
    impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + Send>,
> {
    let find = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
    });
    ApiKeyLayer::new((header("x-api-key"), bearer()), find)
}

#[tokio::test]
async fn a_layer_that_a_function_returns_is_as_good_as_any() {
    let app = Router::new().route("/a", get(who)).layer(from_a_function());
    guards(&app, "/a").await;
}

#[tokio::test]
async fn a_verifier_and_a_predicate_read_what_axum_knows_of_the_peer() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 4711));
    let layer = layer().exempt_if(move |head| {
        head.extensions().get::<ConnectInfo<SocketAddr>>().is_some_and(|it| it.0 == peer)
    });
    let app = Router::new().route("/a", get(who)).layer(layer);
    guards(&app, "/a").await;
    let mut from_peer = request("GET", "/a", None);
    from_peer.extensions_mut().insert(ConnectInfo(peer));
    assert_eq!(app.oneshot(from_peer).await.unwrap().status(), StatusCode::OK);
}

// ===== over sockets =====

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

type Caller = HyperClient<HttpConnector, Body>;

fn callers() -> [(Version, Caller); 2] {
    let client =
        |only_2| HyperClient::builder(TokioExecutor::new()).http2_only(only_2).build_http::<Body>();
    [(Version::HTTP_11, client(false)), (Version::HTTP_2, client(true))]
}

/// Sends the body back frame by frame, trailers and all.
async fn echo(Extension(client): Extension<Client>, request: Request<Body>) -> Response {
    let mut response = Response::new(request.into_body());
    response.headers_mut().insert("x-client", client.id().parse().unwrap());
    response
}

#[tokio::test]
async fn it_guards_over_http_1_and_http_2() {
    let app = Router::new().route("/a", get(who)).layer(layer());
    let base = serve(app).await;
    for (version, caller) in callers() {
        let send = |method, key| caller.request(request(method, &format!("{base}/a"), key));
        let response = send("GET", Some(KEY)).await.unwrap();
        assert_eq!((response.version(), response.status()), (version, StatusCode::OK));
        assert_eq!(response.headers()["vary"], "x-api-key");
        assert_eq!(response.headers()["cache-control"], "private");

        for key in [None, Some("wrong")] {
            let response = send("GET", key).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let challenge = r#"ApiKey realm="api", in="header", name="x-api-key""#;
            assert_eq!(response.headers()["www-authenticate"], challenge);
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert_eq!(response.headers()["content-length"], UNAUTHORIZED.len().to_string());
            let get = response.headers().clone();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), UNAUTHORIZED);

            // R32: HEAD has the headers of GET, and no body.
            let response = send("HEAD", key).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let mut head = response.headers().clone();
            head.insert("date", get["date"].clone());
            assert_eq!(head, get);
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    }
}

/// A body of the frames that somebody sends while it is under way.
struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

#[tokio::test]
async fn r40_bodies_stream_both_ways_and_trailers_arrive() {
    let base = serve(Router::new().route("/echo", post(echo)).layer(layer())).await;
    for (version, caller) in callers() {
        let (sender, receiver) = mpsc::channel(1);
        let mut request = request("POST", &format!("{base}/echo"), Some(KEY));
        *request.body_mut() = Body::new(Frames(receiver));
        // The answer is here, while the request goes on.
        sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
        let response = caller.request(request).await.unwrap();
        assert_eq!(response.headers()["x-client"], "default");
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        sender.send(Frame::data(Bytes::from_static(b"two"))).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        // HTTP/1.1 hands trailers on only where they were announced and asked for.
        if version == Version::HTTP_2 {
            let trailers =
                HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
            sender.send(Frame::trailers(trailers.clone())).await.unwrap();
            drop(sender);
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_trailers().unwrap(), trailers);
        } else {
            drop(sender);
        }
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_refused_upload_leaves_the_server_ready_for_the_next_request() {
    let base = serve(Router::new().route("/echo", post(echo)).layer(layer())).await;
    for (_, caller) in callers() {
        for (key, status) in [("wrong", 401), (KEY, 200), ("wrong", 401), (KEY, 200)] {
            let mut request = request("POST", &format!("{base}/echo"), Some(key));
            *request.body_mut() = Body::from(vec![b'x'; 10_000]);
            let response = caller.request(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            let length = response.into_body().collect().await.unwrap().to_bytes().len();
            assert_eq!(length, if status == 200 { 10_000 } else { UNAUTHORIZED.len() });
        }
    }
}
