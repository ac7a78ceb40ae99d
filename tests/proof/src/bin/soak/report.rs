//! The printed report, and the verdict.

use std::sync::atomic::Ordering;

use crate::{
    callers::Ground,
    process::{Held, Sample},
    tally::Table,
};

/// The allowed growth of memory from the middle third to the last third, in KiB. The first third warms up.
const MOST_GROWTH: u64 = 4 * 1024;

#[derive(Default)]
pub struct Report {
    pub is_wrong: bool,
}

impl Report {
    fn verdict(&mut self, is_right: bool) -> &'static str {
        self.is_wrong |= !is_right;
        if is_right { "as it should be" } else { "**WRONG**" }
    }

    pub fn line(&mut self, what: &str, is_right: bool) {
        println!("- {what}: {}", self.verdict(is_right));
    }

    pub fn requests(&mut self, ground: &Ground, seconds: u64) {
        let tally = &ground.tally;
        let (requests, connections) = (tally.requests(), tally.connections.load(Ordering::Relaxed));
        let changes = ground.keys.changes.load(Ordering::Relaxed);
        println!("# A soak of {seconds} seconds\n");
        println!("Printed by `tests/proof/soak {seconds}`.\n");
        println!(
            "{requests} requests were answered over {connections} connections, {} a second, while keys \
             changed {changes} times. A changing key is *live* where its insert had returned before the \
             request was sent, and *just revoked* where its revocation had; only if it changed again \
             before the answer may a live one be refused. A stranger, and everybody on the exempt path, \
             is let in without a client.\n",
            requests / seconds
        );
        tally.print(Table::Key, "key");
        tally.print(Table::Route, "route");
        tally.print(Table::Shape, "request");
        tally.print(Table::CutOff, "cut off");
        self.line(
            &format!("Answers that are not the right ones: {}", tally.oddities()),
            tally.oddities() == 0,
        );
        tally.print_oddities();
    }

    pub fn memory(&mut self, samples: &[Sample]) {
        println!("\n| second | requests | memory, KiB | file handles |\n|--:|--:|--:|--:|");
        let some = samples.len().div_ceil(18);
        for Sample { second, requests, held } in samples.iter().skip(some - 1).step_by(some) {
            println!("| {second} | {requests} | {} | {} |", held.memory, held.handles);
        }
        let third = samples.len() / 3;
        let before = median_memory(&samples[third..2 * third]);
        let after = median_memory(&samples[2 * third..]);
        println!();
        self.line(
            &format!(
                "Memory: median of the middle third {before} KiB, of the last {after} KiB, which may \
                 be {MOST_GROWTH} KiB more"
            ),
            after <= before + MOST_GROWTH,
        );
    }

    /// `most` is the allowed number of file handles.
    pub fn held(&mut self, before: Held, samples: &[Sample], most: usize, after: Held) {
        let peak = samples.iter().map(|it| it.held.handles).max().unwrap_or(0);
        let (from, to) = (before.handles, after.handles);
        self.line(
            &format!("File handles before {from}, meanwhile at most {peak} of {most}, after {to}"),
            from == to && peak <= most,
        );
        let (from, to) = (before.tasks, after.tasks);
        self.line(&format!("Tasks before {from}, after {to}"), from == to);
    }
}

fn median_memory(samples: &[Sample]) -> u64 {
    let mut memory: Vec<_> = samples.iter().map(|sample| sample.held.memory).collect();
    memory.sort_unstable();
    memory[memory.len() / 2]
}
