use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, RETRY_AFTER},
};

use crate::{
    challenge::Challenges,
    error::{ConfigError, ConfigErrorKind},
    extract::Head,
    key::DEFAULT_MAX_LEN,
    place::{Place, PlaceKind},
    rejection::{Rejection, RejectionKind},
    respond::{Grpc, Json, Respond},
    vary::{Vary, says},
};

/// What a layer was told beside its extractor, verifier and observer.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) places: Vec<Place>,
    pub(crate) realm: String,
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
            challenges: Challenges::new(&places, &realm),
            vary: Vary::new(&places, false),
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

    pub(crate) fn set_optional(&mut self) {
        self.optional = true;
        self.vary = Vary::new(&self.places, true);
    }

    pub(crate) fn set_report_only(&mut self) {
        self.report_only = true;
        self.vary = Vary::new(&self.places, true);
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
