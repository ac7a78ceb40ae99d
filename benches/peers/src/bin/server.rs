//! The tutorial's server, for `over_socket.py`: protected by the layer, by `from_fn` with `==`, or open.
//! The key is in the environment variable `API_KEY`.
//!
//! ```sh
//! server protected|from_fn|open ADDRESS
//! ```

use std::{env, error::Error};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_api_key::{ApiKeyLayer, Keyring, extract::header};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = env::var("API_KEY")?;
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [protection, address] = &arguments[..] else {
        return Err("two arguments: the protection, and an address".into());
    };

    let app = Router::new().route("/secret-data", get(secret_data));
    let app = match protection.as_str() {
        "protected" => app.layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single(key)?)),
        "from_fn" => app.layer(from_fn(move |headers: HeaderMap, request, next: Next| {
            let known = headers.get("x-api-key").is_some_and(|value| value == key.as_str());
            async move { if known { next.run(request).await } else { unauthorized() } }
        })),
        "open" => app,
        _ => return Err("the protection is `protected`, `from_fn` or `open`".into()),
    };
    Ok(axum::serve(TcpListener::bind(address).await?, app).await?)
}

async fn secret_data() -> Json<Value> {
    Json(json!({ "message": "Welcome! Here is your secret data.", "data": [10, 20, 30] }))
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": "Unauthorized access" }))).into_response()
}
