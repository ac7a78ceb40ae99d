//! The time that a layer adds to a request, round by round, and the bars for it.

use std::iter;

use crate::{
    harness::Figure,
    row::{
        Asked::{Hot, Random},
        OURS, Row,
    },
    spread::Spread,
};

/// The names of the rows that have bars.
pub const NO_LIMIT: &str = "no limit";
pub const WITH_FIELDS: &str = "ours, with headers";
pub const GOVERNOR_BY_HAND: &str = "governor in a service";
pub const TOWER_GOVERNOR: &str = "tower_governor";
pub const NO_OBSERVER: &str = "no observer";
pub const CLOSURE: &str = "a closure";
pub const USAGE: &str = "usage";
pub const BOTH: &str = "a closure and usage";

pub fn bars(figures: &[Figure]) -> String {
    let cases = [
        ("one client", 1, Hot, 1),
        ("100,000 clients", 100_000, Random, 1),
        ("one client, two threads", 1, Hot, 2),
    ];
    let lines = cases.iter().flat_map(|(case, keys, asked, threads)| {
        let row = |stack, who| Row::new(stack, who).keys(*keys).asked(*asked).threads(*threads);
        let time = |stack, who, base| added(figures, &row(stack, who), &row(stack, base));
        let is_hot = *keys == 1 && *threads == 1;
        let client = |who| time("client limit", who, NO_LIMIT);
        let of =
            |who| Some(Spread::of(iter::zip(client(OURS)?, client(who)?).map(divide).collect()));
        let nanos = |added: Option<Vec<f64>>| added.map(Spread::of);
        [
            ("a client limit adds, in ns", nanos(client(OURS)), is_hot.then_some(100.0)),
            (
                "… its headers add, in ns",
                nanos(time("client limit", WITH_FIELDS, OURS)),
                is_hot.then_some(200.0),
            ),
            ("… of tower_governor's", of(TOWER_GOVERNOR), (*threads == 1).then_some(0.9)),
            ("… of governor's in a service", of(GOVERNOR_BY_HAND), (*keys > 1).then_some(1.0)),
            ("a limit of failures adds, in ns", nanos(time("failure limit", OURS, NO_LIMIT)), None),
            ("usage adds, in ns", nanos(time("usage", USAGE, NO_OBSERVER)), is_hot.then_some(70.0)),
            (
                "… beside another observer",
                nanos(time("usage", BOTH, CLOSURE)),
                is_hot.then_some(35.0),
            ),
        ]
        .map(|(what, spread, bar)| Some(line(&format!("{case}: {what}"), &spread?, bar)))
    });
    lines.flatten().collect()
}

fn line(what: &str, spread: &Spread, bar: Option<f64>) -> String {
    match bar {
        Some(bar) => {
            let verdict = if spread.median <= bar { "met" } else { "**missed**" };
            format!("- {verdict}: {what}: {spread}, at most {bar}\n")
        }
        None => format!("- {what}: {spread}\n"),
    }
}

/// The time of one case beyond another, in each round.
fn added(figures: &[Figure], row: &Row, base: &Row) -> Option<Vec<f64>> {
    let rounds = |row: &Row| figures.iter().find(|it| it.row == *row).map(|it| &it.rounds);
    Some(iter::zip(rounds(row)?, rounds(base)?).map(|(with, without)| with - without).collect())
}

fn divide((one, other): (f64, f64)) -> f64 {
    one / other
}
