//! Places: where a key may stand, declared once for all that follows from it.

mod authorization;
mod cookie;
mod header;
mod kind;
mod left;
mod query;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, COOKIE},
};

pub use self::kind::PlaceKind;
pub(crate) use self::left::Left;
pub(crate) use self::{
    authorization::{
        Foreign, SchemeValue, begins_with_bearer, read as read_authorization, read_foreign,
    },
    cookie::values as cookie_values,
    header::{has_other_meaning, header_name},
    query::values as query_values,
};
use crate::error::{ConfigError, ConfigErrorKind, literal};

/// Where a key may stand: a header, a query parameter, a cookie, or an `Authorization` scheme.
///
/// From this one declaration come the challenge of a 401, what is taken out of a request, what is
/// marked sensitive, and `Vary`. [`ApiKeyLayer::places`](crate::ApiKeyLayer::places) lists them, to
/// draw an OpenAPI document from.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, header}, place::PlaceKind};
///
/// let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), Keyring::single("12345abcde")?);
/// let [first, second] = layer.places() else { unreachable!() };
/// assert_eq!((first.kind(), first.name()), (PlaceKind::Header, "x-api-key"));
/// assert_eq!((second.kind(), second.name()), (PlaceKind::Scheme, "Bearer"));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place(Arc<Kind>);

#[derive(PartialEq, Eq, Hash)]
enum Kind {
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
    Scheme(SchemeName),
}

/// Schemes that differ in case alone are one (RFC 9110 §11.1).
struct SchemeName(Box<str>);

impl PartialEq for SchemeName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for SchemeName {}

impl Hash for SchemeName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

impl Place {
    /// A header, named in any case.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_header`](Self::try_header) is for names from configuration.
    #[must_use]
    #[track_caller]
    pub fn header(name: &str) -> Self {
        literal(Self::try_header(name))
    }

    /// A header whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// For what is no header name, and for `authorization` and `cookie`: see
    /// [`bearer`](Self::bearer), [`scheme`](Self::scheme) and [`cookie`](Self::cookie). Headers that HTTP
    /// needs for something else are an error as well, such as `host` and `proxy-authorization`.
    pub fn try_header(name: &str) -> Result<Self, ConfigError> {
        Ok(Self::of_header(header_name(name)?))
    }

    pub(crate) fn of_header(name: HeaderName) -> Self {
        Self(Arc::new(Kind::Header(name)))
    }

    /// A query parameter, by its decoded name, which is case-sensitive.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_query`](Self::try_query) is for names from configuration.
    #[must_use]
    #[track_caller]
    pub fn query(name: &str) -> Self {
        literal(Self::try_query(name))
    }

    /// A query parameter whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// For anything but one or more visible ASCII characters.
    pub fn try_query(name: &str) -> Result<Self, ConfigError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(ConfigErrorKind::QueryName));
        }
        Ok(Self(Arc::new(Kind::Query(name.into()))))
    }

    /// A cookie, by its name, which is case-sensitive.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_cookie`](Self::try_cookie) is for names from configuration.
    #[must_use]
    #[track_caller]
    pub fn cookie(name: &str) -> Self {
        literal(Self::try_cookie(name))
    }

    /// A cookie whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// For what is no token of RFC 9110 §5.6.2, as RFC 6265 §4.1.1 wants it.
    pub fn try_cookie(name: &str) -> Result<Self, ConfigError> {
        if !is_token(name) {
            return Err(ConfigError::new(ConfigErrorKind::CookieName));
        }
        Ok(Self(Arc::new(Kind::Cookie(name.into()))))
    }

    /// The `Bearer` scheme of the `Authorization` header (RFC 6750).
    #[must_use]
    pub fn bearer() -> Self {
        Self(Arc::new(Kind::Scheme(SchemeName(BEARER.into()))))
    }

    /// A scheme of the `Authorization` header, named in any case.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_scheme`](Self::try_scheme) is for names from configuration.
    #[must_use]
    #[track_caller]
    pub fn scheme(name: &str) -> Self {
        literal(Self::try_scheme(name))
    }

    /// A scheme whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// For what is no token of RFC 9110 §5.6.2.
    pub fn try_scheme(name: &str) -> Result<Self, ConfigError> {
        if !is_token(name) {
            return Err(ConfigError::new(ConfigErrorKind::Scheme));
        }
        if name.eq_ignore_ascii_case(BEARER) {
            return Ok(Self::bearer());
        }
        Ok(Self(Arc::new(Kind::Scheme(SchemeName(name.into())))))
    }

    /// What kind of place it is.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> PlaceKind {
        match &*self.0 {
            Kind::Header(_) => PlaceKind::Header,
            Kind::Query(_) => PlaceKind::Query,
            Kind::Cookie(_) => PlaceKind::Cookie,
            Kind::Scheme(_) => PlaceKind::Scheme,
        }
    }

    /// The name of the header (in lower case), parameter, cookie or scheme.
    #[must_use]
    pub fn name(&self) -> &str {
        match &*self.0 {
            Kind::Header(name) => name.as_str(),
            Kind::Query(name) | Kind::Cookie(name) | Kind::Scheme(SchemeName(name)) => name,
        }
    }

    /// Whether it is the `Bearer` scheme.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.kind() == PlaceKind::Scheme && self.name() == BEARER
    }

    /// The header whose value decides, for `Vary`; a query stands in the URL itself.
    pub(crate) fn header_name(&self) -> Option<&HeaderName> {
        match &*self.0 {
            Kind::Header(name) => Some(name),
            Kind::Cookie(_) => Some(&COOKIE),
            Kind::Scheme(_) => Some(&AUTHORIZATION),
            Kind::Query(_) => None,
        }
    }

    /// Whether more than one value stands in this place, whatever an extractor made of them.
    pub(crate) fn holds_several(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        match &*self.0 {
            Kind::Header(name) => headers.get_all(name).into_iter().nth(1).is_some(),
            Kind::Query(name) => query_values(uri, name).nth(1).is_some(),
            Kind::Cookie(name) => cookie_values(headers, name).nth(1).is_some(),
            Kind::Scheme(_) => headers.get_all(AUTHORIZATION).into_iter().nth(1).is_some(),
        }
    }

    /// Takes every key that stands in this place out of the headers.
    #[inline]
    pub(crate) fn take_out_of_headers(&self, headers: &mut HeaderMap) {
        match &*self.0 {
            Kind::Header(name) => {
                headers.remove(name);
            }
            Kind::Cookie(name) => cookie::take_out(headers, name),
            Kind::Scheme(SchemeName(scheme)) => authorization::take_out(headers, scheme),
            Kind::Query(_) => {}
        }
    }

    /// Takes every key that stands in this place out of the query. All else stays, byte for byte.
    pub(crate) fn take_out_of_uri(&self, uri: &mut Uri) {
        if let Kind::Query(name) = &*self.0 {
            query::take_out(uri, name);
        }
    }

    /// Marks the header that holds the key sensitive, so that `Debug` and HPACK keep it out.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        let name = self.header_name();
        for (_, line) in headers.iter_mut().filter(|(header, _)| Some(*header) == name) {
            line.set_sensitive(true);
        }
    }
}

/// Such as ``header `x-api-key` ``.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind().as_str(), self.name())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Keeps the lines of a header that are wanted, in their order. Headers that are full lose all but one:
/// `HeaderMap` makes room for one more even where a name is there already.
fn keep(headers: &mut HeaderMap, name: &HeaderName, wanted: impl Fn(&HeaderValue) -> bool) {
    let lines = headers.get_all(name).into_iter();
    let wanted: Vec<_> = lines.filter(|line| wanted(line)).cloned().collect();
    headers.remove(name);
    for line in wanted {
        headers.try_append(name, line).ok();
    }
}

const BEARER: &str = "Bearer";

/// A token of RFC 9110 §5.6.2, by the parser of header names, which are tokens.
fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}
