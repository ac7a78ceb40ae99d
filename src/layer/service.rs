use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    authenticate::{Action, authenticate, bypass, conclude, reject_or_report},
    config::Config,
    future::{InnerFuture, PendingRequest, ResponseFuture},
};
use crate::{
    body::ResponseBody,
    error::expect_valid,
    extract::Extract,
    macros::accessors,
    observe::Observe,
    request_head::RequestHead,
    verify::{Verification, Verify},
};

/// Passes only requests with a valid key on to the inner service.
///
/// Created by [`ApiKeyLayer`](crate::ApiKeyLayer), which has an example.
pub struct ApiKeyService<S, E, V, O = ()> {
    pub(super) inner: S,
    pub(super) config: Arc<Config<E, V, O>>,
}

impl<S, B, B2, E, V, O> Service<Request<B>> for ApiKeyService<S, E, V, O>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    E: Extract,
    V: Verify,
    O: Observe<V::Client>,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future =
        ResponseFuture<InnerFuture<S::Future, E, V, O>, PendingRequest<S, B, E, V, O, V::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { inner, config } = self;
        let started = config.observe.start();

        let mut residue = None;
        let action = authenticate(config, RequestHead::of(&request), &mut residue);
        if let Some((found, location)) = residue {
            config.settings.locations.strip_lines(&mut request, &found, location);
        }
        let result = match action {
            Action::Bypass(reason) => Ok(bypass(config, &mut request, reason, started)),
            Action::Reject(why) => reject_or_report(config, &mut request, why, started),
            Action::Verify(Verification::Ready(result), source) => {
                conclude(config, &mut request, source, result, started)
            }
            Action::Verify(Verification::Pending(future), source) => {
                // Strip keys before awaiting.
                config.settings.locations.strip(&mut request, false);
                // After the verification, the instance that returned ready must be called.
                let clone = inner.clone();
                let ready = mem::replace(inner, clone);
                return ResponseFuture::pending(PendingRequest::new(
                    future, ready, config, request, source, started,
                ));
            }
        };
        match result {
            Ok(cache) => {
                #[cfg(feature = "limit")]
                super::passed::note_passed();
                ResponseFuture::inner(InnerFuture::new(inner.call(request), cache, config))
            }
            Err(rejected) => {
                // Returns the permit that the inner service may have reserved in `poll_ready`.
                *inner = inner.clone();
                ResponseFuture::rejected(rejected)
            }
        }
    }
}

impl<S, E: Extract, V: Verify> ApiKeyService<S, E, V> {
    /// Wraps a service with the default settings of [`ApiKeyLayer::new`](crate::ApiKeyLayer::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_api_key::{ApiKeyService, Keyring, extract::header};
    ///
    /// let service = ApiKeyService::new("inner", header("x-api-key"), Keyring::single("12345abcde")?);
    /// assert_eq!(service.into_inner(), "inner");
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the extractor declares one location twice, or none.
    #[track_caller]
    pub fn new(inner: S, extract: E, verify: V) -> Self {
        Self { inner, config: Arc::new(expect_valid(Config::new(extract, verify))) }
    }
}

accessors! { ApiKeyService<S, E, V, O> }

impl<S: Clone, E, V, O> Clone for ApiKeyService<S, E, V, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S, E, V, O> fmt::Debug for ApiKeyService<S, E, V, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt("ApiKeyService", f)
    }
}
