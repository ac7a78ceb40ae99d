//! The memory of a mirror while it loads, in a process of its own.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{Notify, oneshot};
use tower_api_key::{
    Client, KeyDigest,
    record::Record,
    store::{
        Change, Changed, KeyStore, Listener, Mirrored, Page, Start, StoreError, StoreErrorKind,
        StoreFuture,
    },
};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The number of records, a million in the full run.
fn count() -> u32 {
    std::env::var("STORE_RECORDS").map_or(100_000, |count| count.parse().unwrap())
}

/// A store that makes its records up while it delivers them, and keeps none.
struct Endless {
    /// Begins another load.
    again: Notify,
    /// Records from this number on are delivered.
    first: AtomicU32,
    done: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

fn record(number: u32) -> Record {
    Record::new(KeyDigest::of(number.to_be_bytes()), Client::new(format!("client-{}", number / 2)))
        .with_id(&format!("{:08}", number % 100_000_000))
        .unwrap()
        .with_created(SystemTime::UNIX_EPOCH)
}

impl KeyStore for Endless {
    fn find<'a>(&'a self, _: &'a KeyDigest) -> StoreFuture<'a, Option<Record>> {
        Box::pin(async { Ok(None) })
    }

    fn list<'a>(&'a self, _: &'a Page) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn change<'a>(&'a self, _: Change) -> StoreFuture<'a, Changed> {
        let error = StoreError::new(StoreErrorKind::Denied, "it cannot be changed");
        Box::pin(async { Err(error) })
    }

    fn follow<'a>(&'a self, _: Start, listener: &'a dyn Listener) -> StoreFuture<'a, Infallible> {
        Box::pin(async move {
            loop {
                listener.restart();
                let first = self.first.load(Relaxed);
                for number in first..first + count() {
                    listener.record(1, record(number));
                }
                listener.ready(None);
                if let Some(done) = self.done.lock().unwrap().take() {
                    done.send(()).unwrap();
                }
                self.again.notified().await;
            }
        })
    }
}

#[tokio::test]
async fn a_mirror_takes_at_most_twice_its_memory_while_it_loads() {
    let store = Arc::new(Endless {
        again: Notify::new(),
        first: AtomicU32::new(0),
        done: std::sync::Mutex::new(None),
    });
    let base = NOW.load(Relaxed);
    let per_record = |bytes: usize| bytes.saturating_sub(base) / count() as usize;
    let started = Instant::now();
    (0..count()).for_each(|number| drop(record(number)));
    println!("making the records takes {:?}", started.elapsed());

    let started = Instant::now();
    let keys = Mirrored::open(Arc::clone(&store)).await.unwrap();
    let at_rest = per_record(NOW.load(Relaxed));
    let report = |what: &str, since: Instant| {
        let (now, peak) = (per_record(NOW.load(Relaxed)), per_record(PEAK.load(Relaxed)));
        println!("{what}: {now} bytes a record, at most {peak}, {:?}", since.elapsed());
        (now, peak)
    };
    let (_, peak) = report("first load", started);
    assert!(at_rest <= 280 && peak <= 2 * at_rest, "{at_rest} {peak}");

    // If all is new, the keys of both loads are in memory.
    for (what, first, most) in [
        ("the same again", 0, 1.25),
        ("a tenth is new", count() / 10, 1.25),
        ("all is new", u32::MAX / 2, 2.0),
    ] {
        PEAK.store(NOW.load(Relaxed), Relaxed);
        let (done, is_done) = oneshot::channel();
        *store.done.lock().unwrap() = Some(done);
        store.first.store(first, Relaxed);
        let started = Instant::now();
        store.again.notify_one();
        is_done.await.unwrap();
        let (_, peak) = report(what, started);
        assert_eq!(keys.status().keys(), count() as usize);
        assert!(peak as f64 <= most * at_rest as f64, "{what}: {peak} of {at_rest}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
