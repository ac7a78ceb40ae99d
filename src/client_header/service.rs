use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower_service::Service;

use super::Names;
use crate::client::{Client, Identity};

/// Puts the client's id into requests. Made by [`ClientHeaderLayer`](super::ClientHeaderLayer), where the examples are.
pub struct ClientHeaderService<S, C = Client> {
    pub(super) inner: S,
    pub(super) names: Arc<Names>,
    pub(super) client: PhantomData<fn() -> C>,
}

impl<S, B, C> Service<Request<B>> for ClientHeaderService<S, C>
where
    S: Service<Request<B>>,
    C: Identity + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        self.names.take_out(&mut head.headers);
        if let Some(client) = head.extensions.get::<C>() {
            self.names.put_in(&mut head.headers, client);
        }
        self.inner.call(Request::from_parts(head, body))
    }
}

impl<S, C> ClientHeaderService<S, C> {
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

impl<S: Clone, C> Clone for ClientHeaderService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<S, C> fmt::Debug for ClientHeaderService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientHeaderService").field(&self.names).finish()
    }
}
