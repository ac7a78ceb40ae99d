//! The rules of records, and the changes of a keyring that follow them: update, pause and resume.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Request;
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring,
    error::{KeyringError, KeyringErrorKind as Kind},
    extract::header,
    key::KeyFormat,
    record::Record,
    rejection::Reason,
};

use crate::support::ask;

const HOUR: Duration = Duration::from_secs(3600);
const WRONG: &str = "a-key-that-no-client-has";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn record(key: &str) -> Record {
    Record::new(KeyDigest::of(key), Client::new("ci")).with_created(now() - HOUR)
}

/// Returns a keyring at a fixed time with one key. The id of the key is `Key00001`.
fn keyring(record: Record) -> Keyring {
    let keys = Keyring::builder().clock(now).build();
    keys.insert_record(record.with_id("Key00001").unwrap()).unwrap();
    keys
}

fn outcome<C: Clone + Send + Sync + 'static>(keys: &Keyring<C>, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

fn kind<T>(result: Result<T, KeyringError>) -> Kind {
    result.err().expect("an error").kind()
}

#[test]
fn a_paused_key_gets_the_response_of_a_wrong_key_and_works_again_once_it_is_resumed() {
    let keys = keyring(record("key-1"));
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    let send = |key: &str| ask(&layer, Request::get("/").header("x-api-key", key));
    assert_eq!(outcome(&keys, "key-1"), "200 ci");

    keys.pause("Key00001").unwrap();
    let rejected = send("key-1");
    assert_eq!(rejected.wire(), send(WRONG).wire());
    assert_eq!(rejected.reason(), Some(Reason::Paused));
    assert_eq!(rejected.rejection().unwrap().key_id(), Some("Key00001"));
    assert_eq!(keys.record("Key00001").unwrap().paused(), Some(now()));

    keys.resume("Key00001").unwrap();
    assert_eq!(outcome(&keys, "key-1"), "200 ci");
    assert_eq!(keys.record("Key00001").unwrap().paused(), None);
}

#[test]
fn a_paused_key_is_counted_and_is_not_pruned_and_cannot_be_inserted_again() {
    let keys = keyring(record("key-1"));
    keys.pause("Key00001").unwrap();
    assert_eq!((keys.len(), keys.clients().count(), keys.prune()), (1, 1, 0));
    assert!(keys.contains_client("ci"));
    assert_eq!(kind(keys.insert("key-1", Client::new("ci"))), Kind::DuplicateKey);
    assert_eq!(outcome(&keys, "key-1"), "401 paused");
}

#[test]
fn pausing_twice_keeps_the_first_time_and_resuming_twice_is_no_error() {
    let mut record = record("key-1");
    record.pause(now()).unwrap();
    record.pause(now() + HOUR).unwrap();
    assert_eq!(record.paused(), Some(now()));
    record.resume().unwrap();
    record.resume().unwrap();
    assert_eq!(record, self::record("key-1"));
}

#[test]
fn a_revoked_key_is_neither_paused_nor_resumed_and_a_missing_key_is_an_error() {
    let keys = keyring(record("key-1"));
    keys.pause("Key00001").unwrap();
    assert!(keys.revoke_key("Key00001"));
    for change in [Keyring::pause, Keyring::resume] {
        assert_eq!(kind(change(&keys, "Key00001")), Kind::RevokedKey);
        assert_eq!(kind(change(&keys, "Key00002")), Kind::UnknownKeyId);
        assert_eq!(kind(change(&keys, "not an id")), Kind::UnknownKeyId);
    }
    assert_eq!((outcome(&keys, "key-1"), keys.len()), ("401 revoked".to_owned(), 0));
}

#[test]
fn a_check_returns_the_first_reason_of_revoked_paused_expired_and_not_yet_valid() {
    let early = record("key-1").with_not_before(now() + HOUR);
    let over = early.clone().with_retires(now());
    let paused = over.clone().with_paused(now());
    let revoked = paused.clone().with_revoked(now());
    let reasons = [early, over, paused, revoked].map(|record| record.check(now()).unwrap_err());
    let expected = [Reason::NotYetValid, Reason::Expired, Reason::Paused, Reason::Revoked];
    assert_eq!(reasons, expected);
    assert_eq!(record("key-1").check(now()), Ok(()));
}

#[test]
fn resuming_an_expired_key_does_not_make_it_valid() {
    let keys = keyring(record("key-1").with_expires(now()).with_paused(now() - HOUR));
    assert_eq!(outcome(&keys, "key-1"), "401 paused");
    keys.resume("Key00001").unwrap();
    assert_eq!(outcome(&keys, "key-1"), "401 expired");
    assert_eq!(keys.prune(), 1);
}

#[test]
fn a_paused_key_that_has_expired_is_pruned_and_not_rotated() {
    let keys = keyring(record("key-1").with_expires(now()).with_paused(now() - HOUR));
    assert_eq!(kind(keys.rotate("Key00001", HOUR)), Kind::DeadKey);
    assert_eq!(keys.prune(), 1);
}

#[test]
fn the_successor_of_a_paused_key_is_paused_so_that_a_rotation_resumes_no_key() {
    let keys = keyring(record("key-1").with_paused(now() - HOUR));
    let minted = keys.rotate("Key00001", HOUR).unwrap();
    let id = minted.id().to_owned();
    let key = minted.reveal(str::to_owned);
    assert_eq!([outcome(&keys, "key-1"), outcome(&keys, &key)], ["401 paused"; 2]);
    assert_eq!(keys.record(&id).unwrap().paused(), Some(now()));
    keys.resume(&id).unwrap();
    assert_eq!([outcome(&keys, "key-1"), outcome(&keys, &key)], ["401 paused", "200 ci"]);
}

#[test]
fn an_update_changes_any_field_except_the_id_and_the_digest() {
    let keys = keyring(record("key-1"));
    let format = KeyFormat::new("sk_live").unwrap();
    let client = Client::new("ci").with_name("CI").with_scopes(["a"]).with_metadata("plan", "pro");
    let change = |record: Record| {
        record
            .with_client(client.clone())
            .with_format(format.clone())
            .with_note("a note")
            .with_created(now() - HOUR * 2)
            .with_issued_by("alice")
            .with_not_before(now() - HOUR)
            .with_expires(now() + HOUR)
            .with_rotated(now())
            .with_retires(now() + HOUR)
            .with_replaced_by("Key00002")
            .unwrap()
            .with_rotated_reason("yearly")
            .with_paused(now())
            .with_revoked(now())
            .with_revoked_by("bob")
            .with_revoked_reason("leaked")
    };
    keys.update("Key00001", change).unwrap();
    let record = keys.record("Key00001").unwrap();
    assert_eq!((record.id(), record.digest()), (Some("Key00001"), KeyDigest::of("key-1")));
    assert_eq!(record.client(), &client);
    assert_eq!(record.client().key_id(), Some("Key00001"));
    assert_eq!((record.format(), record.note()), (Some(&format), Some("a note")));
    assert_eq!((record.created(), record.issued_by()), (Some(now() - HOUR * 2), Some("alice")));
    assert_eq!(record.not_before(), Some(now() - HOUR));
    assert_eq!((record.expires(), record.retires()), (Some(now() + HOUR), Some(now() + HOUR)));
    assert_eq!((record.rotated(), record.replaced_by()), (Some(now()), Some("Key00002")));
    assert_eq!((record.rotated_reason(), record.paused()), (Some("yearly"), Some(now())));
    assert_eq!((record.revoked(), record.revoked_by()), (Some(now()), Some("bob")));
    assert_eq!(record.revoked_reason(), Some("leaked"));
}

#[test]
fn a_setter_with_none_or_an_empty_text_removes_a_field() {
    let full = record("key-1")
        .with_note("a")
        .with_issued_by("a")
        .with_not_before(now())
        .with_expires(now())
        .with_rotated(now())
        .with_retires(now())
        .with_rotated_reason("a")
        .with_paused(now())
        .with_revoked_by("a")
        .with_revoked_reason("a");
    let empty = full
        .with_note("")
        .with_issued_by("")
        .with_not_before(None)
        .with_expires(None)
        .with_rotated(None)
        .with_retires(None)
        .with_rotated_reason("")
        .with_paused(None)
        .with_revoked_by("")
        .with_revoked_reason("");
    assert_eq!(empty, record("key-1"));
}

#[test]
fn the_next_request_sees_the_scopes_and_the_metadata_of_an_update() {
    let keys = keyring(record("key-1"));
    keys.update("Key00001", |record| {
        let client =
            record.client().clone().with_scopes(["jobs:read"]).with_metadata("plan", "pro");
        record.with_client(client)
    })
    .unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let reply = ask(&layer, Request::get("/").header("x-api-key", "key-1"));
    let client = reply.client().unwrap();
    assert!(client.has_scope("jobs:read"));
    assert_eq!(client.metadata("plan"), Some("pro"));
    assert_eq!(client.key_id(), Some("Key00001"));
}

#[test]
fn a_key_that_moves_to_another_client_is_found_and_revoked_by_the_new_client_alone() {
    let keys = keyring(record("key-1"));
    keys.update("Key00001", |record| record.with_client(Client::new("other"))).unwrap();
    assert_eq!((keys.contains_client("ci"), keys.contains_client("other")), (false, true));
    assert_eq!((keys.revoke_client("ci"), keys.revoke_client("other")), (0, 1));
    assert_eq!(outcome(&keys, "key-1"), "401 revoked");
}

#[derive(Clone)]
struct Tenant(&'static str);

impl Identity for Tenant {
    fn id(&self) -> &str {
        self.0
    }
}

#[test]
fn a_key_moves_between_clients_of_a_custom_type() {
    for knows_ids in [false, true] {
        let keys: Keyring<Tenant> = Keyring::new();
        let record = Record::new(KeyDigest::of("key-1"), Tenant("one"));
        keys.insert_record(record.with_id("Key00001").unwrap()).unwrap();
        if knows_ids {
            assert!(keys.contains_client("one"));
        }
        keys.update("Key00001", |record| record.with_client(Tenant("two"))).unwrap();
        assert_eq!((keys.contains_client("one"), keys.contains_client("two")), (false, true));
        assert_eq!((keys.revoke_client("one"), keys.revoke_client("two")), (0, 1));
    }
}

#[test]
fn a_revocation_by_an_update_counts_once_and_no_update_undoes_or_moves_it() {
    let keys = keyring(record("key-1"));
    let revoke = |record: Record| record.with_revoked(now()).with_revoked_by("alice");
    keys.update("Key00001", revoke).unwrap();
    assert_eq!((keys.len(), outcome(&keys, "key-1")), (0, "401 revoked".to_owned()));
    keys.update("Key00001", |record| record.with_revoked_reason("leaked")).unwrap();
    assert_eq!((keys.len(), keys.revoke_key("Key00001")), (0, false));

    let before = keys.record("Key00001").unwrap();
    let anew = |_| record("key-1").with_id("Key00001").unwrap();
    assert_eq!(kind(keys.update("Key00001", anew)), Kind::RevokedKey);
    let later = |record: Record| record.with_revoked(now() + HOUR);
    assert_eq!(kind(keys.update("Key00001", later)), Kind::RevokedKey);
    assert_eq!((keys.record("Key00001").unwrap(), keys.len()), (before, 0));
    assert_eq!((keys.prune(), keys.len()), (1, 0));
}

#[test]
fn an_update_that_is_an_error_changes_nothing() {
    let keys = keyring(record("key-1").with_note("before"));
    let before = keys.record("Key00001").unwrap();
    let with_client = |client: Client| move |record: Record| record.with_client(client);
    let update = |change: Box<dyn FnOnce(Record) -> Record>| kind(keys.update("Key00001", change));
    for (change, expected) in [
        (Box::new(|_| record("key-1")) as Box<dyn FnOnce(Record) -> Record>, Kind::ImmutableId),
        (Box::new(|record: Record| record.with_id("Key00002").unwrap()), Kind::ImmutableId),
        (Box::new(|_| record("key-2").with_id("Key00001").unwrap()), Kind::ImmutableId),
        (Box::new(|record: Record| record.with_expires(now() - HOUR * 2)), Kind::Lifetime),
        (Box::new(with_client(Client::new(" "))), Kind::ClientId),
        (Box::new(with_client(Client::new("a".repeat(129)))), Kind::ClientIdTooLong),
        (Box::new(with_client(Client::new("ci").with_name("a\u{200B}"))), Kind::HiddenInName),
        (Box::new(with_client(Client::new("ci").with_scopes(["a b"]))), Kind::Scope),
        (Box::new(with_client(Client::new("ci").with_metadata("", ""))), Kind::MetadataKey),
    ] {
        assert_eq!(update(change), expected);
        assert_eq!(keys.record("Key00001").unwrap(), before, "{expected:?}");
    }
    assert_eq!(kind(keys.update("Key00009", |record| record)), Kind::UnknownKeyId);
    let panics =
        catch_unwind(AssertUnwindSafe(|| keys.update("Key00001", |_| panic!("on purpose"))));
    assert!(panics.is_err());
    assert_eq!(keys.record("Key00001").unwrap(), before);
    keys.update("Key00001", |record| record.with_note("after")).unwrap();
    assert_eq!(keys.record("Key00001").unwrap().note(), Some("after"));
}

#[test]
fn an_update_leaves_an_id_that_was_accepted_once_and_checks_the_parts_that_it_changes() {
    let long = "a".repeat(129);
    let keys: Keyring = Keyring::new();
    let record = Record::new(KeyDigest::of("key-1"), Client::new(long.clone()));
    keys.replace([record.with_id("Key00001").unwrap()]).unwrap();
    let with_client = |client: Client| keys.update("Key00001", |record| record.with_client(client));
    with_client(Client::new(long.clone()).with_scopes(["a"]).with_metadata("plan", "pro")).unwrap();
    assert_eq!(kind(with_client(Client::new(long).with_name(" "))), Kind::HiddenInName);
    assert_eq!(kind(with_client(Client::new("b".repeat(129)))), Kind::ClientIdTooLong);
}

#[test]
fn a_rotation_of_a_record_alone_keeps_the_rules_of_a_keyring() {
    let minted = KeyFormat::new("sk_live").unwrap().mint().unwrap();
    let mut old = record("key-1").with_expires(now() + HOUR).with_note("deploys");
    let new = old.rotate(&minted, HOUR / 2, now()).unwrap();
    assert_eq!((new.id(), new.digest()), (Some(minted.id()), minted.digest()));
    assert_eq!((new.client().id(), new.client().key_id()), ("ci", Some(minted.id())));
    assert_eq!((new.note(), new.format().unwrap().prefix()), (Some("deploys"), "sk_live"));
    assert_eq!((new.created(), new.expires()), (Some(now()), Some(now() + HOUR * 2)));
    assert_eq!((old.rotated(), old.retires()), (Some(now()), Some(now() + HOUR / 2)));
    assert_eq!(old.replaced_by(), new.id());
    assert_eq!(old.check(now() + HOUR / 2), Err(Reason::Expired));

    let mut over = record("key-1").with_expires(now());
    let before = over.clone();
    assert_eq!(kind(over.rotate(&minted, HOUR, now())), Kind::DeadKey);
    assert_eq!(over, before);
}

#[test]
fn a_revocation_of_a_record_keeps_its_first_time() {
    let mut record = record("key-1");
    assert!(record.revoke(now()));
    assert!(!record.revoke(now() + HOUR));
    assert_eq!(record.revoked(), Some(now()));
    assert_eq!(kind(record.update(|_| self::record("key-1"))), Kind::RevokedKey);
    assert_eq!(record.check(now()), Err(Reason::Revoked));
}

#[test]
fn a_keyring_accepts_metadata_only_within_its_bounds() {
    let client = |count: usize| {
        (0..count).fold(Client::new("ci"), |client, at| client.with_metadata(format!("k{at}"), ""))
    };
    let of = |key: &str, value: &str| Client::new("ci").with_metadata(key, value);
    let good = [client(16), of(&"é".repeat(64), &"é".repeat(256)), of("a b", " \n")];
    for (at, client) in good.into_iter().enumerate() {
        Keyring::new().insert(format!("key-{at}"), client.clone()).unwrap();
        let _ = Keyring::new().issue(&KeyFormat::default(), client).unwrap();
    }
    for (client, expected) in [
        (client(17), Kind::TooMuchMetadata),
        (of(&"é".repeat(65), ""), Kind::MetadataKey),
        (of("", "a"), Kind::MetadataKey),
        (of(" a", "a"), Kind::MetadataKey),
        (of("a\u{200B}", "a"), Kind::MetadataKey),
        (of("plan", &"é".repeat(257)), Kind::MetadataTooLong),
    ] {
        let keys = Keyring::new();
        assert_eq!(kind(keys.insert("key-1", client.clone())), expected);
        assert_eq!(kind(keys.issue(&KeyFormat::default(), client.clone())), expected);
        let record = Record::new(KeyDigest::of("key-1"), client);
        assert_eq!(kind(keys.insert_record(record.clone())), expected);
        // A client that was accepted once stays, as with ids.
        keys.replace([record]).unwrap();
    }
}

#[test]
fn an_error_about_metadata_names_its_position_and_never_its_text() {
    let client = Client::new("ci").with_metadata("a", "").with_metadata("secret\t", "secret");
    let error = Keyring::new().insert("key-1", client).unwrap_err();
    assert_eq!(error.position(), Some(1));
    assert!(error.to_string().ends_with("(metadata 2)"), "{error}");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn debug_of_a_client_shows_no_metadata() {
    let client = Client::new("ci").with_metadata("secret-key", "secret-value");
    let record = Record::new(KeyDigest::of("key-1"), client.clone());
    for text in
        [format!("{client:?}"), format!("{record:?}"), format!("{:?}", Keyring::<Client>::new())]
    {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_client_with_metadata_gets_the_id_of_its_key_and_keeps_its_metadata() {
    let keys = Keyring::new();
    let client = Client::new("ci").with_metadata("plan", "pro").with_key_id("own");
    let minted = keys.issue(&KeyFormat::default(), client.clone()).unwrap();
    let record = keys.record(minted.id()).unwrap();
    assert_eq!(record.client().key_id(), Some(minted.id()));
    assert_eq!(record.client().metadata("plan"), Some("pro"));
    assert_eq!((client.key_id(), client.metadata("plan")), (Some("own"), Some("pro")));
}
