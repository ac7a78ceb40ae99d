//! Usage in the database.

use std::time::{Duration, SystemTime};

use axum::{Router, body::Body, http::Request, routing::get};
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use tower_api_key::{
    ApiKeyLayer,
    extract::header,
    store::StoreErrorKind as Kind,
    usage::{Counts, Subject, Usage, UsageBatch, UsageRow, UsageSink as _},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::Child,
    support::{Folder, at, issue},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The beginning of an hour some hours ago.
fn hours_ago(hours: u32) -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    at(now / 3600 * 3600, 0) - HOUR * hours
}

fn counts(accepted: u64) -> Counts {
    let mut counts = Counts::default();
    (counts.accepted, counts.rejected, counts.limited, counts.forbidden) = (accepted, 2, 3, 4);
    counts
}

fn row(subject: Subject, hour: SystemTime, accepted: u64, minute: Option<u64>) -> UsageRow {
    let last_used = minute.map(|minute| hour + Duration::from_secs(minute * 60));
    UsageRow::new(subject, hour, counts(accepted), last_used)
}

fn key(id: &str) -> Subject {
    Subject::key(id, Some("ci"))
}

#[tokio::test]
async fn each_kind_of_row_is_added_once_for_each_batch_and_read_again() {
    let folder = Folder::migrated();
    let usage = folder.open().usage();
    let (hour, next) = (hours_ago(2), hours_ago(1));
    let rows = vec![
        row(key("0000000a"), hour, 7, Some(5)),
        row(key("0000000a"), next, 1, None),
        row(Subject::key("0000000b", None), hour, 0, None),
        row(Subject::client_alone("without ids"), hour, 5, Some(59)),
        row(Subject::Unknown, hour, 0, None),
        row(Subject::Overflow, hour, u64::from(u32::MAX) * 9, Some(0)),
    ];
    for (instance, sequence) in [("one", 1), ("one", 1), ("one", 2), ("two", 1), ("one", 1)] {
        usage.write(&UsageBatch::new(instance, sequence, rows.clone())).await.unwrap();
    }
    let history = usage.read(None).await.unwrap();
    let tripled: Vec<_> = rows
        .iter()
        .map(|row| {
            let sum = row.counts() + row.counts() + row.counts();
            UsageRow::new(row.subject().clone(), row.hour(), sum, row.last_used())
        })
        .collect();
    let mut found = history.rows().to_vec();
    found.sort_by_key(|row| {
        tripled
            .iter()
            .position(|other| other.subject() == row.subject() && other.hour() == row.hour())
    });
    assert_eq!(found, tripled);
    assert!(history.since().unwrap().elapsed().unwrap() < Duration::from_secs(60));
    let since = usage.read(next).await.unwrap();
    assert_eq!(since.rows().len(), 1);
    assert_eq!(since.last_uses().len(), 3, "{:?}", since.last_uses());
}

#[tokio::test]
async fn the_last_use_goes_forward_only_and_outlives_its_hour() {
    let folder = Folder::migrated();
    let usage = folder.open().usage().with_retention(10 * HOUR);
    let (old, new) = (hours_ago(20), hours_ago(3));
    for (sequence, (hour, minute)) in
        (1..).zip([(new, Some(9)), (new, Some(5)), (new, None), (old, Some(30)), (old, Some(20))])
    {
        let rows = vec![row(key("0000000a"), hour, 1, minute)];
        usage.write(&UsageBatch::new("one", sequence, rows)).await.unwrap();
    }
    let only_old = vec![row(key("0000000b"), old, 1, Some(7))];
    // Another process, which has removed no hour yet.
    let usage = folder.open().usage().with_retention(10 * HOUR);
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
    let folder = Folder::migrated();
    let (store, keys) = (folder.open(), folder.mirror().await);
    let (key_id, key) = issue(&keys, "ci").await;
    let usage = Usage::new();
    let writer = usage.flush_to(store.usage()).in_thread().unwrap();
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
    let history = Sqlite::open(folder.file()).unwrap().usage().read(None).await.unwrap();
    let of = |id: Option<&str>| {
        let rows = history.rows().iter().filter(|row| row.key_id() == id);
        rows.map(UsageRow::counts).sum::<Counts>()
    };
    assert_eq!((of(Some(&key_id)).accepted, of(None).rejected), (2, 1));
    assert_eq!(history.rows().iter().find_map(UsageRow::client), Some("ci"));
    assert!(writer.last_error().is_none());
}

#[tokio::test]
async fn batches_of_a_killed_process_and_of_others_are_added_whole_or_not_at_all() {
    let folder = Folder::migrated();
    let mut total = 0;
    for round in 0_u64..6 {
        let mut child = Child::start("count", &folder.file());
        let mut acknowledged: u64 = child.line().unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill();
        while let Some(line) = child.line() {
            acknowledged = line.parse().unwrap();
        }
        let history = folder.open().usage().read(None).await.unwrap();
        let rows = history.rows();
        assert_eq!(rows.len(), 50);
        let counts: Vec<_> = rows.iter().map(|row| row.counts().accepted).collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "half of a batch: {counts:?}");
        let added = counts[0] - total;
        // The last one may have been committed without a report.
        assert!((acknowledged..=acknowledged + 1).contains(&added), "{added} of {acknowledged}");
        total = counts[0];
    }
}

#[tokio::test]
async fn tables_without_usage_say_how_to_upgrade_them() {
    let folder = Folder::new();
    let version_1 = include_str!("../../src/schema/1_keys.sql");
    let version = "CREATE TABLE api_key_schema (one INTEGER PRIMARY KEY, version INTEGER, compatible INTEGER);
        INSERT INTO api_key_schema VALUES (1, 1, 1);";
    folder.connect().execute_batch(&format!("{version_1}{version}")).unwrap();
    // Keys work without an upgrade.
    let (store, keys) = (folder.open(), folder.mirror().await);
    issue(&keys, "ci").await;
    let batch = UsageBatch::new("one", 1, vec![row(key("0000000a"), hours_ago(1), 1, None)]);
    let error = store.usage().write(&batch).await.unwrap_err().to_string();
    assert!(error.contains("`Sqlite::migrate`"), "{error}");
    assert_eq!(store.usage().read(None).await.unwrap_err().kind(), Kind::UnsupportedVersion);

    let migrated = Sqlite::migrate(folder.file()).unwrap();
    assert_eq!((migrated.from(), migrated.to()), (Some(1), 2));
    // The process that runs already uses the new tables.
    store.usage().write(&batch).await.unwrap();
    assert_eq!(store.usage().read(None).await.unwrap().rows().len(), 1);
    assert_eq!(keys.revoke_client("ci").await.unwrap(), 1);
}
