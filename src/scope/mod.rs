//! Scopes: what a client must be allowed to do, said route by route.

mod future;
mod service;

use std::{fmt, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

pub use self::{future::ResponseFuture, service::RequireScopeService};
use crate::{
    client::{Client, Identity, is_scope},
    error::{ConfigError, ConfigErrorKind},
    layer::ApiKeyLayer,
    place::Place,
    policy::Policy,
    rejection::Rejection,
    respond::{FromFn, Respond},
};

/// Lets only clients through that have certain scopes. It stands inside an [`ApiKeyLayer`], which
/// finds out who the client is.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, RequireScopeLayer, extract::header};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = Keyring::new();
/// keys.insert("12345abcde", Client::new("ci").scopes(["jobs:read", "jobs:write"]))?;
///
/// # async fn list() {}
/// # async fn submit() {}
/// let app: Router = Router::new()
///     .route("/jobs", post(submit).layer(RequireScopeLayer::all(["jobs:write"])?))
///     .route("/report", get(list).layer(RequireScopeLayer::any(["jobs:read", "admin"])?))
///     .layer(ApiKeyLayer::new(header("x-api-key"), keys));
/// # Ok(())
/// # }
/// ```
///
/// | the request | is answered |
/// |---|---|
/// | of a client that has what is wanted | by the inner service |
/// | of a client that has not | 403, gRPC 7, `{"error":"Forbidden"}`; no scope is named |
/// | without a key, on an [`optional`](ApiKeyLayer::optional) route | 401, as the `ApiKeyLayer` would |
/// | that no `ApiKeyLayer` has seen, or that was exempt from it | 500, with the fix in its body |
///
/// The 403 carries `Cache-Control: no-store` and has the [`Rejection`] in its extensions, so that a
/// layer outside can count it; an observer has been told before that the client was let in. It is
/// written by [`Json`](crate::respond::Json), or as [`respond`](Self::respond),
/// [`respond_with`](Self::respond_with) or [`respond_like`](Self::respond_like) say. (To know by itself
/// how the `ApiKeyLayer` around it answers, every request would have to carry that along.)
///
/// A 500 is logged with the feature `tracing` or `axum`. Preflights have no client: put a CORS layer outside
/// this one, and do without [`pass_preflight`](ApiKeyLayer::pass_preflight), by which they would come as far
/// as here and each be such a 500, with its line in the log.
///
/// What depends on more than the route is the handler's to ask, with [`Client::has_scope`], and to answer:
/// `Json::default().respond(&Rejection::new(Reason::InsufficientScope))` is the 403's status and body. All
/// else is this layer's alone and lacks there: `Cache-Control: no-store`, the challenge, the form for gRPC
/// callers, and the [`Rejection`] in the extensions.
#[must_use]
pub struct RequireScopeLayer<C = Client> {
    need: Arc<Need>,
    client: PhantomData<fn() -> C>,
}

/// What is wanted, and how a client is told who lacks it.
#[derive(Clone)]
struct Need {
    scopes: Scopes,
    policy: Arc<Policy>,
}

#[derive(Clone, Debug)]
enum Scopes {
    All(Box<[Box<str>]>),
    Any(Box<[Box<str>]>),
}

impl RequireScopeLayer {
    /// Wants every one of these scopes.
    ///
    /// # Errors
    ///
    /// For an empty list, a scope that is none (RFC 6749 §3.3; with a blank in it, for example), and
    /// one that is named twice.
    pub fn all<I>(scopes: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::new(Scopes::All(checked(scopes)?))
    }

    /// Wants at least one of these scopes.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all) has.
    pub fn any<I>(scopes: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::new(Scopes::Any(checked(scopes)?))
    }

    fn new(scopes: Scopes) -> Result<Self, ConfigError> {
        // A layer's defaults, but for its places, of which nothing is known here: no challenge names one.
        let mut policy = Policy::new(vec![Place::bearer()])?;
        policy.places.clear();
        policy.set_realm(policy.realm.clone());
        let policy = Arc::new(policy);
        Ok(Self { need: Arc::new(Need { scopes, policy }), client: PhantomData })
    }
}

fn checked<I>(scopes: I) -> Result<Box<[Box<str>]>, ConfigError>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    let mut checked: Vec<Box<str>> = Vec::new();
    for scope in scopes {
        let scope = scope.into().into_boxed_str();
        let mistake = if !is_scope(&scope) {
            ConfigErrorKind::Scope
        } else if checked.contains(&scope) {
            ConfigErrorKind::DuplicateScope
        } else {
            checked.push(scope);
            continue;
        };
        return Err(ConfigError::new(mistake).at(checked.len()));
    }
    if checked.is_empty() {
        return Err(ConfigError::new(ConfigErrorKind::NoScope));
    }
    Ok(checked.into())
}

impl<C> RequireScopeLayer<C> {
    /// Reads clients of a type of your own, the verifier's.
    ///
    /// ```
    /// use tower_api_key::{Identity, RequireScopeLayer};
    ///
    /// #[derive(Clone)]
    /// struct Tenant {
    ///     slug: String,
    ///     may_write: bool,
    /// }
    ///
    /// impl Identity for Tenant {
    ///     fn id(&self) -> &str {
    ///         &self.slug
    ///     }
    ///
    ///     fn has_scope(&self, scope: &str) -> bool {
    ///         scope == "jobs:write" && self.may_write
    ///     }
    /// }
    ///
    /// let writers = RequireScopeLayer::all(["jobs:write"])?.client_type::<Tenant>();
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    pub fn client_type<C2: Identity>(self) -> RequireScopeLayer<C2> {
        RequireScopeLayer { need: self.need, client: PhantomData }
    }

    /// Answers as an [`ApiKeyLayer`] does: with its responder, and where `Bearer` is one of its places
    /// with a challenge (RFC 6750 §3.1) in its realm.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Keyring, RequireScopeLayer, extract::bearer, respond::Problem};
    ///
    /// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?)
    ///     .realm("reports")?
    ///     .respond(Problem::default());
    /// // 403, `application/problem+json`, and
    /// // `WWW-Authenticate: Bearer realm="reports", error="insufficient_scope"`.
    /// let writers = RequireScopeLayer::all(["jobs:write"])?.respond_like(&layer);
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    pub fn respond_like<E, V, O>(mut self, layer: &ApiKeyLayer<E, V, O>) -> Self {
        Arc::make_mut(&mut self.need).policy = Arc::clone(layer.policy());
        self
    }

    /// Writes the 403 in another way, as [`ApiKeyLayer::respond`] does.
    pub fn respond(mut self, respond: impl Respond + Send + Sync + 'static) -> Self {
        let need = Arc::make_mut(&mut self.need);
        Arc::make_mut(&mut need.policy).respond = Arc::new(respond);
        self
    }

    /// Writes the 403 with a closure, as [`ApiKeyLayer::respond_with`] does.
    pub fn respond_with<F, T>(self, respond: F) -> Self
    where
        F: Fn(&Rejection) -> Response<T> + Send + Sync + 'static,
        T: Into<Bytes> + 'static,
    {
        self.respond(FromFn(respond))
    }
}

impl Need {
    fn is_met_by(&self, client: &impl Identity) -> bool {
        match &self.scopes {
            Scopes::All(scopes) => scopes.iter().all(|scope| client.has_scope(scope)),
            Scopes::Any(scopes) => scopes.iter().any(|scope| client.has_scope(scope)),
        }
    }

    /// What is wanted is no secret.
    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for RequireScopeLayer<C> {
    type Service = RequireScopeService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScopeService::new(inner, Arc::clone(&self.need))
    }
}

impl<C> Clone for RequireScopeLayer<C> {
    fn clone(&self) -> Self {
        Self { need: Arc::clone(&self.need), client: PhantomData }
    }
}

impl<C> fmt::Debug for RequireScopeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.need.fmt("RequireScopeLayer", f)
    }
}
