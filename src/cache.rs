use std::sync::Arc;

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
    policy: Arc<Policy>,
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
    pub(crate) fn anonymous(policy: &Arc<Policy>, method: &Method) -> Option<Self> {
        Self::new(policy, method, KeySent::No)
    }

    /// For the response to a client.
    pub(crate) fn keyed(
        policy: &Arc<Policy>,
        method: &Method,
        place: Option<&Place>,
    ) -> Option<Self> {
        let in_url = place.is_some_and(|place| place.kind() == PlaceKind::Query);
        Self::new(policy, method, if in_url { KeySent::InUrl } else { KeySent::Yes })
    }

    /// Responses to other methods are not cached.
    fn new(policy: &Arc<Policy>, method: &Method, key: KeySent) -> Option<Self> {
        let cacheable = matches!(*method, Method::GET | Method::HEAD);
        (policy.cache_headers && cacheable).then(|| Self { policy: Arc::clone(policy), key })
    }

    /// Adds to what the inner service has said, and contradicts none of it.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let is_any = |name: &str| name == "*";
        for name in self.policy.varies_by() {
            let is_named = |it: &str| is_any(it) || it.eq_ignore_ascii_case(name.as_str());
            if !says(headers, &VARY, is_named) {
                headers.append(VARY, HeaderValue::from(name.clone()));
            }
        }
        let decides = |directive: &str| {
            let name = directive.split_once('=').map_or(directive, |(name, _)| name);
            // `private="…"` is about single headers.
            ["private", "no-store", "public"].iter().any(|it| directive.eq_ignore_ascii_case(it))
                || name.trim_end().eq_ignore_ascii_case("s-maxage")
        };
        if self.key != KeySent::No && !says(headers, &CACHE_CONTROL, decides) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if self.key == KeySent::InUrl && !headers.contains_key(REFERRER_POLICY) {
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
    }
}
