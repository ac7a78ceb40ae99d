//! A cache: a hit beside a keyring, a miss beside a bare find, and hits during a flood of unknown keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tower_api_key::{
    Client, KeyDigest, Keyring,
    record::Record,
    store::{Cached, Change, KeyStore as _},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    ask::ask,
    figures::{Figures, compare, median},
    request::{KEYS, key, requests},
};

const FINDS: usize = 200;

/// The unknown keys in a second of the flood.
const FLOOD: u64 = 10_000;

pub fn run(folder: &Folder, is_quick: bool, figures: &mut Figures) {
    let runtime = crate::runtime();
    let store = Sqlite::open(folder.database("cached.db")).unwrap();
    let cached = runtime.block_on(async {
        let records = (0..KEYS)
            .map(|n| Record::new(KeyDigest::of(key(n)), Client::new(format!("client-{n}"))));
        _ = Change::insert_if_absent(records).commit(&store).await.unwrap();
        let options = Cached::options().fresh(Duration::from_secs(3600));
        let cached = options.open(store.clone()).await.unwrap();
        for n in 0..KEYS {
            assert!(ask(&cached, &key(n)).await);
        }
        cached
    });
    hit(&cached, is_quick, figures);
    flood(&cached, is_quick, figures);
    drop(cached);
    miss(&store, is_quick, figures);
}

fn hit(cached: &Cached, is_quick: bool, figures: &mut Figures) {
    let keyring = Keyring::new();
    for n in 0..KEYS {
        let record = Record::new(KeyDigest::of(key(n)), Client::new(format!("client-{n}")));
        keyring.insert_record(record).unwrap();
    }
    let rounds = if is_quick { 20 } else { 2_000 };
    let (_, _, ratio) = compare(rounds, requests(cached.clone()), requests(keyring));
    figures.add("a request with Cached, a hit ÷ with a keyring", ratio, 1.2, "");
}

fn miss(store: &Sqlite, is_quick: bool, figures: &mut Figures) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // No answer is fresh, so each request is a miss.
    let options = Cached::options().fresh(Duration::ZERO);
    let cached = runtime.block_on(options.open(store.clone())).unwrap();
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let digests: Vec<_> = keys.iter().map(KeyDigest::of).collect();
    let (mut one, mut other, rounds) = (0, 0, if is_quick { 10 } else { 500 });
    let (miss, find, _) = compare(
        rounds,
        || {
            runtime.block_on(async {
                for _ in 0..FINDS {
                    one = (one + 617) % KEYS;
                    assert!(ask(&cached, &keys[one]).await);
                }
            });
        },
        || {
            runtime.block_on(async {
                for _ in 0..FINDS {
                    other = (other + 617) % KEYS;
                    assert!(store.find(&digests[other]).await.unwrap().is_some());
                }
            });
        },
    );
    let micros = |ns: f64| ns / 1000.0 / FINDS as f64;
    println!("a miss {:.1} µs, a find {:.1} µs", micros(miss), micros(find));
    // 15 % of a query to PostgreSQL, because a find in SQLite takes a part of it.
    figures.add("SQLite: a miss of Cached beyond its find", micros(miss - find), 4.3, "µs");
}

/// A thread asks for unknown keys at a constant rate while hits are timed.
fn flood(cached: &Cached, is_quick: bool, figures: &mut Figures) {
    let flood = Arc::new(Flood::default());
    let strangers = {
        let (cached, flood) = (cached.clone(), Arc::clone(&flood));
        thread::spawn(move || flood.run(&cached))
    };
    let mut requests = requests(cached.clone());
    let mut time = |rounds: u32| {
        let start = Instant::now();
        (0..rounds).for_each(|_| requests());
        start.elapsed().as_secs_f64()
    };
    let (mut ratios, mut seconds) = (Vec::new(), 0.0);
    for _ in 0..if is_quick { 4 } else { 20 } {
        flood.is_on.store(true, Relaxed);
        thread::sleep(Duration::from_millis(30));
        let flooded = time(100);
        flood.is_on.store(false, Relaxed);
        seconds += flooded + 0.03;
        while flood.begun.load(Relaxed) != flood.ended.load(Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        ratios.push(flooded / time(100));
    }
    flood.is_over.store(true, Relaxed);
    strangers.join().unwrap();
    println!("unknown keys: {:.0} a second", flood.ended.load(Relaxed) as f64 / seconds);
    let name = "time of hits during a flood of unknown keys ÷ without it";
    figures.add(name, median(ratios), 1.0 / 0.95, "");
}

/// Requests with unknown keys.
#[derive(Default)]
struct Flood {
    is_on: AtomicBool,
    is_over: AtomicBool,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Flood {
    fn run(self: &Arc<Self>, cached: &Cached) {
        let runtime = crate::runtime();
        let start = Instant::now();
        for step in 0.. {
            let next = start + Duration::from_millis(10) * step;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            if self.is_over.load(Relaxed) {
                break;
            }
            let count = if self.is_on.load(Relaxed) { FLOOD / 100 } else { 0 };
            for _ in 0..count {
                let number = self.begun.fetch_add(1, Relaxed);
                let (cached, flood) = (cached.clone(), Arc::clone(self));
                runtime.spawn(async move {
                    assert!(!ask(&cached, &format!("stranger-{number}")).await);
                    flood.ended.fetch_add(1, Relaxed);
                });
            }
        }
    }
}
