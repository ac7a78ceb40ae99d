use std::{borrow::Cow, fmt};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    key::{is_blank, is_well_formed, trim},
    location::KeyLocation,
    rejection::Reason,
};

/// The result of an extractor. [`Extract`](super::Extract) has an example.
#[derive(Debug)]
pub enum Extracted<'a> {
    /// The request has no key. An empty or blank value counts as no key.
    Absent,
    /// The request has one value. It can be malformed.
    Found(Found<'a>),
    /// The request has more than one value. The layer rejects it.
    Ambiguous,
}

/// A value and its location, found by an extractor.
///
/// # Example: read a part of the value of another extractor
///
/// ```
/// use tower_api_key::extract::{Extract, Extracted, RequestHead, header};
///
/// let location = header("x-key");
/// let request = http::Request::get("/").header("x-key", "v1:12345abcde").body(())?;
/// let Extracted::Found(found) = location.extract(RequestHead::of(&request)) else { unreachable!() };
/// assert_eq!(found.expose().and_then(|value| value.strip_prefix(b"v1:")), Some(&b"12345abcde"[..]));
/// assert_eq!(found.location(), Some(&location));
/// # Ok::<(), http::Error>(())
/// ```
pub struct Found<'a> {
    value: Result<Value<'a>, Malformed>,
    location: Option<&'a KeyLocation>,
    /// Whether the location's own rule found it, which removes it as well.
    by_rule: bool,
}

enum Value<'a> {
    Borrowed(&'a [u8]),
    /// A decoded value, which is wiped when it is dropped.
    Owned(Zeroizing<Vec<u8>>),
}

#[derive(Clone, Copy)]
struct Malformed;

impl<'a> Extracted<'a> {
    /// Creates a value in one of the extractor's locations.
    ///
    /// The layer removes the value even if the location's own rule would leave it.
    #[must_use]
    #[inline]
    pub fn found(value: impl Into<Cow<'a, [u8]>>, location: &'a KeyLocation) -> Self {
        Self::at(value.into(), Some(location), false)
    }

    /// Creates a value from the location's own rule.
    #[inline]
    pub(super) fn by_rule(value: impl Into<Cow<'a, [u8]>>, location: &'a KeyLocation) -> Self {
        Self::at(value.into(), Some(location), true)
    }

    /// Creates a value that cannot be a key.
    ///
    /// The layer rejects it like a wrong key and calls no verifier.
    #[must_use]
    pub fn malformed(location: &'a KeyLocation) -> Self {
        Self::Found(Found { value: Err(Malformed), location: Some(location), by_rule: false })
    }

    #[inline]
    fn at(value: Cow<'a, [u8]>, location: Option<&'a KeyLocation>, by_rule: bool) -> Self {
        let value = Value::from(value);
        if is_blank(value.bytes()) {
            Self::Absent
        } else {
            Self::Found(Found { value: Ok(value), location, by_rule })
        }
    }

    pub(super) fn with_default_location(self, location: &'a KeyLocation) -> Self {
        match self {
            Self::Found(found) => {
                Self::Found(Found { location: found.location.or(Some(location)), ..found })
            }
            other => other,
        }
    }
}

impl<'a> Found<'a> {
    /// Returns the location, if the extractor named one.
    #[must_use]
    #[inline]
    pub fn location(&self) -> Option<&'a KeyLocation> {
        self.location
    }

    /// Returns the value, unless it is malformed.
    #[must_use]
    pub fn expose(&self) -> Option<&[u8]> {
        self.value.as_ref().ok().map(Value::bytes)
    }

    /// The value, unless the location's own rule found it.
    #[inline]
    pub(crate) fn not_by_rule(&self) -> Option<&[u8]> {
        if self.by_rule { None } else { self.expose() }
    }

    /// The value, if it can be a key. If the value is too long, it is not read.
    #[inline]
    pub(crate) fn key(&self, max_len: usize) -> Result<&[u8], Reason> {
        match self.value.as_ref().map(Value::bytes) {
            Ok(value) if value.len() > max_len => Err(Reason::TooLong),
            Ok(value) if is_well_formed(value) => Ok(value),
            _ => Err(Reason::Malformed),
        }
    }
}

impl Value<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }
}

impl<'a> From<Cow<'a, [u8]>> for Value<'a> {
    fn from(value: Cow<'a, [u8]>) -> Self {
        match value {
            Cow::Borrowed(value) => Self::Borrowed(value),
            Cow::Owned(value) => Self::Owned(value.into()),
        }
    }
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("location", &self.location).finish_non_exhaustive()
    }
}

impl<'a> From<Option<&'a [u8]>> for Extracted<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Absent, |value| Self::at(value.into(), None, false))
    }
}

impl<'a> From<Option<&'a str>> for Extracted<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map(str::as_bytes).into()
    }
}

/// Trims spaces and tabs, because they are not part of a header value.
impl<'a> From<Option<&'a HeaderValue>> for Extracted<'a> {
    fn from(value: Option<&'a HeaderValue>) -> Self {
        value.map(|value| trim(value.as_bytes())).into()
    }
}

impl From<Option<String>> for Extracted<'_> {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Absent, |value| Self::at(value.into_bytes().into(), None, false))
    }
}
