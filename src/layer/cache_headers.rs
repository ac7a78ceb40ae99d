use http::{
    HeaderMap, HeaderValue, Method,
    header::{CACHE_CONTROL, REFERRER_POLICY},
};

use super::{config::Settings, vary::Vary};
use crate::{
    header_list::list_contains,
    location::{KeyLocation, LocationKind},
    rejection::{Rejection, RejectionKind},
};

/// The headers to keep a cache from giving one client's response to another.
#[derive(Clone, Copy)]
pub(super) struct CacheHeaders {
    key: KeySent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeySent {
    No,
    Yes,
    InUrl,
}

impl CacheHeaders {
    /// For the response to a request without a key.
    pub(super) fn anonymous(settings: &Settings, method: &Method) -> Option<Self> {
        Self::new(settings, method, || KeySent::No)
    }

    /// For the response to a client.
    pub(super) fn keyed(
        settings: &Settings,
        method: &Method,
        location: Option<&KeyLocation>,
    ) -> Option<Self> {
        let in_url = || location.is_some_and(|location| location.kind() == LocationKind::Query);
        Self::new(settings, method, || if in_url() { KeySent::InUrl } else { KeySent::Yes })
    }

    /// For the response to a reported request. Its key can be valid, and can be in the URL unless the
    /// location is known.
    pub(super) fn reported(
        settings: &Settings,
        method: &Method,
        rejection: &Rejection,
    ) -> Option<Self> {
        if rejection.kind() == RejectionKind::Missing {
            return Self::anonymous(settings, method);
        }
        let in_url = || {
            settings.locations.list().iter().find(|location| location.kind() == LocationKind::Query)
        };
        Self::keyed(settings, method, rejection.location().or_else(in_url))
    }

    /// Responses to other methods are not cached.
    fn new(settings: &Settings, method: &Method, key: impl FnOnce() -> KeySent) -> Option<Self> {
        let cacheable = matches!(*method, Method::GET | Method::HEAD);
        (settings.cache_headers && cacheable).then(|| Self { key: key() })
    }

    /// Adds headers without contradicting the inner service. A full map stays unchanged.
    pub(super) fn write(self, vary: &Vary, headers: &mut HeaderMap) {
        vary.write(headers);
        if self.key != KeySent::No && !list_contains(headers, &CACHE_CONTROL, controls_storage) {
            headers.try_append(CACHE_CONTROL, HeaderValue::from_static("private")).ok();
        }
        if self.key == KeySent::InUrl && !headers.contains_key(REFERRER_POLICY) {
            headers.try_append(REFERRER_POLICY, HeaderValue::from_static("no-referrer")).ok();
        }
    }
}

/// Whether a directive controls storage of the response. `private="…"` is about single headers.
fn controls_storage(directive: &str) -> bool {
    let name = directive.split_once('=').map_or(directive, |(name, _)| name);
    ["private", "no-store", "public"].iter().any(|it| directive.eq_ignore_ascii_case(it))
        || name.trim_end().eq_ignore_ascii_case("s-maxage")
}
