//! Every example runs as its users run it, on a free port, and gets requests over sockets.

#![cfg(unix)]

use crate::examples_support;

use std::net::SocketAddr;

use bytes::Bytes;
use examples_support::{
    Example, Frame, Kind, Reply, ask, grpc_call, head, read_until, run, within,
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Version, header::HeaderMap};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const KEYS: (&str, &str) = ("API_KEYS", "mobile-app=12345abcde,ci=your-secret-api-key");

/// The examples, with their environment except `ADDR`.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    ("secret-data", &[]),
    #[cfg(feature = "axum")]
    ("axum", &[KEYS]),
    #[cfg(feature = "axum")]
    ("scopes", &[]),
    #[cfg(all(feature = "axum", feature = "limit", feature = "usage"))]
    ("limits", &[]),
    ("hyper", &[KEYS]),
    ("tonic", &[KEYS]),
    ("proxy", &[KEYS, ("UPSTREAM", CLOSED)]),
    #[cfg(feature = "file")]
    ("key-file", &[("API_KEYS_FILE", KEY_FILE)]),
    #[cfg(all(feature = "metrics", feature = "tracing"))]
    ("observing", &[KEYS]),
    #[cfg(feature = "axum")]
    ("openapi", &[KEYS]),
];

/// A key file without keys.
#[cfg(feature = "file")]
const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/examples_support/none.jsonl");

/// A reserved port without a listener.
const CLOSED: &str = "127.0.0.1:1";

// All examples.

#[tokio::test]
async fn ctrl_c_ends_every_example_at_once_with_status_0() {
    for (name, environment) in EXAMPLES {
        let example = Example::start(name, environment).await;
        // An example that answers is ready for signals too.
        match *name {
            "tonic" => drop(grpc_call(example.addr, CHECK, &[], None).await),
            _ => drop(ask(example.addr, "GET /").await),
        }
        let _idle = within(TcpStream::connect(example.addr)).await.unwrap();
        let ended = example.end_with("INT").await;
        assert_eq!(ended.status.code(), Some(0), "{name}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{name}: {ended:?}");
    }
}

#[tokio::test]
async fn a_used_or_invalid_address_is_one_line_and_status_1() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (name, environment) in EXAMPLES {
        for (addr, why) in [
            (&*taken, "Address already in use"),
            ("nonsense", "invalid socket address"),
            ("127.0.0.1:http", "invalid port value"),
            ("", "invalid socket address"),
        ] {
            let error = error_line(name, &[environment, &[("ADDR", addr)][..]].concat()).await;
            let expected = format!("cannot listen on {addr:?}: {why}");
            assert!(error.starts_with(&expected), "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn without_keys_no_example_starts() {
    for (name, environment) in EXAMPLES {
        if !environment.contains(&KEYS) {
            continue;
        }
        for (list, why) in [
            (None, "not set, or not Unicode. Set it to `client=key,client=sha256:…`"),
            (Some(""), "the list has no key. It is written `client=key,client=sha256:…`"),
            (Some("mobile-app"), "entry 1: an entry is `client=key` or `client=sha256:…`"),
            (Some("mobile-app="), "entry 1: the key is empty or blank"),
        ] {
            let keys = list.map(|list| ("API_KEYS", list));
            let error = error_line(name, &keys.into_iter().collect::<Vec<_>>()).await;
            assert_eq!(error.trim_end(), format!("API_KEYS: {why}"), "{name}");
        }
    }
}

/// Runs an example that cannot start, and returns its line with the error.
async fn error_line(name: &str, environment: &[(&str, &str)]) -> String {
    let ended = run(name, environment).await;
    assert_eq!(ended.status.code(), Some(1), "{name}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{name}: {ended:?}");
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{name}: {error}");
    error
}

// The tutorial.

const WELCOME: &str = r#"{"message":"Welcome! Here is your secret data.","data":[10,20,30]}"#;
const GRANTED: &str = r#"{"message":"Access granted","data":[1,2,3]}"#;

fn json(status: u16, headers: &[&str], body: &str) -> Reply {
    reply(status, "application/json", headers, body)
}

fn text(status: u16, headers: &[&str], body: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", headers, body)
}

fn reply(status: u16, content_type: &str, headers: &[&str], body: &str) -> Reply {
    let mut headers: Vec<_> = headers.iter().map(|header| (*header).to_owned()).collect();
    headers.push(format!("content-type: {content_type}"));
    headers.push(format!("content-length: {}", body.len()));
    headers.sort_unstable();
    Reply { status, headers, body: body.to_owned() }
}

const FOR_A_HEADER: &[&str] = &["cache-control: private", "vary: x-api-key"];
const FOR_A_QUERY: &[&str] = &["cache-control: private", "referrer-policy: no-referrer"];
const NO_HEADER: &[&str] = &[
    "cache-control: no-store",
    r#"www-authenticate: ApiKey realm="api", in="header", name="x-api-key""#,
];
const NO_QUERY: &[&str] = &[
    "cache-control: no-store",
    r#"www-authenticate: ApiKey realm="api", in="query", name="api_key""#,
];

#[tokio::test]
async fn secret_data_answers_every_route_byte_for_byte() {
    let example = Example::start("secret-data", &[]).await;

    let welcome = json(200, FOR_A_HEADER, WELCOME);
    let unwelcome = json(401, NO_HEADER, r#"{"error":"Unauthorized access"}"#);
    let granted = json(200, FOR_A_HEADER, GRANTED);
    let not_granted = json(401, NO_HEADER, r#"{"error":"Unauthorized"}"#);
    let info = text(200, FOR_A_QUERY, "Info data");
    let no_info = text(401, NO_QUERY, "Unauthorized");
    for (request, expected) in [
        ("GET /secret-data\nx-api-key: 12345abcde", &welcome),
        ("GET /secret-data\nX-API-KEY:\t 12345abcde ", &welcome),
        ("GET /secret-data?api_key=x\nx-api-key: 12345abcde", &welcome),
        ("GET /secret-data", &unwelcome),
        ("GET /secret-data\nx-api-key:", &unwelcome),
        ("GET /secret-data\nx-api-key: 12345abcdf", &unwelcome),
        ("GET /secret-data\nx-api-key: 12345ABCDE", &unwelcome),
        ("GET /secret-data\nx-api-key: 12345abcd", &unwelcome),
        ("GET /secret-data\nx-api-key: 12345abcdef", &unwelcome),
        ("GET /secret-data\nx-api-key: your-secret-api-key", &unwelcome),
        ("GET /secret-data\nauthorization: Bearer 12345abcde", &unwelcome),
        ("GET /secret-data?api_key=12345abcde", &unwelcome),
        ("GET /data\nx-api-key: your-secret-api-key", &granted),
        ("GET /data", &not_granted),
        ("GET /data\nx-api-key: 12345abcde", &not_granted),
        ("GET /data?api_key=your-secret-api-key", &not_granted),
        ("GET /info?api_key=your-secret-api-key", &info),
        ("GET /info?x=%zz&api_key=your-secret-api-key&x", &info),
        ("GET /info?%61pi_key=your%2Dsecret%2dapi-ke%79", &info),
        ("GET /info", &no_info),
        ("GET /info?", &no_info),
        ("GET /info?api_key", &no_info),
        ("GET /info?api_key=", &no_info),
        ("GET /info?api_key=+%20", &no_info),
        ("GET /info?api_key=12345abcde", &no_info),
        ("GET /info?API_KEY=your-secret-api-key", &no_info),
        ("GET /info?api_key=your+secret+api+key", &no_info),
        ("GET /info?api_key=your-secret-api-key+", &no_info),
        ("GET /info?api_key=your-secret-api-key%00", &no_info),
        ("GET /info?api_key=your-secret-api-key%", &no_info),
        ("GET /info?api_key=%zz", &no_info),
        ("GET /info?api_key=your-secret-api-key;x=1", &no_info),
        ("GET /info\nx-api-key: your-secret-api-key", &no_info),
    ] {
        assert_eq!(ask(example.addr, request).await, *expected, "{request}");
    }

    let several = "More than one API key in the request";
    let no_store = &["cache-control: no-store"];
    for (request, expected) in [
        (
            "GET /data\nx-api-key: your-secret-api-key\nx-api-key: your-secret-api-key",
            json(400, no_store, &format!(r#"{{"error":"{several}"}}"#)),
        ),
        (
            "GET /info?api_key=your-secret-api-key&api_key=your-secret-api-key",
            text(400, no_store, several),
        ),
    ] {
        assert_eq!(ask(example.addr, request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn secret_data_serves_no_other_path_and_no_other_method() {
    let example = Example::start("secret-data", &[]).await;
    let key = "x-api-key: 12345abcde";
    for path in
        ["/", "/secret-data/", "/Secret-Data", "//secret-data", "/secret-data/x", "/favicon"]
    {
        for request in [format!("GET {path}"), format!("GET {path}\n{key}")] {
            let reply = ask(example.addr, &request).await;
            assert_eq!((reply.status, &*reply.body), (404, ""), "{request}");
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for request in [format!("{method} /secret-data"), format!("{method} /secret-data\n{key}")] {
            let reply = ask(example.addr, &request).await;
            assert_eq!((reply.status, &*reply.body), (405, ""), "{request}");
            assert!(reply.has("allow: GET,HEAD"), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn secret_data_answers_head_as_get_without_the_body() {
    let example = Example::start("secret-data", &[]).await;
    for request in [
        "/secret-data\nx-api-key: 12345abcde",
        "/secret-data",
        "/data\nx-api-key: your-secret-api-key",
        "/data\nx-api-key: wrong",
        "/info?api_key=your-secret-api-key",
        "/info",
    ] {
        let get = ask(example.addr, &format!("GET {request}")).await;
        let head = ask(example.addr, &format!("HEAD {request}")).await;
        assert_eq!(head, Reply { body: String::new(), ..get }, "{request}");
    }
}

#[tokio::test]
async fn secret_data_prints_commands_with_its_port() {
    let mut example = Example::start("secret-data", &[]).await;
    let here = format!("http://{}", example.addr);
    assert_eq!(example.first_line, format!("Listening on {here} until Ctrl-C. With a key:"));
    for line in [
        "",
        &format!("  curl -H 'x-api-key: 12345abcde' '{here}/secret-data'"),
        &format!("  curl -H 'x-api-key: your-secret-api-key' '{here}/data'"),
        &format!("  curl '{here}/info?api_key=your-secret-api-key'"),
        "",
        "and without:",
        "",
        &format!("  curl -i '{here}/secret-data'"),
    ] {
        assert_eq!(example.line().await, line);
    }
}

#[tokio::test]
async fn secret_data_listens_on_the_port_of_flask() {
    // The port is in use, here or by another program, so the error names it.
    let _holder = TcpListener::bind("127.0.0.1:5000").await;
    let error = error_line("secret-data", &[]).await;
    assert!(error.starts_with(r#"cannot listen on "127.0.0.1:5000": "#), "{error}");
}

#[tokio::test]
async fn secret_data_ends_cleanly_when_a_container_is_stopped() {
    let example = Example::start("secret-data", &[]).await;
    ask(example.addr, "GET /").await;
    let ended = example.end_with("TERM").await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[tokio::test]
async fn secret_data_serves_http_2() {
    let example = Example::start("secret-data", &[]).await;
    let data = format!("http://{}/data", example.addr);
    let (status, headers, body) = ask_http2(&data, &[("x-api-key", "your-secret-api-key")]).await;
    assert_eq!((status, &*body), (200, GRANTED));
    assert_eq!(headers["content-type"], "application/json");
    let (status, headers, body) = ask_http2(&data, &[]).await;
    assert_eq!((status, &*body), (401, r#"{"error":"Unauthorized"}"#));
    assert_eq!(headers["www-authenticate"], r#"ApiKey realm="api", in="header", name="x-api-key""#);
}

/// Sends a request over HTTP/2 without TLS, with prior knowledge.
async fn ask_http2(uri: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let mut client = legacy::Client::builder(TokioExecutor::new());
    let client = client.http2_only(true).build_http::<Empty<Bytes>>();
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new()).unwrap();
    let (head, body) = within(client.request(request)).await.unwrap().into_parts();
    assert_eq!(head.version, Version::HTTP_2);
    let body = within(body.collect()).await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(body.into()).unwrap())
}

// axum.

#[cfg(feature = "axum")]
#[tokio::test]
async fn axum_names_the_client() {
    let example = Example::start("axum", &[KEYS]).await;
    let challenges = [
        r#"www-authenticate: Bearer realm="api""#,
        r#"www-authenticate: ApiKey realm="api", in="header", name="x-api-key""#,
    ];
    for (request, status, body) in [
        ("GET /whoami\nx-api-key: 12345abcde", 200, "You are mobile-app.\n"),
        ("GET /whoami\nauthorization: bearer your-secret-api-key", 200, "You are ci.\n"),
        ("GET /greeting", 200, "Hello, stranger!\n"),
        ("GET /greeting\nx-api-key: your-secret-api-key", 200, "Hello, ci!\n"),
        ("GET /health", 200, "healthy\n"),
        ("GET /health\nx-api-key: wrong", 200, "healthy\n"),
    ] {
        let reply = ask(example.addr, request).await;
        assert_eq!((reply.status, &*reply.body), (status, body), "{request}");
    }
    for request in [
        "GET /whoami",
        "GET /whoami\nx-api-key: wrong",
        "GET /greeting\nx-api-key: wrong",
        "GET /nowhere",
    ] {
        let reply = ask(example.addr, request).await;
        let expected = (401, r#"{"error":"Unauthorized access"}"#);
        assert_eq!((reply.status, &*reply.body), expected, "{request}");
        assert!(challenges.iter().all(|challenge| reply.has(challenge)), "{request}: {reply:?}");
    }
    let whoami = format!("http://{}/whoami", example.addr);
    let (status, _, body) = ask_http2(&whoami, &[("x-api-key", "12345abcde")]).await;
    assert_eq!((status, &*body), (200, "You are mobile-app.\n"));
}

// Scopes.

#[cfg(feature = "axum")]
#[tokio::test]
async fn scopes_accepts_only_clients_with_the_scope() {
    let example = Example::start("scopes", &[]).await;
    for (request, body) in [
        ("GET /jobs\nx-api-key: your-secret-api-key", "your jobs\n"),
        ("GET /jobs\nauthorization: Bearer 12345abcde", "everybody's jobs\n"),
        ("POST /jobs\nx-api-key: 12345abcde", "submitted by writer\n"),
    ] {
        let reply = ask(example.addr, request).await;
        assert_eq!((reply.status, &*reply.body), (200, body), "{request}");
    }
    let no_store = "cache-control: no-store";
    let bearer = r#"www-authenticate: Bearer realm="api""#;
    let api_key = r#"www-authenticate: ApiKey realm="api", in="header", name="x-api-key""#;
    let forbidden = reply(
        403,
        "application/problem+json",
        &[no_store, &format!(r#"{bearer}, error="insufficient_scope""#)],
        r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"Forbidden"}"#,
    );
    let unauthorized = reply(
        401,
        "application/problem+json",
        &[no_store, bearer, api_key],
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}"#,
    );
    let rejected = ask(example.addr, "POST /jobs\nx-api-key: your-secret-api-key").await;
    assert_eq!(rejected, forbidden);
    for request in ["POST /jobs", "GET /jobs"] {
        assert_eq!(ask(example.addr, request).await, unauthorized);
    }
}

// limits.

#[cfg(all(feature = "axum", feature = "limit", feature = "usage"))]
#[tokio::test]
async fn limits_shows_plans_headers_and_the_usage_of_both_clients() {
    let example = Example::start("limits", &[]).await;
    let free = "x-api-key: 12345abcde";
    let (mut limited, began) = (0, std::time::Instant::now());
    // More than the three that can follow each other, however slow this machine is.
    while limited == 0 {
        let reply = ask(example.addr, &format!("GET /report\n{free}")).await;
        limited += u32::from(reply.status == 429);
        assert!(reply.status == 200 || reply.has("retry-after: 1"), "{reply:?}");
        assert!(matches!(reply.status, 200 | 429), "{reply:?}");
        assert!(began.elapsed().as_secs() < 20, "there is no limit");
        let fields = reply.headers.iter().filter(|line| line.starts_with("ratelimit"));
        assert_eq!(fields.count(), 2, "{reply:?}");
    }

    // After the seconds of `Retry-After`, as `curl --retry` waits, the request passes.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(ask(example.addr, &format!("GET /report\n{free}")).await.status, 200);

    let reply = ask(example.addr, &format!("POST /report\n{free}")).await;
    assert_eq!(reply.status, 429);
    assert!(!reply.headers.iter().any(|line| line.starts_with("retry-after")), "{reply:?}");
    let reply = ask(example.addr, "POST /report\nx-api-key: your-secret-api-key").await;
    assert_eq!((reply.status, &*reply.body), (200, "a report for partner\n"));
    let reply = ask(example.addr, &format!("GET /limits\n{free}")).await;
    assert!(reply.body.starts_with(r#"{"client":"reader","limits":[{"name":"burst","quota":60,"#));

    let operator = "x-api-key: another-key-of-yours";
    let reply = ask(example.addr, &format!("GET /usage.json\n{operator}")).await;
    assert!(
        reply.body.contains(r#"{"client":"partner","accepted":1,"limited":0}"#),
        "{}",
        reply.body
    );
    assert!(reply.body.contains(r#","limited":2}"#), "{}", reply.body);
    let reply = ask(example.addr, &format!("GET /usage\n{operator}")).await;
    assert!(reply.body.contains("<svg") && reply.body.contains("2 limited"), "{}", reply.body);
    assert_eq!(ask(example.addr, &format!("GET /usage\n{free}")).await.status, 403);
    for _ in 0..10 {
        assert_eq!(ask(example.addr, "GET /health").await.status, 200);
    }
}

// hyper.

#[tokio::test]
async fn hyper_serves_both_versions_on_one_port() {
    let example = Example::start("hyper", &[KEYS]).await;
    let reply = ask(example.addr, "GET /\nx-api-key: 12345abcde").await;
    assert_eq!((reply.status, &*reply.body), (200, "Hello, mobile-app!\n"));
    let reply = ask(example.addr, "GET /").await;
    assert_eq!(reply, json(401, NO_HEADER, r#"{"error":"Unauthorized access"}"#));

    let uri = format!("http://{}/", example.addr);
    let (status, _, body) = ask_http2(&uri, &[("x-api-key", "your-secret-api-key")]).await;
    assert_eq!((status, &*body), (200, "Hello, ci!\n"));
    let (status, headers, body) = ask_http2(&uri, &[("x-api-key", "wrong")]).await;
    assert_eq!((status, &*body), (401, r#"{"error":"Unauthorized access"}"#));
    assert_eq!(headers["cache-control"], "no-store");
}

// tonic.

const CHECK: &str = "/grpc.health.v1.Health/Check";

async fn channel(addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    within(endpoint.connect()).await.unwrap()
}

fn check_request(keys: &[&'static str]) -> tonic::Request<HealthCheckRequest> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
    for key in keys {
        request.metadata_mut().append("x-api-key", key.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_tonic_client_is_served_or_unauthenticated() {
    let example = Example::start("tonic", &[KEYS]).await;
    let mut client = HealthClient::new(channel(example.addr).await);
    let parts = |status: Status| (status.code(), status.message().to_owned());
    let unauthenticated = (Code::Unauthenticated, "Unauthorized access".to_owned());

    for key in ["12345abcde", "your-secret-api-key"] {
        let answer = within(client.check(check_request(&[key]))).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    // The rejection races with the message of the client, so the test repeats the call.
    for _ in 0..50 {
        for keys in [&[][..], &["wrong"], &[""]] {
            let rejected = within(client.check(check_request(keys))).await.unwrap_err();
            assert_eq!(parts(rejected), unauthenticated, "{keys:?}");
        }
    }
    let ambiguous = within(client.check(check_request(&["12345abcde"; 2]))).await.unwrap_err();
    assert_eq!(ambiguous.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_tonic_client_can_watch_only_with_a_key() {
    let example = Example::start("tonic", &[KEYS]).await;
    let mut client = HealthClient::new(channel(example.addr).await);
    let rejected = within(client.watch(check_request(&[]))).await.unwrap_err();
    assert_eq!(rejected.code(), Code::Unauthenticated);
    let mut stream =
        within(client.watch(check_request(&["12345abcde"]))).await.unwrap().into_inner();
    let first = within(stream.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    // An endless stream does not prevent the end of the server.
    let ended = example.end_with("INT").await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_rejected_call_is_one_headers_frame_that_ends_the_stream() {
    let example = Example::start("tonic", &[KEYS]).await;
    let rejected = [Frame { kind: Kind::HEADERS, ends_stream: true }];
    for metadata in [&[][..], &[("x-api-key", "wrong")]] {
        assert_eq!(grpc_call(example.addr, CHECK, metadata, None).await, rejected);
    }

    let good = [("x-api-key", "12345abcde")];
    let served = [(Kind::HEADERS, false), (Kind::DATA, false), (Kind::HEADERS, true)];
    let served = served.map(|(kind, ends_stream)| Frame { kind, ends_stream });
    assert_eq!(grpc_call(example.addr, CHECK, &good, Some(&[0; 5])).await, served);
}

// The proxy.

struct Proxied {
    proxy: Example,
    upstream: TcpListener,
}

impl Proxied {
    async fn start() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = upstream.local_addr().unwrap().to_string();
        let proxy = Example::start("proxy", &[KEYS, ("UPSTREAM", &addr)]).await;
        Self { proxy, upstream }
    }

    async fn call(&self, request: &str) -> TcpStream {
        let mut caller = within(TcpStream::connect(self.proxy.addr)).await.unwrap();
        within(caller.write_all(request.as_bytes())).await.unwrap();
        caller
    }

    /// Accepts the next connection of the proxy.
    async fn accept(&self) -> TcpStream {
        within(self.upstream.accept()).await.unwrap().0
    }
}

#[tokio::test]
async fn the_proxy_streams_both_ways() {
    let proxied = Proxied::start().await;
    let post = head("POST /upload\nx-api-key: 12345abcde\ntransfer-encoding: chunked");
    let mut caller = proxied.call(&post).await;
    let mut upstream = proxied.accept().await;

    // Each part is sent after the other side has received the one before.
    within(caller.write_all(b"3\r\none\r\n")).await.unwrap();
    read_until(&mut upstream, "one").await;
    within(upstream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"))
        .await
        .unwrap();
    within(upstream.write_all(b"3\r\nuno\r\n")).await.unwrap();
    let response = read_until(&mut caller, "uno").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    within(caller.write_all(b"3\r\ntwo\r\n")).await.unwrap();
    read_until(&mut upstream, "two").await;
    within(upstream.write_all(b"3\r\ndos\r\n")).await.unwrap();
    read_until(&mut caller, "dos").await;
    within(caller.write_all(b"0\r\n\r\n")).await.unwrap();
    read_until(&mut upstream, "0\r\n\r\n").await;
    within(upstream.write_all(b"0\r\n\r\n")).await.unwrap();
    read_until(&mut caller, "0\r\n\r\n").await;
}

#[tokio::test]
async fn the_proxy_forwards_no_key() {
    let proxied = Proxied::start().await;
    let here = proxied.upstream.local_addr().unwrap();
    for (request, first_line, client) in [
        (
            "GET /p;a/%7e?x=%zz&api_key=12345abcde&y=+%2b;&&z&x-api-key=",
            "GET /p;a/%7e?x=%zz&y=+%2b;&&z&x-api-key= HTTP/1.1",
            "mobile-app",
        ),
        ("GET /p?api_key=12345abcde", "GET /p HTTP/1.1", "mobile-app"),
        ("GET /p?%61pi_key=12345abcd%65&b", "GET /p?b HTTP/1.1", "mobile-app"),
        ("GET /p?\nx-api-key: 12345abcde", "GET /p? HTTP/1.1", "mobile-app"),
        ("GET /\nX-Api-Key: your-secret-api-key", "GET / HTTP/1.1", "ci"),
        ("GET /\nauthorization: Bearer your-secret-api-key", "GET / HTTP/1.1", "ci"),
        ("GET http://example.com/p?api_key=12345abcde&b", "GET /p?b HTTP/1.1", "mobile-app"),
        // The caller sends the header of the client, or makes `Connection` name it.
        ("GET /\nx-api-key: 12345abcde\nx-client-id: ci", "GET / HTTP/1.1", "mobile-app"),
        (
            "GET /\nx-api-key: 12345abcde\nx-client-id: ci\nconnection: x-client-id",
            "GET / HTTP/1.1",
            "mobile-app",
        ),
        // An upstream with CGI or WSGI would read this as the same header.
        ("GET /\nx-api-key: 12345abcde\nX_Client_Id: ci", "GET / HTTP/1.1", "mobile-app"),
    ] {
        let mut caller = proxied.call(&head(request)).await;
        let mut upstream = proxied.accept().await;
        let seen = read_until(&mut upstream, "\r\n\r\n").await;
        let (line, headers) = seen.split_once("\r\n").unwrap();
        assert_eq!(line, first_line, "{request}");
        let mut headers: Vec<_> = headers.trim_end().split("\r\n").collect();
        headers.sort_unstable();
        let expected = [format!("host: {here}"), format!("x-client-id: {client}")];
        assert_eq!(headers, expected, "{request}");

        within(upstream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"))
            .await
            .unwrap();
        let response = read_until(&mut caller, "\r\n\r\n").await;
        assert!(response.starts_with("HTTP/1.1 204 No Content\r\n"), "{response}");
    }
}

#[tokio::test]
async fn the_proxy_forwards_no_hop_by_hop_header() {
    let proxied = Proxied::start().await;
    let request = "GET /\nx-api-key: 12345abcde\nconnection: close, x-hop\nx-hop: 1\nx-end: 1\n\
                   te: trailers\nkeep-alive: 5\nproxy-connection: close\nupgrade: x\naccept: */*";
    let mut caller = proxied.call(&head(request)).await;
    let mut upstream = proxied.accept().await;
    let seen = read_until(&mut upstream, "\r\n\r\n").await;
    let mut headers: Vec<_> = seen.trim_end().split("\r\n").skip(1).collect();
    headers.sort_unstable();
    let host = format!("host: {}", proxied.upstream.local_addr().unwrap());
    assert_eq!(headers, ["accept: */*", &host, "x-client-id: mobile-app", "x-end: 1"]);

    let response =
        "HTTP/1.0 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nx-end: 1\r\n\r\n";
    within(upstream.write_all(response.as_bytes())).await.unwrap();
    within(upstream.write_all(b"to the end")).await.unwrap();
    drop(upstream);
    let mut seen = String::new();
    within(caller.read_to_string(&mut seen)).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-end: 1\r\n") && seen.contains("to the end"), "{seen}");
    assert!(!seen.contains("x-hop") && !seen.contains("keep-alive"), "{seen}");
}

#[tokio::test]
async fn the_proxy_rejects_a_request_without_calling_its_upstream() {
    let proxied = Proxied::start().await;
    for request in ["GET /", "GET /\nx-api-key: wrong", "POST /\ncontent-length: 0"] {
        let reply = ask(proxied.proxy.addr, request).await;
        let expected = (401, r#"{"error":"Unauthorized access"}"#);
        assert_eq!((reply.status, &*reply.body), expected, "{request}");
    }
    // The proxy opens no tunnel, also with a key.
    let connect = ask(proxied.proxy.addr, "CONNECT example.com:443\nx-api-key: 12345abcde").await;
    assert_eq!((connect.status, &*connect.body), (502, "Bad gateway\n"));

    let _caller = proxied.call(&head("GET /mine\nx-api-key: 12345abcde")).await;
    let seen = read_until(&mut proxied.accept().await, "\r\n\r\n").await;
    assert!(seen.starts_with("GET /mine "), "{seen}");
}

#[tokio::test]
async fn the_proxy_forwards_http_2_to_an_http_1_upstream() {
    let proxied = Proxied::start().await;
    let uri = format!("http://{}/p?api_key=12345abcde&page=2", proxied.proxy.addr);
    let (reply, ()) = tokio::join!(ask_http2(&uri, &[]), async {
        let mut upstream = proxied.accept().await;
        let seen = read_until(&mut upstream, "\r\n\r\n").await;
        assert!(seen.starts_with("GET /p?page=2 HTTP/1.1\r\n"), "{seen}");
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere";
        within(upstream.write_all(response)).await.unwrap();
    });
    let (status, headers, body) = reply;
    assert_eq!((status, &*body), (200, "here"));
    assert_eq!(headers["referrer-policy"], "no-referrer");
}

#[tokio::test]
async fn the_proxy_answers_502_when_the_upstream_is_down() {
    let example = Example::start("proxy", &[KEYS, ("UPSTREAM", CLOSED)]).await;
    let reply = ask(example.addr, "GET /?api_key=12345abcde").await;
    assert_eq!((reply.status, &*reply.body), (502, "Bad gateway\n"));
    assert_eq!(ask(example.addr, "GET /").await.status, 401);
    let log = String::from_utf8(example.end_with("INT").await.stderr).unwrap();
    assert!(log.contains("Connection refused") && !log.contains("12345abcde"), "{log}");
}

#[tokio::test]
async fn the_proxy_requires_a_valid_upstream() {
    for upstream in [None, Some(""), Some("http://127.0.0.1:8000"), Some("127.0.0.1:8000/path")] {
        let upstream = upstream.map(|upstream| ("UPSTREAM", upstream));
        let environment: Vec<_> = upstream.into_iter().chain([KEYS]).collect();
        let error = error_line("proxy", &environment).await;
        assert!(error.contains("as in UPSTREAM=127.0.0.1:8000"), "{error}");
    }
}

// Key files.

#[cfg(feature = "file")]
#[tokio::test]
async fn key_file_follows_its_file_and_rejects_no_valid_request() {
    use std::time::{Duration, Instant};
    use tower_api_key::{Client, key::KeyFormat, key_file::KeyFile};

    // The test reads the lines of the log later. This pause keeps them from filling the pipe.
    const PAUSE: Duration = Duration::from_millis(20);
    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    let path = std::env::temp_dir().join(format!("key-file-{}.jsonl", std::process::id()));
    let keys = KeyFile::options().create(true).follow(false).open(&path).unwrap();
    let format = KeyFormat::new("sk_live").unwrap();
    let first = keys.issue(&format, Client::new("mobile-app")).unwrap();
    let first_id = first.id().to_owned();
    let first = first.reveal(str::to_owned);

    let variable = ("API_KEYS_FILE", path.to_str().unwrap());
    let mut example = Example::start("key-file", &[variable]).await;
    let addr = example.addr;
    let whoami = async |key: &str| {
        let reply = ask(addr, &format!("GET /whoami\nx-api-key: {key}")).await;
        (reply.status, reply.body)
    };
    let by = |id: &str| (200, format!("You are mobile-app, by the key {id}.\n"));
    assert_eq!(whoami(&first).await, by(&first_id));
    assert_eq!(example.line().await, format!("mobile-app {first_id} accepted"));

    let second = keys.rotate(&first_id, WEEK).unwrap();
    let second_id = second.id().to_owned();
    let second = second.reveal(str::to_owned);
    let started = Instant::now();
    while whoami(&second).await != by(&second_id) {
        assert_eq!(whoami(&first).await, by(&first_id));
        assert!(started.elapsed() < Duration::from_secs(10), "the new key is not accepted");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(whoami(&first).await, by(&first_id));

    assert!(keys.revoke_key(&first_id).unwrap());
    let started = Instant::now();
    while whoami(&first).await.0 != 401 {
        assert_eq!(whoami(&second).await, by(&second_id));
        assert!(started.elapsed() < Duration::from_secs(10), "the old key is still accepted");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(whoami(&second).await, by(&second_id));
    while example.line().await != format!("- {first_id} revoked") {}

    for path in [path.clone(), path.with_extension("jsonl.lock")] {
        std::fs::remove_file(path).unwrap();
    }
}

// Logs and metrics.

#[cfg(all(feature = "metrics", feature = "tracing"))]
#[tokio::test]
async fn observing_counts_exactly_and_its_log_names_the_client() {
    let mut example = Example::start("observing", &[KEYS]).await;
    let addr = example.addr;
    for (times, request, status) in [
        (3, "GET /reports\nx-api-key: 12345abcde", 200),
        (2, "GET /reports\nauthorization: Bearer your-secret-api-key", 200),
        (1, "GET /nowhere\nx-api-key: 12345abcde", 404),
        (4, "GET /reports\nx-api-key: wrong", 401),
        (5, "GET /reports", 401),
        (1, "GET /reports\nx-api-key: 12345abcde\nauthorization: Bearer wrong", 400),
        // These requests need no key.
        (2, "GET /metrics", 200),
    ] {
        for _ in 0..times {
            assert_eq!(ask(addr, request).await.status, status, "{request}");
        }
    }

    let scraped = ask(addr, "GET /metrics").await.body;
    // The ids of keys differ at every start, so the test removes them.
    let mut series: Vec<_> = scraped
        .lines()
        .filter(|line| line.starts_with("api_key_requests_total"))
        .map(|line| match line.split_once(r#",key_id=""#) {
            Some((before, id)) => format!("{before}{}", &id[id.find('"').unwrap() + 1..]),
            None => line.to_owned(),
        })
        .collect();
    series.sort_unstable();
    let expected = [
        r#"{outcome="accepted",location="header x-api-key",client="mobile-app"} 4"#,
        r#"{outcome="accepted",location="scheme Bearer",client="ci"} 2"#,
        r#"{outcome="rejected",reason="ambiguous"} 1"#,
        r#"{outcome="rejected",reason="missing"} 5"#,
        r#"{outcome="rejected",reason="unknown",location="header x-api-key"} 4"#,
    ];
    assert_eq!(series, expected.map(|series| format!("api_key_requests_total{series}")));
    assert_eq!(scraped.matches(r#",key_id=""#).count(), 2, "{scraped}");
    assert!(scraped.contains("# TYPE api_key_requests_total counter"), "{scraped}");

    let first = example.line().await;
    for part in ["DEBUG", r#"api_key.client.id="mobile-app""#, "tower_api_key: request accepted"] {
        assert!(first.contains(part), "{first}");
    }
    let answered = example.line().await;
    for part in [r#"api_key.client.id="mobile-app""#, "finished processing", "status=200"] {
        assert!(answered.contains(part), "{answered}");
    }
    // The log has two lines for each of six accepted requests, and then the first rejection.
    for _ in 0..10 {
        example.line().await;
    }
    let rejected = example.line().await;
    let parts =
        ["INFO", "request rejected", r#"api_key.reason="unknown""#, r#"url.path="/reports""#];
    assert!(parts.iter().all(|part| rejected.contains(part)), "{rejected}");
}

// OpenAPI.

#[cfg(feature = "axum")]
#[tokio::test]
async fn openapi_describes_the_locations_and_serves_swagger_ui() {
    use serde_json::{Value, json};

    let example = Example::start("openapi", &[KEYS]).await;
    let reply = ask(example.addr, "GET /openapi.json").await;
    assert!(reply.status == 200 && reply.has("content-type: application/json"), "{reply:?}");
    let api: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        api["components"]["securitySchemes"],
        json!({
            "header.x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            "scheme.Bearer": { "type": "http", "scheme": "bearer" },
            "query.api_key": { "type": "apiKey", "in": "query", "name": "api_key" },
        })
    );
    let any_of =
        json!([{ "header.x-api-key": [] }, { "scheme.Bearer": [] }, { "query.api_key": [] }]);
    assert_eq!(api["security"], any_of);
    assert!(api["paths"]["/whoami"]["get"]["responses"]["401"].is_object(), "{api}");

    for (path, content_type, part) in [
        ("/docs/", "text/html", r#"<div id="swagger-ui">"#),
        ("/docs/swagger-initializer.js", "text/javascript", r#""url": "/openapi.json""#),
        ("/docs/swagger-initializer.js", "text/javascript", r#""validatorUrl": "none""#),
        ("/docs/swagger-ui-bundle.js", "text/javascript", "SwaggerUIBundle"),
        ("/docs/swagger-ui.css", "text/css", ".swagger-ui"),
    ] {
        let reply = ask(example.addr, &format!("GET {path}")).await;
        assert!(
            reply.status == 200 && reply.has(&format!("content-type: {content_type}")),
            "{path}"
        );
        assert!(reply.body.contains(part), "{path}");
    }

    // These are the requests of "Authorize" for each scheme, and one without a key.
    for (request, status, body) in [
        ("GET /whoami\nx-api-key: 12345abcde", 200, "You are mobile-app.\n"),
        ("GET /whoami\nauthorization: Bearer your-secret-api-key", 200, "You are ci.\n"),
        ("GET /whoami?api_key=12345abcde", 200, "You are mobile-app.\n"),
        ("GET /whoami", 401, r#"{"error":"Unauthorized access"}"#),
    ] {
        let reply = ask(example.addr, request).await;
        assert_eq!((reply.status, &*reply.body), (status, body), "{request}");
    }
}
