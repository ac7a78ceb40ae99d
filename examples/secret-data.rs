//! The service of the Flask tutorial. Each route has its own location, key and rejection.
//!
//! Start the server:
//!
//! ```sh
//! cargo run --example secret-data
//! ```
//!
//! The server listens on 127.0.0.1:5000, or on `ADDR` if it is set. It prints these lines for another
//! terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' 'http://127.0.0.1:5000/secret-data'
//! curl -H 'x-api-key: your-secret-api-key' 'http://127.0.0.1:5000/data'
//! curl 'http://127.0.0.1:5000/info?api_key=your-secret-api-key'
//! curl -i 'http://127.0.0.1:5000/secret-data'
//! ```
//!
//! The last request has no key, so the layer returns 401. The keys are in the source code, as in the
//! tutorial. Keep your keys out of the source code. Most other examples read keys from the environment.

mod common;

use std::process::ExitCode;

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tower_api_key::{
    ApiKeyLayer, Keyring,
    error::KeyringError,
    extract::{header, query},
    respond::{Json, Text},
};

fn tutorial() -> Result<Router, KeyringError> {
    let first = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    let second = ApiKeyLayer::new(header("x-api-key"), Keyring::single("your-secret-api-key")?)
        .respond(Json::default().message("Unauthorized"));
    let third = ApiKeyLayer::new(query("api_key"), Keyring::single("your-secret-api-key")?)
        .respond(Text::default().message("Unauthorized"));

    // `route_layer` guards only the handler. As in Flask, a POST gets 405 with any key.
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
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let listener = common::bind("127.0.0.1:5000").await?;
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

    common::serve(listener, tutorial()?).await
}
