//! Scopes that a route requires: accepted clients, the response to all others, and the permit.

use crate::support;

use std::{
    convert::Infallible,
    future::ready,
    net::SocketAddr,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use support::services::{Answer, Strict, ask};
use tokio::net::TcpListener;
use tonic::{Code, transport::server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, KeyLocation, Keyring, Rejection, RequireScopeLayer,
    error::{ConfigError, ConfigErrorKind},
    extract::{bearer, header, query},
    rejection::{Reason, RejectionKind},
    require_scope::RequireScopeService,
    respond::{GuardFuture, Json, Problem, Respond, Text},
};
use tower_test::mock;

/// A client with the scopes to read and write, but not for reports.
const WRITER: &str = "key-of-the-writer-0123456789";
/// A client with the scope to read.
const READER: &str = "key-of-the-reader-0123456789";
/// A client without scopes.
const NO_SCOPES: &str = "key-without-any-scope-012345";

fn keys() -> Keyring {
    let keys = Keyring::new();
    keys.insert(WRITER, Client::new("writer").with_scopes(["jobs:read", "jobs:write"])).unwrap();
    keys.insert(READER, Client::new("reader").with_scopes(["jobs:read"])).unwrap();
    keys.insert(NO_SCOPES, Client::new("nothing")).unwrap();
    keys
}

fn layer() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

fn all<const N: usize>(scopes: [&str; N]) -> RequireScopeLayer {
    RequireScopeLayer::all(scopes)
}

fn any<const N: usize>(scopes: [&str; N]) -> RequireScopeLayer {
    RequireScopeLayer::any(scopes)
}

type Inner = BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;

fn inner() -> Inner {
    Inner::new(service_fn(|_| ready(Ok(Response::new(Full::from("done"))))))
}

fn with_key(key: &str) -> Request<()> {
    Request::builder().header("x-api-key", key).body(()).unwrap()
}

/// Sends a request to a route that requires scopes, behind a layer that verifies the client.
async fn ask_route(scopes: &RequireScopeLayer, key: &str) -> Answer {
    ask(layer().layer(scopes.layer(inner())), with_key(key)).await
}

// Accepted clients.

#[tokio::test]
async fn r4_a_missing_or_wrong_key_is_401_and_a_good_one_without_the_scope_403() {
    let write = all(["jobs:write"]);
    for (key, status, reason) in [
        ("", 401, Some(Reason::Missing)),
        ("a-key-that-was-never-issued", 401, Some(Reason::Unknown)),
        (READER, 403, Some(Reason::InsufficientScope)),
        (NO_SCOPES, 403, Some(Reason::InsufficientScope)),
        (WRITER, 200, None),
    ] {
        let reply = ask_route(&write, key).await;
        assert_eq!((reply.status, reply.reason), (status, reason), "{key}");
    }
}

#[tokio::test]
async fn r4_all_requires_every_scope_and_any_requires_one() {
    for (scopes, writer, reader, nothing) in [
        (all(["jobs:read"]), 200, 200, 403),
        (all(["jobs:read", "jobs:write"]), 200, 403, 403),
        (all(["jobs:write", "jobs:read"]), 200, 403, 403),
        (all(["jobs:read", "admin"]), 403, 403, 403),
        (any(["jobs:read", "jobs:write"]), 200, 200, 403),
        (any(["admin", "jobs:write"]), 200, 403, 403),
        (any(["admin", "root"]), 403, 403, 403),
        // Byte for byte: no prefix, no case, no wildcard.
        (any(["jobs", "jobs:", "JOBS:READ", "jobs:*", "*", "jobs:readers"]), 403, 403, 403),
    ] {
        for (key, status) in [(WRITER, writer), (READER, reader), (NO_SCOPES, nothing)] {
            let reply = ask_route(&scopes, key).await;
            assert_eq!(reply.status, status, "{scopes:?} {key}");
        }
    }
}

#[tokio::test]
async fn r4_nested_layers_require_the_scopes_of_each() {
    let service = ServiceBuilder::new()
        .layer(layer())
        .layer(all(["jobs:read"]))
        .layer(any(["jobs:write", "admin"]))
        .service(inner());
    for (key, status) in [(WRITER, 200), (READER, 403), (NO_SCOPES, 403)] {
        assert_eq!(ask(service.clone(), with_key(key)).await.status, status, "{key}");
    }
}

#[derive(Clone)]
struct Tenant(&'static str);

impl Identity for Tenant {
    fn id(&self) -> &str {
        "a tenant"
    }

    fn has_scope(&self, scope: &str) -> bool {
        self.0 == scope
    }
}

#[tokio::test]
async fn r4_a_custom_client_type_decides_about_its_scopes() {
    let tenants: Keyring<Tenant> = Keyring::new();
    tenants.insert(WRITER, Tenant("jobs:write")).unwrap();
    tenants.insert(READER, Tenant("jobs:read")).unwrap();
    let write = all(["jobs:write"]).client_type::<Tenant>();
    let layer = ApiKeyLayer::new(header("x-api-key"), tenants);
    let service = layer.layer(write.layer(inner()));
    for (key, status) in [(WRITER, 200), (READER, 403)] {
        assert_eq!(ask(service.clone(), with_key(key)).await.status, status, "{key}");
    }
    // A layer for another client type than the verifier's finds no client, and rejects.
    let service = layer.layer(all(["jobs:write"]).layer(inner()));
    let reply = ask(service, with_key(WRITER)).await;
    assert_eq!(reply.status, 500);
    assert!(reply.body.windows(11).any(|it| it == b"client_type"), "{reply:?}");
}

#[tokio::test]
async fn r4_a_client_has_the_scopes_that_it_lists() {
    #[derive(Clone)]
    struct Listing;
    impl Identity for Listing {
        fn id(&self) -> &str {
            "listing"
        }

        fn scopes(&self) -> Vec<&str> {
            vec!["jobs:read", "jobs:write"]
        }
    }
    for (scope, status) in [("jobs:write", 200), ("jobs", 403)] {
        assert_eq!(Listing.has_scope(scope), status == 200);
        let service = all([scope]).client_type::<Listing>().layer(inner());
        let mut request = Request::new(());
        request.extensions_mut().insert(Listing);
        assert_eq!(ask(service, request).await.status, status, "{scope}");
    }
}

#[tokio::test]
async fn r4_the_next_request_sees_a_client_with_other_scopes() {
    let keys = Keyring::new();
    keys.insert(READER, Client::new("reader").with_scopes(["jobs:read"])).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    let service = layer.layer(all(["jobs:write"]).layer(inner()));
    assert_eq!(ask(service.clone(), with_key(READER)).await.status, 403);
    assert!(keys.remove(&KeyDigest::of(READER)).is_some());
    keys.insert(READER, Client::new("reader").with_scopes(["jobs:write"])).unwrap();
    assert_eq!(ask(service, with_key(READER)).await.status, 200);
}

// Rejected clients.

#[tokio::test]
async fn r4_a_403_names_no_scope_and_is_not_cached() {
    for scopes in [all(["jobs:write", "admin"]), any(["jobs:write", "admin"])] {
        let reply = ask_route(&scopes, READER).await;
        assert_eq!((reply.status, &*reply.body), (403, &br#"{"error":"Forbidden"}"#[..]));
        assert_eq!(reply.line("content-type"), "application/json");
        assert_eq!(reply.line("cache-control"), "no-store");
        assert!(!reply.headers.contains_key(WWW_AUTHENTICATE));
        let shown = format!("{:?} {:?}", reply.headers, reply.body);
        for secret in ["jobs", "admin", "write", "read"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        // A client with some of the scopes gets the same response as a client without any.
        assert_eq!(ask_route(&scopes, NO_SCOPES).await.body, reply.body);
    }
}

#[tokio::test]
async fn r4_each_responder_writes_the_403() {
    struct Own;
    impl Respond for Own {
        fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
            assert_eq!(rejection.kind(), RejectionKind::Forbidden);
            Json::default().respond(rejection)
        }
    }
    let json = r#"{"error":"Forbidden"}"#;
    let problem = r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"Forbidden"}"#;
    let write = || all(["jobs:write"]);
    for (scopes, content_type, body) in [
        (write(), "application/json", json),
        (write().respond(Own), "application/json", json),
        // The message of the 401 differs from the message of the 403.
        (write().respond(Json::default().message("A key, please")), "application/json", json),
        (write().respond(Problem::default()), "application/problem+json", problem),
        (write().respond(Text::default()), "text/plain; charset=utf-8", "Forbidden"),
    ] {
        let reply = ask_route(&scopes, READER).await;
        assert_eq!((reply.status, &*reply.body), (403, body.as_bytes()));
        assert_eq!(reply.line("content-type"), content_type);
        assert_eq!(reply.line("cache-control"), "no-store");
        assert_eq!(reply.reason, Some(Reason::InsufficientScope));
    }
    let hidden = write().respond(|rejection: &Rejection| {
        let mut response = Response::new(format!("<h1>{}</h1>", rejection.reason().as_str()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    });
    let reply = ask_route(&hidden, READER).await;
    assert_eq!((reply.status, &*reply.body), (404, &b"<h1>insufficient_scope</h1>"[..]));
    assert_eq!(
        (reply.line("cache-control"), reply.reason),
        ("no-store", Some(Reason::InsufficientScope))
    );
}

#[tokio::test]
async fn r5_a_bearer_challenge_has_the_error_insufficient_scope() {
    let challenge = r#"Bearer realm="the \"jobs\"", error="insufficient_scope""#;
    let locations = (header("x-api-key"), bearer(), query("api_key"));
    let layer = ApiKeyLayer::new(locations, keys()).realm("the \"jobs\"").respond(Text::default());
    let by_bearer = |key: &str| {
        Request::get("/").header("authorization", format!("Bearer {key}")).body(()).unwrap()
    };
    let plain = all(["jobs:write"]);
    let write = plain.clone().rejection_writer(layer.rejection_writer());
    for scopes in [plain, write.clone(), write.clone().respond(Json::default())] {
        let service = layer.layer(scopes.layer(inner()));
        for request in [by_bearer(READER), with_key(READER)] {
            let reply = ask(service.clone(), request).await;
            assert_eq!(reply.status, 403);
            let lines: Vec<_> = reply.headers.get_all(WWW_AUTHENTICATE).iter().collect();
            assert_eq!(lines, [challenge]);
        }
        assert_eq!(ask(service.clone(), by_bearer(WRITER)).await.status, 200);
    }
    let reply = ask(layer.layer(write.layer(inner())), by_bearer(READER)).await;
    assert_eq!((&*reply.body, reply.line("cache-control")), (&b"Forbidden"[..], "no-store"));

    // A responder that hides the route behind a 404 does not ask for a better key either.
    let hidden = write
        .clone()
        .respond(|_: &Rejection| Response::builder().status(404).body("nothing here").unwrap());
    let reply = ask(layer.layer(hidden.layer(inner())), by_bearer(READER)).await;
    assert!(!reply.headers.contains_key(WWW_AUTHENTICATE), "{reply:?}");
    // A responder that changes the status to 401 gets the challenges of a 401.
    let denied = write.respond(|_: &Rejection| Response::builder().status(401).body("no").unwrap());
    let reply = ask(layer.layer(denied.layer(inner())), by_bearer(READER)).await;
    let lines: Vec<_> = reply.headers.get_all(WWW_AUTHENTICATE).iter().collect();
    assert_eq!((lines.len(), lines[0]), (3, &challenge.parse().unwrap()));
    // A responder without the writer of the layer has no challenge.
    let denied = all(["jobs:write"])
        .respond(|_: &Rejection| Response::builder().status(401).body("no").unwrap());
    let reply = ask(layer.layer(denied.layer(inner())), by_bearer(READER)).await;
    assert!(!reply.headers.contains_key(WWW_AUTHENTICATE), "{reply:?}");

    // Without a `Bearer` location there is no challenge.
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).respond(Problem::default());
    let scopes = all(["jobs:write"]);
    let reply = ask(layer.layer(scopes.layer(inner())), with_key(READER)).await;
    assert_eq!(reply.line("content-type"), "application/problem+json");
    assert!(!reply.headers.contains_key(WWW_AUTHENTICATE));
}

#[tokio::test]
async fn r37_without_a_key_on_an_optional_route_the_scope_layer_returns_the_401_of_the_layer() {
    let strict = layer().realm("jobs").respond(Problem::default());
    let scopes = all(["jobs:write"]).respond(Text::default());
    fn grpc() -> Request<()> {
        Request::post("/").header("content-type", "application/grpc").body(()).unwrap()
    }
    for request in [Request::default, || with_key(" "), grpc] as [fn() -> Request<()>; 3] {
        let expected = ask(strict.layer(inner()), request()).await;
        let service = strict.clone().optional().no_cache_headers().layer(scopes.layer(inner()));
        let reply = ask(service, request()).await;
        assert_eq!(reply.reason, Some(Reason::Missing));
        assert_eq!((reply.status, reply.headers), (expected.status, expected.headers));
        assert_eq!(reply.body, expected.body);
    }
    let service = strict.optional().layer(scopes.layer(inner()));
    assert_eq!(ask(service.clone(), grpc()).await.line("grpc-status"), "16");
    assert_eq!(ask(service.clone(), with_key("wrong")).await.status, 401);
    assert_eq!(ask(service.clone(), with_key(READER)).await.status, 403);
    assert_eq!(ask(service, with_key(WRITER)).await.status, 200);
}

#[tokio::test]
async fn without_a_client_the_scope_layer_rejects_as_the_layer_of_its_client_type() {
    #[derive(Clone)]
    struct Tenant;

    impl Identity for Tenant {
        fn id(&self) -> &str {
            "acme"
        }

        fn has_scope(&self, scope: &str) -> bool {
            scope == "jobs:write"
        }
    }

    let tenants: Keyring<Tenant> = Keyring::new();
    tenants.insert(NO_SCOPES, Tenant).unwrap();
    let outer = layer().realm("clients").respond(Problem::default()).optional();
    let outer = outer.no_cache_headers();
    let inner_layer = ApiKeyLayer::new(header("x-tenant-key"), tenants).realm("tenants");
    let inner_layer = inner_layer.exempt_path("/open").no_cache_headers();
    let expected = ask(outer.layer(all(["jobs:write"]).layer(inner())), Request::default()).await;
    assert!(expected.line("www-authenticate").contains("clients"));
    let by_tenant =
        |path: &str| Request::get(path).header("x-tenant-key", NO_SCOPES).body(()).unwrap();

    let tenant_layers = [inner_layer.clone(), inner_layer.clone().optional()];
    for inner_layer in tenant_layers.clone() {
        let service = outer.layer(inner_layer.layer(all(["jobs:write"]).layer(inner())));
        for request in [by_tenant("/"), by_tenant("/open")] {
            let reply = ask(service.clone(), request).await;
            assert_eq!(reply.reason, Some(Reason::Missing));
            assert_eq!((reply.status, reply.headers), (expected.status, expected.headers.clone()));
            assert_eq!(reply.body, expected.body);
        }
        let mut both = by_tenant("/");
        both.headers_mut().insert("x-api-key", WRITER.parse().unwrap());
        assert_eq!(ask(service, both).await.status, 200);
    }
    let [required, optional] = tenant_layers;
    // Both keys are missing. Each guard returns the response of its own layer.
    let service = outer.layer(optional.layer(all(["jobs:write"]).layer(inner())));
    assert_eq!(ask(service, Request::default()).await.headers, expected.headers);
    let of_tenants = all(["jobs:write"]).client_type::<Tenant>();
    let service = outer.layer(optional.layer(of_tenants.layer(inner())));
    let reply = ask(service.clone(), Request::default()).await;
    assert!(reply.line("www-authenticate").contains("tenants"), "{reply:?}");
    assert_eq!(ask(service, by_tenant("/")).await.status, 200);
    // An exempt path has no client, so the guard finds no layer of its type.
    let service = outer.layer(required.layer(of_tenants.layer(inner())));
    assert_eq!(ask(service, by_tenant("/open")).await.status, 500);
    // The same applies if an optional layer of this type further out accepted the request.
    let service = optional.clone().layer(required.layer(of_tenants.layer(inner())));
    assert_eq!(ask(service, Request::get("/open").body(()).unwrap()).await.status, 500);
}

// Mistakes.

#[test]
fn r4_an_invalid_list_of_scopes_is_an_error_that_names_the_position_and_not_the_value() {
    type Made = Result<RequireScopeLayer, ConfigError>;
    let makers: [fn(Vec<&'static str>) -> Made; 2] =
        [|scopes| RequireScopeLayer::try_all(scopes), |scopes| RequireScopeLayer::try_any(scopes)];
    for make in makers {
        let none = make(vec![]).unwrap_err();
        assert_eq!((none.kind(), none.position()), (ConfigErrorKind::NoScope, None));
        for (scopes, kind, at) in [
            (vec![""], ConfigErrorKind::Scope, 0),
            (vec![" "], ConfigErrorKind::Scope, 0),
            (vec!["fine", "sec ret"], ConfigErrorKind::Scope, 1),
            (vec!["fine", "secret "], ConfigErrorKind::Scope, 1),
            (vec!["fine", "secret\n"], ConfigErrorKind::Scope, 1),
            (vec!["fine", "sec\0ret"], ConfigErrorKind::Scope, 1),
            (vec!["fine", "good", "sec\"ret"], ConfigErrorKind::Scope, 2),
            (vec!["sec\\ret"], ConfigErrorKind::Scope, 0),
            (vec!["secr\u{e9}t"], ConfigErrorKind::Scope, 0),
            (vec!["secret\u{7f}"], ConfigErrorKind::Scope, 0),
            (vec!["secret", "secret"], ConfigErrorKind::DuplicateScope, 1),
            (vec!["secret", "fine", "secret", ""], ConfigErrorKind::DuplicateScope, 2),
        ] {
            let error = make(scopes.clone()).unwrap_err();
            assert_eq!((error.kind(), error.position()), (kind, Some(at)), "{scopes:?}");
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(text.ends_with(&format!("(scope {})", at + 1)), "{text}");
                assert!(!text.contains("sec") && !text.contains("fine"), "{text}");
            }
        }
        for fine in [vec!["a"], vec!["a", "A"], vec!["!#[]^~", "jobs:write", "https://a.b/c"]] {
            assert!(make(fine).is_ok());
        }
    }
}

#[tokio::test]
async fn r4_without_an_api_key_layer_the_scope_layer_returns_a_500_that_names_the_fix() {
    let write = all(["jobs:write"]).respond(Text::default());
    let grpc = |request: http::request::Builder| {
        let request = request.method("POST").header("content-type", "application/grpc");
        request.body(()).unwrap()
    };
    let key = || Request::builder().header("x-api-key", WRITER);
    let request = || key().body(()).unwrap();
    let outside = || write.layer(layer().layer(inner()));
    let exempt = || layer().exempt_path("/").layer(write.layer(inner()));
    let preflight = Request::options("/").header("origin", "https://a.example");
    let preflight = preflight.header("access-control-request-method", "GET").body(()).unwrap();
    let no_layer =
        ["no `ApiKeyLayer`", "ApiKeyLayer::new(..)", "outside of it", ".client_type::<..>()"];
    let exempts =
        ["exempts this request", "`exempt_path`", "`exempt_if`", "instead of `pass_preflight`"];
    for (reply, fixes) in [
        (ask(write.layer(inner()), request()).await, no_layer),
        (ask(outside(), request()).await, no_layer),
        (ask(exempt(), request()).await, exempts),
        (ask(layer().exempt_if(|_| true).layer(write.layer(inner())), request()).await, exempts),
        (ask(layer().pass_preflight().layer(write.layer(inner())), preflight).await, exempts),
    ] {
        assert_eq!((reply.status, reply.reason), (500, None));
        assert_eq!(reply.line("cache-control"), "no-store");
        let text = std::str::from_utf8(&reply.body).unwrap();
        for fix in fixes {
            assert!(text.contains(fix), "{text}");
        }
        let other = if fixes == exempts { no_layer } else { exempts };
        assert!(!text.contains(other[0]), "{text}");
        assert!(!text.contains(WRITER) && !text.contains("jobs"), "{text}");
    }
    for (reply, fixes) in
        [(ask(outside(), grpc(key())).await, no_layer), (ask(exempt(), grpc(key())).await, exempts)]
    {
        assert_eq!((reply.status, reply.line("grpc-status")), (200, "13"));
        let message = reply.line("grpc-message");
        assert!(fixes.iter().all(|fix| message.contains(fix)), "{reply:?}");
        assert!(reply.body.is_empty());
        // Percent-encoding does not change this text.
        assert!(message.bytes().all(|it| matches!(it, b' '..=b'~') && it != b'%'), "{message}");
    }
}

#[cfg(any(feature = "axum", feature = "tracing"))]
#[tokio::test]
async fn r4_a_wrong_order_of_layers_logs_one_line_and_a_403_logs_none() {
    let log = support::log::Log::default();
    let _logging = log.capture();
    // Each of these keys is short, and the log has one warning for each.
    let written = || {
        let log = log.text();
        let lines = log.lines().filter(|line| !line.contains("tower_api_key::keyring"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };

    assert_eq!(ask_route(&all(["jobs:write"]), READER).await.status, 403);
    assert_eq!(written(), "");
    assert_eq!(ask(all(["jobs:write"]).layer(inner()), with_key(READER)).await.status, 500);
    let line = written();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("ERROR tower_api_key"), "{line}");
    assert!(line.contains("ApiKeyLayer::new(..)") && !line.contains(READER), "{line}");
    let exempt = layer().exempt_path("/").layer(all(["jobs:write"]).layer(inner()));
    assert_eq!(ask(exempt, with_key(READER)).await.status, 500);
    let lines = written();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.contains("the `ApiKeyLayer` outside exempts this request"), "{lines}");
}

// The inner service.

fn as_client(scopes: &[&str], mut request: Request<()>) -> Request<()> {
    request.extensions_mut().insert(Client::new("c").with_scopes(scopes.to_vec()));
    request
}

#[tokio::test]
async fn r38_a_rejected_request_returns_the_permit_and_does_not_reach_the_service() {
    let (limited, permits, counts) = Strict::behind(1);
    let mut service = all(["jobs:write"]).layer(limited);
    for (scopes, status) in [(Some(&["jobs:read"][..]), 403), (Some(&[]), 403), (None, 500)] {
        for _ in 0..3 {
            let mut waiting = Context::from_waker(Waker::noop());
            let ready = Service::<Request<()>>::poll_ready(&mut service, &mut waiting);
            assert!(ready.is_ready(), "a permit was lost");
            assert_eq!(permits.available_permits(), 0);
            let request = match scopes {
                Some(scopes) => as_client(scopes, Request::new(())),
                None => Request::new(()),
            };
            let answer = service.call(request);
            // The permit is free before the response is polled.
            assert_eq!(permits.available_permits(), 1);
            assert_eq!(answer.await.unwrap().status(), status);
        }
    }
    assert_eq!(counts.calls(), 0);

    // The ready service is called, and is not cloned.
    let cloned = counts.clones();
    for call in 1..=3 {
        let request = as_client(&["jobs:write"], Request::new(()));
        let ready = ServiceExt::<Request<()>>::ready(&mut service).await.unwrap();
        let answer = ready.call(request);
        assert_eq!(answer.await.unwrap().status(), 200);
        assert_eq!((counts.calls(), permits.available_permits()), (call, 1));
    }
    assert_eq!(counts.clones(), cloned);
}

#[tokio::test]
async fn the_scope_layer_passes_readiness_and_errors_of_the_inner_service_on() {
    let (mock, mut handle) = mock::pair::<Request<()>, Response<&'static str>>();
    let mut service = all(["jobs:write"]).layer(mock);
    let mut waiting = Context::from_waker(Waker::noop());
    handle.allow(0);
    assert!(service.poll_ready(&mut waiting).is_pending());
    handle.allow(2);
    let answer = service.ready().await.unwrap().call(as_client(&["jobs:write"], Request::new(())));
    let (request, respond) = handle.next_request().await.unwrap();
    assert_eq!(request.extensions().get::<Client>().unwrap().id(), "c");
    respond.send_error("broken");
    assert_eq!(answer.await.unwrap_err().to_string(), "broken");

    drop(handle);
    assert!(service.ready().await.is_err());
}

#[test]
fn layer_and_service_have_the_usual_traits() {
    fn is_fine<T: std::fmt::Debug + Clone + Send + Sync + Unpin + 'static>(_: &T) {}
    struct Bare;
    impl Identity for Bare {
        fn id(&self) -> &str {
            "bare"
        }
    }
    let layer = any(["jobs:write", "admin"]);
    is_fine(&layer);
    is_fine(&layer.clone().client_type::<Bare>());
    assert_eq!(
        format!("{layer:?}"),
        r#"RequireScopeLayer { scopes: Any(["jobs:write", "admin"]), .. }"#
    );
    let mut service: RequireScopeService<_> = layer.layer(inner());
    is_fine(&service);
    assert!(format!("{service:?}").starts_with("RequireScopeService"));
    let _: (&Inner, Inner) = (service.get_ref(), service.clone().into_inner());
    let _: &mut Inner = service.get_mut();
    let future: GuardFuture<_> = service.call(Request::new(()));
    assert!(format!("{future:?}").starts_with("GuardFuture"));
}

// In axum and tonic, over sockets.

async fn submit(request: axum::extract::Request) -> String {
    let client = request.extensions().get::<Client>().unwrap();
    format!("submitted by {}", client.id())
}

async fn serve(app: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

async fn call(addr: SocketAddr, method: Method, path: &str, key: &str) -> Answer {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = Request::builder().method(method).uri(format!("http://{addr}{path}"));
    let request = request.header("authorization", format!("Bearer {key}"));
    let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, body, reason: None }
}

#[tokio::test]
async fn r4_r5_an_axum_route_requires_a_scope_and_other_routes_do_not() {
    use axum::routing::{get, post};

    let layer = ApiKeyLayer::new(bearer(), keys());
    let write = all(["jobs:write"]);
    let guarded = axum::Router::new().route("/a", get(submit)).route("/b", get(submit));
    let app = axum::Router::new()
        .route("/jobs", post(submit).layer(write.clone()).merge(get(submit)))
        .nest("/admin", guarded.layer(write))
        .layer(layer);
    let addr = serve(app).await;
    for (method, path, key, status, body) in [
        (Method::POST, "/jobs", WRITER, 200, "submitted by writer"),
        (Method::POST, "/jobs", READER, 403, r#"{"error":"Forbidden"}"#),
        (Method::POST, "/jobs", "wrong", 401, r#"{"error":"Unauthorized access"}"#),
        (Method::GET, "/jobs", READER, 200, "submitted by reader"),
        (Method::GET, "/admin/a", WRITER, 200, "submitted by writer"),
        (Method::GET, "/admin/b", READER, 403, r#"{"error":"Forbidden"}"#),
    ] {
        let reply = call(addr, method.clone(), path, key).await;
        assert_eq!((reply.status, &*reply.body), (status, body.as_bytes()), "{path} {key}");
        let error = match status {
            403 => r#"Bearer realm="api", error="insufficient_scope""#,
            401 => r#"Bearer realm="api", error="invalid_token""#,
            _ => "",
        };
        assert_eq!(reply.line("www-authenticate"), error);
    }
    // HEAD has the headers of GET and no body.
    let get = call(addr, Method::GET, "/admin/a", READER).await;
    let mut head = call(addr, Method::HEAD, "/admin/a", READER).await;
    assert_eq!((head.status, head.body.len()), (403, 0));
    head.headers.insert("date", get.headers["date"].clone());
    assert_eq!(head.headers, get.headers);
}

#[tokio::test]
async fn r4_a_tonic_caller_without_the_scope_gets_permission_denied() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(ApiKeyLayer::new(bearer(), keys()).optional())
        .layer(all(["jobs:write"]))
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let client = HealthClient::new(channel.connect().await.unwrap());
    for (key, code, message) in [
        (Some(WRITER), Code::Ok, ""),
        (Some(READER), Code::PermissionDenied, "Forbidden"),
        (Some("wrong"), Code::Unauthenticated, "Unauthorized access"),
        (None, Code::Unauthenticated, "Unauthorized access"),
    ] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(key) = key {
            request
                .metadata_mut()
                .insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        match client.clone().check(request).await {
            Ok(_) => assert_eq!(code, Code::Ok),
            Err(status) => assert_eq!((status.code(), status.message()), (code, message)),
        }
    }
}
