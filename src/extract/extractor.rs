use std::sync::Arc;

use super::extracted::Extracted;
use crate::{location::KeyLocation, macros::pointers, request_head::RequestHead};

/// Finds a key in the head of a request, and declares its locations.
///
/// The layer writes a challenge for each declared location and strips its keys. If the rule of the
/// location leaves a key that the extractor found, the layer removes the whole line. If keys stay, the
/// layer marks them sensitive.
///
/// # Example: read a key behind a version
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, KeyLocation, extract::{Extract, Extracted, RequestHead}};
///
/// /// Reads a key behind a version, as in `x-key: v1:12345abcde`.
/// struct Versioned(KeyLocation);
///
/// impl Extract for Versioned {
///     fn locations(&self) -> Vec<KeyLocation> {
///         vec![self.0.clone()]
///     }
///
///     fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
///         let mut lines = head.headers().get_all("x-key").into_iter();
///         match (lines.next(), lines.next()) {
///             (None, _) => Extracted::Absent,
///             (Some(_), Some(_)) => Extracted::Ambiguous,
///             (Some(line), None) => match line.as_bytes().strip_prefix(b"v1:") {
///                 Some(key) => Extracted::found(key, &self.0),
///                 None => Extracted::malformed(&self.0),
///             },
///         }
///     }
/// }
///
/// let layer = ApiKeyLayer::new(Versioned(KeyLocation::header("x-key")), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot find a key in a request",
    label = "not an extractor",
    note = "use `header(\"x-api-key\")`, `query(\"api_key\")`, `cookie(\"…\")`, `bearer()` or `scheme(\"…\")`",
    note = "a tuple or `first_of((…))` holds two to eight extractors: nest tuples for more, or use a `Vec` or an array",
    note = "wrap a closure in `extract::from_fn(KeyLocation::header(\"…\"), |head| …)`"
)]
pub trait Extract {
    /// Returns the locations that this extractor reads. The layer calls this once, when it is built.
    fn locations(&self) -> Vec<KeyLocation>;

    /// Finds the key of a request.
    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a>;
}

pointers! { Extract: [E: Extract + ?Sized] Box<E>, [E: Extract + ?Sized] Arc<E>; {
    fn locations(&self) -> Vec<KeyLocation> {
        (**self).locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        (**self).extract(head)
    }
} }
