use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{Later, Presented, Refusal, Verify};
use crate::key::KeyDigest;

/// What a closure may answer: `Option<C>`, or `Result<Option<C>, E>`. It is sealed.
///
/// `None` is an unknown key. An `E` is any error, which means that it could not be told (503), or a
/// [`Refusal`] that says more.
#[diagnostic::on_unimplemented(
    message = "a verifier's closure cannot answer `{Self}`",
    note = "answer `Option<Client>`: `Some(Client::new(\"…\"))` for a good key, `None` for an unknown one",
    note = "or `Result<Option<Client>, E>`, where an `Err` means that it could not be told: 503",
    note = "a bare `Result<Client, Refusal>` is for an `impl Verify`: here it is `Ok(Some(client))`"
)]
pub trait IntoAnswer: sealed::Sealed {
    /// The client's type.
    type Client;

    /// The answer of a verifier.
    ///
    /// # Errors
    ///
    /// The refusal, where it is one.
    fn into_answer(self) -> Result<Self::Client, Refusal>;
}

mod sealed {
    pub trait Sealed {}

    impl<C> Sealed for Option<C> {}

    impl<C, E> Sealed for Result<Option<C>, E> {}
}

impl<C> IntoAnswer for Option<C> {
    type Client = C;

    fn into_answer(self) -> Result<C, Refusal> {
        self.ok_or_else(Refusal::unknown)
    }
}

impl<C, E: Into<Refusal>> IntoAnswer for Result<Option<C>, E> {
    type Client = C;

    fn into_answer(self) -> Result<C, Refusal> {
        self.map_err(Into::into)?.into_answer()
    }
}

/// A verifier made of a closure. Made by [`from_fn`].
pub struct FromFn<F>(Arc<F>);

/// Verifies with a closure that answers at once.
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
    F: Fn(Presented<'_>) -> T,
    T: IntoAnswer,
{
    FromFn(Arc::new(verify))
}

impl<F, T> Verify for FromFn<F>
where
    F: Fn(Presented<'_>) -> T,
    T: IntoAnswer,
    T::Client: Clone + Send + Sync + 'static,
{
    type Answer = Result<T::Client, Refusal>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        (self.0)(key).into_answer()
    }
}

/// A verifier made of an asynchronous closure. Made by [`from_async_fn`].
pub struct FromAsyncFn<F>(Arc<F>);

/// Verifies with a closure that looks a digest up, in a database for example.
///
/// The closure gets the digest, and never the key. While its future is pending, the inner service
/// that was made ready keeps its permit, if it has one. A future that never ends is not ended by
/// this layer: set a deadline inside, whose error becomes a 503, as the
/// [module's example](crate::verify) does.
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
/// It is called for every request, so that what it captures is cloned for each future. Errors of
/// several kinds meet in a [`Refusal`]:
///
/// ```
/// # use tower_api_key::{Client, verify::{self, Refusal}};
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { async fn find(&self, _: [u8; 32]) -> std::io::Result<Option<String>> { Ok(None) } }
/// # let pool = Pool;
/// let check = verify::from_async_fn(move |digest| {
///     let pool = pool.clone();
///     async move {
///         let Some(id) = pool.find(digest.to_bytes()).await? else { return Ok(None) };
///         if id.starts_with("former-") {
///             return Err(Refusal::revoked());
///         }
///         Ok::<_, Refusal>(Some(Client::new(id)))
///     }
/// });
/// # let _ = tower_api_key::ApiKeyLayer::new(tower_api_key::extract::bearer(), check);
/// ```
#[must_use]
pub fn from_async_fn<F, Fut>(verify: F) -> FromAsyncFn<F>
where
    F: Fn(KeyDigest) -> Fut,
    Fut: Future,
    Fut::Output: IntoAnswer,
{
    FromAsyncFn(Arc::new(verify))
}

impl<F, Fut, T> Verify for FromAsyncFn<F>
where
    F: Fn(KeyDigest) -> Fut,
    Fut: Future<Output = T>,
    T: IntoAnswer,
    T::Client: Clone + Send + Sync + 'static,
{
    type Answer = Later<AnswerFuture<Fut>>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        Later::Wait(AnswerFuture { future: (self.0)(key.digest()) })
    }
}

pin_project! {
    /// Makes an answer of what a closure's future gives.
    pub struct AnswerFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F> Future for AnswerFuture<F>
where
    F: Future,
    F::Output: IntoAnswer,
{
    type Output = Result<<F::Output as IntoAnswer>::Client, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(IntoAnswer::into_answer)
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

impl<F> fmt::Debug for AnswerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerFuture(..)")
    }
}
