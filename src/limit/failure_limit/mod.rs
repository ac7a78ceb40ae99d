//! Failures: limit the rejected keys of each peer.
//!
//! [`FailureLimitLayer`] stands outside of an [`ApiKeyLayer`](crate::ApiKeyLayer) and counts its rejections. If
//! a peer sent too many rejected keys, it gets a 429 before anything is read.
//!
//! # Examples
//!
//! ```
//! use std::net::{IpAddr, SocketAddr};
//! use axum::Router;
//! use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
//! use tower_api_key::limit::{FailureLimitLayer, Limit, peer};
//!
//! let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
//! let failures = FailureLimitLayer::new(
//!     Limit::per_minute("failures", 10),
//!     peer::x_forwarded_for(1),                   // behind one proxy
//!     layer.rejection_writer(),                   // the style of the 429
//! );
//! let app: Router = Router::new().layer(layer).layer(failures.clone());
//!
//! // An operator lifts a block.
//! failures.lift(IpAddr::from([192, 0, 2, 7]));
//! # Ok::<(), tower_api_key::error::KeyringError>(())
//! ```
//!
//! # Do you need it?
//!
//! If you [issue](crate::Keyring::issue) keys, an attacker cannot guess one, because a key has 131 random bits.
//! Use this layer if keys are short, or if callers with a wrong key are a burden. A client whose key was mistyped in
//! its configuration can send thousands of requests.
//!
//! # What counts?
//!
//! | rejection | counts |
//! |---|---|
//! | unknown key, malformed key, key that is too long | yes |
//! | no key | no. Browsers, health checks and first attempts have none |
//! | expired, revoked, paused or not yet valid key | no. The caller knew a key, and may share the address with others |
//! | two keys in one request | no. The layer read neither of them |
//! | failed verification (503), insecure connection | no. The caller did nothing wrong |
//! | rejection by a guard inside, such as a missing scope | no. The key was valid |
//!
//! Behind a layer that [only reports](crate::ApiKeyLayer::dangerous_report_only), nothing counts. An accepted
//! request does not count, and it does not reset the count. Otherwise an attacker with one good key
//! could guess without end.
//!
//! # Which limit?
//!
//! A peer can be an office, a school or a mobile network whose callers share one address (NAT). If one of them
//! sends wrong keys, this layer blocks all of them. So choose a limit far above the mistakes of a crowd and far
//! below the attempts that would find a key. Ten a minute are 14,400 a day. Choose a short window, because a block lasts at most as long as the limit takes to refill. If a block
//! hits the wrong callers, lift it with [`lift`](FailureLimitLayer::lift), or leave their address uncounted by a
//! closure that returns `None` for it.
//!
//! An IPv6 network of 64 bits is one peer. An attacker with a larger network, such as a /48, is 65,536 peers.
//!
//! Behind a proxy, take the address from a header that the proxy writes. [`peer`](super::peer) explains
//! how. If one peer makes 90 % of 10,000 requests in a row, the log has a warning, because that peer is probably
//! a proxy. If your service has only one caller, ignore the warning. After about 160,000 requests without such a
//! peer, the layer no longer checks.
//!
//! # What does a caller get?
//!
//! A 429 with `Retry-After`, gRPC 8, in the style of the writer. The [`Rejection`](crate::Rejection) has the
//! reason [`TooManyFailures`](crate::rejection::Reason::TooManyFailures). The caller gets it with a valid key as
//! well, because the layer reads no key.
//!
//! # What about requests in flight?
//!
//! A request whose verification waits, for a database for example, can turn out to be a failure. If a peer has a
//! failure that has not refilled, each such request counts as a failure until the verification ends. So guesses
//! at the same time never exceed the limit. A request over this bound gets a 429 with a `Retry-After` of 1, if no
//! block demands more.
//!
//! A peer without failures can be a crowd with valid keys behind one address. So 128 verifications of it can wait
//! at once, or the burst if that is larger. This many wrong keys can get an answer in one wave. All of them
//! count, and the block then lasts for one full refill. Use a [`Limit::burst`] of at least 128 if you want no
//! first wave beyond the limit.
//!
//! - Requests that the `ApiKeyLayer` passed on do not count, however long the service takes. The same holds for
//!   exempt and anonymous requests.
//! - A [`Keyring`](crate::Keyring) answers at once. So only threads can verify at the same time.
//! - If a caller hangs up before the verification ends, nothing counts, because the caller learned nothing. The
//!   work is limited only by the bound on waiting verifications.
//! - The layer cannot notice the end of a verification in another task, behind a `Buffer` for example. A request
//!   then counts until its response. So put `FailureLimitLayer` directly around the `ApiKeyLayer`.
//!
//! # How much memory?
//!
//! The table has 65,536 entries in about 1.4 megabytes and never grows. If more peers fail, a new one replaces
//! the entry that is full again first. So an attacker with many addresses evicts peers with few or old
//! failures. Each process has a table of its own and forgets it at a restart.

mod future;
mod pending;
#[cfg(any(feature = "axum", feature = "tracing"))]
mod proxy_watch;
mod service;
mod table;
mod warnings;

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

pub use self::{future::ResponseFuture, service::FailureLimitService};
use self::{table::Table, warnings::Warnings};
use super::{Limit, Peer, clock::Clock};
use crate::{client::Client, observe::Observe, rejection::Reason, respond::RejectionWriter};

/// A layer that limits the rejected keys of each peer, outside of an [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// The [module](self) has an example. A clone has the same failures, at the cost of two reference counts.
#[must_use]
pub struct FailureLimitLayer<F, O = ()> {
    config: Arc<Config<F, O>>,
    failures: Arc<Failures>,
}

struct Config<F, O> {
    peer: F,
    writer: RejectionWriter,
    observe: O,
    is_observed: bool,
}

/// The part of a layer that its futures need.
struct Failures {
    table: Table,
    warnings: Warnings,
}

impl<F> FailureLimitLayer<F> {
    /// Creates a layer with a limit, the peer of a request, and the style of the 429.
    ///
    /// If the closure returns `None`, the request passes uncounted, and the log has one warning. A limit for each day
    /// or month refills evenly here. The writer of
    /// [`ApiKeyLayer::rejection_writer`](crate::ApiKeyLayer::rejection_writer) has the style of that layer.
    ///
    /// # Example: a peer of your own
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use tower_api_key::{limit::{FailureLimitLayer, Limit}, respond::RejectionWriter};
    ///
    /// #[derive(Clone)]
    /// struct Caller(IpAddr);
    ///
    /// let failures = FailureLimitLayer::new(
    ///     Limit::per_minute("failures", 10),
    ///     |head| head.extensions().get().map(|Caller(address)| *address),
    ///     RejectionWriter::default(),
    /// );
    /// # let _ = failures;
    /// ```
    pub fn new<P>(limit: Limit, peer: F, writer: RejectionWriter) -> Self
    where
        F: Fn(crate::extract::RequestHead<'_>) -> Option<P>,
        P: Into<Peer>,
    {
        Self {
            config: Arc::new(Config { peer, writer, observe: (), is_observed: false }),
            failures: Failures::new(limit, Clock::monotonic()),
        }
    }
}

impl<F, O> FailureLimitLayer<F, O> {
    /// Sets the observer, which receives each 429 by [`on_guard`](Observe::on_guard).
    ///
    /// The request never reaches the `ApiKeyLayer`, so that its observer does not see the request. The outcome is
    /// [`Limited`](crate::observe::Outcome::Limited), and there is no client. If both layers share an observer in
    /// an `Arc`, each request is one decision of the `ApiKeyLayer` or one event of this layer.
    ///
    /// If this layer is inside of another `ApiKeyLayer`, that layer does not report the 429 again. Without an
    /// observer of this layer, that layer reports the 429.
    ///
    /// ```
    /// # use tower_api_key::{limit::{FailureLimitLayer, Limit, Peer}, respond::RejectionWriter};
    /// # let failures = FailureLimitLayer::new(Limit::per_minute("failures", 10), |_| None::<Peer>, RejectionWriter::default());
    /// use tower_api_key::observe::{Decision, Observe};
    ///
    /// struct Print;
    ///
    /// impl Observe for Print {
    ///     fn on_decision(&self, _: &Decision<'_>) {}
    ///
    ///     fn on_guard(&self, decision: &Decision<'_>) {
    ///         println!("{} {}", decision.outcome().as_str(), decision.path());
    ///     }
    /// }
    ///
    /// let failures = failures.observe(Print);
    /// ```
    pub fn observe<O2: Observe<Client>>(self, observe: O2) -> FailureLimitLayer<F, O2>
    where
        F: Clone,
    {
        let Self { config, failures } = self;
        let (peer, writer) = (config.peer.clone(), config.writer.clone());
        let config = Arc::new(Config { peer, writer, observe, is_observed: true });
        FailureLimitLayer { config, failures }
    }

    /// Sets a clock of your own, for tests, and forgets all failures.
    ///
    /// The clock returns the time since any fixed moment.
    ///
    /// ```
    /// # use tower_api_key::{limit::{FailureLimitLayer, Limit, Peer}, respond::RejectionWriter};
    /// # let failures = FailureLimitLayer::new(Limit::per_minute("failures", 10), |_| None::<Peer>, RejectionWriter::default());
    /// use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};
    ///
    /// let seconds = Arc::new(AtomicU64::new(0));
    /// let clock = seconds.clone();
    /// let failures = failures.clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    /// ```
    pub fn clock(self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let failures = Failures::new(*self.failures.table.limit(), Clock::custom(clock));
        Self { failures, ..self }
    }

    /// Forgets the failures of a peer, and returns whether there were any.
    ///
    /// It applies to all clones of this layer, and so to the running service. The peer can fail again as often
    /// as the limit allows.
    pub fn lift(&self, peer: impl Into<Peer>) -> bool {
        self.failures.table.remove(peer.into())
    }

    /// Returns the time until a blocked peer can try again.
    ///
    /// Use it in an admin service. If the peer is not blocked, there is no time.
    #[must_use]
    pub fn blocked_for(&self, peer: impl Into<Peer>) -> Option<Duration> {
        self.failures.table.wait(peer.into())
    }

    fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("limit", self.failures.table.limit()).finish_non_exhaustive()
    }
}

/// Returns whether a rejection counts. The reasons are in the documentation of the module.
fn is_counted(reason: Reason) -> bool {
    match reason {
        Reason::Unknown | Reason::SchemeInHeader | Reason::Malformed | Reason::TooLong => true,
        Reason::Missing
        | Reason::NoScheme
        | Reason::OtherScheme
        | Reason::Ambiguous
        | Reason::NotYetValid
        | Reason::Expired
        | Reason::Revoked
        | Reason::Paused
        | Reason::Failed
        | Reason::InsufficientScope
        | Reason::Insecure
        | Reason::Forbidden
        | Reason::Limited
        | Reason::CostAboveLimit
        | Reason::TooManyFailures => false,
    }
}

impl Failures {
    fn new(limit: Limit, clock: Clock) -> Arc<Self> {
        Arc::new(Self { table: Table::new(limit, clock), warnings: Warnings::default() })
    }
}

impl<S, F, O> Layer<S> for FailureLimitLayer<F, O> {
    type Service = FailureLimitService<S, F, O>;

    fn layer(&self, inner: S) -> Self::Service {
        FailureLimitService::new(inner, self.clone())
    }
}

impl<F, O> Clone for FailureLimitLayer<F, O> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), failures: Arc::clone(&self.failures) }
    }
}

impl<F, O> fmt::Debug for FailureLimitLayer<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as("FailureLimitLayer", f)
    }
}
