//! The settings that decide which requests need a key, or more than a key.

use std::sync::Arc;

use super::{api_key_layer::ApiKeyLayer, conditions::invalid_path_byte};
use crate::{
    error::{ConfigError, ConfigErrorKind, expect_valid},
    request_head::RequestHead,
};

/// Settings for requests without a key, and for secure connections.
///
/// The [example](ApiKeyLayer#example-change-the-defaults) of the type calls most of them.
impl<E, V, O> ApiKeyLayer<E, V, O> {
    /// Accepts a request without a key as anonymous. A wrong key is still rejected.
    ///
    /// The request has no [`Client`](crate::Client). It has an [`Anonymous`](crate::Anonymous) in its
    /// extensions, so that a guard further in can reject the request like this layer.
    pub fn optional(self) -> Self {
        self.map_settings(|settings| settings.optional = true)
    }

    /// Exempts a path from authentication, for every method. You can call it several times.
    ///
    /// If a request on this path carries a key, the layer removes it without reading it. An
    /// `Authorization` line stays and is marked sensitive, because it may be meant for another service. The
    /// request has no client, and has an [`Exempt`](crate::Exempt) in its extensions.
    ///
    /// The layer compares the path byte for byte with `uri.path()`. So it exempts exactly the path that
    /// the router matches, but not `/health/`, `//health`, `/Health` or `/%68ealth`. Inside an axum
    /// `nest` the prefix is already removed.
    ///
    /// # Panics
    ///
    /// If no request can have this path. Use [`try_exempt_path`](Self::try_exempt_path) for a path from
    /// configuration.
    #[track_caller]
    pub fn exempt_path(self, path: impl Into<String>) -> Self {
        expect_valid(self.try_exempt_path(path))
    }

    /// Exempts a path from configuration, like [`exempt_path`](Self::exempt_path).
    ///
    /// # Errors
    ///
    /// - If the path does not begin with `/`, or has a query or a fragment.
    /// - If it is a pattern (`/docs/*`, `/docs/{page}`, `/docs/:page`), because the layer follows none.
    /// - If it has bytes that callers percent-encode, or a `%` without two hexadecimal digits.
    pub fn try_exempt_path(self, path: impl Into<String>) -> Result<Self, ConfigError> {
        let path = path.into();
        match invalid_path_byte(&path) {
            Some(at) => Err(ConfigError::new(ConfigErrorKind::ExemptPath).at(at)),
            None => Ok(self.map_settings(|settings| settings.conditions.exempt_paths.push(path))),
        }
    }

    /// Exempts requests from authentication by a predicate. You can call it several times.
    ///
    /// Prefer a route outside of the layer. In axum, add the route after the layer. The router and your
    /// predicate can read a request differently. Rules on prefixes, on decoded or lower-cased paths, or
    /// on the `Host` header were bypassed with `/%61dmin`, `//admin`, `/admin;x`, `/public/../admin` or a
    /// forged host (CVE-2026-22031, CVE-2026-26205, CVE-2026-48746).
    ///
    /// # Example: exempt one method of a path
    ///
    /// ```
    /// # use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    /// # let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    /// let layer = layer.exempt_if(|head| head.method() == http::Method::GET && head.uri().path() == "/");
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn exempt_if<F>(self, exempt: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.map_settings(|settings| settings.conditions.exempt_if.push(Arc::new(exempt)))
    }

    /// Rejects requests over an insecure connection with 403, whether the key is valid or not.
    ///
    /// The layer checks this before it reads a key, and for preflights as well. Only exempt requests come
    /// first, so that probes work. You can call it several times, and all predicates must hold.
    ///
    /// You define what counts as secure, because the URI cannot tell. A caller can write any scheme into
    /// the URI, and also `X-Forwarded-Proto` and `Forwarded`. Read such a header only if every request
    /// passes a proxy that replaces the header.
    ///
    /// # Example: ask the listener or a proxy
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
    ///
    /// /// The accepting loop inserts this into the extensions of requests over TLS.
    /// #[derive(Clone)]
    /// struct OverTls;
    ///
    /// # let layer = || ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde").unwrap());
    /// let direct = layer().require_secure(|head| head.extensions().get::<OverTls>().is_some());
    ///
    /// // Behind a proxy that replaces this header, such as nginx with
    /// // `proxy_set_header X-Forwarded-Proto $scheme`, on a port that only the proxy can reach:
    /// let behind_nginx = layer().require_secure(|head| {
    ///     let mut lines = head.headers().get_all("x-forwarded-proto").iter();
    ///     lines.next().is_some_and(|line| line == "https") && lines.next().is_none()
    /// });
    /// ```
    ///
    /// With TLS, tonic inserts a `TlsConnectInfo` into the extensions. If you serve axum with a
    /// `ConnectInfo`, your listener can put the same information there.
    ///
    /// # Why is there no redirect?
    ///
    /// A redirect succeeds, and the caller does not notice that the key went over the network in clear
    /// (draft-ietf-httpapi-privacy). It is safer to listen only with TLS. If the key came in clear, the
    /// layer does not read and does not revoke it, so [rotate](crate::Keyring::rotate) it. Send
    /// `Strict-Transport-Security` from the server that terminates TLS (RFC 6797 §7.2).
    pub fn require_secure<F>(self, secure: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        self.map_settings(|settings| settings.conditions.secure_if.push(Arc::new(secure)))
    }

    /// Passes CORS preflights on without a key.
    ///
    /// A preflight is an OPTIONS request with `Origin` and `Access-Control-Request-Method`. All other
    /// OPTIONS requests need a key. You do not need this setting if a CORS layer outside of this layer
    /// answers preflights.
    pub fn pass_preflight(self) -> Self {
        self.map_settings(|settings| settings.conditions.pass_preflight = true)
    }

    /// Forwards every request, and only reports rejections.
    ///
    /// Use this mode to roll out keys in front of a service with callers. If the service was protected
    /// before, this mode removes the protection.
    ///
    /// Instead of rejecting a request, the layer forwards it without a [`Client`](crate::Client). The
    /// [`Rejection`](crate::Rejection) is in the extensions of the *request*. The observer receives
    /// [`reported`](crate::observe::Outcome::Reported), and the response does not show it. A valid key
    /// still adds its client. The layer still strips keys, so use [`forward_key`](Self::forward_key) if
    /// the inner service checks them itself.
    ///
    /// A handler with a `Client` argument and a [`RequireScopeLayer`](crate::RequireScopeLayer) still
    /// require a client. They return the response that this layer would have sent (from
    /// [`Anonymous`](crate::Anonymous)). During the rollout, use `Option<Client>` in handlers and add
    /// scopes later.
    ///
    /// # Example: read the reason in a handler
    ///
    /// ```
    /// use http::Request;
    /// use tower_api_key::{ApiKeyLayer, Keyring, Rejection, extract::header};
    ///
    /// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
    ///     .dangerous_report_only();
    ///
    /// fn would_be_rejected<B>(request: &Request<B>) -> Option<&'static str> {
    ///     request.extensions().get::<Rejection>().map(|rejection| rejection.reason().as_str())
    /// }
    /// # assert_eq!(would_be_rejected(&Request::new(())), None);
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn dangerous_report_only(self) -> Self {
        self.map_settings(|settings| settings.report_only = true)
    }
}
