//! The time that `Usage` adds to an accepted request, alone and beside another observer.

use std::hint::black_box;

use tower::Layer;
use tower_api_key::{observe::Decision, usage::Usage};

use super::{ours, requests::in_header, tower::Inner};
use crate::{
    added::{BOTH, CLOSURE, NO_OBSERVER, USAGE},
    harness::Bench,
    keys::Stores,
    row::{
        Asked::{Hot, Random},
        Row,
    },
};

pub fn cases(bench: &mut Bench, stores: &Stores) {
    for (keys, asked, threads) in [(1, Hot, 1), (100_000, Random, 1), (1, Hot, 2)] {
        let row = |who| Row::new("usage", who).keys(keys).asked(asked).threads(threads);
        let layer = ours(stores.ring(keys));
        bench.add(row(NO_OBSERVER), || layer.layer(Inner), in_header);
        bench.add(row(CLOSURE), || layer.clone().observe(look).layer(Inner), in_header);
        bench.add(row(USAGE), || layer.clone().observe(Usage::new()).layer(Inner), in_header);
        let both = || layer.clone().observe((look, Usage::new())).layer(Inner);
        bench.add(row(BOTH), both, in_header);
    }
}

/// An observer that needs the clock, as observers of users do.
fn look(decision: &Decision<'_>) {
    black_box(decision.outcome());
}
