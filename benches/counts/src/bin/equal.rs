//! What may not be told apart takes the same instructions, to the last one.

use std::{
    collections::BTreeMap,
    hint::black_box,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    key::KeyFormat,
    verify::{Record, Verify},
};
use tower_api_key_counts::{
    Inner, answer, callgrind, client_request, discard, key, keyring, with_key, wrong_key,
};
use tower_layer::Layer;

fn main() -> ExitCode {
    if client_request::is_running() {
        comparing();
        looking_up();
        refusing();
        ExitCode::SUCCESS
    } else {
        judge()
    }
}

/// A digest that differs from that of a key in one bit.
fn differing_at(key: &str, byte: usize) -> KeyDigest {
    let mut bytes = KeyDigest::of(key).to_bytes();
    bytes[byte] ^= 0x10;
    KeyDigest::from_bytes(bytes)
}

fn comparing() {
    let presented = KeyDigest::of(key(0));
    let count = |case: &str, stored: KeyDigest| {
        let case = format!("two digests: {case}");
        callgrind::count(&case, |_| (presented, stored), &mut |(a, b)| discard(equal(&a, &b)));
    };
    count("equal", presented);
    for byte in [0, 7, 8, 15, 16, 24, 31] {
        count(&format!("byte {byte} differs"), differing_at(&key(0), byte));
    }
}

#[inline(never)]
fn equal(a: &KeyDigest, b: &KeyDigest) -> bool {
    black_box(a) == black_box(b)
}

fn ring() -> Keyring {
    Keyring::new().clock(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

fn holding(digest: KeyDigest) -> Keyring {
    let keys = ring();
    keys.insert_digest(digest, Client::new("client")).expect("a new key");
    keys
}

fn looking_up() {
    for byte in [8, 15, 16, 24, 31] {
        let keys = holding(differing_at(&key(0), byte));
        refuse(&format!("compared and refused: byte {byte} differs"), keys, |_| key(0));
    }
    for byte in [0, 3, 7] {
        let keys = holding(differing_at(&key(0), byte));
        refuse(&format!("not found: byte {byte} differs"), keys, |_| key(0));
    }
    refuse("not found: all bytes differ", keyring(1), wrong_key);
    refuse("not found: 1,000 keys", keyring(1000), wrong_key);

    let keys = keyring(1000);
    for (which, first) in [("first", 0), ("middle", 480), ("last", 904)] {
        let case = format!("found: among the {which} of 1,000 keys");
        count(&case, StatusCode::OK, keys.clone(), |number| key(first + number));
    }
}

fn refusing() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (before, after) = (now - Duration::from_secs(60), now + Duration::from_secs(60));
    let record =
        || Record::new(KeyDigest::of(key(0)), Client::new("client")).created_at(UNIX_EPOCH);
    let only = |record: Record| {
        let keys = ring();
        keys.insert_record(record).expect("a new key");
        keys
    };
    refuse("wrong key: unknown", keyring(1), wrong_key);
    refuse("wrong key: differs", holding(differing_at(&key(0), 31)), |_| key(0));
    refuse("wrong key: revoked", only(record().revoked_at(before)), |_| key(0));
    refuse("wrong key: expired", only(record().expires_at(before)), |_| key(0));
    refuse("wrong key: expired, noted", only(record().expires_at(before).note("n")), |_| key(0));
    refuse("wrong key: not yet valid", only(record().not_before(after)), |_| key(0));
    let _: (SystemTime, &dyn Fn() -> KeyFormat) = (now, &KeyFormat::default);
}

fn refuse(case: &str, keys: Keyring, key: impl Fn(usize) -> String) {
    count(case, StatusCode::UNAUTHORIZED, keys, key);
}

fn count<V: Verify>(case: &str, status: StatusCode, keys: V, key: impl Fn(usize) -> String) {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).no_cache_headers();
    let mut service = layer.layer(Inner);
    assert_eq!(answer(&mut service, with_key(&key(0))).status(), status, "{case}");
    let act = &mut |request| discard(answer(&mut service, request));
    callgrind::count(case, |number| with_key(&key(number)), act);
}

fn judge() -> ExitCode {
    let mut groups: BTreeMap<String, Vec<(String, i64, i64)>> = BTreeMap::new();
    for count in callgrind::run("equal") {
        let (group, case) = count.case.split_once(": ").expect("a group");
        let group = groups.entry(group.to_owned()).or_default();
        group.push((case.to_owned(), count.least, count.most));
    }
    for (group, cases) in groups {
        println!("{group}");
        for (case, least, most) in cases {
            println!("{least:>9} {most:>9} {case}");
        }
    }
    ExitCode::SUCCESS
}
