//! What may not be told apart takes the same instructions, to the last one. Refusals by a key's record
//! differ by the clock's alone, and one of an unknown key by where the map's own look-up ends.

use std::{
    collections::BTreeSet,
    hint::black_box,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    key::KeyFormat,
    record::Record,
    verify::{self, Verify},
};
use tower_api_key_counts::{
    Inner,
    callgrind::{self, Count},
    client_request, count, differing_at, discard, fill, key, keyring, with_key, wrong_key,
};
use tower_layer::Layer;

/// The group whose cases are not equal, since it is known what they differ by.
const BY_RECORD: &str = "by record";
const UNKNOWN: &str = "unknown";
const SAME_SLOT: &str = "unknown, in the place of a key";
const REVOKED: &str = "revoked";
const REVOKED_WITH_TIMES: &str = "revoked, with times";
const EXPIRED: &str = "expired";
const RETIRED: &str = "expired, as it was rotated";
const ROTATED: &str = "rotated without overlap";
const NOT_YET_VALID: &str = "not yet valid";
const PAUSED: &str = "paused";
const PAUSED_WITH_TIMES: &str = "paused, with times";
const TIMELESS: &str = "accepted, without times";
const TIMED: &str = "accepted, with times";

/// What the map may take beyond an empty place to find one that is not, at most.
const PLACE: i64 = 20;

fn main() -> ExitCode {
    if client_request::is_running() {
        client_request::start();
        comparing();
        looking_up();
        refusing_early();
        refusing_by_record();
        return ExitCode::SUCCESS;
    }
    let counts = callgrind::run("equal");
    if judge_equal(&counts) & judge_by_record(&counts) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn comparing() {
    let presented = KeyDigest::of(key(0));
    let compare = |case: &str, stored: KeyDigest| {
        let act = &mut |(a, b)| discard(equal(&a, &b));
        callgrind::count(&format!("two digests: {case}"), |_| (presented, stored), act);
    };
    compare("equal", presented);
    for byte in 0..32 {
        compare(&format!("byte {byte} differs"), differing_at(&key(0), byte));
    }
}

#[inline(never)]
fn equal(a: &KeyDigest, b: &KeyDigest) -> bool {
    black_box(a) == black_box(b)
}

fn looking_up() {
    // A key is looked up by the first eight bytes of its digest. Only where they fit is it compared with
    // a stored one.
    for byte in 0..8 {
        refuse(&format!("not found: byte {byte} differs"), holding(|key| differ(key, byte)), key);
    }
    refuse("not found: all bytes differ", keyring(1), wrong_key);
    refuse("not found: all bytes differ, 1,000 keys", keyring(1000), wrong_key);
    for byte in 8..32 {
        refuse(&format!("compared: byte {byte} differs"), holding(|key| differ(key, byte)), key);
    }
    for byte in 0..32 {
        let stored = differing_at(&key(0), byte);
        let check = verify::from_fn(move |it| (it.digest() == stored).then(|| Client::new("me")));
        refuse(&format!("compared by a closure: byte {byte} differs"), check, |_| key(0));
    }

    accept("found: the only key", keyring(1), |_| key(0));
    let keys = keyring(1000);
    for (which, first) in [("first", 0), ("middle", 484), ("last", 968)] {
        let case = format!("found: among the {which} of 1,000 keys");
        accept(&case, keys.clone(), |number| key(first + number));
    }
}

/// What is refused by its form alone takes the same whatever keys there are.
fn refusing_early() {
    let format = KeyFormat::new("acme").expect("a prefix");
    let rings = [0, 1, 1000]
        .map(|keys| (keys, fill(Keyring::builder().format(format.clone()).build(), keys)));
    for (form, key) in [
        ("over-long", &*"k".repeat(2000)),
        ("malformed", "acme_AbCdEfGh_ZZZZZZZZZZZZZZZZZZZZZ1hfubi"),
        ("of another format", "else_AbCdEfGh_ZZZZZZZZZZZZZZZZZZZZZZ1hfubi"),
        ("wrong checksum", "acme_AbCdEfGh_ZZZZZZZZZZZZZZZZZZZZZZ1hfubj"),
    ] {
        for (keys, ring) in &rings {
            refuse(&format!("{form}: {keys} keys"), ring.clone(), |_| key.to_owned());
        }
    }
}

fn refusing_by_record() {
    let (before, after) = (now() - Duration::from_secs(60), now() + Duration::from_secs(60));
    let name = |case| format!("{BY_RECORD}: {case}");
    let refuse = |case, keys| refuse(&name(case), keys, key);
    refuse(UNKNOWN, holding(|key| differ(key, 0)));
    refuse(SAME_SLOT, holding(|key| differ(key, 31)));
    refuse(REVOKED, holding(|key| record(key).with_revoked(before)));
    refuse(REVOKED_WITH_TIMES, holding(|key| record(key).with_expires(after).with_revoked(before)));
    refuse(PAUSED, holding(|key| record(key).with_paused(before)));
    refuse(PAUSED_WITH_TIMES, holding(|key| record(key).with_expires(after).with_paused(before)));
    refuse(EXPIRED, holding(|key| record(key).with_expires(before)));
    refuse(RETIRED, holding(|key| record(key).with_retires(before)));
    refuse(ROTATED, holding(|key| record(key).with_rotated(after).with_retires(after)));
    refuse(NOT_YET_VALID, holding(|key| record(key).with_not_before(after)));
    let accept = |case, keys| accept(&name(case), keys, key);
    accept(TIMELESS, holding(record));
    accept(TIMED, holding(|key| record(key).with_expires(after)));
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn record(key: &str) -> Record {
    of_digest(KeyDigest::of(key))
}

fn differ(key: &str, byte: usize) -> Record {
    of_digest(differing_at(key, byte))
}

fn of_digest(digest: KeyDigest) -> Record {
    Record::new(digest, Client::new("client")).with_created(UNIX_EPOCH)
}

/// A keyring with a record for every key that will be presented, whose clock stands still. A table of
/// 32 places would be full then, where a key that is not there is found missing at the 26th place.
fn holding(record: impl Fn(&str) -> Record) -> Keyring {
    let keys = Keyring::builder().clock(now).build();
    for number in 0..callgrind::INPUTS + 8 {
        keys.insert_record(record(&key(number))).expect("a new key");
    }
    keys
}

fn refuse(case: &str, verify: impl Verify, key: impl Fn(usize) -> String) {
    request(case, StatusCode::UNAUTHORIZED, verify, key);
}

fn accept(case: &str, verify: impl Verify, key: impl Fn(usize) -> String) {
    request(case, StatusCode::OK, verify, key);
}

/// One request through the whole service.
fn request(case: &str, status: StatusCode, verify: impl Verify, key: impl Fn(usize) -> String) {
    let layer = ApiKeyLayer::new(header("x-api-key"), verify).no_cache_headers();
    count(case, status, layer.layer(Inner), |number| with_key(&key(number)));
}

fn group(count: &Count) -> &str {
    count.case.split_once(": ").expect("a group and a case").0
}

/// Whether all cases of each group took the same.
fn judge_equal(counts: &[Count]) -> bool {
    let mut all_equal = true;
    println!("instructions of what may not be told apart");
    for cases in counts.chunk_by(|a, b| group(a) == group(b)) {
        let group = group(&cases[0]);
        if group == BY_RECORD {
            continue;
        }
        let counts: BTreeSet<_> = cases.iter().map(|it| it.least).collect();
        println!("{:>9}  {group}, {} cases", counts.first().expect("a case"), cases.len());
        if counts.len() > 1 {
            all_equal = false;
            for odd in cases.iter().filter(|it| it.least != cases[0].least) {
                println!(
                    "FAILED {}: {}; {}: {}",
                    odd.case, odd.least, cases[0].case, cases[0].least
                );
            }
        }
    }
    all_equal
}

/// Whether refusals by a record differ by the clock's steps and nothing else, and those of an unknown
/// key by the map's.
fn judge_by_record(counts: &[Count]) -> bool {
    let of = |name: &str| {
        let mut cases = counts.iter().filter(|it| group(it) == BY_RECORD);
        cases.find(|it| it.case.ends_with(&format!(": {name}"))).expect("a case").least
    };
    let clock = of(TIMED) - of(TIMELESS);
    let place = of(SAME_SLOT) - of(UNKNOWN);
    println!("{:>9}  {BY_RECORD}: {SAME_SLOT}", of(SAME_SLOT));
    println!(
        "{:>9}  {UNKNOWN}, so that the map finds an empty place: at most {PLACE} fewer",
        -place
    );
    let mut as_known = (0..=PLACE).contains(&place);
    if !as_known {
        println!("FAILED {UNKNOWN}: {place} fewer");
    }
    let with_times =
        [REVOKED_WITH_TIMES, PAUSED_WITH_TIMES, EXPIRED, RETIRED, ROTATED, NOT_YET_VALID]
            .map(|case| (case, clock));
    for (case, clock) in [(REVOKED, 0), (PAUSED, 0)].into_iter().chain(with_times) {
        let beyond = of(case) - of(SAME_SLOT);
        println!("{beyond:>+9}  {case}, with {clock} for the clock");
        if beyond != clock {
            as_known = false;
            println!("FAILED {case}: {} beside the clock's", beyond - clock);
        }
    }
    as_known
}
