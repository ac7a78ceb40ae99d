//! Scopes: require permissions of a client, route by route.
//!
//! [`RequireScopeLayer`] rejects clients without certain scopes.
//!
//! # Examples
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use tower_api_key::{ApiKeyLayer, Client, Keyring, RequireScopeLayer, extract::header};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyring::new();
//! keys.insert("12345abcde", Client::new("ci").with_scopes(["jobs:read", "jobs:write"]))?;
//!
//! # async fn list() {}
//! # async fn submit() {}
//! let app: Router = Router::new()
//!     .route("/jobs", post(submit).layer(RequireScopeLayer::all(["jobs:write"])))
//!     .route("/report", get(list).layer(RequireScopeLayer::any(["jobs:read", "admin"])))
//!     .layer(ApiKeyLayer::new(header("x-api-key"), keys));
//! # Ok(())
//! # }
//! ```
//!
//! # What does a caller get?
//!
//! | request | response |
//! |---|---|
//! | of a client with the scopes | that of the inner service |
//! | of a client without the scopes | 403, gRPC 7, `{"error":"Forbidden"}`, without the name of a scope |
//! | without a key, on an [`optional`](crate::ApiKeyLayer::optional) route | the 401 of the `ApiKeyLayer` |
//! | exempt ([`Exempt`](crate::Exempt)), or without an `ApiKeyLayer` | 500, with the fix in its body |
//!
//! The `ApiKeyLayer` around it writes the 403 in its own style, with `Cache-Control: no-store`, and with a
//! challenge if `Bearer` is one of its locations (RFC 6750 §3.1). The [`Rejection`] is in the
//! extensions of the response. The observer of the `ApiKeyLayer` receives the 403 by
//! [`on_guard`](crate::observe::Observe::on_guard).
//!
//! The observer receives the 401 in the same way. With the feature `tracing` or `axum` the log has a line for each
//! 500. A preflight has no client, so a preflight that reaches this layer by
//! [`pass_preflight`](crate::ApiKeyLayer::pass_preflight) gets a 500. Put a CORS layer outside instead.
//!
//! If a permission depends on more than the route, check it in the handler with
//! [`Client::has_scope`](crate::Client::has_scope), and reject with [`respond::reject`]. Or write a guard of your
//! own, as on [page 17](crate::guide::_17_guards) of the manual.

mod service;

use std::{fmt, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

pub use self::service::RequireScopeService;
use crate::{
    client::{Client, Identity, is_scope},
    error::{ConfigError, ConfigErrorKind, expect_valid},
    extract::RequestHead,
    rejection::{Reason, Rejection},
    respond::{self, RejectionWriter, Respond},
};

/// A layer that rejects clients without certain scopes, inside an [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// The [module](self) has an example. Cloning costs one reference count.
#[must_use]
pub struct RequireScopeLayer<C = Client> {
    requirement: Arc<Requirement>,
    client: PhantomData<fn() -> C>,
}

/// The required scopes, and the style of the response to a client without them.
#[derive(Clone)]
struct Requirement {
    scopes: Scopes,
    /// If there is none, the `ApiKeyLayer` outside has the style.
    writer: Option<RejectionWriter>,
}

#[derive(Clone, Debug)]
enum Scopes {
    All(Box<[Box<str>]>),
    Any(Box<[Box<str>]>),
}

impl RequireScopeLayer {
    /// Requires all of these scopes.
    ///
    /// # Panics
    ///
    /// If [`try_all`](Self::try_all) returns an error. Use it for scopes from configuration.
    #[track_caller]
    pub fn all<I>(scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        expect_valid(Self::try_all(scopes))
    }

    /// Requires all of these scopes, from configuration.
    ///
    /// # Errors
    ///
    /// If the list is empty, or names a scope twice. If a scope is not one of RFC 6749 §3.3, for example
    /// because it has a space.
    pub fn try_all<I>(scopes: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Ok(Self::new(Scopes::All(checked(scopes)?)))
    }

    /// Requires at least one of these scopes.
    ///
    /// # Panics
    ///
    /// If [`try_any`](Self::try_any) returns an error. Use it for scopes from configuration.
    #[track_caller]
    pub fn any<I>(scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        expect_valid(Self::try_any(scopes))
    }

    /// Requires at least one of these scopes, from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_all`](Self::try_all) does.
    pub fn try_any<I>(scopes: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Ok(Self::new(Scopes::Any(checked(scopes)?)))
    }

    fn new(scopes: Scopes) -> Self {
        Self { requirement: Arc::new(Requirement { scopes, writer: None }), client: PhantomData }
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
    /// Reads clients of a type of your own, as the verifier returns them.
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
    /// let writers = RequireScopeLayer::all(["jobs:write"]).client_type::<Tenant>();
    /// ```
    pub fn client_type<C2: Identity>(self) -> RequireScopeLayer<C2> {
        RequireScopeLayer { requirement: self.requirement, client: PhantomData }
    }

    /// Sets the responder of the 403, instead of the `ApiKeyLayer`'s.
    ///
    /// This 403 has no challenge, unless [`rejection_writer`](Self::rejection_writer) sets one.
    pub fn respond(self, respond: impl Respond + Send + Sync + 'static) -> Self {
        let writer = self.requirement.writer.clone().unwrap_or_default();
        self.rejection_writer(writer.with_responder(respond))
    }

    /// Sets the writer of the 403, instead of the `ApiKeyLayer`'s.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Keyring, RequireScopeLayer, extract::bearer, respond::Problem};
    ///
    /// let layer = ApiKeyLayer::new(bearer(), Keyring::single("12345abcde")?).realm("reports");
    /// // A problem document, with `WWW-Authenticate: Bearer realm="reports", error="insufficient_scope"`.
    /// let writer = layer.rejection_writer().with_responder(Problem::default());
    /// let writers = RequireScopeLayer::all(["jobs:write"]).rejection_writer(writer);
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn rejection_writer(mut self, writer: RejectionWriter) -> Self {
        Arc::make_mut(&mut self.requirement).writer = Some(writer);
        self
    }
}

impl Requirement {
    fn is_met_by(&self, client: &impl Identity) -> bool {
        match &self.scopes {
            Scopes::All(scopes) => scopes.iter().all(|scope| client.has_scope(scope)),
            Scopes::Any(scopes) => scopes.iter().any(|scope| client.has_scope(scope)),
        }
    }

    fn reject(&self, head: RequestHead<'_>) -> Response<Bytes> {
        let rejection = Rejection::new(Reason::InsufficientScope);
        match &self.writer {
            Some(writer) => writer.write(head, rejection),
            None => respond::reject(head, rejection),
        }
    }

    /// Shows the scopes, because they are not secret.
    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for RequireScopeLayer<C> {
    type Service = RequireScopeService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScopeService::new(inner, Arc::clone(&self.requirement))
    }
}

impl<C> Clone for RequireScopeLayer<C> {
    fn clone(&self) -> Self {
        Self { requirement: Arc::clone(&self.requirement), client: PhantomData }
    }
}

impl<C> fmt::Debug for RequireScopeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.requirement.fmt("RequireScopeLayer", f)
    }
}
