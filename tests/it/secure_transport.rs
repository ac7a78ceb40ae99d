//! An insecure connection is rejected before any key is read. The user defines which connections are secure.

use crate::support;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::ready,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, connect_info::Connected},
    routing::get,
    serve::IncomingStream,
};
use bytes::Bytes;
use http::{Request, Response, Version, request};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client as HyperClient,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use support::{KEY, SPOTS, WRONG, ask, keys, strict, value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{
    Code,
    transport::{
        Channel, Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring,
    extract::{self, Extracted, bearer, header, query},
    observe::{Decision, Observe},
    rejection::{Reason, RejectionKind},
    respond::{Json, Problem, Text},
    verify,
};

/// The mark of a secure connection in the extensions.
#[derive(Clone)]
struct ByTls;

fn guarded() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
        .require_secure(|head| head.extensions().get::<ByTls>().is_some())
}

const FORMS: [fn() -> request::Builder; 5] = [
    || Request::get("/"),
    || Request::head("/"),
    || Request::post("/").header("content-type", "application/grpc"),
    || Request::post("/").header("content-type", "application/grpc-web+proto"),
    preflight,
];

fn preflight() -> request::Builder {
    Request::options("/")
        .header("origin", "http://o")
        .header("access-control-request-method", "PUT")
}

const CASES: [&str; 7] =
    ["good", "unknown", "revoked", "expired", "malformed", "over_long", "failed"];

#[test]
fn r53_the_response_is_the_same_with_a_valid_a_wrong_and_no_key() {
    for spot in SPOTS {
        for form in FORMS {
            for layer in [
                spot.layer(strict()),
                spot.layer(strict()).respond(Problem::default()),
                spot.layer(strict()).respond(Text::default().message("mine, of the 401")),
                spot.layer(strict()).optional().pass_preflight(),
                spot.layer(strict()).retry_after(Duration::from_secs(1)),
            ] {
                let layer = layer.require_secure(|_| false);
                let missing = ask(&layer, form());
                assert_eq!(missing.reason(), Some(Reason::Insecure), "{}", spot.name);
                let mut requests: Vec<_> =
                    CASES.map(|case| (spot.put)(form(), &value(case))).into();
                requests.push((spot.put)((spot.put)(form(), KEY.as_bytes()), WRONG.as_bytes()));
                for request in requests {
                    let shown = format!("{request:?}");
                    let reply = ask(&layer, request);
                    assert_eq!(reply.wire(), missing.wire(), "{shown}");
                    let rejection = reply.rejection().unwrap();
                    assert_eq!(rejection.kind(), RejectionKind::Insecure, "{shown}");
                    // The layer has read no key, so the rejection names no location.
                    assert_eq!((rejection.location(), rejection.key_id()), (None, None), "{shown}");
                }
            }
        }
    }
}

#[test]
fn r53_the_response_is_a_403_without_challenge_and_redirect_and_is_not_cached() {
    let layer = |it: ApiKeyLayer<_, _>| it.require_secure(|_| false);
    let two_locations = || ApiKeyLayer::new((bearer(), header("x-api-key")), keys());
    let problem =
        r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"HTTPS required"}"#;
    for (layer, content_type, body) in [
        (layer(two_locations()), "application/json", r#"{"error":"HTTPS required"}"#),
        (
            layer(two_locations()).respond(Json::default().message("No")),
            "application/json",
            r#"{"error":"HTTPS required"}"#,
        ),
        (layer(two_locations()).respond(Problem::default()), "application/problem+json", problem),
        (
            layer(two_locations()).respond(Text::default()),
            "text/plain; charset=utf-8",
            "HTTPS required",
        ),
    ] {
        let reply = ask(&layer, Request::get("/").header("authorization", format!("Bearer {KEY}")));
        assert_eq!((reply.status(), reply.text()), (403, body));
        let names: BTreeSet<_> = reply.head.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["cache-control", "content-type"]));
        assert_eq!(reply.lines("content-type"), [content_type]);
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
    }
    for content_type in ["application/grpc", "application/grpc-web", "application/grpc-web-text"] {
        let call = Request::post("/").header("content-type", content_type);
        let reply = ask(&layer(two_locations()), call);
        assert_eq!((reply.status(), reply.lines("grpc-status")), (200, vec!["7"]));
        assert_eq!(reply.lines("grpc-message"), ["HTTPS required"]);
        assert!(reply.ended && reply.lines("www-authenticate").is_empty());
    }
}

#[test]
fn r53_the_connection_is_checked_before_any_key_and_after_exempt_paths() {
    let find =
        extract::from_fn(KeyLocation::header("x-api-key"), |_| -> Extracted<'_> { panic!("read") });
    let verify = verify::from_fn(|_| -> Option<Client> { panic!("asked") });
    let layer = ApiKeyLayer::new(find, verify)
        .require_secure(|head| head.uri().path() == "/secure")
        .exempt_path("/health")
        .exempt_if(|head| head.method() == "TRACE")
        .pass_preflight()
        .optional();
    for (request, outcome) in [
        (Request::get("/"), "403 insecure"),
        (Request::get("/health/"), "403 insecure"),
        (preflight(), "403 insecure"),
        (preflight().uri("/secure"), "200 -"),
        (Request::get("/health"), "200 -"),
        (Request::builder().method("TRACE"), "200 -"),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(ask(&layer, request.header("x-api-key", KEY)).outcome(), outcome, "{shown}");
    }
}

/// Headers with which a caller can claim a TLS connection.
const FORGED: [(&str, &str); 14] = [
    ("x-forwarded-proto", "https"),
    ("x-forwarded-protocol", "https"),
    ("x-forwarded-scheme", "https"),
    ("x-forwarded-ssl", "on"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-scheme", "https"),
    ("x-url-scheme", "https"),
    ("front-end-https", "on"),
    ("forwarded", "for=127.0.0.1;proto=https"),
    ("via", "HTTPS/1.1 proxy"),
    ("cloudfront-forwarded-proto", "https"),
    ("origin", "https://example.com"),
    ("upgrade-insecure-requests", "1"),
];

#[test]
fn r53_a_header_does_not_make_a_connection_secure() {
    for (name, value) in FORGED {
        let request = Request::get("https://example.com/").header("x-api-key", KEY);
        let reply = ask(&guarded(), request.header(name, value));
        assert_eq!(reply.outcome(), "403 insecure", "{name}: {value}");
    }
    let secure = Request::get("/").extension(ByTls);
    assert_eq!(ask(&guarded(), secure.header("x-api-key", KEY)).outcome(), "200 mobile-app");
}

// The documentation shows this predicate for a port behind a proxy.
#[test]
fn r53_behind_a_proxy_only_its_one_line_counts() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).require_secure(|head| {
        let mut lines = head.headers().get_all("x-forwarded-proto").iter();
        lines.next().is_some_and(|line| line == "https") && lines.next().is_none()
    });
    for (lines, outcome) in [
        (&["https"][..], "200 mobile-app"),
        (&[], "403 insecure"),
        (&["http"], "403 insecure"),
        (&[""], "403 insecure"),
        (&["https, http"], "403 insecure"),
        (&["http, https"], "403 insecure"),
        (&["https", "http"], "403 insecure"),
        (&["https", "https"], "403 insecure"),
        (&["http", "https"], "403 insecure"),
    ] {
        let request = Request::get("/").header("x-api-key", KEY);
        let request = lines.iter().fold(request, |it, line| it.header("x-forwarded-proto", *line));
        assert_eq!(ask(&layer, request).outcome(), outcome, "{lines:?}");
    }
    let other = Request::get("/").header("x-api-key", KEY).header("forwarded", "proto=https");
    assert_eq!(ask(&layer, other).outcome(), "403 insecure");
}

#[test]
fn every_predicate_must_hold_and_a_clone_is_its_own() {
    let plain = ApiKeyLayer::new(header("x-api-key"), keys());
    let one = plain.clone().require_secure(|head| head.headers().contains_key("a"));
    let both = one.clone().require_secure(|head| head.headers().contains_key("b"));
    for (names, of_plain, of_one, of_both) in [
        (&[][..], 200, 403, 403),
        (&["a"], 200, 200, 403),
        (&["b"], 200, 403, 403),
        (&["a", "b"], 200, 200, 200),
    ] {
        let request = || {
            let request = Request::get("/").header("x-api-key", KEY);
            names.iter().fold(request, |request, name| request.header(*name, ""))
        };
        let statuses = [&plain, &one, &both].map(|layer| ask(layer, request()).status());
        assert_eq!(statuses, [of_plain, of_one, of_both], "{names:?}");
    }
    assert!(format!("{plain:?}").contains("require_secure: false"));
    assert!(format!("{both:?}").contains("require_secure: true"));
}

#[test]
fn an_observer_receives_the_reason_insecure() {
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Observe for Notes {
        fn on_decision(&self, event: &Decision<'_>) {
            let (outcome, rejection) = (event.outcome().as_str(), event.rejection().unwrap());
            let words = (rejection.kind().as_str(), rejection.reason().as_str());
            assert!(event.location().is_none() && event.key_id().is_none());
            self.0.lock().unwrap().push(format!("{outcome} {words:?} {rejection}"));
        }
    }
    let notes = Notes::default();
    let layer = guarded().observe(notes.clone());
    ask(&layer, Request::get("/").header("x-api-key", KEY));
    let expected = r#"rejected ("insecure", "insecure") the connection is not secure"#;
    assert_eq!(*notes.0.lock().unwrap(), [expected]);
}

// ===== over sockets =====

/// Starts a hyper server whose connections are secure or insecure, and returns its port.
async fn port(secure: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ServiceBuilder::new()
        .map_request(move |mut request: Request<Incoming>| {
            if secure {
                request.extensions_mut().insert(ByTls);
            }
            request
        })
        .layer(
            ApiKeyLayer::new((header("x-api-key"), query("api_key")), keys())
                .require_secure(|head| head.extensions().get::<ByTls>().is_some())
                .exempt_path("/health"),
        )
        .service(service_fn(|request: Request<Incoming>| {
            let client = request.extensions().get::<Client>().map_or("anonymous", Client::id);
            ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(client.to_owned())))))
        }));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A caller can close the connection, which is no error here.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// Returns the bytes of the response without the `date` header.
async fn send(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date:"));
    lines.collect()
}

#[tokio::test]
async fn r53_over_a_socket_all_requests_get_the_same_bytes() {
    let (plain, secure) = (port(false).await, port(true).await);
    let missing = send(plain, "GET / HTTP/1.1").await;
    assert!(missing.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{missing}");
    assert!(missing.ends_with("\r\n\r\n{\"error\":\"HTTPS required\"}"), "{missing}");

    let mut heads = vec![
        (format!("GET / HTTP/1.1\r\nx-api-key: {KEY}"), "HTTP/1.1 200"),
        (format!("GET / HTTP/1.1\r\nx-api-key: {WRONG}"), "HTTP/1.1 401"),
        (format!("GET /?api_key={KEY} HTTP/1.1"), "HTTP/1.1 200"),
        (format!("GET /?api_key={KEY} HTTP/1.1\r\nx-api-key: {KEY}"), "HTTP/1.1 400"),
        // In HTTP/1 only an absolute target has a scheme.
        (format!("GET https://h/ HTTP/1.1\r\nx-api-key: {KEY}"), "HTTP/1.1 200"),
        ("GET https://h/ HTTP/1.1".to_owned(), "HTTP/1.1 401"),
    ];
    for (name, value) in FORGED {
        let head = format!("GET https://h/ HTTP/1.1\r\n{name}: {value}\r\nx-api-key: {KEY}");
        heads.push((head, "HTTP/1.1 200"));
    }
    for (head, of_secure) in heads {
        assert_eq!(send(plain, &head).await, missing, "{head}");
        assert!(send(secure, &head).await.starts_with(of_secure), "{head}");
    }

    let head = send(plain, &format!("HEAD / HTTP/1.1\r\nx-api-key: {KEY}")).await;
    assert_eq!(head, missing.strip_suffix(r#"{"error":"HTTPS required"}"#).unwrap());
    for probe in ["GET /health HTTP/1.1", "GET /health?x HTTP/1.1"] {
        assert!(send(plain, probe).await.ends_with("\r\n\r\nanonymous"), "{probe}");
    }
}

#[tokio::test]
async fn r53_the_scheme_that_a_caller_of_http_2_writes_does_not_count() {
    let (plain, secure) = (port(false).await, port(true).await);
    for (address, status) in [(plain, 403), (secure, 200)] {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut caller, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        for scheme in ["http", "https"] {
            let request = Request::get(format!("{scheme}://h/")).header("x-api-key", KEY);
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let response = caller.send_request(request).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            assert_eq!(response.status(), status, "{scheme}");
        }
    }
}

#[tokio::test]
async fn in_axum_a_listener_can_mark_secure_connections() {
    #[derive(Clone)]
    struct Peer {
        is_local: bool,
    }

    impl Connected<IncomingStream<'_, TcpListener>> for Peer {
        fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
            Self { is_local: stream.remote_addr().ip().is_loopback() }
        }
    }

    async fn who(Extension(client): Extension<Client>) -> String {
        client.id().to_owned()
    }
    for (trusts_local, status, body) in
        [(true, 200, "mobile-app"), (false, 403, r#"{"error":"HTTPS required"}"#)]
    {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys()).require_secure(move |head| {
            let peer = head.extensions().get::<ConnectInfo<Peer>>();
            peer.is_some_and(|peer| peer.0.is_local == trusts_local)
        });
        let app = Router::new().route("/", get(who)).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let caller = HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(format!("http://{address}/")).header("x-api-key", KEY);
        let response = caller.request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

#[tokio::test]
async fn r53_a_tonic_caller_gets_permission_denied_with_any_key_and_without_a_key() {
    /// A server with TLS inserts `TlsConnectInfo` in the same way.
    async fn serve(secure: bool) -> Channel {
        let (_reporter, health) = tonic_health::server::health_reporter();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let layer = ApiKeyLayer::new(bearer(), keys()).require_secure(move |head| {
            head.extensions().get::<TcpConnectInfo>().is_some() == secure
        });
        let server = Server::builder().layer(layer).add_service(health);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }
    let (plain, secure) = (serve(false).await, serve(true).await);
    for (key, of_secure) in [
        (Some(KEY), Ok(())),
        (Some(WRONG), Err(Code::Unauthenticated)),
        (None, Err(Code::Unauthenticated)),
    ] {
        let ask = |channel: &Channel| {
            let mut client = HealthClient::new(channel.clone());
            let mut request = tonic::Request::new(HealthCheckRequest::default());
            if let Some(key) = key {
                let line = format!("Bearer {key}").parse().unwrap();
                request.metadata_mut().insert("authorization", line);
            }
            async move { client.check(request).await }
        };
        let status = ask(&plain).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "HTTPS required"));
        let answer = ask(&secure).await.map(drop).map_err(|status| status.code());
        assert_eq!(answer, of_secure);
    }
}
