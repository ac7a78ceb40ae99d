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

type ClientOf<V> = <<V as Verify>::Answer as Answer>::Client;
type WaitingOf<V, R> = <<V as Verify>::Answer as Answer>::Waiting<R>;

impl<S, B, B2, E, V, O> Service<Request<B>> for ApiKeyService<S, E, V, O>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    E: Extract,
    V: Verify,
    O: Observe<ClientOf<V>>,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, WaitingOf<V, Rest<S, B, E, V, O>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { inner, config } = self;
        let started = config.observe.start();

        let step = match config.ask(Head::of(&request)) {
            Asked::Nothing(open) => {
                config.policy.take_out(&mut request, open == Open::Exempt);
                config.let_by(inner, request, open, started)
            }
            Asked::InVain(rejection) => config.turn_away(&request, rejection, started),
            Asked::Verifier(answer, place) => {
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

/// Whom the head of a request made us ask.
enum Asked<'c, A> {
    Nothing(Open),
    InVain(Rejection),
    Verifier(A, Option<&'c Place>),
}

/// The ways in that ask for no key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Exempt,
    Preflight,
    Anonymous,
}

impl<E: Extract, V: Verify, O: Observe<ClientOf<V>>> Config<E, V, O> {
    fn ask(&self, head: Head<'_>) -> Asked<'_, V::Answer> {
        let policy = &*self.policy;
        if policy.exempts(head) {
            return Asked::Nothing(Open::Exempt);
        }
        if policy.passes_preflight(head) {
            return Asked::Nothing(Open::Preflight);
        }
        let found = match self.extract.extract(head) {
            Extracted::Found(found) => found,
            Extracted::Absent if policy.optional => return Asked::Nothing(Open::Anonymous),
            Extracted::Absent => return Asked::InVain(Rejection::new(Reason::Missing)),
            Extracted::Ambiguous => return Asked::InVain(Rejection::new(Reason::Ambiguous)),
        };
        let place = policy.place(found.place());
        match found.key(policy.max_key_len) {
            Ok(key) => Asked::Verifier(self.verify.verify(Presented::new(key, place, head)), place),
            Err(reason) => Asked::InVain(Rejection::new(reason).at(place)),
        }
    }

    fn decide<S, B>(
        &self,
        inner: &mut S,
        request: Request<B>,
        place: Option<&Place>,
        answer: Result<ClientOf<V>, Refusal>,
        started: Option<Instant>,
    ) -> Step<S::Future>
    where
        S: Service<Request<B>>,
    {
        match answer {
            Ok(client) => self.let_in(inner, request, place, client, started),
            Err(refusal) => {
                let (reason, cause) = refusal.into_parts();
                let rejection = Rejection::new(reason).at(place).because(cause);
                self.turn_away(&request, rejection, started)
            }
        }
    }

    fn let_in<S, B>(
        &self,
        inner: &mut S,
        mut request: Request<B>,
        place: Option<&Place>,
        client: ClientOf<V>,
        started: Option<Instant>,
    ) -> Step<S::Future>
    where
        S: Service<Request<B>>,
    {
        self.tell(Verdict::Accepted(&client), place, &request, started);
        let cache = CacheHeaders::keyed(&self.policy, request.method(), place);
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
        request.extensions_mut().remove::<ClientOf<V>>();
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
        verdict: Verdict<'_, ClientOf<V>>,
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
pub struct Rest<S, B, E, V, O> {
    inner: S,
    config: Arc<Config<E, V, O>>,
    request: Request<B>,
    place: Option<Place>,
    started: Option<Instant>,
}

impl<S, B, E, V, O> Resume<ClientOf<V>> for Rest<S, B, E, V, O>
where
    S: Service<Request<B>>,
    E: Extract,
    V: Verify,
    O: Observe<ClientOf<V>>,
{
    type Next = Step<S::Future>;

    fn resume(self, answer: Result<ClientOf<V>, Refusal>) -> Self::Next {
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
