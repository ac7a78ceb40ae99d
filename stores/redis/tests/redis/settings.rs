//! Mistakes in a URL and in the settings of a server. Each message names the next step.

use tower_api_key::{
    limit::{Ask, Limit, Limiter, Limits, Outcome, Subject},
    store::{StoreError, StoreErrorKind},
};
use tower_api_key_redis::{OnFailure, Redis};
use tower_api_key_test_servers::RedisServer;

use crate::{
    log::Log,
    support::{PATIENT, burst, ci, eventually, limiter, passes, patient, take},
};

static HOUR: Limits = Limits::new(&[Limit::per_hour("hour", 5)]);

const SECRET: &str = "hunter2secret";

fn open_error(url: &str) -> StoreError {
    Redis::open(url).unwrap_err()
}

#[test]
fn a_wrong_url_is_an_error_that_shows_no_part_of_it() {
    for (url, step) in [
        ("", "redis://user:password@host"),
        ("hunter2secret", "redis://user:password@host"),
        ("http://hunter2secret@127.0.0.1", "redis://user:password@host"),
        ("redis://:hunter2secret@", "redis://user:password@host"),
        ("redis://127.0.0.1:hunter2secret", "redis://user:password@host"),
        ("redis://127.0.0.1/hunter2secret", "redis://user:password@host"),
        ("redis://127.0.0.1/0?protocol=hunter2secret", "redis://user:password@host"),
        ("redis://user:12/hunter2secret@127.0.0.1", "Percent-encode"),
        ("redis://user:12#hunter2secret@127.0.0.1", "Percent-encode"),
        ("redis://user:12?hunter2secret@127.0.0.1", "Percent-encode"),
    ] {
        let error = open_error(url);
        let text = format!("{error} {error:?}");
        assert!(text.contains(step) && !text.contains(SECRET), "{url}: {text}");
    }
    #[cfg(not(any(feature = "rustls", feature = "native-tls")))]
    assert!(open_error("rediss://127.0.0.1").to_string().contains("feature `rustls`"));
    #[cfg(any(feature = "rustls", feature = "native-tls"))]
    assert!(Redis::open("rediss://127.0.0.1").is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let server = RedisServer::start_with(&["--requirepass", SECRET]);
    let url = |login: &str| server.url().replace("redis://", &format!("redis://{login}@"));
    assert!(passes(&limiter(&url(":hunter2secret")), &ci(&HOUR)).await);
    let log = Log::default();
    let capture = log.capture();
    for login in ["", ":hunter2secret-not", "admin:hunter2secret-not"] {
        let redis = patient(&url(login).replace("//@", "//"));
        let error = redis.connect().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("password is wrong"), "{error}");
        assert!(!format!("{error} {error:?} {redis:?}").contains(SECRET));
        let limiter = Limiter::new(redis);
        assert_eq!(burst(&limiter, &ci(&HOUR)).await, 5, "in this process");
    }
    drop(capture);
    let text = log.text();
    assert!(text.contains("the user or the password is wrong") && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn a_server_that_cannot_count_is_named() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_with(&[
        "--replicaof",
        "127.0.0.1",
        &primary.address().port().to_string(),
    ]);
    replica_is_ready(&replica).await;
    let full = RedisServer::start_with(&["--maxmemory", "1"]);
    let denied = RedisServer::start();
    denied.command(&["ACL", "SETUSER", "default", "-eval", "-evalsha"]);
    let cluster = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    for (server, kind, step) in [
        (&replica, StoreErrorKind::Denied, "Use the address of the primary"),
        (&full, StoreErrorKind::Unavailable, "Raise its `maxmemory`"),
        (&denied, StoreErrorKind::Denied, "Grant `+eval +evalsha"),
        (&cluster, StoreErrorKind::Denied, "node of a cluster"),
    ] {
        let redis = patient(&server.url());
        let error = redis.connect().await.unwrap_err();
        assert!(error.to_string().contains(step), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        let limiter = Limiter::new(redis);
        assert_eq!(burst(&limiter, &ci(&HOUR)).await, 5, "in this process");
    }
    // A server of another kind.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::Write as _;
        _ = listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = patient(&format!("redis://{address}")).connect().await.unwrap_err();
    assert!(error.to_string().contains("Check the address"), "{error}");
}

async fn replica_is_ready(replica: &RedisServer) {
    eventually("the replica follows", async || {
        replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
}

#[tokio::test]
async fn least_rights_are_enough() {
    let server = RedisServer::start();
    server.command(&[
        "ACL",
        "SETUSER",
        "service",
        "on",
        ">hunter2secret",
        "resetkeys",
        "~api_key:*",
        "resetchannels",
        "-@all",
        "+eval",
        "+evalsha",
        "+time",
        "+mget",
        "+set",
        "+del",
    ]);
    let url = server.url().replace("//", "//service:hunter2secret@");
    let redis = patient(&url).on_failure(OnFailure::Reject);
    redis.connect().await.unwrap();
    let redis = Limiter::new(redis);
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 5);
    redis.refund(&ci(&HOUR));
    tokio::task::yield_now().await;
    assert!(passes(&redis, &ci(&HOUR)).await);
}

#[tokio::test]
async fn a_promoted_replica_continues_the_counts() {
    let primary = RedisServer::start();
    let port = primary.address().port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    replica_is_ready(&replica).await;
    let redis = patient(&primary.url()).on_failure(OnFailure::Reject);
    assert!(passes(&Limiter::new(redis), &ci(&HOUR).with_cost(3)).await);
    eventually("the replica has the counter", async || replica.command(&["DBSIZE"]) == "1").await;
    drop(primary);
    let redis = Limiter::new(patient(&replica.url()).on_failure(OnFailure::Reject));
    assert_eq!(take(&redis, &ci(&HOUR)).await.outcome(), Outcome::Failed);
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    eventually("the promoted replica counts", async || {
        take(&redis, &ci(&HOUR)).await.outcome() == Outcome::Passed
    })
    .await;
    assert_eq!(burst(&redis, &ci(&HOUR)).await, 1);
}

#[tokio::test]
async fn the_log_has_one_line_for_each_change() {
    let mut server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let log = Log::default();
    let capture = log.capture();
    let redis = Redis::open(&server.url()).unwrap().with_deadline(PATIENT);
    let redis = Limiter::new(redis);
    assert!(passes(&redis, &ci(&HOUR)).await);
    server.kill();
    for number in 0..100 {
        let id = number.to_string();
        assert!(passes(&redis, &Ask::new(Subject::Client(&id), &HOUR)).await);
    }
    server.start_again();
    eventually("Redis counts again", async || {
        _ = take(&redis, &ci(&HOUR).with_cost(0).with_state()).await;
        log.text().contains("counts limits again")
    })
    .await;
    drop(capture);
    let text = log.text();
    for (line, count) in [
        ("Redis counts limits\n", 0),
        ("Redis counts limits server=", 1),
        ("allkeys-lru", 1),
        ("each process counts alone until it does", 1),
        ("Redis counts limits again", 1),
    ] {
        assert_eq!(text.matches(line).count(), count, "{line}: {text}");
    }
}

#[cfg(feature = "metrics")]
#[test]
fn a_gauge_and_a_counter_follow_the_server() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = RedisServer::start();
    let redis = limiter(&server.url());
    let has = |line: &str| figures.render().lines().any(|it| it == line);
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            assert!(passes(&redis, &ci(&HOUR)).await);
            assert!(has("api_key_limit_store_up{store=\"redis\"} 1"), "{}", figures.render());
            server.kill();
            for _ in 0..3 {
                _ = take(&redis, &ci(&HOUR).with_cost(0).with_state()).await;
            }
            assert!(has("api_key_limit_store_up{store=\"redis\"} 0"), "{}", figures.render());
            server.start_again();
            eventually("the gauge rises", async || {
                _ = take(&redis, &ci(&HOUR).with_cost(0).with_state()).await;
                has("api_key_limit_store_up{store=\"redis\"} 1")
            })
            .await;
        });
    });
    let failures = "api_key_limit_store_failures_total{store=\"redis\"} 1";
    assert!(has(failures), "{}", figures.render());
}

#[tokio::test]
async fn an_id_with_braces_quotes_and_other_characters_has_counters_of_its_own() {
    let server = RedisServer::start();
    let redis = limiter(&server.url());
    let ids =
        ["a}", "{a}", "a%7D", "{}", "", "\"a'", "ü\u{1F600}", "a b\n", "*", "a:b", "a}:rate:hour"];
    for id in ids {
        let ask = Ask::new(Subject::Client(id), &HOUR);
        assert_eq!(burst(&redis, &ask).await, 5, "{id}");
    }
    let other = Limiter::new(patient(&server.url()).with_prefix("other{1}"));
    assert_eq!(burst(&other, &ci(&HOUR)).await, 5);
    assert_eq!(server.command(&["DBSIZE"]), (ids.len() + 1).to_string());
    // An id cannot end like the name of a limit begins.
    static LONG: Limits = Limits::new(&[Limit::per_hour("b}:rate:c", 5)]);
    static SHORT: Limits = Limits::new(&[Limit::per_hour("c", 5)]);
    assert_eq!(burst(&redis, &Ask::new(Subject::Client("a"), &LONG)).await, 5);
    assert_eq!(burst(&redis, &Ask::new(Subject::Client("a}:rate:b"), &SHORT)).await, 5);
}

#[tokio::test]
async fn all_counters_of_a_client_are_in_one_slot_of_a_cluster() {
    static LIMITS: Limits = Limits::new(&[
        Limit::per_minute("a{x}", 9),
        Limit::per_day("b", 9),
        Limit::per_month("c", 9),
    ]);
    let (server, cluster) =
        (RedisServer::start(), RedisServer::start_with(&["--cluster-enabled", "yes"]));
    let redis = limiter(&server.url());
    for id in ["ci", "}{", "{a}{b}", "ü", ""] {
        server.command(&["FLUSHALL"]);
        assert!(passes(&redis, &Ask::new(Subject::Client(id), &LIMITS)).await);
        let keys = server.command(&["KEYS", "*"]);
        let slots: Vec<_> =
            keys.lines().map(|key| cluster.command(&["CLUSTER", "KEYSLOT", key])).collect();
        assert_eq!(slots.len(), 3);
        assert!(slots.iter().all(|slot| *slot == slots[0]), "{keys} {slots:?}");
    }
}
