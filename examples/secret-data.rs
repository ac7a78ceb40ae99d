//! The Flask tutorial's service: three routes, each with a place, a key and an answer of its own.
//!
//! ```sh
//! cargo run --example secret-data
//! ```
//!
//! It listens on 127.0.0.1:5000, or on `ADDR`, and prints what to paste into another terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' 'http://127.0.0.1:5000/secret-data'
//! curl -H 'x-api-key: your-secret-api-key' 'http://127.0.0.1:5000/data'
//! curl 'http://127.0.0.1:5000/info?api_key=your-secret-api-key'
//! curl -i 'http://127.0.0.1:5000/secret-data'
//! ```
//!
//! The last has no key: 401. The keys stand in the source, as they do in the tutorial. Yours should
//! not: the other examples read theirs from the environment.

use std::{env, error::Error, io, process::ExitCode};

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, signal};
use tower_api_key::{
    ApiKeyLayer, Keyring,
    error::ConfigError,
    extract::{header, query},
    respond::{Json, Text},
};

fn tutorial() -> Result<Router, ConfigError> {
    let first = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    let second = ApiKeyLayer::new(header("x-api-key"), Keyring::single("your-secret-api-key")?)
        .respond(Json::default().message("Unauthorized"));
    let third = ApiKeyLayer::new(query("api_key"), Keyring::single("your-secret-api-key")?)
        .respond(Text::default().message("Unauthorized"));

    // `route_layer` guards the handler alone: as in Flask, a POST is a 405, whatever its key.
    Ok(Router::new()
        .route("/secret-data", get(secret_data).route_layer(first))
        .route("/data", get(data).route_layer(second))
        .route("/info", get(info).route_layer(third)))
}

async fn secret_data() -> impl IntoResponse {
    json(r#"{"message":"Welcome! Here is your secret data.","data":[10,20,30]}"#)
}

async fn data() -> impl IntoResponse {
    json(r#"{"message":"Access granted","data":[1,2,3]}"#)
}

async fn info() -> &'static str {
    "Info data"
}

fn json(body: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}; set ADDR to listen elsewhere")
    })?;
    let here = format!("http://{}", listener.local_addr()?);

    println!(
        "Listening on {here} until Ctrl-C. With a key:

  curl -H 'x-api-key: 12345abcde' '{here}/secret-data'
  curl -H 'x-api-key: your-secret-api-key' '{here}/data'
  curl '{here}/info?api_key=your-secret-api-key'

and without:

  curl -i '{here}/secret-data'
"
    );

    tokio::select! {
        biased; // the signals are heard before anybody is served
        stopped = stopped() => Ok(stopped?),
        served = axum::serve(listener, tutorial()?).into_future() => Ok(served?),
    }
}

/// Waits for Ctrl-C, or for what `kill` and container runtimes send.
async fn stopped() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        tokio::select! {
            pressed = signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}
