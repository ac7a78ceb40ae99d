use http::HeaderName;

use super::{Extract, Extracted, Head, only};
use crate::{
    error::{ConfigError, literal},
    key::trim,
    place::{Place, header_name},
};

/// Reads the key from a header of its own. Made by [`header`].
#[derive(Clone, Debug)]
pub struct Header {
    name: HeaderName,
    place: Place,
}

/// The key stands in this header, named in any case.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
///
/// let layer = ApiKeyLayer::new(header("X-Api-Key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # Panics
///
/// On a bad name, and on `authorization` and `cookie`, which have extractors of their own. For names
/// from configuration there is [`Header::try_new`].
#[must_use]
#[track_caller]
pub fn header(name: &str) -> Header {
    literal(Header::try_new(name))
}

impl Header {
    /// [`header`], for a name from configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Place::try_header`].
    pub fn try_new(name: &str) -> Result<Self, ConfigError> {
        let name = header_name(name)?;
        Ok(Self { place: Place::of_header(name.clone()), name })
    }
}

impl Extract for Header {
    fn places(&self) -> Vec<Place> {
        vec![self.place.clone()]
    }

    #[inline]
    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
        only(head.headers().get_all(&self.name).into_iter(), |line| {
            Extracted::by_rule(trim(line.as_bytes()), &self.place)
        })
    }
}
