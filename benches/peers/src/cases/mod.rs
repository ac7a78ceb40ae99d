//! What is timed.

mod axum;
mod by_hand;
mod client_limit;
mod failure_limit;
mod limit;
mod requests;
mod tonic;
mod tower;
mod usage;

use http::HeaderName;
use oauth_resource_server::{
    StaticTokens,
    http_layer::{CredentialSource, HttpAuthLayer},
};
use tower_api_key::{ApiKeyLayer, KeyLocation, Keyring, extract::header};

use crate::{harness::Bench, keys, keys::Stores};

const NAME: HeaderName = HeaderName::from_static("x-api-key");

pub fn all(bench: &mut Bench, stores: &Stores) {
    tower::cases(bench, stores);
    axum::cases(bench, stores);
    tonic::cases(bench, stores);
    usage::cases(bench, stores);
    limit::cases(bench);
    client_limit::cases(bench);
    failure_limit::cases(bench, stores);
}

/// In a header, and with as little done to the response as the peers do.
fn ours(keys: &Keyring) -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys.clone()).no_cache_headers()
}

/// It compares with every key it has.
fn oauth(keys: usize) -> HttpAuthLayer {
    let tokens = (0..keys).try_fold(StaticTokens::new(), |tokens, number| {
        tokens.with(Some(&format!("client-{number}")), keys::key(number))
    });
    let layer = HttpAuthLayer::builder().static_tokens(tokens.expect("new keys"));
    layer.sources([CredentialSource::Raw(NAME)]).build().expect("a layer")
}
