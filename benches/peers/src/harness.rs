//! Times all cases in rounds: each round takes every case for a slice of time, in a new order. What
//! disturbs the machine then disturbs all alike, and a ratio within one round means something.

use std::{
    fmt::Debug,
    hint::{black_box, spin_loop},
    iter,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use core_affinity::CoreId;
use http::{Request, Response, StatusCode};
use tower::Service;

use crate::{
    keys::{Draw, Random, id},
    row::Row,
};

/// So many requests are built, and then timed together.
const BATCH: usize = 64;

pub struct Bench {
    words: Vec<String>,
    cores: Vec<CoreId>,
    cases: Vec<Case>,
}

/// Nanoseconds a request, round by round.
pub struct Figure {
    pub row: Row,
    pub rounds: Vec<f64>,
}

struct Case {
    row: Row,
    /// One for each thread.
    drivers: Vec<Box<dyn Drive>>,
    rounds: Vec<f64>,
}

impl Bench {
    /// Cases that have all the words in their row.
    pub fn new(words: Vec<String>) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Self { words, cores, cases: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// A case, if it is wanted.
    pub fn add<S, B, B2>(
        &mut self,
        row: Row,
        service: impl FnOnce() -> S,
        request: fn(&str) -> Request<B>,
    ) where
        S: Service<Request<B>, Response = Response<B2>> + Clone + Send + 'static,
        S::Error: Debug,
        B: Send + 'static,
    {
        if !self.is_wanted(&row) {
            return;
        }
        let service = service();
        let first = answer(&mut service.clone(), request(&Draw::new(&row, 0).next()));
        assert_eq!(lets_in(&first), row.is_accepted(), "{row}");
        let driver = |thread| -> Box<dyn Drive> {
            let (service, draw) = (service.clone(), Draw::new(&row, thread));
            Box::new(Driver { service, draw, request, batch: Vec::with_capacity(BATCH) })
        };
        let drivers = (0..row.threads).map(driver).collect();
        self.cases.push(Case { row, drivers, rounds: Vec::new() });
    }

    /// A limiter alone, if it is wanted. It counts a request of a client and says whether it passes.
    pub fn add_limiter<L>(&mut self, row: Row, limiter: impl FnOnce() -> L)
    where
        L: Fn(&String) -> bool + Clone + Send + 'static,
    {
        if !self.is_wanted(&row) {
            return;
        }
        let limiter = limiter();
        assert!((0..row.keys).all(|number| limiter(&id(number))), "{row}");
        let driver = |thread| -> Box<dyn Drive> {
            let (passes, draw) = (limiter.clone(), Draw::new(&row, thread));
            Box::new(Counter { passes, draw, batch: Vec::with_capacity(BATCH) })
        };
        let drivers = (0..row.threads).map(driver).collect();
        self.cases.push(Case { row, drivers, rounds: Vec::new() });
    }

    fn is_wanted(&self, row: &Row) -> bool {
        let text = row.to_string();
        let is_named = self.words.iter().all(|word| text.contains(word));
        if is_named && row.threads > self.cores.len() {
            eprintln!("left out, for want of cores: {text}");
            return false;
        }
        is_named
    }

    /// Goes round until the time is over.
    pub fn run(self, slice: Duration, time: Duration) -> Vec<Figure> {
        let Self { cores, mut cases, .. } = self;
        if let Some(core) = cores.first() {
            core_affinity::set_for_current(*core);
        }
        let batches: Vec<_> = cases.iter_mut().map(|case| case.batches_in(slice)).collect();
        let mut order: Vec<_> = (0..cases.len()).collect();
        let mut random = Random::new(7);
        let until = Instant::now() + time;
        while Instant::now() < until {
            for end in (1..order.len()).rev() {
                order.swap(end, random.below(end + 1));
            }
            for &case in &order {
                let took = cases[case].slice(batches[case], &cores);
                cases[case].rounds.push(took);
            }
        }
        cases.into_iter().map(|Case { row, rounds, .. }| Figure { row, rounds }).collect()
    }
}

impl Case {
    fn batches_in(&mut self, slice: Duration) -> usize {
        let took = (0..8).map(|_| self.drivers[0].batch(&Gate::of(1))).min();
        let took = took.expect("eight times").as_nanos().max(1);
        slice.as_nanos().div_ceil(took) as usize
    }

    /// Nanoseconds a request: the median of the batches, the mean of the threads.
    fn slice(&mut self, batches: usize, cores: &[CoreId]) -> f64 {
        let threads = self.drivers.len();
        let gate = Gate::of(threads);
        let drive = |driver: &mut Box<dyn Drive>| {
            // The first warms the caches, which another case has just filled.
            driver.batch(&Gate::of(1));
            let mut took: Vec<_> = (0..batches).map(|_| driver.batch(&gate)).collect();
            // A thread that had to wait for its core shows in some of them, and not in the median.
            *took.select_nth_unstable(batches / 2).1
        };
        let took: Duration = match &mut self.drivers[..] {
            [driver] => drive(driver),
            drivers => thread::scope(|scope| {
                let start = |(driver, core): (_, &CoreId)| {
                    let (drive, core) = (&drive, *core);
                    scope.spawn(move || {
                        core_affinity::set_for_current(core);
                        drive(driver)
                    })
                };
                let running: Vec<_> = iter::zip(drivers, cores).map(start).collect();
                running.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            }),
        };
        took.as_nanos() as f64 / (threads * BATCH) as f64
    }
}

/// Threads pass it together, so that each is timed while the others make requests too.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    fn of(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0) }
    }

    fn pass(&self) {
        let before = self.arrived.fetch_add(1, Ordering::Relaxed) / self.threads;
        while self.arrived.load(Ordering::Relaxed) / self.threads == before {
            spin_loop();
        }
    }
}

trait Drive: Send {
    /// Builds requests, passes the gate, and times the answers.
    fn batch(&mut self, gate: &Gate) -> Duration;
}

struct Driver<S, B> {
    service: S,
    draw: Draw,
    request: fn(&str) -> Request<B>,
    batch: Vec<Request<B>>,
}

impl<S, B, B2> Drive for Driver<S, B>
where
    S: Service<Request<B>, Response = Response<B2>> + Send,
    S::Error: Debug,
    B: Send,
{
    fn batch(&mut self, gate: &Gate) -> Duration {
        let Self { service, draw, request, batch } = self;
        batch.extend(iter::repeat_with(|| request(&draw.next())).take(BATCH));
        gate.pass();
        let started = Instant::now();
        for request in batch.drain(..) {
            drop(answer(service, request));
        }
        started.elapsed()
    }
}

struct Counter<L> {
    passes: L,
    draw: Draw,
    batch: Vec<String>,
}

impl<L: Fn(&String) -> bool + Send> Drive for Counter<L> {
    fn batch(&mut self, gate: &Gate) -> Duration {
        let Self { passes, draw, batch } = self;
        batch.extend(iter::repeat_with(|| id(draw.number())).take(BATCH));
        gate.pass();
        let started = Instant::now();
        for id in &*batch {
            assert!(passes(black_box(id)));
        }
        let took = started.elapsed();
        batch.clear();
        took
    }
}

/// Polls once: everything here is ready at once.
fn answer<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>>,
    S::Error: Debug,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("not ready") };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        _ => panic!("not at once"),
    }
}

/// In HTTP or in gRPC.
fn lets_in<B>(response: &Response<B>) -> bool {
    let grpc_status = response.headers().get("grpc-status");
    let refused = response.status() == StatusCode::UNAUTHORIZED
        || grpc_status.is_some_and(|status| status == "16");
    assert!(refused || response.status().is_success(), "{}", response.status());
    assert!(refused || grpc_status.is_none_or(|status| status == "0"), "{grpc_status:?}");
    !refused
}
