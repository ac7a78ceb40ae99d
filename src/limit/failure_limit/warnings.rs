#[cfg(any(feature = "axum", feature = "tracing"))]
use std::sync::OnceLock;

#[cfg(any(feature = "axum", feature = "tracing"))]
use super::proxy_watch::ProxyWatch;
use crate::limit::Peer;

/// The log lines about a closure that returns no peer or a proxy, each once.
#[derive(Default)]
pub(super) struct Warnings {
    #[cfg(any(feature = "axum", feature = "tracing"))]
    no_peer: OnceLock<()>,
    #[cfg(any(feature = "axum", feature = "tracing"))]
    proxy: ProxyWatch,
}

#[cfg(any(feature = "axum", feature = "tracing"))]
impl Warnings {
    /// A request has no peer.
    pub(super) fn no_peer(&self) {
        self.no_peer.get_or_init(|| {
            tracing::warn!(
                "A `FailureLimitLayer` found no peer for a request, which passes uncounted. If this is not \
                 expected, check the closure for the peer. axum needs \
                 `into_make_service_with_connect_info::<SocketAddr>()`, and a header needs the proxy that \
                 writes it. There is no further warning."
            );
        });
    }

    /// A request has a peer, which may be a proxy.
    pub(super) fn watch(&self, peer: Peer) {
        if let Some(peer) = self.proxy.dominating(peer) {
            tracing::warn!(
                %peer,
                "One peer makes 90 % of all requests, so that it is probably a proxy. A `FailureLimitLayer` \
                 then blocks all callers for the failures of one. Take the peer from a header that the proxy \
                 writes, with `peer::x_forwarded_for(..)` or `peer::forwarded(..)`. If the service has one \
                 caller and no proxy, all is well. There is no further warning."
            );
        }
    }
}

#[cfg(not(any(feature = "axum", feature = "tracing")))]
#[allow(clippy::unused_self, reason = "there is no log")]
impl Warnings {
    pub(super) fn no_peer(&self) {}

    pub(super) fn watch(&self, _: Peer) {}
}
