//! Figures and their bars.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// The figures of a run.
#[derive(Default)]
pub struct Figures(Vec<(String, f64, f64, &'static str)>);

impl Figures {
    /// Adds a figure that must not be above its bar.
    pub fn add(&mut self, name: &str, value: f64, bar: f64, unit: &'static str) {
        println!("{name}: {value:.3} {unit}");
        self.0.push((name.to_owned(), value, bar, unit));
    }

    pub fn print(&self) -> ExitCode {
        println!("\n| figure | value | bar |\n|---|--:|--:|");
        let mut is_missed = false;
        for (name, value, bar, unit) in &self.0 {
            let missed = if value > bar { ", missed" } else { "" };
            is_missed |= value > bar;
            println!("| {name} | {value:.3} {unit} | {bar} {unit}{missed} |");
        }
        if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Returns the median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times two closures in turn, and returns the medians of their times in ns and of the ratios within a round.
pub fn compare(rounds: usize, mut one: impl FnMut(), mut other: impl FnMut()) -> (f64, f64, f64) {
    let (mut ones, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (a, b);
        // The order changes, because the second one may find warm caches.
        if round % 2 == 0 {
            a = time(&mut one);
            b = time(&mut other);
        } else {
            b = time(&mut other);
            a = time(&mut one);
        }
        ones.push(a);
        others.push(b);
        ratios.push(a / b);
    }
    (median(ones), median(others), median(ratios))
}

fn time(run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}

/// Prints times in ms.
pub fn histogram(times: &[f64]) {
    for from in (0..200).step_by(10) {
        let to = from + 10;
        let count =
            times.iter().filter(|time| (f64::from(from)..f64::from(to)).contains(*time)).count();
        if count > 0 {
            println!("{from:4} to {to:3} ms {count:6} {}", "#".repeat(count * 200 / times.len()));
        }
    }
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Returns the processor time of all threads of this process in ms, which other programs do not change.
pub fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|it| it.parse::<f64>().unwrap());
    ticks.sum::<f64>() * 10.0
}

/// Returns a number of the status of this process in bytes, such as `VmRSS:`.
pub fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}
