//! Peers: the network address that a request comes from, as a key for counting.
//!
//! [`FailureLimitLayer`](super::FailureLimitLayer) takes a closure that returns the peer of a request. This
//! module has closures for the usual cases:
//!
//! | server | closure |
//! |---|---|
//! | axum without a proxy | `peer::connect_info` (feature `axum`), which reads `ConnectInfo<SocketAddr>` |
//! | tonic without a proxy | [`from_extension`]`(\|info: &TcpConnectInfo\| info.remote_addr())` |
//! | hyper without a proxy | [`from_extension`], for the type that you insert for each connection |
//! | behind a proxy | [`x_forwarded_for`] or [`forwarded()`], with the number of your proxies |
//!
//! # Behind a proxy
//!
//! Behind a proxy, the address of the connection is the proxy's. One caller would then block all others. Take
//! the address from the header that your proxy writes. A proxy appends the address of its own peer to the
//! header, and everything to the left comes from that peer. So an attacker can write any address on the left.
//!
//! These closures count from the right. `1` means that one proxy of yours stands in front. The last address is
//! then the one that this proxy saw. With two proxies it is the last address but one. If the number is too high,
//! an attacker chooses the address. If it is too low, all callers share the address of a proxy.
//!
//! Make sure that callers cannot reach the service except through the proxy.
//!
//! # Example: the header, or else the connection
//!
//! ```
//! use std::net::SocketAddr;
//! use tower_api_key::{extract::RequestHead, limit::peer::{self, Peer}};
//!
//! #[derive(Clone)]
//! struct Connection(SocketAddr);
//!
//! fn peer_of() -> impl Fn(RequestHead<'_>) -> Option<Peer> + Clone {
//!     let header = peer::x_forwarded_for(1);
//!     let connection = peer::from_extension(|connection: &Connection| Some(connection.0));
//!     move |head| header(head).or_else(|| connection(head))
//! }
//!
//! let request = http::Request::builder()
//!     .header("x-forwarded-for", "spoofed, 192.0.2.7")
//!     .extension(Connection(([10, 0, 0, 1], 4711).into()))
//!     .body(())?;
//! let found = peer_of()(RequestHead::of(&request));
//! assert_eq!(found.map(|peer| peer.to_string()).as_deref(), Some("192.0.2.7"));
//! # Ok::<(), http::Error>(())
//! ```

mod forwarded;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

pub use self::forwarded::{forwarded, try_forwarded, try_x_forwarded_for, x_forwarded_for};
use crate::extract::RequestHead;

/// A network address as a key for counting.
///
/// It is an IPv4 address or an IPv6 network of 64 bits. An IPv6 customer gets at least a /64 and can use any
/// address in it, so that a limit on single addresses would have no effect. An IPv4 address inside an IPv6
/// address counts as IPv4. That is an IPv4-mapped address (`::ffff:192.0.2.7`) or one behind a translator (`64:ff9b::192.0.2.7`, RFC 6052).
///
/// # Examples
///
/// ```
/// use std::net::IpAddr;
/// use tower_api_key::limit::Peer;
///
/// let peer = |address: &str| address.parse::<IpAddr>().map(Peer::from);
/// assert_eq!(peer("2001:db8::1")?, peer("2001:db8::ffff:2")?);
/// assert_eq!(peer("::ffff:192.0.2.7")?, peer("192.0.2.7")?);
/// assert_eq!(peer("2001:db8::1")?.to_string(), "2001:db8::/64");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(u64);

/// The upper half of an IPv4 peer. As the beginning of an IPv6 address it is multicast, which no peer has.
const IPV4: u32 = 0xFFFF_FFFE;

/// The last IPv6 network that is distinguished. Further ones are multicast.
const LAST_NETWORK: u64 = 0xFFFF_FFFD_FFFF_FFFF;

impl Peer {
    /// Returns a number that is never `u64::MAX`.
    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    #[cfg(any(feature = "axum", feature = "tracing"))]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl From<Ipv4Addr> for Peer {
    fn from(address: Ipv4Addr) -> Self {
        Self(u64::from(IPV4) << 32 | u64::from(address.to_bits()))
    }
}

impl From<Ipv6Addr> for Peer {
    fn from(address: Ipv6Addr) -> Self {
        if let Some(mapped) = address.to_ipv4_mapped() {
            return mapped.into();
        }
        match address.segments() {
            [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
            }
            [a, b, c, d, ..] => {
                let network =
                    [a, b, c, d].into_iter().fold(0, |it, part| it << 16 | u64::from(part));
                Self(network.min(LAST_NETWORK))
            }
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

/// Ignores the port.
impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = [self.0 >> 32, self.0 & 0xFFFF_FFFF].map(|half| half as u32);
        if high == IPV4 {
            return Ipv4Addr::from_bits(low).fmt(f);
        }
        write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(self.0) << 64))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the peer of axum's `ConnectInfo<SocketAddr>`, with the feature `axum`.
///
/// Start the server with `into_make_service_with_connect_info::<SocketAddr>()`. In tests, `MockConnectInfo`
/// sets the address.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
/// use axum::{Router, extract::connect_info::MockConnectInfo};
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header};
/// use tower_api_key::limit::{FailureLimitLayer, Limit, peer};
///
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
/// let failures = FailureLimitLayer::new(
///     Limit::per_minute("failures", 10),
///     peer::connect_info,
///     layer.rejection_writer(),
/// );
/// let app: Router = Router::new().layer(layer).layer(failures);
///
/// let in_tests = app.clone().layer(MockConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))));
/// let service = app.into_make_service_with_connect_info::<SocketAddr>();
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
#[cfg(feature = "axum")]
#[must_use]
pub fn connect_info(head: RequestHead<'_>) -> Option<Peer> {
    use ::axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    let extensions = head.extensions();
    let real = extensions.get().map(|ConnectInfo::<SocketAddr>(address)| *address);
    let mock = || extensions.get().map(|MockConnectInfo::<SocketAddr>(address)| *address);
    real.or_else(mock).map(Peer::from)
}

/// Returns a closure that reads the peer from an extension of the request.
///
/// The server inserts the extension for each connection. The argument can be a `SocketAddr` or an `IpAddr`.
///
/// # Example: tonic
///
/// ```
/// # mod tonic { pub mod transport { pub mod server {
/// #     #[derive(Clone)] pub struct TcpConnectInfo;
/// #     impl TcpConnectInfo { pub fn remote_addr(&self) -> Option<std::net::SocketAddr> { None } }
/// # } } }
/// use tonic::transport::server::TcpConnectInfo;
/// use tower_api_key::limit::peer;
///
/// let peer_of = peer::from_extension(|info: &TcpConnectInfo| info.remote_addr());
/// # peer_of(tower_api_key::extract::RequestHead::of(&http::Request::new(())));
/// ```
pub fn from_extension<T, A>(
    read: impl Fn(&T) -> Option<A> + Clone,
) -> impl Fn(RequestHead<'_>) -> Option<Peer> + Clone
where
    T: Send + Sync + 'static,
    A: Into<Peer>,
{
    move |head| head.extensions().get().and_then(&read).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_peer_is_its_network_of_64_bits_and_an_embedded_ipv4_address_is_ipv4() {
        for (address, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("64:ff9b::192.0.2.7", "192.0.2.7"),
            ("64:ff9b:1::192.0.2.7", "64:ff9b:1::/64"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("::1", "::/64"),
            ("fe80::1", "fe80::/64"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:fffd:ffff:ffff::/64"),
        ] {
            assert_eq!(peer(address).to_string(), shown, "{address}");
            assert_eq!(format!("{:?}", peer(address)), shown);
            assert_ne!(peer(address).to_bits(), u64::MAX);
        }
        assert_eq!(Peer::from(SocketAddr::from(([192, 0, 2, 7], 1))), peer("192.0.2.7"));
    }

    #[test]
    fn no_two_families_share_a_peer() {
        assert_ne!(peer("0.0.0.0"), peer("::"));
        assert_ne!(peer("127.0.0.1"), peer("::1"));
        assert_ne!(peer("192.0.2.7"), peer("ffff:fffe:c000:0207::"));
    }
}
