use super::{extracted::Extracted, extractor::Extract};
use crate::{location::KeyLocation, request_head::RequestHead};

/// An extractor that takes the first location with a value. Created by [`first_of`].
#[derive(Clone, Debug)]
pub struct FirstOf<T>(pub(super) T);

/// Takes the first extractor with a value in its location.
///
/// `extractors` is a tuple of two to eight, an array or a `Vec`. If the first value is wrong or
/// ambiguous, the layer rejects the request and does not read the other locations. The layer strips all
/// of them. A plain tuple rejects a request with two locations, with 400.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, first_of, header}};
///
/// let find = first_of((header("x-api-key"), bearer()));
/// let layer = ApiKeyLayer::new(find, Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[must_use]
pub fn first_of<T>(extractors: T) -> FirstOf<T>
where
    FirstOf<T>: Extract,
{
    FirstOf(extractors)
}

fn first_present<'a, E: Extract>(extractors: &'a [E], head: RequestHead<'a>) -> Extracted<'a> {
    for extractor in extractors {
        match extractor.extract(head) {
            Extracted::Absent => {}
            found => return found,
        }
    }
    Extracted::Absent
}

impl<E: Extract> Extract for FirstOf<Vec<E>> {
    fn locations(&self) -> Vec<KeyLocation> {
        self.0.locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        first_present(&self.0, head)
    }
}

impl<E: Extract, const N: usize> Extract for FirstOf<[E; N]> {
    fn locations(&self) -> Vec<KeyLocation> {
        self.0.locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        first_present(&self.0, head)
    }
}
