//! A find, beside a bare hop to a thread and back.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Instant,
};

use tokio::sync::oneshot;
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{Change, KeyStore as _},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    figures::{Figures, compare},
};

const KEYS: usize = 10_000;
const FINDS: usize = 200;

type Job = Box<dyn FnOnce() + Send>;

pub fn run(folder: &Folder, is_quick: bool, figures: &mut Figures) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Sqlite::open(folder.database("find.db")).unwrap();
    let digests: Vec<_> = (0..KEYS).map(|n| KeyDigest::of(n.to_string())).collect();
    let records = digests.iter().map(|digest| Record::new(*digest, Client::new("a client")));
    _ = runtime.block_on(Change::insert_if_absent(records).commit(&store)).unwrap();

    let (jobs, received) = sync_channel::<Job>(4_096);
    thread::spawn(move || received.into_iter().for_each(|job| job()));
    let mut fastest = f64::MAX;
    let (mut at, rounds) = (0, if is_quick { 10 } else { 500 });
    let (find, bare, ratio) = compare(
        rounds,
        || {
            let start = Instant::now();
            runtime.block_on(async {
                for _ in 0..FINDS {
                    at = (at + 7_919) % KEYS;
                    assert!(store.find(&digests[at]).await.unwrap().is_some());
                }
            });
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6 / FINDS as f64);
        },
        || {
            runtime.block_on(async {
                for number in 0..FINDS {
                    assert_eq!(hop(&jobs, number).await, number);
                }
            });
        },
    );
    let micros = |ns: f64| ns / 1000.0 / FINDS as f64;
    println!(
        "a find {:.1} µs, the fastest {:.1} µs, a bare hop {:.1} µs",
        micros(find),
        fastest,
        micros(bare)
    );
    figures.add("SQLite: a find ÷ a bare thread hop", ratio, 1.6, "");
    figures.add("SQLite: … a find in the thread of its caller (instead)", micros(find), 5.0, "µs");
}

async fn hop(jobs: &SyncSender<Job>, number: usize) -> usize {
    let (answer, answered) = oneshot::channel();
    jobs.try_send(Box::new(move || _ = answer.send(number))).unwrap();
    answered.await.unwrap()
}
