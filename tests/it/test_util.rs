//! The test helpers name each unprotected request.

#![cfg(feature = "test-util")]

use std::{convert::Infallible, future::ready};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode},
    middleware,
    routing::{get, post},
};
use bytes::Bytes;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, KeyLocation, Keyring, Rejection, RequireScopeLayer,
    ResponseBody,
    extract::{self, RequestHead, bearer, cookie, header, query, scheme},
    rejection::Reason,
    respond,
    test_util::{unprotected, wrong_keys_get_in},
    verify::{self, Verify, VerifyError},
};

const KEY: &str = "12345abcde";

fn keys() -> Keyring {
    Keyring::single(KEY).unwrap()
}

async fn unauthorized() -> StatusCode {
    StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn an_app_with_only_protected_routes_has_no_unprotected_request() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
    let locations = layer.locations().to_vec();
    let jobs = get(async || "jobs").post(async || "submitted");
    let app = Router::<()>::new().route("/jobs", jobs).layer(layer);
    let routes = [("GET", "/jobs"), ("POST", "/jobs"), ("HEAD", "/jobs"), ("GET", "/nowhere")];
    assert_eq!(unprotected(&app, routes).await, []);
    assert_eq!(wrong_keys_get_in(&app, &locations, routes).await, []);
    // A request with a valid key is accepted, so the service does not reject all requests.
    let good = Request::get("/jobs").header("x-api-key", KEY).body(Body::empty()).unwrap();
    let accepted = unprotected(&app, [good]).await;
    assert_eq!(accepted, ["GET /jobs"]);
    assert_eq!(accepted[0].status(), Some(StatusCode::OK));
}

#[tokio::test]
async fn an_unprotected_route_is_named_for_any_response() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).exempt_path("/exempt");
    let app = Router::<()>::new()
        .route("/guarded", get(unauthorized))
        .route("/exempt", get(unauthorized))
        .route("/maybe", get(unauthorized).layer(layer.clone().optional()))
        .layer(layer.clone())
        .route("/optional", post(unauthorized).layer(layer.clone().optional()))
        .route("/after", get(unauthorized))
        .route("/forbidden", get(async || StatusCode::FORBIDDEN))
        .route("/never", get(async |_: axum::Extension<Client>| "never"))
        .merge(Router::new().route("/mine", get(async || "mine")));
    let routes = [
        (Method::GET, "/guarded"),
        (Method::GET, "/exempt"),
        (Method::GET, "/maybe?x=1"),
        (Method::POST, "/optional?api_key=never-shown"),
        (Method::GET, "/after"),
        (Method::GET, "/forbidden"),
        (Method::GET, "/never"),
        (Method::GET, "/mine"),
        (Method::DELETE, "/nowhere"),
    ];
    let open = unprotected(&app, routes.clone()).await;
    assert_eq!(
        format!("{open:?}"),
        "[GET /exempt (401), POST /optional (401), GET /after (401), GET /forbidden (403), \
         GET /never (500), GET /mine (200), DELETE /nowhere (404)]"
    );
    assert!(open.iter().all(|it| it.wrong_key().is_none()));

    // Routes with an optional key reject a wrong key.
    let open = wrong_keys_get_in(&app, layer.locations(), routes).await;
    assert_eq!(
        open,
        [
            "GET /exempt",
            "GET /after",
            "GET /forbidden",
            "GET /never",
            "GET /mine",
            "DELETE /nowhere"
        ]
    );
    assert_eq!(open[0].to_string(), "GET /exempt with a wrong key in header `x-api-key` (401)");
}

#[tokio::test]
async fn an_optional_route_with_a_scope_is_protected() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).optional();
    let write = RequireScopeLayer::all(["jobs:write"]);
    let app = Router::<()>::new().route("/jobs", get(async || "jobs").layer(write)).layer(layer);
    assert_eq!(unprotected(&app, [("GET", "/jobs")]).await, []);
}

/// Only a wrong key finds a verifier that accepts every key.
#[tokio::test]
async fn a_verifier_that_accepts_every_key_is_found_in_each_location() {
    let all = (header("x-api-key"), query("api[key]"), cookie("sid"), bearer(), scheme("Token"));
    let layer = ApiKeyLayer::new(all, verify::from_fn(|_| Some(Client::new("developer"))));
    let inner = || service_fn(|_: Request<String>| ready(Ok::<_, Infallible>(Response::new(()))));
    let locations = layer.locations().to_vec();
    let service = layer.layer(inner());
    let routes = [("GET", "/jobs?page=2")];
    assert_eq!(unprotected(&service, routes).await, []);
    let open = wrong_keys_get_in(&service, &locations, routes).await;
    let names: Vec<_> = open.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "GET /jobs with a wrong key in header `x-api-key` (200)",
            "GET /jobs with a wrong key in query `api[key]` (200)",
            "GET /jobs with a wrong key in cookie `sid` (200)",
            "GET /jobs with a wrong key in scheme `Bearer` (200)",
            "GET /jobs with a wrong key in scheme `Token` (200)",
        ]
    );
    assert_eq!(
        open.iter().filter_map(|it| it.wrong_key()).collect::<Vec<_>>(),
        locations.iter().collect::<Vec<_>>()
    );

    // A correct verifier receives each of these keys and rejects it.
    let all = (header("x-api-key"), query("api[key]"), cookie("sid"), bearer(), scheme("Token"));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let layer = ApiKeyLayer::new(
        all,
        verify::from_fn(|_| {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err::<Option<Client>, _>(VerifyError::unknown())
        }),
    );
    assert_eq!(wrong_keys_get_in(&layer.layer(inner()), &locations, routes).await, []);
    assert_eq!(asked.into_inner(), locations.len());
}

#[tokio::test]
async fn a_custom_request_is_sent_with_its_headers_and_body() {
    let inner = service_fn(async |request: Request<&'static str>| {
        assert_eq!(*request.body(), "a body");
        Ok::<_, Infallible>(Response::new(()))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let service = layer.layer(inner);
    let request = || Request::post("/rpc").header("content-type", "application/grpc");
    let rejected = request().body("a body").unwrap();
    let good = request().header("x-api-key", KEY).body("a body").unwrap();
    assert_eq!(unprotected(&service, [rejected, good]).await, ["POST /rpc"]);
}

#[tokio::test]
async fn a_service_that_returns_an_error_is_unprotected() {
    type Boxed = BoxCloneSyncService<Request<String>, Response<()>, &'static str>;
    let failing = || Boxed::new(service_fn(|_| ready(Err("broken"))));
    let open = unprotected(&failing(), [("GET", "/")]).await;
    assert_eq!((format!("{open:?}"), open[0].status()), ("[GET / (an error)]".to_owned(), None));
    let guarded = ApiKeyLayer::new(header("x-api-key"), keys()).layer(failing());
    assert_eq!(unprotected(&guarded, [("GET", "/")]).await, []);
}

#[tokio::test]
async fn the_helper_waits_for_readiness_and_passes_other_layers() {
    let service = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(tower_http::cors::CorsLayer::permissive())
        .layer(ApiKeyLayer::new(header("x-api-key"), keys()))
        .service(service_fn(|_: Request<String>| {
            ready(Ok::<_, Infallible>(Response::new(http_body_util::Empty::<Bytes>::new())))
        }));
    let routes = [("GET", "/"); 3];
    assert_eq!(unprotected(&service, routes).await, []);
    assert_eq!(wrong_keys_get_in(&service, &[KeyLocation::header("x-api-key")], routes).await, []);
    drop(service.oneshot(Request::new(String::new())));
}

type Guarded = BoxCloneSyncService<Request<String>, Response<ResponseBody<()>>, Infallible>;

/// The location of most layers here.
fn at() -> KeyLocation {
    KeyLocation::header("x-api-key")
}

/// The service behind a layer.
macro_rules! guarded {
    ($layer:expr) => {
        Guarded::new(
            $layer.layer(service_fn(|_: Request<String>| {
                ready(Ok::<_, Infallible>(Response::new(())))
            })),
        )
    };
}

/// A verifier that accepts every key.
fn open()
-> impl Verify<Client = Client, Future = verify::Never<Client>> + Clone + Send + Sync + 'static {
    verify::from_fn(|_| Some(Client::new("developer")))
}

/// Returns the panic message of a test that fails.
async fn panic_of<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> String {
    let panic = tokio::spawn(test).await.err().expect("no panic").into_panic();
    *panic.downcast::<String>().expect("no text")
}

#[tokio::test]
async fn a_rejection_that_proves_nothing_about_the_wrong_key_is_a_panic_with_the_reason() {
    let key = || ApiKeyLayer::new(header("x-api-key"), open());
    let own = extract::from_fn(at(), |_| Some("no\tkey").into());
    let down = verify::from_fn(|_| Err::<Option<Client>, _>(VerifyError::failed("down")));
    for (service, reason, fix) in [
        (guarded!(key().optional().require_secure(|_| false)), "insecure", "`require_secure`"),
        (guarded!(ApiKeyLayer::new(header("x-api-key"), down)), "failed", "a verifier that works"),
        (guarded!(key().max_key_len(8)), "too_long", "`max_key_len`"),
        (guarded!(ApiKeyLayer::new(own, open())), "malformed", "`unprotected`"),
        (guarded!(ApiKeyLayer::new(bearer(), open())), "missing", "the locations of"),
    ] {
        let routes = [("GET", "/jobs?not=shown")];
        let panic = panic_of(async move { wrong_keys_get_in(&service, &[at()], routes).await });
        let panic = panic.await;
        let begin = "GET /jobs with a wrong key in header `x-api-key` (";
        assert!(panic.starts_with(begin), "{reason}: {panic}");
        assert!(panic.contains(&format!(" {reason}: ")) && panic.contains(fix), "{panic}");
        assert!(!panic.contains("a-key") && !panic.contains("shown"), "{panic}");
    }
    // The second key is in a location that the call does not name.
    let service = guarded!(ApiKeyLayer::new((header("x-api-key"), bearer()), open()));
    let asked = async move {
        let request = Request::get("/").header("authorization", "Bearer abc");
        wrong_keys_get_in(&service, &[at()], [request.body(String::new()).unwrap()]).await
    };
    assert!(panic_of(asked).await.contains(" ambiguous: "));
}

#[tokio::test]
async fn a_rejection_that_proves_nothing_without_a_key_is_a_panic_with_the_reason() {
    let key = || ApiKeyLayer::new(header("x-api-key"), keys()).optional();
    let insecure = guarded!(key().require_secure(|_| false));
    let asked = async move { unprotected(&insecure, [("GET", "/jobs?not=shown")]).await };
    let fix = "insecure: send a request for which the predicate of `require_secure` holds";
    let expected = format!("GET /jobs (403) proves nothing, because it was rejected as {fix}");
    assert_eq!(panic_of(asked).await, expected);

    let down = verify::from_fn(|_| Err::<Option<Client>, _>(VerifyError::failed("down")));
    let down = guarded!(ApiKeyLayer::new(header("x-api-key"), down));
    let keyed = Request::get("/").header("x-api-key", "abc").body(String::new()).unwrap();
    assert!(panic_of(async move { unprotected(&down, [keyed]).await }).await.contains("failed"));

    // If the request has the value that the predicate reads, the helper finds the route.
    #[derive(Clone)]
    struct ByTls;
    let secure = guarded!(key().require_secure(|it| it.extensions().get::<ByTls>().is_some()));
    let request = || Request::get("/").extension(ByTls).body(String::new()).unwrap();
    assert_eq!(unprotected(&secure, [request()]).await, ["GET /"]);
    assert_eq!(wrong_keys_get_in(&secure, &[at()], [request()]).await, []);
}

#[tokio::test]
async fn a_wrong_key_without_a_location_is_a_panic() {
    let service = guarded!(ApiKeyLayer::new(header("x-api-key"), open()));
    let asked = tokio::spawn(async move { wrong_keys_get_in(&service, &[], [("GET", "/")]).await });
    assert!(asked.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_wrong_key_replaces_all_keys_of_a_custom_request() {
    let all = || (header("x-api-key"), query("api_key"), cookie("sid"), bearer());
    let layer = ApiKeyLayer::new(all(), open());
    let locations = layer.locations().to_vec();
    let service = guarded!(layer);
    for (header, line) in [
        ("authorization", "Basic dXNlcjpwYXNz"),
        ("authorization", "Bearer abc"),
        ("x-api-key", "abc"),
        ("cookie", "a=b; sid=abc"),
        ("accept", "*/*"),
    ] {
        for uri in ["/", "/?x=1", "/?api_key=abc&x=1"] {
            let request = Request::get(uri).header(header, line).body(String::new()).unwrap();
            let accepted = wrong_keys_get_in(&service, &locations, [request]).await;
            assert_eq!(accepted, ["GET /"; 4], "{header} {uri}");
        }
    }
    // Other parts of the request stay.
    let seen = service_fn(|request: Request<String>| {
        assert_eq!(request.headers()["cookie"], "a=b");
        assert_eq!((request.uri().query(), request.body().as_str()), (Some("x=1"), ""));
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let request = Request::get("/?x=1").header("cookie", "a=b").body("a body".to_owned()).unwrap();
    let service = ApiKeyLayer::new(header("x-api-key"), open()).layer(seen);
    assert_eq!(wrong_keys_get_in(&service, &[at()], [request]).await, ["GET /"]);
}

#[tokio::test]
async fn a_wrong_key_that_is_rejected_for_its_scopes_is_unprotected() {
    let write = || RequireScopeLayer::all(["jobs:write"]);
    let app = || Router::<()>::new().route("/", get(async || "jobs").layer(write()));
    let opened = app().layer(ApiKeyLayer::new(header("x-api-key"), open()));
    let accepted = wrong_keys_get_in(&opened, &[at()], [("GET", "/")]).await;
    assert_eq!(format!("{accepted:?}"), "[GET / with a wrong key in header `x-api-key` (403)]");
    let closed = app().layer(ApiKeyLayer::new(header("x-api-key"), keys()));
    assert_eq!(wrong_keys_get_in(&closed, &[at()], [("GET", "/")]).await, []);
}

#[tokio::test]
async fn a_layer_that_only_reports_is_unprotected() {
    let layer = || ApiKeyLayer::new(header("x-api-key"), keys()).dangerous_report_only();
    for service in [guarded!(layer()), guarded!(layer().require_secure(|_| false))] {
        assert_eq!(unprotected(&service, [("GET", "/")]).await, ["GET /"]);
        assert_eq!(wrong_keys_get_in(&service, &[at()], [("GET", "/")]).await, ["GET /"]);
    }
}

#[tokio::test]
async fn an_invalid_method_or_path_is_a_panic() {
    for route in [("NO METHOD", "/"), ("GET", "/a path"), ("GET", "")] {
        let asked = tokio::spawn(async move {
            let app = Router::<()>::new();
            unprotected(&app, [route]).await
        });
        assert!(asked.await.unwrap_err().is_panic(), "{route:?}");
    }
}

/// A guard that rejects every request for one reason.
async fn reject_all(reason: Reason, request: axum::extract::Request) -> axum::response::Response {
    respond::reject(RequestHead::of(&request), Rejection::new(reason)).map(Into::into)
}

#[tokio::test]
async fn a_wrong_key_that_a_guard_of_your_own_rejects_is_unprotected() {
    for reason in [Reason::Forbidden, Reason::Limited, Reason::InsufficientScope] {
        let guard =
            middleware::from_fn(move |request, _: middleware::Next| reject_all(reason, request));
        let app = Router::<()>::new().route("/", get(async || "jobs")).layer(guard.clone());
        let opened = app.clone().layer(ApiKeyLayer::new(header("x-api-key"), open()));
        let unprotected = wrong_keys_get_in(&opened, &[at()], [("GET", "/")]).await;
        assert_eq!(unprotected, ["GET /"], "{reason:?}");
        let closed = app.layer(ApiKeyLayer::new(header("x-api-key"), keys()));
        assert_eq!(wrong_keys_get_in(&closed, &[at()], [("GET", "/")]).await, []);

        // A guard outside, or without any layer, hides the verifier.
        let outside = Router::<()>::new().route("/", get(async || "jobs"));
        let outside = outside.layer(ApiKeyLayer::new(header("x-api-key"), open())).layer(guard);
        for wrong_key in [true, false] {
            let outside = outside.clone();
            let panic = panic_of(async move {
                match wrong_key {
                    true => wrong_keys_get_in(&outside, &[at()], [("GET", "/")]).await,
                    false => unprotected_routes(&outside).await,
                }
            });
            let panic = panic.await;
            assert!(panic.contains("proves nothing"), "{panic}");
            let fix =
                if reason == Reason::Limited { "lift the limit" } else { "that the guard allows" };
            assert!(panic.contains(fix), "{panic}");
        }
    }
}

async fn unprotected_routes(app: &Router) -> Vec<tower_api_key::test_util::Unprotected> {
    unprotected(app, [("GET", "/")]).await
}

#[tokio::test]
async fn a_guard_that_forbids_an_anonymous_request_proves_nothing_unless_it_rejects_as_the_layer() {
    let layer = || ApiKeyLayer::new(header("x-api-key"), keys()).optional();
    let app = || Router::<()>::new().route("/", get(async || "jobs"));
    let forbids =
        middleware::from_fn(|request, _: middleware::Next| reject_all(Reason::Forbidden, request));
    let forbids = app().layer(forbids).layer(layer());
    let panic = panic_of(async move { unprotected_routes(&forbids).await }).await;
    assert!(panic.contains("let the guard call `Anonymous::reject`"), "{panic}");

    let rejects =
        middleware::from_fn(async |request: axum::extract::Request, _: middleware::Next| {
            let anonymous = Anonymous::of::<Client>(request.extensions()).unwrap();
            let response: axum::response::Response =
                anonymous.reject(RequestHead::of(&request)).map(Into::into);
            response
        });
    let rejects = app().layer(rejects).layer(layer());
    assert_eq!(unprotected_routes(&rejects).await, []);
}
