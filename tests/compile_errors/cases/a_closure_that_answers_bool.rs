//! cure: return `Option<Client>`
use tower_api_key::{ApiKeyLayer, KeyDigest, extract::header, verify};

fn main() {
    let mine = KeyDigest::of("12345abcde");
    let _ = ApiKeyLayer::new(header("x-api-key"), verify::from_fn(move |key| key.digest() == mine));
}
