//! cure: #[derive(Clone)]
use tower_api_key::{ApiKeyLayer, extract::header, verify};

struct Tenant;

fn main() {
    let _ = ApiKeyLayer::new(header("x-api-key"), verify::from_fn(|_| Some(Tenant)));
}
