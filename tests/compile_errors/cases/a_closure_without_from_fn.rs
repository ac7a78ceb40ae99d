//! cure: wrap a closure in `verify::from_fn(|key| …)`
use tower_api_key::{ApiKeyLayer, Client, extract::header, verify::PresentedKey};

fn main() {
    let _ = ApiKeyLayer::new(header("x-api-key"), |_: &PresentedKey<'_>| Some(Client::new("me")));
}
