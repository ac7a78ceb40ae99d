//! Extractors: where a request's key is looked for.
//!
//! [`header`](fn@header), [`query`](fn@query), [`cookie`](fn@cookie), [`bearer`] and [`scheme`] each
//! read one place. A tuple of them reads all, and a request may use one of them; [`first_of`] takes
//! the first that is there. [`from_fn`](fn@from_fn) and the trait [`Extract`] are for places of your own.
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::{bearer, header, query}};
//!
//! let keys = Keyring::single("12345abcde")?;
//! let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys);
//! # Ok::<(), tower_api_key::error::ConfigError>(())
//! ```
//!
//! | | |
//! |---|---|
//! | empty or blank value | as if it were not there, in every place |
//! | two header lines, query pairs or cookies of one name, even if equal or empty | ambiguous: 400 |
//! | two places at once (but for [`first_of`]) | ambiguous: 400 |
//! | a comma-joined line (`a, b`) | one value |
//!
//! A query parameter is the weakest place: URLs end up in access logs, browser histories and
//! `Referer` headers (RFC 9700 §4.3.2). It is read only where it is named.

mod authorization;
mod cookie;
mod from_fn;
mod header;
mod query;
mod several;

use std::{borrow::Cow, fmt, sync::Arc};

use http::HeaderValue;
use zeroize::Zeroizing;

pub use self::{
    authorization::{Scheme, bearer, scheme},
    cookie::{Cookie, cookie},
    from_fn::{FromFn, from_fn},
    header::{Header, header},
    query::{Query, query},
    several::{FirstOf, first_of},
};
pub use crate::head::Head;
use crate::{
    key::{is_blank, is_well_formed},
    place::Place,
    rejection::Reason,
};

/// Finds a key in the head of a request, and declares the places where it looks.
///
/// An implementation can do all that the built-in ones do: what it declares is challenged for, and
/// taken out or, where it stays, marked sensitive. If it finds a key that the rule of the place leaves, the
/// layer removes the whole line that holds the key.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, Place, extract::{Extract, Extracted, Head}};
///
/// /// A key behind a version, as in `x-key: v1:12345abcde`.
/// struct Versioned(Place);
///
/// impl Extract for Versioned {
///     fn places(&self) -> Vec<Place> {
///         vec![self.0.clone()]
///     }
///
///     fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
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
/// let layer = ApiKeyLayer::new(Versioned(Place::header("x-key")), Keyring::single("12345abcde")?);
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot find a key in a request",
    label = "not an extractor",
    note = "use `header(\"x-api-key\")`, `query(\"api_key\")`, `cookie(\"…\")`, `bearer()` or `scheme(\"…\")`",
    note = "a tuple or `first_of((…))` holds two to eight extractors: nest tuples for more",
    note = "wrap a closure in `extract::from_fn(Place::header(\"…\"), |head| …)`"
)]
pub trait Extract {
    /// The places where a key may stand. Asked once, when the layer is built.
    fn places(&self) -> Vec<Place>;

    /// Looks for a key.
    fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a>;
}

macro_rules! pointers {
    ($($pointer:ident)+) => {$(
        impl<E: Extract + ?Sized> Extract for $pointer<E> {
            fn places(&self) -> Vec<Place> {
                (**self).places()
            }

            fn extract<'a>(&'a self, head: Head<'a>) -> Extracted<'a> {
                (**self).extract(head)
            }
        }
    )+};
}

pointers! { Box Arc }

/// What an extractor found.
#[derive(Debug)]
pub enum Extracted<'a> {
    /// No key. An empty or blank value counts as none.
    Absent,
    /// One value, which may still be no key at all.
    Found(Found<'a>),
    /// More than one value: the request is refused whatever they are.
    Ambiguous,
}

/// A value that was found, and its place.
pub struct Found<'a> {
    value: Result<Value<'a>, Malformed>,
    place: Option<&'a Place>,
    /// Whether the place's own rule found it, which removes it as well.
    by_rule: bool,
}

enum Value<'a> {
    Borrowed(&'a [u8]),
    /// A decoded one, which is wiped when it is dropped.
    Owned(Zeroizing<Vec<u8>>),
}

#[derive(Clone, Copy)]
struct Malformed;

impl<'a> Extracted<'a> {
    /// A value in one of the places that the extractor declared. The layer removes it even if the place's
    /// own rule would leave it.
    #[must_use]
    #[inline]
    pub fn found(value: impl Into<Cow<'a, [u8]>>, place: &'a Place) -> Self {
        Self::at(value.into(), Some(place), false)
    }

    /// A value that the place's own rule found.
    #[inline]
    pub(crate) fn by_rule(value: impl Into<Cow<'a, [u8]>>, place: &'a Place) -> Self {
        Self::at(value.into(), Some(place), true)
    }

    /// Something that stands where a key should and can be none: refused like any wrong key, and
    /// never shown to a verifier.
    #[must_use]
    pub fn malformed(place: &'a Place) -> Self {
        Self::Found(Found { value: Err(Malformed), place: Some(place), by_rule: false })
    }

    #[inline]
    fn at(value: Cow<'a, [u8]>, place: Option<&'a Place>, by_rule: bool) -> Self {
        let value = Value::from(value);
        if is_blank(value.bytes()) {
            Self::Absent
        } else {
            Self::Found(Found { value: Ok(value), place, by_rule })
        }
    }

    fn or_at(self, place: &'a Place) -> Self {
        match self {
            Self::Found(found) => {
                Self::Found(Found { place: found.place.or(Some(place)), ..found })
            }
            other => other,
        }
    }
}

impl<'a> Found<'a> {
    /// The place, where the extractor has told it.
    #[must_use]
    #[inline]
    pub fn place(&self) -> Option<&'a Place> {
        self.place
    }

    /// The value, unless it is known to be malformed: for an extractor that reads a part of it.
    #[must_use]
    pub fn expose(&self) -> Option<&[u8]> {
        self.value.as_ref().ok().map(Value::bytes)
    }

    /// The value, unless the place's own rule found it.
    #[inline]
    pub(crate) fn not_by_rule(&self) -> Option<&[u8]> {
        if self.by_rule { None } else { self.expose() }
    }

    /// The value, if it can be a key. What is too long is not looked at.
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
        f.debug_struct("Found").field("place", &self.place).finish_non_exhaustive()
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

/// Space and tab at the edges are no part of a header's value.
impl<'a> From<Option<&'a HeaderValue>> for Extracted<'a> {
    fn from(value: Option<&'a HeaderValue>) -> Self {
        value.map(|value| crate::key::trim(value.as_bytes())).into()
    }
}

impl From<Option<String>> for Extracted<'_> {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Absent, |value| Self::at(value.into_bytes().into(), None, false))
    }
}

/// One value is found, none is absence, two are too many.
fn only<'a, T>(
    mut values: impl Iterator<Item = T>,
    found: impl FnOnce(T) -> Extracted<'a>,
) -> Extracted<'a> {
    match (values.next(), values.next()) {
        (None, _) => Extracted::Absent,
        (Some(value), None) => found(value),
        (Some(_), Some(_)) => Extracted::Ambiguous,
    }
}
