use tower_api_key::limit::{Ask, Limiter, Taken};

/// The result of a take while Redis does not answer.
///
/// # Examples
///
/// See [`Redis::on_failure`](crate::Redis::on_failure).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFailure {
    /// Counts in this process, with the full limits. This is the default.
    ///
    /// Each replica counts alone, from zero. So a client can call as often as its limits allow on each replica.
    #[default]
    Locally,
    /// Accepts every request without a limit.
    Accept,
    /// Fails every take, so that the layer returns 503.
    Reject,
}

/// Decides while Redis does not answer.
pub(crate) struct Fallback {
    on_failure: OnFailure,
    local: Limiter,
}

impl Fallback {
    pub(crate) fn new(on_failure: OnFailure) -> Self {
        Self { on_failure, local: Limiter::in_process() }
    }

    pub(crate) fn take(&self, ask: &Ask<'_>) -> Taken {
        match self.on_failure {
            // A limiter in the process answers at once.
            OnFailure::Locally => self.local.take(ask).ready().unwrap_or_else(Taken::failed),
            // Without a state, because the request was not counted.
            OnFailure::Accept => Taken::passed(),
            OnFailure::Reject => Taken::failed(),
        }
    }

    pub(crate) fn refund(&self, ask: &Ask<'_>) {
        if self.on_failure == OnFailure::Locally {
            self.local.refund(ask);
        }
    }
}
