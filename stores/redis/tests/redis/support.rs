//! Limiters over a server, and asks.

use std::time::Duration;

use tower_api_key::limit::{Ask, LimitState, Limiter, Limits, Outcome, Subject, Taken};
use tower_api_key_redis::Redis;
use tower_api_key_test_servers::RedisServer;

/// Longer than any pause of a loaded machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// Returns a store that waits for its server.
pub(crate) fn patient(url: &str) -> Redis {
    Redis::open(url).unwrap().with_deadline(PATIENT)
}

/// Returns a limiter that waits for its server.
pub(crate) fn limiter(url: &str) -> Limiter {
    Limiter::new(patient(url))
}

pub(crate) fn ci(limits: &Limits) -> Ask<'_> {
    Ask::new(Subject::Client("ci"), limits)
}

pub(crate) async fn take(limiter: &Limiter, ask: &Ask<'_>) -> Taken {
    limiter.take(ask).await
}

pub(crate) async fn passes(limiter: &Limiter, ask: &Ask<'_>) -> bool {
    take(limiter, ask).await.outcome() == Outcome::Passed
}

/// Returns the number of requests that pass at once.
pub(crate) async fn burst(limiter: &Limiter, ask: &Ask<'_>) -> u32 {
    let mut count = 0;
    while passes(limiter, ask).await {
        count += 1;
    }
    count
}

pub(crate) async fn states(limiter: &Limiter, ask: &Ask<'_>) -> Vec<LimitState> {
    limiter.peek(ask.subject(), ask.limits()).await.states(ask.limits()).collect()
}

pub(crate) async fn remaining(limiter: &Limiter, ask: &Ask<'_>) -> Vec<u32> {
    states(limiter, ask).await.iter().map(|state| state.remaining).collect()
}

/// Returns the wait of a request that exceeds a limit.
pub(crate) async fn wait(limiter: &Limiter, ask: &Ask<'_>) -> Duration {
    match take(limiter, ask).await.outcome() {
        Outcome::Limited { wait, .. } => wait,
        other => panic!("{other:?}"),
    }
}

/// Returns the number of scripts that the server ran.
pub(crate) fn calls(server: &RedisServer) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let of = |command: &str| {
        let line =
            stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    of("eval") + of("evalsha")
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let start = std::time::Instant::now();
    async move {
        while !condition().await {
            assert!(start.elapsed() < Duration::from_secs(60), "not in a minute: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
