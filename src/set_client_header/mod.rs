//! Forwards the client's identity to an upstream service, as a request header.
//!
//! [`SetClientHeaderLayer`] goes inside an [`ApiKeyLayer`](crate::ApiKeyLayer), in a reverse proxy.
//!
//! # Examples
//!
//! ```
//! use tower::{ServiceBuilder, service_fn};
//! use tower_api_key::{ApiKeyLayer, Keyring, SetClientHeaderLayer, extract::header};
//!
//! # async fn forward(request: http::Request<String>) -> Result<http::Response<String>, std::convert::Infallible> {
//! #     Ok(http::Response::new(request.into_body()))
//! # }
//! let service = ServiceBuilder::new()
//!     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
//!     .layer(SetClientHeaderLayer::new("x-client-id").scopes("x-client-scopes"))
//!     .service(service_fn(forward));
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```
//!
//! # Can a caller forge the header?
//!
//! The layer removes headers of these names from every request, also if there is no client. Exempt paths,
//! optional routes and requests without an `ApiKeyLayer` have none. It removes all lines, in any case. It also
//! removes names with other punctuation (`X_Client_Id`), because CGI and WSGI treat them as equal.
//! It removes the names from `Connection`, because a proxy would drop the listed headers, and from `Trailer`.
//!
//! The layer leaves trailers alone. To an upstream service with HTTP/1.1, hyper sends only the trailers
//! in `Trailer`, and so none of these. To one with HTTP/2, hyper sends all of them. The upstream service must
//! not merge trailers into headers.
//!
//! The upstream service must accept requests from this proxy alone, because any other caller can write the
//! header.
//!
//! # How is an id written?
//!
//! An id of visible ASCII without `%` stays as it is. Any other byte, and `%` itself, is percent-encoded:
//! `caf%C3%A9%20%2B`. So different ids have different headers, and a percent-decoder returns the id.
//!
//! Scopes are separated by a space, as in OAuth. An invalid scope (RFC 6749 §3.3) is left out. A client
//! without scopes has no such header.

mod names;
mod service;

use std::{fmt, marker::PhantomData, sync::Arc};

use tower_layer::Layer;

use self::names::Names;
pub use self::service::SetClientHeaderService;
use crate::{
    client::{Client, Identity},
    error::{ConfigError, expect_valid},
};

/// A layer that forwards the client's id, and its scopes if you ask for them, as request headers.
///
/// The [module](self) has an example.
#[must_use]
pub struct SetClientHeaderLayer<C = Client> {
    names: Arc<Names>,
    client: PhantomData<fn() -> C>,
}

impl SetClientHeaderLayer {
    /// Sets the header for the id, such as `x-client-id`.
    ///
    /// # Panics
    ///
    /// If [`try_new`](Self::try_new) returns an error. Use it for a name from configuration.
    #[track_caller]
    pub fn new(id: &str) -> Self {
        expect_valid(Self::try_new(id))
    }

    /// Sets the header for the id, with a name from configuration.
    ///
    /// # Errors
    ///
    /// If the name is no header name. If the header has another meaning, such as `content-length`,
    /// `authorization` and `cookie`.
    pub fn try_new(id: &str) -> Result<Self, ConfigError> {
        Ok(Self { names: Arc::new(Names::new(id)?), client: PhantomData })
    }
}

impl<C> SetClientHeaderLayer<C> {
    /// Sets the header for the scopes of the client. There is none by default.
    ///
    /// # Panics
    ///
    /// If [`try_scopes`](Self::try_scopes) returns an error. Use it for a name from configuration.
    #[track_caller]
    pub fn scopes(self, name: &str) -> Self {
        expect_valid(self.try_scopes(name))
    }

    /// Sets the header for the scopes of the client, with a name from configuration.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new) does. If the name differs from that of the id's header in punctuation alone,
    /// or not at all.
    pub fn try_scopes(mut self, name: &str) -> Result<Self, ConfigError> {
        Arc::make_mut(&mut self.names).set_scopes(name)?;
        Ok(self)
    }

    /// Reads clients of a type of your own, as the verifier returns them.
    ///
    /// Its scopes are those that [`Identity::scopes`] lists.
    pub fn client_type<C2: Identity>(self) -> SetClientHeaderLayer<C2> {
        SetClientHeaderLayer { names: self.names, client: PhantomData }
    }
}

impl<S, C> Layer<S> for SetClientHeaderLayer<C> {
    type Service = SetClientHeaderService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        SetClientHeaderService { inner, names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<C> Clone for SetClientHeaderLayer<C> {
    fn clone(&self) -> Self {
        Self { names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<C> fmt::Debug for SetClientHeaderLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetClientHeaderLayer").field(&self.names).finish()
    }
}
