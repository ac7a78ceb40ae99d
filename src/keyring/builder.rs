use std::{fmt, marker::PhantomData, time::SystemTime};

use super::{Clock, Keyring};
use crate::{client::Client, key::KeyFormat};

/// Builds a [`Keyring`] with key formats or a clock. [`Keyring::builder`] creates it.
#[must_use]
pub struct KeyringBuilder<C = Client> {
    formats: Vec<KeyFormat>,
    clock: Option<Box<Clock>>,
    client: PhantomData<fn() -> C>,
}

impl<C: Clone + Send + Sync + 'static> KeyringBuilder<C> {
    pub(super) fn new() -> Self {
        Self { formats: Vec::new(), clock: None, client: PhantomData }
    }

    /// Adds a format that keys may have. Without a format the keyring accepts any key.
    ///
    /// The keyring rejects each key that has none of the formats before it computes a digest. Such a key
    /// is a typo, a part of a key or a key of another service. The response is that of any wrong key.
    /// [`insert`](Keyring::insert) and [`issue`](Keyring::issue) reject such keys too.
    ///
    /// ```
    /// use tower_api_key::{Keyring, key::KeyFormat};
    ///
    /// let keys: Keyring = Keyring::builder()
    ///     .format(KeyFormat::new("sk_live")?)
    ///     .format(KeyFormat::new("sk_test")?)
    ///     .build();
    /// # Ok::<(), tower_api_key::error::KeyringError>(())
    /// ```
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Sets the clock, for tests. By default this is the clock of the system.
    ///
    /// A request reads the clock only if the key has times. A change reads it to note when it happened.
    /// Do not call the keyring from the closure.
    ///
    /// ```
    /// use std::time::{Duration, UNIX_EPOCH};
    /// use tower_api_key::Keyring;
    ///
    /// let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    /// let keys: Keyring = Keyring::builder().clock(move || now).build();
    /// ```
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(now));
        self
    }

    /// Builds a keyring without keys, which rejects every key.
    #[must_use]
    pub fn build(self) -> Keyring<C> {
        Keyring::with(self.formats.into_boxed_slice(), self.clock)
    }
}

impl<C> fmt::Debug for KeyringBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringBuilder").field("formats", &self.formats).finish_non_exhaustive()
    }
}
