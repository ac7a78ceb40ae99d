//! Usage rows in a database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tower_api_key::usage::{Counts, Subject, UsageBatch, UsageRow};

use crate::{
    database,
    support::{
        Folder,
        fixtures::create_every_state,
        stores::TestStore,
        usage::{DAY, format, line, today, write_usage},
    },
};

fn day(days_ago: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(today() - days_ago * DAY)
}

/// Writes the requests of a day as a service does.
fn count(store: &TestStore, subject: Subject, days_ago: u64, accepted: u64) {
    let mut counts = Counts::default();
    (counts.accepted, counts.rejected) = (accepted, 1);
    let last_used = (accepted > 0).then(|| day(days_ago) + Duration::from_secs(60));
    let row = UsageRow::new(subject, day(days_ago), counts, last_used);
    let instance = format!("{days_ago}-{accepted}-{:?}", row.subject());
    database::write_usage(store, &UsageBatch::new(instance, 1, vec![row]));
}

fn create() -> TestStore {
    let store = TestStore::database(create_every_state());
    store.copy_file().exits(0);
    count(&store, Subject::key("aaaaaaaa", Some("ci")), 1, 7);
    count(&store, Subject::key("aaaaaaaa", Some("ci")), 8, 9);
    count(&store, Subject::key("gggggggg", None), 0, 2);
    database::set_uses_since(&store, today() - 100 * DAY);
    store
}

#[test]
fn usage_reads_the_rows_of_the_database() {
    let store = create();
    // A usage file belongs to key files.
    write_usage(&store.folder, "usage.jsonl", 9, &[line("bbbbbbbb", "x", 1, "\"accepted\":1")]);
    let used = |days_ago: u64| format(today() - days_ago * DAY + 60);
    let outcome = store.apikey("usage").env("API_USAGE_FILE", "usage.jsonl").exits(0);
    assert_eq!(
        outcome.out,
        format!(
            "CLIENT\tKEY\tACCEPTED\tREJECTED\tLIMITED\tFORBIDDEN\tLAST USED\tDAYS\n\
             ci\taaaaaaaa\t7\t1\t0\t0\t{}\t0 0 0 0 0 8 0\n\
             zeta\tgggggggg\t2\t1\t0\t0\t{}\t0 0 0 0 0 0 3\n",
            used(1),
            used(0)
        )
    );
    assert_eq!(outcome.err, "");
    let shown = store.apikey("usage --last 9d --client ci --json").exits(0).json();
    assert_eq!(shown["keys"][0]["accepted"], 16);
    assert_eq!(shown["complete_since"], json!(format(today() - 100 * DAY)));
    // The option names files all the same.
    let outcome = store.apikey("usage --from usage.jsonl").exits(0);
    assert!(
        outcome.out.contains("\tbbbbbbbb\t") && !outcome.out.contains("aaaaaaaa"),
        "{outcome:?}"
    );
}

#[test]
fn list_has_the_last_use_of_the_database() {
    let store = create();
    let outcome = store.apikey("list").exits(0);
    let used = |id: &str| {
        let row = outcome.out.lines().find(|line| line.starts_with(id)).unwrap();
        row.split('\t').nth(5).unwrap().to_owned()
    };
    assert_eq!((used("aaaaaaaa"), used("dddddddd")), (format(today() - DAY + 60), "-".to_owned()));
    assert_eq!(used("gggggggg"), format(today() + 60));
    let listed = store.apikey("list --client zeta --json").exits(0).json();
    assert_eq!(listed[0]["last_used"], json!(format(today() + 60)));
}

#[test]
fn unused_lists_the_keys_that_no_request_of_the_database_used() {
    let store = create();
    let ids = |words: &str| {
        let listed = store.apikey(words).exits(0);
        listed.out.lines().skip(1).map(|line| line[..8].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("list --unused 90d"), ["dddddddd"]);
    let since_noon_of_yesterday =
        (UNIX_EPOCH.elapsed().unwrap().as_secs() - today()) / 60 + 12 * 60;
    let unused = ids(&format!("list --unused {since_noon_of_yesterday}m"));
    assert_eq!(unused, ["aaaaaaaa", "dddddddd"]);
    assert_eq!(ids("list --unused 90d --client zeta"), [""; 0]);
    assert_eq!(ids("list --unused 90d --expiring 30d"), [""; 0]);
    let outcome = store.apikey("list --unused 101d").exits(1);
    let since = format(today() - 100 * DAY);
    outcome.assert_error(&format!("error: the usage data begins only at {since}, so a key may"));
    // A service that does not know the ids of keys.
    count(&store, Subject::client_alone("ci"), 2, 1);
    assert_eq!(ids("list --unused 90d"), [""; 0]);
    count(&store, Subject::Overflow, 2, 1);
    store.apikey("list --unused 90d").exits(1).assert_error("more keys than its maximum");
}

#[test]
fn a_database_without_usage_says_so() {
    let store = TestStore::database(Folder::new());
    store.issue("ci");
    assert_eq!(store.apikey("list").exits(0).err, "");
    let outcome = store.apikey("usage").exits(0);
    let why = "No usage data. A service writes it, if it counts usage into this database.\n";
    assert_eq!(outcome.err, why);
    let outcome = store.apikey("list --unused 90d").exits(1);
    outcome.assert_error("error: no usage data: no service has counted usage into this database\n");
}
