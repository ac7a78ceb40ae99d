//! The writer of usage: each count reaches the sink exactly once, whatever the sink does.

#![cfg(feature = "usage")]

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tower_api_key::{
    Client,
    observe::{Decision, Observe},
    usage::{Counts, SinkFuture, Subject, Usage, UsageBatch, UsageRow, UsageSink, UsageWriter},
};

const HOUR: u64 = 3600;
const NOON: u64 = 1_795_953_600;

/// The answer of a sink to its next call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Store,
    Fail,
    /// The store has the batch, but its answer is lost.
    StoreAndFail,
    Hang,
    Panic,
    PanicBeforeTheFuture,
}

/// A store that applies each batch once, as a database would.
#[derive(Clone)]
struct Store(Arc<Mutex<State>>);

struct State {
    answer: Answer,
    calls: usize,
    /// The last number of each instance.
    applied: HashMap<String, u64>,
    rows: HashMap<(Subject, SystemTime), Counts>,
    last_batch: Option<UsageBatch>,
}

impl Store {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            answer: Answer::Store,
            calls: 0,
            applied: HashMap::new(),
            rows: HashMap::new(),
            last_batch: None,
        })))
    }

    fn answer(&self, answer: Answer) {
        self.0.lock().unwrap().answer = answer;
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    fn total(&self) -> Counts {
        self.0.lock().unwrap().rows.values().copied().sum()
    }

    fn rows(&self) -> HashMap<(Subject, SystemTime), Counts> {
        self.0.lock().unwrap().rows.clone()
    }

    fn last_batch(&self) -> UsageBatch {
        self.0.lock().unwrap().last_batch.clone().unwrap()
    }

    /// Waits for a call.
    fn await_call(&self, more_than: usize) {
        let started = Instant::now();
        while self.calls() <= more_than {
            assert!(started.elapsed() < Duration::from_secs(20), "no call");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl UsageSink for Store {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.calls += 1;
            state.last_batch = Some(batch.clone());
            state.answer
        };
        assert!(answer != Answer::PanicBeforeTheFuture, "a panic of the sink");
        Box::pin(async move {
            match answer {
                Answer::Hang => pending::<()>().await,
                Answer::Panic => panic!("a panic of the sink"),
                Answer::Fail => return Err("the store is down".into()),
                _ => {}
            }
            let mut state = self.0.lock().unwrap();
            let last = state.applied.entry(batch.instance().to_owned()).or_default();
            if batch.sequence() > *last {
                assert_eq!(batch.sequence(), *last + 1, "a batch is missing");
                *last = batch.sequence();
                for row in batch.rows() {
                    let place = (row.subject().clone(), row.hour());
                    *state.rows.entry(place).or_default() += row.counts();
                }
            }
            match answer {
                Answer::StoreAndFail => Err("the answer is lost".into()),
                _ => Ok(()),
            }
        })
    }
}

fn use_key(usage: &Usage, id: &str) {
    usage.on_decision(&Decision::accepted(&Client::new("ci").with_key_id(id)));
}

fn rows_of(usage: &Usage) -> HashMap<(Subject, SystemTime), Counts> {
    let rows = usage.snapshot();
    rows.iter().map(|row| ((row.subject().clone(), row.hour()), row.counts())).collect()
}

/// A `Usage` with a clock, and its writer, which writes only if it is asked.
fn start(store: &Store, hours: u32) -> (Usage, Arc<AtomicU64>, UsageWriter) {
    let clock = Arc::new(AtomicU64::new(NOON));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let usage = Usage::builder().hours(hours).clock(now).build();
    let writer = usage.flush_to(store.clone()).every(Duration::from_secs(3600)).in_thread();
    (usage, clock, writer.unwrap())
}

#[tokio::test]
async fn a_flush_writes_every_count_once() {
    let store = Store::new();
    let (usage, clock, writer) = start(&store, 48);
    writer.flush().await.unwrap();
    assert_eq!(store.calls(), 0);
    for round in 1..=5 {
        use_key(&usage, "a");
        use_key(&usage, "b");
        clock.fetch_add(HOUR / 2, Ordering::Relaxed);
        use_key(&usage, "a");
        writer.flush().await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!((store.calls(), store.total().accepted), (round, 3 * round as u64));
        assert_eq!(store.rows(), rows_of(&usage));
    }
    let batch = store.last_batch();
    assert_eq!((batch.instance(), batch.sequence()), (usage.instance(), 5));
    let last = batch.rows().last().unwrap();
    assert_eq!(last.last_used(), Some(UNIX_EPOCH + Duration::from_secs(NOON + 4 * HOUR / 2)));
    assert!(writer.last_error().is_none());
}

#[tokio::test]
async fn a_sink_that_fails_gets_the_same_batch_again() {
    let store = Store::new();
    let (usage, clock, writer) = start(&store, 48);
    let mut sent = 0;
    for answer in [Answer::Fail, Answer::StoreAndFail, Answer::Panic, Answer::PanicBeforeTheFuture]
    {
        store.answer(answer);
        use_key(&usage, "a");
        sent += 1;
        let error = writer.flush().await.unwrap_err();
        let why = match answer {
            Answer::Fail => "the usage was not written: the store is down",
            Answer::StoreAndFail => "the usage was not written: the answer is lost",
            _ => "the usage was not written: the sink panicked",
        };
        assert_eq!((error.to_string(), format!("{error:?}")), (why.to_owned(), why.to_owned()));
        assert_eq!(writer.last_error().unwrap().to_string(), why);
        let first = store.last_batch();
        // Counts that are added meanwhile are in the next batch.
        for _ in 0..3 {
            use_key(&usage, "a");
            clock.fetch_add(HOUR, Ordering::Relaxed);
            sent += 1;
            writer.flush().await.unwrap_err();
            assert_eq!(store.last_batch(), first);
        }
        store.answer(Answer::Store);
        writer.flush().await.unwrap();
        assert!(writer.last_error().is_none());
        assert_eq!(store.total().accepted, sent);
        assert_eq!(store.last_batch().sequence(), first.sequence() + 1);
    }
    assert_eq!(store.rows(), rows_of(&usage));
}

#[tokio::test]
async fn a_sink_that_hangs_stops_no_request_and_loses_no_count() {
    let store = Store::new();
    let usage = Usage::new();
    let (writer, task) = usage.flush_to(store.clone()).in_task(tokio::time::sleep).unwrap();
    let task = tokio::spawn(task);
    store.answer(Answer::Hang);
    use_key(&usage, "a");
    let waited = tokio::time::timeout(Duration::from_millis(50), writer.flush()).await;
    assert!(waited.is_err() && store.calls() == 1);
    (0..10).for_each(|_| use_key(&usage, "a"));
    // The runtime ends the task in the middle of a write.
    task.abort();
    let _ = task.await;
    let error = writer.flush().await.unwrap_err().to_string();
    assert_eq!(error, "the usage was not written: the task of the writer has ended");
    // Another writer goes on with the batch that was pending.
    store.answer(Answer::Store);
    let writer = usage.flush_to(store.clone()).in_thread().unwrap();
    writer.flush().await.unwrap();
    assert_eq!((store.total().accepted, store.last_batch().sequence()), (11, 2));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_is_called_again_after_a_minute() {
    let store = Store::new();
    let usage = Usage::new();
    let (writer, task) = usage.flush_to(store.clone()).in_task(tokio::time::sleep).unwrap();
    tokio::spawn(task);
    store.answer(Answer::Hang);
    use_key(&usage, "a");
    let started = tokio::time::Instant::now();
    let error = writer.flush().await.unwrap_err().to_string();
    assert_eq!(error, "the usage was not written: the sink has not answered for 60 seconds");
    assert_eq!(started.elapsed().as_secs(), 60);
    store.answer(Answer::Store);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!((store.calls(), store.total().accepted), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn batches_come_every_ten_seconds_with_jitter() {
    let store = Store::new();
    let usage = Usage::new();
    let (_writer, task) = usage.flush_to(store.clone()).in_task(tokio::time::sleep).unwrap();
    tokio::spawn(task);
    let started = tokio::time::Instant::now();
    let mut times = Vec::new();
    while times.len() < 50 {
        use_key(&usage, "a");
        tokio::time::sleep(Duration::from_millis(20)).await;
        if store.calls() > times.len() {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    assert!(times[0] <= 10.1, "{times:?}");
    let gaps: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.iter().all(|gap| (8.9..11.1).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 9.8) && gaps.iter().any(|gap| *gap > 10.2), "{gaps:?}");
}

#[test]
fn a_thread_writes_by_itself_and_once_more_if_the_writer_is_dropped() {
    let store = Store::new();
    let usage = Usage::new();
    let writer = usage.flush_to(store.clone()).every(Duration::ZERO).in_thread().unwrap();
    use_key(&usage, "a");
    store.await_call(0);
    let again = usage.flush_to(store.clone()).in_thread().unwrap_err().to_string();
    assert_eq!(again, "this `Usage` has a writer already");
    drop(writer);

    let store = Store::new();
    let usage = Usage::new();
    let writer = usage.flush_to(store.clone()).every(Duration::MAX).in_thread().unwrap();
    use_key(&usage, "a");
    drop(writer);
    store.await_call(0);
    let started = Instant::now();
    // The thread has ended, so that another writer can start.
    while usage.flush_to(store.clone()).in_thread().is_err() {
        assert!(started.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(store.total().accepted, 1);
}

#[tokio::test]
async fn hours_stay_bounded_while_a_sink_fails_and_no_count_is_lost() {
    let store = Store::new();
    let (usage, clock, writer) = start(&store, 3);
    store.answer(Answer::Fail);
    for _ in 0..100 {
        use_key(&usage, "a");
        clock.fetch_add(HOUR, Ordering::Relaxed);
        writer.flush().await.unwrap_err();
    }
    store.answer(Answer::Store);
    writer.flush().await.unwrap();
    let rows = store.rows();
    assert_eq!(store.total().accepted, 100);
    // The first batch has one hour, and the second has the last three and the current hour.
    assert!(rows.len() <= 5, "{rows:?}");
    assert!(store.last_batch().rows().len() <= 4);
}

#[tokio::test]
async fn a_full_table_with_a_writer_loses_no_count() {
    let store = Store::new();
    let clock = Arc::new(AtomicU64::new(NOON));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let usage = Usage::builder().hours(2).max_keys(8).clock(now).build();
    let writer =
        usage.flush_to(store.clone()).every(Duration::from_secs(3600)).in_thread().unwrap();
    for round in 0..200 {
        store.answer(if round % 3 == 0 { Answer::Fail } else { Answer::Store });
        for key in 0..5 {
            use_key(&usage, &format!("key-{}", round * 3 + key));
        }
        clock.fetch_add(HOUR, Ordering::Relaxed);
        let _ = writer.flush().await;
    }
    store.answer(Answer::Store);
    writer.flush().await.unwrap();
    assert_eq!(store.total().accepted, 1000);
    let overflow = store.rows().iter().filter(|((it, _), _)| *it == Subject::Overflow).count();
    assert!(overflow < 60, "{overflow} hours without room");
}

#[test]
fn threads_that_count_while_batches_are_taken_lose_no_count() {
    let store = Store::new();
    let usage = Usage::new();
    let writer = usage.flush_to(store.clone()).every(Duration::from_millis(1)).in_thread().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                (0..100_000)
                    .for_each(|number: u32| use_key(&usage, ["a", "b"][number as usize % 2]));
            });
        }
        for answer in [Answer::Fail, Answer::StoreAndFail, Answer::Store, Answer::Panic] {
            store.answer(answer);
            thread::sleep(Duration::from_millis(5));
        }
        store.answer(Answer::Store);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(writer.flush()).unwrap();
    assert_eq!(store.total().accepted, 300_000);
    let total: Counts = usage.snapshot().iter().map(UsageRow::counts).sum();
    assert_eq!(total, store.total());
}

#[test]
fn threads_that_count_while_keys_leave_the_table_lose_no_count() {
    const EVENTS: u64 = 40_000;

    let store = Store::new();
    let clock = Arc::new(AtomicU64::new(NOON));
    let now = Arc::clone(&clock);
    let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let usage = Usage::builder().hours(1).max_keys(6).clock(now).build();
    let writer = usage.flush_to(store.clone()).every(Duration::ZERO).in_thread().unwrap();
    thread::scope(|scope| {
        for thread in 0..3 {
            let (usage, clock) = (&usage, &clock);
            scope.spawn(move || {
                for number in 0..EVENTS {
                    use_key(usage, ["a", "b", "c", "d", "e", "f", "g"][(number / 3 % 7) as usize]);
                    if thread == 0 && number % 50 == 0 {
                        clock.fetch_add(HOUR, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(writer.flush()).unwrap();
    assert_eq!(store.total().accepted, 3 * EVENTS);
    let own = store.rows().keys().filter(|(subject, _)| subject.key_id().is_some()).count();
    assert!(own > 100, "only {own} hours of keys");
}

#[tokio::test]
async fn concurrent_flushes_all_wait_for_a_write_that_began_after_them() {
    let store = Store::new();
    let (usage, _clock, writer) = start(&store, 48);
    let writer = Arc::new(writer);
    let mut flushes = Vec::new();
    for _ in 0..50 {
        use_key(&usage, "a");
        let writer = Arc::clone(&writer);
        flushes.push(tokio::spawn(async move { writer.flush().await }));
    }
    for flush in flushes {
        flush.await.unwrap().unwrap();
    }
    assert_eq!(store.total().accepted, 50);
}

#[cfg(feature = "tracing")]
#[test]
fn the_log_has_a_line_when_writing_begins_to_fail_and_when_it_works_again() {
    let log = crate::support::log::Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.writer()).with_ansi(false);
    tracing::subscriber::with_default(subscriber.finish(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (store, usage) = (Store::new(), Usage::new());
            let builder = usage.flush_to(store.clone()).every(Duration::MAX);
            let (writer, task) = builder.in_task(tokio::time::sleep).unwrap();
            tokio::spawn(task);
            for answer in [Answer::Store, Answer::Fail, Answer::Fail, Answer::Store, Answer::Store]
            {
                store.answer(answer);
                use_key(&usage, "a");
                let _ = writer.flush().await;
            }
        });
    });
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("tower_api_key::usage")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("WARN") && lines[0].contains("the store is down"), "{text}");
    assert!(lines[1].contains("INFO") && lines[1].contains("usage is written again"), "{text}");
}
