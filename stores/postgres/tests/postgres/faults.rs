//! Faults of the network and of the server. Two services go on, and no revocation is lost.

use std::time::Duration;

use tower_api_key::store::{KeyStore as _, Page, StoreErrorKind as Kind};
use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers::{self as servers, Mode, Proxy};

use crate::{
    service::Service,
    support::{Database, SERVER, add_template},
};

/// The bound is seven seconds. The machine may be busy.
const NOTICED: Duration = Duration::from_secs(12);

fn url_of(proxy: &Proxy, database: &Database) -> String {
    format!("postgres://postgres@{}/{}", proxy.address(), database.name)
}

/// A service whose connections go through a proxy, beside one without.
async fn behind_a_proxy() -> (Proxy, Service) {
    let database = Database::migrated();
    let proxy = Proxy::start(SERVER.address());
    let url = url_of(&proxy, &database);
    let service = Service::start([&url, &url], &database.url()).await;
    (proxy, service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_network_is_noticed_and_no_revocation_is_lost() {
    let (proxy, service) = behind_a_proxy().await;
    let key = service.issue("bad").await;
    let before = service.faults();
    proxy.set(Mode::Stall);
    service.begin_to_revoke(&key).await;
    let noticed = service.notice(before).await;
    println!("noticed after {noticed:?}");
    assert!(noticed < NOTICED, "{noticed:?}");
    proxy.set(Mode::Pass);
    service.checks.reject(&key).await;
    service.follow().await;
    service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_noticed_and_no_revocation_is_lost() {
    let (proxy, service) = behind_a_proxy().await;
    let key = service.issue("bad").await;
    let before = service.faults();
    proxy.half_open();
    service.begin_to_revoke(&key).await;
    let noticed = service.notice(before).await;
    println!("noticed after {noticed:?}");
    assert!(noticed < NOTICED, "{noticed:?}");
    service.checks.reject(&key).await;
    service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_refused_and_slow_connections_lose_no_revocation() {
    let (proxy, service) = behind_a_proxy().await;
    for _ in 0..3 {
        let key = service.issue("bad").await;
        let before = service.faults();
        proxy.set(Mode::Refuse);
        proxy.cut();
        service.begin_to_revoke(&key).await;
        service.notice(before).await;
        service.checks.go_on(3).await;
        proxy.set(Mode::Slow(Duration::from_millis(30)));
        service.checks.reject(&key).await;
        proxy.set(Mode::Pass);
        service.follow().await;
    }
    service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_killed_and_restarts_loses_no_revocation() {
    let mut server = servers::Postgres::start();
    add_template(&server);
    let url = server.url(&server.create_database("tables"));
    let service = Service::start([&url, &url], &url).await;

    let key = service.issue("bad").await;
    service.begin_to_revoke(&key).await;
    let before = service.faults();
    server.program().pause();
    let noticed = service.notice(before).await;
    println!("noticed after {noticed:?}");
    assert!(noticed < NOTICED, "{noticed:?}");
    server.program().resume();
    service.checks.reject(&key).await;
    service.follow().await;

    let key = service.issue("bad").await;
    service.begin_to_revoke(&key).await;
    let before = service.faults();
    server.kill();
    service.notice(before).await;
    service.checks.go_on(3).await;
    server.start_again();
    service.checks.reject(&key).await;
    service.follow().await;

    let key = service.issue("bad").await;
    let before = service.faults();
    server.stop("INT");
    service.notice(before).await;
    server.start_again();
    service.begin_to_revoke(&key).await;
    service.checks.reject(&key).await;
    service.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_ends_by_its_deadline_and_later_ones_work() {
    let database = Database::migrated();
    let proxy = Proxy::start(SERVER.address());
    let store = Postgres::options()
        .deadline(Duration::from_millis(700))
        .max_connections(2)
        .open(&url_of(&proxy, &database))
        .unwrap();
    let list = async || {
        let start = std::time::Instant::now();
        let result = store.list(&Page::new()).await;
        (result, start.elapsed())
    };
    assert!(list().await.0.is_ok());
    proxy.set(Mode::Stall);
    let all = [list(), list(), list(), list()];
    let [a, b, c, d] = all;
    for (result, took) in <[_; 4]>::from(tokio::join!(a, b, c, d)) {
        assert_eq!(result.unwrap_err().kind(), Kind::Unavailable);
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
    proxy.set(Mode::Pass);
    assert!(list().await.0.is_ok(), "a stalled connection was used again");

    // Another transaction holds a key.
    let holding = database.clone();
    let holding =
        std::thread::spawn(move || holding.sql("BEGIN; LOCK TABLE api_keys; SELECT pg_sleep(3)"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let change = tower_api_key::store::Change::revoke_client("ci");
    let error = store.change(change.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("another transaction holds"), "{error}");
    tokio::task::spawn_blocking(|| holding.join().unwrap()).await.unwrap();
    assert!(store.change(change).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_of_a_commit_is_an_unknown_outcome_and_rejects_the_key() {
    let database = Database::migrated();
    // The commit waits for a trigger at its end, and then the connection is cut.
    database.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON api_keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION wait()",
    );
    let proxy = Proxy::start(SERVER.address());
    let options = tower_api_key::store::Mirrored::options();
    let keys = options.open(Postgres::open(&url_of(&proxy, &database)).unwrap()).await.unwrap();
    crate::support::issue(&keys, "ci").await;
    let revoking = keys.clone();
    let revoking = tokio::spawn(async move { revoking.revoke_client("ci").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    let error = revoking.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
    assert_eq!(keys.status().keys(), 0);
}
