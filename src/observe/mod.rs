//! Observers: receive decisions, for logs and metrics.
//!
//! # Example: an observer of your own
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Decision};
//!
//! fn log(decision: &Decision<'_>) {
//!     let key_id = decision.key_id().unwrap_or("-");
//!     eprintln!("{} {:?} {key_id}", decision.outcome().as_str(), decision.path());
//! }
//!
//! let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?).observe(log);
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```
//!
//! The feature `tracing` brings `Tracing`, for logs, and the feature `metrics` brings `Metrics`, for
//! counters. The feature `usage` brings `Usage`, for the requests and the last use of each key. A tuple of observers calls one after another: `.observe((Tracing, Metrics::new()))`.
//!
//! # What does an observer see?
//!
//! An observer receives one decision for every request that reaches the layer, on its way in. `accepted` means
//! that authentication succeeded. If a guard further in then rejects the request, the observer receives a second
//! event by [`on_guard`](Observe::on_guard), with the outcome `forbidden`, `limited` or `rejected`. So a count of
//! decisions is a count of requests. A closure receives decisions only.
//!
//! A request that a guard *outside* rejects never reaches the layer, and is no decision. The guard can report it
//! itself, with [`Decision::by_guard`] and `on_guard`. [Page 17](crate::guide::_17_guards) of the manual shows how.
//!
//! An observer sees no response. For an access log with the response, use
//! [`PropagateClientLayer`](crate::PropagateClientLayer) and the [`Rejection`](crate::Rejection), both in the
//! response's extensions.

mod decision;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod metrics_ids;
#[cfg(feature = "tracing")]
mod text;
#[cfg(feature = "tracing")]
mod tracing;

use std::{sync::Arc, time::Instant};

pub(crate) use self::decision::Verdict;
pub use self::decision::{Decision, Outcome};
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;
use crate::{client::Client, macros::pointers};

/// Receives every decision, before the layer calls the inner service or writes the rejection.
///
/// `C` is the client's type. A closure that takes a [`&Decision`](Decision) is an observer. Name the type
/// of its argument, because the compiler cannot infer it. A closure receives no rejections of guards, so
/// implement the trait to receive them.
///
/// # Example: receive rejections of guards as well
///
/// ```
/// use tower_api_key::observe::{Decision, Observe};
/// use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
///
/// struct Log;
///
/// impl Observe for Log {
///     fn on_decision(&self, decision: &Decision<'_>) {
///         eprintln!("{}", decision.outcome().as_str());
///     }
///
///     fn on_guard(&self, decision: &Decision<'_>) {
///         let client = decision.client().map_or("-", Client::id);
///         let guard = decision.rejection().and_then(|rejection| rejection.guard());
///         eprintln!("{} {client} {}", decision.outcome().as_str(), guard.unwrap_or("-"));
///     }
/// }
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?).observe(Log);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What does an observer cost?
///
/// An observer runs on the request's path, so it should neither block nor panic. If it blocks, the request
/// waits, and so does all other work of its thread. A panic ends the request, as a panic of the inner
/// service would. Neither accepts a request.
///
/// `()` ignores all events, at no cost. Any other observer costs one reading of the clock, and one more
/// for each [`Decision::elapsed`]. `Usage` does not need that reading. If an observer in a tuple panics, the observers behind it are not called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an observer of clients of the type `{C}`",
    note = "implement `Observe<C>`, or use a closure `|decision: &Decision<'_, C>| …`"
)]
pub trait Observe<C = Client> {
    /// Receives the decision of the layer, once for every request that reaches the layer.
    ///
    /// If a request is cancelled while its verification is pending, for example by a timeout, there is no
    /// decision.
    fn on_decision(&self, decision: &Decision<'_, C>);

    /// Receives the rejection of a guard, such as a [`RequireScopeLayer`](crate::RequireScopeLayer).
    ///
    /// If the guard is inside the layer, the same request was a decision before, so that a counter of requests
    /// does not count it here. If the guard is outside, the layer never sees the request. The
    /// outcome is [`Forbidden`](Outcome::Forbidden), [`Limited`](Outcome::Limited), or
    /// [`Rejected`](Outcome::Rejected) for any other reason. The default ignores the rejection.
    ///
    /// If a guard rejects a request with [`Anonymous::reject`](crate::Anonymous::reject), the outcome is
    /// `Rejected` and the reason is the layer's, such as `missing`. There is then no client.
    fn on_guard(&self, decision: &Decision<'_, C>) {
        let _ = decision;
    }

    /// Returns the start of a request, or `None` if the observer never asks for the elapsed time.
    #[doc(hidden)]
    fn start(&self) -> Option<Instant> {
        Some(Instant::now())
    }

    /// Returns whether the observer does anything with a decision.
    #[doc(hidden)]
    fn is_active(&self) -> bool {
        true
    }
}

impl<C> Observe<C> for () {
    #[inline]
    fn on_decision(&self, _: &Decision<'_, C>) {}

    #[inline]
    fn start(&self) -> Option<Instant> {
        None
    }

    #[inline]
    fn is_active(&self) -> bool {
        false
    }
}

impl<C, F: Fn(&Decision<'_, C>)> Observe<C> for F {
    fn on_decision(&self, decision: &Decision<'_, C>) {
        self(decision);
    }
}

pointers! {
    Observe<C>: [C, O: Observe<C> + ?Sized] Arc<O>, [C] Box<dyn Observe<C> + '_>,
    [C] Box<dyn Observe<C> + Send + '_>, [C] Box<dyn Observe<C> + Send + Sync + '_>;
    {
        fn on_decision(&self, decision: &Decision<'_, C>) {
            (**self).on_decision(decision);
        }

        fn on_guard(&self, decision: &Decision<'_, C>) {
            (**self).on_guard(decision);
        }

        fn start(&self) -> Option<Instant> {
            (**self).start()
        }

        fn is_active(&self) -> bool {
            (**self).is_active()
        }
    }
}

macro_rules! tuples {
    ($(($($observer:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<C, $($observer: Observe<C>),+> Observe<C> for ($($observer,)+) {
            fn on_decision(&self, decision: &Decision<'_, C>) {
                let ($($observer,)+) = self;
                $($observer.on_decision(decision);)+
            }

            fn on_guard(&self, decision: &Decision<'_, C>) {
                let ($($observer,)+) = self;
                $($observer.on_guard(decision);)+
            }

            /// Returns `None` if no observer of the tuple needs a start.
            fn start(&self) -> Option<Instant> {
                let ($($observer,)+) = self;
                None$(.or_else(|| $observer.start()))+
            }

            fn is_active(&self) -> bool {
                let ($($observer,)+) = self;
                false$(|| $observer.is_active())+
            }
        }
    )+};
}

tuples! {
    (A B)
    (A B D)
    (A B D E)
}
