use http::{
    HeaderMap, HeaderValue, Method,
    header::{CACHE_CONTROL, REFERRER_POLICY},
};

use crate::{
    place::{Place, PlaceKind},
    policy::Policy,
    rejection::{Rejection, RejectionKind},
    vary::{Vary, says},
};

/// What keeps a cache from giving one client's response to another, or to nobody in particular.
///
/// It is `pub` only since a [`Step`](crate::future::Step) names it.
#[derive(Debug)]
pub struct CacheHeaders {
    vary: Vary,
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

    /// For the response to a request that should have been turned away. Its key may be good all the
    /// same, and may stand in the URL unless it is known to stand elsewhere.
    pub(crate) fn reported(
        policy: &Policy,
        method: &Method,
        rejection: &Rejection,
    ) -> Option<Self> {
        if rejection.kind() == RejectionKind::Missing {
            return Self::anonymous(policy, method);
        }
        let in_url = || policy.places.iter().find(|place| place.kind() == PlaceKind::Query);
        Self::keyed(policy, method, rejection.place().or_else(in_url))
    }

    /// Responses to other methods are not cached.
    fn new(policy: &Policy, method: &Method, key: KeySent) -> Option<Self> {
        let cacheable = matches!(*method, Method::GET | Method::HEAD);
        (policy.cache_headers && cacheable).then(|| Self { vary: policy.vary.clone(), key })
    }

    /// Adds to what the inner service has said, and contradicts none of it. Headers that are full
    /// stay as they are.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        self.vary.write(headers);
        if self.key != KeySent::No && !says(headers, &CACHE_CONTROL, decides_who_stores) {
            headers.try_append(CACHE_CONTROL, HeaderValue::from_static("private")).ok();
        }
        if self.key == KeySent::InUrl && !headers.contains_key(REFERRER_POLICY) {
            headers.try_append(REFERRER_POLICY, HeaderValue::from_static("no-referrer")).ok();
        }
    }
}

/// `private="…"` is about single headers.
fn decides_who_stores(directive: &str) -> bool {
    let name = directive.split_once('=').map_or(directive, |(name, _)| name);
    ["private", "no-store", "public"].iter().any(|it| directive.eq_ignore_ascii_case(it))
        || name.trim_end().eq_ignore_ascii_case("s-maxage")
}
