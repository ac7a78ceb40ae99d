//! Two instances of a service on sockets, which share a limit.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
};

use axum::{Router, body::Body, http::Request, routing::get};
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    key::KeyFormat,
    limit::{ClientLimitLayer, Limit, Limits, RateLimitHeaders},
};
use tower_api_key_test_servers::RedisServer;

use crate::support::limiter;

static PLAN: Limits = Limits::new(&[Limit::per_minute("burst", 600), Limit::per_month("month", 5)]);

const KEY: &str = "12345abcde";

/// Serves an app that accepts a key, and counts for its client or for the key.
async fn instance(url: &str, key: &str, per_key: bool) -> SocketAddr {
    let keys = Keyring::single(key).unwrap();
    let limits = ClientLimitLayer::new(limiter(url), |_: &Client| &PLAN)
        .headers(RateLimitHeaders::Always)
        .refund_if(|status| status.is_server_error());
    let limits = if per_key { limits.per_key() } else { limits };
    let app = Router::new()
        .route("/", get(async || "accepted"))
        .route("/broken", get(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR))
        .layer(limits)
        .layer(ApiKeyLayer::new(header("x-api-key"), keys));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_a_month_and_give_it_back_after_an_error() {
    let server = RedisServer::start();
    let start = async || instance(&server.url(), KEY, false).await;
    let instances = [start().await, start().await];
    let client = HyperClient::builder(TokioExecutor::new()).build_http::<Body>();
    let send = async |number: usize, path: &str| {
        let uri = format!("http://{}{path}", instances[number % 2]);
        let request = Request::get(uri).header("x-api-key", KEY).body(Body::empty());
        client.request(request.unwrap()).await.unwrap()
    };
    for number in 0..12 {
        let response = send(number, "/broken").await;
        assert_eq!(response.status(), 500, "{number}");
    }
    let mut statuses = Vec::new();
    for number in 0..8 {
        let response = send(number, "/").await;
        let state = response.headers()["ratelimit"].to_str().unwrap().to_owned();
        let left = 4_usize.saturating_sub(number);
        assert!(state.contains(&format!("\"month\";r={left};t=")), "{number}: {state}");
        statuses.push(response.status().as_u16());
        if number >= 5 {
            let after = response.headers()["retry-after"].to_str().unwrap();
            assert!((1..=31 * 86_400).contains(&after.parse::<u64>().unwrap()), "{after}");
        }
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_no_digest_reaches_redis() {
    let server = RedisServer::start();
    let mut monitor = TcpStream::connect(server.address()).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(monitor).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "+OK");
    let minted = KeyFormat::default().mint().unwrap().reveal(str::to_owned);
    let client = HyperClient::builder(TokioExecutor::new()).build_http::<Body>();
    for (key, per_key) in [(KEY, false), (KEY, true), (&*minted, false), (&*minted, true)] {
        let uri = format!("http://{}/", instance(&server.url(), key, per_key).await);
        let request = Request::get(uri).header("x-api-key", key).body(Body::empty());
        assert_eq!(client.request(request.unwrap()).await.unwrap().status(), 200);
    }
    server.command(&["ECHO", "end-of-this-test"]);
    let seen: Vec<_> = lines.take_while(|line| !line.contains("end-of-this-test")).collect();
    let seen = format!("{seen:?} {}", server.command(&["KEYS", "*"])).to_lowercase();
    assert!(seen.contains("evalsha") && seen.contains("api_key:"), "{seen}");
    for key in [KEY, &minted] {
        let digest = KeyDigest::of(key).encode().replace("sha256:", "");
        let leaks = [seen.contains(&key.to_lowercase()), seen.contains(&digest[..16])];
        assert_eq!(leaks, [false; 2], "{seen}");
    }
}
