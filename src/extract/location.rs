use super::{extracted::Extracted, extractor::Extract};
use crate::{
    location::{Content, KeyLocation},
    request_head::RequestHead,
};

/// Reads the key from this header, named in any case.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
///
/// let layer = ApiKeyLayer::new(header("X-Api-Key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Panics
///
/// If the name is not valid, and for `authorization` and `cookie`. Use [`bearer`], [`scheme`] or
/// [`cookie`] for these. Use [`KeyLocation::try_header`] for a name from configuration.
#[must_use]
#[track_caller]
pub fn header(name: &str) -> KeyLocation {
    KeyLocation::header(name)
}

/// Reads the key from this query parameter.
///
/// Names and values are form-decoded to raw bytes (`+` is a space, WHATWG URL §5.1), and names are
/// case-sensitive. The layer removes the pair from the URL, and the rest of the query stays byte for
/// byte.
///
/// Prefer [`header`], because access logs, histories and `Referer` headers contain URLs. The layer cannot
/// remove a key from the logs of outer layers and proxies.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::query};
///
/// let layer = ApiKeyLayer::new(query("api_key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Panics
///
/// If the name is not valid. Use [`KeyLocation::try_query`] for a name from configuration.
#[must_use]
#[track_caller]
pub fn query(name: &str) -> KeyLocation {
    KeyLocation::query(name)
}

/// Reads the key from this cookie. The name is case-sensitive.
///
/// A browser sends cookies even with requests from other sites. If a route changes data, protect the
/// route against forgery, for example with tower-http's `CsrfLayer`.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::cookie};
///
/// let layer = ApiKeyLayer::new(cookie("__Host-key"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Panics
///
/// If the name is not valid. Use [`KeyLocation::try_cookie`] for a name from configuration.
#[must_use]
#[track_caller]
pub fn cookie(name: &str) -> KeyLocation {
    KeyLocation::cookie(name)
}

/// Reads the key from `Authorization: Bearer …` (RFC 6750).
///
/// The key must be a token68 (letters, digits, `-._~+/`, and `=` at the end). If the request has another
/// scheme, the layer finds no key and leaves the line unchanged.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::bearer};
///
/// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[must_use]
pub fn bearer() -> KeyLocation {
    KeyLocation::bearer()
}

/// Reads the key from `Authorization` behind a custom scheme, such as `ApiKey` or `Token`.
///
/// The scheme is matched in any case. As with [`bearer`], the key must be a token68.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::scheme};
///
/// let layer = ApiKeyLayer::new(scheme("Token"), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Panics
///
/// If the name is not valid. Use [`KeyLocation::try_scheme`] for a name from configuration.
#[must_use]
#[track_caller]
pub fn scheme(name: &str) -> KeyLocation {
    KeyLocation::scheme(name)
}

impl Extract for KeyLocation {
    fn locations(&self) -> Vec<KeyLocation> {
        vec![self.clone()]
    }

    #[inline(always)]
    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        match self.read(head) {
            Content::Absent => Extracted::Absent,
            Content::Value(value) => Extracted::by_rule(value, self),
            Content::Malformed => Extracted::malformed(self),
            Content::Multiple => Extracted::Ambiguous,
        }
    }
}
