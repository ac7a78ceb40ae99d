use std::{fmt, sync::Arc};

use super::{extracted::Extracted, extractor::Extract};
use crate::{location::KeyLocation, request_head::RequestHead};

/// An extractor that calls a closure. Created by [`from_fn`].
pub struct FromFn<F> {
    location: KeyLocation,
    find: Arc<F>,
}

/// Finds the key with a closure.
///
/// The closure returns an [`Extracted`]. An `Option` of bytes, text or a header value becomes an
/// `Extracted` with `.into()`. Name the location that the closure reads. If the location holds more than
/// one value, the layer rejects the request and does not call the closure.
///
/// If the location's own rule leaves the key, because it has no scheme or another name, the layer removes
/// the whole line. In a query it removes the pair.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, KeyLocation, extract};
///
/// let find = extract::from_fn(KeyLocation::header("x-key"), |head| head.headers().get("x-key").into());
/// let layer = ApiKeyLayer::new(find, Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[must_use]
pub fn from_fn<F>(location: KeyLocation, find: F) -> FromFn<F>
where
    F: for<'a> Fn(RequestHead<'a>) -> Extracted<'a>,
{
    FromFn { location, find: Arc::new(find) }
}

impl<F> Extract for FromFn<F>
where
    F: for<'a> Fn(RequestHead<'a>) -> Extracted<'a>,
{
    fn locations(&self) -> Vec<KeyLocation> {
        vec![self.location.clone()]
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        if self.location.has_multiple(head.headers(), head.uri()) {
            return Extracted::Ambiguous;
        }
        (self.find)(head).with_default_location(&self.location)
    }
}

impl<F> Clone for FromFn<F> {
    fn clone(&self) -> Self {
        Self { location: self.location.clone(), find: Arc::clone(&self.find) }
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("location", &self.location).finish_non_exhaustive()
    }
}
