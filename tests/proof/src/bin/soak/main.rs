//! A soak test of a real server.
//!
//! Hundreds of connections send valid, wrong, huge and incomplete requests while keys change. The program
//! prints requests and responses. It fails if a response is wrong or a resource is missing at the end.

mod callers;
mod cutters;
mod keys;
mod plan;
mod process;
mod report;
mod site;
mod tally;

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

use callers::Ground;
use keys::Keys;
use plan::{Plan, Protocol};
use process::{Held, Sample};
use report::Report;
use tally::Tally;

const HTTP1: usize = 160;
const HTTP2: usize = 32;
const CUT_HTTP1: usize = 48;
const CUT_HTTP2: usize = 16;

/// Both ends of every connection are in this process, and some close later.
const MOST_HANDLES: usize = 3 * (HTTP1 + HTTP2 + CUT_HTTP1 + CUT_HTTP2);

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = env::args().nth(1).map_or(Ok(180), |it| it.parse());
    let seconds = seconds.expect("a number of seconds").max(6);

    let (keys, tally) = (Arc::new(Keys::new()), Arc::new(Tally::default()));
    let (router, permits) = site::site(&keys.ring, &tally);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(site::serve(listener, router));
    let ground = Arc::new(Ground { keys, tally, server, stop: Arc::new(AtomicBool::new(false)) });
    let before = Held::now();

    let tasks = start(&ground);
    let samples = watch(&ground, seconds).await;
    ground.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        if let Err(error) = task.await {
            ground.tally.odd(format!("a task failed: {error}"));
        }
    }
    // A rejection that keeps a permit shows as a missing permit.
    refuse_everywhere(&ground).await;
    let after = settled(before).await;

    let mut report = Report::default();
    report.requests(&ground, seconds);
    report.memory(&samples);
    report.held(before, &samples, MOST_HANDLES, after);
    let missing = permits.missing();
    report.line(&format!("Permits that are missing: {missing:?}"), missing.is_empty());
    report.line("The keyring holds what it held before", ground.keys.are_as_before());
    if report.is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn start(ground: &Arc<Ground>) -> Vec<JoinHandle<()>> {
    let mut tasks = ground.keys.keep_changing(&ground.stop);
    tasks.extend((0..HTTP1).map(|_| tokio::spawn(callers::http1(Arc::clone(ground)))));
    tasks.extend((0..HTTP2).map(|_| tokio::spawn(callers::http2(Arc::clone(ground)))));
    tasks.extend((0..CUT_HTTP1).map(|_| tokio::spawn(cutters::http1(Arc::clone(ground)))));
    tasks.extend((0..CUT_HTTP2).map(|_| tokio::spawn(cutters::http2(Arc::clone(ground)))));
    tasks
}

async fn watch(ground: &Ground, seconds: u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for second in 1..=seconds {
        sleep(Duration::from_secs(1)).await;
        let sample = Sample { second, requests: ground.tally.requests(), held: Held::now() };
        samples.push(sample);
        if second % 10 == 0 {
            let Held { memory, handles, .. } = sample.held;
            let odd = ground.tally.oddities();
            eprintln!(
                "{second} s: {} requests, {odd} wrong, {memory} KiB, {handles} handles",
                sample.requests
            );
        }
    }
    samples
}

async fn refuse_everywhere(ground: &Ground) {
    let io = TokioIo::new(ground.connect().await);
    let (mut sender, connection) = conn::http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
    let connection = tokio::spawn(connection);
    for route in [site::GUARDED, site::OPTIONAL, site::SLOW, site::BUFFERED] {
        if sender.ready().await.is_err() {
            break; // a missing response is counted already
        }
        let plan = Plan::wrong(route);
        callers::ask(ground, &plan, Protocol::Http1, |it| sender.send_request(it)).await;
    }
    drop(sender);
    let _ = connection.await.unwrap();
}

/// Waits until the server has noticed that its callers have closed their connections.
async fn settled(before: Held) -> Held {
    for _ in 0..200 {
        let now = Held::now();
        if (now.tasks, now.handles) == (before.tasks, before.handles) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    Held::now()
}
