//! cure: nest tuples for more
use tower_api_key::{ApiKeyLayer, Keyring, extract::header};

fn main() {
    let keys: Keyring = Keyring::new();
    let locations = (
        header("a"),
        header("b"),
        header("c"),
        header("d"),
        header("e"),
        header("f"),
        header("g"),
        header("h"),
        header("i"),
    );
    let _ = ApiKeyLayer::new(locations, keys);
}
