//! cure: return `Option<Client>`
use tower_api_key::{ApiKeyLayer, extract::header, verify};

fn main() {
    let _ = ApiKeyLayer::new(header("x-api-key"), verify::from_async_fn(async |_| true));
}
