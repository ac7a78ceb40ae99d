//! The log and the metrics of a connection. There is an event for each change, and none for each request.

use tower_api_key::store::StoreError;

use crate::fallback::OnFailure;

pub(crate) fn down(server: &str, error: &StoreError, on_failure: OnFailure) {
    #[cfg(feature = "tracing")]
    {
        let until_then = match on_failure {
            OnFailure::Locally => "each process counts alone",
            OnFailure::Accept => "requests pass without a limit",
            OnFailure::Reject => "limited requests get 503",
        };
        tracing::error!(server, %error, "Redis does not count limits, {until_then} until it does");
    }
    #[cfg(feature = "metrics")]
    metrics::down();
    let _ = (server, error, on_failure);
}

pub(crate) fn up(server: &str, was_down: bool) {
    #[cfg(feature = "tracing")]
    if was_down {
        tracing::info!(server, "Redis counts limits again");
    } else {
        tracing::info!(server, "Redis counts limits");
    }
    #[cfg(feature = "metrics")]
    metrics::up();
    let _ = (server, was_down);
}

pub(crate) fn evicts(server: &str, policy: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        server,
        policy,
        "Redis may evict counters when its memory is full, and clients then call more often than their limits \
         allow. Set `maxmemory-policy` to `noeviction`"
    );
    let _ = (server, policy);
}

#[cfg(feature = "metrics")]
mod metrics {
    use std::sync::Once;

    use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

    /// Whether the store counts limits: 1 or 0.
    const UP: &str = "api_key_limit_store_up";

    /// How often the store began to fail.
    const FAILURES: &str = "api_key_limit_store_failures_total";

    pub(super) fn up() {
        describe();
        gauge!(UP, "store" => "redis").set(1);
    }

    pub(super) fn down() {
        describe();
        gauge!(UP, "store" => "redis").set(0);
        counter!(FAILURES, "store" => "redis").increment(1);
    }

    fn describe() {
        static DESCRIBED: Once = Once::new();
        DESCRIBED.call_once(|| {
            describe_gauge!(UP, Unit::Count, "Whether the store counts limits.");
            describe_counter!(
                FAILURES,
                Unit::Count,
                "How often the store of limits began to fail."
            );
        });
    }
}
