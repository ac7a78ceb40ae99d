//! The ids of keys that were not minted, and the valid ids and names of a client.

use crate::support;

use std::collections::BTreeSet;

use support::{KEY, OTHER};
use tower_api_key::{
    Client, KeyDigest, Keyring, error::KeyringErrorKind as Kind, key::KeyFormat, record::Record,
};

fn id_of(keys: &Keyring, key: &str) -> String {
    keys.record_by_digest(&KeyDigest::of(key)).unwrap().id().unwrap().to_owned()
}

/// Returns the id of the first key in a new keyring.
fn id_after(insert: impl FnOnce(&Keyring)) -> String {
    let keys = Keyring::new();
    insert(&keys);
    keys.records().next().unwrap().id().unwrap().to_owned()
}

#[test]
fn a_key_that_was_not_minted_has_the_same_id_in_every_process_and_by_every_method() {
    let client = || Client::new("ci");
    let digest = KeyDigest::of(KEY);
    for id in [
        id_after(|keys| keys.insert(KEY, client()).unwrap()),
        id_after(|keys| keys.insert_digest(digest, client()).unwrap()),
        id_after(|keys| keys.insert_record(Record::new(digest, client())).unwrap()),
        id_after(|keys| keys.replace([Record::new(digest, client())]).unwrap()),
        id_of(&Keyring::single(KEY).unwrap(), KEY),
        id_of(&format!("a={OTHER},b={KEY}").parse().unwrap(), KEY),
        id_of(&format!("b={},a={OTHER}", digest.encode()).parse().unwrap(), KEY),
    ] {
        // The first 64 bits of SHA-256 of the domain, the digest and four zeros, computed by hand.
        assert_eq!(id, "dFyn6J3q");
    }
    assert_ne!(id_of(&Keyring::single(OTHER).unwrap(), OTHER), "dFyn6J3q");
}

#[test]
fn a_key_under_22_characters_gets_a_random_id() {
    let short = "twenty-one-characters";
    let ids: BTreeSet<_> =
        (0..20).map(|_| id_after(|keys| keys.insert(short, Client::new("ci")).unwrap())).collect();
    assert_eq!(ids.len(), 20);
    let derived = id_after(|keys| {
        keys.insert_digest(KeyDigest::of(short), Client::new("ci")).unwrap();
    });
    assert!(!ids.contains(&derived));
    let enough = "twenty-two-characters.";
    let ids: BTreeSet<_> =
        (0..20).map(|_| id_after(|keys| keys.insert(enough, Client::new("ci")).unwrap())).collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_key_whose_derived_id_is_in_use_gets_the_next_id_in_every_process() {
    let first = id_of(&Keyring::single(KEY).unwrap(), KEY);
    let other = || {
        let record = Record::new(KeyDigest::of(OTHER), Client::new("other"));
        record.with_id(&first).unwrap()
    };
    let ids: BTreeSet<_> = (0..3)
        .map(|method| {
            let keys = Keyring::new();
            keys.insert_record(other()).unwrap();
            let record = Record::new(KeyDigest::of(KEY), Client::new("ci"));
            match method {
                0 => keys.insert(KEY, Client::new("ci")).unwrap(),
                1 => keys.insert_record(record).unwrap(),
                _ => keys.replace([other(), record]).unwrap(),
            }
            assert!(keys.revoke_key(&first));
            assert!(keys.contains_client("ci") && !keys.contains_client("other"));
            id_of(&keys, KEY)
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert!(!ids.contains(&first));
}

#[test]
fn a_minted_key_keeps_its_own_id() {
    let minted = KeyFormat::new("sk_live").unwrap().mint().unwrap();
    let id = minted.id().to_owned();
    let keys = Keyring::new();
    minted.reveal(|key| keys.insert(key, Client::new("ci"))).unwrap();
    assert!(keys.record(&id).is_some());
}

// --------------------------------------------------------------------------------------------
// Clients.

/// One character of each invisible kind.
const HIDDEN: [char; 27] = [
    '\u{0}',
    '\u{9}',
    '\u{7f}',
    '\u{85}',
    '\u{a0}',
    '\u{ad}',
    '\u{34f}',
    '\u{61c}',
    '\u{115f}',
    '\u{180e}',
    '\u{1680}',
    '\u{2003}',
    '\u{200b}',
    '\u{200d}',
    '\u{2028}',
    '\u{202e}',
    '\u{2060}',
    '\u{2800}',
    '\u{3000}',
    '\u{3164}',
    '\u{fe0f}',
    '\u{feff}',
    '\u{ffa0}',
    '\u{e000}',
    '\u{e0061}',
    '\u{e0100}',
    '\u{10ffff}',
];

#[test]
fn a_new_client_whose_id_has_hidden_characters_is_rejected() {
    let mut ids =
        vec![(" admin".to_owned(), 0), ("admin ".to_owned(), 5), ("\u{a0}admin".into(), 0)];
    for char in HIDDEN {
        ids.push((format!("{char}admin"), 0));
        ids.push((format!("ad{char}min"), 2));
        ids.push((format!("admin{char}"), 5));
    }
    for (id, at) in ids {
        let client = || Client::new(&id);
        let keys = Keyring::new();
        for error in [
            keys.insert(KEY, client()).unwrap_err(),
            keys.insert_digest(KeyDigest::of(KEY), client()).unwrap_err(),
            keys.insert_record(Record::new(KeyDigest::of(KEY), client())).unwrap_err(),
            keys.issue(&KeyFormat::default(), client()).unwrap_err(),
        ] {
            if id.chars().any(char::is_control) {
                assert_eq!(error.kind(), Kind::ClientId, "{id:?}");
            } else {
                assert_eq!(
                    (error.kind(), error.position()),
                    (Kind::HiddenInId, Some(at)),
                    "{id:?}"
                );
            }
            assert!(!error.to_string().contains(&id));
        }
        let named = || Client::new("ci").with_name(&id);
        let error = keys.insert(KEY, named()).unwrap_err();
        assert_eq!((error.kind(), error.position()), (Kind::HiddenInName, Some(at)), "{id:?}");
        assert_eq!(keys.issue(&KeyFormat::default(), named()).unwrap_err(), error);
        assert!(keys.is_empty());
    }
    // The rule applies to lists as well, after white space is trimmed.
    for list in ["ad\u{200b}min", "\u{200b}admin", "admin\u{feff}"] {
        let error = format!("{list}={KEY}").parse::<Keyring>().unwrap_err();
        assert_eq!((error.kind(), error.entry()), (Kind::HiddenInId, Some(1)), "{list:?}");
    }
}

#[test]
fn a_client_can_have_an_id_and_a_name_in_any_script() {
    for id in [
        "a",
        "mobile app",
        "acme/prod:1@eu",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{65e5}\u{672c}\u{8a9e}",
        "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        "\u{ac00}\u{b098}",
        "\u{1f511}",
    ] {
        let keys = Keyring::new();
        keys.insert(KEY, Client::new(id).with_name(id)).unwrap();
        drop(keys.issue(&KeyFormat::default(), Client::new(id).with_name(id)).unwrap());
        assert_eq!(keys.revoke_client(id), 2, "{id}");
    }
}

#[test]
fn an_id_has_at_most_128_characters_and_a_name_256() {
    let text = |length: usize| "\u{e9}".repeat(length);
    let keys = Keyring::new();
    let error = keys.insert(KEY, Client::new(text(129))).unwrap_err();
    assert_eq!(error.kind(), Kind::ClientIdTooLong);
    let error = keys.insert(KEY, Client::new("ci").with_name(text(257))).unwrap_err();
    assert_eq!(error.kind(), Kind::ClientNameTooLong);
    keys.insert(KEY, Client::new(text(128)).with_name(text(256))).unwrap();
}

#[test]
fn an_existing_client_with_an_invalid_id_stays_and_its_key_can_be_rotated() {
    let keys = Keyring::new();
    for id in ["ad\u{200b}min", " admin", &"x".repeat(3000)] {
        let client = Client::new(id).with_name("\u{feff}");
        keys.replace([Record::new(KeyDigest::of(KEY), client.clone())]).unwrap();
        let first = id_of(&keys, KEY);
        drop(keys.rotate(&first, std::time::Duration::from_secs(60)).unwrap());
        assert!(keys.issue(&KeyFormat::default(), client).is_err());
        assert_eq!(keys.revoke_client(id), 2);
    }
}
