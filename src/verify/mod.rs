//! Verifiers decide to which client a key belongs.
//!
//! A [`Keyring`](crate::Keyring) holds the digests of keys in memory. Use [`from_fn`](fn@from_fn) and [`from_async_fn`]
//! to call your own code, and [`or`](Verify::or) to ask two verifiers. Implement [`Verify`] for your own
//! type.
//!
//! # Example: look up keys in a database
//!
//! ```
//! use std::{collections::HashMap, sync::Arc, time::Duration};
//! use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::bearer, verify};
//!
//! # #[derive(Clone)] struct Pool;
//! # impl Pool { async fn find(&self, _: [u8; 32]) -> std::io::Result<Option<Client>> { Ok(None) } }
//! # let pool = Pool;
//! // The closure sets its own deadline. An `Err` becomes a 503.
//! let lookup = verify::from_async_fn(move |digest: KeyDigest| {
//!     let pool = pool.clone();
//!     async move {
//!         let row = tokio::time::timeout(Duration::from_secs(2), pool.find(digest.to_bytes()));
//!         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(row.await??)
//!     }
//! });
//! let layer = ApiKeyLayer::new(bearer(), lookup);
//! ```

mod from_fn;
mod map_client;
mod or;
mod presented_key;
mod verification;
mod verify_error;

use std::sync::Arc;

pub use self::{
    from_fn::{FromAsyncFn, FromAsyncFnFuture, FromFn, IntoVerifyResult, from_async_fn, from_fn},
    map_client::{MapClient, MapClientFuture, TryMapClient, TryMapClientFuture},
    or::Or,
    presented_key::PresentedKey,
    verification::{AtOnce, Never, Verification},
    verify_error::VerifyError,
};
use crate::macros::pointers;

/// Verifies a key and returns its client.
///
/// If the result is known at once, return [`Verification::Ready`]. Otherwise return
/// [`Verification::Pending`] with a future. The future cannot borrow the key, because the layer strips
/// the key from the request before it waits.
///
/// # Example: verify one key
///
/// `?` does not work inside [`verify`](Self::verify), because a [`Verification`] is no `Result`. Write a
/// function that returns a `Result` and call `.into()`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Client, KeyDigest, extract::header};
/// use tower_api_key::verify::{Never, PresentedKey, Verification, Verify, VerifyError};
///
/// struct OnlyOne(KeyDigest);
///
/// impl OnlyOne {
///     fn check(&self, key: &PresentedKey<'_>) -> Result<Client, VerifyError> {
///         if key.digest() == self.0 { Ok(Client::new("me")) } else { Err(VerifyError::unknown()) }
///     }
/// }
///
/// impl Verify for OnlyOne {
///     type Client = Client;
///     type Future = Never<Client>;
///
///     fn verify(&self, key: &PresentedKey<'_>) -> Verification<Client> {
///         self.check(key).into()
///     }
/// }
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), OnlyOne(KeyDigest::of("12345abcde")));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot verify keys",
    label = "not a verifier",
    note = "use a `Keyring`, or wrap a closure in `verify::from_fn(|key| …)` or `verify::from_async_fn(|digest| …)`",
    note = "building a keyring can fail, so write `?` after `Keyring::single(…)` and `Keyring::from_env(…)`"
)]
pub trait Verify {
    /// The type of the client. A handler finds it in the extensions of the request.
    type Client: Clone + Send + Sync + 'static;

    /// The future of a pending result. Use [`Never`] if the verifier always answers at once.
    type Future: Future<Output = Result<Self::Client, VerifyError>>;

    /// Verifies a key and returns its client.
    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future>;

    /// Asks a second verifier if this verifier returns [`unknown`](VerifyError::unknown).
    ///
    /// After any other error the second verifier is not asked. This verifier must answer at once, because
    /// the second one borrows the key, so put the keyring before the database.
    ///
    /// If you [prune](crate::Keyring::prune) a revoked key, the keyring returns `unknown` for it. The
    /// second verifier is then asked about this key.
    ///
    /// # Example: fall back to a database
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
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    fn or<V>(self, second: V) -> Or<Self, V>
    where
        Self: Sized,
        Self::Future: AtOnce,
        V: Verify<Client = Self::Client>,
    {
        Or::new(self, second)
    }

    /// Converts each client into a type of your own, for handlers.
    ///
    /// # Example: read tenants in handlers
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::bearer, verify::Verify};
    ///
    /// #[derive(Clone)]
    /// struct Tenant {
    ///     slug: String,
    /// }
    ///
    /// let keys = Keyring::single("12345abcde")?;
    /// let tenants = keys.map_client(|client| Tenant { slug: client.id().to_owned() });
    /// let layer = ApiKeyLayer::new(bearer(), tenants);
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    fn map_client<F, C>(self, map: F) -> MapClient<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Client) -> C,
        C: Clone + Send + Sync + 'static,
    {
        MapClient::new(self, map)
    }

    /// Converts each client into a type of your own, or rejects the key.
    ///
    /// A [`VerifyError`] rejects the key for its reason. After any other error the layer returns 503.
    ///
    /// # Example: reject clients without a tenant
    ///
    /// ```
    /// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::bearer};
    /// use tower_api_key::verify::{Verify, VerifyError};
    ///
    /// #[derive(Clone)]
    /// struct Tenant(u32);
    ///
    /// let keys = Keyring::single("12345abcde")?;
    /// let tenants = keys.try_map_client(|client| match client.id().strip_prefix("tenant-") {
    ///     Some(number) => Ok(Tenant(number.parse()?)),          // an error: 503
    ///     None => Err(VerifyError::unknown()),                  // 401
    /// });
    /// let layer = ApiKeyLayer::new(bearer(), tenants);
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    fn try_map_client<F, C, E>(self, map: F) -> TryMapClient<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Client) -> Result<C, E>,
        C: Clone + Send + Sync + 'static,
        E: Into<VerifyError>,
    {
        TryMapClient::new(self, map)
    }
}

pointers! { Verify: [V: Verify + ?Sized] Box<V>, [V: Verify + ?Sized] Arc<V>; {
    type Client = V::Client;
    type Future = V::Future;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<V::Client, V::Future> {
        (**self).verify(key)
    }
} }
