//! Usage in the database.

use std::{
    process::Stdio,
    thread,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, http::Request, routing::get};
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use tower_api_key::{
    ApiKeyLayer,
    extract::header,
    usage::{Counts, Subject, Usage, UsageBatch, UsageRow, UsageSink as _},
};

use tower_api_key_postgres::Postgres;
use tower_api_key_test_servers as servers;

use crate::support::{Database, add_template, issue};

const HOUR: Duration = Duration::from_secs(3600);

/// The beginning of an hour some hours ago.
fn hours_ago(hours: u32) -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now / 3600 * 3600) - HOUR * hours
}

fn row(subject: Subject, hour: SystemTime, accepted: u64, minute: Option<u64>) -> UsageRow {
    let mut counts = Counts::default();
    (counts.accepted, counts.rejected, counts.limited, counts.forbidden) = (accepted, 2, 3, 4);
    let last_used = minute.map(|minute| hour + Duration::from_secs(minute * 60));
    UsageRow::new(subject, hour, counts, last_used)
}

fn key(id: &str) -> Subject {
    Subject::key(id, Some("ci"))
}

#[tokio::test]
async fn each_kind_of_row_is_added_once_for_each_batch_and_read_again() {
    let database = Database::migrated();
    let usage = database.open().usage();
    let (hour, next) = (hours_ago(2), hours_ago(1));
    let rows = vec![
        row(key("0000000a"), hour, 7, Some(5)),
        row(Subject::key("0000000b", None), hour, 0, None),
        row(Subject::client_alone("without ids"), hour, 5, Some(59)),
        row(Subject::Unknown, hour, 0, None),
        row(Subject::Overflow, hour, u64::from(u32::MAX) * 9, Some(0)),
        row(key("0000000a"), next, 1, None),
    ];
    for (instance, sequence) in [("one", 1), ("one", 1), ("one", 2), ("two", 1), ("one", 1)] {
        usage.write(&UsageBatch::new(instance, sequence, rows.clone())).await.unwrap();
    }
    let history = usage.read(None).await.unwrap();
    let mut tripled: Vec<_> = rows
        .iter()
        .map(|row| {
            let sum = row.counts() + row.counts() + row.counts();
            UsageRow::new(row.subject().clone(), row.hour(), sum, row.last_used())
        })
        .collect();
    let mut found = history.rows().to_vec();
    for rows in [&mut found, &mut tripled] {
        rows.sort_by_key(|row| (row.hour(), row.subject().clone()));
    }
    assert_eq!(found, tripled);
    assert!(history.since().unwrap().elapsed().unwrap() < Duration::from_secs(60));
    let since = usage.read(next).await.unwrap();
    assert_eq!((since.rows().len(), since.last_uses().len()), (1, 3));
}

#[tokio::test]
async fn the_last_use_goes_forward_only_and_outlives_its_hour() {
    let database = Database::migrated();
    let usage = database.open().usage().with_retention(10 * HOUR);
    let (old, new) = (hours_ago(20), hours_ago(3));
    for (sequence, (hour, minute)) in
        (1..).zip([(new, Some(9)), (new, Some(5)), (new, None), (old, Some(30)), (old, Some(20))])
    {
        let rows = vec![row(key("0000000a"), hour, 1, minute)];
        usage.write(&UsageBatch::new("one", sequence, rows)).await.unwrap();
    }
    // Another process, which has removed no hour yet.
    let usage = database.open().usage().with_retention(10 * HOUR);
    let only_old = vec![row(key("0000000b"), old, 1, Some(7))];
    usage.write(&UsageBatch::new("two", 1, only_old)).await.unwrap();
    let history = usage.read(None).await.unwrap();
    let uses: Vec<_> =
        history.last_uses().iter().map(|it| (it.key_id().unwrap(), it.at())).collect();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    assert_eq!(uses, [("0000000a", new + minutes(9)), ("0000000b", old + minutes(7))]);
    let hours: Vec<_> = history.rows().iter().map(UsageRow::hour).collect();
    assert_eq!(hours, [new], "hours that ended more than ten hours ago are removed");
    assert_eq!(history.rows_since(), Some(old + HOUR));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_server_are_counted_in_the_database() {
    let database = Database::migrated();
    let (store, keys) = (database.open(), database.mirror().await);
    let (key_id, key) = issue(&keys, "ci").await;
    let usage = Usage::new();
    let (writer, task) = usage.flush_to(store.usage()).in_task(tokio::time::sleep).unwrap();
    tokio::spawn(task);
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).observe(usage);
    let app = Router::new().route("/", get(async || "accepted")).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let client = HyperClient::builder(TokioExecutor::new()).build_http();
    for key in [&*key, &key, "wrong"] {
        let request = Request::get(&uri).header("x-api-key", key).body(Body::empty()).unwrap();
        client.request(request).await.unwrap();
    }
    writer.flush().await.unwrap();
    let history = store.usage().read(None).await.unwrap();
    let of = |id: Option<&str>| {
        let rows = history.rows().iter().filter(|row| row.key_id() == id);
        rows.map(UsageRow::counts).sum::<Counts>()
    };
    assert_eq!((of(Some(&key_id)).accepted, of(None).rejected), (2, 1));
    assert!(writer.last_error().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_of_several_processes_at_once_are_exact_and_wake_no_follower() {
    let database = Database::migrated();
    let hour = hours_ago(0);
    let rows: Vec<_> =
        (0..3_000).map(|id| row(key(&format!("{id:08}")), hour, 1, Some(1))).collect();
    let listener = database.clone();
    let listening = thread::spawn(move || {
        let mut psql = crate::support::SERVER.command("psql");
        psql.args([
            "-XAtq",
            "-d",
            &listener.url(),
            "-c",
            "LISTEN api_keys",
            "-c",
            "SELECT pg_sleep(3)",
        ]);
        psql.output().unwrap()
    });
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (usage, mut rows) = (database.open().usage(), rows.clone());
            if writer % 2 == 1 {
                rows.reverse();
            }
            tokio::spawn(async move {
                for sequence in [1, 2, 2, 3] {
                    let batch = UsageBatch::new(format!("{writer}"), sequence, rows.clone());
                    usage.write(&batch).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let sums = "SELECT count(*), min(accepted), max(accepted) FROM api_key_usage";
    assert_eq!(database.sql(sums), "3000|12|12");
    let output = tokio::task::spawn_blocking(|| listening.join().unwrap()).await.unwrap();
    assert!(output.stdout.trim_ascii().is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_takes_no_lock_of_notifications_on_any_channel() {
    // The lock is that of all databases.
    let server = servers::Postgres::start();
    add_template(&server);
    server.sql("postgres", "ALTER DATABASE tables SET synchronous_commit = local");
    server.sql("tables", "ALTER SYSTEM SET synchronous_standby_names = 'missing'");
    server.sql("tables", "SELECT pg_reload_conf()");
    // A commit that waits for a standby holds the lock.
    let mut psql = server.command("psql");
    psql.args(["-Xq", "-d", &server.url("postgres")]);
    psql.args(["-c", "BEGIN; CREATE TABLE other (); NOTIFY other; COMMIT"]);
    let mut notifying = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE classid = 'pg_database'::regclass AND objid = 0 \
        AND mode = 'AccessExclusiveLock' AND granted";
    servers::wait_for("the lock", || server.sql("tables", held) == "1");
    let notify = "SET lock_timeout = '50ms'; NOTIFY api_keys";
    assert!(server.try_sql("tables", notify).unwrap_err().contains("lock timeout"));

    let usage = Postgres::open(&server.url("tables")).unwrap().usage();
    let rows = vec![row(key("0000000a"), hours_ago(1), 1, Some(1))];
    usage.write(&UsageBatch::new("one", 1, rows)).await.unwrap();
    assert_eq!(usage.read(None).await.unwrap().rows().len(), 1);
    assert_eq!(server.sql("tables", held), "1");
    notifying.kill().unwrap();
    notifying.wait().unwrap();
}

#[test]
fn a_writer_without_a_runtime_says_so() {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    let usage = Postgres::open("postgres://127.0.0.1/keys").unwrap().usage();
    let batch = UsageBatch::new("one", 1, Vec::new());
    let mut writing = pin!(usage.write(&batch));
    let Poll::Ready(Err(error)) = writing.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("it waits");
    };
    assert!(error.to_string().contains("`in_task`"), "{error}");
}
