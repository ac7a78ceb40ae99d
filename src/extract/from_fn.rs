use std::{fmt, sync::Arc};

use super::{Extract, Extracted, Head};
use crate::place::Place;

/// An extractor made of a closure. Made by [`from_fn`].
pub struct FromFn<F> {
    place: Place,
    find: Arc<F>,
}

/// Looks for the key with a closure, which answers an [`Extracted`]: an `Option` of bytes, text or a
/// header's value becomes one with `.into()`.
///
/// The place is what the closure reads: it is challenged for, and taken out or, where it stays,
/// marked sensitive. If the place's own rule leaves the key, because it stands there without the scheme or
/// under another name, the layer removes the whole line that holds it (of a query the pair).
/// Where it holds more than one value, the request is refused without asking the closure.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, Place, extract};
///
/// let find = extract::from_fn(Place::header("x-key"), |head| head.headers().get("x-key").into());
/// let layer = ApiKeyLayer::new(find, Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[must_use]
pub fn from_fn<F>(place: Place, find: F) -> FromFn<F>
where
    F: for<'a> Fn(Head<'a>) -> Extracted<'a>,
{
    FromFn { place, find: Arc::new(find) }
}

impl<F> Extract for FromFn<F>
where
    F: for<'a> Fn(Head<'a>) -> Extracted<'a>,
{
    fn places(&self) -> Vec<Place> {
        vec![self.place.clone()]
    }

    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
        if self.place.holds_several(head.headers(), head.uri()) {
            return Extracted::Ambiguous;
        }
        (self.find)(head).or_at(&self.place)
    }
}

impl<F> Clone for FromFn<F> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), find: Arc::clone(&self.find) }
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("place", &self.place).finish_non_exhaustive()
    }
}
