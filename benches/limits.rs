//! The cost of many clients for the limiter in the process: newcomers, and clients that fall silent.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject};

static LIMITS: Limits = Limits::new(&[Limit::per_hour("hour", 3_600)]);

const MILLION: usize = 1_000_000;

/// The machine disturbs single requests. So a figure is that of the calmest run.
const RUNS: usize = 3;

fn main() {
    let runs: Vec<_> = (0..RUNS).map(|_| run()).collect();
    println!("| request: median, p99.9, worst | figure |\n|---|--:|");
    let cases = [
        "of a newcomer, up to 1,000,000 clients",
        "of a newcomer, up to 1,500,000 clients",
        "of a known client",
        "of a newcomer, after all other clients fell silent",
    ];
    for (case, name) in cases.iter().enumerate() {
        let [median, most, worst] = [0.5, 0.999, 1.0].map(|share| {
            let of_run = |times: &Vec<Duration>| times[((times.len() - 1) as f64 * share) as usize];
            runs.iter().map(|run| of_run(&run[case])).min().expect("a run")
        });
        println!("| {name} | {median:.0?}, {most:.1?}, {worst:.1?} |");
    }
}

/// Returns the sorted times of all requests of each case.
fn run() -> [Vec<Duration>; 4] {
    let seconds = Arc::new(AtomicU64::new(0));
    // Beside, the clock advances with each thousand readings, so that requests sweep other shards.
    let (clock, readings) = (seconds.clone(), AtomicU64::new(0));
    let limiter = Limiter::with_clock(move || {
        let millis = readings.fetch_add(1, Ordering::Relaxed) / 1_000;
        Duration::from_secs(clock.load(Ordering::Relaxed)) + Duration::from_millis(millis)
    });
    let active = [0..MILLION, MILLION..MILLION * 3 / 2, 0..MILLION];
    let [one, two, three] = active.map(|numbers| requests(&limiter, numbers));
    seconds.store(86_400, Ordering::Relaxed);
    [one, two, three, requests(&limiter, MILLION * 2..MILLION * 3)]
}

fn requests(limiter: &Limiter, numbers: Range<usize>) -> Vec<Duration> {
    let time = |number| {
        let id = format!("client-{number}");
        let ask = Ask::new(Subject::Client(&id), &LIMITS);
        let started = Instant::now();
        let taken = limiter.take(&ask).ready().expect("in the process");
        let took = started.elapsed();
        assert!(taken.is_passed());
        took
    };
    let mut times: Vec<_> = numbers.map(time).collect();
    times.sort_unstable();
    times
}
