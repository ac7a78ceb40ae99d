//! The id of the client in a header of the request. A caller cannot forge this header.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    panic::catch_unwind,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::Request as AxumRequest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy, rt::TokioExecutor};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, Keyring, SetClientHeaderLayer,
    error::{ConfigError, ConfigErrorKind},
    extract::header,
    set_client_header::SetClientHeaderService,
};

const KEY: &str = "key-of-the-mobile-app-0123456789";

fn headers() -> SetClientHeaderLayer {
    SetClientHeaderLayer::new("X-Client-Id").scopes("x-client-scopes")
}

/// Returns the headers that the inner service receives.
fn seen<C, C2>(layer: &SetClientHeaderLayer<C>, client: Option<C2>, sent: HeaderMap) -> HeaderMap
where
    C: Identity + Clone + Send + Sync + 'static,
    C2: Clone + Send + Sync + 'static,
{
    let mut seen = HeaderMap::new();
    let mut request = Request::new(());
    *request.headers_mut() = sent;
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let inner = service_fn(|request: Request<()>| {
        seen = request.headers().clone();
        ready(Ok::<_, Infallible>(()))
    });
    drop(layer.layer(inner).call(request));
    seen
}

/// Returns the two headers that the inner service receives for a client.
fn client_headers<C: Identity + Clone + Send + Sync + 'static>(
    layer: &SetClientHeaderLayer<C>,
    client: C,
) -> (String, Option<String>) {
    let seen = seen(layer, Some(client), HeaderMap::new());
    let text = |name| seen.get(name).map(|line| line.to_str().unwrap().to_owned());
    (text("x-client-id").unwrap(), text("x-client-scopes"))
}

// ===== values =====

#[test]
fn the_headers_have_the_id_and_the_scopes() {
    let client = Client::new("mobile-app").with_scopes(["jobs:read", "jobs:write"]);
    let scopes = Some("jobs:read jobs:write".to_owned());
    assert_eq!(client_headers(&headers(), client.clone()), ("mobile-app".to_owned(), scopes));
    // Scopes are sent only if configured, and only if the client has scopes.
    let id_alone = SetClientHeaderLayer::new("x-client-id");
    assert_eq!(client_headers(&id_alone, client), ("mobile-app".to_owned(), None));
    assert_eq!(client_headers(&headers(), Client::new("ci")), ("ci".to_owned(), None));
}

#[test]
fn an_invalid_scope_is_left_out() {
    let client =
        Client::new("ci").with_scopes(["read", "jobs admin", "", "a\"b", "caf\u{e9}", "write"]);
    assert_eq!(client_headers(&headers(), client).1.unwrap(), "read write");
}

#[test]
fn an_id_that_cannot_stand_in_a_header_is_percent_encoded() {
    for (id, value) in [
        ("mobile-app", "mobile-app"),
        ("!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ("100%", "100%25"),
        ("a%20b", "a%2520b"),
        ("a b", "a%20b"),
        (" a ", "%20a%20"),
        ("caf\u{e9}", "caf%C3%A9"),
        ("a\r\nx-admin: yes", "a%0D%0Ax-admin:%20yes"),
        ("\0\t\u{7f}", "%00%09%7F"),
        ("\u{1f512}", "%F0%9F%94%92"),
        ("", ""),
    ] {
        assert_eq!(client_headers(&headers(), Client::new(id)).0, value, "{id:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_id_comes_back_by_percent_decoding(id in any::<String>()) {
        let (value, _) = client_headers(&headers(), Client::new(id.clone()));
        prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()));
        let decoded = percent_decode(&value);
        prop_assert_eq!(decoded, id.into_bytes());
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::new();
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(*first);
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            *decoded.last_mut().unwrap() = u8::from_str_radix(digits, 16).unwrap();
            rest = &after[2..];
        }
    }
    decoded
}

#[test]
fn a_custom_client_type_is_forwarded_alike() {
    #[derive(Clone)]
    struct Tenant(Vec<String>);
    impl Identity for Tenant {
        fn id(&self) -> &str {
            "acme"
        }

        fn scopes(&self) -> Vec<&str> {
            self.0.iter().map(String::as_str).collect()
        }
    }
    let layer = headers().client_type::<Tenant>();
    let scopes = Some("a b".to_owned());
    assert_eq!(
        client_headers(&layer, Tenant(vec!["a".into(), "b".into()])),
        ("acme".to_owned(), scopes)
    );
    // The layer ignores a client of another type.
    assert!(seen(&layer, Some(Client::new("ci")), HeaderMap::new()).is_empty());
    assert!(seen(&headers(), Some(Tenant(vec![])), HeaderMap::new()).is_empty());
}

#[test]
fn a_request_with_the_maximum_of_headers_causes_no_panic_and_no_forged_client() {
    let mut sent = HeaderMap::new();
    for number in 0.. {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if sent.try_insert(name, HeaderValue::from_static("x")).is_err() {
            break;
        }
    }
    let full = sent.len();
    let seen_by = seen(&headers(), Some(Client::new("ci")), sent.clone());
    assert_eq!((seen_by.len(), seen_by.get("x-client-id")), (full, None));
    // The layer replaces a header of the caller, so the map does not grow.
    sent.remove("x-0").unwrap();
    sent.insert("x_client_id", HeaderValue::from_static("admin"));
    let seen_by = seen(&headers(), Some(Client::new("ci")), sent);
    assert_eq!((seen_by["x-client-id"].as_bytes(), seen_by.get("x_client_id")), (&b"ci"[..], None));
}

// ===== names =====

#[test]
fn an_invalid_name_is_an_error_at_start_up() {
    fn kind(made: Result<SetClientHeaderLayer, ConfigError>) -> ConfigErrorKind {
        made.unwrap_err().kind()
    }
    let scopes = |name| SetClientHeaderLayer::new("x-client-id").try_scopes(name);
    for name in ["", " ", "with blank", "with:colon", "with\nbreak", "caf\u{e9}"] {
        assert_eq!(kind(SetClientHeaderLayer::try_new(name)), ConfigErrorKind::HeaderName);
        assert_eq!(kind(scopes(name)), ConfigErrorKind::HeaderName);
    }
    for name in [
        "Authorization",
        "cookie",
        "Host",
        "content-length",
        "content_length",
        "Transfer-Encoding",
        "connection",
        "te",
        "Proxy-Authorization",
        "proxy_authorization",
        "set-cookie",
        "keep-alive",
        "content-type",
    ] {
        assert_eq!(kind(SetClientHeaderLayer::try_new(name)), ConfigErrorKind::TakenHeader);
        assert_eq!(kind(scopes(name)), ConfigErrorKind::TakenHeader);
    }
    for name in ["x-client-id", "X-CLIENT-ID", "x_client_id", "x.client-id"] {
        assert_eq!(kind(scopes(name)), ConfigErrorKind::DuplicateHeader);
    }
    assert!(scopes("x-client-ids").is_ok() && scopes("xclientid").is_ok());
    assert!(catch_unwind(|| SetClientHeaderLayer::new("with blank")).is_err());
    assert!(catch_unwind(|| headers().scopes("x_client_id")).is_err());
}

#[test]
fn layer_and_service_have_the_usual_traits() {
    fn is_fine<T: std::fmt::Debug + Clone + Send + Sync + Unpin + 'static>(_: &T) {}
    is_fine(&headers());
    let mut service: SetClientHeaderService<fn()> = headers().layer((|| ()) as fn());
    is_fine(&service);
    assert!(format!("{:?} {service:?}", headers()).contains("x-client-scopes"));
    let _: (&fn(), fn()) = (service.get_ref(), service.clone().into_inner());
    let _: &mut fn() = service.get_mut();
}

#[tokio::test]
async fn readiness_response_and_error_of_the_inner_service_are_passed_on() {
    struct Inner(bool);
    impl Service<Request<()>> for Inner {
        type Response = u8;
        type Error = &'static str;
        type Future = Ready<Result<u8, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(self.0, "called without having been made ready");
            ready(Err("its own"))
        }
    }
    // The inner service need not be `Clone`, and its response can have any type.
    let answer = tower::ServiceExt::oneshot(headers().layer(Inner(false)), Request::new(()));
    assert_eq!(answer.await, Err("its own"));
}

// ===== over sockets =====

/// Returns the headers of the request, sorted, one per line.
async fn echo(request: AxumRequest) -> String {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}\n", value.as_bytes().escape_ascii())
    };
    let mut lines: Vec<_> = request.headers().iter().map(line).collect();
    lines.sort_unstable();
    lines.concat()
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Sends raw HTTP/1.1, and returns the headers that the handler receives, except the common ones.
async fn ask(addr: SocketAddr, first_line: &str, headers: &[&str]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request =
        format!("{first_line} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    timeout(Duration::from_secs(30), read).await.unwrap().unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let seen = response.split_once("\r\n\r\n").unwrap().1;
    seen.replace("connection: close\n", "").replace("host: example.com\n", "")
}

const SPOOFED: &[&[&str]] = &[
    &[],
    &["x-client-id: admin"],
    &["X-CLIENT-ID: admin", "x-Client-Scopes: admin"],
    &["x-client-id: admin", "x-client-id: mobile-app", "x-client-id:"],
    // CGI and others read these names as the same header.
    &["x_client_id: admin", "X_Client-Id: admin", "X-CLIENT_SCOPES: admin"],
    &["x.client.id: admin", "x-client~id: admin", "x-client.scopes: admin"],
    // `Connection` must not remove the header of the layer.
    &["connection: x-client-id"],
    &["Connection: X-Client-Id,x_client_scopes", "connection: x-client-scopes"],
    &["connection: ,x-client-id ,\tx-client-id\t,", "x-client-id: admin"],
];

/// Checks that the header has the verified client, and is missing without one.
async fn assert_not_forged(addr: SocketAddr, first_line: &str, headers: &[&str], expected: &str) {
    for spoofed in SPOOFED {
        for headers in [[headers, spoofed].concat(), [spoofed, headers].concat()] {
            let seen = ask(addr, first_line, &headers).await;
            let ours = |line: &&str| !line.starts_with("connection: ");
            let lines: String = seen.lines().filter(ours).map(|line| format!("{line}\n")).collect();
            assert_eq!(lines, expected, "{first_line} {headers:?}");
            for (at, _) in seen.match_indices("connection: ") {
                let options = seen[at..].lines().next().unwrap();
                assert!(!options.contains("client"), "{first_line} {headers:?}: {seen}");
            }
        }
    }
}

#[tokio::test]
async fn a_caller_cannot_forge_the_header_on_any_path_through_the_layer() {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("mobile-app").with_scopes(["read", "write"])).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys)
        .exempt_path("/health")
        .exempt_if(|head| head.uri().path() == "/version")
        .pass_preflight();
    let app = || Router::new().fallback(echo).layer(headers());
    let strict = serve(app().layer(layer.clone())).await;
    let optional = serve(app().layer(layer.clone().optional())).await;
    let none = serve(app()).await;
    let forwarding = serve(app().layer(layer.forward_key())).await;

    let key = format!("x-api-key: {KEY}");
    let named = "x-client-id: mobile-app\nx-client-scopes: read write\n";
    assert_not_forged(strict, "GET /", &[&key], named).await;
    assert_not_forged(optional, "POST /", &[&key], named).await;
    assert_not_forged(forwarding, "GET /", &[&key], &format!("{key}\n{named}")).await;

    assert_not_forged(optional, "GET /", &[], "").await;
    assert_not_forged(strict, "GET /health", &[], "").await;
    assert_not_forged(strict, "GET /health", &[&key], "").await;
    assert_not_forged(strict, "GET /version", &[], "").await;
    assert_not_forged(none, "GET /", &[], "").await;
    let preflight = ["access-control-request-method: GET", "origin: https://a.example"];
    let through = preflight.map(|line| format!("{line}\n")).concat();
    assert_not_forged(strict, "OPTIONS /", &preflight, &through).await;
}

#[tokio::test]
async fn all_other_headers_of_a_caller_stay() {
    let addr = serve(Router::new().fallback(echo).layer(headers())).await;
    let sent =
        ["x-client: a", "x-client-id2: b", "x-xclient-id: c", "xclientid: d", "x-client-id-: e"];
    let through = sent.map(|line| format!("{line}\n"));
    let mut through = through.to_vec();
    through.sort_unstable();
    assert_eq!(ask(addr, "GET /", &sent).await, through.concat());
    let options = "connection: x-client-id, keep-alive ,x-hop,, x-client-scopes";
    let seen = ask(addr, "GET /", &[options, "connection: X-Other"]).await;
    assert_eq!(seen, "connection: X-Other\nconnection: keep-alive, x-hop, \n");
}

/// Sends a request with these trailers through a proxy, and returns the bytes that its upstream receives.
async fn forwarded(trailer: &[&str], trailers: &[&str]) -> String {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = upstream.local_addr().unwrap();
    let forward = move |mut request: AxumRequest| async move {
        *request.uri_mut() = format!("http://{to}/").parse().unwrap();
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let answer: Response<_> = client.request(request).await.unwrap();
        answer.status()
    };
    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single(KEY).unwrap());
    let addr = serve(Router::new().fallback(forward).layer(headers()).layer(layer)).await;

    let lines = |lines: &[&str]| lines.iter().map(|it| format!("{it}\r\n")).collect::<String>();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: example.com\r\nx-api-key: {KEY}\r\nTE: trailers\r\n{}\
         Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{}\r\n",
        lines(trailer),
        lines(trailers),
    );
    let mut caller = TcpStream::connect(addr).await.unwrap();
    caller.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) =
        timeout(Duration::from_secs(30), upstream.accept()).await.unwrap().unwrap();
    let mut sent = String::new();
    while !(sent.contains("\r\n0\r\n") && sent.ends_with("\r\n\r\n")) {
        let mut some = [0; 4096];
        let read = timeout(Duration::from_secs(30), stream.read(&mut some)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{sent}");
        sent.push_str(std::str::from_utf8(&some[..read]).unwrap());
    }
    sent
}

#[tokio::test]
async fn a_proxy_does_not_forward_a_forged_trailer() {
    let trailers = ["x-client-id: admin", "X_Client_Scopes: admin", "x-checksum: 1"];
    for trailer in [
        &["Trailer: X-Client-Id, x-checksum ,x_client_scopes"][..],
        &["trailer: x-client-id", "trailer: x-checksum", "trailer: x_client_scopes,x-client-id"],
    ] {
        let sent = forwarded(trailer, &trailers).await;
        assert!(sent.contains("\r\nx-client-id: default\r\n"), "{sent}");
        assert!(!sent.contains("admin"), "{sent}");
        // Other announced trailers arrive.
        assert!(sent.ends_with("\r\nbody\r\n0\r\nx-checksum: 1\r\n\r\n"), "{sent}");
    }
    let sent = forwarded(&["trailer: x-client-id"], &trailers).await;
    assert!(sent.ends_with("\r\nbody\r\n0\r\n\r\n"), "{sent}");
}

#[tokio::test]
async fn a_caller_cannot_forge_the_header_by_http_2() {
    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single(KEY).unwrap());
    let addr = serve(Router::new().fallback(echo).layer(headers()).layer(layer)).await;
    let mut client = legacy::Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build_http::<Empty<Bytes>>();
    let request = Request::get(format!("http://{addr}/"))
        .header("x-api-key", KEY)
        .header("x-client-id", "admin")
        .header("x_client_id", "admin")
        .header("x-client-scopes", "admin");
    let response: Response<_> = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
    let seen = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(seen, "x-client-id: default\n");
}
