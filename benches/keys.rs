//! The cost of many keys: memory, changes while requests run, and loading a file.
//!
//! Each figure comes from its own process, because a process can reuse memory that an earlier part left.

use std::{
    env, fs,
    hint::black_box,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use http::Request;
use serde::Deserialize;
use tower_api_key::{
    Client, KeyDigest, Keyring,
    extract::RequestHead,
    key::KeyFormat,
    key_file::KeyFile,
    record::Record,
    verify::{PresentedKey, Verify},
};

const MILLION: usize = 1_000_000;
const RUNS: usize = 5;
const PART: &str = "TOWER_API_KEY_BENCH";

fn main() {
    if let Ok(part) = env::var(PART) {
        return run(&part);
    }
    println!("| measurement | figure |\n|---|--:|");
    for part in ["memory", "changes"] {
        print!("{}", in_own_process(part));
    }
    for keys in [100_000, MILLION] {
        let path = file(keys);
        let parts = ["value", "struct", "load"];
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            for (part, times) in parts.iter().zip(&mut times) {
                let time = in_own_process(&format!("{part} {}", path.display()));
                times.push(time.trim().parse::<f64>().expect("milliseconds"));
            }
        }
        let [value, of_struct, load] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        });
        println!("| a file of {keys} keys: parsed to `serde_json::Value`s | {value:.0} ms |");
        println!("| … parsed to structs of owned strings | {of_struct:.0} ms |");
        println!(
            "| … **loaded** | **{load:.0} ms: {:.2} of values, {:.2} of structs** |",
            load / value,
            load / of_struct
        );
    }
}

fn in_own_process(part: &str) -> String {
    let this = env::current_exe().expect("this program");
    let output = Command::new(this).env(PART, part).output().expect("a process");
    assert!(output.status.success(), "{part}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn run(part: &str) {
    match part.split_once(' ') {
        None if part == "memory" => memory(),
        None => changes(),
        Some((method, path)) => reading(method, path),
    }
}

/// Returns a record with a format and an expiry, like that of a minted key.
fn record(number: usize, client: Client, format: &KeyFormat, expires: SystemTime) -> Record {
    let id = format!("{number:08}");
    let record = Record::new(KeyDigest::of(id.as_bytes()), client).with_format(format.clone());
    record.with_id(&id).expect("an id").with_expires(expires)
}

fn million(clients: Vec<Client>) -> Keyring {
    let (keys, format) = (Keyring::new(), KeyFormat::default());
    let expires = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
    for (number, client) in clients.into_iter().enumerate() {
        keys.insert_record(record(number, client, &format, expires)).expect("a new key");
    }
    keys
}

fn clients() -> Vec<Client> {
    (0..MILLION).map(|number| Client::new(format!("client-{number}"))).collect()
}

/// Measures the resident memory of a million keys without their clients.
fn memory() {
    let clients = clients();
    let copy = clients.clone();
    let before = resident();
    let keys = million(clients);
    let each = (resident() - before) as f64 / MILLION as f64;
    black_box((keys, copy));
    println!("| memory of a key with its record and all indices, at 1,000,000 | {each:.0} bytes |");
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("resident pages") * 4096
}

/// Measures changes of a million keys while another thread sends requests.
fn changes() {
    let keys = million(clients());
    let (done, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let request = Request::new(());
            while !done.load(Ordering::Relaxed) {
                let key = PresentedKey::new(b"00000000", RequestHead::of(&request));
                assert!(keys.verify(&key).into_result().is_ok(), "a valid request is rejected");
                requests.fetch_add(1, Ordering::Relaxed);
            }
        });
        report("revoking a client", |number| {
            assert_eq!(keys.revoke_client(&format!("client-{}", 1 + number)), 1);
        });
        report("revoking a key", |number| {
            assert!(keys.revoke_key(&format!("{:08}", 5000 + number)))
        });
        report("rotating a key", |number| {
            let key_id = format!("{:08}", 10_000 + number);
            drop(keys.rotate(&key_id, Duration::from_secs(60)).expect("a valid key"));
        });
        report("issuing a key", |_| {
            drop(keys.issue(&KeyFormat::default(), Client::new("new")).expect("a key"));
        });
        done.store(true, Ordering::Relaxed);
    });
    assert!(requests.into_inner() > 1000, "too few requests during the changes");
}

fn report(change_name: &str, mut change: impl FnMut(usize)) {
    let mut times: Vec<_> = (0..1000)
        .map(|number| {
            let started = Instant::now();
            change(number);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, p99, longest) = (times[500], times[990], times[999]);
    println!(
        "| {change_name}, of 1,000,000, while requests run: median, p99, longest | {median:.1?}, {p99:.1?}, {longest:.1?} |"
    );
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the fields are only parsed")]
struct Line {
    id: String,
    client: String,
    digest: String,
    created: String,
    expires: String,
    prefix: String,
}

fn reading(method: &str, path: &str) {
    let started = Instant::now();
    let text = || fs::read_to_string(path).expect("the file");
    let time = match method {
        "value" => {
            let text = text();
            let lines = text.lines().skip(1).map(serde_json::from_str::<serde_json::Value>);
            let lines: Result<Vec<_>, _> = lines.collect();
            let time = started.elapsed();
            black_box(lines.expect("JSON"));
            time
        }
        "struct" => {
            let text = text();
            let lines: Result<Vec<Line>, _> =
                text.lines().skip(1).map(serde_json::from_str).collect();
            let time = started.elapsed();
            black_box(lines.expect("JSON"));
            time
        }
        _ => {
            let file = KeyFile::options().follow(false).open(path).expect("the file");
            let time = started.elapsed();
            black_box(file);
            time
        }
    };
    println!("{}", time.as_secs_f64() * 1e3);
}

fn file(keys: usize) -> PathBuf {
    let path = env::temp_dir().join(format!("tower-api-key-bench-{keys}.jsonl"));
    fs::remove_file(&path).ok();
    let file = KeyFile::options().create(true).follow(false).open(&path).expect("a new file");
    let format = KeyFormat::new("sk_live").expect("a prefix");
    let expires = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
    let insert = |keyring: &Keyring| {
        (0..keys).try_for_each(|number| {
            let client = Client::new(format!("client-{number}"));
            keyring.insert_record(record(number, client, &format, expires))
        })
    };
    file.update(insert).expect("new keys");
    path
}
