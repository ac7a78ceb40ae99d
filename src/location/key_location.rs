use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, Uri, header::AUTHORIZATION};

use super::{
    authorization::{self, SchemeName},
    content::Content,
    cookie, header,
    kind::LocationKind,
    query,
};
use crate::request_head::RequestHead;

/// A part of a request that carries a key.
///
/// This is a header, a query parameter, a cookie, or a scheme of the `Authorization` header. It is also
/// an [extractor](crate::extract). The layer uses it to read and to strip the key, to mark the key
/// sensitive, to write the challenge of a 401, and to write `Vary`.
///
/// # Example: list the locations of a layer
///
/// [`ApiKeyLayer::locations`](crate::ApiKeyLayer::locations) returns all locations, for an OpenAPI
/// document.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, header}, location::LocationKind};
///
/// let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), Keyring::single("12345abcde")?);
/// let [first, second] = layer.locations() else { unreachable!() };
/// assert_eq!((first.kind(), first.name()), (LocationKind::Header, "x-api-key"));
/// assert_eq!((second.kind(), second.name()), (LocationKind::Scheme, "Bearer"));
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Example: read locations from configuration
///
/// ```
/// use tower_api_key::{ApiKeyLayer, KeyLocation, Keyring};
///
/// # let names = ["x-api-key", "x-token"];
/// let locations: Vec<KeyLocation> =
///     names.iter().map(|name| KeyLocation::try_header(name)).collect::<Result<_, _>>()?;
/// let layer = ApiKeyLayer::try_new(locations, Keyring::single("12345abcde")?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyLocation(pub(super) Arc<Kind>);

#[derive(PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
    Scheme(SchemeName),
}

impl KeyLocation {
    pub(super) fn new(kind: Kind) -> Self {
        Self(Arc::new(kind))
    }

    /// Returns the kind.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> LocationKind {
        match &*self.0 {
            Kind::Header(_) => LocationKind::Header,
            Kind::Query(_) => LocationKind::Query,
            Kind::Cookie(_) => LocationKind::Cookie,
            Kind::Scheme(_) => LocationKind::Scheme,
        }
    }

    /// Returns the name of the header (in lower case), parameter, cookie or scheme.
    #[must_use]
    pub fn name(&self) -> &str {
        match &*self.0 {
            Kind::Header(name) => name.as_str(),
            Kind::Query(name) | Kind::Cookie(name) => name,
            Kind::Scheme(scheme) => scheme.as_str(),
        }
    }

    /// Returns whether this is the `Bearer` scheme.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        matches!(&*self.0, Kind::Scheme(scheme) if scheme.is_bearer())
    }

    /// The header of the location. A query parameter has none.
    pub(crate) fn header_name(&self) -> Option<&HeaderName> {
        match &*self.0 {
            Kind::Header(name) => Some(name),
            Kind::Cookie(_) => Some(&http::header::COOKIE),
            Kind::Scheme(_) => Some(&AUTHORIZATION),
            Kind::Query(_) => None,
        }
    }

    /// Whether this is a clone of the other, which is compared faster than two equal ones.
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_in_authorization(&self) -> bool {
        self.header_name() == Some(&AUTHORIZATION)
    }

    // Inlined for the kinds that most services use, because a value that passes through memory costs
    // sixty instructions.
    #[inline(always)]
    pub(crate) fn read<'a>(&'a self, head: RequestHead<'a>) -> Content<'a> {
        match &*self.0 {
            Kind::Header(name) => header::read(head.headers(), name),
            Kind::Scheme(scheme) => authorization::read(head.headers(), scheme.as_str()),
            Kind::Query(_) | Kind::Cookie(_) => self.read_outlined(head),
        }
    }

    #[inline(never)]
    fn read_outlined<'a>(&'a self, head: RequestHead<'a>) -> Content<'a> {
        match &*self.0 {
            Kind::Query(name) => query::read(head.uri(), name),
            Kind::Cookie(name) => cookie::read(head.headers(), name),
            Kind::Header(_) | Kind::Scheme(_) => Content::Absent,
        }
    }

    /// Whether this location holds more than one value, even if an extractor ignores some of them.
    pub(crate) fn has_multiple(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        match &*self.0 {
            Kind::Header(name) => headers.get_all(name).into_iter().nth(1).is_some(),
            Kind::Query(name) => query::values(uri, name).nth(1).is_some(),
            Kind::Cookie(name) => cookie::values(headers, name).nth(1).is_some(),
            Kind::Scheme(_) => headers.get_all(AUTHORIZATION).into_iter().nth(1).is_some(),
        }
    }

    /// Removes every key in this location from the headers.
    #[inline]
    pub(crate) fn strip_headers(&self, headers: &mut HeaderMap) {
        match &*self.0 {
            Kind::Header(name) => {
                headers.remove(name);
            }
            Kind::Cookie(name) => cookie::strip(headers, name),
            Kind::Scheme(scheme) => authorization::strip(headers, scheme.as_str()),
            Kind::Query(_) => {}
        }
    }

    /// Removes every key in this location from the query. The rest stays, byte for byte.
    pub(crate) fn strip_uri(&self, uri: &mut Uri) {
        if let Kind::Query(name) = &*self.0 {
            query::strip(uri, name);
        }
    }

    /// Marks the header sensitive, because `Debug` and HPACK then leave its value out.
    pub(crate) fn set_sensitive(&self, headers: &mut HeaderMap) {
        let name = self.header_name();
        for (_, line) in headers.iter_mut().filter(|(header, _)| Some(*header) == name) {
            line.set_sensitive(true);
        }
    }
}

/// Writes the kind and the name, as in ``header `x-api-key` ``.
impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind().as_str(), self.name())
    }
}

impl fmt::Debug for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLocation({self})")
    }
}
