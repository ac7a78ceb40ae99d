//! cure: map_frame
use std::{collections::VecDeque, convert::Infallible};

use axum::{Router, extract::Request};
use http::Response;
use http_body_util::Full;
use tower::ServiceBuilder;
use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};

async fn hello(_: Request) -> Result<Response<Full<VecDeque<u8>>>, Infallible> {
    Ok(Response::new(Full::new(VecDeque::new())))
}

fn main() {
    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::<Client>::new());
    let service = ServiceBuilder::new().layer(layer).service_fn(hello);
    let _: Router = Router::new().route_service("/", service);
}
