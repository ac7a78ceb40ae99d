//! cure: header("x-api-key")
use tower_api_key::{ApiKeyLayer, Keyring};

fn main() {
    let keys: Keyring = Keyring::new();
    let _ = ApiKeyLayer::new("x-api-key", keys);
}
