use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use crate::{
    config::Config,
    error::{ConfigError, ConfigErrorKind, literal},
    extract::{Extract, Head},
    observe::Observe,
    place::Place,
    policy::{Policy, wrong_byte_of_a_path},
    rejection::Rejection,
    respond::{FromFn, Respond},
    service::ApiKeyService,
    verify::{Answer, Verify},
};

/// Lets only requests with a key through to the service that it wraps.
///
/// It takes an extractor, which finds the key, and a verifier, which says whose it is. All else has
/// a default that is safe, and a method that changes it. Cloning costs one reference count.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = ServiceBuilder::new()
///     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
///     .service(service_fn(|request: Request<String>| async move {
///         let client = request.extensions().get::<Client>().map(|client| client.id().to_owned());
///         Ok::<_, std::convert::Infallible>(Response::new(client.unwrap_or_default()))
///     }));
///
/// let with_key = Request::builder().header("x-api-key", "12345abcde").body(String::new())?;
/// assert_eq!(service.clone().oneshot(with_key).await?.status(), StatusCode::OK);
///
/// let without = Request::new(String::new());
/// assert_eq!(service.oneshot(without).await?.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
///
/// A function that returns one names its parts, such as `ApiKeyLayer<Header, Keyring>`. Where one is a
/// closure it says what the closure answers, so that servers can tell that its future is `Send`:
/// `ApiKeyLayer<impl Extract, impl Verify<Answer = Result<Client, Refusal>>>`.
#[must_use]
pub struct ApiKeyLayer<E, V, O = ()> {
    config: Arc<Config<E, V, O>>,
}

impl<E: Extract, V: Verify> ApiKeyLayer<E, V> {
    /// A layer that wants a key.
    ///
    /// # Panics
    ///
    /// Where the extractor names one place twice, or none. [`try_new`](Self::try_new) is for names
    /// from configuration.
    #[track_caller]
    pub fn new(extract: E, verify: V) -> Self {
        literal(Self::try_new(extract, verify))
    }

    /// A layer that wants a key, in places whose names come from configuration.
    ///
    /// # Errors
    ///
    /// Where the extractor names one place twice, or none.
    pub fn try_new(extract: E, verify: V) -> Result<Self, ConfigError> {
        Ok(Self { config: Arc::new(Config::new(extract, verify)?) })
    }
}

impl<E, V, O> ApiKeyLayer<E, V, O> {
    /// Names what is guarded, in the challenge of a 401 (RFC 9110 §11.5). By default `api`.
    ///
    /// # Errors
    ///
    /// For a control or non-ASCII character, which no challenge can carry.
    pub fn realm(self, realm: impl Into<String>) -> Result<Self, ConfigError> {
        let realm = realm.into();
        match realm.bytes().position(|byte| !matches!(byte, b'\t' | 0x20..=0x7E)) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::Realm).at(at)),
            None => Ok(self.with(|policy| policy.set_realm(realm))),
        }
    }

    /// Writes rejections in another way: [`Problem`](crate::respond::Problem),
    /// [`Text`](crate::respond::Text) or a type of your own. By default
    /// [`Json`](crate::respond::Json).
    pub fn respond(self, respond: impl Respond + Send + Sync + 'static) -> Self {
        self.with(|policy| policy.respond = Arc::new(respond))
    }

    /// Writes rejections with a closure.
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    /// # let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    /// let layer = layer.respond_with(|rejection| {
    ///     let mut response = http::Response::new(format!("<h1>{}</h1>", rejection.message()));
    ///     *response.status_mut() = rejection.status();
    ///     response
    /// });
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    pub fn respond_with<F, T>(self, respond: F) -> Self
    where
        F: Fn(&Rejection) -> Response<T> + Send + Sync + 'static,
        T: Into<Bytes> + 'static,
    {
        self.respond(FromFn(respond))
    }

    /// Lets a request without a key through, without a [`Client`](crate::Client). A wrong key is
    /// still refused.
    ///
    /// A guard further in finds an [`Anonymous`](crate::Anonymous) in the extensions, from
    /// which it can answer as this layer does.
    pub fn optional(self) -> Self {
        self.with(|policy| policy.optional = true)
    }

    /// Asks for no key on this path, whatever the method. It may be called several times.
    ///
    /// A key that comes all the same is not read, and is taken out; but an `Authorization` line stays,
    /// marked sensitive, since it may be meant for somebody further in.
    ///
    /// The path is compared byte for byte with `uri.path()` as this layer sees it, so that only the
    /// very path that the router matches is open: `/health/`, `//health`, `/Health` and `/%68ealth`
    /// are other paths. Inside an axum `nest` the prefix is gone already.
    ///
    /// # Panics
    ///
    /// On a path that matches no request: see [`try_exempt_path`](Self::try_exempt_path), which is for
    /// paths from configuration.
    #[track_caller]
    pub fn exempt_path(self, path: impl Into<String>) -> Self {
        literal(self.try_exempt_path(path))
    }

    /// [`exempt_path`](Self::exempt_path), for a path from configuration.
    ///
    /// # Errors
    ///
    /// For a path that does not begin with `/`, has a query or fragment, or is a pattern (`/docs/*`,
    /// `/docs/{page}`, `/docs/:page`): no pattern is followed. Bytes that callers percent-encode, and a
    /// `%` without two hexadecimal digits, are errors as well.
    pub fn try_exempt_path(self, path: impl Into<String>) -> Result<Self, ConfigError> {
        let path = path.into();
        match wrong_byte_of_a_path(&path) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::ExemptPath).at(at)),
            None => Ok(self.with(|policy| policy.exempt_paths.push(path))),
        }
    }

    /// Asks for no key where a predicate says so, as [`exempt_path`](Self::exempt_path) does. It may be
    /// called several times.
    ///
    /// Mind that the router decides by its own reading of the request. Rules on prefixes, on decoded
    /// or lower-cased paths, or on the `Host` header were opened by `/%61dmin`, `//admin`,
    /// `/admin;x`, `/public/../admin` or a forged host (CVE-2026-22031, CVE-2026-26205,
    /// CVE-2026-48746). An open route is best left outside the layer: in axum, added after it.
    pub fn exempt_if<F>(self, exempt: F) -> Self
    where
        F: Fn(Head<'_>) -> bool + Send + Sync + 'static,
    {
        self.with(|policy| policy.exempt_if.push(Arc::new(exempt)))
    }

    /// Turns away what did not come over a secure connection: 403, whether its key is good, wrong or
    /// missing. That comes before anything else is read, even of a preflight, but for the exempt paths, so
    /// that probes work. It may be called several times: all predicates must hold.
    ///
    /// What is secure only you can say. The URI will not: mostly it has no scheme, and where it has one the
    /// caller wrote it. So does a caller write `X-Forwarded-Proto` and `Forwarded`, unless a proxy that is
    /// the only way in replaces them. None of them counts unless your predicate reads it.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    ///
    /// /// Which the accepting loop puts into the extensions of what comes by TLS.
    /// #[derive(Clone)]
    /// struct ByTls;
    ///
    /// # let layer = || ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde").unwrap());
    /// let direct = layer().require_secure(|head| head.extensions().get::<ByTls>().is_some());
    ///
    /// // Behind a proxy that replaces this header, such as nginx with
    /// // `proxy_set_header X-Forwarded-Proto $scheme`, and on a port that nobody else can reach:
    /// let behind_nginx = layer().require_secure(|head| {
    ///     let mut lines = head.headers().get_all("x-forwarded-proto").iter();
    ///     lines.next().is_some_and(|line| line == "https") && lines.next().is_none()
    /// });
    /// ```
    ///
    /// In tonic with TLS there is a `TlsConnectInfo` among the extensions, and in axum a `ConnectInfo`, if you
    /// serve with one: it can say whatever your listener knows.
    ///
    /// There is no redirect: it would succeed, and nobody would notice that the key went over the network in
    /// the clear ("Protecting Credentials with HTTP APIs", draft-ietf-httpapi-privacy). It is better still not
    /// to listen without TLS at all. `Strict-Transport-Security` belongs on what goes over TLS alone
    /// (RFC 6797 §7.2): whoever speaks TLS adds it, and few callers of an API heed it. A key that came in the
    /// clear is not read, and hence not revoked: have its client [rotate](crate::Keyring::rotate) it.
    pub fn require_secure<F>(self, secure: F) -> Self
    where
        F: Fn(Head<'_>) -> bool + Send + Sync + 'static,
    {
        self.with(|policy| policy.secure_if.push(Arc::new(secure)))
    }

    /// Lets CORS preflights through: OPTIONS with `Origin` and `Access-Control-Request-Method`, and
    /// no other OPTIONS. Off by default.
    ///
    /// A CORS layer outside this one answers preflights before they come here, and then this is not
    /// needed.
    pub fn pass_preflight(self) -> Self {
        self.with(|policy| policy.pass_preflight = true)
    }

    /// Leaves keys in the request, for an inner service that wants them itself. Their headers are
    /// marked sensitive. By default keys of all configured places are taken out, but for an
    /// `Authorization` line on an exempt path.
    pub fn forward_key(self) -> Self {
        self.with(|policy| policy.forward_key = true)
    }

    /// Refuses keys of more bytes than this, before they are hashed. By default 1,024.
    pub fn max_key_len(self, bytes: usize) -> Self {
        self.with(|policy| policy.max_key_len = bytes)
    }

    /// Adds no `Vary`, `Cache-Control` and `Referrer-Policy` to the inner service's responses.
    ///
    /// By default a GET or HEAD gets `Vary` with the headers that may hold a key, a response to a
    /// client `Cache-Control: private` (unless it says private, no-store, public or s-maxage), and one
    /// to a key in the URL `Referrer-Policy: no-referrer` (unless it has one). Rejections are
    /// `no-store` in any case.
    ///
    /// `Vary` is one line, whatever it was before, since nginx before 1.23 reads the last line alone.
    /// A layer that adds another, for compression or CORS, belongs further in than this one.
    pub fn no_cache_headers(self) -> Self {
        self.with(|policy| policy.cache_headers = false)
    }

    /// Tells callers when to ask again where the verifier failed: a 503 gets `Retry-After`, unless the
    /// responder has written one, and its gRPC twin `grpc-retry-pushback-ms`. In whole seconds, rounded up,
    /// and at least one.
    ///
    /// All callers are told the same, and those who were told at once come back at once: a jitter is theirs
    /// to add.
    pub fn retry_after(self, wait: Duration) -> Self {
        self.with(|policy| policy.set_retry_after(wait))
    }

    /// Guards nothing: lets everyone in, and reports whom it would have turned away. For the while in which
    /// keys are put in front of a service that has callers. In front of one that was guarded before, it is
    /// an open door.
    ///
    /// What would have been turned away, for whatever reason, reaches the inner service without a
    /// [`Client`](crate::Client) and with the [`Rejection`] in the *request's* extensions. The observer is
    /// told [`reported`](crate::observe::Outcome::Reported), and the response says nothing of it. All else
    /// stays: good keys bring their client, and keys are taken out (an inner service that checks them itself
    /// wants [`forward_key`](Self::forward_key)).
    ///
    /// What wants a client still gets none: a handler with a `Client` for an argument, or a
    /// [`RequireScopeLayer`](crate::RequireScopeLayer), gives the answer that was held back here (from
    /// [`Anonymous`](crate::Anonymous)). For the while, let the handler take an `Option<Client>`, and leave
    /// scopes for later.
    ///
    /// ```
    /// use http::Request;
    /// use tower_api_key::{ApiKeyLayer, Keyring, Rejection, extract::header};
    ///
    /// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
    ///     .dangerous_report_only();
    ///
    /// fn would_be_turned_away<B>(request: &Request<B>) -> Option<&'static str> {
    ///     request.extensions().get::<Rejection>().map(|rejection| rejection.reason().as_str())
    /// }
    /// # assert_eq!(would_be_turned_away(&Request::new(())), None);
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    pub fn dangerous_report_only(self) -> Self {
        self.with(|policy| policy.report_only = true)
    }

    /// Tells an observer of every decision. One: the last replaces those before.
    pub fn observe<O2>(self, observe: O2) -> ApiKeyLayer<E, V, O2>
    where
        V: Verify,
        O2: Observe<<V::Answer as Answer>::Client>,
    {
        ApiKeyLayer { config: Arc::new(self.config.observed_by(observe)) }
    }

    /// Where a key may stand, in the extractor's order.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.config.policy.places
    }

    /// How this layer answers, for layers further in that want to answer alike.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.config.policy
    }

    fn with(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(Arc::make_mut(&mut Arc::make_mut(&mut self.config).policy));
        self
    }
}

impl<S, E, V, O> Layer<S> for ApiKeyLayer<E, V, O> {
    type Service = ApiKeyService<S, E, V, O>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeyService::with_config(inner, Arc::clone(&self.config))
    }
}

impl<E, V, O> Clone for ApiKeyLayer<E, V, O> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<E, V, O> fmt::Debug for ApiKeyLayer<E, V, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt("ApiKeyLayer", f)
    }
}
