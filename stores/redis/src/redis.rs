use std::{fmt, sync::Arc, time::Duration};

use tower_api_key::{
    limit::{Ask, LimitStore, Taking},
    store::StoreError,
};

use crate::{address::Address, config::Config, fallback::OnFailure, key, shared::Shared};

/// Counters in Redis that all replicas of a service share.
///
/// Give it to [`Limiter::new`](tower_api_key::limit::Limiter::new). It connects at the first request, and connects again
/// after a failure.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_api_key::limit::Limiter;
/// use tower_api_key_redis::{OnFailure, Redis};
///
/// let redis = Redis::open("redis://:password@127.0.0.1:6379/0")?
///     .with_prefix("reports")
///     .with_deadline(Duration::from_millis(20))
///     .on_failure(OnFailure::Reject);
/// let limiter = Limiter::new(redis);
/// # Ok::<(), tower_api_key::store::StoreError>(())
/// ```
#[must_use]
pub struct Redis {
    shared: Arc<Shared>,
}

const DEADLINE: Duration = Duration::from_millis(100);

impl Redis {
    /// Creates a store for the Redis at a URL, without connecting.
    ///
    /// The URL is `redis://user:password@host:port/database`. Use `rediss://` for TLS, which needs the feature `rustls`
    /// or `native-tls`, and `redis+unix:///path` for a socket. No error, log line or `Debug` shows the password.
    ///
    /// # Errors
    ///
    /// If the URL is not valid. If it wants TLS, and neither feature is on.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url)?;
        let prefix = "api_key".to_owned();
        Ok(Self::of(Config {
            address,
            prefix,
            deadline: DEADLINE,
            on_failure: OnFailure::default(),
        }))
    }

    /// Sets the beginning of all names of counters. The default is `api_key`.
    ///
    /// Give each service that shares a Redis a prefix of its own, because their clients may have the same ids. Braces,
    /// `%` and characters that are not ASCII are percent-encoded.
    pub fn with_prefix(self, prefix: &str) -> Self {
        self.with(|config| config.prefix = key::encode(prefix))
    }

    /// Sets the time that a request waits for Redis. The default is 100 ms.
    ///
    /// If Redis does not answer in time, requests stop waiting for it until it answers again.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        self.with(|config| config.deadline = deadline)
    }

    /// Sets the result of a take while Redis does not answer. The default is [`OnFailure::Locally`].
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        self.with(|config| config.on_failure = on_failure)
    }

    /// Connects now, so that a mistake is an error at the start of the service.
    ///
    /// Otherwise the first request connects, and a mistake is only in the log. The attempt takes at most a second, or
    /// the deadline if that is longer.
    ///
    /// # Errors
    ///
    /// If Redis does not answer, does not accept the password, or does not run the script of this package.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tower_api_key::store::StoreError> {
    /// let redis = tower_api_key_redis::Redis::open("redis://127.0.0.1:6379")?;
    /// redis.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(&self) -> Result<(), StoreError> {
        self.shared.link.connect().await
    }

    fn of(config: Config) -> Self {
        Self { shared: Shared::new(config) }
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.shared.link.config.clone();
        change(&mut config);
        Self::of(config)
    }
}

impl LimitStore for Redis {
    fn take(&self, ask: &Ask<'_>) -> Taking {
        self.shared.take(ask)
    }

    fn refund(&self, ask: &Ask<'_>) {
        self.shared.refund(ask);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.shared.link.config;
        f.debug_struct("Redis")
            .field("server", &config.address.text)
            .field("prefix", &config.prefix)
            .field("deadline", &config.deadline)
            .field("on_failure", &config.on_failure)
            .finish_non_exhaustive()
    }
}
