//! The time that a limit of failures adds to an accepted request, outside of a layer for keys.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::Layer;
use tower_api_key::{
    FailureLimitLayer,
    extract::RequestHead,
    limit::{Limit, Peer},
};

use super::{ours, requests::in_header, tower::Inner};
use crate::{
    added::NO_LIMIT,
    harness::Bench,
    keys::Stores,
    row::{
        Asked::{Hot, Random},
        OURS, Row,
    },
};

pub fn cases(bench: &mut Bench, stores: &Stores) {
    for (keys, asked, threads) in [(1, Hot, 1), (100_000, Random, 1), (1, Hot, 2)] {
        let row = |who| Row::new("failure limit", who).keys(keys).asked(asked).threads(threads);
        let layer = ours(stores.ring(keys));
        bench.add(row(NO_LIMIT), || layer.layer(Inner), from_a_peer);
        let limit = || {
            let limit = Limit::per_minute("failures", 10);
            let limit = FailureLimitLayer::new(limit, peer, layer.rejection_writer());
            limit.layer(layer.layer(Inner))
        };
        bench.add(row(OURS), limit, from_a_peer);
    }
}

/// A request of the peer that has the number of this key. The server found the peer's address.
fn from_a_peer(key: &str) -> Request<Full<Bytes>> {
    let mut request = in_header(key);
    let number = key[8..15].parse().expect("a number");
    request.extensions_mut().insert(Ipv4Addr::from_bits(number));
    request
}

fn peer(head: RequestHead<'_>) -> Option<Peer> {
    head.extensions().get::<Ipv4Addr>().copied().map(Peer::from)
}
