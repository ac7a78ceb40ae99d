#[cfg(any(feature = "axum", feature = "tracing"))]
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The cure in the log line about a request without a client.
pub(super) const FIX: &str = "A `ClientLimitLayer` needs a client, and no `ApiKeyLayer` saw this request. Put \
     `ApiKeyLayer::new(..)` outside of it (in axum `.layer(..)` after the limit, in a `ServiceBuilder` before \
     it). If the verifier has a client type of its own, name it in the closure (`|client: &Tenant| ..`).";

/// The log lines about requests that pass uncounted.
#[derive(Default)]
pub(super) struct Warnings {
    #[cfg(any(feature = "axum", feature = "tracing"))]
    no_peer: OnceLock<()>,
    #[cfg(any(feature = "axum", feature = "tracing"))]
    failed_at: Mutex<Option<Instant>>,
}

#[cfg(any(feature = "axum", feature = "tracing"))]
impl Warnings {
    /// An anonymous request has no peer. One line is enough, because the cause is a mistake in the code.
    pub(super) fn no_peer(&self) {
        self.no_peer.get_or_init(|| {
            tracing::warn!(
                "A `ClientLimitLayer` found no peer for an anonymous request, which passes uncounted. If this \
                 is not expected, check the closure of `anonymous_by`. There is no further warning."
            );
        });
    }

    /// The store is down. There is a line each minute, because an outage can begin at any time.
    pub(super) fn fails_open(&self) {
        const INTERVAL: Duration = Duration::from_secs(60);

        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at.is_none_or(|at| at.elapsed() >= INTERVAL) {
            *failed_at = Some(Instant::now());
            drop(failed_at);
            tracing::error!(
                "The store of limits did not answer, and `fail_open` passes requests without a limit."
            );
        }
    }
}

#[cfg(not(any(feature = "axum", feature = "tracing")))]
#[allow(clippy::unused_self, reason = "there is no log")]
impl Warnings {
    pub(super) fn no_peer(&self) {}

    pub(super) fn fails_open(&self) {}
}
