//! What a request costs behind the layer, beside its peers: one table, and the bars held against it.
//! `benches/README.md` says how to run it, how it measures, and how to read the table.

mod added;
mod cases;
mod harness;
mod keys;
mod row;
mod spread;
mod table;

use std::{env, process::ExitCode, time::Duration};

use crate::{harness::Bench, keys::Stores};

const USAGE: &str = "usage: peers [--quick] [WORD]…

Times all cases, or those whose row has every WORD in it, and prints a table. About three and a half minutes.
--quick is for trying: a few seconds, too short for figures.";

fn main() -> ExitCode {
    let (options, words): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let quick = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let (slice, time_each) = match quick {
        true => (Duration::from_micros(100), Duration::from_millis(40)),
        false => (Duration::from_millis(2), Duration::from_millis(2250)),
    };
    let mut bench = Bench::new(words);
    cases::all(&mut bench, &Stores::default());
    if bench.len() == 0 {
        eprintln!("no row has all these words in it");
        return ExitCode::FAILURE;
    }
    let time = time_each * bench.len() as u32;
    eprintln!("{} cases, {} s", bench.len(), time.as_secs());
    print!("{}", table::page(&bench.run(slice, time)));
    ExitCode::SUCCESS
}
