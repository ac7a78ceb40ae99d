use super::{Extract, Extracted, Head, only};
use crate::{
    error::{ConfigError, literal},
    place::{Place, query_values},
};

/// Reads the key from a query parameter. Made by [`query`].
#[derive(Clone, Debug)]
pub struct Query {
    place: Place,
}

/// The key stands in this query parameter.
///
/// Names and values are form-decoded to raw bytes (`+` is a space, WHATWG URL §5.1), and names are
/// case-sensitive. The pair is taken out of the URL, and the rest of the query stays byte for byte.
///
/// URLs are written to access logs, histories and `Referer` headers, and this layer cannot take a
/// key out of those that were written before it: prefer [`header`](super::header()).
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::query};
///
/// let layer = ApiKeyLayer::new(query("api_key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// # Panics
///
/// On a bad name; [`Query::try_new`] is for names from configuration.
#[must_use]
#[track_caller]
pub fn query(name: &str) -> Query {
    literal(Query::try_new(name))
}

impl Query {
    /// [`query`], for a name from configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Place::try_query`].
    pub fn try_new(name: &str) -> Result<Self, ConfigError> {
        Ok(Self { place: Place::try_query(name)? })
    }
}

impl Extract for Query {
    fn places(&self) -> Vec<Place> {
        vec![self.place.clone()]
    }

    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
        only(query_values(head.uri(), self.place.name()), |value| match value.decode() {
            Some(key) => Extracted::by_rule(key, &self.place),
            None => Extracted::malformed(&self.place),
        })
    }
}
