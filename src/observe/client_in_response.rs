use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::Client;

/// Puts the client into the response's extensions, so that an access log outside can say who it was.
///
/// It stands *inside* of the [`ApiKeyLayer`](crate::ApiKeyLayer), whose client it reads. A layer outside
/// finds `Client` there for a request that was let in with a key, and otherwise
/// [`Rejection`](crate::Rejection), or neither. Nothing of it is sent to the caller.
///
/// ```
/// use axum::{Router, extract::Request, middleware::{self, Next}, response::Response, routing::get};
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
/// use tower_api_key::observe::ClientInResponseLayer;
///
/// async fn access_log(request: Request, next: Next) -> Response {
///     let (method, path) = (request.method().clone(), request.uri().path().to_owned());
///     let response = next.run(request).await;
///     let client = response.extensions().get().map_or("-", Client::id);
///     println!("{client} {method} {path:?} {}", response.status().as_u16());
///     response
/// }
///
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(ClientInResponseLayer::new())
///     .layer(ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?))
///     .layer(middleware::from_fn(access_log));
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// For a client type of your own write `ClientInResponseLayer::new().client_type::<Tenant>()`.
#[must_use]
pub struct ClientInResponseLayer<C = Client>(PhantomData<fn() -> C>);

/// Puts the client into the response's extensions. Made by [`ClientInResponseLayer`], where the example is.
pub struct ClientInResponseService<S, C = Client> {
    inner: S,
    client: PhantomData<fn() -> C>,
}

impl ClientInResponseLayer {
    /// For [`Client`].
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<C> ClientInResponseLayer<C> {
    /// Reads clients of a type of your own, the verifier's.
    pub fn client_type<C2>(self) -> ClientInResponseLayer<C2> {
        ClientInResponseLayer(PhantomData)
    }
}

impl<S, C> Layer<S> for ClientInResponseLayer<C> {
    type Service = ClientInResponseService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientInResponseService { inner, client: PhantomData }
    }
}

impl<S, B, B2, C> Service<Request<B>> for ClientInResponseService<S, C>
where
    S: Service<Request<B>, Response = Response<B2>>,
    C: Clone + Send + Sync + 'static,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = ClientInResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = request.extensions().get().cloned();
        ClientInResponseFuture { inner: self.inner.call(request), client }
    }
}

pin_project! {
    /// Waits for the inner service's response.
    pub struct ClientInResponseFuture<F, C> {
        #[pin]
        inner: F,
        client: Option<C>,
    }
}

impl<F, B, E, C> Future for ClientInResponseFuture<F, C>
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

impl<C> Clone for ClientInResponseLayer<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for ClientInResponseLayer<C> {}

impl Default for ClientInResponseLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, C> ClientInResponseService<S, C> {
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

impl<S: Clone, C> Clone for ClientInResponseService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), client: PhantomData }
    }
}

macro_rules! opaque {
    ($($name:ident<$($generic:ident),+>)+) => {$(
        impl<$($generic),+> fmt::Debug for $name<$($generic),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

opaque! { ClientInResponseLayer<C> ClientInResponseService<S, C> ClientInResponseFuture<F, C> }
