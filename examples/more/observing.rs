//! Seen in production: who came, who was turned away and why, in the log and in Prometheus.
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example observing --features observing
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. From another terminal, with an eye on the log:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/reports     # DEBUG, and INFO of mobile-app
//! curl -H 'x-api-key: wrong' http://127.0.0.1:3000/reports          # INFO: turned away, unknown
//! curl http://127.0.0.1:3000/reports                                # INFO: turned away, missing
//! curl http://127.0.0.1:3000/metrics                                # all of them, counted
//! ```

#[path = "../common/mod.rs"]
mod common;

use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
};

use axum::{Router, body::Body, http::Request, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower_api_key::{
    ApiKeyLayer, Keyring,
    extract::{bearer, header},
    observe::{Metrics, Tracing},
};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, Span, field::Empty, info_span};
use tracing_subscriber::{filter::Targets, prelude::*};

fn app(keys: Keyring, prometheus: PrometheusHandle) -> Router {
    let auth = ApiKeyLayer::new((header("x-api-key"), bearer()), keys)
        .observe((Tracing, Metrics::new().by_client().by_key_id()));
    let trace = TraceLayer::new_for_http()
        .make_span_with(request_span)
        .on_response(DefaultOnResponse::new().level(Level::INFO));

    Router::new()
        .route("/reports", get(async || "Here are your reports.\n"))
        .layer(auth)
        // Outside, so that the span is there when the client becomes known.
        .layer(trace)
        // Neither guarded nor counted here. It tells who your clients are: in production let it listen
        // on a port that only Prometheus reaches.
        .route("/metrics", get(async move || prometheus.render()))
}

/// What all log lines of a request show. The empty fields are filled in by `Tracing`.
fn request_span(request: &Request<Body>) -> Span {
    info_span!(
        "request",
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        api_key.client.id = Empty,
        api_key.id = Empty,
    )
}

fn log() {
    // By default `tower_api_key=info`, which shows those who were turned away alone.
    let levels =
        Targets::new().with_default(Level::INFO).with_target(Tracing::TARGET, Level::DEBUG);
    let lines = tracing_subscriber::fmt::layer().with_ansi(stdout().is_terminal());
    tracing_subscriber::registry().with(lines).with(levels).init();
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;

    let listener = common::bind("127.0.0.1:3000").await?;
    log();
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    common::announce(&listener)?;

    common::serve(listener, app(keys, prometheus)).await
}
