use http::{
    HeaderMap, HeaderValue, Method,
    header::{CACHE_CONTROL, REFERRER_POLICY, VARY},
};

use crate::{
    place::{Place, PlaceKind},
    policy::{Policy, says},
};

/// What keeps a cache from giving one client's response to another, or to nobody in particular.
///
/// It is `pub` only since a [`Step`](crate::future::Step) names it.
#[derive(Debug)]
pub struct CacheHeaders {
    vary: Option<HeaderValue>,
    key: KeySent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySent {
    No,
    Yes,
    InUrl,
}

impl CacheHeaders {
    /// For the response to a request that came without a key.
    pub(crate) fn anonymous(policy: &Policy, method: &Method) -> Option<Self> {
        Self::new(policy, method, KeySent::No)
    }

    /// For the response to a client.
    pub(crate) fn keyed(policy: &Policy, method: &Method, place: Option<&Place>) -> Option<Self> {
        let in_url = place.is_some_and(|place| place.kind() == PlaceKind::Query);
        Self::new(policy, method, if in_url { KeySent::InUrl } else { KeySent::Yes })
    }

    /// Responses to other methods are not cached.
    fn new(policy: &Policy, method: &Method, key: KeySent) -> Option<Self> {
        let cacheable = matches!(*method, Method::GET | Method::HEAD);
        (policy.cache_headers && cacheable).then(|| Self { vary: policy.vary.clone(), key })
    }

    /// Adds to what the inner service has said, and contradicts none of it. Headers that are full
    /// stay as they are.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if let Some(line) = self.vary {
            if headers.contains_key(VARY) {
                vary_by_more(headers, &line);
            } else {
                headers.try_append(VARY, line).ok();
            }
        }
        if self.key != KeySent::No && !says(headers, &CACHE_CONTROL, decides) {
            headers.try_append(CACHE_CONTROL, HeaderValue::from_static("private")).ok();
        }
        if self.key == KeySent::InUrl && !headers.contains_key(REFERRER_POLICY) {
            headers.try_append(REFERRER_POLICY, HeaderValue::from_static("no-referrer")).ok();
        }
    }
}

/// Adds those of our names that are not among theirs.
fn vary_by_more(headers: &mut HeaderMap, line: &HeaderValue) {
    for name in line.to_str().unwrap_or_default().split(", ") {
        let is_named = |it: &str| it == "*" || it.eq_ignore_ascii_case(name);
        if !says(headers, &VARY, is_named) {
            if let Ok(name) = HeaderValue::from_str(name) {
                headers.try_append(VARY, name).ok();
            }
        }
    }
}

/// Whether a directive of theirs says already who may keep the response.
fn decides(directive: &str) -> bool {
    let name = directive.split_once('=').map_or(directive, |(name, _)| name);
    // `private="…"` is about single headers.
    ["private", "no-store", "public"].iter().any(|it| directive.eq_ignore_ascii_case(it))
        || name.trim_end().eq_ignore_ascii_case("s-maxage")
}
