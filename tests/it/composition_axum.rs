//! The layer in axum, by direct calls and over sockets.

use crate::{
    composition::{KEY, KeyLayer, UNAUTHORIZED, keys, layer, never, slow},
    support::services::{Frames, assert_stream_ends},
};

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

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
use tokio::{net::TcpListener, sync::Semaphore};
use tower::{
    ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer,
    service_fn, timeout::TimeoutLayer, util::option_layer,
};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring, ResponseBody,
    extract::{Extract, bearer, header, query},
    verify::{Verify, VerifyError},
};

/// Returns the client, the method and the URI of a request.
async fn whoami(client: Option<Extension<Client>>, method: Method, uri: Uri) -> String {
    let client = client.as_ref().map_or("anonymous", |Extension(client)| client.id());
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

/// Checks that `GET uri` needs a valid key.
async fn assert_guarded(app: &Router, uri: &str) {
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

// ===== positions of the layer =====

#[tokio::test]
async fn router_layer_guards_the_fallback_and_only_the_routes_before_it() {
    let app = Router::new().route("/a", get(whoami)).route("/b/{id}", get(whoami)).layer(layer());
    let app = app.route("/health", get(whoami));
    assert_guarded(&app, "/a").await;
    assert_guarded(&app, "/b/7").await;
    assert_eq!(ask(&app, "GET", "/health", None).await.0, 200);
    // A caller without a key does not learn which paths and methods exist.
    assert_eq!(ask(&app, "GET", "/nowhere", None).await.0, 401);
    assert_eq!(ask(&app, "GET", "/nowhere", Some(KEY)).await.0, 404);
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 401);
    assert_eq!(ask(&app, "DELETE", "/a", Some(KEY)).await.0, 405);
}

#[tokio::test]
async fn an_unknown_path_is_401_only_if_the_layer_surrounds_its_fallback() {
    let routes = || Router::new().route("/a", get(whoami));
    let guarded = || routes().layer(layer());
    let statuses = async |app: &Router, path: &str| {
        (ask(app, "GET", path, None).await.0, ask(app, "GET", path, Some(KEY)).await.0)
    };
    // The layer is around the whole router.
    let whole = guarded();
    assert_eq!(statuses(&whole, "/nope").await, (401, 404));
    // The path is below a guarded nest, or beside it.
    let nested = Router::new().nest("/api", guarded());
    assert_eq!(statuses(&nested, "/api/nope").await, (404, 404));
    assert_eq!(statuses(&nested, "/nope").await, (404, 404));
    let around = Router::new().nest("/api", routes()).layer(layer());
    assert_eq!(statuses(&around, "/api/nope").await, (401, 404));
    // The guarded router is merged with an open route.
    let merged = Router::new().route("/open", get(whoami)).merge(guarded());
    assert_eq!(statuses(&merged, "/nope").await, (401, 404));
    let merged = guarded().merge(Router::new().route("/open", get(whoami)));
    assert_eq!(statuses(&merged, "/nope").await, (404, 404));
    // A fallback that is added after the layer replaces the guarded one.
    let fallback = guarded().fallback(whoami);
    assert_eq!(statuses(&fallback, "/nope").await, (200, 200));
    let inside = routes().fallback(whoami).layer(layer());
    assert_eq!(statuses(&inside, "/nope").await, (401, 200));
    // A layer before all routes assert_guarded none of them, but answers for unknown paths.
    let early = Router::new().layer(layer()).route("/a", get(whoami));
    assert_eq!(statuses(&early, "/a").await, (200, 200));
    assert_eq!(statuses(&early, "/nope").await, (401, 404));
}

#[tokio::test]
async fn route_layer_changes_no_404_and_on_a_method_router_no_405() {
    let app = Router::new().route("/a", get(whoami)).route_layer(layer());
    assert_guarded(&app, "/a").await;
    for key in [None, Some("wrong"), Some(KEY)] {
        assert_eq!(ask(&app, "GET", "/nowhere", key).await.0, 404);
    }
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 401);
    assert_eq!(ask(&app, "DELETE", "/a", Some(KEY)).await.0, 405);

    let app = Router::new().route("/a", get(whoami).route_layer(layer()));
    assert_guarded(&app, "/a").await;
    assert_eq!(ask(&app, "DELETE", "/a", None).await.0, 405);
}

#[tokio::test]
async fn method_router_layer_guards_one_route_and_handler_layer_one_method() {
    let app = Router::new()
        .route("/route", get(whoami).post(whoami).layer(layer()))
        .route("/method", get(whoami).post(whoami.layer(layer())))
        .route("/merged", get(whoami).merge(post(whoami).layer(layer())))
        .route("/open", get(whoami));
    assert_guarded(&app, "/route").await;
    assert_eq!(ask(&app, "POST", "/route", None).await.0, 401);
    for uri in ["/method", "/merged"] {
        assert_eq!(ask(&app, "GET", uri, None).await, (200, format!("anonymous GET {uri}")));
        assert_eq!(ask(&app, "POST", uri, None).await.0, 401);
        assert_eq!(ask(&app, "POST", uri, Some(KEY)).await, (200, format!("default POST {uri}")));
    }
    assert_eq!(ask(&app, "GET", "/open", Some(KEY)).await.1, "anonymous GET /open");
}

#[tokio::test]
async fn nested_routers_are_guarded_from_outside_and_from_inside() {
    let outside = Router::new().nest("/api", Router::new().route("/a", get(whoami))).layer(layer());
    assert_guarded(&outside, "/api/a").await;
    let inside = Router::new().nest("/api", Router::new().route("/a", get(whoami)).layer(layer()));
    assert_guarded(&inside, "/api/a").await;
    assert_eq!(ask(&inside, "GET", "/elsewhere", None).await.0, 404);
    let deep = Router::new().route("/c", get(whoami)).route_layer(layer());
    let deep = Router::new().nest("/a", Router::new().nest("/b", deep));
    assert_guarded(&deep, "/a/b/c").await;
    assert_eq!(ask(&deep, "GET", "/a/b/c", Some(KEY)).await.1, "default GET /c");
}

#[tokio::test]
async fn nested_services_are_guarded_from_outside_and_from_inside() {
    let service = || {
        service_fn(|request: Request<Body>| async move {
            let client = request.extensions().get::<Client>().map_or("anonymous", Client::id);
            let line = format!("{client} {} {}", request.method(), request.uri());
            Ok::<_, Infallible>(Response::new(Body::from(line)))
        })
    };
    let outside = Router::new().nest_service("/files", service()).layer(layer());
    assert_guarded(&outside, "/files/a").await;
    let guarded = ServiceBuilder::new().layer(layer()).service(service());
    let inside = Router::new()
        .nest_service("/files", guarded.clone())
        .route_service("/one", guarded.clone())
        .route("/get", get_service(guarded.clone()));
    for uri in ["/files/a", "/one", "/get"] {
        assert_guarded(&inside, uri).await;
    }
    let fallback = Router::new().route("/open", get(whoami)).fallback_service(guarded);
    assert_guarded(&fallback, "/anything").await;
    assert_eq!(ask(&fallback, "GET", "/open", None).await.0, 200);
}

#[tokio::test]
async fn r52_an_exempt_path_below_nest_is_the_path_without_the_prefix() {
    let routes = || Router::new().route("/health", get(whoami)).route("/a", get(whoami));
    let inside = Router::new().nest("/api", routes().layer(layer().exempt_path("/health")));
    assert_eq!(ask(&inside, "GET", "/api/health", None).await.0, 200);
    assert_guarded(&inside, "/api/a").await;
    // The layer inside sees the path without the prefix, so the whole path is not exempt.
    let whole = Router::new().nest("/api", routes().layer(layer().exempt_path("/api/health")));
    assert_guarded(&whole, "/api/health").await;

    let outside = Router::new().nest("/api", routes()).layer(layer().exempt_path("/api/health"));
    assert_eq!(ask(&outside, "GET", "/api/health", None).await.0, 200);
    assert_guarded(&outside, "/api/a").await;
    let stripped = Router::new().nest("/api", routes()).layer(layer().exempt_path("/health"));
    assert_guarded(&stripped, "/api/health").await;
}

#[tokio::test]
async fn r52_no_other_path_reaches_the_exempt_route_without_a_key() {
    let app = Router::new()
        .route("/health", get(whoami))
        .fallback(any(whoami))
        .layer(layer().exempt_path("/health"));
    assert_eq!(ask(&app, "GET", "/health", None).await.1, "anonymous GET /health");
    assert_eq!(ask(&app, "GET", "/health?a=b", None).await.0, 200);
    for uri in ["/Health", "/%68ealth", "//health", "/health/", "/health;x", "/a/../health"] {
        assert_guarded(&app, uri).await;
    }
    assert_guarded(&app, "http://evil.example/secret").await;
    assert_eq!(ask(&app, "GET", "http://evil.example/health", None).await.0, 200);
}

#[tokio::test]
async fn merged_routers_keep_their_own_guards() {
    let other = Keyring::new();
    other.insert("the-other-key", Client::new("other")).unwrap();
    let other = ApiKeyLayer::new(header("x-api-key"), other);
    let app = Router::new()
        .merge(Router::new().route("/a", get(whoami)).route_layer(layer()))
        .merge(Router::new().route("/b", get(whoami)).route_layer(other))
        .merge(Router::new().route("/open", get(whoami)));
    assert_guarded(&app, "/a").await;
    assert_eq!(ask(&app, "GET", "/b", Some(KEY)).await.0, 401);
    assert_eq!(ask(&app, "GET", "/b", Some("the-other-key")).await.1, "other GET /b");
    assert_eq!(ask(&app, "GET", "/a", Some("the-other-key")).await.0, 401);
    assert_eq!(ask(&app, "GET", "/open", None).await.0, 200);
}

#[tokio::test]
async fn a_fallback_is_guarded_by_a_layer_after_it_and_not_by_route_layer() {
    let app = Router::new().route("/a", get(whoami)).fallback(whoami).layer(layer());
    assert_guarded(&app, "/nowhere").await;
    let app = Router::new().route("/a", get(whoami)).fallback(whoami).route_layer(layer());
    assert_eq!(ask(&app, "GET", "/nowhere", None).await.0, 200);
    assert_guarded(&app, "/a").await;
}

#[tokio::test]
async fn a_router_is_guarded_before_and_after_with_state() {
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
        assert_guarded(&app, "/a").await;
        assert_eq!(ask(&app, "GET", "/a", Some(KEY)).await.1, "default GET word");
    }
}

#[tokio::test]
async fn axums_extractors_see_the_request_without_the_keys_of_all_locations() {
    async fn rest(
        path: MatchedPath,
        Path(id): Path<u32>,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> String {
        format!("{} {id} {query:?} {}", path.as_str(), headers.len())
    }
    let locations = (header("x-api-key"), bearer(), query("api_key"));
    let app =
        Router::new().route("/jobs/{id}", get(rest)).layer(ApiKeyLayer::new(locations, keys()));
    let by_header = ask(&app, "GET", "/jobs/7?page=2", Some(KEY)).await;
    assert_eq!(by_header, (200, r#"/jobs/{id} 7 Some("page=2") 0"#.to_owned()));
    let by_query = ask(&app, "GET", &format!("/jobs/7?api_key={KEY}"), None).await;
    assert_eq!(by_query, (200, "/jobs/{id} 7 None 0".to_owned()));
    let by_both = ask(&app, "GET", &format!("/jobs/7?api_key={KEY}"), Some(KEY)).await;
    assert_eq!(by_both.0, 400);
}

// ===== among other middleware =====

#[tokio::test]
async fn from_fn_outside_sees_the_rejection_and_from_fn_inside_the_client() {
    async fn outside(request: Request<Body>, next: Next) -> Response {
        let mut response = next.run(request).await;
        let rejected = response.extensions().get::<tower_api_key::Rejection>().is_some();
        response.headers_mut().insert("x-rejected", rejected.to_string().parse().unwrap());
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
        .route("/a", get(whoami))
        .layer(middleware::from_fn(inside))
        .layer(layer())
        .layer(middleware::from_fn(outside));
    assert_guarded(&app, "/a").await;
    let accepted = app.clone().oneshot(request("GET", "/a", Some(KEY))).await.unwrap();
    assert_eq!(accepted.headers()["x-client"], "default");
    assert_eq!(accepted.headers()["x-rejected"], "false");
    let rejected = app.oneshot(request("GET", "/a", None)).await.unwrap();
    assert_eq!(rejected.headers()["x-rejected"], "true");
    assert!(!rejected.headers().contains_key("x-client"));
}

#[tokio::test(start_paused = true)]
async fn r36_a_timeout_outside_ends_a_verifier_that_never_returns() {
    async fn timed_out(error: BoxError) -> (StatusCode, String) {
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
    let app = Router::new().route("/a", get(whoami)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(timed_out))
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(ApiKeyLayer::new(header("x-api-key"), never())),
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
    let app = Router::new().route("/a", get(whoami)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(overloaded))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&outside)))
            .layer(layer())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&inside))),
    );
    for _ in 0..20 {
        assert_guarded(&app, "/a").await;
    }
    assert_eq!((inside.available_permits(), outside.available_permits()), (1, 1));
    let _held = inside.acquire().await.unwrap();
    assert_eq!(ask(&app, "GET", "/a", Some(KEY)).await.0, 429);
}

#[tokio::test]
async fn option_layer_accepts_the_layer_if_its_body_is_converted() {
    let app = |layer: Option<KeyLayer>| {
        let convert = |response: Response<ResponseBody<Body>>| response.map(Body::new);
        let layer =
            layer.map(|it| ServiceBuilder::new().map_response(convert).layer(it).into_inner());
        Router::new().route("/a", get(whoami)).layer(option_layer(layer))
    };
    assert_guarded(&app(Some(layer())), "/a").await;
    assert_eq!(ask(&app(None), "GET", "/a", None).await.1, "anonymous GET /a");
}

/// Returns a layer of unnameable types, as a function of a user can.
fn layer_from_a_function() -> ApiKeyLayer<
    impl Extract,
    impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + Send>,
> {
    ApiKeyLayer::new((header("x-api-key"), bearer()), slow())
}

#[tokio::test]
async fn a_function_can_return_a_layer_of_impl_types() {
    let app = Router::new().route("/a", get(whoami)).layer(layer_from_a_function());
    assert_guarded(&app, "/a").await;
}

#[tokio::test]
async fn a_predicate_can_read_the_connect_info_of_axum() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 4711));
    let layer = layer().exempt_if(move |head| {
        head.extensions().get::<ConnectInfo<SocketAddr>>().is_some_and(|it| it.0 == peer)
    });
    let app = Router::new().route("/a", get(whoami)).layer(layer);
    assert_guarded(&app, "/a").await;
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

/// Sends the body back, frame by frame and with its trailers.
async fn echo(Extension(client): Extension<Client>, request: Request<Body>) -> Response {
    let mut response = Response::new(request.into_body());
    response.headers_mut().insert("x-client", client.id().parse().unwrap());
    response
}

#[tokio::test]
async fn the_layer_guards_http_1_and_http_2() {
    let app = Router::new().route("/a", get(whoami)).layer(layer());
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

            // R32: a response to HEAD has the headers of GET and no body.
            let response = send("HEAD", key).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let mut head = response.headers().clone();
            head.insert("date", get["date"].clone());
            assert_eq!(head, get);
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    }
}

#[tokio::test]
async fn r40_bodies_stream_both_ways_and_trailers_arrive() {
    let base = serve(Router::new().route("/echo", post(echo)).layer(layer())).await;
    for (version, caller) in callers() {
        let (sender, frames) = Frames::channel();
        let mut request = request("POST", &format!("{base}/echo"), Some(KEY));
        *request.body_mut() = Body::new(frames);
        // The response begins before the request ends.
        sender.send(Frame::data(Bytes::from_static(b"one"))).await.unwrap();
        let response = caller.request(request).await.unwrap();
        assert_eq!(response.headers()["x-client"], "default");
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        sender.send(Frame::data(Bytes::from_static(b"two"))).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        assert_stream_ends(sender, &mut body, version == Version::HTTP_2).await;
    }
}

#[tokio::test]
async fn a_rejected_upload_leaves_the_server_ready_for_the_next_request() {
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
