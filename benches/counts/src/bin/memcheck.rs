//! Nothing branches on a stored digest, and nothing indexes by one. To memcheck they are undefined
//! memory. It reports a branch on whether two digests are equal, once for each two that are compared;
//! in a keyring also one on whether the first eight bytes are, by which its map finds the two; and
//! nothing else. What a verifier answers is no secret any more.

use std::{
    env, fs,
    hint::black_box,
    iter,
    process::{self, Command, ExitCode},
    time::{Duration, UNIX_EPOCH},
};

use http::StatusCode;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    key_file::KeyFile,
    record::Record,
    verify::{self, PresentedKey, Verification, Verify},
};
use tower_api_key_counts::{
    Inner, answer, client_request, differing_at, discard, key, secret, with_key,
};
use tower_layer::Layer;

/// On its way through the map a key may meet another by chance, which is compared as well: once in
/// some hundred times, and not with each of three seeds.
const SEEDS: usize = 3;

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

fn main() -> ExitCode {
    if client_request::is_running() {
        println!("{:>9} {:>9}  reports of memcheck", "expected", "reported");
        let (right, caught) = (verifiers(), controls());
        return if right && caught { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let program = env::current_exe().expect("this program");
    let log = program.with_extension("log");
    let status = Command::new("valgrind")
        .args(["--tool=memcheck", "--error-limit=no", "--quiet"])
        .arg(format!("--log-file={}", log.display()))
        .arg(program)
        .status()
        .expect("valgrind");
    println!("the reports themselves: {}", log.display());
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether every verifier is reported as often as it has to be.
fn verifiers() -> bool {
    let ended = UNIX_EPOCH + Duration::from_secs(1);
    let mut wrong = Vec::new();
    let mut check = |name: &str, cases: Vec<Case>| {
        for case in cases {
            println!("{:>9} {:>9}  {name}: {}", case.expected, case.reported, case.stored);
            if case.reported != case.expected {
                let Case { stored, reported, expected } = case;
                wrong.push(format!("{name}: {stored}: {reported} reports, not {expected}"));
            }
        }
    };
    check("keyring, 1 key", by_slot(1, OK, keyring));
    check("keyring, 1,000 keys", by_slot(1000, OK, keyring));
    let revoked = |keys: &_| holding(keys, |record| record.with_revoked(ended));
    check("keyring, revoked", by_slot(1, UNAUTHORIZED, revoked));
    let expired = |keys: &_| holding(keys, |record| record.with_expires(ended));
    check("keyring, expired", by_slot(1, UNAUTHORIZED, expired));
    let second = |keys: &[_]| keyring(&keys[1..]).or(keyring(&keys[..1]));
    check("the second of two keyrings", by_slot(100, OK, second));
    check("key file, 1 key", by_slot(1, OK, key_file));
    check("key file, 100 keys", by_slot(100, OK, key_file));
    check("closure", one_by_one(|stored, presented| stored == presented));
    wrong.iter().for_each(|case| println!("FAILED {case}"));
    wrong.is_empty()
}

/// Whether it is seen where a verifier does branch on a digest, or indexes by one.
fn controls() -> bool {
    let mut missed = Vec::new();
    let mut control = |name: &str, cases: Vec<Case>| {
        let reported: usize = cases.iter().map(|case| case.reported).sum();
        let expected: usize = cases.iter().map(|case| case.expected).sum();
        println!("{expected:>9} {reported:>9}  planted: {name}");
        if reported <= expected {
            missed.push(name.to_owned());
        }
    };
    control(
        "`==` on bytes",
        one_by_one(|stored, presented| {
            let length = black_box(32);
            stored.to_bytes()[..length] == presented.to_bytes()[..length]
        }),
    );
    control(
        "`==` on one word after another",
        one_by_one(|stored, presented| {
            let words = secret::words(&stored).into_iter().zip(secret::words(&presented));
            // Else the compiler makes one branch of them all.
            words.map(|(a, b)| a == b).all(black_box)
        }),
    );
    control(
        "a table indexed by a byte",
        one_by_one(|stored, presented| {
            let table = black_box([1_u8; 256]);
            table[usize::from(stored.to_bytes()[20])] == 1 && stored == presented
        }),
    );
    missed.iter().for_each(|name| println!("FAILED {name}: planted, and not reported"));
    missed.is_empty()
}

/// A request behind a verifier with certain stored digests.
struct Case {
    stored: String,
    expected: usize,
    reported: usize,
}

/// A verifier that finds a digest by its first eight bytes, and only where they fit has a secret to
/// compare.
fn by_slot<V: Verify>(
    keys: usize,
    opens: StatusCode,
    verifier: impl Fn(&[KeyDigest]) -> V,
) -> Vec<Case> {
    let fits_and_is_it =
        |byte: Option<usize>| if byte.is_none_or(|byte| byte >= 8) { 2 } else { 0 };
    cases(keys, opens, verifier, fits_and_is_it)
}

/// A verifier that compares the only digest that it has, in its own way.
fn one_by_one(same: impl Fn(KeyDigest, KeyDigest) -> bool + Copy) -> Vec<Case> {
    let verifier = |keys: &[KeyDigest]| {
        let stored = keys[0];
        verify::from_fn(move |key| same(stored, key.digest()).then(|| Client::new("client")))
    };
    cases(1, OK, verifier, |_| 1)
}

/// Stored are the digest of the key itself or one that differs in a bit, beside those of other keys.
fn cases<V: Verify>(
    keys: usize,
    opens: StatusCode,
    verifier: impl Fn(&[KeyDigest]) -> V,
    expected: impl Fn(Option<usize>) -> usize,
) -> Vec<Case> {
    let case = |byte: Option<usize>| {
        let stored = byte.map_or_else(|| "equal".to_owned(), |byte| format!("byte {byte} differs"));
        let status = if byte.is_none() { opens } else { UNAUTHORIZED };
        let reported = (0..SEEDS).map(|_| {
            let first =
                byte.map_or_else(|| KeyDigest::of(key(0)), |byte| differing_at(&key(0), byte));
            let others = (1..keys).map(|number| KeyDigest::of(key(number)));
            let stored: Vec<_> = iter::once(first).chain(others).collect();
            reports(verifier(&stored), &stored, status)
        });
        Case { stored, expected: expected(byte), reported: reported.min().unwrap_or_default() }
    };
    [None, Some(0), Some(7), Some(8), Some(16), Some(31)].into_iter().map(case).collect()
}

/// How often memcheck reports something while a request is answered, with these digests secret.
fn reports<V: Verify>(verifier: V, stored: &[KeyDigest], status: StatusCode) -> usize {
    let layer = ApiKeyLayer::new(header("x-api-key"), Told(verifier)).no_cache_headers();
    let (mut service, request) = (layer.layer(Inner), with_key(&key(0)));
    // Those of the slice itself, and those of the verifier.
    assert!(secret::mark(stored) >= 8 * stored.len(), "a digest is not where it could be marked");
    let before = client_request::reports();
    let response = answer(&mut service, request);
    assert_eq!(response.status(), status);
    discard(response);
    client_request::reports() - before
}

/// A verifier whose answer is told to all.
struct Told<V>(V);

impl<V: Verify> Verify for Told<V> {
    type Client = V::Client;
    type Future = V::Future;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<V::Client, V::Future> {
        let answer = self.0.verify(key);
        client_request::define(&raw const answer);
        answer
    }
}

fn keyring(keys: &[KeyDigest]) -> Keyring {
    holding(keys, |record| record)
}

fn holding(keys: &[KeyDigest], with: impl Fn(Record) -> Record) -> Keyring {
    let ring = Keyring::new();
    for digest in keys {
        let record = Record::new(*digest, Client::new("client")).with_created(UNIX_EPOCH);
        ring.insert_record(with(record)).expect("a new key");
    }
    ring
}

fn key_file(keys: &[KeyDigest]) -> KeyFile {
    let folder = env::temp_dir().join(format!("tower-api-key-memcheck-{}", process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let options = || KeyFile::options().follow(false);
    let path = folder.join("keys.jsonl");
    let insert = |ring: &Keyring| {
        keys.iter().try_for_each(|digest| ring.insert_digest(*digest, Client::new("client")))
    };
    options().create(true).open(&path).and_then(|file| file.update(insert)).expect("a new file");
    let file = options().open(&path).expect("the file");
    fs::remove_dir_all(&folder).expect("the folder");
    file
}
