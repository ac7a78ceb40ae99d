//! A cache: a hit beside a keyring, a miss beside a bare find, and hits during a flood of unknown keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use http::Request;
use tower_api_key::{
    Client, KeyDigest, Keyring,
    extract::RequestHead,
    record::Record,
    store::{Cached, Change, KeyStore as _},
    verify::{PresentedKey, Verification, Verify as _},
};
use tower_api_key_sqlite::Sqlite;

use crate::{
    Folder,
    figures::{Figures, compare},
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
    let (miss, find, ratio) = compare(
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
    figures.add("SQLite: a miss of Cached ÷ a find", ratio, 1.15, "");
    figures.add("SQLite: … a miss beyond its find", micros(miss - find), 5.0, "µs");
}

/// A thread asks for unknown keys at a constant rate while hits are timed.
fn flood(cached: &Cached, is_quick: bool, figures: &mut Figures) {
    let (is_on, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicU64::new(0));
    let strangers = {
        let (cached, is_on, ends) = (cached.clone(), Arc::clone(&is_on), Arc::clone(&ends));
        let asked = Arc::clone(&asked);
        thread::spawn(move || {
            let runtime = crate::runtime();
            let mut number = 0_u64;
            while !ends.load(Relaxed) {
                let start = Instant::now();
                // A hundredth of a second.
                for _ in 0..if is_on.load(Relaxed) { FLOOD / 100 } else { 0 } {
                    number += 1;
                    let (cached, asked) = (cached.clone(), Arc::clone(&asked));
                    runtime.spawn(async move {
                        assert!(!ask(&cached, &format!("stranger-{number}")).await);
                        asked.fetch_add(1, Relaxed);
                    });
                }
                thread::sleep(Duration::from_millis(10).saturating_sub(start.elapsed()));
            }
        })
    };
    let (mut quiet, mut flooded) = (requests(cached.clone()), requests(cached.clone()));
    let rounds = if is_quick { 4 } else { 60 };
    let during = |on: bool, requests: &mut dyn FnMut()| {
        is_on.store(on, Relaxed);
        (0..100).for_each(|_| requests());
    };
    let start = Instant::now();
    let (_, _, ratio) =
        compare(rounds, || during(true, &mut flooded), || during(false, &mut quiet));
    ends.store(true, Relaxed);
    strangers.join().unwrap();
    let per_second = asked.load(Relaxed) as f64 / start.elapsed().as_secs_f64() * 2.0;
    println!("unknown keys: {per_second:.0} a second");
    figures.add("time of hits during a flood of unknown keys ÷ without it", ratio, 1.0 / 0.95, "");
}

/// Asks for a key, and returns whether it is accepted.
async fn ask(cached: &Cached, key: &str) -> bool {
    let verification = {
        let request = Request::new(());
        cached.verify(&PresentedKey::new(key.as_bytes(), RequestHead::of(&request)))
    };
    match verification {
        Verification::Ready(result) => result.is_ok(),
        Verification::Pending(future) => future.await.is_ok(),
    }
}
