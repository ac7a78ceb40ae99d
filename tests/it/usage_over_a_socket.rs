//! Known traffic over a real socket: `Metrics`, `Usage`, the file and the command have the same counts.

#![cfg(all(unix, feature = "metrics", feature = "usage"))]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    task::{Context, Poll},
};

use axum::{Router, body::Body, response::Response, routing::get};
use http::Request;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::{net::TcpListener, runtime};
use tower::Service;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring, Rejection, RequireScopeLayer,
    extract::{RequestHead, header},
    observe::Metrics,
    record::Record,
    rejection::Reason,
    respond,
    usage::{Counts, JsonLines, Usage, UsageRow},
};

use crate::examples_support::ask;

/// A limit without room: it rejects every request.
#[derive(Clone)]
struct Limited;

impl Service<Request<Body>> for Limited {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rejection = Rejection::new(Reason::Limited);
        ready(Ok(respond::reject(RequestHead::of(&request), rejection).map(Body::from)))
    }
}

/// The key, the id and the client of each record. The last key is revoked.
const KEYS: [(&str, &str, &str); 4] = [
    ("key-of-the-mobile-app-old", "OldKey01", "mobile-app"),
    ("key-of-the-mobile-app-new", "NewKey02", "mobile-app"),
    ("key-of-the-builds-of-ci-0", "CiCiCiK3", "ci"),
    ("key-that-is-revoked-today", "FormerK4", "former"),
];

fn keys() -> Keyring {
    let keys = Keyring::new();
    for (key, id, client) in KEYS {
        let client = match client {
            "ci" => Client::new(client).with_scopes(["jobs"]),
            _ => Client::new(client),
        };
        let record = Record::new(KeyDigest::of(key), client);
        keys.insert_record(record.with_id(id).unwrap()).unwrap();
    }
    assert!(keys.revoke_key("FormerK4"));
    keys
}

/// How often, the path, the number of the key if there is one, and the status.
const TRAFFIC: [(u64, &str, Option<usize>, u16); 12] = [
    (7, "/", Some(0), 200),
    (5, "/", Some(1), 200),
    (3, "/", Some(2), 200),
    (4, "/jobs", Some(0), 403),
    (1, "/jobs", Some(2), 200),
    (6, "/limited", Some(1), 429),
    (2, "/limited", Some(2), 429),
    (8, "/", Some(3), 401),
    (9, "/", Some(usize::MAX), 401),
    (10, "/", None, 401),
    (2, "/health", Some(0), 200),
    (2, "/limited", Some(3), 401),
];

/// Accepted, rejected, limited and forbidden requests of each key.
const EXPECTED: [(Option<&str>, [u64; 4]); 5] = [
    (Some("OldKey01"), [11, 0, 0, 4]),
    (Some("NewKey02"), [11, 0, 6, 0]),
    (Some("CiCiCiK3"), [6, 0, 2, 0]),
    (Some("FormerK4"), [0, 10, 0, 0]),
    (None, [0, 19, 0, 0]),
];

async fn send_all(addr: SocketAddr) {
    for (times, path, key, status) in TRAFFIC {
        let key = key.map(|key| KEYS.get(key).map_or("key-of-nobody-0123456789", |it| it.0));
        let key = key.map(|key| format!("\nx-api-key: {key}")).unwrap_or_default();
        for _ in 0..times {
            assert_eq!(ask(addr, &format!("GET {path}{key}")).await.status, status, "{path}{key}");
        }
    }
}

/// Returns the sum of a counter over the series with this label.
fn scraped(
    recorder: &PrometheusRecorder,
    counter: &str,
    outcome: &str,
    key_id: Option<&str>,
) -> u64 {
    let text = recorder.handle().render();
    let series = text.lines().filter(|line| {
        line.starts_with(counter)
            && line.contains(&format!(r#"outcome="{outcome}""#))
            && match key_id {
                Some(id) => line.contains(&format!(r#"key_id="{id}""#)),
                None => !line.contains("key_id="),
            }
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn four(counts: Counts) -> [u64; 4] {
    [counts.accepted, counts.rejected, counts.limited, counts.forbidden]
}

/// The command, which Cargo puts beside the folder of this test.
fn command() -> PathBuf {
    let this_test = std::env::current_exe().unwrap();
    let command = this_test.ancestors().nth(2).unwrap().join("apikey");
    assert!(
        command.exists(),
        "{} is not there: `cargo test --all-features` in the root builds it, and so does `cargo build -p \
         tower-api-key-cli`",
        command.display()
    );
    command
}

/// Returns the accepted, rejected, limited and forbidden requests of a key, as the command prints them.
fn printed(file: &Path, key_id: Option<&str>) -> [u64; 4] {
    let output = Command::new(command()).arg("usage").arg("--from").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let key = key_id.unwrap_or("(unknown)");
    let row = text.lines().find(|row| row.split('\t').nth(1) == Some(key)).unwrap();
    let numbers: Vec<_> = row.split('\t').skip(2).take(4).map(|it| it.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn metrics_usage_the_file_and_the_command_have_the_exact_counts() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let usage = Usage::new();
    let folder = std::env::temp_dir().join(format!("usage-socket-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("usage.jsonl");
    let writer = usage.flush_to(JsonLines::open(&file).unwrap()).in_thread().unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .exempt_path("/health")
        .observe((Metrics::new().by_key_id(), usage.clone()));
    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .route("/health", get(async || "fine"))
        .route("/jobs", get(async || "jobs").layer(RequireScopeLayer::all(["jobs"])))
        .route_service("/limited", Limited)
        .layer(layer);

    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The runtime has one thread, and that thread has the recorder.
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let server = tokio::spawn(async move { axum::serve(listener, app).await });
            send_all(addr).await;
            writer.flush().await.unwrap();
            server.abort();
        });
    });

    let rows = usage.snapshot();
    let history = JsonLines::read([&file]).unwrap();
    assert_eq!(history.rows(), rows);
    for (key_id, expected) in EXPECTED {
        let of_key = rows.iter().filter(|row| row.key_id() == key_id).map(UsageRow::counts);
        assert_eq!(four(of_key.sum()), expected, "{key_id:?}");
        let requests = |outcome| scraped(&recorder, Metrics::REQUESTS_TOTAL, outcome, key_id);
        let by_guard =
            |outcome| scraped(&recorder, Metrics::GUARD_REJECTIONS_TOTAL, outcome, key_id);
        let metrics = [
            requests("accepted"),
            requests("rejected"),
            by_guard("limited"),
            by_guard("forbidden"),
        ];
        assert_eq!(metrics, expected, "{key_id:?}");
        assert_eq!(printed(&file, key_id), expected, "{key_id:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    let total: Counts = rows.iter().map(UsageRow::counts).sum();
    let sent: u64 =
        TRAFFIC.iter().map(|(times, path, ..)| if *path == "/health" { 0 } else { *times }).sum();
    assert_eq!(total.accepted + total.rejected, sent);
}
