//! The printed report.

use std::{collections::BTreeMap, fmt::Display, sync::atomic::Ordering::Relaxed};

use crate::oracle::{Ground, Tally};

/// Prints all tables.
pub fn print(ground: &Ground, seconds: u64) {
    let tally = &ground.tally;
    let requests = tally.requests.load(Relaxed);
    println!("\n| figure | value |\n|---|--:|");
    row("requests", requests);
    row("… a second", requests / seconds.max(1));
    row("wrong answers", tally.wrong.load(Relaxed));
    for (at, name) in ["without a fault", "with a fault"].iter().enumerate() {
        let mut times = tally.times[at].lock().unwrap().clone();
        times.sort_unstable();
        row(&format!("rejections timed {name}"), times.len());
        for (name, part) in [("p50", 50), ("p99", 99), ("longest", 100)] {
            if let Some(time) =
                times.get((times.len() * part / 100).min(times.len().saturating_sub(1)))
            {
                row(
                    &format!("… commit to rejection, {name}"),
                    format!("{:.1} ms", *time as f64 / 1000.0),
                );
            }
        }
    }
    for replica in &ground.replicas {
        let kind = if replica.is_cached { "Cached" } else { "Mirrored" };
        row(
            &format!("memory of replica {} ({kind})", replica.number),
            format!("{} MiB", replica.view().memory / 1024),
        );
    }
    table("answers", &tally.counts.lock().unwrap());
    table("changes", &tally.changes.lock().unwrap());
    table("faults", &tally.faults.lock().unwrap());
    print_wrong(tally);
}

fn print_wrong(tally: &Tally) {
    let wrongs = tally.wrongs.lock().unwrap();
    if !wrongs.is_empty() {
        println!("\nThe first wrong answers:");
        wrongs.iter().for_each(|wrong| println!("- {wrong}"));
    }
}

fn row(name: &str, value: impl Display) {
    println!("| {name} | {value} |");
}

fn table(name: &str, counts: &BTreeMap<impl Display, u64>) {
    println!("\n| {name} | number |\n|---|--:|");
    counts.iter().for_each(|(name, count)| println!("| {name} | {count} |"));
}
