//! Helpers of the tests that combine the layer with other crates.

use std::future::pending;

use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring,
    extract::header,
    verify::{self, Verify, VerifyError},
};

pub(crate) const KEY: &str = "12345abcde";
pub(crate) const UNAUTHORIZED: &str = r#"{"error":"Unauthorized access"}"#;

pub(crate) type KeyLayer = ApiKeyLayer<KeyLocation, Keyring>;

/// Returns a keyring in which [`KEY`] belongs to the client `default`.
pub(crate) fn keys() -> Keyring {
    Keyring::single(KEY).unwrap()
}

/// Returns a layer with [`keys`] in the header `x-api-key`.
pub(crate) fn layer() -> KeyLayer {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// Returns a verifier that accepts [`KEY`] for the client `default`, not at the first poll.
pub(crate) fn slow()
-> impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + Send>
+ Clone {
    verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
    })
}

/// Returns a verifier that never returns.
pub(crate) fn never()
-> impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + Send>
+ Clone {
    verify::from_async_fn(|_| pending::<Option<Client>>())
}
