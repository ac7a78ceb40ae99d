use http::header::AUTHORIZATION;

use super::{Extract, Extracted, Head, only};
use crate::{
    error::{ConfigError, literal},
    place::{Place, SchemeValue, read_authorization},
};

/// Reads the key from the `Authorization` header. Made by [`bearer`] and [`scheme`].
#[derive(Clone, Debug)]
pub struct Scheme {
    place: Place,
}

/// The key stands in `Authorization: Bearer …` (RFC 6750).
///
/// Only keys that are a token68 (letters, digits, `-._~+/`, and `=` at the end) can come this way.
/// Another scheme counts as no key, and is left alone.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::bearer};
///
/// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[must_use]
pub fn bearer() -> Scheme {
    Scheme { place: Place::bearer() }
}

/// The key stands in `Authorization` behind a scheme of your own, such as `ApiKey` or `Token`.
///
/// The scheme is matched in any case. As with [`bearer`], the key must be a token68.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::scheme};
///
/// let layer = ApiKeyLayer::new(scheme("Token"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # Panics
///
/// On a bad name; [`Scheme::try_new`] is for names from configuration.
#[must_use]
#[track_caller]
pub fn scheme(name: &str) -> Scheme {
    literal(Scheme::try_new(name))
}

impl Scheme {
    /// [`scheme`], for a name from configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Place::try_scheme`].
    pub fn try_new(name: &str) -> Result<Self, ConfigError> {
        Ok(Self { place: Place::try_scheme(name)? })
    }
}

impl Extract for Scheme {
    fn places(&self) -> Vec<Place> {
        vec![self.place.clone()]
    }

    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
        only(head.headers().get_all(AUTHORIZATION).into_iter(), |line| {
            match read_authorization(line, self.place.name()) {
                SchemeValue::None => Extracted::Absent,
                SchemeValue::Token68(key) => Extracted::by_rule(key, &self.place),
                SchemeValue::Other => Extracted::malformed(&self.place),
            }
        })
    }
}
