use std::{fmt, slice, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, ORIGIN, RETRY_AFTER},
};
use zeroize::Zeroizing;

use crate::{
    challenge::Challenges,
    error::{ConfigError, ConfigErrorKind},
    extract::Head,
    key::DEFAULT_MAX_LEN,
    place::{Foreign, Left, Place, PlaceKind, read_foreign},
    rejection::{Reason, Rejection, RejectionKind},
    respond::{Grpc, Json, Respond},
    vary::{Vary, says},
};

/// What a layer was told beside its extractor, verifier and observer.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) places: Vec<Place>,
    pub(crate) realm: String,
    reads_authorization: bool,
    challenges: Challenges,
    pub(crate) vary: Vary,
    pub(crate) respond: Arc<dyn Respond + Send + Sync>,
    pub(crate) optional: bool,
    pub(crate) exempt_paths: Vec<String>,
    pub(crate) exempt_if: Vec<Arc<Predicate>>,
    pub(crate) secure_if: Vec<Arc<Predicate>>,
    pub(crate) pass_preflight: bool,
    pub(crate) forward_key: bool,
    pub(crate) max_key_len: usize,
    pub(crate) cache_headers: bool,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) report_only: bool,
}

/// The layer's own `Debug` shows what was configured.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}

pub(crate) type Predicate = dyn Fn(Head<'_>) -> bool + Send + Sync;

impl Policy {
    pub(crate) fn new(places: Vec<Place>) -> Result<Self, ConfigError> {
        if places.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::NoPlace));
        }
        let mut rest = places.iter();
        while let Some(place) = rest.next() {
            if rest.clone().any(|other| other == place) {
                return Err(ConfigError::new(ConfigErrorKind::DuplicatePlace));
            }
        }
        let realm = "api".to_owned();
        Ok(Self {
            reads_authorization: places.iter().any(|place| place.kind() == PlaceKind::Scheme),
            challenges: Challenges::new(&places, &realm),
            vary: Vary::new(&places),
            places,
            realm,
            respond: Arc::new(Json::default()),
            optional: false,
            exempt_paths: Vec::new(),
            exempt_if: Vec::new(),
            secure_if: Vec::new(),
            pass_preflight: false,
            forward_key: false,
            max_key_len: DEFAULT_MAX_LEN,
            cache_headers: true,
            retry_after: None,
            report_only: false,
        })
    }

    /// Whole seconds are all that HTTP can say, and none would be an invitation to hammer.
    pub(crate) fn set_retry_after(&mut self, wait: Duration) {
        let rounded_up = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.retry_after = Some(rounded_up.max(1));
    }

    pub(crate) fn set_realm(&mut self, realm: String) {
        self.challenges = Challenges::new(&self.places, &realm);
        self.realm = realm;
    }

    /// On the raw path that the router sees, byte for byte.
    #[inline(always)]
    pub(crate) fn exempts_path(&self, head: Head<'_>) -> bool {
        self.exempt_paths.iter().any(|path| path == head.uri().path())
    }

    #[inline(always)]
    pub(crate) fn exempts_if(&self, head: Head<'_>) -> bool {
        self.exempt_if.iter().any(|exempt| exempt(head))
    }

    #[inline(always)]
    pub(crate) fn is_secure(&self, head: Head<'_>) -> bool {
        self.secure_if.iter().all(|secure| secure(head))
    }

    /// What the Fetch standard calls a CORS-preflight request, and no other OPTIONS.
    #[inline]
    pub(crate) fn passes_preflight(&self, head: Head<'_>) -> bool {
        self.pass_preflight
            && head.method() == Method::OPTIONS
            && head.headers().contains_key(ORIGIN)
            && head.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Why no key was found. Only a layer that reads `Authorization` looks there.
    #[inline(always)]
    pub(crate) fn why_no_key(&self, head: Head<'_>) -> Reason {
        if self.reads_authorization { self.why_no_scheme(head) } else { Reason::Missing }
    }

    fn why_no_scheme(&self, head: Head<'_>) -> Reason {
        let schemes = self.places.iter().filter(|place| place.kind() == PlaceKind::Scheme);
        let line = head.headers().get(AUTHORIZATION);
        let read = |line| read_foreign(line, schemes.map(Place::name));
        match line.map_or(Foreign::Nothing, read) {
            Foreign::Nothing => Reason::Missing,
            Foreign::NoScheme => Reason::NoScheme,
            Foreign::OtherScheme => Reason::OtherScheme,
        }
    }

    /// The configured place that an extractor means; of one alone it need not tell.
    #[inline]
    pub(crate) fn place(&self, told: Option<&Place>) -> Option<&Place> {
        match (told, &*self.places) {
            (None, [only]) => Some(only),
            (told, places) => places.iter().find(|place| Some(*place) == told),
        }
    }

    /// Empties all configured places, whichever the key came from. A key that may stay is marked
    /// sensitive: all of them where they are forwarded, and `Authorization` on exempt paths, where
    /// it may be meant for somebody else.
    pub(crate) fn take_out<B>(&self, request: &mut Request<B>, exempt: bool) {
        for place in &self.places {
            let kind = place.kind();
            if self.forward_key || (exempt && kind == PlaceKind::Scheme) {
                place.mark(request.headers_mut());
            } else if kind == PlaceKind::Query {
                place.take_out_of_uri(request.uri_mut());
                // axum remembers the URI as it was before `nest` took its prefix.
                #[cfg(feature = "axum")]
                if let Some(axum::extract::OriginalUri(uri)) = request.extensions_mut().get_mut() {
                    place.take_out_of_uri(uri);
                }
            } else {
                place.take_out_of_headers(request.headers_mut());
            }
        }
    }

    /// Bytes that an extractor of someone else's found and that [`take_out`](Self::take_out) leaves. If the
    /// extractor does not tell the place, it is each of them.
    #[cold]
    pub(crate) fn left_behind(
        &self,
        head: Head<'_>,
        found: &[u8],
        place: Option<&Place>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        if self.forward_key || place.is_some_and(|place| place.kind() == PlaceKind::Header) {
            return None;
        }
        // A part of a longer one finds the same lines, and bounds the work.
        let found = found.get(..self.max_key_len).unwrap_or(found);
        let left = self.most_left(head, found, place);
        matches!(left, Left::Perhaps | Left::Yes).then(|| found.to_vec().into())
    }

    fn most_left(&self, head: Head<'_>, found: &[u8], place: Option<&Place>) -> Left {
        let places = place.map_or(&*self.places, slice::from_ref);
        let all = places.iter().map(|place| place.leaves(head.headers(), head.uri(), found));
        all.max().unwrap_or(Left::No)
    }

    /// Removes whole lines for what was [left behind](Self::left_behind).
    #[cold]
    pub(crate) fn strip_lines<B>(
        &self,
        request: &mut Request<B>,
        found: &[u8],
        place: Option<&Place>,
    ) {
        let most = self.most_left(Head::of(request), found, place);
        for place in place.map_or(&*self.places, slice::from_ref) {
            if place.leaves(request.headers(), request.uri(), found) != most {
                continue;
            }
            place.strip_lines(request.headers_mut(), found);
            place.strip_pairs(request.uri_mut(), found);
            #[cfg(feature = "axum")]
            if let Some(axum::extract::OriginalUri(uri)) = request.extensions_mut().get_mut() {
                place.strip_pairs(uri, found);
            }
        }
    }

    /// The response to a rejection: the responder's, with what it cannot lose.
    pub(crate) fn reject(&self, rejection: Rejection, grpc: Option<Grpc>) -> Response<Bytes> {
        let mut response = match grpc {
            Some(grpc) => grpc.respond(&rejection),
            None => self.respond.respond(&rejection),
        };
        if grpc.is_none() {
            let status = response.status();
            self.challenges.write(&rejection, status, response.headers_mut());
        }
        if rejection.kind() == RejectionKind::Failed {
            self.write_retry_after(&mut response, grpc);
        }
        let headers = response.headers_mut();
        if !says(headers, &CACHE_CONTROL, |directive| directive.eq_ignore_ascii_case("no-store")) {
            headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response.extensions_mut().insert(rejection);
        response
    }

    fn write_retry_after(&self, response: &mut Response<Bytes>, grpc: Option<Grpc>) {
        let Some(seconds) = self.retry_after else { return };
        if grpc.is_some() {
            // gRFC A6, "Pushback": a signed 32-bit integer.
            let millis = i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX);
            let name = HeaderName::from_static("grpc-retry-pushback-ms");
            response.headers_mut().insert(name, millis.into());
        } else if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().entry(RETRY_AFTER).or_insert(seconds.into());
        }
    }
}

/// The first byte by which a path matches no request, or is a pattern of some router.
pub(crate) fn wrong_byte_of_a_path(path: &str) -> Option<usize> {
    if !path.starts_with('/') {
        return Some(0);
    }
    let is_hex = |at: usize| path.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    path.bytes().zip(0..).position(|(byte, at)| match byte {
        b'%' => !(is_hex(at + 1) && is_hex(at + 2)),
        b':' => path.get(..at).is_some_and(|before| before.ends_with('/')),
        b'?' | b'#' | b'*' | b'{' | b'}' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' => true,
        byte => !byte.is_ascii_graphic(),
    })
}
