//! No log line at level TRACE and no response of a real server contains a key or a digest.

#![cfg(feature = "axum")]

use crate::support;

use std::{fmt::Write as _, net::SocketAddr, sync::mpsc, thread};

use axum::{
    Router,
    extract::{OriginalUri, Request},
    routing::any,
};
use http::{
    Version,
    header::{AUTHORIZATION, COOKIE},
    request,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::Client as HyperClient,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use support::{
    log::{Log, Logging},
    traces::{CANARY, SECOND, Traces},
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::oneshot,
};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::{bearer, cookie, first_of, header, query, scheme},
    respond::Problem,
    verify::{self, PresentedKey, Verify},
};
use tower_http::trace::{
    DefaultMakeSpan, DefaultOnBodyChunk, DefaultOnEos, DefaultOnRequest, DefaultOnResponse,
    TraceLayer,
};
use tracing::Level;

/// A handler that logs and returns all that it received.
async fn print_all(original: OriginalUri, client: Option<Client>, request: Request) -> String {
    tracing::trace!(?original, ?client, ?request, "handled");
    format!("{original:?} {client:?} {request:?}")
}

/// Returns routes without the layer, with all details of tower-http's tracing.
fn unguarded() -> Router {
    let trace = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::TRACE).include_headers(true))
        .on_request(DefaultOnRequest::new().level(Level::TRACE))
        .on_response(DefaultOnResponse::new().level(Level::TRACE).include_headers(true))
        .on_body_chunk(DefaultOnBodyChunk::new())
        .on_eos(DefaultOnEos::new().level(Level::TRACE));
    Router::new().route("/p", any(print_all)).route("/open", any(print_all)).layer(trace)
}

fn guarded() -> Router {
    let keys = Keyring::new();
    keys.insert(CANARY, Client::new("mobile-app").with_scopes(["a"])).unwrap();
    keys.insert_digest(KeyDigest::of(SECOND), Client::new("former")).unwrap();
    keys.revoke_client("former");
    let slow = verify::from_async_fn(|digest| async move {
        tracing::debug!(?digest, "asked");
        tokio::task::yield_now().await;
        if digest == KeyDigest::of(&CANARY[1..]) { Err("down") } else { Ok(None::<Client>) }
    });
    let ready = verify::from_fn(|key: &PresentedKey<'_>| {
        tracing::debug!(?key, digest = ?key.digest(), head = ?key.head(), "asked");
        None::<Client>
    });
    let locations =
        first_of((header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token")));
    let layer = ApiKeyLayer::new(locations, ready.or(keys).or(slow))
        .exempt_path("/open")
        .pass_preflight()
        .observe(Logging);
    Router::new()
        .nest("/api", unguarded().layer(layer.clone()))
        .nest("/maybe", unguarded().layer(layer.respond(Problem::default()).optional()))
}

/// Returns requests with valid and wrong keys, in all locations and in each, on every path through the layer.
fn requests() -> Vec<request::Builder> {
    let get = |path: &str| Request::get(path);
    let full = |request: request::Builder| {
        request
            .header("x-api-key", CANARY)
            .header(COOKIE, format!("a=1; sid={CANARY}"))
            .header(AUTHORIZATION, format!("Bearer {CANARY}"))
            .header(AUTHORIZATION, format!("Token {SECOND}"))
    };
    let in_query = format!("/api/p?api_key={CANARY}&page=2");
    vec![
        full(get(&in_query)),
        full(Request::post(&in_query)),
        get(&in_query),
        get("/api/p").header("x-api-key", CANARY),
        get("/api/p").header(COOKIE, format!("sid={CANARY}")),
        get("/api/p").header(AUTHORIZATION, format!("bearer {CANARY}")),
        get("/api/p").header("x-api-key", SECOND),
        get("/api/p").header("x-api-key", &CANARY[1..]),
        get("/api/p").header("x-api-key", &SECOND[1..]),
        get("/api/p").header("x-api-key", CANARY.repeat(50)),
        get("/api/p").header(AUTHORIZATION, format!("Bearer {CANARY} {SECOND}")),
        get(&format!("/api/p?api_key={CANARY}&api_key={SECOND}")),
        get(&format!("/api/p?api_key={CANARY}%00")),
        get(&format!("/api/nowhere?api_key={CANARY}")),
        get("/api/p"),
        Request::post("/api/p")
            .header("content-type", "application/grpc")
            .header("x-api-key", &SECOND[1..]),
        full(get(&format!("/api/open?api_key={CANARY}"))),
        full(Request::options(&in_query))
            .header("origin", "http://o")
            .header("access-control-request-method", "PUT"),
        get("/maybe/p?api_key="),
        get(&format!("/maybe/p?api_key={CANARY}")),
        get(&format!("/maybe/p?api_key={SECOND}")),
    ]
}

/// Serves the requests over HTTP/1.1 and HTTP/2, and returns the log and the responses.
fn run(app: Router) -> (String, Vec<(u16, String)>) {
    let log = Log::default();
    let subscriber = log.subscriber();
    let (send_address, address) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    // The subscriber applies to the thread of the server, so the log has no lines of the caller.
    let server = thread::spawn(move || {
        let run = || runtime().block_on(serve(app, send_address, stopped));
        tracing::subscriber::with_default(subscriber, run);
    });
    let address = address.recv().unwrap();
    let answers = runtime().block_on(async {
        let mut answers = Vec::new();
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for request in requests() {
                answers.push(respond(address, version, request).await);
            }
        }
        answers
    });
    drop(stop);
    server.join().unwrap();
    (log.text(), answers)
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn serve(app: Router, address: mpsc::Sender<SocketAddr>, mut stopped: oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    address.send(listener.local_addr().unwrap()).unwrap();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => return,
        };
        let (stream, _) = accepted.unwrap();
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Sends a request, and returns the status and the text of the response.
async fn respond(
    address: SocketAddr,
    version: Version,
    request: request::Builder,
) -> (u16, String) {
    let client = HyperClient::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .build_http::<Full<Bytes>>();
    let target = format!("http://{address}{}", request.uri_ref().unwrap());
    let request = request.uri(target).version(version).body(Full::from("a body")).unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut text = format!("{:?} {}\n", head.version, head.status);
    for (name, value) in &head.headers {
        writeln!(text, "{name}: {}", value.as_bytes().escape_ascii()).unwrap();
    }
    write!(text, "\n{}", String::from_utf8_lossy(&body)).unwrap();
    (head.status.as_u16(), text)
}

#[test]
fn r26_no_log_line_and_no_response_of_a_server_holds_a_key_or_a_digest() {
    let traces = Traces::new();
    let (log, answers) = run(guarded());
    for (_, text) in &answers {
        traces.are_not_in(text);
    }
    for line in log.lines() {
        traces.are_not_in(line);
    }

    // Every path was used, and both protocols behave alike.
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    let (over_http_1, over_http_2) = statuses.split_at(statuses.len() / 2);
    assert_eq!(over_http_1, over_http_2);
    assert_eq!(
        over_http_1,
        [
            200, 200, 200, 200, 200, 200, 401, 503, 401, 401, 401, 400, 401, 404, 401, 200, 200,
            200, 200, 200, 401
        ]
    );
    // The log has lines of the protocol, the inner services and the observer.
    for part in [
        "h2::",
        "tower_http::trace",
        "finished processing request",
        "handled",
        "asked",
        "decided",
        "mobile-app",
        "Sensitive",
        "page=2",
        "down",
        "revoked",
    ] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
}

#[test]
fn without_the_layer_the_same_run_shows_keys() {
    let app = Router::new().nest("/api", unguarded()).nest("/maybe", unguarded());
    let traces = Traces::new();
    let (log, answers) = run(app);
    assert!(log.lines().filter(|line| traces.find(line).is_some()).count() > 30, "{log}");
    assert!(answers.iter().filter(|(_, text)| traces.find(text).is_some()).count() > 20);
}
