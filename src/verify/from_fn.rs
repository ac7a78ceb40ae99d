use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{Never, PresentedKey, Verification, Verify, VerifyError};
use crate::key::KeyDigest;

/// The result of a closure: `Option<C>` or `Result<Option<C>, E>`.
///
/// `None` means that the key is unknown. An `E` is a [`VerifyError`]. If it is another error,
/// verification failed (503). The trait is sealed. [`from_fn`] and [`from_async_fn`] have examples.
#[diagnostic::on_unimplemented(
    message = "a verifier's closure cannot return `{Self}`",
    note = "return `Option<Client>`: `Some(Client::new(\"…\"))` for a good key, `None` for an unknown one",
    note = "or `Result<Option<Client>, E>`, where an `Err` means that verification failed (503)",
    note = "a bare `Result<Client, VerifyError>` is for an `impl Verify`. Return `Ok(Some(client))` here"
)]
pub trait IntoVerifyResult: sealed::Sealed {
    /// The client's type.
    type Client;

    /// Converts the result of the closure into the result of a verifier.
    ///
    /// # Errors
    ///
    /// If the closure returned `None` or an error.
    fn into_result(self) -> Result<Self::Client, VerifyError>;
}

mod sealed {
    #[allow(unnameable_types, reason = "other crates must not implement it")]
    pub trait Sealed {}

    impl<C> Sealed for Option<C> {}

    impl<C, E> Sealed for Result<Option<C>, E> {}
}

impl<C> IntoVerifyResult for Option<C> {
    type Client = C;

    fn into_result(self) -> Result<C, VerifyError> {
        self.ok_or_else(VerifyError::unknown)
    }
}

impl<C, E: Into<VerifyError>> IntoVerifyResult for Result<Option<C>, E> {
    type Client = C;

    fn into_result(self) -> Result<C, VerifyError> {
        self.map_err(Into::into)?.into_result()
    }
}

/// A verifier that calls a closure. Created by [`from_fn`].
pub struct FromFn<F>(Arc<F>);

/// Verifies keys with a closure that returns at once.
///
/// The closure returns `Option<Client>` or `Result<Option<Client>, E>`.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::header, verify};
///
/// let mine = KeyDigest::of("12345abcde");
/// let check = verify::from_fn(move |key| (key.digest() == mine).then(|| Client::new("me")));
/// let layer = ApiKeyLayer::new(header("x-api-key"), check);
/// ```
#[must_use]
pub fn from_fn<F, T>(verify: F) -> FromFn<F>
where
    F: Fn(&PresentedKey<'_>) -> T,
    T: IntoVerifyResult,
{
    FromFn(Arc::new(verify))
}

impl<F, T> Verify for FromFn<F>
where
    F: Fn(&PresentedKey<'_>) -> T,
    T: IntoVerifyResult,
    T::Client: Clone + Send + Sync + 'static,
{
    type Client = T::Client;
    type Future = Never<T::Client>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<T::Client> {
        (self.0)(key).into_result().into()
    }
}

/// A verifier that calls an asynchronous closure. Created by [`from_async_fn`].
pub struct FromAsyncFn<F>(Arc<F>);

/// Verifies keys with an asynchronous closure, to ask a database for example.
///
/// The closure gets the digest, and never the key. The layer has no timeout. Set a deadline inside the
/// closure, as the [example of the module](crate::verify) does. Its error becomes a 503. While the future
/// is pending, the inner service keeps the permit of the request.
///
/// # Examples
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, extract::header, verify};
/// # #[derive(Clone)] struct Pool;
/// # async fn lookup(_: Pool, _: tower_api_key::KeyDigest) -> Result<Option<Client>, std::io::Error> { Ok(None) }
/// # let pool = Pool;
///
/// let check = verify::from_async_fn(move |digest| lookup(pool.clone(), digest));
/// let layer = ApiKeyLayer::new(header("x-api-key"), check);
/// ```
///
/// # Example: return several kinds of errors
///
/// The layer calls the closure for every request, so clone captured values for each future. Convert all
/// errors into a [`VerifyError`].
///
/// ```
/// # use tower_api_key::{Client, verify::{self, VerifyError}};
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { async fn find(&self, _: [u8; 32]) -> std::io::Result<Option<String>> { Ok(None) } }
/// # let pool = Pool;
/// let check = verify::from_async_fn(move |digest| {
///     let pool = pool.clone();
///     async move {
///         let Some(id) = pool.find(digest.to_bytes()).await? else { return Ok(None) };
///         if id.starts_with("former-") {
///             return Err(VerifyError::revoked());
///         }
///         Ok::<_, VerifyError>(Some(Client::new(id)))
///     }
/// });
/// # let _ = tower_api_key::ApiKeyLayer::new(tower_api_key::extract::bearer(), check);
/// ```
#[must_use]
pub fn from_async_fn<F, Fut>(verify: F) -> FromAsyncFn<F>
where
    F: Fn(KeyDigest) -> Fut,
    Fut: Future,
    Fut::Output: IntoVerifyResult,
{
    FromAsyncFn(Arc::new(verify))
}

impl<F, Fut, T> Verify for FromAsyncFn<F>
where
    F: Fn(KeyDigest) -> Fut,
    Fut: Future<Output = T>,
    T: IntoVerifyResult,
    T::Client: Clone + Send + Sync + 'static,
{
    type Client = T::Client;
    type Future = FromAsyncFnFuture<Fut>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<T::Client, Self::Future> {
        Verification::Pending(FromAsyncFnFuture { future: (self.0)(key.digest()) })
    }
}

pin_project! {
    /// The future of a [`FromAsyncFn`].
    pub struct FromAsyncFnFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F> Future for FromAsyncFnFuture<F>
where
    F: Future,
    F::Output: IntoVerifyResult,
{
    type Output = Result<<F::Output as IntoVerifyResult>::Client, VerifyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(IntoVerifyResult::into_result)
    }
}

impl<F> Clone for FromFn<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Clone for FromAsyncFn<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn(..)")
    }
}

impl<F> fmt::Debug for FromAsyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromAsyncFn(..)")
    }
}

impl<F> fmt::Debug for FromAsyncFnFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromAsyncFnFuture(..)")
    }
}
