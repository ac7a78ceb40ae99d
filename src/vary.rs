use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::VARY};

use crate::place::Place;

/// The request headers on which a response depends, as a line that is written when the layer is built.
///
/// `Authorization` is among them even if every request needs a key. RFC 9111 §3.5 keeps responses to
/// `Authorization` out of shared caches, but fields that only one cache reads, such as
/// `X-Accel-Expires`, override that rule.
#[derive(Clone, Debug)]
pub(crate) struct Vary(Option<HeaderValue>);

impl Vary {
    pub(crate) fn new(places: &[Place]) -> Self {
        let mut names: Vec<_> =
            places.iter().flat_map(Place::header_name).map(HeaderName::as_str).collect();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name));
        let line = (!names.is_empty()).then(|| names.join(", "));
        // Names of headers, joined so, are a header's value.
        Self(line.and_then(|line| line.try_into().ok()))
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if headers.contains_key(VARY) {
            self.write_beside(headers);
        } else if let Self(Some(line)) = self {
            headers.try_append(VARY, line).ok();
        }
    }

    /// Makes one line of theirs and what they have not named: some caches read the last line alone,
    /// nginx before 1.23 among them.
    fn write_beside(&self, headers: &mut HeaderMap) {
        let is_new = |name: &&str| {
            !says(headers, &VARY, |theirs| theirs == "*" || theirs.eq_ignore_ascii_case(name))
        };
        let ours = self.0.as_ref().and_then(|line| line.to_str().ok());
        let ours = ours.into_iter().flat_map(|line| line.split(", ")).filter(is_new);
        let theirs = headers.get_all(VARY).into_iter().map(HeaderValue::as_bytes);
        let joined = theirs.chain(ours.map(str::as_bytes)).collect::<Vec<_>>().join(&b", "[..]);
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
