use super::{Extract, Extracted, Head, only};
use crate::{
    error::{ConfigError, literal},
    place::{Place, cookie_values},
};

/// Reads the key from a cookie. Made by [`cookie`].
#[derive(Clone, Debug)]
pub struct Cookie {
    place: Place,
}

/// The key stands in this cookie, whose name is case-sensitive.
///
/// A browser sends cookies along with requests that other sites start: guard routes that change
/// something against forgery, for example with tower-http's `CsrfLayer`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::cookie};
///
/// let layer = ApiKeyLayer::new(cookie("__Host-key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # Panics
///
/// On a bad name; [`Cookie::try_new`] is for names from configuration.
#[must_use]
#[track_caller]
pub fn cookie(name: &str) -> Cookie {
    literal(Cookie::try_new(name))
}

impl Cookie {
    /// [`cookie`], for a name from configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Place::try_cookie`].
    pub fn try_new(name: &str) -> Result<Self, ConfigError> {
        Ok(Self { place: Place::try_cookie(name)? })
    }
}

impl Extract for Cookie {
    fn places(&self) -> Vec<Place> {
        vec![self.place.clone()]
    }

    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
        only(cookie_values(head.headers(), self.place.name()), |value| {
            Extracted::by_rule(value, &self.place)
        })
    }
}
