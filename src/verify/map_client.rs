use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{AtOnce, PresentedKey, Verification, Verify, VerifyError, verification::sealed};

/// A verifier that converts the clients of another. Created by [`Verify::map_client`].
pub struct MapClient<V, F> {
    verify: V,
    map: Arc<F>,
}

/// A verifier that converts the clients of another or rejects them. Created by
/// [`Verify::try_map_client`].
pub struct TryMapClient<V, F> {
    verify: V,
    map: Arc<F>,
}

impl<V, F> MapClient<V, F> {
    pub(super) fn new(verify: V, map: F) -> Self {
        Self { verify, map: Arc::new(map) }
    }
}

impl<V, F> TryMapClient<V, F> {
    pub(super) fn new(verify: V, map: F) -> Self {
        Self { verify, map: Arc::new(map) }
    }
}

impl<V, F, C> Verify for MapClient<V, F>
where
    V: Verify,
    F: Fn(V::Client) -> C,
    C: Clone + Send + Sync + 'static,
{
    type Client = C;
    type Future = MapClientFuture<V::Future, F>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<C, Self::Future> {
        match self.verify.verify(key) {
            Verification::Ready(result) => result.map(&*self.map).into(),
            Verification::Pending(future) => {
                Verification::Pending(MapClientFuture { future, map: Arc::clone(&self.map) })
            }
        }
    }
}

impl<V, F, C, E> Verify for TryMapClient<V, F>
where
    V: Verify,
    F: Fn(V::Client) -> Result<C, E>,
    C: Clone + Send + Sync + 'static,
    E: Into<VerifyError>,
{
    type Client = C;
    type Future = TryMapClientFuture<V::Future, F>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<C, Self::Future> {
        match self.verify.verify(key) {
            Verification::Ready(result) => try_map(result, &*self.map).into(),
            Verification::Pending(future) => {
                Verification::Pending(TryMapClientFuture { future, map: Arc::clone(&self.map) })
            }
        }
    }
}

fn try_map<A, C, E: Into<VerifyError>>(
    result: Result<A, VerifyError>,
    map: impl Fn(A) -> Result<C, E>,
) -> Result<C, VerifyError> {
    result.and_then(|client| map(client).map_err(Into::into))
}

pin_project! {
    /// The future of a [`MapClient`].
    pub struct MapClientFuture<Fut, F> {
        #[pin]
        future: Fut,
        map: Arc<F>,
    }
}

pin_project! {
    /// The future of a [`TryMapClient`].
    pub struct TryMapClientFuture<Fut, F> {
        #[pin]
        future: Fut,
        map: Arc<F>,
    }
}

impl<Fut, F, A, C> Future for MapClientFuture<Fut, F>
where
    Fut: Future<Output = Result<A, VerifyError>>,
    F: Fn(A) -> C,
{
    type Output = Result<C, VerifyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map_ok(&**this.map)
    }
}

impl<Fut, F, A, C, E> Future for TryMapClientFuture<Fut, F>
where
    Fut: Future<Output = Result<A, VerifyError>>,
    F: Fn(A) -> Result<C, E>,
    E: Into<VerifyError>,
{
    type Output = Result<C, VerifyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map(|result| try_map(result, &**this.map))
    }
}

macro_rules! at_once {
    ($($future:ident)+) => {$(
        impl<Fut: AtOnce, F> AtOnce for $future<Fut, F> {}

        impl<Fut: AtOnce, F> sealed::Absurd for $future<Fut, F> {
            fn absurd<T>(self) -> T {
                self.future.absurd()
            }
        }

        impl<Fut, F> fmt::Debug for $future<Fut, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($future), "(..)"))
            }
        }
    )+};
}

at_once! { MapClientFuture TryMapClientFuture }

macro_rules! verifiers {
    ($($verifier:ident)+) => {$(
        impl<V: Clone, F> Clone for $verifier<V, F> {
            fn clone(&self) -> Self {
                Self { verify: self.verify.clone(), map: Arc::clone(&self.map) }
            }
        }

        impl<V: fmt::Debug, F> fmt::Debug for $verifier<V, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($verifier)).field("verify", &self.verify).finish_non_exhaustive()
            }
        }
    )+};
}

verifiers! { MapClient TryMapClient }
