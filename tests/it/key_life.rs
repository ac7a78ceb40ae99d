//! The life of a key in a keyring: its times, rotation, revocation, and its record afterwards.

use crate::support;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::{Request, request};
use proptest::{collection::vec, option, prelude::*};
use support::{KEY, Reply, SPOTS, WRONG, ask, cases};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring,
    error::{KeyringError, KeyringErrorKind as Kind},
    extract::header,
    key::{KeyFormat, MintedKey},
    observe::{Decision, Observe},
    record::Record,
    rejection::Reason,
    respond::Problem,
    verify::Verify as _,
};

/// The smallest step of the operating system's clock.
const TICK: Duration = Duration::from_nanos(if cfg!(windows) { 100 } else { 1 });

const DAY: Duration = Duration::from_secs(86_400);

const MISSING_ID: &str = "00000000";

fn days(days: u32) -> Duration {
    days * DAY
}

/// The time at which the clock of a test starts.
fn start() -> SystemTime {
    UNIX_EPOCH + days(20_000)
}

/// A clock that changes only by a call, and counts how often it is read.
#[derive(Clone)]
struct Clock {
    now: Arc<Mutex<SystemTime>>,
    read: Arc<AtomicUsize>,
}

impl Clock {
    fn now(&self) -> SystemTime {
        *self.now.lock().unwrap()
    }

    fn set(&self, time: SystemTime) {
        *self.now.lock().unwrap() = time;
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    fn reads(&self) -> usize {
        self.read.swap(0, SeqCst)
    }
}

fn keyring<C: Clone + Send + Sync + 'static>() -> (Keyring<C>, Clock) {
    let clock = Clock { now: Arc::new(Mutex::new(start())), read: Arc::default() };
    let theirs = clock.clone();
    let keys = Keyring::builder()
        .clock(move || {
            theirs.read.fetch_add(1, SeqCst);
            theirs.now()
        })
        .build();
    (keys, clock)
}

fn send<C: Clone + Send + Sync + 'static>(keys: &Keyring<C>, key: &str) -> Reply {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key))
}

fn outcome<C: Clone + Send + Sync + 'static>(keys: &Keyring<C>, key: &str) -> String {
    send(keys, key).outcome()
}

fn record(key: &str, client: &str) -> Record {
    Record::new(KeyDigest::of(key), Client::new(client))
}

/// Returns a record that was created long ago, so that it can have expired.
fn old_record(key: &str, client: &str) -> Record {
    record(key, client).with_created(UNIX_EPOCH)
}

/// Returns the public id of a key, and the key.
fn reveal(minted: MintedKey) -> (String, String) {
    let id = minted.id().to_owned();
    (id, minted.reveal(str::to_owned))
}

fn issue(keys: &Keyring, client: &str) -> (String, String) {
    reveal(keys.issue(&KeyFormat::default(), Client::new(client)).unwrap())
}

fn rotate<C>(keys: &Keyring<C>, id: &str, overlap: Duration) -> (String, String)
where
    C: Identity + Clone + Send + Sync + 'static,
{
    reveal(keys.rotate(id, overlap).unwrap())
}

#[track_caller]
fn kind<T>(result: Result<T, KeyringError>) -> Kind {
    result.map(drop).unwrap_err().kind()
}

/// Returns every record of a keyring as text, to compare it before and after.
fn snapshot(keys: &Keyring) -> BTreeMap<String, String> {
    let line = |record: Record| {
        let format = record.format().map(KeyFormat::prefix);
        (record.id().unwrap().to_owned(), format!("{record:?} {format:?}"))
    };
    let snapshot: BTreeMap<_, _> = keys.records().map(line).collect();
    assert_eq!(snapshot.len(), keys.records().count());
    snapshot
}

fn id_of(keys: &Keyring, key: &str) -> String {
    let digest = KeyDigest::of(key);
    let record = keys.records().find(|record| record.digest() == digest).unwrap();
    record.id().unwrap().to_owned()
}

// --------------------------------------------------------------------------------------------
// Start and expiry.

#[test]
fn r43_a_key_is_rejected_from_the_instant_at_which_it_expires() {
    let (keys, clock) = keyring();
    let end = start() + DAY;
    keys.insert_record(record("key-1", "ci").with_expires(end)).unwrap();
    for (now, expected) in [
        (start(), "200 ci"),
        (end - TICK, "200 ci"),
        (end, "401 expired"),
        (end + TICK, "401 expired"),
        (end + days(100_000), "401 expired"),
        (end - TICK, "200 ci"), // the clock is set back
    ] {
        clock.set(now);
        assert_eq!(outcome(&keys, "key-1"), expected);
    }
}

#[test]
fn r43_a_key_is_accepted_from_the_instant_at_which_it_begins() {
    let (keys, clock) = keyring();
    let (begin, end) = (start() + DAY, start() + days(2));
    keys.insert_record(record("key-1", "ci").with_not_before(begin)).unwrap();
    keys.insert_record(record("key-2", "ci").with_not_before(begin).with_expires(end)).unwrap();
    keys.insert_record(record("key-3", "ci").with_not_before(begin).with_expires(begin)).unwrap();
    for (now, expected) in [
        (UNIX_EPOCH, ["401 not_yet_valid"; 3]),
        (begin - TICK, ["401 not_yet_valid"; 3]),
        (begin, ["200 ci", "200 ci", "401 expired"]),
        (begin + TICK, ["200 ci", "200 ci", "401 expired"]),
        (end - TICK, ["200 ci", "200 ci", "401 expired"]),
        (end, ["200 ci", "401 expired", "401 expired"]),
    ] {
        clock.set(now);
        assert_eq!(["key-1", "key-2", "key-3"].map(|key| outcome(&keys, key)), expected);
    }
}

#[test]
fn r43_the_clock_is_read_once_for_a_key_with_times_and_never_for_one_without() {
    let (keys, clock) = keyring();
    for (key, record) in [
        ("plain", record("plain", "ci")),
        ("noted", record("noted", "ci").with_note("a note")),
        ("created", record("created", "ci").with_created(start() - DAY)),
        ("expiring", record("expiring", "ci").with_expires(start() + DAY)),
        ("beginning", record("beginning", "ci").with_not_before(start())),
        ("retiring", record("retiring", "ci").with_retires(start() + DAY)),
        (
            "all",
            record("all", "ci")
                .with_not_before(start())
                .with_expires(start() + DAY)
                .with_retires(start() + DAY)
                .with_note("a note"),
        ),
    ] {
        keys.insert_record(record).unwrap();
        clock.reads();
        for _ in 0..3 {
            assert_eq!(outcome(&keys, key), "200 ci");
        }
        let times = usize::from(!["plain", "noted", "created"].contains(&key));
        assert_eq!(clock.reads(), 3 * times, "{key}");
    }
    keys.revoke_client("ci");
    clock.reads();
    let outcomes = [WRONG, "plain", "noted"].map(|key| outcome(&keys, key));
    assert_eq!(outcomes, ["401 unknown", "401 revoked", "401 revoked"]);
    assert_eq!(clock.reads(), 0);
    assert_eq!((outcome(&keys, "all"), clock.reads()), ("401 revoked".into(), 1));

    // By default a keyring uses the clock of the system.
    let keys = Keyring::new();
    let now = SystemTime::now();
    keys.insert_record(old_record("past", "ci").with_expires(now - days(1))).unwrap();
    keys.insert_record(record("now", "ci").with_expires(now + days(1))).unwrap();
    keys.insert_record(record("soon", "ci").with_not_before(now + days(1))).unwrap();
    let outcomes = ["past", "now", "soon"].map(|key| outcome(&keys, key));
    assert_eq!(outcomes, ["401 expired", "200 ci", "401 not_yet_valid"]);
}

#[test]
fn clones_share_the_clock_and_the_formats_that_the_keyring_was_built_with() {
    let expires = UNIX_EPOCH + DAY;
    let system: Keyring = Keyring::new();
    let past: Keyring = Keyring::builder().clock(|| UNIX_EPOCH).build();
    let strict: Keyring =
        Keyring::builder().clock(|| UNIX_EPOCH).format(KeyFormat::default()).build();
    for keys in [&system, &past, &strict] {
        keys.clone().insert_record(old_record("key-1", "ci").with_expires(expires)).unwrap();
    }
    let outcomes = [&system, &past, &strict].map(|keys| outcome(&keys.clone(), "key-1"));
    assert_eq!(outcomes, ["401 expired", "200 ci", "401 unknown"]);
}

#[test]
fn a_record_returns_its_fields_and_a_keyring_adds_an_id_and_the_time() {
    let (keys, clock) = keyring();
    let fresh = record("key-1", "ci");
    assert_eq!(
        (fresh.id(), fresh.created(), fresh.expires(), fresh.not_before()),
        (None, None, None, None)
    );
    assert_eq!(
        (fresh.retires(), fresh.revoked(), fresh.note(), fresh.format()),
        (None, None, None, None)
    );
    assert_eq!((fresh.client().id(), fresh.digest()), ("ci", KeyDigest::of("key-1")));
    keys.insert_record(fresh.clone()).unwrap();
    let found = keys.record(&id_of(&keys, "key-1")).unwrap();
    assert_eq!((found.id().map(str::len), found.created()), (Some(8), Some(clock.now())));
    assert_eq!((found.expires(), found.not_before(), found.retires()), (None, None, None));

    let format = KeyFormat::new("sk_live").unwrap();
    let times = [1, 2, 3, 4, 5].map(|day| start() + days(day) + TICK);
    let full = record("key-2", "ci")
        .with_id("Full0001")
        .unwrap()
        .with_created(times[0])
        .with_not_before(times[1])
        .with_expires(times[3])
        .with_retires(times[2])
        .with_revoked(times[4])
        .with_note("for deploys")
        .with_format(format.clone());
    for record in [full.clone(), {
        keys.insert_record(full.clone()).unwrap();
        keys.record("Full0001").unwrap()
    }] {
        assert_eq!((record.id(), record.note()), (Some("Full0001"), Some("for deploys")));
        assert_eq!([record.created(), record.not_before()], [Some(times[0]), Some(times[1])]);
        assert_eq!([record.expires(), record.retires()], [Some(times[3]), Some(times[2])]);
        assert_eq!((record.revoked(), record.format()), (Some(times[4]), Some(&format)));
        assert_eq!(record, full);
        let printed = format!("{record:?}");
        assert!(["Full0001", "for deploys", "ci", "revoked"].iter().all(|it| printed.contains(it)));
    }
    assert_eq!((outcome(&keys, "key-2"), keys.len()), ("401 revoked".into(), 1));
    for id in ["", "0000000", "000000000", "0000-000", "0000000\u{e9}", " 0000000", MISSING_ID] {
        assert!(keys.record(id).is_none(), "{id}");
    }
    for id in ["", "0000000", "000000000", "0000_000", "000000\u{e9}", "key-1   "] {
        assert_eq!(kind(record("key-1", "ci").with_id(id)), Kind::KeyId, "{id}");
    }
    // A list holds no lock and does not change.
    let listed = keys.records();
    assert!(keys.remove(&KeyDigest::of("key-1")).is_some());
    assert_eq!((listed.count(), keys.records().count()), (2, 1));
}

#[test]
fn a_key_that_would_end_before_it_begins_is_an_error() {
    let (keys, _) = keyring();
    for wrong in [
        record("key-1", "ci").with_not_before(start()).with_expires(start() - TICK),
        record("key-1", "ci").with_created(start()).with_expires(start() - TICK),
        record("key-1", "ci")
            .with_created(start())
            .with_not_before(start() + DAY)
            .with_expires(start()),
    ] {
        assert_eq!(kind(keys.insert_record(wrong.clone())), Kind::Lifetime);
        let error = keys.replace([record("key-2", "ci"), wrong]).unwrap_err();
        assert_eq!((error.kind(), error.entry()), (Kind::Lifetime, Some(2)));
        assert_eq!(keys.records().count(), 0);
    }
    assert_eq!(kind(keys.insert_record(record("key-1", " "))), Kind::ClientId);
    keys.insert_record(record("key-1", "ci").with_not_before(start()).with_expires(start()))
        .unwrap();
}

// An application can have such a row in its table. It must not prevent changes of other rows.
#[test]
fn an_expired_record_without_a_creation_time_is_an_expired_key_and_no_error() {
    let (keys, _) = keyring();
    let old = || record("old", "ci").with_expires(start() - TICK);
    keys.insert_record(old()).unwrap();
    assert_eq!(outcome(&keys, "old"), "401 expired");
    let first = keys.records().next().unwrap();
    assert_eq!(first.created(), Some(start() - TICK));
    keys.replace([first]).unwrap();
    keys.prune();

    keys.replace([old(), record("new", "ci")]).unwrap();
    assert_eq!([outcome(&keys, "old"), outcome(&keys, "new")], ["401 expired", "200 ci"]);
    // A later revocation is applied.
    keys.replace([old(), record("new", "ci").with_revoked(start())]).unwrap();
    assert_eq!([outcome(&keys, "old"), outcome(&keys, "new")], ["401 expired", "401 revoked"]);
    for early in [UNIX_EPOCH, UNIX_EPOCH - DAY] {
        keys.replace([record("old", "ci").with_not_before(UNIX_EPOCH).with_expires(early)])
            .unwrap();
        assert_eq!((outcome(&keys, "old"), keys.prune()), ("401 expired".into(), 1));
    }
}

// A key that had expired when it was inserted is a valid record, so a file can store it.
#[test]
fn the_records_of_a_keyring_can_be_inserted_again() {
    let (keys, clock) = keyring();
    let format = KeyFormat::new("sk_live").unwrap();
    for record in [
        record("plain", "ci").with_note("a note"),
        record("begun", "ci").with_not_before(start() + DAY).with_expires(start() + days(2)),
        old_record("over", "ci").with_expires(start() - DAY),
        old_record("over-before-1970", "ci").with_expires(UNIX_EPOCH - DAY),
        record("revoked", "ci").with_revoked(start() - DAY),
        record("retired", "ci").with_retires(start() - DAY),
        record("expired", "ci").with_expires(start() - DAY),
        record("rotated", "ci").with_rotated(start()).with_retires(start()),
        record("replaced", "ci").with_rotated(start()).with_replaced_by("Key00001").unwrap(),
    ] {
        keys.insert_record(record).unwrap();
    }
    let (id, _) = reveal(keys.issue(&format, Client::new("ci").with_scopes(["a"])).unwrap());
    clock.pass(DAY);
    rotate(&keys, &id, DAY);
    keys.revoke_key(&id_of(&keys, "plain"));

    let before = snapshot(&keys);
    let (others, _) = keyring();
    for record in keys.records() {
        let text = format!("{record:?}");
        others.insert_record(record).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    assert_eq!(snapshot(&others), before);
    keys.replace(keys.records()).unwrap();
    assert_eq!(snapshot(&keys), before);
}

// --------------------------------------------------------------------------------------------
// Public ids.

#[test]
fn a_client_has_the_id_of_the_presented_key() {
    let (keys, _) = keyring();
    let client = Client::new("ci").with_name("CI").with_scopes(["a"]);
    keys.insert("key-1", client.clone()).unwrap();
    keys.insert_digest(KeyDigest::of("key-2"), client.clone()).unwrap();
    let (id, key) = reveal(keys.issue(&KeyFormat::default(), client.clone()).unwrap());
    let mut ids = HashSet::new();
    for key in ["key-1", "key-2", &key] {
        let reply = send(&keys, key);
        let found = reply.client().unwrap();
        assert_eq!(found.key_id(), Some(&*id_of(&keys, key)));
        assert_eq!(*found, client, "clients with different keys are equal");
        assert_eq!(found.key_id().unwrap().len(), 8);
        ids.insert(found.key_id().unwrap().to_owned());
    }
    assert!(ids.len() == 3 && ids.contains(&id));
    assert_eq!(client.key_id(), None, "the caller's client does not change");
    // A client from another keyring gets the id of its new key.
    let listed = keys.clients().next().unwrap();
    let others: Keyring = Keyring::new();
    others.insert("key-3", listed).unwrap();
    assert_eq!(send(&others, "key-3").client().unwrap().key_id(), Some(&*id_of(&others, "key-3")));
}

#[test]
fn a_custom_key_id_stays_until_the_key_is_rotated() {
    let (keys, _) = keyring();
    let named = Client::new("ci").with_key_id("the-first-one");
    keys.insert("key-1", named.clone()).unwrap();
    keys.insert_record(Record::new(KeyDigest::of("key-2"), named.clone())).unwrap();
    for key in ["key-1", "key-2"] {
        assert_eq!(send(&keys, key).client().unwrap().key_id(), Some("the-first-one"));
        let (new, new_key) = rotate(&keys, &id_of(&keys, key), DAY);
        assert_eq!(send(&keys, &new_key).client().unwrap().key_id(), Some(&*new));
        assert_eq!(send(&keys, key).client().unwrap().key_id(), Some("the-first-one"));
    }
    let (new, key) = reveal(keys.issue(&KeyFormat::default(), named).unwrap());
    assert_eq!(send(&keys, &key).client().unwrap().key_id(), Some(&*new));
}

/// A custom client type that stores the id of its key.
#[derive(Clone, Debug, PartialEq)]
struct Tenant {
    slug: &'static str,
    key: Option<String>,
}

impl Tenant {
    fn new(slug: &'static str) -> Self {
        Self { slug, key: None }
    }
}

impl Identity for Tenant {
    fn id(&self) -> &str {
        self.slug
    }

    fn key_id(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn set_key_id(&mut self, key_id: &str) {
        self.key = Some(key_id.to_owned());
    }
}

#[test]
fn a_custom_client_type_receives_the_id_of_an_issued_or_rotated_key() {
    let (keys, _) = keyring::<Tenant>();
    let found = |key: &str| send(&keys, key).seen().extensions.get::<Tenant>().unwrap().clone();
    let (first, first_key) =
        reveal(keys.issue(&KeyFormat::default(), Tenant::new("acme")).unwrap());
    let (second, second_key) = rotate(&keys, &first, DAY);
    assert_eq!(found(&first_key), Tenant { slug: "acme", key: Some(first) });
    assert_eq!(found(&second_key), Tenant { slug: "acme", key: Some(second.clone()) });

    keys.insert("imported", Tenant::new("acme")).unwrap();
    assert_eq!(found("imported").key, None);
    let digest = KeyDigest::of("imported");
    let imported = keys.records().find(|record| record.digest() == digest).unwrap();
    let (third, third_key) = rotate(&keys, imported.id().unwrap(), DAY);
    assert_eq!(found(&third_key).key, Some(third));

    // A rejected key has its id too.
    keys.revoke_key(&second);
    assert_eq!(send(&keys, &second_key).rejection().unwrap().key_id(), Some(&*second));
    assert_eq!((keys.revoke_client("acme"), keys.len()), (3, 0));
}

#[test]
fn an_inserted_minted_key_keeps_its_id_unless_the_id_is_in_use() {
    let (keys, _) = keyring();
    let format = KeyFormat::new("sk_live").unwrap();
    let (id, key) = reveal(format.mint().unwrap());
    keys.insert_record(record("other", "other").with_id(&id).unwrap()).unwrap();
    keys.insert(&key, Client::new("ci")).unwrap();
    let other = id_of(&keys, &key);
    assert_ne!(other, id);
    assert_eq!(keys.record(&id).unwrap().client().id(), "other");
    assert_eq!(keys.record(&other).unwrap().format(), Some(&format));

    let (id, key) = reveal(format.mint().unwrap());
    keys.insert(&key, Client::new("ci")).unwrap();
    assert_eq!(id_of(&keys, &key), id);
    // A digest does not show the id and the format of a minted key.
    let (id, key) = reveal(format.mint().unwrap());
    keys.insert_digest(KeyDigest::of(&key), Client::new("ci")).unwrap();
    assert_ne!(id_of(&keys, &key), id);
    assert_eq!(keys.record(&id_of(&keys, &key)).unwrap().format(), None);
    // The rotation of an inserted minted key keeps its prefix.
    let (_, new) = rotate(&keys, &other, DAY);
    assert!(new.starts_with("sk_live_"));
}

#[test]
fn two_keys_with_one_id_are_an_error_that_changes_nothing() {
    let (keys, _) = keyring();
    let one = record("key-1", "ci").with_id("Same0001").unwrap();
    let two = record("key-2", "other").with_id("Same0001").unwrap();
    keys.insert_record(one.clone()).unwrap();
    assert_eq!(kind(keys.insert_record(two.clone())), Kind::DuplicateKeyId);
    // If the key is a duplicate too, that is the error.
    assert_eq!(kind(keys.insert_record(one.clone())), Kind::DuplicateKey);
    let before = snapshot(&keys);
    let error = keys.replace([one, record("key-3", "ci"), two.clone()]).unwrap_err();
    assert_eq!((error.kind(), error.entry()), (Kind::DuplicateKeyId, Some(3)));
    assert_eq!((snapshot(&keys), outcome(&keys, "key-2")), (before, "401 unknown".into()));
    // A revoked key keeps its id until it is pruned.
    keys.revoke_key("Same0001");
    assert_eq!(kind(keys.insert_record(two.clone())), Kind::DuplicateKeyId);
    keys.prune();
    keys.insert_record(two).unwrap();
    assert_eq!(keys.record("Same0001").unwrap().client().id(), "other");
}

// --------------------------------------------------------------------------------------------
// Rotation.

#[test]
fn r44_both_keys_are_accepted_until_the_overlap_ends() {
    let (keys, clock) = keyring();
    let (old, old_key) = issue(&keys, "ci");
    clock.pass(days(10));
    let overlap = days(7);
    let (new, new_key) = rotate(&keys, &old, overlap);
    let end = clock.now() + overlap;
    assert!(old != new && old_key != new_key);
    for (now, expected) in [
        (clock.now(), "200 ci"),
        (end - TICK, "200 ci"),
        (end, "401 expired"),
        (end + days(100_000), "401 expired"),
    ] {
        clock.set(now);
        assert_eq!([outcome(&keys, &old_key), outcome(&keys, &new_key)], [expected, "200 ci"]);
    }
    let (old, new) = (keys.record(&old).unwrap(), keys.record(&new).unwrap());
    assert_eq!((old.retires(), old.expires(), old.revoked()), (Some(end), None, None));
    assert_eq!((new.retires(), new.expires(), new.created()), (None, None, Some(end - overlap)));
    assert_eq!((keys.len(), keys.records().count()), (2, 2));
}

#[test]
fn r44_the_old_key_ends_at_its_own_expiry_if_sooner_and_at_once_without_overlap() {
    let (keys, clock) = keyring();
    for (expiry, overlap, ends) in [
        (days(3), days(7), days(3)),
        (days(7), days(3), days(3)),
        (days(7), days(7), days(7)),
        (days(7), Duration::MAX, days(7)),
        (days(7), Duration::ZERO, Duration::ZERO),
        (days(7), TICK, TICK),
    ] {
        clock.set(start());
        keys.replace([]).unwrap();
        let old = record("old", "ci").with_id("Old00001").unwrap().with_expires(start() + expiry);
        keys.insert_record(old).unwrap();
        let (_, new) = rotate(&keys, "Old00001", overlap);
        if let Some(before) = ends.checked_sub(TICK) {
            clock.set(start() + before);
            assert_eq!(
                (outcome(&keys, "old"), outcome(&keys, &new)),
                ("200 ci".into(), "200 ci".into())
            );
        }
        clock.set(start() + ends);
        assert_eq!(outcome(&keys, "old"), "401 expired", "{expiry:?} {overlap:?}");
        assert_eq!(outcome(&keys, &new), if ends == expiry { "401 expired" } else { "200 ci" });
    }
}

#[test]
fn a_key_that_was_rotated_without_overlap_is_rejected_at_any_clock_time() {
    let (keys, clock) = keyring();
    let record = record("old", "ci").with_id("Old00001").unwrap().with_expires(start() + DAY);
    keys.insert_record(record).unwrap();
    let (_, new) = rotate(&keys, "Old00001", Duration::ZERO);
    let old = keys.record("Old00001").unwrap();
    // A replica rejects the key too.
    let (replica, slow) = keyring();
    replica.insert_record(old.clone()).unwrap();
    for now in [UNIX_EPOCH - DAY, UNIX_EPOCH, start() - days(1000), start() - TICK, start()] {
        clock.set(now);
        slow.set(now);
        assert_eq!([outcome(&keys, "old"), outcome(&replica, "old")], ["401 expired"; 2]);
        assert_eq!(
            (outcome(&keys, &new), old.check(now).err()),
            ("200 ci".into(), Some(Reason::Expired))
        );
    }
    // The record differs from that of a key that has expired.
    assert_eq!((old.rotated(), old.retires()), (Some(start()), Some(start())));
    assert_eq!(kind(replica.rotate("Old00001", DAY)), Kind::DeadKey);
    assert_eq!((replica.prune(), replica.records().count()), (1, 0));
}

#[test]
fn a_record_has_the_time_of_its_rotation_and_its_newest_successor() {
    let (keys, clock) = keyring();
    let (first, _) = issue(&keys, "ci");
    let record = keys.record(&first).unwrap();
    assert_eq!((record.rotated(), record.replaced_by()), (None, None));
    for overlap in [days(7), DAY] {
        let (next, _) = rotate(&keys, &first, overlap);
        let (old, new) = (keys.record(&first).unwrap(), keys.record(&next).unwrap());
        assert_eq!((old.rotated(), old.replaced_by()), (Some(clock.now()), Some(&*next)));
        assert_eq!((new.rotated(), new.replaced_by()), (None, None));
        clock.pass(TICK);
    }
    // If the last rotation has no overlap, the key is rejected at any clock time.
    let (last, _) = rotate(&keys, &first, Duration::ZERO);
    let old = keys.record(&first).unwrap();
    assert_eq!((old.rotated(), old.retires()), (Some(clock.now()), Some(clock.now())));
    assert_eq!(
        (old.replaced_by(), old.check(start()).err()),
        (Some(&*last), Some(Reason::Expired))
    );
}

#[test]
fn the_order_of_the_setters_of_times_does_not_matter() {
    let rotated = |since, until| {
        let new = || record("old", "ci");
        let records = [
            new().with_rotated(since).with_retires(until),
            new().with_retires(until).with_rotated(since),
        ];
        assert_eq!(records[0], records[1]);
        records[0].check(UNIX_EPOCH).err()
    };
    assert_eq!(rotated(start(), start()), Some(Reason::Expired));
    assert_eq!(rotated(start(), start() - TICK), Some(Reason::Expired));
    assert_eq!(rotated(UNIX_EPOCH, UNIX_EPOCH), Some(Reason::Expired));
    assert_eq!(rotated(start(), start() + TICK), None);
    let until_its_expiry = record("old", "ci").with_rotated(start());
    assert_eq!(until_its_expiry.check(start() + days(1000)).err(), None);
    // A later `with_retires` cancels a rotation without overlap.
    let again =
        record("old", "ci").with_rotated(start()).with_retires(start()).with_retires(start() + DAY);
    assert_eq!(again.check(start()).err(), None);
    for id in ["", "short", "Key_0001"] {
        assert_eq!(kind(record("old", "ci").with_replaced_by(id)), Kind::KeyId);
    }
}

#[test]
fn r44_a_rotation_keeps_client_note_format_and_lifetime() {
    let (keys, clock) = keyring();
    let format = KeyFormat::new("sk_live").unwrap();
    let client = Client::new("ci").with_name("CI").with_scopes(["a", "b"]);
    let lifetime = days(90) + Duration::from_nanos(123_456_700);
    let old = Record::new(KeyDigest::of("old"), client.clone())
        .with_id("Old00001")
        .unwrap()
        .with_created(start() - days(30))
        .with_expires(start() - days(30) + lifetime)
        .with_note("for deploys")
        .with_format(format.clone());
    keys.insert_record(old).unwrap();
    clock.pass(days(7) + TICK);
    let (new, new_key) = rotate(&keys, "Old00001", DAY);
    let record = keys.record(&new).unwrap();
    assert_eq!((record.client(), record.note()), (&client, Some("for deploys")));
    assert_eq!(
        (record.created(), record.expires()),
        (Some(clock.now()), Some(clock.now() + lifetime))
    );
    assert_eq!((record.not_before(), record.retires(), record.revoked()), (None, None, None));
    assert_eq!((record.format(), record.digest()), (Some(&format), KeyDigest::of(&new_key)));
    assert_eq!(format.parse(&new_key).unwrap(), new);
    // Only the end of the old record changes.
    let old = keys.record("Old00001").unwrap();
    assert_eq!(
        (old.note(), old.expires()),
        (Some("for deploys"), Some(start() - days(30) + lifetime))
    );
    assert_eq!(old.retires(), Some(clock.now() + DAY));

    let expiry = clock.now() + lifetime;
    clock.set(expiry - TICK);
    assert_eq!(outcome(&keys, &new_key), "200 ci");
    assert!(send(&keys, &new_key).client().unwrap().has_scope("b"));
    clock.set(expiry);
    assert_eq!(outcome(&keys, &new_key), "401 expired");
}

#[test]
fn r44_a_rotation_keeps_a_start_in_the_future_and_drops_one_in_the_past() {
    let (keys, clock) = keyring();
    let begin = start() + days(10);
    let old = record("old", "ci").with_not_before(begin).with_expires(begin + DAY);
    keys.insert_record(old.with_id("Old00001").unwrap()).unwrap();
    let (new, new_key) = rotate(&keys, "Old00001", days(30));
    assert_eq!(keys.record(&new).unwrap().not_before(), Some(begin));
    clock.set(begin - TICK);
    assert_eq!([outcome(&keys, "old"), outcome(&keys, &new_key)], ["401 not_yet_valid"; 2]);
    clock.set(begin);
    assert_eq!([outcome(&keys, "old"), outcome(&keys, &new_key)], ["200 ci"; 2]);
    let (third, third_key) = rotate(&keys, &new, DAY);
    assert_eq!(
        (keys.record(&third).unwrap().not_before(), outcome(&keys, &third_key)),
        (None, "200 ci".into())
    );
}

#[test]
fn r44_a_rotation_keeps_an_accepted_format_and_otherwise_uses_the_first() {
    let [live, test, old] = ["sk_live", "sk_test", "old"].map(|it| KeyFormat::new(it).unwrap());
    let (keys, _) = keyring();
    let strict = Keyring::builder().format(live).format(test.clone()).build();
    let minted = |format: &KeyFormat| reveal(keys.issue(format, Client::new("ci")).unwrap()).0;
    let (of_test, of_old) = (minted(&test), minted(&old));
    keys.insert("12345abcde", Client::new("ci")).unwrap();
    let imported = id_of(&keys, "12345abcde");
    strict.replace(keys.records()).unwrap();
    for (keys, id, prefix) in [
        (&keys, &of_test, "sk_test_"),
        (&keys, &of_old, "old_"),
        (&keys, &imported, "key_"),
        (&strict, &of_test, "sk_test_"),
        (&strict, &of_old, "sk_live_"),
        (&strict, &imported, "sk_live_"),
    ] {
        let (_, key) = rotate(keys, id, DAY);
        assert!(key.starts_with(prefix), "{prefix}");
        assert_eq!(outcome(keys, &key), "200 ci");
    }
}

#[test]
fn r44_a_dead_or_missing_key_is_not_rotated_and_nothing_changes() {
    let (keys, clock) = keyring();
    keys.insert_record(record("a", "ci").with_id("Expired1").unwrap().with_expires(start()))
        .unwrap();
    keys.insert_record(record("b", "ci").with_id("Retired1").unwrap().with_retires(start()))
        .unwrap();
    keys.insert_record(record("c", "ci").with_id("Revoked1").unwrap().with_revoked(start()))
        .unwrap();
    keys.insert_record(record("d", "ci").with_id("Rotated1").unwrap()).unwrap();
    keys.insert_record(record("e", "ci").with_id("Removed1").unwrap()).unwrap();
    keys.insert_record(record("f", "ci").with_id("Living01").unwrap()).unwrap();
    let (new, _) = rotate(&keys, "Rotated1", DAY);
    assert!(keys.revoke_key(&new));
    clock.pass(DAY);
    keys.remove(&KeyDigest::of("e"));
    let before = snapshot(&keys);
    for (id, wrong) in [
        ("Expired1", Kind::DeadKey),
        ("Retired1", Kind::DeadKey),
        ("Revoked1", Kind::DeadKey),
        ("Rotated1", Kind::DeadKey),
        (&*new, Kind::DeadKey),
        ("Removed1", Kind::UnknownKeyId),
        (MISSING_ID, Kind::UnknownKeyId),
        ("", Kind::UnknownKeyId),
        ("ci", Kind::UnknownKeyId),
        ("living01", Kind::UnknownKeyId),
        ("Living01 ", Kind::UnknownKeyId),
    ] {
        let error = keys.rotate(id, DAY).unwrap_err();
        assert_eq!(error.kind(), wrong, "{id}");
        assert_eq!(snapshot(&keys), before, "{id}");
    }
    rotate(&keys, "Living01", DAY);
}

#[test]
fn r44_a_key_can_be_rotated_twice_and_its_successor_again() {
    let (keys, clock) = keyring();
    let (first, first_key) = issue(&keys, "ci");
    let (_, second_key) = rotate(&keys, &first, days(7));
    clock.pass(DAY);
    // The earlier end applies, in any order of the rotations.
    let (_, third_key) = rotate(&keys, &first, days(30));
    assert_eq!(keys.record(&first).unwrap().retires(), Some(start() + days(7)));
    let (_, fourth_key) = rotate(&keys, &first, days(2));
    assert_eq!(keys.record(&first).unwrap().retires(), Some(start() + days(3)));
    for key in [&first_key, &second_key, &third_key, &fourth_key] {
        assert_eq!(outcome(&keys, key), "200 ci");
    }
    clock.set(start() + days(3));
    assert_eq!(outcome(&keys, &first_key), "401 expired");
    assert_eq!((keys.prune(), keys.len()), (1, 3));

    // In a chain of a hundred rotations each key has the lifetime of the first.
    let lifetime = days(30);
    let head = record("head", "ci").with_created(clock.now()).with_expires(clock.now() + lifetime);
    keys.insert_record(head.with_id("Head0001").unwrap()).unwrap();
    let (mut id, mut key) = ("Head0001".to_owned(), "head".to_owned());
    for _ in 0..100 {
        clock.pass(days(20));
        let (next, next_key) = rotate(&keys, &id, DAY);
        assert_eq!(keys.record(&next).unwrap().expires(), Some(clock.now() + lifetime));
        assert_eq!([outcome(&keys, &key), outcome(&keys, &next_key)], ["200 ci"; 2]);
        clock.pass(DAY);
        assert_eq!([outcome(&keys, &key), outcome(&keys, &next_key)], ["401 expired", "200 ci"]);
        (id, key) = (next, next_key);
    }
    assert_eq!((keys.prune(), keys.revoke_client("ci")), (100, 4));
}

#[test]
fn r44_an_imported_key_is_rotated_to_one_of_its_own_format() {
    let (keys, _) = keyring();
    for prefix in ["sk_live", "sk_test", "sk_test", "sk_live"] {
        let (id, key) = reveal(KeyFormat::new(prefix).unwrap().mint().unwrap());
        keys.insert(&key, Client::new("ci")).unwrap();
        let (_, new_key) = rotate(&keys, &id, days(7));
        assert_eq!(new_key.rsplit_once('_').unwrap().0.rsplit_once('_').unwrap().0, prefix);
    }
}

#[test]
fn r44_imported_keys_are_rotated_like_issued_keys() {
    let (keys, clock) = keyring();
    keys.insert("12345abcde", Client::new("ci").with_scopes(["a"])).unwrap();
    keys.insert_digest(KeyDigest::of("by-digest"), Client::new("ci").with_scopes(["a"])).unwrap();
    for key in ["12345abcde", "by-digest"] {
        let (_, new_key) = rotate(&keys, &id_of(&keys, key), days(7));
        assert!(send(&keys, &new_key).client().unwrap().has_scope("a"));
        assert_eq!(outcome(&keys, key), "200 ci");
    }
    clock.pass(days(7));
    assert_eq!([outcome(&keys, "12345abcde"), outcome(&keys, "by-digest")], ["401 expired"; 2]);
    assert_eq!((keys.len(), keys.prune(), keys.len()), (4, 2, 2));
}

// --------------------------------------------------------------------------------------------
// Revocation and removal.

#[test]
fn r45_a_revoked_key_stays_as_a_record_and_cannot_be_inserted_again() {
    let (keys, clock) = keyring();
    keys.insert("key-1", Client::new("ci")).unwrap();
    keys.insert("key-2", Client::new("ci")).unwrap();
    keys.insert("key-3", Client::new("other")).unwrap();
    let id = id_of(&keys, "key-1");
    clock.pass(DAY);
    assert_eq!((keys.revoke_key(&id), keys.revoke_key(&id)), (true, false));
    for unknown in ["", MISSING_ID, "ci", "key-1", &id.repeat(2)] {
        assert!(!keys.revoke_key(unknown), "{unknown}");
    }
    assert_eq!([outcome(&keys, "key-1"), outcome(&keys, "key-2")], ["401 revoked", "200 ci"]);
    assert_eq!((keys.len(), keys.clients().count(), keys.records().count()), (2, 2, 3));
    assert!(keys.contains_client("ci"));
    assert_eq!((keys.revoke_client("ci"), keys.revoke_client("ci")), (1, 0));
    assert_eq!((keys.len(), keys.clients().count(), keys.contains_client("ci")), (1, 1, false));
    // The record keeps the time of the first revocation.
    clock.pass(DAY);
    assert!(!keys.revoke_key(&id));
    assert_eq!(keys.record(&id).unwrap().revoked(), Some(start() + DAY));
    assert_eq!(keys.record(&id).unwrap().check(UNIX_EPOCH).err(), Some(Reason::Revoked));

    let before = snapshot(&keys);
    for client in ["ci", "other"] {
        for error in [
            keys.insert("key-1", Client::new(client)),
            keys.insert_digest(KeyDigest::of("key-1"), Client::new(client)),
            keys.insert_record(record("key-1", client)),
            keys.insert_record(record("key-1", client).with_id(&id).unwrap()),
        ] {
            assert_eq!(kind(error), Kind::RevokedKey);
        }
    }
    assert_eq!(snapshot(&keys), before);
    assert_eq!((keys.prune(), keys.prune(), keys.records().count()), (2, 0, 1));
    assert_eq!((outcome(&keys, "key-1"), keys.record(&id)), ("401 unknown".into(), None));
    keys.insert("key-1", Client::new("ci")).unwrap();
    assert_eq!((outcome(&keys, "key-1"), keys.len()), ("200 ci".into(), 2));
    assert_ne!(id_of(&keys, "key-1"), id);
}

#[test]
fn prune_removes_exactly_the_dead_keys() {
    let (keys, clock) = keyring();
    for (key, record) in [
        ("plain", record("plain", "ci")),
        ("noted", record("noted", "ci").with_note("a note")),
        ("over", record("over", "ci").with_expires(start())),
        ("retired", record("retired", "ci").with_retires(start())),
        ("revoked", record("revoked", "ci").with_revoked(start() + DAY)),
        ("expiring", record("expiring", "ci").with_expires(start() + TICK)),
        ("retiring", record("retiring", "ci").with_retires(start() + TICK)),
        ("beginning", record("beginning", "ci").with_not_before(start() + TICK)),
    ] {
        keys.insert_record(record).unwrap();
        assert!(!outcome(&keys, key).ends_with("unknown"));
    }
    assert_eq!((keys.len(), keys.prune(), keys.prune(), keys.len()), (7, 3, 0, 5));
    for pruned in ["over", "retired", "revoked"] {
        assert_eq!(outcome(&keys, pruned), "401 unknown");
    }
    let outcomes =
        ["plain", "noted", "expiring", "retiring", "beginning"].map(|key| outcome(&keys, key));
    assert_eq!(outcomes, ["200 ci", "200 ci", "200 ci", "200 ci", "401 not_yet_valid"]);
    clock.pass(TICK);
    assert_eq!((keys.prune(), keys.len()), (2, 3));
    assert_eq!(outcome(&keys, "beginning"), "200 ci");
    // The index by client is up to date.
    assert_eq!(
        (keys.revoke_client("ci"), keys.len(), keys.prune(), keys.records().count()),
        (3, 0, 3, 0)
    );
}

#[test]
fn remove_and_retain_remove_keys_completely() {
    let (keys, _) = keyring();
    for key in ["key-1", "key-2", "key-3", "key-4"] {
        keys.insert(key, Client::new(if key == "key-4" { "other" } else { "ci" })).unwrap();
    }
    let ids = ["key-1", "key-2", "key-3"].map(|key| id_of(&keys, key));
    assert!(keys.revoke_key(&ids[0]));
    assert!(keys.remove(&KeyDigest::of("key-2")).is_some());
    // A revoked key can be removed completely too.
    assert_eq!(keys.remove(&KeyDigest::of("key-1")).unwrap().id(), "ci");
    assert_eq!((keys.len(), keys.records().count()), (2, 2));
    for id in &ids[..2] {
        assert!(keys.record(id).is_none() && !keys.revoke_key(id));
        assert_eq!(kind(keys.rotate(id, DAY)), Kind::UnknownKeyId);
    }
    keys.insert("key-1", Client::new("ci")).unwrap();
    assert_eq!(outcome(&keys, "key-1"), "200 ci");

    // `retain` calls the closure only for live keys, and keeps revoked records.
    assert!(keys.revoke_key(&ids[2]));
    let mut asked = 0;
    let removed = keys.retain(|client| {
        asked += 1;
        client.id() == "other"
    });
    assert_eq!((asked, removed, keys.len(), keys.records().count()), (2, 1, 1, 2));
    let outcomes = ["key-1", "key-3", "key-4"].map(|key| outcome(&keys, key));
    assert_eq!(outcomes, ["401 unknown", "401 revoked", "200 other"]);
}

#[test]
fn revoked_record_stays_revoked() {
    let (keys, _) = keyring();
    keys.insert_record(record("key-1", "ci").with_revoked(start())).unwrap();
    assert!(keys.is_empty() && !keys.contains_client("ci") && keys.clients().next().is_none());
    assert_eq!((keys.len(), keys.records().count(), keys.revoke_client("ci")), (0, 1, 0));
    assert_eq!(outcome(&keys, "key-1"), "401 revoked");
    assert_eq!(kind(keys.insert("key-1", Client::new("ci"))), Kind::RevokedKey);
    assert_eq!((keys.prune(), keys.records().count(), keys.len()), (1, 0, 0));
}

// --------------------------------------------------------------------------------------------
// Rejections: the caller gets one response, and the operator gets the reason.

/// A reason, and the public id of a key.
type Note = (Option<Reason>, Option<String>);

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

impl Observe for Notes {
    fn on_decision(&self, event: &Decision<'_>) {
        let reason = event.rejection().map(tower_api_key::Rejection::reason);
        self.0.lock().unwrap().push((reason, event.key_id().map(str::to_owned)));
    }
}

#[test]
fn r43_r45_every_dead_key_gets_one_response_and_the_observer_receives_the_reason() {
    let (keys, _) = keyring();
    for (key, record) in [
        ("Living01", record("Living01", "ci")),
        ("Expired1", record("Expired1", "ci").with_expires(start())),
        ("Retired1", record("Retired1", "ci").with_retires(start())),
        ("Unripe01", record("Unripe01", "ci").with_not_before(start() + DAY)),
        ("Revoked1", record("Revoked1", "ci")),
        ("Revoked2", record("Revoked2", "former").with_expires(start()).with_not_before(start())),
        ("Removed1", record("Removed1", "ci")),
    ] {
        keys.insert_record(record.with_id(key).unwrap()).unwrap();
    }
    assert!(keys.revoke_key("Revoked1") && keys.remove(&KeyDigest::of("Removed1")).is_some());
    assert_eq!(keys.revoke_client("former"), 1);
    let forms: [fn() -> request::Builder; 3] = [
        || Request::get("/"),
        || Request::post("/").header("content-type", "application/grpc"),
        || Request::post("/").header("content-type", "application/grpc-web-text"),
    ];
    for spot in SPOTS {
        for form in forms {
            for layer in [
                spot.layer(keys.clone()),
                spot.layer(keys.clone()).respond(Problem::default()),
                spot.layer(keys.clone()).optional(),
            ] {
                let notes = Notes::default();
                let layer = layer.observe(notes.clone());
                let ask = |key: &str| ask(&layer, (spot.put)(form(), key.as_bytes()));
                let answer = ask("Unknown1").wire();
                for (key, reason, is_known) in [
                    ("Unknown1", Reason::Unknown, false),
                    ("Removed1", Reason::Unknown, false),
                    ("Expired1", Reason::Expired, true),
                    ("Retired1", Reason::Expired, true),
                    ("Unripe01", Reason::NotYetValid, true),
                    ("Revoked1", Reason::Revoked, true),
                    ("Revoked2", Reason::Revoked, true),
                ] {
                    notes.0.lock().unwrap().clear();
                    let reply = ask(key);
                    assert_eq!(reply.wire(), answer, "{} {key}", spot.name);
                    let id = is_known.then_some(key);
                    let rejection = reply.rejection().unwrap();
                    assert_eq!((rejection.reason(), rejection.key_id()), (reason, id));
                    assert_eq!(format!("{rejection:?}").contains(key), is_known);
                    let seen = (Some(reason), id.map(str::to_owned));
                    assert_eq!(*notes.0.lock().unwrap(), [seen], "{} {key}", spot.name);
                    assert!(!reply.wire().contains(key));
                }
                notes.0.lock().unwrap().clear();
                assert_eq!(ask("Living01").outcome(), "200 ci");
                assert_eq!(*notes.0.lock().unwrap(), [(None, Some("Living01".to_owned()))]);
            }
        }
    }
}

/// A lookup finds an entry by the first eight bytes of a digest, and then compares all bytes.
#[test]
fn r17_a_key_with_a_similar_digest_is_unknown_in_every_state_of_the_stored_key() {
    for byte in [0, 7, 8, 15, 16, 24, 31] {
        let mut digest = KeyDigest::of(KEY).to_bytes();
        digest[byte] ^= 1;
        let stored = || record(KEY, "ci").with_note("a note");
        let other = || Record::new(KeyDigest::from_bytes(digest), Client::new("ci"));
        let states: [fn(Record) -> Record; 4] = [
            |record| record,
            |record| record.with_created(UNIX_EPOCH).with_expires(start()),
            |record| record.with_not_before(start() + DAY),
            |record| record.with_revoked(start()),
        ];
        for (state, expected) in
            states.into_iter().zip(["200 ci", "401 expired", "401 not_yet_valid", "401 revoked"])
        {
            for (record, expected) in [(stored(), expected), (other(), "401 unknown")] {
                let (keys, _) = keyring();
                keys.insert_record(state(record)).unwrap();
                let reply = send(&keys, KEY);
                assert_eq!(reply.outcome(), expected, "byte {byte}");
                let key_id = reply.rejection().and_then(|it| it.key_id().map(str::to_owned));
                assert_eq!(
                    key_id.is_some(),
                    expected.starts_with("401") && expected != "401 unknown"
                );
            }
        }
    }
}

#[test]
fn a_dead_key_is_not_looked_up_in_the_next_verifier() {
    let (keys, _) = keyring();
    keys.insert_record(record("expired", "ci").with_expires(start())).unwrap();
    keys.insert_record(record("unripe", "ci").with_not_before(start() + DAY)).unwrap();
    keys.insert_record(record("revoked", "ci").with_revoked(start())).unwrap();
    let next = Keyring::new();
    let open = ["expired", "unripe", "revoked", "elsewhere"];
    for key in open {
        next.insert(key, Client::new("next")).unwrap();
    }
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.or(next));
    let outcomes =
        open.map(|key| ask(&layer, Request::get("/").header("x-api-key", key)).outcome());
    assert_eq!(outcomes, ["401 expired", "401 not_yet_valid", "401 revoked", "200 next"]);
}

// --------------------------------------------------------------------------------------------
// Replacing all keys.

#[test]
fn replace_applies_the_difference_and_keeps_the_ids_of_keys_that_stay() {
    let (keys, clock) = keyring();
    keys.insert("stays", Client::new("ci")).unwrap();
    keys.insert("goes", Client::new("ci")).unwrap();
    keys.insert("moves", Client::new("ci")).unwrap();
    keys.insert("dies", Client::new("ci")).unwrap();
    let id = id_of(&keys, "stays");
    let removed = id_of(&keys, "goes");
    clock.pass(DAY);
    keys.replace([
        record("stays", "ci").with_note("a note"),
        record("moves", "other"),
        record("dies", "ci").with_revoked(start()),
        record("comes", "new").with_id("NewKey01").unwrap().with_expires(start() + days(2)),
    ])
    .unwrap();
    let outcomes = ["stays", "goes", "moves", "dies", "comes"].map(|key| outcome(&keys, key));
    assert_eq!(outcomes, ["200 ci", "401 unknown", "200 other", "401 revoked", "200 new"]);
    assert_eq!((keys.len(), keys.records().count()), (3, 4));
    assert_eq!((id_of(&keys, "stays"), id_of(&keys, "comes")), (id.clone(), "NewKey01".to_owned()));
    assert_eq!(send(&keys, "comes").client().unwrap().key_id(), Some("NewKey01"));
    assert_eq!(send(&keys, "stays").client().unwrap().key_id(), Some(&*id));
    assert_eq!(keys.record(&id).unwrap().note(), Some("a note"));
    assert!(keys.record(&removed).is_none() && !keys.revoke_key(&removed));
    // The indices by client and by id are up to date.
    assert_eq!(
        (keys.revoke_client("ci"), keys.revoke_client("other"), keys.revoke_client("other")),
        (1, 1, 0)
    );
    assert!(keys.contains_client("new") && !keys.contains_client("ci"));
    assert!(keys.revoke_key("NewKey01") && keys.is_empty());
    keys.replace([]).unwrap();
    assert_eq!(
        (keys.len(), keys.records().count(), outcome(&keys, "dies")),
        (0, 0, "401 unknown".into())
    );
    // Two keys can exchange their ids.
    keys.replace([
        record("a", "ci").with_id("Id000001").unwrap(),
        record("b", "ci").with_id("Id000002").unwrap(),
    ])
    .unwrap();
    keys.replace([
        record("a", "ci").with_id("Id000002").unwrap(),
        record("b", "ci").with_id("Id000001").unwrap(),
    ])
    .unwrap();
    assert_eq!((id_of(&keys, "a"), id_of(&keys, "b")), ("Id000002".into(), "Id000001".into()));
    assert!(keys.revoke_key("Id000001"));
    assert_eq!([outcome(&keys, "a"), outcome(&keys, "b")], ["200 ci", "401 revoked"]);
}

#[test]
fn replace_with_an_error_changes_nothing_and_names_the_entry() {
    let (keys, _) = keyring();
    keys.insert("key-1", Client::new("ci")).unwrap();
    keys.insert("key-2", Client::new("former")).unwrap();
    keys.revoke_client("former");
    let id = id_of(&keys, "key-1");
    let before = snapshot(&keys);
    let good = || record("key-3", "new");
    for (records, wrong, entry) in [
        (vec![good(), good()], Kind::DuplicateKey, 2),
        (vec![good(), record("key-4", "ci"), record("key-3", "ci")], Kind::DuplicateKey, 3),
        (vec![record("key-3", "")], Kind::ClientId, 1),
        (
            vec![good(), Record::new(KeyDigest::of("x"), Client::new("ci").with_scopes([""]))],
            Kind::Scope,
            2,
        ),
        (
            vec![good(), record("x", "ci").with_not_before(start() + DAY).with_expires(start())],
            Kind::Lifetime,
            2,
        ),
        // Another key has this id already.
        (vec![record("key-1", "ci"), good().with_id(&id).unwrap()], Kind::DuplicateKeyId, 2),
        (vec![good().with_id(&id).unwrap(), record("key-1", "ci")], Kind::DuplicateKeyId, 2),
    ] {
        let error = keys.replace(records).unwrap_err();
        assert_eq!((error.kind(), error.entry()), (wrong, Some(entry)));
        assert!(error.to_string().starts_with(&format!("entry {entry}: ")), "{error}");
        assert_eq!(snapshot(&keys), before);
        let outcomes = ["key-1", "key-2", "key-3"].map(|key| outcome(&keys, key));
        assert_eq!(outcomes, ["200 ci", "401 revoked", "401 unknown"]);
    }
    assert_eq!((keys.revoke_client("new"), keys.revoke_client("ci"), keys.len()), (0, 1, 0));
}

#[test]
fn replace_works_for_a_custom_client_type_before_and_after_its_ids_are_indexed() {
    let (keys, _) = keyring::<Tenant>();
    let of = |key: &str, slug| Record::new(KeyDigest::of(key), Tenant::new(slug));
    keys.insert("key-1", Tenant::new("a")).unwrap();
    keys.replace([of("key-1", "b"), of("key-2", "c")]).unwrap();
    assert_eq!(
        (keys.revoke_client("a"), keys.revoke_client("b"), keys.contains_client("c")),
        (0, 1, true)
    );
    keys.replace([of("key-1", "b"), of("key-2", "d"), of("key-3", "d")]).unwrap();
    assert_eq!(
        (keys.revoke_client("c"), keys.revoke_client("d"), keys.revoke_client("b"), keys.len()),
        (0, 2, 1, 0)
    );
}

// --------------------------------------------------------------------------------------------
// Changes while requests run.

/// Stops the readers on drop, even if the writer has panicked.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

const READERS: usize = 3;

/// Ends one key after another while readers use them. Returns how many requests were accepted although
/// they started after the change had returned.
fn accepted_too_late(keys: &Keyring, end: impl Fn(usize, &str)) -> [usize; READERS] {
    const ROUNDS: usize = 200;
    let key = |round: usize| format!("{round:08}-key-of-this-round");
    let (ended, used, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let read = || {
        let mut late = 0;
        while !done.load(SeqCst) {
            let round = ended.load(SeqCst);
            late += usize::from(!outcome(keys, &key(round)).starts_with("401"));
            if outcome(keys, &key(round + 1)).starts_with("200") {
                used.fetch_max(round + 1, SeqCst);
            }
            // With more threads than cores, a reader would otherwise hold up the next change for milliseconds.
            thread::yield_now();
        }
        late
    };
    thread::scope(|scope| {
        let readers = [(); READERS].map(|()| scope.spawn(read));
        let ending = Ending(&done);
        let started = Instant::now();
        for round in 1..=ROUNDS {
            keys.insert(key(round), Client::new("ci")).unwrap();
            // A reader uses each key before its end, so that a cached result would be found.
            while used.load(SeqCst) < round {
                assert!(started.elapsed() < Duration::from_secs(60), "no request was accepted");
                thread::yield_now();
            }
            end(round, &key(round));
            ended.store(round, SeqCst);
            // The next request of this thread is rejected.
            assert!(outcome(keys, &key(round)).starts_with("401"));
        }
        drop(ending);
        readers.map(|reader| reader.join().unwrap())
    })
}

#[test]
fn r45_after_a_revocation_by_id_or_client_no_new_request_is_accepted() {
    let keys = Keyring::new();
    let by_id = accepted_too_late(&keys, |_, key| assert!(keys.revoke_key(&id_of(&keys, key))));
    let keys = Keyring::new();
    let by_client = accepted_too_late(&keys, |_, _| assert_eq!(keys.revoke_client("ci"), 1));
    assert_eq!((by_id, by_client), ([0; READERS], [0; READERS]));
}

#[test]
fn r45_after_a_replacement_or_a_rotation_without_overlap_no_new_request_is_accepted() {
    let keys = Keyring::new();
    let others = || (0..20).map(|number| record(&format!("other-{number}"), "other"));
    let replaced = accepted_too_late(&keys, |_, _| keys.replace(others()).unwrap());
    let revoked = accepted_too_late(&keys, |_, key| {
        let end = record(key, "ci").with_revoked(start());
        keys.replace(others().chain([end])).unwrap();
        keys.prune();
    });
    let keys = Keyring::new();
    let rotated =
        accepted_too_late(&keys, |_, key| drop(rotate(&keys, &id_of(&keys, key), Duration::ZERO)));
    assert_eq!([replaced, revoked, rotated], [[0; READERS]; 3]);
}

#[test]
fn keys_in_both_sets_stay_valid_throughout_a_replacement() {
    let (keys, done, read) = (Keyring::new(), AtomicBool::new(false), AtomicU64::new(0));
    let set = |round: usize| {
        let both = (0..4).map(|number| record(&format!("both-{number}"), "both"));
        // The size differs each time, so that tables grow and shrink.
        let more =
            (0..round % 7 * 40).map(move |number| record(&format!("{round}-{number}"), "ci"));
        both.chain(more)
    };
    keys.replace(set(0)).unwrap();
    let reader = |number: usize| {
        let (key, layer) =
            (format!("both-{number}"), ApiKeyLayer::new(header("x-api-key"), keys.clone()));
        let mut missing = 0;
        while !done.load(SeqCst) {
            let reply = ask(&layer, Request::get("/").header("x-api-key", &key));
            missing += usize::from(reply.outcome() != "200 both");
            read.fetch_add(1, SeqCst);
        }
        missing
    };
    let missing = thread::scope(|scope| {
        let reader = &reader;
        let readers = [0, 1, 2].map(|number| scope.spawn(move || reader(number)));
        let ending = Ending(&done);
        for round in 1..=150 {
            keys.replace(set(round)).unwrap();
            assert_eq!(keys.len(), set(round).count());
        }
        drop(ending);
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!(missing, [0; 3]);
    assert!(read.load(SeqCst) > 100);
}

#[test]
fn r44_during_a_rotation_neither_key_is_ever_rejected() {
    let keys: Keyring = Keyring::new();
    let (mut id, key) = issue(&keys, "ci");
    let (current, done) = (Mutex::new((0, key)), AtomicBool::new(false));
    let read = || {
        let mut rejected = 0;
        while !done.load(SeqCst) {
            let key = current.lock().unwrap().1.clone();
            rejected += usize::from(outcome(&keys, &key) != "200 ci");
        }
        rejected
    };
    let rejected = thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(read));
        let ending = Ending(&done);
        for round in 1..=200 {
            let (next, key) = rotate(&keys, &id, DAY);
            *current.lock().unwrap() = (round, key);
            id = next;
        }
        drop(ending);
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!((rejected, keys.len(), keys.revoke_client("ci")), ([0; 2], 201, 201));
}

// --------------------------------------------------------------------------------------------
// Extreme times.

#[test]
fn r43_extreme_times_cause_no_panic_and_keep_their_meaning() {
    let extremes: Vec<_> = [
        UNIX_EPOCH.checked_sub(DAY),
        UNIX_EPOCH.checked_sub(days(1_000_000)),
        Some(UNIX_EPOCH),
        UNIX_EPOCH.checked_add(Duration::from_nanos(u64::MAX - 1_000)),
        UNIX_EPOCH.checked_add(Duration::from_nanos(u64::MAX)),
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::MAX / 4)),
        UNIX_EPOCH.checked_add(Duration::from_secs(i64::MAX as u64)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (keys, clock) = keyring();
    let mut number = 0;
    for now in extremes.iter().copied().chain([start()]) {
        clock.set(now);
        for time in &extremes {
            let new = || old_record("key", "ci").with_id("Extreme1").unwrap();
            for extreme in [
                new().with_expires(*time),
                new().with_not_before(*time),
                new().with_created(*time),
                new().with_retires(*time),
                new().with_rotated(*time),
                new().with_rotated(*time).with_retires(*time),
                new().with_revoked(*time),
                new()
                    .with_created(*time)
                    .with_not_before(*time)
                    .with_expires(*time)
                    .with_retires(*time),
            ] {
                let _ = (format!("{extreme:?}"), extreme.check(now).err(), extreme == new());
                keys.insert_record(extreme).unwrap();
                outcome(&keys, "key");
                for overlap in [Duration::ZERO, DAY, Duration::MAX] {
                    keys.rotate("Extreme1", overlap).ok();
                }
                let _ = format!("{:?}", keys.records().collect::<Vec<_>>());
                keys.revoke_key("Extreme1");
                number += keys.prune();
                keys.replace([]).unwrap();
            }
        }
    }
    assert!(number > 0);

    // A time before 1970 counts as 1970, and a time after 2554 is never reached.
    clock.set(start());
    let far = *extremes.last().unwrap();
    for (key, record, expected) in [
        ("a", old_record("a", "ci").with_expires(UNIX_EPOCH - DAY), "401 expired"),
        ("b", record("b", "ci").with_expires(far), "200 ci"),
        ("c", record("c", "ci").with_not_before(UNIX_EPOCH - DAY), "200 ci"),
        ("d", record("d", "ci").with_not_before(far), "401 not_yet_valid"),
        ("e", record("e", "ci").with_created(UNIX_EPOCH - DAY), "200 ci"),
        ("f", record("f", "ci").with_retires(UNIX_EPOCH - DAY), "401 expired"),
        ("g", record("g", "ci").with_retires(far), "200 ci"),
        ("h", record("h", "ci").with_revoked(UNIX_EPOCH - DAY), "401 revoked"),
        ("i", record("i", "ci").with_revoked(far), "401 revoked"),
    ] {
        keys.insert_record(record).unwrap();
        assert_eq!(outcome(&keys, key), expected, "{key}");
    }
}

// A key file stores these fields of a record.
#[test]
fn r43_r45_a_record_keeps_a_start_or_a_revocation_in_the_far_future() {
    let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert!(record("a", "ci").with_not_before(far).not_before().is_some());
    assert!(record("a", "ci").with_revoked(far).revoked().is_some());
}

// --------------------------------------------------------------------------------------------
// A model of a keyring.

#[derive(Clone, Debug)]
struct Validity {
    begins: Option<u32>,
    expires: Option<u32>,
    retires: Option<u32>,
    is_revoked: bool,
}

impl Validity {
    fn outcome(&self, now: u32) -> &'static str {
        let is_over = |end: Option<u32>| end.is_some_and(|end| now >= end);
        if self.is_revoked {
            "401 revoked"
        } else if is_over(self.expires) || is_over(self.retires) {
            "401 expired"
        } else if self.begins.is_some_and(|begin| now < begin) {
            "401 not_yet_valid"
        } else {
            "200 ci"
        }
    }
}

fn validities() -> impl Strategy<Value = Validity> {
    let time = || option::of(1..8_u32);
    (time(), time(), time(), any::<bool>()).prop_map(|(begins, expires, retires, is_revoked)| {
        Validity {
            begins,
            expires: expires.map(|expires| expires.max(begins.unwrap_or(0))),
            retires,
            is_revoked,
        }
    })
}

fn at(time: u32) -> SystemTime {
    start() + time * TICK
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u8, u8),
    Issue(u8),
    Rotate(u8, u32),
    Revoke(u8),
    RevokeKey(u8),
    Remove(u8),
    Prune,
    Replace(Vec<u8>),
    Pass(u32),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..12_u8, 0..3_u8).prop_map(|(key, client)| Change::Insert(key, client)),
        2 => (0..3_u8).prop_map(Change::Issue),
        4 => (any::<u8>(), 0..4_u32).prop_map(|(key, overlap)| Change::Rotate(key, overlap)),
        1 => (0..3_u8).prop_map(Change::Revoke),
        3 => any::<u8>().prop_map(Change::RevokeKey),
        2 => any::<u8>().prop_map(Change::Remove),
        1 => Just(Change::Prune),
        1 => vec(any::<u8>(), 0..8).prop_map(Change::Replace),
        3 => (1..4_u32).prop_map(Change::Pass),
    ]
}

/// A key in the model.
#[derive(Clone, Debug)]
struct ModelKey {
    key: String,
    id: String,
    client: String,
    retires: Option<u32>,
    is_revoked: bool,
}

impl ModelKey {
    fn validity(&self) -> Validity {
        let Self { retires, is_revoked, .. } = *self;
        Validity { begins: None, expires: None, retires, is_revoked }
    }

    fn is_dead(&self, now: u32) -> bool {
        !self.validity().outcome(now).starts_with("200")
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn r43_a_key_is_valid_exactly_between_its_times(validity in validities()) {
        let (keys, clock) = keyring();
        let mut record = old_record("key", "ci");
        record = validity.begins.into_iter().fold(record, |record, time| record.with_not_before(at(time)));
        record = validity.expires.into_iter().fold(record, |record, time| record.with_expires(at(time)));
        record = validity.retires.into_iter().fold(record, |record, time| record.with_retires(at(time)));
        if validity.is_revoked {
            record = record.with_revoked(at(3));
        }
        keys.insert_record(record.clone()).unwrap();
        for now in 0..9 {
            clock.set(at(now));
            let expected = validity.outcome(now);
            prop_assert_eq!(outcome(&keys, "key"), expected);
            let rejected = record.check(at(now)).err().map_or("ci", Reason::as_str);
            prop_assert_eq!(expected.split_once(' ').unwrap().1, rejected);
            let is_dead = expected == "401 revoked" || expected == "401 expired";
            prop_assert_eq!(keys.rotate(&id_of(&keys, "key"), DAY).is_err(), is_dead);
            keys.replace([record.clone()]).unwrap();
        }
        clock.set(at(4));
        let is_dead = ["401 revoked", "401 expired"].contains(&validity.outcome(4));
        prop_assert_eq!((keys.prune(), keys.records().count()), (is_dead.into(), (!is_dead).into()));
    }

    #[test]
    fn any_changes_leave_a_keyring_equal_to_a_plain_list(changes in vec(changes(), 0..40)) {
        let (keys, clock) = keyring();
        let mut model: Vec<ModelKey> = Vec::new();
        let mut now = 0;
        let client = |number: u8| format!("client-{number}");
        let known = |key: String, id: String, client: String| {
            ModelKey { key, id, client, retires: None, is_revoked: false }
        };
        for change in changes {
            match change {
                Change::Insert(key, owner) => {
                    let key = format!("key-{key}");
                    let found = model.iter().find(|known| known.key == key);
                    let result = keys.insert(&key, Client::new(client(owner)));
                    match found.map(|known| known.is_revoked) {
                        None => {
                            result.unwrap();
                            model.push(known(key.clone(), id_of(&keys, &key), client(owner)));
                        }
                        Some(true) => prop_assert_eq!(kind(result), Kind::RevokedKey),
                        Some(false) => prop_assert_eq!(kind(result), Kind::DuplicateKey),
                    }
                }
                Change::Issue(owner) => {
                    let (id, key) = issue(&keys, &client(owner));
                    model.push(known(key, id, client(owner)));
                }
                Change::Rotate(which, overlap) => {
                    let count = model.len().max(1);
                    let Some(old) = model.get_mut(usize::from(which) % count) else { continue };
                    let result = keys.rotate(&old.id, overlap * TICK);
                    if old.is_dead(now) {
                        prop_assert_eq!(kind(result), Kind::DeadKey);
                    } else {
                        let end = now + overlap;
                        old.retires = Some(old.retires.map_or(end, |before| before.min(end)));
                        let owner = old.client.clone();
                        let (id, key) = reveal(result.unwrap());
                        model.push(known(key, id, owner));
                    }
                }
                Change::Revoke(owner) => {
                    let owner = client(owner);
                    let theirs = model.iter_mut().filter(|it| it.client == owner && !it.is_revoked);
                    let count = theirs.map(|known| known.is_revoked = true).count();
                    prop_assert_eq!(keys.revoke_client(&owner), count);
                }
                Change::RevokeKey(which) => {
                    let count = model.len().max(1);
                    let Some(known) = model.get_mut(usize::from(which) % count) else { continue };
                    prop_assert_eq!(keys.revoke_key(&known.id), !known.is_revoked);
                    known.is_revoked = true;
                }
                Change::Remove(which) => {
                    let at = usize::from(which) % model.len().max(1);
                    if model.get(at).is_some() {
                        let known = model.remove(at);
                        let owner = keys.remove(&KeyDigest::of(&known.key)).unwrap();
                        prop_assert_eq!(owner.id(), known.client);
                    }
                }
                Change::Prune => {
                    let before = model.len();
                    model.retain(|known| !known.is_dead(now));
                    prop_assert_eq!(keys.prune(), before - model.len());
                }
                Change::Replace(kept) => {
                    let kept: HashSet<_> = kept.into_iter().map(usize::from).collect();
                    let count = model.len().max(1);
                    let mut at = 0..;
                    model.retain(|_| {
                        let at = at.next().unwrap();
                        kept.iter().any(|kept| kept % count == at)
                    });
                    let ids: HashSet<_> = model.iter().map(|known| &*known.id).collect();
                    keys.replace(keys.records().filter(|it| ids.contains(it.id().unwrap()))).unwrap();
                }
                Change::Pass(time) => {
                    now += time;
                    clock.set(at(now));
                }
            }
            let live = || model.iter().filter(|known| !known.is_revoked);
            prop_assert_eq!(keys.len(), live().count());
            prop_assert_eq!(keys.is_empty(), live().count() == 0);
            prop_assert_eq!(keys.records().count(), model.len());
            let sorted = |mut ids: Vec<String>| { ids.sort(); ids };
            prop_assert_eq!(
                sorted(keys.clients().map(|client| client.id().to_owned()).collect()),
                sorted(live().map(|known| known.client.clone()).collect())
            );
            for owner in [0, 1, 2].map(client) {
                let has_one = live().any(|known| known.client == owner);
                prop_assert_eq!(keys.contains_client(&owner), has_one);
            }
        }
        for known in &model {
            let expected = known.validity().outcome(now).replace("200 ci", &format!("200 {}", known.client));
            let reply = send(&keys, &known.key);
            prop_assert_eq!(reply.outcome(), expected);
            let rejected_id = reply.rejection().and_then(tower_api_key::Rejection::key_id);
            let id = reply.client().and_then(Client::key_id).or(rejected_id);
            prop_assert_eq!(id, Some(&*known.id));
            let record = keys.record(&known.id).unwrap();
            prop_assert_eq!(record.digest(), KeyDigest::of(&known.key));
            prop_assert_eq!(record.retires(), known.retires.map(at));
            prop_assert_eq!(record.revoked().is_some(), known.is_revoked);
        }
    }
}

#[test]
fn replace_accepts_an_iterator_that_uses_the_keyring() {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("ci")).unwrap();
    let inner = keys.clone();
    let records =
        std::iter::once(KeyDigest::of(KEY)).filter_map(|digest| inner.record_by_digest(&digest));
    keys.replace(records).unwrap();
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_revocation_during_retain_is_kept() {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("ci")).unwrap();
    let removed = keys.retain(|client| {
        assert_eq!(keys.revoke_client(client.id()), 1);
        false
    });
    assert_eq!((removed, keys.records().count()), (0, 1));
    assert!(keys.insert(KEY, Client::new("ci")).is_err());
}

#[test]
fn r44_a_key_that_is_not_yet_valid_is_rotated_to_one_of_the_same_lifetime() {
    let keys = Keyring::new();
    let begins = SystemTime::now() + 10 * DAY;
    let record = Record::new(KeyDigest::of(KEY), Client::new("ci"))
        .with_created(begins)
        .with_not_before(begins)
        .with_expires(begins + DAY);
    keys.insert_record(record).unwrap();
    let id = keys.record_by_digest(&KeyDigest::of(KEY)).unwrap().id().unwrap().to_owned();
    let minted = keys.rotate(&id, Duration::ZERO).unwrap();
    let new = keys.record(minted.id()).unwrap();
    assert_eq!((new.not_before(), new.expires()), (Some(begins), Some(begins + DAY)));
    assert!(new.created().unwrap() < begins);
}
