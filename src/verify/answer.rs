use std::{
    convert::Infallible,
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::Refusal;

/// What a verifier answers: a `Result<C, Refusal>` at once, or a [`Later`].
///
/// It is sealed: these two are all there are. `C` is the client, any `Clone + Send + Sync + 'static`
/// type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a verifier's answer",
    note = "a verifier answers `Result<C, Refusal>`, or `Later<F>` where `F` is a future of that",
    note = "the client `C` must be `Clone + Send + Sync + 'static`"
)]
pub trait Answer: Sized + sealed::Sealed {
    /// What a handler finds in the request's extensions.
    type Client: Clone + Send + Sync + 'static;

    #[doc(hidden)]
    type Future;

    #[doc(hidden)]
    type Waiting<R: Resume<Self::Client>>: Future<Output = R::Next>;

    #[doc(hidden)]
    fn now(self) -> Result<Result<Self::Client, Refusal>, Self::Future>;

    #[doc(hidden)]
    fn wait<R: Resume<Self::Client>>(future: Self::Future, rest: R) -> Self::Waiting<R>;

    #[doc(hidden)]
    fn at_once(answer: Result<Self::Client, Refusal>) -> Self;
}

/// What goes on once a verifier has answered.
#[doc(hidden)]
pub trait Resume<C> {
    type Next;

    fn resume(self, answer: Result<C, Refusal>) -> Self::Next;
}

mod sealed {
    pub trait Sealed {}
}

impl<C> sealed::Sealed for Result<C, Refusal> {}

impl<C: Clone + Send + Sync + 'static> Answer for Result<C, Refusal> {
    type Client = C;
    type Future = Infallible;
    type Waiting<R: Resume<C>> = Never<C, R>;

    fn now(self) -> Result<Self, Infallible> {
        Ok(self)
    }

    fn wait<R: Resume<C>>(never: Infallible, _: R) -> Never<C, R> {
        match never {}
    }

    fn at_once(answer: Self) -> Self {
        answer
    }
}

/// An answer that may take its time: known [`Now`](Self::Now), from a cache for example, or to
/// [`Wait`](Self::Wait) for.
///
/// The future is the verifier's own and is not boxed. It need be `Send` only where the server wants
/// that of all futures, as axum and tonic do.
///
/// ```
/// use std::pin::Pin;
/// use tower_api_key::{Client, verify::{Later, Presented, Refusal, Verify}};
///
/// struct Cached;
///
/// impl Verify for Cached {
///     type Answer = Later<Pin<Box<dyn Future<Output = Result<Client, Refusal>> + Send>>>;
///
///     fn verify(&self, key: Presented<'_>) -> Self::Answer {
///         let digest = key.digest();
///         match self.look_up(digest) {
///             Some(client) => Later::Now(Ok(client)),
///             None => Later::Wait(Box::pin(async move { Err(Refusal::unknown()) })),
///         }
///     }
/// }
/// # impl Cached { fn look_up(&self, _: tower_api_key::KeyDigest) -> Option<Client> { None } }
/// ```
pub enum Later<F: Future> {
    /// Known already.
    Now(F::Output),
    /// To be waited for.
    Wait(F),
}

impl<F: Future> fmt::Debug for Later<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(_) => "Now(..)",
            Self::Wait(_) => "Wait(..)",
        })
    }
}

impl<F: Future> sealed::Sealed for Later<F> {}

impl<C, F> Answer for Later<F>
where
    C: Clone + Send + Sync + 'static,
    F: Future<Output = Result<C, Refusal>>,
{
    type Client = C;
    type Future = F;
    type Waiting<R: Resume<C>> = Waiting<F, R>;

    fn now(self) -> Result<Result<C, Refusal>, F> {
        match self {
            Self::Now(answer) => Ok(answer),
            Self::Wait(future) => Err(future),
        }
    }

    fn wait<R: Resume<C>>(future: F, rest: R) -> Waiting<F, R> {
        Waiting { future, rest: Some(rest) }
    }

    fn at_once(answer: Result<C, Refusal>) -> Self {
        Self::Now(answer)
    }
}

/// The wait for an answer that is always there: it takes no room.
#[derive(Debug)]
pub struct Never<C, R>(Infallible, PhantomData<fn() -> (C, R)>);

impl<C, R: Resume<C>> Future for Never<C, R> {
    type Output = R::Next;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<R::Next> {
        match self.0 {}
    }
}

pin_project! {
    /// Waits for the verifier, then goes on with the rest.
    #[derive(Debug)]
    pub struct Waiting<F, R> {
        #[pin]
        future: F,
        rest: Option<R>,
    }
}

impl<C, F, R> Future for Waiting<F, R>
where
    F: Future<Output = Result<C, Refusal>>,
    R: Resume<C>,
{
    type Output = R::Next;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Next> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        match this.rest.take() {
            Some(rest) => Poll::Ready(rest.resume(answer)),
            // Polled after completion, which the response's future never does.
            None => Poll::Pending,
        }
    }
}
