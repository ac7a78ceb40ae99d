use std::collections::HashSet;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CACHE_CONTROL, CDN_CACHE_CONTROL, REFERRER_POLICY, VARY},
};

use crate::{
    place::{Place, PlaceKind},
    policy::{Policy, says},
    rejection::{Reason, Rejection},
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

/// The headers by whose absence or value a response could differ, as a line written when the layer is
/// built.
///
/// A shared cache keeps nothing that was asked for with `Authorization` unless it is told to (RFC 9111
/// §3.5), so that this counts only where one may ask without, or where the inner service tells it so.
#[derive(Clone, Debug)]
pub(crate) struct Vary {
    line: Option<HeaderValue>,
    authorization_if_shared: bool,
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

    fn write(self, headers: &mut HeaderMap, shared: bool) {
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
        if rejection.reason() == Reason::Missing {
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
        let shared = says(headers, &CACHE_CONTROL, is_for_all)
            || (self.vary.authorization_if_shared && says(headers, &CDN_CACHE_CONTROL, is_for_all));
        self.vary.write(headers, shared);
        if self.key != KeySent::No && !shared && !says(headers, &CACHE_CONTROL, is_for_one) {
            headers.try_append(CACHE_CONTROL, HeaderValue::from_static("private")).ok();
        }
        if self.key == KeySent::InUrl && !headers.contains_key(REFERRER_POLICY) {
            headers.try_append(REFERRER_POLICY, HeaderValue::from_static("no-referrer")).ok();
        }
    }
}

fn is_for_all(directive: &str) -> bool {
    let name = directive.split_once('=').map_or(directive, |(name, _)| name);
    directive.eq_ignore_ascii_case("public") || name.trim_end().eq_ignore_ascii_case("s-maxage")
}

/// `private="…"` is about single headers.
fn is_for_one(directive: &str) -> bool {
    ["private", "no-store"].iter().any(|it| directive.eq_ignore_ascii_case(it))
}
