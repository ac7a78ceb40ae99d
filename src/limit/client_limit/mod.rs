//! Limits of clients: how often each client may call.
//!
//! [`ClientLimitLayer`] stands inside an [`ApiKeyLayer`](crate::ApiKeyLayer) and reads the client. A closure
//! returns the [`Limits`] of the client, so that the plan of a client can change while the service runs.
//!
//! # Examples
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_api_key::limit::{ClientLimitLayer, Limit, Limiter, Limits, RateLimitHeaders};
//! use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
//!
//! static FREE: Limits =
//!     Limits::new(&[Limit::per_minute("burst", 60).burst(20), Limit::per_hour("hour", 1_000)]);
//! static PRO: Limits = Limits::new(&[Limit::per_minute("burst", 600)]);
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyring::new();
//! keys.insert("12345abcde", Client::new("ci").with_metadata("plan", "pro"))?;
//!
//! let limits = ClientLimitLayer::new(Limiter::in_process(), |client: &Client| {
//!     match client.metadata("plan") {
//!         Some("pro") => &PRO,
//!         _ => &FREE,
//!     }
//! })
//! .headers(RateLimitHeaders::Always);
//!
//! let status = limits.status_service();
//! let app: Router = Router::new()
//!     .route("/report", get(async || "report"))
//!     .layer(limits)
//!     .route_service("/limits", status)       // added after the limit, so that looking costs nothing
//!     .layer(ApiKeyLayer::new(header("x-api-key"), keys));
//! # Ok(())
//! # }
//! ```
//!
//! # What does a caller get?
//!
//! | request | response |
//! |---|---|
//! | within the limits of its client | that of the inner service |
//! | above a limit | 429 with `Retry-After`, gRPC 8. Nothing is taken |
//! | with a cost above the burst of a limit | 429 without `Retry-After`, gRPC 8 with a `grpc-retry-pushback-ms` of -1. No retry can succeed |
//! | while the store of limits is down | 503, gRPC 14, unless the layer [fails open](ClientLimitLayer::fail_open) |
//! | without a key, on an [`optional`](crate::ApiKeyLayer::optional) route | that of the inner service, unless [`anonymous_by`](ClientLimitLayer::anonymous_by) limits it |
//! | that needs no key, such as a health check | that of the inner service |
//! | without an `ApiKeyLayer` | 500, with the fix in its body |
//!
//! The `ApiKeyLayer` outside writes the rejection in its own style. Its observer receives the rejection by
//! [`on_guard`](crate::observe::Observe::on_guard), as `limited`, with the
//! [name of the limit](crate::Rejection::violated_limits).
//!
//! # What counts?
//!
//! - A request counts when it arrives, before the service answers. So 64 requests at the same time share what
//!   is left, and never exceed it.
//! - If the caller hangs up before the response, the cost stays taken, because the service worked. The same holds
//!   if the service returns an error instead of a response. [`refund_if`](ClientLimitLayer::refund_if) sees only
//!   responses.
//! - A request takes all limits of its plan or none. Two limit layers are not atomic together. If the inner one
//!   rejects a request, the outer one has counted it.
//! - A counter belongs to the limiter, the client and the name of the limit. So two routes with clones of one
//!   limiter share the counts of limits with the same name. If a plan changes, its limits go on with the counts
//!   of the same names, and the wait is at most the new limit's full refill.
//! - If your service has layers for two client types, give each type a limiter of its own. A counter does not
//!   know the type, so that the clients `7` of both types would share it.
//! - A limiter in the process forgets its counts at a restart, and each replica counts alone.
//!
//! A limit layer outside of a scope layer counts requests that lack a scope as well. Inside it counts none of
//! them.

mod decide;
mod future;
pub(super) mod headers;
mod refund;
mod service;
mod settings;
mod status;
mod warnings;

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use http::StatusCode;
use tower_layer::Layer;

use self::settings::{Anonymous, Settings};
pub use self::{
    future::ResponseFuture, headers::RateLimitHeaders, service::ClientLimitService,
    status::LimitStatusService,
};
use super::{Limiter, Limits, Peer};
use crate::{
    client::{Client, Identity},
    extract::RequestHead,
    respond::{RejectionWriter, Respond},
};

/// A layer that limits how often each client may call, inside an [`ApiKeyLayer`](crate::ApiKeyLayer).
///
/// The [module](self) has an example. `C` is the type of client. Cloning costs two reference counts, and a clone
/// counts with the same limiter.
#[must_use]
pub struct ClientLimitLayer<F, C = Client> {
    plan: Arc<F>,
    settings: Arc<Settings>,
    client: PhantomData<fn() -> C>,
}

impl<F, C> ClientLimitLayer<F, C> {
    /// Creates a layer with a limiter, and a closure that returns the limits of a client.
    ///
    /// The closure runs for each request. It returns a `&'static Limits`, an `Arc<Limits>`, or another pointer.
    /// The argument of the closure names the type of client.
    ///
    /// # Example: plans from configuration
    ///
    /// ```
    /// use std::{collections::HashMap, sync::Arc};
    /// use tower_api_key::{Client, limit::{ClientLimitLayer, Limit, Limiter, Limits}};
    ///
    /// let free = Arc::new(Limits::try_new([Limit::try_per_minute("minute", 60)?])?);
    /// let pro = Arc::new(Limits::try_new([Limit::try_per_minute("minute", 600)?])?);
    /// let plans = HashMap::from([("pro".to_owned(), pro)]);
    /// let limits = ClientLimitLayer::new(Limiter::in_process(), move |client: &Client| {
    ///     let plan = client.metadata("plan").and_then(|plan| plans.get(plan));
    ///     plan.unwrap_or(&free).clone()
    /// });
    /// # let _ = limits;
    /// # Ok::<(), tower_api_key::error::ConfigError>(())
    /// ```
    pub fn new<P>(limiter: Limiter, limits_of: F) -> Self
    where
        F: Fn(&C) -> P,
        P: Deref<Target = Limits>,
        C: Identity,
    {
        let (plan, settings) = (Arc::new(limits_of), Arc::new(Settings::new(limiter)));
        Self { plan, settings, client: PhantomData }
    }

    /// Counts each key alone, instead of all keys of a client together.
    ///
    /// During a rotation a client with two keys can then call twice as often. A key without a public id counts
    /// for its client.
    pub fn per_key(self) -> Self {
        self.map_settings(|settings| settings.per_key = true)
    }

    /// Sets the weight of a request. The default is 1.
    ///
    /// The closure sees the head, because the layer never reads a body. The cost 0 always passes and takes
    /// nothing. If the cost is above the burst of a limit, the request can never pass.
    ///
    /// ```
    /// # use tower_api_key::{Client, limit::{ClientLimitLayer, Limit, Limiter, Limits}};
    /// # static FREE: Limits = Limits::new(&[Limit::per_minute("minute", 60)]);
    /// # let limits = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &FREE);
    /// let limits = limits.cost(|head| if head.uri().path().starts_with("/export") { 10 } else { 1 });
    /// ```
    pub fn cost(self, cost: impl Fn(RequestHead<'_>) -> u32 + Send + Sync + 'static) -> Self {
        self.map_settings(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// Gives the cost of a request back if its response has such a status.
    ///
    /// A gRPC response has the status 200 whatever its `grpc-status` is. `RateLimit` headers show the state
    /// before the refund. If time has refilled a part of the cost before the response, the refund is the rest, to
    /// a second.
    ///
    /// ```
    /// # use tower_api_key::{Client, limit::{ClientLimitLayer, Limit, Limiter, Limits}};
    /// # static FREE: Limits = Limits::new(&[Limit::per_minute("minute", 60)]);
    /// # let limits = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &FREE);
    /// let limits = limits.refund_if(|status| status.is_server_error());
    /// ```
    pub fn refund_if(self, refund_if: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.map_settings(|settings| settings.refund_if = Some(Arc::new(refund_if)))
    }

    /// Limits requests without a key by their peer, behind an [`optional`](crate::ApiKeyLayer::optional) layer.
    ///
    /// By default they pass without a limit. If the closure returns `None`, the request passes uncounted, and
    /// the log has one warning. A limiter in the process keeps at most 65,536 counters of peers, in about 4 MB. An
    /// attacker with more addresses evicts strangers who made few requests, and has one burst for each address.
    /// So limit the whole service as well. [`peer`](super::peer) has closures for the usual servers and proxies. Behind
    /// a layer that only reports, this limits requests that it would reject.
    ///
    /// ```
    /// # use tower_api_key::{Client, limit::{ClientLimitLayer, Limiter}};
    /// use tower_api_key::limit::{Limit, Limits, peer};
    ///
    /// static FREE: Limits = Limits::new(&[Limit::per_minute("minute", 60)]);
    /// static ANONYMOUS: Limits = Limits::new(&[Limit::per_hour("anonymous", 100)]);
    ///
    /// let limits = ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &FREE)
    ///     .anonymous_by(&ANONYMOUS, peer::x_forwarded_for(1));
    /// ```
    pub fn anonymous_by<L, A>(
        self,
        limits: L,
        peer: impl Fn(RequestHead<'_>) -> Option<A> + Send + Sync + 'static,
    ) -> Self
    where
        L: Deref<Target = Limits> + Send + Sync + 'static,
        A: Into<Peer>,
    {
        let peer = Arc::new(move |head: RequestHead<'_>| peer(head).map(Into::into));
        let anonymous = Anonymous { limits: Arc::new(limits), peer };
        self.map_settings(|settings| settings.anonymous = Some(anonymous))
    }

    /// Adds `RateLimit` and `RateLimit-Policy` to responses. By default there are none.
    pub fn headers(self, headers: RateLimitHeaders) -> Self {
        self.map_settings(|settings| settings.headers = Some(headers))
    }

    /// Passes requests without a limit while the store of limits is down.
    ///
    /// By default such a request gets a 503. The log has an error each minute while the store is down. A limiter
    /// in the process is never down.
    pub fn fail_open(self) -> Self {
        self.map_settings(|settings| settings.fail_open = true)
    }

    /// Sets the responder of rejections, instead of the `ApiKeyLayer`'s.
    pub fn respond(self, respond: impl Respond + Send + Sync + 'static) -> Self {
        let writer = self.settings.writer.clone().unwrap_or_default();
        self.rejection_writer(writer.with_responder(respond))
    }

    /// Sets the writer of rejections, instead of the `ApiKeyLayer`'s.
    pub fn rejection_writer(self, writer: RejectionWriter) -> Self {
        self.map_settings(|settings| settings.writer = Some(writer))
    }

    /// Returns a service that shows a client its own limits, and takes nothing.
    ///
    /// It answers GET and HEAD with JSON. Put it behind the same `ApiKeyLayer`, and outside of this limit. If the
    /// store of limits is down, it answers 503, because there is no state. So it does after
    /// [`fail_open`](Self::fail_open) as well. On an exempt path there is no client, so it answers 500.
    ///
    /// ```json
    /// {"client":"ci","limits":[{"name":"burst","quota":60,"window_seconds":60,"burst":20,"remaining":19,"seconds_until_more":1}]}
    /// ```
    ///
    /// # Examples
    ///
    /// See the [module](self).
    #[must_use]
    pub fn status_service(&self) -> LimitStatusService<F, C> {
        LimitStatusService::new(self.clone())
    }

    fn map_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, F, C> Layer<S> for ClientLimitLayer<F, C> {
    type Service = ClientLimitService<S, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientLimitService::new(inner, self.clone())
    }
}

impl<F, C> Clone for ClientLimitLayer<F, C> {
    fn clone(&self) -> Self {
        let (plan, settings) = (Arc::clone(&self.plan), Arc::clone(&self.settings));
        Self { plan, settings, client: PhantomData }
    }
}

impl<F, C> fmt::Debug for ClientLimitLayer<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLimitLayer").finish_non_exhaustive()
    }
}
