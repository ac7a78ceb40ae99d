//! A layer that only reports passes every request on, reports its rejections, and creates no client.

use crate::support;

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::Full;
use support::{
    KEY, OTHER, Reply, SPOTS, WRONG, ask, ask_of, keys, services::Strict, strict, value,
};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer, Service, ServiceExt};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, KeyDigest, Rejection, RequireScopeLayer, SetClientHeaderLayer,
    extract::{RequestHead, bearer, first_of, header, query},
    observe::{Decision, Observe},
    rejection::Reason,
    respond::Problem,
    verify::{Verify, VerifyError, from_async_fn, from_fn},
};

const CASES: [&str; 10] = [
    "good",
    "unknown",
    "revoked",
    "removed",
    "expired",
    "not_yet_valid",
    "revoked_by_verifier",
    "malformed",
    "over_long",
    "failed",
];

/// Takes its time, and knows [`KEY`] alone.
async fn look_up(digest: KeyDigest) -> Result<Option<Client>, VerifyError> {
    tokio::task::yield_now().await;
    if digest == KeyDigest::of(OTHER) {
        return Err(VerifyError::expired());
    }
    Ok((digest == KeyDigest::of(KEY)).then(|| Client::new("mobile-app")))
}

/// Takes its time, and fails.
async fn fail(_: KeyDigest) -> Result<Option<Client>, &'static str> {
    tokio::task::yield_now().await;
    Err("the store is down")
}

fn reported(reply: &Reply) -> Option<Reason> {
    reply.seen().extensions.get::<Rejection>().map(Rejection::reason)
}

#[test]
fn every_request_is_passed_on_and_has_the_rejection_in_its_extensions() {
    for spot in SPOTS {
        let guard = spot.layer(strict());
        let open = guard.clone().dangerous_report_only();
        let mut requests: Vec<_> =
            CASES.map(|case| (spot.put)(Request::get("/"), &value(case))).into();
        requests.push(Request::get("/"));
        requests.push(spot.get(&[KEY, KEY]));
        let copies = |request: &request::Builder| {
            let copy = Request::builder().uri(request.uri_ref().unwrap());
            let headers = request.headers_ref().unwrap().iter();
            headers.fold(copy, |copy, (name, value)| copy.header(name, value))
        };
        for request in requests {
            let turned_away = ask(&guard, copies(&request));
            let reply = ask(&open, request.extension(Client::new("planted")));
            let seen = reply.seen();
            assert_eq!((reply.status(), reply.text()), (200, "hello"), "{}", spot.name);
            assert_eq!(reported(&reply), turned_away.reason(), "{}", spot.name);
            assert_eq!(reply.client(), turned_away.client(), "{}", spot.name);
            if let Some(rejection) = turned_away.rejection() {
                let reported = seen.extensions.get::<Rejection>().unwrap();
                assert_eq!(reported.location(), rejection.location());
                assert_eq!(reported.key_id(), rejection.key_id());
            }
            // The response comes from the inner service and does not show the rejection.
            assert!(reply.rejection().is_none() && reply.lines("www-authenticate").is_empty());
            // The inner service receives the request without keys.
            let again = seen
                .headers
                .iter()
                .fold(Request::get(&seen.uri), |again, (name, line)| again.header(name, line));
            assert_eq!(ask(&guard, again).reason(), Some(Reason::Missing), "{}", spot.name);
        }
    }
}

#[test]
fn a_pending_or_failed_verifier_rejects_no_request() {
    let get = |key: &str| Request::get("/").header("x-api-key", key);
    let layer =
        ApiKeyLayer::new(header("x-api-key"), from_async_fn(look_up)).dangerous_report_only();
    for (key, client, reason) in [
        (KEY, Some("mobile-app"), None),
        (WRONG, None, Some(Reason::Unknown)),
        (OTHER, None, Some(Reason::Expired)),
        ("", None, Some(Reason::Missing)),
    ] {
        let reply = ask(&layer, get(key).extension(Client::new("planted")));
        assert_eq!(reply.client().map(Client::id), client, "{key}");
        assert_eq!(reported(&reply), reason, "{key}");
        assert!(!reply.seen().headers.contains_key("x-api-key"), "{key}");
    }
    let layer = ApiKeyLayer::new(header("x-api-key"), from_async_fn(fail)).dangerous_report_only();
    let reply = ask(&layer, get(KEY).extension(Client::new("planted")));
    assert_eq!((reply.outcome(), reported(&reply)), ("200 -".to_owned(), Some(Reason::Failed)));
    let rejection = reply.seen().extensions.get::<Rejection>().unwrap();
    let cause = std::error::Error::source(rejection).unwrap();
    assert_eq!(cause.to_string(), "the store is down");
}

#[test]
fn an_insecure_connection_is_reported_and_its_key_is_not_read() {
    let verify = from_fn(|_| -> Option<Client> { panic!("asked") });
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key")), verify)
        .require_secure(|_| false)
        .dangerous_report_only();
    let reply = ask(&layer, Request::get("/?api_key=k&a=b").header("x-api-key", KEY));
    assert_eq!((reply.outcome(), reported(&reply)), ("200 -".to_owned(), Some(Reason::Insecure)));
    assert_eq!((reply.seen().uri.to_string(), reply.seen().headers.len()), ("/?a=b".to_owned(), 0));
}

#[test]
fn a_request_that_needs_no_key_is_not_reported() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .optional()
        .exempt_path("/open")
        .pass_preflight()
        .dangerous_report_only();
    let preflight = Request::options("/").header("origin", "http://o");
    for request in [
        Request::get("/"),
        Request::get("/open").header("x-api-key", WRONG),
        preflight.header("access-control-request-method", "PUT"),
    ] {
        let reply = ask(&layer, request);
        assert_eq!((reply.outcome(), reported(&reply)), ("200 -".to_owned(), None));
    }
    let wrong = ask(&layer, Request::get("/").header("x-api-key", WRONG));
    assert_eq!(reported(&wrong), Some(Reason::Unknown));
}

#[test]
fn an_observer_receives_the_rejection_as_reported() {
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Observe for Notes {
        fn on_decision(&self, event: &Decision<'_>) {
            self.0.lock().unwrap().push(format!("{event:?}, {:?}", event.client().map(Client::id)));
        }
    }
    let guard = ApiKeyLayer::new(first_of((header("x-api-key"), query("api_key"))), strict());
    let decisions = |report_only: bool| {
        let notes = Notes::default();
        let mut layer = guard.clone().observe(notes.clone());
        if report_only {
            layer = layer.dangerous_report_only();
        }
        ask(&layer, Request::get("/p"));
        for case in CASES {
            ask(&layer, Request::get("/p").header("x-api-key", value(case)));
        }
        ask(&layer, Request::get("/p").header("x-api-key", KEY).header("x-api-key", KEY));
        std::mem::take(&mut *notes.0.lock().unwrap())
    };
    let turned_away = "Decision { outcome: Rejected,";
    let lines = decisions(false);
    assert_eq!(lines.iter().filter(|line| line.starts_with(turned_away)).count(), 11, "{lines:#?}");
    let reported = "Decision { outcome: Reported,";
    let lines: Vec<_> = lines.iter().map(|line| line.replace(turned_away, reported)).collect();
    assert_eq!(decisions(true), lines);
}

#[test]
fn a_guard_further_in_returns_the_rejection_of_the_layer() {
    let guard = || {
        ApiKeyLayer::new((bearer(), header("x-api-key")), strict())
            .realm("reports")
            .respond(Problem::default())
            .retry_after(Duration::from_secs(7))
            .require_secure(|head| !head.headers().contains_key("x-plain"))
    };
    for form in [
        || Request::get("/"),
        || Request::head("/"),
        || Request::post("/").header("content-type", "application/grpc"),
    ] {
        let requests: [&dyn Fn() -> request::Builder; 7] = [
            &form,
            &|| form().header("x-plain", ""),
            &|| form().header("x-api-key", WRONG),
            &|| form().header("authorization", format!("Bearer {WRONG}")),
            &|| form().header("authorization", "Bearer key-that-has-expired"),
            &|| form().header("authorization", "Bearer key-of-a-store-that-is-down"),
            &|| form().header("authorization", "Bearer k").header("x-api-key", "k"),
        ];
        for request in requests {
            let theirs = ask(&guard(), request());
            let let_by = ask(&guard().dangerous_report_only(), request());
            let anonymous = let_by.seen().extensions.get::<Anonymous>().unwrap();
            let (head, body) = anonymous.reject(RequestHead::of_parts(let_by.seen())).into_parts();
            let ours = Reply { head, body, ended: theirs.ended, seen: None };
            assert_eq!(ours.wire(), theirs.wire());
            assert_eq!(ours.outcome(), theirs.outcome());
        }
    }
    let good = ask(&guard().dangerous_report_only(), Request::get("/").header("x-api-key", KEY));
    assert!(good.seen().extensions.get::<Anonymous>().is_none());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn in_axum_a_handler_that_needs_a_client_returns_the_rejection_of_the_layer() {
    use axum::{Router, body::Body, routing::get};

    async fn one(client: Client) -> String {
        client.id().to_owned()
    }
    async fn any(client: Option<Client>) -> String {
        client.map_or("anonymous".to_owned(), |client| client.id().to_owned())
    }
    let app = |layer: ApiKeyLayer<_, _>| {
        Router::new().route("/one", get(one)).route("/any", get(any)).layer(layer)
    };
    let layer = || ApiKeyLayer::new(header("x-api-key"), strict());
    let (guarded, open) = (app(layer()), app(layer().dangerous_report_only()));
    for (case, status) in [("good", 200), ("unknown", 401), ("over_long", 401), ("failed", 503)] {
        let ask = |app: &Router, path: &str| {
            let request = Request::get(path).header("x-api-key", value(case));
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let held_back = ask(&open, "/one").await.unwrap();
        let theirs = ask(&guarded, "/one").await.unwrap();
        assert_eq!(held_back.status(), status, "{case}");
        assert_eq!(theirs.status(), status, "{case}");
        for (name, line) in theirs.headers() {
            assert_eq!(held_back.headers()[name], line, "{case}");
        }
        let (held_back, theirs) = (held_back.into_body(), theirs.into_body());
        let whole = |body| axum::body::to_bytes(body, 1000);
        assert_eq!(whole(held_back).await.unwrap(), whole(theirs).await.unwrap());

        let either = ask(&open, "/any").await.unwrap();
        assert_eq!(either.status(), 200, "{case}");
        let client = if case == "good" { "mobile-app" } else { "anonymous" };
        assert_eq!(whole(either.into_body()).await.unwrap(), client);
    }
}

#[test]
fn missing_scope_is_still_rejected() {
    let scopes = RequireScopeLayer::all(["jobs:write"]);
    let keys = keys();
    keys.insert("key-of-a-writer", Client::new("writer").with_scopes(["jobs:write"])).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).dangerous_report_only();
    for (key, status) in [("key-of-a-writer", 200), (KEY, 403), (WRONG, 401), ("", 401)] {
        let inner = tower::service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        let service = layer.layer(scopes.layer(inner));
        let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
        let response = support::block_on(service.oneshot(request)).unwrap();
        assert_eq!(response.status(), status, "{key}");
    }
}

#[test]
fn the_upstream_service_receives_no_client_of_a_reported_request() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).dangerous_report_only();
    for (key, expected) in [(KEY, "mobile-app"), (WRONG, "-"), ("", "-")] {
        let inner = tower::service_fn(|request: Request<()>| {
            let id = request.headers().get("x-client-id").map_or("-", |id| id.to_str().unwrap());
            ready(Ok::<_, Infallible>(Response::new(id.to_owned())))
        });
        let service = layer.layer(SetClientHeaderLayer::new("x-client-id").layer(inner));
        let request = Request::get("/").header("x-api-key", key).header("x-client-id", "forged");
        let response = support::block_on(service.oneshot(request.body(()).unwrap())).unwrap();
        assert!(format!("{:?}", response.into_body()).contains(expected), "{key}");
    }
}

// An inner service can check keys itself, so its response can depend on the key.
#[test]
fn a_cache_keeps_the_responses_of_reported_requests_apart() {
    let locations = || (header("x-api-key"), bearer(), query("api_key"));
    let layer = ApiKeyLayer::new(locations(), strict()).dangerous_report_only();
    let vary = ["x-api-key, authorization"];
    let insecure = layer.clone().require_secure(|_| false);
    let failed = String::from_utf8(value("failed")).unwrap();
    for (name, layer, request, cache_control, referrer_policy) in [
        ("no key", &layer, Request::get("/"), &[][..], &[][..]),
        ("good", &layer, Request::get("/").header("x-api-key", KEY), &["private"], &[]),
        ("wrong", &layer, Request::get("/").header("x-api-key", WRONG), &["private"], &[]),
        (
            "in the URL",
            &layer,
            Request::get(format!("/?api_key={failed}")),
            &["private"],
            &["no-referrer"],
        ),
        (
            "two",
            &layer,
            Request::get(format!("/?api_key={KEY}")).header("x-api-key", KEY),
            &["private"],
            &["no-referrer"],
        ),
        (
            "unread",
            &insecure,
            Request::get(format!("/?api_key={KEY}")),
            &["private"],
            &["no-referrer"],
        ),
    ] {
        let reply = ask(layer, request);
        assert_eq!(reply.lines("vary"), vary, "{name}");
        assert_eq!(reply.lines("cache-control"), cache_control, "{name}");
        assert_eq!(reply.lines("referrer-policy"), referrer_policy, "{name}");
    }
    let posted = ask(&layer, Request::post("/").header("x-api-key", WRONG));
    assert!(posted.lines("vary").is_empty() && posted.lines("cache-control").is_empty());
    let silent = ask(&layer.no_cache_headers(), Request::get("/").header("x-api-key", WRONG));
    assert!(silent.lines("vary").is_empty() && silent.lines("cache-control").is_empty());
}

#[test]
fn an_inner_service_can_receive_the_keys() {
    let layer = ApiKeyLayer::new((header("x-api-key"), query("k")), keys());
    let layer = layer.forward_key().dangerous_report_only();
    let reply = ask_of(&layer, Request::get("/?k=1").header("x-api-key", WRONG), |head| {
        assert!(head.headers["x-api-key"].is_sensitive());
        let known = head.headers["x-api-key"] == WRONG && head.uri == "/?k=1";
        Response::new(Full::from(if known { "known" } else { "unknown" }))
    });
    assert_eq!((reply.text(), reported(&reply)), ("known", Some(Reason::Ambiguous)));
}

#[test]
fn debug_shows_that_the_layer_only_reports() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let open = layer.clone().dangerous_report_only();
    let shown = "{ DANGEROUS_report_only: true, locations: [";
    assert!(!format!("{layer:?}").contains("report_only"));
    assert!(format!("{open:?}").starts_with(&format!("ApiKeyLayer {shown}")), "{open:?}");
    let service = open.layer(());
    assert!(format!("{service:?}").starts_with(&format!("ApiKeyService {shown}")), "{service:?}");
    // A clone is independent.
    assert_eq!(ask(&layer, Request::get("/")).outcome(), "401 missing");
}

#[cfg(feature = "test-util")]
#[tokio::test]
async fn the_test_helpers_find_a_layer_that_only_reports() {
    use tower_api_key::test_util::{unprotected, wrong_keys_get_in};

    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let inner = tower::service_fn(|_: Request<String>| {
        ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    for (layer, open) in [(layer.clone(), &[][..]), (layer.dangerous_report_only(), &["GET /"])] {
        let service = layer.layer(inner);
        let requests = [("GET", "/")];
        assert_eq!(unprotected(&service, requests).await, open);
        assert_eq!(wrong_keys_get_in(&service, layer.locations(), requests).await, open);
    }
}

#[tokio::test]
async fn r38_the_service_that_returned_ready_is_called() {
    async fn try_all<V: Verify>(verify: V) {
        let (limited, permits, _) = Strict::behind(1);
        let layer = ApiKeyLayer::new(header("x-api-key"), verify).dangerous_report_only();
        let mut service = layer.layer(limited);
        for key in [KEY, WRONG, OTHER, "", KEY, WRONG] {
            let mut waiting = Context::from_waker(std::task::Waker::noop());
            let ready = Service::<Request<()>>::poll_ready(&mut service, &mut waiting);
            assert!(ready.is_ready(), "a permit was lost");
            let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
            assert_eq!(service.call(request).await.unwrap().status(), 200);
            assert_eq!(permits.available_permits(), 1);
        }
    }
    try_all(keys()).await;
    try_all(from_async_fn(look_up)).await;
    try_all(from_async_fn(fail)).await;
}

#[tokio::test]
async fn a_tonic_server_still_serves_callers_without_a_key() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = ApiKeyLayer::new(bearer(), from_async_fn(look_up)).dangerous_report_only();
    let server = Server::builder().layer(layer).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    for key in [None, Some(KEY), Some(WRONG)] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(key) = key {
            let line = format!("Bearer {key}").parse().unwrap();
            request.metadata_mut().insert("authorization", line);
        }
        assert_eq!(client.check(request).await.unwrap().into_inner().status, 1, "{key:?}");
    }
}
