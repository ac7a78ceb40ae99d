use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower_service::Service;

use super::Names;
use crate::{
    client::{Client, Identity},
    macros::accessors,
};

/// Sets the client's id as a header of requests.
///
/// Created by [`SetClientHeaderLayer`](super::SetClientHeaderLayer).
pub struct SetClientHeaderService<S, C = Client> {
    pub(super) inner: S,
    pub(super) names: Arc<Names>,
    pub(super) client: PhantomData<fn() -> C>,
}

impl<S, B, C> Service<Request<B>> for SetClientHeaderService<S, C>
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
        self.names.strip(&mut head.headers);
        if let Some(client) = head.extensions.get::<C>() {
            self.names.insert(&mut head.headers, client);
        }
        self.inner.call(Request::from_parts(head, body))
    }
}

accessors! { SetClientHeaderService<S, C> }

impl<S: Clone, C> Clone for SetClientHeaderService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), names: Arc::clone(&self.names), client: PhantomData }
    }
}

impl<S, C> fmt::Debug for SetClientHeaderService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetClientHeaderService").field(&self.names).finish()
    }
}
