//! An axum app that reports every decision to the log and to Prometheus.
//!
//! Start the server:
//!
//! ```sh
//! export API_KEYS='mobile-app=12345abcde,ci=your-secret-api-key'
//! cargo run --example observing --features observing
//! ```
//!
//! The server listens on 127.0.0.1:3000, or on `ADDR` if it is set. Watch the log. In another terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/reports     # DEBUG, and INFO with mobile-app
//! curl -H 'x-api-key: wrong' http://127.0.0.1:3000/reports          # INFO: rejected, unknown
//! curl http://127.0.0.1:3000/reports                                # INFO: rejected, missing
//! curl http://127.0.0.1:3000/metrics                                # the counters
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
        // This layer is outside, because `Tracing` writes the client into its span.
        .layer(trace)
        // This route is neither guarded nor counted. Its response names your clients. In production,
        // serve it on a port that only Prometheus can reach.
        .route("/metrics", get(async move || prometheus.render()))
}

/// Creates the span of a request. `Tracing` fills the empty fields.
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
    // The level `info` shows only rejected requests. The level `debug` also shows accepted requests.
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
