//! cure: has type `Rc<&str>` which is not `Send`
use std::rc::Rc;

use axum::{Router, routing::get};
use tower_api_key::{ApiKeyLayer, Client, extract::header, verify};

fn main() {
    let verifier = verify::from_async_fn(|_| async {
        let name = Rc::new("me");
        std::future::ready(()).await;
        Some(Client::new(*name))
    });
    let _: Router =
        Router::new().route("/", get(async || "hello")).layer(ApiKeyLayer::new(header("x-api-key"), verifier));
}
