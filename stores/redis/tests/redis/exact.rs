//! Limits are exact, even if many processes and tasks take at once.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use tokio::task::JoinSet;
use tower_api_key::limit::{Limit, Limiter, Limits};
use tower_api_key_test_servers::RedisServer;

use crate::support::{burst, ci, limiter, passes, patient, remaining};

static HOUR: Limits = Limits::new(&[Limit::per_hour("hour", 30)]);

/// A child runs this test alone. It takes until it is limited, and prints the number.
const URL: &str = "TOWER_API_KEY_REDIS_URL";

#[tokio::test]
async fn child() {
    if let Ok(url) = env::var(URL) {
        let redis = patient(&url);
        if let Err(error) = redis.connect().await {
            eprintln!("{error}");
        }
        println!("> {}", burst(&Limiter::new(redis), &ci(&HOUR)).await);
    }
}

/// Returns the numbers of requests that passed in two processes.
fn passed_in_two_processes(url: &str, variables: &[(&str, &Path)]) -> [u32; 2] {
    let start = || {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["exact::child", "--exact", "--nocapture"]).env(URL, url);
        child.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap()
    };
    [start(), start()].map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let number = text.split("> ").nth(1).unwrap().lines().next().unwrap();
        number.parse().unwrap()
    })
}

#[test]
fn two_processes_share_a_limit() {
    let server = RedisServer::start();
    let passed = passed_in_two_processes(&server.url(), &[]);
    assert_eq!(passed[0] + passed[1], 30, "{passed:?}");
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn two_processes_share_a_limit_over_tls_if_they_trust_the_certificate() {
    let server = RedisServer::start_with_tls();
    let passed = passed_in_two_processes(&server.url(), &[]);
    assert_eq!(passed, [30, 30], "each counts alone, because it does not trust the server");
    let trusted = ("SSL_CERT_FILE", &*server.certificate());
    let passed = passed_in_two_processes(&server.url(), &[trusted]);
    assert_eq!(passed[0] + passed[1], 30, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_64_requests_gets_the_last_place() {
    static LIMITS: Limits =
        Limits::new(&[Limit::per_month("month", 3), Limit::per_hour("hour", 1_000)]);
    let server = RedisServer::start();
    let limiters = [limiter(&server.url()), limiter(&server.url())];
    for _ in 0..2 {
        assert!(passes(&limiters[0], &ci(&LIMITS)).await);
    }
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let limiter = limiters[number % 2].clone();
        tasks.spawn(async move { passes(&limiter, &ci(&LIMITS)).await });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|passed| *passed).count(), 1);
    assert_eq!(remaining(&limiters[0], &ci(&LIMITS)).await, [0, 997]);
}
