//! Propagates the client to the response, for an access log outside.
//!
//! [`PropagateClientLayer`] goes *inside* the [`ApiKeyLayer`](crate::ApiKeyLayer), whose client it reads. A
//! layer outside finds the `Client` of an accepted request in the extensions of the response. If the request was
//! rejected, it finds a [`Rejection`](crate::Rejection) instead. The caller sees neither.
//!
//! # Example: an access log
//!
//! ```
//! use axum::{Router, extract::Request, middleware::{self, Next}, response::Response, routing::get};
//! use tower_api_key::{ApiKeyLayer, Client, Keyring, PropagateClientLayer, extract::header};
//!
//! async fn access_log(request: Request, next: Next) -> Response {
//!     let (method, path) = (request.method().clone(), request.uri().path().to_owned());
//!     let response = next.run(request).await;
//!     let client = response.extensions().get().map_or("-", Client::id);
//!     println!("{client} {method} {path:?} {}", response.status().as_u16());
//!     response
//! }
//!
//! let app: Router = Router::new()
//!     .route("/", get(async || "hello"))
//!     .layer(PropagateClientLayer::new())
//!     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
//!     .layer(middleware::from_fn(access_log));
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    client::Client,
    macros::{accessors, opaque},
};

/// A layer that puts the client into the extensions of the response.
///
/// The [module](self) has an example. For a client type of your own, write
/// `PropagateClientLayer::new().client_type::<Tenant>()`.
#[must_use]
pub struct PropagateClientLayer<C = Client>(PhantomData<fn() -> C>);

/// Puts the client into the extensions of the response.
///
/// Created by [`PropagateClientLayer`].
pub struct PropagateClientService<S, C = Client> {
    inner: S,
    client: PhantomData<fn() -> C>,
}

impl PropagateClientLayer {
    /// Creates a layer for [`Client`].
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C> PropagateClientLayer<C> {
    /// Reads clients of a type of your own, as the verifier returns them.
    pub fn client_type<C2>(self) -> PropagateClientLayer<C2> {
        PropagateClientLayer(PhantomData)
    }
}

impl<S, C> Layer<S> for PropagateClientLayer<C> {
    type Service = PropagateClientService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateClientService { inner, client: PhantomData }
    }
}

impl<S, B, B2, C> Service<Request<B>> for PropagateClientService<S, C>
where
    S: Service<Request<B>, Response = Response<B2>>,
    C: Clone + Send + Sync + 'static,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = PropagateClientFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = request.extensions().get().cloned();
        PropagateClientFuture { inner: self.inner.call(request), client }
    }
}

pin_project! {
    /// Waits for the inner service's response.
    pub struct PropagateClientFuture<F, C> {
        #[pin]
        inner: F,
        client: Option<C>,
    }
}

impl<F, B, E, C> Future for PropagateClientFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    C: Clone + Send + Sync + 'static,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(client) = this.client.take() {
            response.extensions_mut().insert(client);
        }
        Poll::Ready(Ok(response))
    }
}

impl<C> Clone for PropagateClientLayer<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for PropagateClientLayer<C> {}

impl Default for PropagateClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

accessors! { PropagateClientService<S, C> }

impl<S: Clone, C> Clone for PropagateClientService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), client: PhantomData }
    }
}

opaque! { PropagateClientLayer<C> PropagateClientService<S, C> PropagateClientFuture<F, C> }
