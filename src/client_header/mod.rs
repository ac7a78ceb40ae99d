//! Who the client is, told to another service behind this one.

mod names;
mod service;

use std::{fmt, marker::PhantomData, sync::Arc};

use tower_layer::Layer;

use self::names::Names;
pub use self::service::ClientHeaderService;
use crate::{
    client::{Client, Identity},
    error::{ConfigError, literal},
};

/// Hands the client's id on as a request header, to a service that is reached through the inner one: in
/// a reverse proxy. It stands inside an [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// ```
/// use tower::{ServiceBuilder, service_fn};
/// use tower_api_key::{ApiKeyLayer, ClientHeaderLayer, Keyring, extract::header};
///
/// # async fn forward(request: http::Request<String>) -> Result<http::Response<String>, std::convert::Infallible> {
/// #     Ok(http::Response::new(request.into_body()))
/// # }
/// let service = ServiceBuilder::new()
///     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
///     .layer(ClientHeaderLayer::new("x-client-id").scopes("x-client-scopes"))
///     .service(service_fn(forward));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// What a caller sent under these names is removed from every request, and so it is where there is no
/// client to name: on exempt paths, on optional routes, and where no `ApiKeyLayer` ran. That goes for all
/// lines, in any case, and for names that differ in punctuation alone (`X_Client_Id`), since CGI, WSGI and
/// the like take those for the same. `Connection` cannot name them either, by which a caller could have a
/// proxy drop them as meant for one hop, and neither can `Trailer`.
///
/// The trailers themselves, behind the body, are left alone. To a service that is reached by HTTP/1.1 hyper
/// sends those alone that `Trailer` names, and so none of these; to one that is reached by HTTP/2 it sends
/// all of them. A service must not merge trailers into headers, nor read there who the client is.
///
/// An id is written as it is if it is of visible ASCII without `%`. Any other byte, and `%` itself, is
/// percent-encoded: `caf%C3%A9%20%2B`. So no two ids look alike, no id is refused, and any
/// percent-decoder gives it back. Scopes stand with a space between them, as in OAuth; what is no scope
/// (RFC 6749 §3.3) is left out, and a client without scopes has no such header.
///
/// The service behind must take requests from here alone: whoever reaches it directly can say who they
/// are.
#[must_use]
pub struct ClientHeaderLayer<C = Client> {
    names: Arc<Names>,
    client: PhantomData<fn() -> C>,
}

impl ClientHeaderLayer {
    /// Hands the id on in the header of this name, such as `x-client-id`.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_new`](Self::try_new) is for names from configuration.
    #[track_caller]
    pub fn new(id: &str) -> Self {
        literal(Self::try_new(id))
    }

    /// Hands the id on in a header whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// For what is no header name, and for headers that have a meaning of their own: those that a message
    /// is made of, such as `content-length`, and those that say who somebody is by other means,
    /// `authorization` and `cookie`.
    pub fn try_new(id: &str) -> Result<Self, ConfigError> {
        Ok(Self { names: Arc::new(Names::new(id)?), client: PhantomData })
    }
}

impl<C> ClientHeaderLayer<C> {
    /// Hands the client's scopes on as well, in the header of this name.
    ///
    /// # Panics
    ///
    /// On a bad name; [`try_scopes`](Self::try_scopes) is for names from configuration.
    #[track_caller]
    pub fn scopes(self, name: &str) -> Self {
        literal(self.try_scopes(name))
    }

    /// Hands the client's scopes on as well, in a header whose name comes from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new) has, and for the name of the id's header, punctuation aside.
    pub fn try_scopes(mut self, name: &str) -> Result<Self, ConfigError> {
        Arc::make_mut(&mut self.names).set_scopes(name)?;
        Ok(self)
    }

    /// Reads clients of a type of your own, the verifier's. Its scopes are those that
    /// [`Identity::granted`] lists.
    pub fn client_type<C2: Identity>(self) -> ClientHeaderLayer<C2> {
        ClientHeaderLayer { names: self.names, client: PhantomData }
    }
}

impl<S, C> Layer<S> for ClientHeaderLayer<C> {
    type Service = ClientHeaderService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientHeaderService { inner, names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<C> Clone for ClientHeaderLayer<C> {
    fn clone(&self) -> Self {
        Self { names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<C> fmt::Debug for ClientHeaderLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientHeaderLayer").field(&self.names).finish()
    }
}
