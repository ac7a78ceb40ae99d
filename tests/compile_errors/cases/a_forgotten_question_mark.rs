//! cure: write `?` after `Keyring::single(…)`
use tower_api_key::{ApiKeyLayer, Keyring, extract::header};

fn main() {
    let _ = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde"));
}
