//! The same job as a careful engineer writes it today.

use http::{Request, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use super::NAME;
use crate::keys::Known;

/// A check of tower-http's: header got, hashed, looked up, compared, taken out, client put in.
pub fn layer<B, B2>(
    known: Known,
    refuse: fn() -> Response<B2>,
) -> ValidateRequestHeaderLayer<impl FnMut(&mut Request<B>) -> Result<(), Response<B2>> + Clone> {
    ValidateRequestHeaderLayer::custom(move |request: &mut Request<B>| {
        let value = request.headers().get(NAME).ok_or_else(refuse)?;
        let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
        let (stored, client) = known.get_key_value(&digest).ok_or_else(refuse)?;
        if !bool::from(stored.ct_eq(&digest)) {
            return Err(refuse());
        }
        request.headers_mut().remove(NAME);
        request.extensions_mut().insert(client.clone());
        Ok(())
    })
}

/// A check of tower-http's that compares the header with the one key there is.
pub fn plain<B, B2>(
    key: String,
    refuse: fn() -> Response<B2>,
) -> ValidateRequestHeaderLayer<impl FnMut(&mut Request<B>) -> Result<(), Response<B2>> + Clone> {
    ValidateRequestHeaderLayer::custom(move |request: &mut Request<B>| {
        match request.headers().get(NAME) {
            Some(value) if value == key.as_str() => Ok(()),
            _ => Err(refuse()),
        }
    })
}
