//! Tests that take minutes. `.ci/nightly` runs them.

use std::time::{Duration, Instant};

use tower_api_key_test_servers::{self as servers, Mode, Proxy};

use crate::{feed, service::Service, support::add_template};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn ten_programs_change_keys_in_open_transactions_for_minutes() {
    feed::oracle(10, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn faults_follow_one_another_for_five_minutes() {
    let mut server = servers::Postgres::start();
    add_template(&server);
    let name = server.create_database("tables");
    let proxy = Proxy::start(server.address());
    let (direct, broken) =
        (server.url(&name), format!("postgres://postgres@{}/{name}", proxy.address()));
    let service = Service::start([&broken, &direct], &direct).await;
    let start = Instant::now();
    for round in 0.. {
        if start.elapsed() > Duration::from_secs(300) {
            break;
        }
        let key = service.issue("bad").await;
        match round % 5 {
            0 => proxy.cut(),
            1 => proxy.half_open(),
            2 => proxy.set(Mode::Stall),
            3 => proxy.set(Mode::Slow(Duration::from_millis(100))),
            _ => {
                server.kill();
                server.start_again();
            }
        }
        service.begin_to_revoke(&key).await;
        tokio::time::sleep(Duration::from_secs(round % 8)).await;
        proxy.set(Mode::Pass);
        service.checks.reject(&key).await;
        service.follow().await;
    }
    service.end().await;
}
