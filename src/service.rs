use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{Request, Response};
use tower_service::Service;

use crate::{
    anonymous::Anonymous,
    body::ResponseBody,
    cache::CacheHeaders,
    config::Config,
    error::literal,
    extract::{Extract, Extracted, Head},
    future::{Refused, ResponseFuture, Step},
    observe::{Decision, Observe, Verdict},
    place::Place,
    rejection::{Reason, Rejection},
    respond::Grpc,
    verify::{Answer, Presented, Refusal, Resume, Verify},
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

        let step = match config.find_way(Head::of(&request)) {
            Way::Open(open) => {
                config.policy.take_out(&mut request, open == Open::Exempt);
                config.let_by(inner, request, open, started)
            }
            Way::Closed(rejection) => config.turn_away(&request, rejection, started),
            Way::Asked(answer, place) => {
                config.policy.take_out(&mut request, false);
                match answer.now() {
                    Ok(answer) => config.decide(inner, request, place, answer, started),
                    Err(future) => {
                        // The service that was made ready is the one to call, once we know.
                        let another = inner.clone();
                        let inner = mem::replace(inner, another);
                        let (config, place) = (Arc::clone(config), place.cloned());
                        let rest = Rest { inner, config, request, place, started };
                        return ResponseFuture::waiting(V::Answer::wait(future, rest));
                    }
                }
            }
        };
        if matches!(step, Step::Refused(_)) {
            // Gives back the permit that the inner service may have reserved in `poll_ready`.
            *inner = inner.clone();
        }
        step.into()
    }
}

/// What the head of a request leads to. Where a verifier was asked, its answer may still be a wait.
enum Way<'c, A> {
    Open(Open),
    Closed(Rejection),
    Asked(A, Option<&'c Place>),
}

/// The ways in that ask for no key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Exempt,
    Preflight,
    Anonymous,
}

impl<E: Extract, V: Verify, O: Observe<Named<V>>> Config<E, V, O> {
    fn find_way(&self, head: Head<'_>) -> Way<'_, V::Answer> {
        let policy = &*self.policy;
        if policy.exempts(head) {
            return Way::Open(Open::Exempt);
        }
        if policy.passes_preflight(head) {
            return Way::Open(Open::Preflight);
        }
        let found = match self.extract.extract(head) {
            Extracted::Found(found) => found,
            Extracted::Absent if policy.optional => return Way::Open(Open::Anonymous),
            Extracted::Absent => return Way::Closed(Rejection::new(Reason::Missing)),
            Extracted::Ambiguous => return Way::Closed(Rejection::new(Reason::Ambiguous)),
        };
        let place = policy.place(found.place());
        match found.key(policy.max_key_len) {
            Ok(key) => Way::Asked(self.verify.verify(Presented::new(key, head).at(place)), place),
            Err(reason) => Way::Closed(Rejection::new(reason).at(place)),
        }
    }

    fn decide<S, B>(
        &self,
        inner: &mut S,
        request: Request<B>,
        place: Option<&Place>,
        answer: Result<Named<V>, Refusal>,
        started: Option<Instant>,
    ) -> Step<S::Future>
    where
        S: Service<Request<B>>,
    {
        match answer {
            Ok(client) => self.let_in(inner, request, place, client, started),
            Err(refusal) => self.turn_away(&request, refusal.into_rejection().at(place), started),
        }
    }

    fn let_in<S, B>(
        &self,
        inner: &mut S,
        mut request: Request<B>,
        place: Option<&Place>,
        client: Named<V>,
        started: Option<Instant>,
    ) -> Step<S::Future>
    where
        S: Service<Request<B>>,
    {
        self.tell(Verdict::Accepted(&client), place, &request, started);
        let cache = CacheHeaders::keyed(&self.policy, request.method(), place);
        // An optional layer outside may have let it pass as nobody's.
        request.extensions_mut().remove::<Anonymous>();
        request.extensions_mut().insert(client);
        Step::Inner(inner.call(request), cache)
    }

    fn let_by<S, B>(
        &self,
        inner: &mut S,
        mut request: Request<B>,
        open: Open,
        started: Option<Instant>,
    ) -> Step<S::Future>
    where
        S: Service<Request<B>>,
    {
        // Whoever put a client there, it was not us.
        request.extensions_mut().remove::<Named<V>>();
        request.extensions_mut().remove::<Anonymous>();
        let cache = match open {
            Open::Exempt | Open::Preflight => {
                self.tell(Verdict::Exempt, None, &request, started);
                None
            }
            Open::Anonymous => {
                self.tell(Verdict::Anonymous, None, &request, started);
                let anonymous = Anonymous::new(&self.policy, Head::of(&request));
                request.extensions_mut().insert(anonymous);
                CacheHeaders::anonymous(&self.policy, request.method())
            }
        };
        Step::Inner(inner.call(request), cache)
    }

    fn turn_away<B, F>(
        &self,
        request: &Request<B>,
        rejection: Rejection,
        started: Option<Instant>,
    ) -> Step<F> {
        self.tell(Verdict::Rejected(&rejection), rejection.place(), request, started);
        let grpc = Grpc::of(request.method(), request.headers());
        Step::Refused(Refused { policy: Arc::clone(&self.policy), rejection, grpc })
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

/// A request whose verifier takes its time. The key has left it already.
///
/// It is `pub` only since the service's `Future` names it.
pub struct Rest<S, B, E, V, O> {
    inner: S,
    config: Arc<Config<E, V, O>>,
    request: Request<B>,
    place: Option<Place>,
    started: Option<Instant>,
}

impl<S, B, E, V, O> Resume<Named<V>> for Rest<S, B, E, V, O>
where
    S: Service<Request<B>>,
    E: Extract,
    V: Verify,
    O: Observe<Named<V>>,
{
    type Next = Step<S::Future>;

    fn resume(self, answer: Result<Named<V>, Refusal>) -> Self::Next {
        let Self { mut inner, config, request, place, started } = self;
        config.decide(&mut inner, request, place.as_ref(), answer, started)
    }
}

impl<S, B, E, V, O> fmt::Debug for Rest<S, B, E, V, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt("Rest", f)
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
