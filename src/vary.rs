use std::collections::HashSet;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, VARY},
};

use crate::place::{Place, PlaceKind};

/// The headers by whose absence or value a response could differ, as a line written when the layer is
/// built.
///
/// A shared cache keeps nothing that was asked for with `Authorization` unless it is told to (RFC 9111
/// §3.5), so that this counts only where one may ask without, or where the inner service tells it so.
#[derive(Clone, Debug)]
pub(crate) struct Vary {
    line: Option<HeaderValue>,
    pub(crate) authorization_if_shared: bool,
}

impl Vary {
    pub(crate) fn new(places: &[Place], optional: bool) -> Self {
        let scheme = |place: &Place| place.kind() == PlaceKind::Scheme;
        let counted = places.iter().filter(|place| optional || !scheme(place));
        let mut names: Vec<_> =
            counted.flat_map(Place::header_name).map(HeaderName::as_str).collect();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name));
        let line = (!names.is_empty()).then(|| names.join(", "));
        Self {
            // Names of headers, joined so, are a header's value.
            line: line.and_then(|line| line.try_into().ok()),
            authorization_if_shared: !optional && places.iter().any(scheme),
        }
    }

    fn names(&self, shared: bool) -> impl Iterator<Item = &str> {
        let line = self.line.as_ref().and_then(|line| line.to_str().ok());
        let authorization =
            (shared && self.authorization_if_shared).then(|| AUTHORIZATION.as_str());
        line.into_iter().flat_map(|line| line.split(", ")).chain(authorization)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap, shared: bool) {
        if shared || headers.contains_key(VARY) {
            self.write_beside(headers, shared);
        } else if let Some(line) = self.line {
            headers.try_append(VARY, line).ok();
        }
    }

    /// Makes one line of theirs and what they have not named: some caches read the last line alone,
    /// nginx before 1.23 among them.
    fn write_beside(&self, headers: &mut HeaderMap, shared: bool) {
        let is_new = |name: &&str| {
            !says(headers, &VARY, |theirs| theirs == "*" || theirs.eq_ignore_ascii_case(name))
        };
        let ours = self.names(shared).filter(is_new).map(str::as_bytes);
        let theirs = headers.get_all(VARY).into_iter().map(HeaderValue::as_bytes);
        let joined = theirs.chain(ours).collect::<Vec<_>>().join(&b", "[..]);
        // Of valid values it is one, too.
        if let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
            if !line.is_empty() {
                headers.try_insert(VARY, line).ok();
            }
        }
    }
}

/// Whether a comma-separated header has a member of this kind.
pub(crate) fn says(headers: &HeaderMap, name: &HeaderName, wanted: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name).into_iter().flat_map(|line| line.to_str());
    lines.flat_map(|line| line.split(',')).any(|member| wanted(member.trim()))
}
