//! cure: wrap a closure in `verify::from_fn(|presented| …)`
use tower_api_key::{ApiKeyLayer, Client, extract::header, verify::Presented};

fn main() {
    let _ = ApiKeyLayer::new(header("x-api-key"), |_: Presented<'_>| Some(Client::new("me")));
}
