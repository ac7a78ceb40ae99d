//! The feature `axum`: the client as an argument of a handler, and no key in `OriginalUri`.

#![cfg(feature = "axum")]

use crate::{
    composition::{KEY, keys, layer},
    support::log::Log,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequestParts, MatchedPath, OriginalUri, RawQuery},
    http::{Extensions, HeaderMap, Request, Response, StatusCode, Uri},
    middleware::{self, Next},
    response::IntoResponse,
    routing::{get, post},
};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, ClientOf, ClientRejection, KeyLocation, Keyring, Rejection,
    extract::{RequestHead, header, query},
    rejection::Reason,
    respond::{Problem, Text},
};

#[derive(Clone, Debug, PartialEq)]
struct Tenant {
    slug: &'static str,
}

fn tenants() -> ApiKeyLayer<KeyLocation, Keyring<Tenant>> {
    let keys = Keyring::new();
    keys.insert(KEY, Tenant { slug: "acme" }).unwrap();
    ApiKeyLayer::new(header("x-api-key"), keys)
}

async fn client(client: Client) -> String {
    client.id().to_owned()
}

async fn maybe_client(client: Option<Client>) -> String {
    client.as_ref().map_or("anonymous", Client::id).to_owned()
}

async fn tenant(ClientOf(tenant): ClientOf<Tenant>) -> &'static str {
    tenant.slug
}

async fn maybe_tenant(tenant: Option<ClientOf<Tenant>>) -> &'static str {
    tenant.map_or("anonymous", |ClientOf(tenant)| tenant.slug)
}

fn routes() -> Router {
    Router::new()
        .route("/client", get(client).post(client))
        .route("/maybe-client", get(maybe_client))
        .route("/tenant", get(tenant))
        .route("/maybe-tenant", get(maybe_tenant))
}

fn request(uri: &str, key: Option<&str>) -> Request<Body> {
    let request = Request::builder().uri(uri);
    match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    }
    .body(Body::empty())
    .unwrap()
}

async fn ask(app: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

async fn get_text(app: &Router, uri: &str, key: Option<&str>) -> (u16, String) {
    let (status, _, body) = ask(app, request(uri, key)).await;
    (status.as_u16(), String::from_utf8(body.into()).unwrap())
}

// ===== handlers =====

#[tokio::test]
async fn a_handler_receives_the_client() {
    let app = routes().layer(layer());
    for uri in ["/client", "/maybe-client"] {
        assert_eq!(get_text(&app, uri, Some(KEY)).await, (200, "default".to_owned()));
        assert_eq!(get_text(&app, uri, None).await.0, 401);
        assert_eq!(get_text(&app, uri, Some("wrong")).await.0, 401);
    }
}

#[tokio::test]
async fn a_handler_receives_a_custom_client_type() {
    let app = routes().layer(tenants());
    for uri in ["/tenant", "/maybe-tenant"] {
        assert_eq!(get_text(&app, uri, Some(KEY)).await, (200, "acme".to_owned()));
        assert_eq!(get_text(&app, uri, None).await.0, 401);
    }
}

#[tokio::test]
async fn a_handler_receives_the_client_with_state_and_a_body() {
    async fn submit(
        client: Client,
        axum::extract::State(word): axum::extract::State<&'static str>,
        ClientOf(again): ClientOf<Client>,
        body: String,
    ) -> String {
        assert_eq!(client, again);
        format!("{} {word} {body}", client.id())
    }
    let app = Router::new().route("/jobs", post(submit)).layer(layer()).with_state("state");
    let request = Request::post("/jobs").header("x-api-key", KEY).body("body".into()).unwrap();
    let (status, _, body) = ask(&app, request).await;
    assert_eq!((status, &*body), (StatusCode::OK, &b"default state body"[..]));
}

// ===== optional routes =====

#[tokio::test]
async fn r37_an_optional_route_accepts_a_client_or_no_key_and_rejects_a_wrong_key() {
    let app = routes().layer(layer().optional());
    assert_eq!(get_text(&app, "/maybe-client", None).await, (200, "anonymous".to_owned()));
    assert_eq!(get_text(&app, "/maybe-client", Some(" ")).await, (200, "anonymous".to_owned()));
    assert_eq!(get_text(&app, "/maybe-client", Some(KEY)).await, (200, "default".to_owned()));
    assert_eq!(get_text(&app, "/maybe-client", Some("wrong")).await.0, 401);
    assert_eq!(get_text(&app, "/client", Some(KEY)).await, (200, "default".to_owned()));
    assert_eq!(get_text(&app, "/client", Some("wrong")).await.0, 401);

    let app = routes().layer(tenants().optional());
    assert_eq!(get_text(&app, "/maybe-tenant", None).await, (200, "anonymous".to_owned()));
    assert_eq!(get_text(&app, "/maybe-tenant", Some(KEY)).await, (200, "acme".to_owned()));
    assert_eq!(get_text(&app, "/maybe-tenant", Some("wrong")).await.0, 401);
}

/// If a handler needs a client on an optional route, its response equals that of a strict layer.
///
/// This holds for status, headers and body, with any configuration.
#[tokio::test]
async fn r37_a_handler_that_needs_a_client_on_an_optional_route_returns_the_401_of_the_layer() {
    type Change = fn(ApiKeyLayer<KeyLocation, Keyring>) -> ApiKeyLayer<KeyLocation, Keyring>;
    let changes: [Change; 6] = [
        |layer| layer,
        |layer| layer.realm("the \"reports\""),
        |layer| layer.respond(Problem::default().message("A key, please")),
        |layer| layer.respond(Text::default()),
        |layer| layer.no_cache_headers(),
        |layer| {
            layer.respond(|rejection: &Rejection| {
                let mut response = Response::new(format!("<h1>{}</h1>", rejection.message()));
                *response.status_mut() = rejection.status();
                response.headers_mut().insert("x-mine", "yes".parse().unwrap());
                response
            })
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let strict = routes().layer(change(layer()));
        let optional = routes().layer(change(layer()).optional());
        let (status, headers, body) = ask(&strict, request("/client", None)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (theirs, mut their_headers, their_body) =
            ask(&optional, request("/client", None)).await;
        assert_eq!((theirs, their_body), (status, body), "{number}");
        // The response comes from the inner service, so the layer adds `Vary`.
        if number != 4 {
            assert_eq!(their_headers.remove("vary").unwrap(), "x-api-key");
        }
        assert_eq!(their_headers, headers, "{number}");
        assert!(headers.contains_key("www-authenticate"));
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn r37_the_401_from_a_handler_has_the_rejection_in_its_extensions() {
    let app = routes().layer(layer().optional());
    let response = app.oneshot(request("/client", None)).await.unwrap();
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.reason(), Reason::Missing);
}

#[tokio::test]
async fn r34_a_grpc_call_without_a_key_on_an_optional_route_gets_a_grpc_status() {
    let call = Request::post("/client").header("content-type", "application/grpc");
    let app = routes().layer(layer().optional());
    let (status, headers, body) = ask(&app, call.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers["grpc-status"], body.len()),
        (StatusCode::OK, &"16".parse().unwrap(), 0)
    );
}

#[tokio::test]
async fn r41_a_client_that_was_inserted_outside_is_removed_on_every_path() {
    async fn plant(mut request: Request<Body>, next: Next) -> axum::response::Response {
        request.extensions_mut().insert(Client::new("admin"));
        next.run(request).await
    }
    let app = routes()
        .layer(layer().optional().exempt_path("/maybe-client"))
        .layer(middleware::from_fn(plant));
    assert_eq!(get_text(&app, "/maybe-client", None).await.1, "anonymous");
    assert_eq!(get_text(&app, "/client", None).await.0, 401);
    assert_eq!(get_text(&app, "/client", Some(KEY)).await.1, "default");
}

#[tokio::test]
async fn a_client_takes_precedence_over_the_mark_of_an_outer_layer() {
    // The layer outside is optional, and the layer inside is strict.
    let inner = routes().layer(ApiKeyLayer::new(query("k"), keys()));
    let app = inner.layer(layer().optional());
    assert_eq!(
        get_text(&app, &format!("/client?k={KEY}"), None).await,
        (200, "default".to_owned())
    );
    assert_eq!(get_text(&app, "/client", None).await.0, 401);
}

// ===== no layer =====

/// Checks for a 500 that names the fixes in the body and in one log line, without a key.
async fn assert_500_names_the_fix(app: &Router, uri: &str, fixes: [&str; 2]) {
    for key in [None, Some(KEY), Some("wrong-key-of-a-caller")] {
        let log = Log::default();
        let guard = log.capture();
        let (status, headers, body) = ask(app, request(uri, key)).await;
        drop(guard);
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{uri} {key:?}");
        assert_eq!(headers["cache-control"], "no-store");
        let body = String::from_utf8(body.into()).unwrap();
        let log = log.text();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        let [line] = &*lines else { panic!("one line, not {lines:?}") };
        assert!(line.contains("tower_api_key"), "{line}");
        for text in [&body, *line] {
            assert!(fixes.iter().all(|fix| text.contains(fix)), "{text}");
        }
        for text in [body, log] {
            assert!(!text.contains(KEY) && !text.contains("wrong-key"), "{text}");
        }
    }
}

#[tokio::test]
async fn without_a_layer_a_handler_returns_a_500_that_names_the_fix() {
    let app = routes();
    let fixes = ["no `ApiKeyLayer`", ".layer(ApiKeyLayer::new(…))"];
    assert_500_names_the_fix(&app, "/client", fixes).await;
    assert_500_names_the_fix(&app, "/tenant", fixes).await;
    for key in [None, Some(KEY), Some("wrong")] {
        assert_eq!(get_text(&app, "/maybe-client", key).await, (200, "anonymous".to_owned()));
        assert_eq!(get_text(&app, "/maybe-tenant", key).await, (200, "anonymous".to_owned()));
    }
    // Routes that are added after the layer have no layer.
    let after = Router::new().layer(layer()).merge(routes());
    assert_500_names_the_fix(&after, "/client", fixes).await;
}

#[tokio::test]
async fn on_an_exempt_path_a_handler_returns_a_500_that_names_the_fix() {
    let app = routes().layer(layer().exempt_path("/client").exempt_path("/maybe-client"));
    assert_500_names_the_fix(&app, "/client", ["`exempt_path`", "Option<Client>"]).await;
    assert_eq!(get_text(&app, "/maybe-client", Some(KEY)).await, (200, "anonymous".to_owned()));
}

#[tokio::test]
async fn a_handler_of_another_client_type_returns_a_500_that_names_the_fix() {
    let app = routes().layer(layer());
    let (status, _, body) = ask(&app, request("/tenant", Some(KEY))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let body = String::from_utf8(body.into()).unwrap();
    assert!(body.contains("a type of your own must be the verifier's client type"), "{body}");
    assert_eq!(get_text(&app, "/maybe-tenant", Some(KEY)).await, (200, "anonymous".to_owned()));
}

#[tokio::test]
async fn a_handler_of_another_client_type_on_an_optional_route_returns_no_401() {
    // The key is valid, but no layer inserts the client type of the handler. This is a fault of the server.
    let app = routes().layer(layer().optional());
    let (status, ..) = ask(&app, request("/tenant", Some(KEY))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn the_extractors_work_without_a_router() {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.extensions.insert(Client::new("ci"));
    let taken = <Client as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
    assert_eq!(taken.unwrap().id(), "ci");
    let (mut parts, ()) = Request::new(()).into_parts();
    let missed = <Client as FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
    let missed: ClientRejection = missed.unwrap_err();
    assert_eq!(missed.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
}

// ===== OriginalUri =====

/// Returns the URI as each extractor of axum reports it.
async fn uris(
    uri: Uri,
    OriginalUri(original): OriginalUri,
    path: Option<MatchedPath>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
) -> String {
    let left = extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri.clone());
    assert_eq!(left.as_ref(), Some(&original));
    let path = path.as_ref().map_or("-", MatchedPath::as_str);
    format!("{uri} | {original} | {path} | {}", query.as_deref().unwrap_or("-"))
}

#[tokio::test]
async fn r23_original_uri_has_no_key_in_the_query() {
    let locations = || (header("x-api-key"), query("api_key"));
    let layer = || ApiKeyLayer::new(locations(), keys());
    let routes = || Router::new().route("/jobs/{id}", get(uris));
    let nested_inside = Router::new().nest("/api", routes().layer(layer()));
    let nested_outside = Router::new().nest("/api", routes()).layer(layer());
    let twice = Router::new().nest("/api", Router::new().nest("/v1", routes().layer(layer())));
    for (app, uri, expected) in [
        (
            &nested_inside,
            format!("/api/jobs/7?a=1&api_key={KEY}&b=%20"),
            "/jobs/7?a=1&b=%20 | /api/jobs/7?a=1&b=%20 | /api/jobs/{id} | a=1&b=%20",
        ),
        (
            &nested_inside,
            format!("/api/jobs/7?%61pi_key={KEY}"),
            "/jobs/7 | /api/jobs/7 | /api/jobs/{id} | -",
        ),
        (
            &nested_outside,
            format!("/api/jobs/7?api_key={KEY}&b"),
            "/jobs/7?b | /api/jobs/7?b | /api/jobs/{id} | b",
        ),
        (
            &twice,
            format!("/api/v1/jobs/7?api_key={KEY}&b"),
            "/jobs/7?b | /api/v1/jobs/7?b | /api/v1/jobs/{id} | b",
        ),
        (
            &twice,
            format!("http://host.example:80/api/v1/jobs/7?api_key={KEY}&b"),
            "http://host.example:80/jobs/7?b | http://host.example:80/api/v1/jobs/7?b | \
             /api/v1/jobs/{id} | b",
        ),
    ] {
        assert_eq!(get_text(app, &uri, None).await, (200, expected.to_owned()), "{uri}");
    }
}

#[tokio::test]
async fn r24_original_uri_has_no_key_on_optional_and_exempt_paths() {
    let layer = || ApiKeyLayer::new((header("x-api-key"), query("api_key")), keys());
    let nest = |layer| {
        Router::new()
            .nest("/api", Router::new().route("/a", get(uris)).layer::<ApiKeyLayer<_, _>>(layer))
    };
    let left = |query: &str| {
        (
            200,
            format!(
                "/a{query} | /api/a{query} | /api/a | {}",
                match query {
                    "" => "-",
                    query => &query[1..],
                }
            ),
        )
    };
    let exempt = nest(layer().exempt_path("/a"));
    for uri in ["/api/a?api_key=wrong-key&b", "/api/a?api_key=one&b&api_key=two"] {
        assert_eq!(get_text(&exempt, uri, None).await, left("?b"));
    }
    let optional = nest(layer().optional());
    // An empty value counts as no key, and is stripped too.
    assert_eq!(get_text(&optional, "/api/a?api_key=&b", None).await, left("?b"));
    assert_eq!(get_text(&optional, "/api/a?api_key=", None).await, left(""));
    assert_eq!(get_text(&optional, &format!("/api/a?api_key={KEY}"), None).await, left(""));
    // The key is in the header, and a blank value in the query.
    assert_eq!(get_text(&optional, "/api/a?b&api_key=+", Some(KEY)).await, left("?b"));
}

#[tokio::test]
async fn original_uri_keeps_a_forwarded_key() {
    let layer = ApiKeyLayer::new(query("api_key"), keys()).forward_key();
    let app = Router::new().nest("/api", Router::new().route("/a", get(uris)).layer(layer));
    let (_, body) = get_text(&app, &format!("/api/a?api_key={KEY}"), None).await;
    let query = format!("?api_key={KEY}");
    assert_eq!(body, format!("/a{query} | /api/a{query} | /api/a | {}", &query[1..]));
}

#[tokio::test]
async fn original_uri_is_unchanged_without_a_query_location() {
    let app = Router::new().nest("/api", Router::new().route("/a", get(uris)).layer(layer()));
    let body = get_text(&app, "/api/a?x-api-key=1&b=%zz", Some(KEY)).await.1;
    assert_eq!(
        body,
        "/a?x-api-key=1&b=%zz | /api/a?x-api-key=1&b=%zz | /api/a | x-api-key=1&b=%zz"
    );
}

#[tokio::test]
async fn r23_original_uri_has_no_key_during_a_pending_verification() {
    let later = tower_api_key::verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Some(Client::new("default"))
    });
    let layer = ApiKeyLayer::new(query("api_key"), later);
    let app = Router::new().nest("/api", Router::new().route("/a", get(uris)).layer(layer));
    let body = get_text(&app, &format!("/api/a?api_key={KEY}"), None).await.1;
    assert_eq!(body, "/a | /api/a | /api/a | -");
}

#[tokio::test]
async fn anonymous_is_available_to_custom_guards() {
    async fn members(request: Request<Body>, next: Next) -> axum::response::Response {
        match request.extensions().get::<Anonymous>() {
            Some(anonymous) => anonymous.reject(RequestHead::of(&request)).map(Body::from),
            None => next.run(request).await,
        }
    }
    let app = routes().layer(middleware::from_fn(members)).layer(layer().optional());
    assert_eq!(get_text(&app, "/maybe-client", Some(KEY)).await, (200, "default".to_owned()));
    let (status, body) = get_text(&app, "/maybe-client", None).await;
    assert_eq!((status, &*body), (401, r#"{"error":"Unauthorized access"}"#));
}

#[tokio::test]
async fn original_uri_has_no_key_that_a_closure_found() {
    let find =
        tower_api_key::extract::from_fn(tower_api_key::KeyLocation::query("api_key"), |head| {
            let mut pairs = head.uri().query().unwrap_or_default().split('&');
            pairs.find_map(|pair| pair.strip_prefix("API_KEY=")).into()
        });
    let layer = ApiKeyLayer::new(find, keys());
    let app = Router::new().nest("/api", Router::new().route("/a", get(uris)).layer(layer));
    let body = get_text(&app, &format!("/api/a?b&API_KEY={KEY}"), None).await.1;
    assert_eq!(body, "/a?b | /api/a?b | /api/a | b");
}

#[tokio::test]
async fn a_handler_without_its_client_rejects_as_the_layer_of_its_client_type() {
    #[derive(Clone)]
    struct Tenant;
    let tenants: Keyring<Tenant> = Keyring::new();
    tenants.insert("key-of-a-tenant", Tenant).unwrap();
    let tenants = ApiKeyLayer::new(query("tenant_key"), tenants);
    let app = Router::new()
        .route("/", get(async |_: Client| "client"))
        .route("/tenant", get(async |_: ClientOf<Tenant>| "tenant"))
        .layer(tenants)
        .layer(layer().optional());
    let tenant = get_text(&app, "/tenant?tenant_key=key-of-a-tenant", None).await;
    assert_eq!(tenant, (200, "tenant".to_owned()));
    let client = get_text(&app, "/?tenant_key=key-of-a-tenant", None).await;
    assert_eq!(client, (401, r#"{"error":"Unauthorized access"}"#.to_owned()));
}
