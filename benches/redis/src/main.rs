//! What a shared limit costs: requests on one connection, beside a script that only returns 1. Prints each ratio with its
//! bar, and exits with 1 if a bar is missed.
//!
//! `cargo run --release --manifest-path benches/redis/Cargo.toml`. It starts a Redis of its own.

use std::{
    process::ExitCode,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use redis::{Script, aio::MultiplexedConnection};
use tokio::{runtime::Builder, task::JoinSet};
use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Subject};
use tower_api_key_redis::{OnFailure, Redis};
use tower_api_key_test_servers::RedisServer;

static ONE: Limits = Limits::new(&[Limit::per_minute("burst", 4_000_000_000)]);
static TWO: Limits = Limits::new(&[
    Limit::per_minute("burst", 4_000_000_000),
    Limit::per_month("month", 4_000_000_000),
]);

/// Each measurement is repeated, alternating with the script, and the median of the ratios counts.
const ROUNDS: usize = 31;
const ROUND: Duration = Duration::from_millis(300);

/// The limits, the requests in flight, and the least ratio.
const BARS: [(&str, &Limits, usize, f64); 4] = [
    ("1 limit, one at a time", &ONE, 1, 0.7),
    ("2 limits, one at a time", &TWO, 1, 0.6),
    ("1 limit, 64 in flight", &ONE, 64, 0.35),
    ("2 limits, 64 in flight", &TWO, 64, 0.25),
];

fn main() -> ExitCode {
    let server = RedisServer::start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let are_met = runtime.block_on(run(&server.url()));
    if are_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(url: &str) -> bool {
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut load = redis::cmd("SCRIPT");
    let load = load.arg("LOAD").arg("return 1");
    _ = load.query_async::<String>(&mut connection.clone()).await.unwrap();
    let store = Redis::open(url).unwrap().with_deadline(Duration::from_secs(10));
    let limiter = Limiter::new(store.on_failure(OnFailure::Reject));

    let mut are_met = true;
    for (name, limits, in_flight, bar) in BARS {
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let script = rate(in_flight, || call_script(connection.clone())).await;
            let taken = rate(in_flight, || take(limiter.clone(), limits)).await;
            ratios.push(taken / script);
            rates.push(taken);
        }
        let (ratio, rate) = (median(ratios), median(rates));
        are_met &= ratio >= bar;
        let mark = if ratio >= bar { "ok" } else { "MISSED" };
        println!("{name:24} {rate:8.0}/s  {ratio:.2} of the script, at least {bar:.2}  {mark}");
    }
    are_met
}

/// Returns the number of calls in a second.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    in_flight: usize,
    call: impl Fn() -> F,
) -> f64 {
    let (start, mut count, mut tasks) = (Instant::now(), 0, JoinSet::new());
    if in_flight == 1 {
        while start.elapsed() < ROUND {
            call().await;
            count += 1;
        }
        return f64::from(count) / start.elapsed().as_secs_f64();
    }
    for _ in 0..in_flight {
        tasks.spawn(call());
    }
    while tasks.join_next().await.is_some() {
        count += 1;
        if start.elapsed() < ROUND {
            tasks.spawn(call());
        }
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

async fn call_script(mut connection: MultiplexedConnection) {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new("return 1"));
    let value: u8 = redis::cmd("EVALSHA")
        .arg(SCRIPT.get_hash())
        .arg(0)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(value, 1);
}

/// Takes for one of 1,000 clients.
async fn take(limiter: Limiter, limits: &'static Limits) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = format!("client-{}", NEXT.fetch_add(1, Relaxed) % 1_000);
    assert!(limiter.take(&Ask::new(Subject::Client(&id), limits)).await.is_passed());
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
