//! An axum app with two plans, rate limit headers, and the usage of each client as JSON and as a page.
//!
//! Start the server:
//!
//! ```sh
//! cargo run --example limits --features axum,limit,usage
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. The code has three clients. `reader` has the
//! plan `free` and the key `12345abcde`. `partner` has the plan `pro` and the key `your-secret-api-key`.
//! `operator` has the key `another-key-of-yours` and may see the usage. In another terminal:
//!
//! ```sh
//! curl -i -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/report                       # 200, RateLimit
//! # Three requests can follow each other. The fourth gets a 429, and curl waits as long as Retry-After says.
//! for i in 1 2 3 4; do curl -sS --retry 2 -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/report; done
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/limits                          # takes nothing
//! curl -X POST -H 'x-api-key: your-secret-api-key' http://127.0.0.1:3000/report         # costs 10 requests
//! curl -i -X POST -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/report               # 429, never possible
//! curl -H 'x-api-key: another-key-of-yours' http://127.0.0.1:3000/usage.json
//! curl -H 'x-api-key: another-key-of-yours' -o usage.html http://127.0.0.1:3000/usage   # open it in a browser
//! curl http://127.0.0.1:3000/health                                                     # no key, no limit
//! ```

mod common;

use std::{collections::BTreeMap, process::ExitCode};

use axum::{
    Router,
    extract::State,
    http::{Method, header},
    response::{Html, IntoResponse},
    routing::get,
};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring, RequireScopeLayer,
    error::KeyringError,
    extract::header,
    limit::{ClientLimitLayer, Limit, Limiter, Limits, RateLimitHeaders},
    respond::Problem,
    usage::{Counts, Usage},
};

static FREE: Limits =
    Limits::new(&[Limit::per_minute("burst", 60).burst(3), Limit::per_hour("hour", 1_000)]);
static PRO: Limits =
    Limits::new(&[Limit::per_minute("burst", 600).burst(50), Limit::per_hour("hour", 20_000)]);

fn limits_of(client: &Client) -> &'static Limits {
    match client.metadata("plan") {
        Some("pro") => &PRO,
        _ => &FREE,
    }
}

fn keys() -> Result<Keyring, KeyringError> {
    let keys = Keyring::new();
    keys.insert("12345abcde", Client::new("reader").with_metadata("plan", "free"))?;
    keys.insert("your-secret-api-key", Client::new("partner").with_metadata("plan", "pro"))?;
    keys.insert("another-key-of-yours", Client::new("operator").with_scopes(["usage:read"]))?;
    Ok(keys)
}

fn app(keys: Keyring) -> Router {
    let usage = Usage::new();
    let limits = ClientLimitLayer::new(Limiter::in_process(), limits_of)
        .cost(|head| if head.method() == Method::POST { 10 } else { 1 })
        // A client does not pay for an error of the server.
        .refund_if(|status| status.is_server_error())
        .headers(RateLimitHeaders::Always);
    let status = limits.status_service();
    let operators = Router::new()
        .route("/usage.json", get(usage_json))
        .route("/usage", get(usage_page))
        .with_state(usage.clone())
        .route_layer(RequireScopeLayer::all(["usage:read"]));

    Router::new()
        .route("/report", get(report).post(report))
        // The routes above have limits. The routes below need a key and have no limits.
        .layer(limits)
        .route_service("/limits", status)
        .merge(operators)
        .layer(
            ApiKeyLayer::new(header("x-api-key"), keys).respond(Problem::default()).observe(usage),
        )
        // This route is open, because it is added after the layer.
        .route("/health", get(async || "healthy\n"))
}

async fn report(client: Client) -> String {
    format!("a report for {}\n", client.id())
}

/// Sums the requests of each client.
fn by_client(usage: &Usage) -> BTreeMap<String, Counts> {
    let mut clients = BTreeMap::new();
    for row in usage.snapshot() {
        if let Some(client) = row.client() {
            *clients.entry(client.to_owned()).or_default() += row.counts();
        }
    }
    clients
}

/// Writes the usage as JSON. The ids of this example need no escape.
async fn usage_json(State(usage): State<Usage>) -> impl IntoResponse {
    let clients = by_client(&usage).into_iter().map(|(client, counts)| {
        let Counts { accepted, limited, .. } = counts;
        format!(r#"{{"client":"{client}","accepted":{accepted},"limited":{limited}}}"#)
    });
    let body = format!("[{}]\n", clients.collect::<Vec<_>>().join(","));
    ([(header::CONTENT_TYPE, "application/json")], body)
}

/// Draws two bars for each client. The ids of this example need no escape.
async fn usage_page(State(usage): State<Usage>) -> Html<String> {
    let clients = by_client(&usage);
    let most = clients.values().map(|counts| counts.accepted).max().unwrap_or(0).max(1);
    let width = |requests: u64| requests.saturating_mul(400) / most;
    let bars = clients.iter().enumerate().map(|(at, (client, counts))| {
        let (top, served) = (at * 60, counts.accepted.saturating_sub(counts.limited));
        format!(
            "<text x='0' y='{}'>{client}</text>\
             <rect x='100' y='{top}' width='{}' height='20' fill='#2a7'/><text x='510' y='{}'>{served} served</text>\
             <rect x='100' y='{}' width='{}' height='20' fill='#c53'/><text x='510' y='{}'>{} limited</text>",
            top + 15,
            width(served),
            top + 15,
            top + 24,
            width(counts.limited),
            top + 39,
            counts.limited,
        )
    });
    let (bars, height) = (bars.collect::<String>(), clients.len() * 60);
    Html(format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Usage</title><h1>Usage of each client</h1>\
         <svg xmlns='http://www.w3.org/2000/svg' width='640' height='{height}' font-family='sans-serif' \
         font-size='14' role='img' aria-label='Requests of each client'>{bars}</svg></html>\n"
    ))
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let app = app(keys()?);

    let listener = common::listen("127.0.0.1:3000").await?;

    common::serve(listener, app).await
}
