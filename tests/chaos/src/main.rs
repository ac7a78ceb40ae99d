//! Replicas on PostgreSQL and Redis under random faults. An oracle knows the right answers at each moment.
//!
//! Three processes serve the same keys, two with `Mirrored` and one with `Cached`. Each reaches the servers through
//! proxies of its own. Changes come from a program beside them, as the command does it, and from routes of the replicas.
//!
//! # When is an answer wrong?
//!
//! A change has a window between its start and its acknowledgement in which both answers are right. If a request
//! overlaps such a window, it is not judged. If the answer of a change is lost, its key is in doubt, and both answers are
//! right until a revocation of the key is acknowledged. A late commit cannot undo that, because revoked stays revoked.
//!
//! After the acknowledgement, a replica may answer as before until it must know of the change. It must know if one of
//! these is true before the request is sent:
//!
//! - It made the change itself.
//! - It has answered by the new state before, when it had to know the state before that one.
//! - It claims two contacts with the database after the acknowledgement. The read behind the first one can have begun
//!   before the acknowledgement, and that of the second one cannot.
//! - Its way to the database has worked without a fault for the bound. So a replica that denies contact is found, too.
//! - It is the one with `Cached`, the key is revoked, and the time of `fresh` and the bound are over, in any fault.
//!
//! A fault lasts until the replica has claimed a contact after its end. If this takes longer than a minute, or 100
//! seconds more with a million keys, that is wrong as well. The overlap of a rotation begins within the change, at a
//! whole second. So its end is uncertain from a second before its length after the start of the change, to its length
//! after the acknowledgement.
//!
//! | answer | is wrong |
//! |---|---|
//! | 200 | for an unknown key, and for a revoked, paused or rotated key if the replica must know |
//! | 401 | for a valid key, unless the key is new or resumed and the replica need not know yet |
//! | 429 | for each client but the one with a small limit |
//! | 503 | of `Mirrored`, and of `Cached` if nothing between it and the database failed in the last seconds |
//! | none | unless the replica was killed |
//!
//! Usage in the database must be at most the number of requests, and at least that of processes that were not killed.

mod callers;
mod changes;
mod faults;
mod oracle;
mod replica;
mod report;

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc, RwLock,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant, SystemTime},
};

use axum::http::Method;
use tower_api_key_postgres::Postgres as Store;
use tower_api_key_test_servers::{Postgres, free_port};

use self::{
    callers::Caller,
    changes::Changer,
    faults::{DATABASE, Site},
    oracle::{Ground, Key, REPLICAS, Replica, Tally},
    replica::{SMALL, SMALL_BURST, SMALL_PER_SECOND},
};

/// Microseconds since 1970, which all processes share.
pub fn now() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(time.as_micros()).unwrap()
}

pub const SECOND: u64 = 1_000_000;

/// The options of a run.
struct Options {
    seconds: u64,
    keys: u64,
    seed: u64,
    bound: u64,
    mistake: String,
}

const USAGE: &str =
    "chaos [seconds=600] [keys=1000000] [seed=…] [bound=2000 ms] [mistake=none, deaf or denying]";

fn options(arguments: &[String]) -> Options {
    let mut options = Options {
        seconds: 600,
        keys: 1_000_000,
        seed: fastrand::u64(..),
        bound: 2_000,
        mistake: "none".to_owned(),
    };
    for argument in arguments {
        let number = |value: &str| {
            value.parse().unwrap_or_else(|_| panic!("{argument}: no number. {USAGE}"))
        };
        match argument.split_once('=') {
            Some(("seconds", value)) => options.seconds = number(value),
            Some(("keys", value)) => options.keys = number(value),
            Some(("seed", value)) => options.seed = number(value),
            Some(("bound", value)) => options.bound = number(value),
            Some(("mistake", value)) => options.mistake = value.to_owned(),
            None => options.seconds = number(argument),
            _ => panic!("{argument}: no such option. {USAGE}"),
        }
    }
    options
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(("replica", arguments)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        runtime.block_on(replica::run(arguments));
        return ExitCode::SUCCESS;
    }
    runtime.block_on(direct(&options(&arguments)))
}

/// One of the keys that never change.
fn ballast(number: u64) -> Key {
    Key::valid_always(format!("ballast-{number}"))
}

/// Starts a server with keys that never change.
async fn fill(keys: u64) -> Postgres {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
    Store::migrate(&server.url(DATABASE)).await.unwrap();
    server.sql(
        DATABASE,
        &format!(
            "INSERT INTO api_keys (digest, key_id, client) SELECT sha256(('ballast-' || n)::bytea), \
             lpad(n::text, 8, '0'), 'client-' || n FROM generate_series(0, {keys} - 1) n"
        ),
    );
    server.sql(DATABASE, "VACUUM ANALYZE api_keys");
    server
}

async fn direct(options: &Options) -> ExitCode {
    let Options { seconds, keys, seed, bound, mistake } = options;
    println!("chaos seconds={seconds} keys={keys} seed={seed} bound={bound} mistake={mistake}");
    let mut random = fastrand::Rng::with_seed(*seed);
    let server = fill(*keys).await;
    let store = Store::open(&server.url(DATABASE)).unwrap();
    let mut site = Site::start(server, mistake);
    let replicas =
        (0..REPLICAS).map(|number| Replica::new(number, number == 2, free_port())).collect();
    let ground = Arc::new(Ground {
        replicas,
        keys: RwLock::default(),
        bound: bound * 1000,
        // A mirror may have to read all keys again.
        recovery: (60 + keys / 10_000) * SECOND,
        tally: Tally::default(),
    });
    site.start_replicas(&ground.replicas);
    let ends = Arc::new(AtomicBool::new(false));
    let stops_watching = Arc::new(AtomicBool::new(false));
    for number in 0..REPLICAS {
        tokio::spawn(callers::watch(Arc::clone(&ground), number, Arc::clone(&stops_watching)));
    }
    let mut changer = Changer {
        ground: Arc::clone(&ground),
        store: store.clone(),
        caller: Caller::new(),
        ends: Arc::clone(&ends),
        random: random.fork(),
    };
    calm(&ground).await;
    while ground.keys.read().unwrap().is_empty() {
        changer.issue(SMALL).await;
    }
    for _ in 0..150 {
        changer.issue("ci").await;
    }
    let start = Instant::now();
    let changes = tokio::spawn(changer.run());
    let callers: Vec<_> = (0..2 * REPLICAS)
        .map(|number| {
            let (ground, ends) = (Arc::clone(&ground), Arc::clone(&ends));
            tokio::spawn(callers::call(ground, number % REPLICAS, *keys, ends, random.fork()))
        })
        .collect();
    let faults = faults::spawn(site, Arc::clone(&ground), Arc::clone(&ends), random.fork());
    tokio::time::sleep(Duration::from_secs(*seconds)).await;
    ends.store(true, SeqCst);
    for task in callers {
        task.await.unwrap();
    }
    changes.await.unwrap();
    let _site = tokio::task::spawn_blocking(|| faults.join().unwrap()).await.unwrap();
    calm(&ground).await;
    let seconds = start.elapsed().as_secs();
    check_usage(&ground, &store).await;
    check_small(&ground.tally, seconds);
    stops_watching.store(true, SeqCst);
    report::print(&ground, seconds);
    if ground.tally.wrong.load(Relaxed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Waits until all replicas follow the database. The watch complains if one does not.
async fn calm(ground: &Ground) {
    while ground.replicas.iter().any(|replica| replica.view().cause.is_some()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares usage in the database with the requests.
async fn check_usage(ground: &Ground, store: &Store) {
    let (tally, caller) = (&ground.tally, Caller::new());
    for replica in &ground.replicas {
        let flushed = caller.send(replica.port, Method::POST, "/flush", "").await;
        if flushed.as_ref().map(|(status, _)| *status) != Some(200) {
            tally.wrong(format!("replica {} cannot write its usage", replica.number));
        }
    }
    let history = store.usage().read(None).await.unwrap();
    let written: u64 = history.rows().iter().map(|row| row.counts().accepted).sum();
    let accepted = tally.accepted.load(Relaxed);
    let least = ground.replicas.iter().map(|it| it.accepted.load(Relaxed)).sum::<u64>();
    let most = accepted + tally.unanswered.load(Relaxed);
    println!(
        "usage: {written} accepted requests in the database, {accepted} answered, at least {least}, at most {most}"
    );
    if !(least..=most).contains(&written) {
        tally.wrong(format!("usage has {written} accepted requests and not {least} to {most}"));
    }
}

/// Compares the client of a small limit with its limit. While Redis is away, each replica counts alone.
fn check_small(tally: &Tally, seconds: u64) {
    let small = tally.small.load(Relaxed);
    let of_one = SMALL_BURST + SMALL_PER_SECOND * seconds;
    let faults: u64 = tally.faults.lock().unwrap().values().sum();
    let most = (1 + REPLICAS as u64) * (of_one + SMALL_BURST * faults);
    println!(
        "small limit: {small} accepted requests, {of_one} with Redis at all times, at most {most}"
    );
    if small > most {
        tally.wrong(format!("a limit let {small} requests pass instead of {most}"));
    }
}
