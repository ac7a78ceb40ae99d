//! The test helpers name each unprotected request.

#![cfg(feature = "test-util")]

use std::{convert::Infallible, future::ready};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, StatusCode},
    routing::{get, post},
};
use bytes::Bytes;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring, RequireScopeLayer, ResponseBody,
    extract::{self, bearer, cookie, header, query, scheme},
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
    let places = layer.locations().to_vec();
    let jobs = get(async || "jobs").post(async || "submitted");
    let app = Router::<()>::new().route("/jobs", jobs).layer(layer);
    let routes = [("GET", "/jobs"), ("POST", "/jobs"), ("HEAD", "/jobs"), ("GET", "/nowhere")];
    assert_eq!(unprotected(&app, routes).await, []);
    assert_eq!(wrong_keys_get_in(&app, &places, routes).await, []);
    // Who has a key is no stranger: the service was not closed to everybody.
    let good = Request::get("/jobs").header("x-api-key", KEY).body(Body::empty()).unwrap();
    let got_in = unprotected(&app, [good]).await;
    assert_eq!(got_in, ["GET /jobs"]);
    assert_eq!(got_in[0].status(), Some(StatusCode::OK));
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
        .route("/nobody", get(async |_: axum::Extension<Client>| "never"))
        .merge(Router::new().route("/mine", get(async || "mine")));
    let routes = [
        (Method::GET, "/guarded"),
        (Method::GET, "/exempt"),
        (Method::GET, "/maybe?x=1"),
        (Method::POST, "/optional?api_key=never-shown"),
        (Method::GET, "/after"),
        (Method::GET, "/forbidden"),
        (Method::GET, "/nobody"),
        (Method::GET, "/mine"),
        (Method::DELETE, "/nowhere"),
    ];
    let open = unprotected(&app, routes.clone()).await;
    assert_eq!(
        format!("{open:?}"),
        "[GET /exempt (401), POST /optional (401), GET /after (401), GET /forbidden (403), \
         GET /nobody (500), GET /mine (200), DELETE /nowhere (404)]"
    );
    assert!(open.iter().all(|it| it.wrong_key().is_none()));

    // A wrong key is refused where a key is asked for, if one need not come.
    let open = wrong_keys_get_in(&app, layer.locations(), routes).await;
    assert_eq!(
        open,
        [
            "GET /exempt",
            "GET /after",
            "GET /forbidden",
            "GET /nobody",
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

/// What is found by a wrong key alone: a verifier that knows everybody.
#[tokio::test]
async fn a_verifier_that_accepts_every_key_is_found_in_each_location() {
    let all = (header("x-api-key"), query("api[key]"), cookie("sid"), bearer(), scheme("Token"));
    let layer = ApiKeyLayer::new(all, verify::from_fn(|_| Some(Client::new("developer"))));
    let inner = || service_fn(|_: Request<String>| ready(Ok::<_, Infallible>(Response::new(()))));
    let places = layer.locations().to_vec();
    let service = layer.layer(inner());
    let routes = [("GET", "/jobs?page=2")];
    assert_eq!(unprotected(&service, routes).await, []);
    let open = wrong_keys_get_in(&service, &places, routes).await;
    let told: Vec<_> = open.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
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
        places.iter().collect::<Vec<_>>()
    );

    // Each of these keys was one that a good verifier looks at and refuses.
    let all = (header("x-api-key"), query("api[key]"), cookie("sid"), bearer(), scheme("Token"));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let layer = ApiKeyLayer::new(
        all,
        verify::from_fn(|_| {
            asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err::<Option<Client>, _>(VerifyError::unknown())
        }),
    );
    assert_eq!(wrong_keys_get_in(&layer.layer(inner()), &places, routes).await, []);
    assert_eq!(asked.into_inner(), places.len());
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
    let refused = request().body("a body").unwrap();
    let good = request().header("x-api-key", KEY).body("a body").unwrap();
    assert_eq!(unprotected(&service, [refused, good]).await, ["POST /rpc"]);
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

/// The one place of most layers here.
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

/// A verifier that was left open.
fn open()
-> impl Verify<Client = Client, Future = verify::Never<Client>> + Clone + Send + Sync + 'static {
    verify::from_fn(|_| Some(Client::new("developer")))
}

/// What a user's test fails with.
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
    // Two keys, of which one stands where nobody looked for it.
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
    let told = format!("GET /jobs (403) proves nothing, because it was rejected as {fix}");
    assert_eq!(panic_of(asked).await, told);

    let down = verify::from_fn(|_| Err::<Option<Client>, _>(VerifyError::failed("down")));
    let down = guarded!(ApiKeyLayer::new(header("x-api-key"), down));
    let keyed = Request::get("/").header("x-api-key", "abc").body(String::new()).unwrap();
    assert!(panic_of(async move { unprotected(&down, [keyed]).await }).await.contains("failed"));

    // With what the predicate reads, the open route is found.
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
    let places = layer.locations().to_vec();
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
            let got_in = wrong_keys_get_in(&service, &places, [request]).await;
            assert_eq!(got_in, ["GET /"; 4], "{header} {uri}");
        }
    }
    // All else is still there.
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
    let got_in = wrong_keys_get_in(&opened, &[at()], [("GET", "/")]).await;
    assert_eq!(format!("{got_in:?}"), "[GET / with a wrong key in header `x-api-key` (403)]");
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
