use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    config::{Config, Settings},
    service::ApiKeyService,
};
use crate::{
    error::{ConfigError, ConfigErrorKind, expect_valid},
    extract::Extract,
    location::KeyLocation,
    observe::Observe,
    respond::{RejectionWriter, Respond},
    verify::Verify,
};

/// A layer that passes only requests with a valid key on to the inner service.
///
/// The extractor finds the key, and the verifier returns the client of the key. Everything else has a
/// secure default and a method to change it. A clone is as cheap as a reference count.
///
/// # Examples
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
/// # Example: change the defaults
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::bearer, respond::Problem};
///
/// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?)
///     .realm("reports")                           // in the challenge of a 401
///     .respond(Problem::default())                // RFC 9457
///     .optional()                                 // a request without a key is anonymous
///     .exempt_path("/health")                     // needs no key
///     .pass_preflight()                           // nor does a CORS preflight
///     .forward_key()                              // the inner service reads the key, too
///     .max_key_len(4096)
///     .no_cache_headers()
///     .retry_after(Duration::from_secs(5));       // in the header of a 503
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// # Example: return a layer from a function
///
/// If a part is a closure, name the verifier's future, so that servers know that it is `Send`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, KeyLocation, error::KeyringError};
/// use tower_api_key::extract::{Extract, header};
/// use tower_api_key::verify::{self, Never, Verify};
///
/// fn from_keyring() -> Result<ApiKeyLayer<KeyLocation, Keyring>, KeyringError> {
///     Ok(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
/// }
///
/// fn from_closure() -> ApiKeyLayer<impl Extract, impl Verify<Client = Client, Future = Never<Client>>> {
///     ApiKeyLayer::new(header("x-api-key"), verify::from_fn(|_| None::<Client>))
/// }
/// ```
#[must_use]
pub struct ApiKeyLayer<E, V, O = ()> {
    pub(super) config: Arc<Config<E, V, O>>,
}

impl<E: Extract, V: Verify> ApiKeyLayer<E, V> {
    /// Creates a layer that verifies keys.
    ///
    /// # Panics
    ///
    /// If the extractor declares one location twice, or none. Use [`try_new`](Self::try_new) for
    /// locations from configuration.
    #[track_caller]
    pub fn new(extract: E, verify: V) -> Self {
        expect_valid(Self::try_new(extract, verify))
    }

    /// Creates a layer with locations from configuration.
    ///
    /// [`KeyLocation`] has an example.
    ///
    /// # Errors
    ///
    /// If the extractor declares one location twice, or none.
    pub fn try_new(extract: E, verify: V) -> Result<Self, ConfigError> {
        Ok(Self { config: Arc::new(Config::new(extract, verify)?) })
    }
}

/// Settings for keys, responses and observers.
///
/// The [example](ApiKeyLayer#example-change-the-defaults) of the type calls most of them.
impl<E, V, O> ApiKeyLayer<E, V, O> {
    /// Sets the realm in the challenge of a 401 (RFC 9110 §11.5). The default is `api`.
    ///
    /// # Panics
    ///
    /// If the realm has a control or non-ASCII character, because no challenge can carry it. Use
    /// [`try_realm`](Self::try_realm) for a realm from configuration.
    #[track_caller]
    pub fn realm(self, realm: impl Into<String>) -> Self {
        expect_valid(self.try_realm(realm))
    }

    /// Sets a realm from configuration.
    ///
    /// # Errors
    ///
    /// If the realm has a control or non-ASCII character, because no challenge can carry it.
    pub fn try_realm(self, realm: impl Into<String>) -> Result<Self, ConfigError> {
        let realm = realm.into();
        match realm.bytes().position(|byte| !matches!(byte, b'\t' | 0x20..=0x7E)) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::Realm).at(at)),
            None => Ok(self.map_settings(|settings| settings.set_realm(realm))),
        }
    }

    /// Sets the responder, which writes rejections. The default is [`Json`](crate::respond::Json).
    ///
    /// Use [`Problem`](crate::respond::Problem), [`Text`](crate::respond::Text), a closure, or a type of
    /// your own. A closure names the type of its argument, because the compiler cannot infer the type.
    ///
    /// # Example: respond with a page
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    /// # let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    /// use tower_api_key::Rejection;
    ///
    /// let layer = layer.respond(|rejection: &Rejection| {
    ///     let mut response = http::Response::new(format!("<h1>{}</h1>", rejection.message()));
    ///     *response.status_mut() = rejection.status();
    ///     response
    /// });
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn respond(self, respond: impl Respond + Send + Sync + 'static) -> Self {
        self.map_settings(|settings| settings.writer_mut().set_responder(respond))
    }

    /// Leaves keys in the request, so that the inner service can read them.
    ///
    /// The layer marks the headers that hold keys as sensitive. By default it strips the keys from all
    /// configured locations. On an exempt path an `Authorization` line stays.
    pub fn forward_key(self) -> Self {
        self.map_settings(|settings| settings.locations.forward_key = true)
    }

    /// Sets the maximum length of a key in bytes. The default is 1,024.
    ///
    /// The layer rejects a longer key before it hashes the key.
    pub fn max_key_len(self, bytes: usize) -> Self {
        self.map_settings(|settings| settings.max_key_len = bytes)
    }

    /// Adds no `Vary`, `Cache-Control` and `Referrer-Policy` to responses of the inner service.
    ///
    /// By default the response to GET or HEAD gets these headers:
    ///
    /// - `Vary` with the headers of the configured locations. It is always one line, because nginx before
    ///   1.23 reads only the last line. If a layer for compression or CORS adds names, put it further in.
    /// - `Cache-Control: private` for a client, unless the response has `private`, `no-store`, `public` or
    ///   `s-maxage`.
    /// - `Referrer-Policy: no-referrer` if the key is in the URL, unless the response has this header.
    ///
    /// Rejections always have `Cache-Control: no-store`.
    pub fn no_cache_headers(self) -> Self {
        self.map_settings(|settings| settings.cache_headers = false)
    }

    /// Sets the `Retry-After` of a 503 after a failed verification.
    ///
    /// It is in whole seconds, rounded up, and at least one. A gRPC response has `grpc-retry-pushback-ms`
    /// instead. If the responder wrote the header, it stays. All callers get the same value, so add a
    /// jitter in your client.
    pub fn retry_after(self, wait: Duration) -> Self {
        self.map_settings(|settings| settings.writer_mut().set_retry_after(wait))
    }

    /// Sets the observer, which receives every decision. A second call replaces the first observer.
    ///
    /// A tuple holds several observers. A closure is an observer, too, but receives no rejections of guards. For
    /// those, implement [`Observe::on_guard`].
    ///
    /// # Example: print every decision
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    /// # let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    /// use tower_api_key::observe::Decision;
    ///
    /// let layer = layer.observe(|decision: &Decision<'_>| {
    ///     println!("{} in {:?}", decision.outcome().as_str(), decision.elapsed());
    /// });
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn observe<O2>(self, observe: O2) -> ApiKeyLayer<E, V, O2>
    where
        V: Verify,
        O2: Observe<V::Client>,
    {
        ApiKeyLayer { config: Arc::new(self.config.with_observer(observe)) }
    }

    /// Returns the configured locations, in the extractor's order.
    ///
    /// [`KeyLocation`] has an example.
    #[must_use]
    pub fn locations(&self) -> &[KeyLocation] {
        self.config.settings.locations.list()
    }

    /// Returns a writer of rejections in the style of this layer, for a guard outside of it.
    ///
    /// A guard inside needs no writer, because [`respond::reject`](crate::respond::reject) uses this style. Call
    /// this after [`respond`](Self::respond), [`realm`](Self::realm) and [`retry_after`](Self::retry_after),
    /// because the writer does not see later changes of the layer.
    pub fn rejection_writer(&self) -> RejectionWriter {
        self.config.settings.writer.clone()
    }

    pub(super) fn map_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut Arc::make_mut(&mut self.config).settings));
        self
    }
}

impl<S, E, V, O> Layer<S> for ApiKeyLayer<E, V, O> {
    type Service = ApiKeyService<S, E, V, O>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeyService { inner, config: Arc::clone(&self.config) }
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
