//! The time from the commit of a revocation to its rejection in ten processes.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, SystemTime},
};

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, KeyChangeKind, Mirrored, MirroredEvent},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    figures::{Figures, histogram},
};

const PROCESSES: usize = 10;

/// Nanoseconds since 1970, which all processes share.
fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

pub fn run(folder: &Folder, is_quick: bool, figures: &mut Figures) {
    let runtime = crate::runtime();
    let file = folder.database("latency.db");
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = Command::new(env::current_exe().unwrap());
            command.arg("--follow").arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "ready");
            (child, thread::spawn(move || lines.map(Result::unwrap).collect::<Vec<_>>()))
        })
        .collect();
    let revocations = if is_quick { 5 } else { 200 };
    let committed: Vec<_> = runtime.block_on(async {
        let store = Sqlite::open(&file).unwrap();
        let mut committed = Vec::new();
        for number in 0_u64..revocations {
            let issue = Change::issue(&KeyFormat::default(), Client::new("ci"));
            let minted = issue.commit(&store).await.unwrap().into_minted().unwrap();
            // At any point between two polls.
            tokio::time::sleep(Duration::from_micros(120_000 + number * 7_919 % 50_000)).await;
            let revoked = Change::revoke_key(minted.id()).commit(&store).await.unwrap();
            assert_eq!(revoked.count(), 1);
            committed.push((minted.id().to_owned(), now()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        committed
    });
    let mut times = Vec::new();
    for (mut child, lines) in children {
        // The child ends with its input.
        drop(child.stdin.take());
        child.wait().unwrap();
        let lines = lines.join().unwrap();
        assert_eq!(lines.len(), committed.len(), "a process has missed a revocation");
        for line in lines {
            let (id, at) = line.split_once(' ').unwrap();
            let (_, commit) = committed.iter().find(|(committed, _)| committed == id).unwrap();
            let at: u128 = at.parse().unwrap();
            times.push(at.saturating_sub(*commit) as f64 / 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    histogram(&times);
    let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("median {:.1} ms, longest {:.1} ms", percentile(50), percentile(100));
    figures.add("SQLite: commit to rejection in 10 processes, p99", percentile(99), 120.0, "ms");
}

/// Follows a database and prints the time at which each key is rejected, until the input ends.
pub fn follow(file: &Path) {
    let runtime = crate::runtime();
    static KEYS: OnceLock<Mirrored> = OnceLock::new();
    let observe = |event: &MirroredEvent| {
        let MirroredEvent::Changed(change) = event else { return };
        if change.kind() == KeyChangeKind::Revoked {
            let at = now();
            let record = KEYS.get().unwrap().record(change.key_id()).unwrap();
            assert!(record.check(SystemTime::now()).is_err());
            println!("{} {at}", change.key_id());
        }
    };
    let keys = Mirrored::options().observe(observe).open(Sqlite::open(file).unwrap());
    let keys = runtime.block_on(keys).unwrap();
    KEYS.get_or_init(|| keys);
    println!("ready");
    _ = std::io::stdin().lines().next();
}
