//! The roles of other processes.

use std::{
    path::Path,
    sync::{Mutex, mpsc},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::Notify;
use tower_api_key::{
    Client, KeyDigest,
    key::KeyFormat,
    record::Record,
    store::{
        Change, Cursor, KeyStore as _, Listener, Mirrored, Page, Start, StoreError, StoreErrorKind,
    },
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    child::{hear, say},
    server,
    support::{SOON, issue},
};

pub(crate) async fn play(role: &str, file: &Path) {
    match role {
        "serve" => serve(file).await,
        "change" => change(file).await,
        "churn" => churn(file).await,
        #[cfg(feature = "usage")]
        "count" => count(file).await,
        "listen" => listen(file).await,
        "lock" => lock(file),
        "mix" => mix(file).await,
        "try" => say(try_all(file).await.err().unwrap_or_default()),
        _ => panic!("unknown role {role}"),
    }
}

/// Serves the keys of a database until the parent ends.
async fn serve(file: &Path) {
    let keys = Mirrored::open(Sqlite::open(file).unwrap()).await.unwrap();
    say(server::serve(keys).await);
    tokio::task::spawn_blocking(hear).await.unwrap();
}

/// Opens, reads and changes a database.
async fn try_all(file: &Path) -> Result<(), String> {
    let text = |doing: &'static str| {
        move |error: StoreError| format!("{doing} {}: {error}", error.kind().as_str())
    };
    let store = Sqlite::open(file).map_err(text("open"))?;
    let keys = Mirrored::open(store).await.map_err(text("load"))?;
    _ = keys.issue(&KeyFormat::default(), Client::new("ci")).await.map_err(text("issue"))?;
    Ok(())
}

/// Makes the changes that the parent asks for.
async fn change(file: &Path) {
    let store = Sqlite::open(file).unwrap();
    let keys = Mirrored::open(store.clone()).await.unwrap();
    while let Some(line) = tokio::task::spawn_blocking(hear).await.unwrap() {
        match line.split_once(' ').unwrap() {
            ("issue", client) => say(issue(&keys, client).await.1),
            ("revoke", client) => {
                let changed = Change::revoke_client(client).commit(&store).await;
                say(changed.map_or_else(
                    |error| error.kind().as_str().to_owned(),
                    |it| it.count().to_string(),
                ));
            }
            _ => panic!("unknown line"),
        }
    }
}

/// Holds the lock of writers until the parent asks for its release.
fn lock(file: &Path) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(SOON).unwrap();
    connection
        .execute_batch("BEGIN IMMEDIATE; UPDATE api_key SET note = 'never committed'")
        .unwrap();
    say("locked");
    hear();
    connection.execute_batch("ROLLBACK").unwrap();
    say("released");
}

/// Issues and revokes keys for ever, and reports each change after its commit.
async fn churn(file: &Path) {
    let store = Sqlite::open(file).unwrap();
    loop {
        let issue = Change::issue(&KeyFormat::default(), Client::new("churn"));
        let minted = issue.commit(&store).await.unwrap().into_minted().unwrap();
        say(format!("issued {}", minted.id()));
        _ = Change::revoke_key(minted.id()).commit(&store).await.unwrap();
        say(format!("revoked {}", minted.id()));
    }
}

/// Makes random changes to shared keys until the parent stops it. Reports the version of each change.
async fn mix(file: &Path) {
    let store = Sqlite::open(file).unwrap();
    let mut random: u64 = hear().unwrap().parse().unwrap();
    let stop = tokio::task::spawn_blocking(hear);
    while !stop.is_finished() {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = random >> 33;
        let live = store.list(&Page::new().with_client("shared").with_limit(1_000)).await.unwrap();
        let live: Vec<_> = live.iter().filter(|record| record.revoked().is_none()).collect();
        let record = live[usize::try_from(number / 100).unwrap() % live.len()];
        let key_id = record.id().unwrap();
        let (change, text) = match number % 100 {
            0..10 if live.len() > 10 => (Change::revoke_key(key_id), "revoked".to_owned()),
            10..25 => {
                (Change::issue(&KeyFormat::default(), Client::new("shared")), "issued".to_owned())
            }
            25..45 => (Change::pause(key_id), "paused".to_owned()),
            45..65 => (Change::resume(key_id), "resumed".to_owned()),
            _ => {
                let note = format!("note {number}");
                let copy = note.clone();
                (Change::update(key_id, move |record| record.with_note(copy.clone())), note)
            }
        };
        match change.commit(&store).await {
            Ok(changed) if changed.count() > 0 => {
                let version = changed.version();
                let minted = changed.into_minted();
                let key_id = minted.as_ref().map_or(key_id, |minted| minted.id());
                say(format!("{version} {key_id} {text}"));
            }
            // Paused or resumed twice, or the other process has revoked the key.
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}"),
        }
    }
}

/// A listener that does not return from a record until it is released. Its follower then ends.
struct Stuck {
    begun: mpsc::Sender<()>,
    released: Mutex<mpsc::Receiver<()>>,
    ended: Notify,
}

impl Listener for Stuck {
    fn restart(&self) {}

    fn record(&self, _: u64, _: Record) {
        self.begun.send(()).unwrap();
        _ = self.released.lock().unwrap().recv();
        self.ended.notify_one();
    }

    fn removed(&self, _: u64, _: KeyDigest) {}

    fn corrupt(&self, _: u64, _: KeyDigest, _: StoreError) {}

    fn ready(&self, _: Option<&Cursor>) {}
}

/// Follows a large database with a listener that is stuck. Says the memory before and then in KiB, and the
/// number of threads before and after.
async fn listen(file: &Path) {
    let store = Sqlite::open(file).unwrap();
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (memory, threads) = (status("VmRSS:"), status("Threads:"));
    let copy = store.clone();
    // A thread of its own, because it is stuck.
    let stuck = std::thread::spawn(move || {
        let listener = Stuck { begun, released: Mutex::new(released), ended: Notify::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                _ = copy.follow(Start::Everything, &listener) => panic!("it has no end"),
                () = listener.ended.notified() => {}
            }
        });
    });
    begins.recv().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    say(memory);
    say(status("VmRSS:"));
    drop(release);
    stuck.join().unwrap();
    // A follower that waits for changes ends as well.
    let (begun, _begins) = mpsc::channel();
    let (_release, released) = mpsc::channel();
    let idle = Stuck { begun, released: Mutex::new(released), ended: Notify::new() };
    let follow = tokio::time::timeout(Duration::from_millis(200), store.follow(Start::Now, &idle));
    assert!(follow.await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    say(threads);
    say(status("Threads:"));
}

/// Returns a number of the status of this process.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Writes batches of usage for ever, each with 50 keys, and reports the number of each after its commit.
#[cfg(feature = "usage")]
async fn count(file: &Path) {
    use tower_api_key::usage::{Counts, Subject, UsageBatch, UsageRow, UsageSink as _};

    let usage = Sqlite::open(file).unwrap().usage();
    let mut one = Counts::default();
    one.accepted = 1;
    let hour = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * 600_000);
    let rows: Vec<_> = (0..50)
        .map(|n| UsageRow::new(Subject::key(format!("{n:08}"), Some("ci")), hour, one, None))
        .collect();
    let instance = std::process::id().to_string();
    for sequence in 1.. {
        usage.write(&UsageBatch::new(&*instance, sequence, rows.clone())).await.unwrap();
        say(sequence);
    }
}
