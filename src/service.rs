use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response};
use tower_service::Service;
use zeroize::Zeroizing;

use crate::{
    anonymous::Anonymous,
    body::ResponseBody,
    cache::CacheHeaders,
    config::Config,
    error::literal,
    extract::{Extract, Extracted, Head},
    future::{Refused, ResponseFuture, Step},
    observe::{Decision, Observe, Verdict},
    place::{Place, PlaceKind, begins_with_bearer},
    rejection::{Reason, Rejection},
    respond::Grpc,
    rest::Rest,
    verify::{Answer, Presented, Refusal, Verify},
};

/// Lets only requests with a key through to the inner service. Made by
/// [`ApiKeyLayer`](crate::ApiKeyLayer), where the examples are.
pub struct ApiKeyService<S, E, V, O = ()> {
    inner: S,
    config: Arc<Config<E, V, O>>,
}

/// The client that a verifier names, and its wait for one.
type Named<V> = <<V as Verify>::Answer as Answer>::Client;
type Waiting<V, R> = <<V as Verify>::Answer as Answer>::Waiting<R>;

impl<S, B, B2, E, V, O> Service<Request<B>> for ApiKeyService<S, E, V, O>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    E: Extract,
    V: Verify,
    O: Observe<Named<V>>,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Waiting<V, Rest<S, B, E, V, O>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { inner, config } = self;
        let started = config.observe.start();

        let mut left = None;
        let way = config.find_way(Head::of(&request), &mut left);
        if let Some((found, place)) = left {
            config.policy.strip_lines(&mut request, &found, place);
        }
        let decided = match way {
            Way::Open(open) => Ok(config.let_by(&mut request, open, started)),
            Way::Closed(rejection) => config.turn_away_or_report(&mut request, rejection, started),
            Way::Asked(answer, asked) => match answer.now() {
                Ok(answer) => config.decide(&mut request, asked, answer, started),
                Err(future) => {
                    // Nobody holds a key while he waits.
                    config.policy.take_out(&mut request, false);
                    // The service that was made ready is the one to call, once we know.
                    let another = inner.clone();
                    let inner = mem::replace(inner, another);
                    let Asked { place, has_scheme } = asked;
                    let (config, place) = (Arc::clone(config), place.cloned());
                    let rest = Rest { inner, config, request, place, has_scheme, started };
                    return ResponseFuture::waiting(V::Answer::wait(future, rest));
                }
            },
        };
        match decided {
            Ok(cache) => Step::inner(inner.call(request), cache).into(),
            Err(refused) => {
                // Gives back the permit that the inner service may have reserved in `poll_ready`.
                *inner = inner.clone();
                Step::refused(refused).into()
            }
        }
    }
}

/// In, with what is added to the response, or out.
pub(crate) type Decided = Result<Option<CacheHeaders>, Refused>;

/// What the head of a request leads to. Where a verifier was asked, its answer may still be a wait.
enum Way<'c, A> {
    Open(Open),
    Closed(Rejection),
    Asked(A, Asked<'c>),
}

/// What is known of a key when a verifier is asked.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'c> {
    pub(crate) place: Option<&'c Place>,
    /// Whether `Bearer ` stands before it.
    pub(crate) has_scheme: bool,
}

/// Bytes of a key that the rule of its place does not remove.
type Left<'c> = (Zeroizing<Vec<u8>>, Option<&'c Place>);

/// The ways in that ask for no key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// By its path: it is open to all.
    Exempt,
    /// By a predicate, which may open it for some callers and not for others.
    ExemptIf,
    Preflight,
    Anonymous,
}

// What every request runs through is inlined: through memory the answer takes a tenth of a request's time.
impl<E: Extract, V: Verify, O: Observe<Named<V>>> Config<E, V, O> {
    /// In this order: exempt, secure, preflight, extract, size, verify.
    #[inline(always)]
    fn find_way<'c>(&'c self, head: Head<'_>, left: &mut Option<Left<'c>>) -> Way<'c, V::Answer> {
        let policy = &*self.policy;
        if policy.exempts_path(head) {
            return Way::Open(Open::Exempt);
        }
        if policy.exempts_if(head) {
            return Way::Open(Open::ExemptIf);
        }
        if !policy.is_secure(head) {
            return Way::Closed(Rejection::new(Reason::Insecure));
        }
        if policy.passes_preflight(head) {
            return Way::Open(Open::Preflight);
        }
        let extracted = self.extract.extract(head);
        let found = match &extracted {
            Extracted::Found(found) => found,
            Extracted::Absent if policy.optional => return Way::Open(Open::Anonymous),
            Extracted::Absent => return Way::Closed(Rejection::new(policy.why_no_key(head))),
            Extracted::Ambiguous => return Way::Closed(Rejection::new(Reason::Ambiguous)),
        };
        let place = policy.place(found.place());
        if let Some(found) = found.not_by_rule() {
            *left = policy.left_behind(head, found, place).map(|found| (found, place));
        }
        match found.key(policy.max_key_len) {
            Ok(key) => {
                let asked = Asked { place, has_scheme: begins_with_bearer(key) };
                Way::Asked(self.verify.verify(Presented::new(key, head).at(place)), asked)
            }
            Err(reason) => Way::Closed(Rejection::new(reason).at(place)),
        }
    }

    #[inline(always)]
    pub(crate) fn decide<B>(
        &self,
        request: &mut Request<B>,
        Asked { place, has_scheme }: Asked<'_>,
        answer: Result<Named<V>, Refusal>,
        started: Option<Instant>,
    ) -> Decided {
        match answer {
            Ok(client) => Ok(self.let_in(request, place, client, started)),
            Err(refusal) => {
                let mut rejection = refusal.into_rejection().at(place);
                if has_scheme && place.is_some_and(|place| place.kind() == PlaceKind::Header) {
                    rejection = rejection.with_scheme_in_header();
                }
                self.turn_away_or_report(request, rejection, started)
            }
        }
    }

    #[inline(always)]
    fn let_in<B>(
        &self,
        request: &mut Request<B>,
        place: Option<&Place>,
        client: Named<V>,
        started: Option<Instant>,
    ) -> Option<CacheHeaders> {
        self.tell(Verdict::Accepted(&client), place, request, started);
        self.policy.take_out(request, false);
        // An optional layer outside may have let it pass as nobody's.
        request.extensions_mut().remove::<Anonymous>();
        request.extensions_mut().insert(client);
        CacheHeaders::keyed(&self.policy, request.method(), place)
    }

    fn let_by<B>(
        &self,
        request: &mut Request<B>,
        open: Open,
        started: Option<Instant>,
    ) -> Option<CacheHeaders> {
        let is_exempt = matches!(open, Open::Exempt | Open::ExemptIf);
        self.policy.take_out(request, is_exempt);
        // Whoever put a client there, it was not us.
        request.extensions_mut().remove::<Named<V>>();
        Anonymous::remove::<Named<V>>(request.extensions_mut());
        match open {
            Open::Exempt | Open::Preflight => {
                self.tell(Verdict::Exempt, None, request, started);
                None
            }
            Open::ExemptIf => {
                self.tell(Verdict::Exempt, None, request, started);
                CacheHeaders::keyed(&self.policy, request.method(), None)
            }
            Open::Anonymous => {
                self.tell(Verdict::Anonymous, None, request, started);
                let reason = self.policy.why_no_key(Head::of(request));
                Anonymous::mark::<Named<V>, B>(request, &self.policy, Rejection::new(reason));
                CacheHeaders::anonymous(&self.policy, request.method())
            }
        }
    }

    fn turn_away_or_report<B>(
        &self,
        request: &mut Request<B>,
        rejection: Rejection,
        started: Option<Instant>,
    ) -> Decided {
        if self.policy.report_only {
            self.tell(Verdict::Reported(&rejection), rejection.place(), request, started);
            return Ok(self.report(request, rejection));
        }
        self.tell(Verdict::Rejected(&rejection), rejection.place(), request, started);
        let grpc = Grpc::of(request.method(), request.headers());
        Err(Refused { policy: Arc::clone(&self.policy), rejection, grpc })
    }

    /// Lets by whom it should have turned away.
    #[cold]
    fn report<B>(&self, request: &mut Request<B>, rejection: Rejection) -> Option<CacheHeaders> {
        self.policy.take_out(request, false);
        request.extensions_mut().remove::<Named<V>>();
        Anonymous::mark::<Named<V>, B>(request, &self.policy, rejection.clone());
        let cache = CacheHeaders::reported(&self.policy, request.method(), &rejection);
        request.extensions_mut().insert(rejection);
        cache
    }

    fn tell<B>(
        &self,
        verdict: Verdict<'_, Named<V>>,
        place: Option<&Place>,
        request: &Request<B>,
        started: Option<Instant>,
    ) {
        // Without an observer there is no start.
        if let Some(started) = started {
            let (method, path) = (request.method(), request.uri().path());
            self.observe.decided(&Decision { verdict, place, method, path, started });
        }
    }
}

impl<S, E: Extract, V: Verify> ApiKeyService<S, E, V> {
    /// Wraps a service, as [`ApiKeyLayer::new`](crate::ApiKeyLayer::new) and its `layer` would.
    ///
    /// # Panics
    ///
    /// As [`ApiKeyLayer::new`](crate::ApiKeyLayer::new) does.
    #[track_caller]
    pub fn new(inner: S, extract: E, verify: V) -> Self {
        Self { inner, config: Arc::new(literal(Config::new(extract, verify))) }
    }
}

impl<S, E, V, O> ApiKeyService<S, E, V, O> {
    pub(crate) fn with_config(inner: S, config: Arc<Config<E, V, O>>) -> Self {
        Self { inner, config }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, E, V, O> Clone for ApiKeyService<S, E, V, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S, E, V, O> fmt::Debug for ApiKeyService<S, E, V, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt("ApiKeyService", f)
    }
}
