use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use tower_service::Service;

use super::{Need, ResponseFuture};
use crate::{
    anonymous::Anonymous,
    body::ResponseBody,
    client::{Client, Identity},
    rejection::{Reason, Rejection},
    respond::Grpc,
};

/// Lets only clients with certain scopes through to the inner service. Made by
/// [`RequireScopeLayer`](super::RequireScopeLayer), where the examples are.
pub struct RequireScopeService<S, C = Client> {
    inner: S,
    need: Arc<Need>,
    client: PhantomData<fn() -> C>,
}

impl<S, B, B2, C> Service<Request<B>> for RequireScopeService<S, C>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    C: Identity + Clone + Send + Sync + 'static,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = request.extensions().get::<C>();
        if client.is_some_and(|client| self.need.is_met_by(client)) {
            return ResponseFuture::inner(self.inner.call(request));
        }
        // Gives back the permit that the inner service may have reserved in `poll_ready`.
        self.inner = self.inner.clone();

        let grpc = Grpc::of(request.method(), request.headers());
        let anonymous = Anonymous::of::<C>(request.extensions());
        ResponseFuture::refused(match (client, anonymous) {
            (Some(_), _) => {
                self.need.policy.reject(Rejection::new(Reason::InsufficientScope), grpc)
            }
            (None, Some(anonymous)) => anonymous.reject(),
            (None, None) => no_client(grpc),
        })
    }
}

/// Plain ASCII without `%`, as a `grpc-message` wants it.
const FIX: &str = "A `RequireScopeLayer` wants the client of a request that no `ApiKeyLayer` has verified: \
     put `ApiKeyLayer::new(..)` outside of it (in axum `.layer(..)` after the route, in a `ServiceBuilder` \
     before it), or take the path out of `exempt_path`; a preflight is answered by a CORS layer outside of \
     it, instead of `pass_preflight`; a type of your own must be the verifier's client type, and named with \
     `.client_type::<..>()`.";

/// The mistake is in the order of the layers, and nobody gets in by it.
fn no_client(grpc: Option<Grpc>) -> Response<Bytes> {
    #[cfg(any(feature = "axum", feature = "tracing"))]
    tracing::error!("{FIX}");
    let mut response = match grpc {
        Some(grpc) => grpc.answer("13", FIX),
        None => {
            let mut response = Response::new(Bytes::from_static(FIX.as_bytes()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            response
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<S, C> RequireScopeService<S, C> {
    pub(super) fn new(inner: S, need: Arc<Need>) -> Self {
        Self { inner, need, client: PhantomData }
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

impl<S: Clone, C> Clone for RequireScopeService<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.need))
    }
}

impl<S, C> fmt::Debug for RequireScopeService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.need.fmt("RequireScopeService", f)
    }
}
