use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::VARY};

use crate::{header_list::list_contains, location::KeyLocation};

/// The line of `Vary`, with the request headers of all locations.
///
/// It names `Authorization` even if every request needs a key. RFC 9111 §3.5 keeps responses to
/// `Authorization` out of shared caches, but fields of a single cache, such as `X-Accel-Expires`,
/// override this rule.
#[derive(Clone, Debug)]
pub(super) struct Vary(Option<HeaderValue>);

impl Vary {
    pub(super) fn new(locations: &[KeyLocation]) -> Self {
        let mut names: Vec<_> =
            locations.iter().flat_map(KeyLocation::header_name).map(HeaderName::as_str).collect();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name));
        let line = (!names.is_empty()).then(|| names.join(", "));
        // Header names that are joined with commas are a valid header value.
        Self(line.and_then(|line| line.try_into().ok()))
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if headers.contains_key(VARY) {
            self.merge(headers);
        } else if let Self(Some(line)) = self {
            headers.try_append(VARY, line.clone()).ok();
        }
    }

    /// Merges all lines into one, because some caches read only the last line, such as nginx before 1.23.
    fn merge(&self, headers: &mut HeaderMap) {
        let is_new = |name: &&str| {
            !list_contains(headers, &VARY, |theirs| {
                theirs == "*" || theirs.eq_ignore_ascii_case(name)
            })
        };
        let ours = self.0.as_ref().and_then(|line| line.to_str().ok());
        let ours = ours.into_iter().flat_map(|line| line.split(", ")).filter(is_new);
        let theirs = headers.get_all(VARY).into_iter().map(HeaderValue::as_bytes);
        let joined = theirs.chain(ours.map(str::as_bytes)).collect::<Vec<_>>().join(&b", "[..]);
        // Valid values that are joined with commas are a valid value.
        if let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
            if !line.is_empty() {
                headers.try_insert(VARY, line).ok();
            }
        }
    }
}
