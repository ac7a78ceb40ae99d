//! Observers: what was decided, told to logs and metrics.
//!
//! An observer of your own:
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::{Decision, Observe}};
//!
//! struct Log;
//!
//! impl Observe for Log {
//!     fn decided(&self, event: &Decision<'_>) {
//!         eprintln!("{} {:?} {}", event.outcome().as_str(), event.path(), event.key_id().unwrap_or("-"));
//!     }
//! }
//!
//! let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?).observe(Log);
//! # Ok::<(), tower_api_key::error::ConfigError>(())
//! ```
//!
//! The feature `tracing` brings `Tracing`, for logs, and the feature `metrics` brings `Metrics`, for
//! counters. Several are told together as a tuple, one after another: `.observe((Tracing, Metrics::new()))`.
//!
//! An observer sees the request on its way in, and no response. For an access log that tells who was
//! answered what there are [`ClientInResponseLayer`] and the [`Rejection`](crate::Rejection), both in the
//! response's extensions.

mod client_in_response;
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
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "tracing")]
pub use self::tracing::Tracing;
pub use self::{
    client_in_response::{ClientInResponseFuture, ClientInResponseLayer, ClientInResponseService},
    decision::{Decision, Outcome},
};
use crate::client::Client;

/// Is told of every decision, before the inner service is called or the rejection is written.
///
/// `C` is the client's type. It runs on the request's way, so it should neither block nor panic: while it
/// blocks, the request waits (and with it all that its thread would do), and a panic ends the request as
/// one of the inner service would. Neither lets anybody in.
///
/// `()` observes nothing and costs nothing; any other observer costs one reading of the clock, and one
/// more for each [`Decision::elapsed`]. Of a tuple each is told, in order; a panic of one keeps those
/// behind it from being told.
pub trait Observe<C = Client> {
    /// Called once for every request that is decided. One that is dropped while its verifier is asked, such
    /// as by a timeout or since its caller has gone, is told to nobody.
    fn decided(&self, event: &Decision<'_, C>);

    #[doc(hidden)]
    fn start(&self) -> Option<Instant> {
        Some(Instant::now())
    }
}

impl<C> Observe<C> for () {
    #[inline]
    fn decided(&self, _: &Decision<'_, C>) {}

    #[inline]
    fn start(&self) -> Option<Instant> {
        None
    }
}

macro_rules! pointers {
    ($($pointer:ident)+) => {$(
        impl<C, O: Observe<C> + ?Sized> Observe<C> for $pointer<O> {
            fn decided(&self, event: &Decision<'_, C>) {
                (**self).decided(event);
            }

            fn start(&self) -> Option<Instant> {
                (**self).start()
            }
        }
    )+};
}

pointers! { Box Arc }

macro_rules! tuples {
    ($(($($observer:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a tuple's fields are named after its types")]
        impl<C, $($observer: Observe<C>),+> Observe<C> for ($($observer,)+) {
            fn decided(&self, event: &Decision<'_, C>) {
                let ($($observer,)+) = self;
                $($observer.decided(event);)+
            }

            /// Of those that observe nothing, all together observe nothing.
            fn start(&self) -> Option<Instant> {
                let ($($observer,)+) = self;
                None$(.or_else(|| $observer.start()))+
            }
        }
    )+};
}

tuples! {
    (A B)
    (A B D)
    (A B D E)
}
