//! cure: put the keyring before the database
use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::bearer, verify::{self, Verify}};

fn main() {
    let database = verify::from_async_fn(|_| async { None::<Client> });
    let _ = ApiKeyLayer::new(bearer(), database.or(Keyring::new()));
}
