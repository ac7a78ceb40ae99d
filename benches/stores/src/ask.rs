//! A request to a cache, without a layer.

use http::Request;
use tower_api_key::{
    extract::RequestHead,
    store::Cached,
    verify::{PresentedKey, Verification, Verify as _},
};

/// Asks for a key, and returns whether it is accepted.
pub async fn ask(cached: &Cached, key: &str) -> bool {
    let verification = {
        let request = Request::new(());
        cached.verify(&PresentedKey::new(key.as_bytes(), RequestHead::of(&request)))
    };
    match verification {
        Verification::Ready(result) => result.is_ok(),
        Verification::Pending(future) => future.await.is_ok(),
    }
}
