//! Verifiers: whose key it is.
//!
//! A [`Keyring`] holds the digests of keys in memory. [`from_fn`](fn@from_fn) and [`from_async_fn`]
//! ask your own code, [`or`](Verify::or) tries one after another, and the trait [`Verify`] is for types.
//!
//! ```
//! use std::{collections::HashMap, sync::Arc, time::Duration};
//! use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::bearer, verify};
//!
//! # #[derive(Clone)] struct Pool;
//! # impl Pool { async fn find(&self, _: [u8; 32]) -> std::io::Result<Option<Client>> { Ok(None) } }
//! # let pool = Pool;
//! // A verifier sets its own deadline; an `Err` is answered 503, and nobody is let in.
//! let lookup = verify::from_async_fn(move |digest: KeyDigest| {
//!     let pool = pool.clone();
//!     async move {
//!         let row = tokio::time::timeout(Duration::from_secs(2), pool.find(digest.to_bytes()));
//!         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(row.await??)
//!     }
//! });
//! let layer = ApiKeyLayer::new(bearer(), lookup);
//! ```

mod answer;
mod from_fn;
mod keyring;
mod or;

use std::{error::Error, fmt, sync::Arc};

pub use self::{
    answer::{Answer, Later},
    from_fn::{AnswerFuture, FromAsyncFn, FromFn, IntoAnswer, from_async_fn, from_fn},
    keyring::{Keyring, Record},
    or::Or,
};
pub(crate) use answer::Resume;

use crate::{
    head::Head,
    key::{KeyDigest, KeyId},
    place::Place,
    rejection::{Reason, Rejection},
};

/// Says whose key it is.
///
/// The [`Answer`] is a `Result<C, Refusal>` where it is known at once, and a [`Later`] where one has
/// to wait. It does not borrow the key, which is taken out of the request before anybody waits.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::header};
/// use tower_api_key::verify::{Presented, Refusal, Verify};
///
/// struct OnlyOne(KeyDigest);
///
/// impl Verify for OnlyOne {
///     type Answer = Result<Client, Refusal>;
///
///     fn verify(&self, key: Presented<'_>) -> Self::Answer {
///         if key.digest() == self.0 { Ok(Client::new("me")) } else { Err(Refusal::unknown()) }
///     }
/// }
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), OnlyOne(KeyDigest::of("12345abcde")));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say whose key it is",
    label = "not a verifier",
    note = "use a `Keyring`, or wrap a closure in `verify::from_fn(|presented| …)` or `verify::from_async_fn(|digest| …)`",
    note = "building a keyring can fail: put a `?` behind `Keyring::single(…)` and `Keyring::from_env(…)`"
)]
pub trait Verify {
    /// `Result<C, Refusal>`, or a [`Later`] of such a future.
    type Answer: Answer;

    /// Verifies one key.
    fn verify(&self, key: Presented<'_>) -> Self::Answer;

    /// Asks the next verifier where this one answers [`unknown`](Refusal::unknown): never after
    /// another refusal, and never after a failure.
    ///
    /// A keyring says `unknown` of a revoked key once the key was
    /// [pruned](crate::Keyring::prune). From then on the next verifier is asked about that key.
    ///
    /// This one must answer at once, since the key is borrowed: put the keyring before the database.
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::bearer, verify::{self, Verify}};
    ///
    /// let keys = Keyring::single("12345abcde")?;
    /// let elsewhere = verify::from_async_fn(|digest| async move {
    ///     let _ = digest;
    ///     None::<Client>
    /// });
    /// let layer = ApiKeyLayer::new(bearer(), keys.or(elsewhere));
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    fn or<C, V>(self, next: V) -> Or<Self, V>
    where
        Self: Sized + Verify<Answer = Result<C, Refusal>>,
        V: Verify,
        V::Answer: Answer<Client = C>,
    {
        Or::new(self, next)
    }
}

macro_rules! pointers {
    ($($pointer:ident)+) => {$(
        impl<V: Verify + ?Sized> Verify for $pointer<V> {
            type Answer = V::Answer;

            fn verify(&self, key: Presented<'_>) -> V::Answer {
                (**self).verify(key)
            }
        }
    )+};
}

pointers! { Box Arc }

/// A key as a request presented it.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    key: &'a [u8],
    place: Option<&'a Place>,
    head: Head<'a>,
}

impl<'a> Presented<'a> {
    /// A key as the layer hands it on, to test a verifier with. It has no place.
    #[must_use]
    pub fn new(key: &'a [u8], head: Head<'a>) -> Self {
        Self { key, place: None, head }
    }

    pub(crate) fn at(self, place: Option<&'a Place>) -> Self {
        Self { place, ..self }
    }

    /// The key itself: bytes from 0x20 to 0x7E, not blank at the edges, not over-long.
    ///
    /// Keep it no longer than the call, and compare it with nothing: compare [`digest`](Self::digest)s.
    #[must_use]
    pub fn expose(&self) -> &'a [u8] {
        self.key
    }

    /// The key's digest, computed anew on every call.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.key)
    }

    /// Where it stood, if the extractor has told.
    #[must_use]
    pub fn place(&self) -> Option<&'a Place> {
        self.place
    }

    /// The head of the request, with the key still in it.
    #[must_use]
    pub fn head(&self) -> Head<'a> {
        self.head
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A verifier's no, or that it could not tell.
///
/// All but [`failed`](Self::failed) are one and the same to the caller: 401. `?` on an error means
/// failed: 503, and never an open door.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::bearer};
/// use tower_api_key::verify::{self, Presented, Refusal};
///
/// fn verify(key: Presented<'_>) -> Result<Option<Client>, Refusal> {
///     let digest = key.digest();
///     for line in std::fs::read_to_string("digests")?.lines() {        // `?`: failed
///         if KeyDigest::parse(line)? == digest {                       // in constant time
///             return Ok(Some(Client::new("listed")));
///         }
///     }
///     Err(Refusal::unknown())                                          // or `Ok(None)`
/// }
///
/// let layer = ApiKeyLayer::new(bearer(), verify::from_fn(verify));
/// ```
pub struct Refusal {
    reason: Reason,
    key_id: Option<KeyId>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    fn because(reason: Reason) -> Self {
        Self { reason, key_id: None, cause: None }
    }

    fn of_key(reason: Option<Reason>, key_id: Option<KeyId>) -> Self {
        Self { reason: reason.unwrap_or(Reason::Unknown), key_id, cause: None }
    }

    /// The key is nobody's.
    #[must_use]
    pub fn unknown() -> Self {
        Self::because(Reason::Unknown)
    }

    /// The key no longer works.
    #[must_use]
    pub fn expired() -> Self {
        Self::because(Reason::Expired)
    }

    /// The key does not work yet.
    #[must_use]
    pub fn not_yet_valid() -> Self {
        Self::because(Reason::NotYetValid)
    }

    /// The key was revoked.
    #[must_use]
    pub fn revoked() -> Self {
        Self::because(Reason::Revoked)
    }

    /// It could not be told: 503. The cause is for operators: the source of the
    /// [`Rejection`].
    #[must_use]
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..Self::because(Reason::Failed) }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn into_rejection(self) -> Rejection {
        Rejection::new(self.reason).of_key(self.key_id).because(self.cause)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Refusal {
    fn from(cause: E) -> Self {
        Self::failed(cause)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusal").field(&self.reason).finish()
    }
}
