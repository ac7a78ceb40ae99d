//! What a shared limit costs: requests on one connection, beside a script that only returns 1. Prints each ratio with its
//! bar and the processor time of each side, and exits with 1 if a bar is missed.
//!
//! `cargo run --release --manifest-path benches/redis/Cargo.toml`. It starts a Redis of its own.

use std::{
    fs,
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
    let mut server = RedisServer::start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let are_met = runtime.block_on(run(&server.url(), server.program().id()));
    if are_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(url: &str, server: u32) -> bool {
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut load = redis::cmd("SCRIPT");
    let load = load.arg("LOAD").arg("return 1");
    _ = load.query_async::<String>(&mut connection.clone()).await.unwrap();
    let store = Redis::open(url).unwrap().with_deadline(Duration::from_secs(10));
    let limiter = Limiter::new(store.on_failure(OnFailure::Reject));

    let mut are_met = true;
    for (name, limits, in_flight, bar) in BARS {
        let (mut ratios, mut costs) = (Vec::new(), [const { Vec::new() }; 4]);
        for _ in 0..ROUNDS {
            let script = measure(server, in_flight, || call_script(connection.clone())).await;
            let taken = measure(server, in_flight, || take(limiter.clone(), limits)).await;
            ratios.push(script.time / taken.time);
            for (costs, cost) in
                costs.iter_mut().zip([script.client, script.server, taken.client, taken.server])
            {
                costs.push(cost);
            }
        }
        let ratio = median(ratios);
        are_met &= ratio >= bar;
        let mark = if ratio >= bar { "ok" } else { "MISSED" };
        let [script_client, script_server, client, server] = costs.map(median);
        println!(
            "{name:24} {ratio:.2} of the script, at least {bar:.2}  {mark:6}  \
             client {client:.1} µs, of {script_client:.1}, server {server:.1} µs, of {script_server:.1}"
        );
    }
    are_met
}

/// The time of a call and the processor time of this process and of the server, in microseconds.
struct Cost {
    time: f64,
    client: f64,
    server: f64,
}

async fn measure<F: Future<Output = ()> + Send + 'static>(
    server: u32,
    in_flight: usize,
    call: impl Fn() -> F,
) -> Cost {
    let (own, its) = (processor_time("self"), processor_time(&server.to_string()));
    let (start, mut count, mut tasks) = (Instant::now(), 0, JoinSet::new());
    if in_flight == 1 {
        while start.elapsed() < ROUND {
            call().await;
            count += 1;
        }
    } else {
        for _ in 0..in_flight {
            tasks.spawn(call());
        }
        while tasks.join_next().await.is_some() {
            count += 1;
            if start.elapsed() < ROUND {
                tasks.spawn(call());
            }
        }
    }
    let per_call = |nanos: f64| nanos / 1_000.0 / f64::from(count);
    Cost {
        time: per_call(start.elapsed().as_nanos() as f64),
        client: per_call(processor_time("self") - own),
        server: per_call(processor_time(&server.to_string()) - its),
    }
}

/// Returns the nanoseconds that the first thread of a process ran. Both processes work in their first thread.
fn processor_time(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
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
