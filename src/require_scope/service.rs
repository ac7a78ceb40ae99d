use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::Requirement;
use crate::{
    body::ResponseBody,
    client::{Client, Identity},
    extract::RequestHead,
    layer::{Anonymous, Exempt},
    macros::accessors,
    respond::{GuardFuture, server_error},
};

/// Passes only requests of clients with certain scopes on to the inner service.
///
/// Created by [`RequireScopeLayer`](super::RequireScopeLayer).
pub struct RequireScopeService<S, C = Client> {
    inner: S,
    requirement: Arc<Requirement>,
    client: PhantomData<fn() -> C>,
}

impl<S, B, B2, C> Service<Request<B>> for RequireScopeService<S, C>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    C: Identity + Clone + Send + Sync + 'static,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = request.extensions().get::<C>();
        if client.is_some_and(|client| self.requirement.is_met_by(client)) {
            return GuardFuture::inner(self.inner.call(request));
        }
        // Returns the permit that the inner service may have reserved in `poll_ready`.
        self.inner = self.inner.clone();

        let head = RequestHead::of(&request);
        GuardFuture::rejected(match (client, Anonymous::of::<C>(head.extensions())) {
            (Some(_), _) => self.requirement.reject(head),
            (None, Some(anonymous)) => anonymous.reject(head),
            (None, None) => match Exempt::of::<C>(head.extensions()) {
                Some(_) => server_error(head, EXEMPT),
                None => server_error(head, NO_LAYER),
            },
        })
    }
}

const NO_LAYER: &str = "A `RequireScopeLayer` needs a client, and no `ApiKeyLayer` verified this request. \
     Put `ApiKeyLayer::new(..)` outside of it (in axum `.layer(..)` after the route, in a `ServiceBuilder` or a \
     tonic server before it). If the verifier has a client type of its own, name it with \
     `.client_type::<..>()`.";

const EXEMPT: &str = "A `RequireScopeLayer` needs a client, and the `ApiKeyLayer` outside exempts this request. \
     Remove the path from `exempt_path`, or correct the predicate of `exempt_if`. If the request is a \
     preflight, put a CORS layer outside instead of `pass_preflight`.";

accessors! { RequireScopeService<S, C> }

impl<S, C> RequireScopeService<S, C> {
    pub(super) fn new(inner: S, requirement: Arc<Requirement>) -> Self {
        Self { inner, requirement, client: PhantomData }
    }
}

impl<S: Clone, C> Clone for RequireScopeService<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.requirement))
    }
}

impl<S, C> fmt::Debug for RequireScopeService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.requirement.fmt("RequireScopeService", f)
    }
}
