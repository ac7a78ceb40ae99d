use std::{
    convert::Infallible,
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use super::VerifyError;

/// The result of [`Verify::verify`](super::Verify::verify), or a future of it.
///
/// If the result is [`Pending`](Self::Pending), the layer puts the state of the request into one
/// allocation. The future is the verifier's own type. It must be `Send` only if the server requires
/// `Send`, as axum and tonic do.
///
/// # Example: a cache in front of a database
///
/// ```
/// use std::pin::Pin;
/// use tower_api_key::{Client, verify::{PresentedKey, Verification, Verify, VerifyError}};
///
/// struct Cached;
///
/// impl Verify for Cached {
///     type Client = Client;
///     type Future = Pin<Box<dyn Future<Output = Result<Client, VerifyError>> + Send>>;
///
///     fn verify(&self, key: &PresentedKey<'_>) -> Verification<Client, Self::Future> {
///         let digest = key.digest();
///         match self.look_up(digest) {
///             Some(client) => Verification::Ready(Ok(client)),
///             None => Verification::Pending(Box::pin(async { Err(VerifyError::unknown()) })),
///         }
///     }
/// }
/// # impl Cached { fn look_up(&self, _: tower_api_key::KeyDigest) -> Option<Client> { None } }
/// ```
pub enum Verification<C, F = Never<C>> {
    /// The result is known.
    Ready(Result<C, VerifyError>),
    /// The result is not known yet, and the layer waits for it.
    Pending(F),
}

impl<C, F: AtOnce> Verification<C, F> {
    /// Returns the result of a verifier that always answers at once.
    ///
    /// # Example: test a verifier without a layer
    ///
    /// ```
    /// use http::Request;
    /// use tower_api_key::{Keyring, extract::RequestHead, verify::{PresentedKey, Verify}};
    ///
    /// let keys = Keyring::single("12345abcde")?;
    /// let request = Request::new(());
    /// let key = PresentedKey::new(b"12345abcde", RequestHead::of(&request));
    /// assert!(keys.verify(&key).into_result().is_ok());
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the verifier did not return a client.
    pub fn into_result(self) -> Result<C, VerifyError> {
        match self {
            Self::Ready(result) => result,
            Self::Pending(never) => never.absurd(),
        }
    }
}

/// Converts a `Result`, because [`Verify::verify`](super::Verify::verify) can then call a function with
/// `?`.
impl<C, F> From<Result<C, VerifyError>> for Verification<C, F> {
    #[inline]
    fn from(result: Result<C, VerifyError>) -> Self {
        Self::Ready(result)
    }
}

impl<C, F> fmt::Debug for Verification<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready(..)",
            Self::Pending(_) => "Pending(..)",
        })
    }
}

/// The future of a verifier that always answers at once.
///
/// It takes no memory, because no value of this type exists. [`Verify`](super::Verify) has an example.
pub struct Never<C>(Infallible, PhantomData<fn() -> C>);

impl<C> Future for Never<C> {
    type Output = Result<C, VerifyError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {}
    }
}

impl<C> fmt::Debug for Never<C> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// A marker for futures of verifiers that always answer at once.
///
/// These are [`Never`], and `Never` behind [`map_client`](super::Verify::map_client). The trait is
/// sealed.
#[diagnostic::on_unimplemented(
    message = "the first verifier of `or` must answer at once",
    note = "put the keyring before the database: `keys.or(verify::from_async_fn(|digest| …))`"
)]
pub trait AtOnce: sealed::Absurd {}

impl<C> AtOnce for Never<C> {}

impl<C> sealed::Absurd for Never<C> {
    fn absurd<T>(self) -> T {
        match self.0 {}
    }
}

pub(super) mod sealed {
    /// Shows that no value exists.
    #[allow(unnameable_types, reason = "other crates must not implement it")]
    pub trait Absurd {
        fn absurd<T>(self) -> T;
    }
}
