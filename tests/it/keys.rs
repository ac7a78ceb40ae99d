//! The keyring: keys that it accepts, lists of keys, and the effect of a change on requests.

use crate::support;

use std::{
    any::type_name,
    env,
    ffi::{OsStr, OsString},
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use http::Request;
use support::{KEY, OTHER, WRONG, ask, keys};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring,
    error::{
        ConfigError, ConfigErrorKind, KeyringError, KeyringErrorKind as Kind, ParseDigestError,
        ParseFormatError, ParseKeyError, ParseKeyErrorKind,
    },
    extract::header,
    key::KeyFormat,
};

fn outcome<C: Clone + Send + Sync + 'static>(keys: &Keyring<C>, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

/// Returns the text of an error, which must not hold the value that caused the error.
#[track_caller]
fn told(error: &KeyringError, value: &[u8]) -> String {
    let text = format!("{error} {error:?} {error:#?}");
    let value = String::from_utf8_lossy(value);
    for part in value.split([',', '=', '\n', ' ']).filter(|part| part.len() >= 8) {
        assert!(!text.contains(part), "{text}");
    }
    error.to_string()
}

// The error names the position and never the value.
#[test]
fn r11_a_key_that_could_not_be_presented_is_an_error_that_names_the_position() {
    let long = "k".repeat(1025);
    for (key, kind, at) in [
        (&b""[..], Kind::BlankKey, None),
        (b" ", Kind::BlankKey, None),
        (b"\t", Kind::BlankKey, None),
        (b" \r\n\t ", Kind::BlankKey, None),
        (b" pasted-key", Kind::KeyEdge, Some(0)),
        (b"pasted-key ", Kind::KeyEdge, Some(10)),
        (b"pasted-key\n", Kind::KeyEdge, Some(10)),
        (b"pasted-key\r\n", Kind::KeyEdge, Some(10)),
        (b"\tpasted-key", Kind::KeyEdge, Some(0)),
        (b"pasted\tkey", Kind::KeyByte, Some(6)),
        (b"pasted\nkey", Kind::KeyByte, Some(6)),
        (b"pasted\0key", Kind::KeyByte, Some(6)),
        (b"pasted-key\0", Kind::KeyByte, Some(10)),
        (b"pasted-key\x7f", Kind::KeyByte, Some(10)),
        ("caf\u{e9}-key-key".as_bytes(), Kind::KeyByte, Some(3)),
        ("\u{a0}pasted-key".as_bytes(), Kind::KeyByte, Some(0)),
        (b"\xff", Kind::KeyByte, Some(0)),
        (long.as_bytes(), Kind::KeyTooLong, None),
    ] {
        let keys = Keyring::new();
        let error = keys.insert(key, Client::new("ci")).unwrap_err();
        assert_eq!((error.kind(), error.position()), (kind, at), "{}", key.escape_ascii());
        assert!(at.is_none_or(|at| told(&error, key).contains(&format!("at byte {}", at + 1))));
        assert!(keys.is_empty() && !keys.contains_client("ci"));
        assert_eq!(Keyring::single(key).unwrap_err().kind(), kind);
    }
}

#[test]
fn r11_short_keys_and_every_byte_from_0x20_to_0x7e_are_allowed() {
    let all: String = (0x20..=0x7E).map(char::from).collect();
    let key = format!("a{all}a");
    for key in ["a", "0", "~", "two words", "a,b", &key, &"k".repeat(1024)] {
        let keys = Keyring::single(key).unwrap();
        assert_eq!(outcome(&keys, key), "200 default", "{key}");
    }
}

#[test]
fn r11_a_keyring_without_keys_rejects_every_request() {
    let revoked = keys();
    revoked.revoke_client("mobile-app");
    revoked.revoke_client("ci");
    let pruned = keys();
    pruned.revoke_client("mobile-app");
    pruned.revoke_client("ci");
    assert_eq!(pruned.prune(), 2);
    for (keys, expected) in [
        (Keyring::<Client>::new(), "401 unknown"),
        (Keyring::default(), "401 unknown"),
        (pruned, "401 unknown"),
        (revoked, "401 revoked"),
    ] {
        assert!(keys.is_empty());
        assert_eq!(keys.len(), 0);
        assert_eq!([outcome(&keys, KEY), outcome(&keys, OTHER)], [expected, expected]);
        for key in [WRONG, "0", "null", "undefined", "default", "*"] {
            assert_eq!(outcome(&keys, key), "401 unknown");
        }
        for blank in ["", " ", "\t"] {
            assert_eq!(outcome(&keys, blank), "401 missing");
        }
    }
}

#[test]
fn a_duplicate_key_is_an_error_for_every_client() {
    let keys = keys();
    for client in ["mobile-app", "another-client"] {
        let error = keys.insert(KEY, Client::new(client)).unwrap_err();
        assert_eq!(error.kind(), Kind::DuplicateKey);
        told(&error, KEY.as_bytes());
        let error = keys.insert_digest(KeyDigest::of(KEY), Client::new(client)).unwrap_err();
        assert_eq!(error.kind(), Kind::DuplicateKey);
    }
    assert_eq!((keys.len(), keys.contains_client("another-client")), (2, false));
    assert_eq!(outcome(&keys, KEY), "200 mobile-app");
    assert_eq!(keys.revoke_client("mobile-app"), 1);
    for client in ["mobile-app", "another-client"] {
        let error = keys.insert(KEY, Client::new(client)).unwrap_err();
        assert_eq!(error.kind(), Kind::RevokedKey);
        told(&error, KEY.as_bytes());
        let error = keys.insert_digest(KeyDigest::of(KEY), Client::new(client)).unwrap_err();
        assert_eq!(error.kind(), Kind::RevokedKey);
    }
    assert_eq!((outcome(&keys, KEY), keys.len()), ("401 revoked".into(), 1));
    assert_eq!(keys.prune(), 1);
    keys.insert(KEY, Client::new("another-client")).unwrap();
    assert_eq!(outcome(&keys, KEY), "200 another-client");
}

#[test]
fn a_client_with_an_invalid_id_or_scope_is_an_error() {
    let keys = Keyring::new();
    for id in ["", " ", "\t", "a\nb", "a\0"] {
        assert_eq!(keys.insert(KEY, Client::new(id)).unwrap_err().kind(), Kind::ClientId, "{id:?}");
    }
    for (scopes, at) in [
        (&["two words"][..], 0),
        (&["ok", ""], 1),
        (&["ok", "fine", " edge"], 2),
        (&["a\"b"], 0),
        (&["a\\b"], 0),
        (&["caf\u{e9}"], 0),
        (&["tab\t"], 0),
    ] {
        // Building the client does not fail, and a bad scope matches nothing.
        let client = Client::new("ci").with_scopes(scopes.iter().copied());
        assert!(!client.has_scope(scopes[at]));
        assert!(scopes[..at].iter().all(|scope| client.has_scope(scope)));
        for error in [
            keys.insert(KEY, client.clone()).unwrap_err(),
            keys.insert_digest(KeyDigest::of(KEY), client).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.position()), (Kind::Scope, Some(at)));
            assert!(!error.to_string().contains(scopes[at]) || scopes[at].is_empty());
        }
    }
    assert!(keys.is_empty());
    keys.insert(KEY, Client::new("caf\u{e9} \u{1f511}").with_scopes(["reports:read", "!#[]~"]))
        .unwrap();
}

#[test]
fn the_text_of_a_digest_cannot_be_inserted_as_a_key() {
    let text = KeyDigest::of(KEY).encode();
    for text in [&*text, &text.to_uppercase(), "Sha256:", "sha256:of-a-custom-key"] {
        let error = Keyring::new().insert(text, Client::new("ci")).unwrap_err();
        assert_eq!(error.kind(), Kind::DigestAsKey, "{text}");
    }
    for list in [text.replace("sha256", "SHA256"), "sha256:of-a-custom-key".to_owned()] {
        let error = format!("ci={list}").parse::<Keyring>().unwrap_err();
        assert_eq!((error.kind(), error.entry()), (Kind::Digest, Some(1)), "{list}");
    }
}

#[test]
fn r12_a_key_inserted_by_digest_is_accepted_and_the_digest_itself_is_rejected() {
    let digest = KeyDigest::of(KEY);
    let keys = Keyring::new();
    keys.insert_digest(KeyDigest::parse(&digest.encode()).unwrap(), Client::new("ci")).unwrap();
    assert_eq!(outcome(&keys, KEY), "200 ci");
    let encoded = digest.encode();
    let hex = encoded.strip_prefix("sha256:").unwrap();
    for stored in [&*encoded, hex, &hex.to_uppercase(), &encoded.to_uppercase(), &hex[..32]] {
        assert_eq!(outcome(&keys, stored), "401 unknown");
    }
}

// --------------------------------------------------------------------------------------------
// Lists and the environment.

#[test]
fn a_comma_or_a_line_break_ends_an_entry_of_a_list() {
    let digest = KeyDigest::of(OTHER).encode();
    for (list, expected) in [
        ("mobile-app=K", &["200 mobile-app", "401 unknown"][..]),
        ("mobile-app=K,ci=O", &["200 mobile-app", "200 ci"]),
        ("mobile-app=K\nci=O", &["200 mobile-app", "200 ci"]),
        ("mobile-app=K\r\nci=O\r\n", &["200 mobile-app", "200 ci"]),
        ("mobile-app=K,\nci=O,\n", &["200 mobile-app", "200 ci"]),
        (",,mobile-app=K,,ci=O,", &["200 mobile-app", "200 ci"]),
        ("\n\n  mobile-app=K\n \t\n\tci=O\n\n", &["200 mobile-app", "200 ci"]),
        ("mobile-app=K, ci=O", &["200 mobile-app", "200 ci"]),
        ("mobile-app =K,ci =O", &["200 mobile-app", "200 ci"]),
        ("mobile-app=K,mobile-app=O", &["200 mobile-app", "200 mobile-app"]),
        ("mobile-app=K,ci=D", &["200 mobile-app", "200 ci"]),
        ("caf\u{e9}=D", &["401 unknown", "200 caf\u{e9}"]),
    ] {
        let list = list.replace('K', KEY).replace('O', OTHER).replace('D', &digest);
        let keys: Keyring = list.parse().unwrap();
        assert_eq!([outcome(&keys, KEY), outcome(&keys, OTHER)], *expected, "{list:?}");
    }
    let keys: Keyring = "a=b=c,d==e,f=g=".parse().unwrap();
    for (key, expected) in
        [("b=c", "200 a"), ("=e", "200 d"), ("g=", "200 f"), ("b", "401 unknown")]
    {
        assert_eq!(outcome(&keys, key), expected);
    }
}

#[test]
fn an_invalid_entry_is_named_by_its_number_and_never_by_its_value() {
    let digest = KeyDigest::of(KEY).encode();
    for (list, kind, entry) in [
        ("", Kind::EmptyList, None),
        (" ", Kind::EmptyList, None),
        (",", Kind::EmptyList, None),
        ("\r\n , \n", Kind::EmptyList, None),
        ("K", Kind::ListEntry, Some(1)),
        ("ci=O,K", Kind::ListEntry, Some(2)),
        ("ci:K", Kind::ListEntry, Some(1)),
        ("=K", Kind::ClientId, Some(1)),
        (" =K", Kind::ClientId, Some(1)),
        ("ci=O\n=K", Kind::ClientId, Some(2)),
        ("ci=", Kind::BlankKey, Some(1)),
        ("ci=O,ci=  ", Kind::BlankKey, Some(2)),
        ("ci=K ", Kind::KeyEdge, Some(1)),
        ("ci= K", Kind::KeyEdge, Some(1)),
        ("ci=K\t,a=O", Kind::KeyEdge, Some(1)),
        ("ci=O,b=caf\u{e9}K", Kind::KeyByte, Some(2)),
        ("a=O,ci=K\u{7f}x", Kind::KeyByte, Some(2)),
        ("ci=K,b=K", Kind::DuplicateKey, Some(2)),
        ("ci=K,ci=O,ci=K", Kind::DuplicateKey, Some(3)),
        ("ci=K,b=D", Kind::DuplicateKey, Some(2)),
        ("ci=sha256:", Kind::Digest, Some(1)),
        ("ci=sha256:K", Kind::Digest, Some(1)),
        ("ci=D0", Kind::Digest, Some(1)),
        ("ci=D ", Kind::Digest, Some(1)),
    ] {
        let list = list.replace('K', KEY).replace('O', OTHER).replace('D', &digest);
        let error = list.parse::<Keyring>().unwrap_err();
        assert_eq!((error.kind(), error.entry()), (kind, entry), "{list:?}");
        let text = told(&error, list.as_bytes());
        assert!(entry.is_none_or(|entry| text.starts_with(&format!("entry {entry}: "))), "{text}");
    }
}

const VARIABLE: &str = "TOWER_API_KEY_TEST_KEYS";
const CHILD: &str = "TOWER_API_KEY_TEST_CHILD";

/// Runs the calling test in a child process, because a process cannot safely change its own environment.
fn from_env_in_a_child(test: &str, value: Option<&OsStr>) -> String {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    match value {
        Some(value) => child.env(VARIABLE, value),
        None => child.env_remove(VARIABLE),
    };
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = String::from_utf8(output.stdout).unwrap();
    let (_, result) = output.split_once("from_env: ").unwrap();
    result.lines().next().unwrap().to_owned()
}

// Empire #274, ai-memory #1903 and others accepted every request then.
#[test]
fn r11_an_unset_or_empty_environment_variable_is_an_error() {
    if env::var_os(CHILD).is_some() {
        match Keyring::from_env(VARIABLE) {
            Ok(keys) => println!("from_env: {} {}", keys.len(), outcome(&keys, KEY)),
            Err(error) => println!("from_env: {error}"),
        }
        return;
    }
    let test = "r11_an_unset_or_empty_environment_variable_is_an_error";
    let list = "client=key,client=sha256:…";
    let unset = format!("{VARIABLE}: not set, or not Unicode. Set it to `{list}`");
    let empty = format!("{VARIABLE}: the list has no key. It is written `{list}`");
    let blank = format!("{VARIABLE}: entry 1: the key is empty or blank");
    for (value, expected) in [
        (None, &*unset),
        (Some(OsString::new()), &empty),
        (Some("  ".into()), &empty),
        (Some("\n".into()), &empty),
        (Some(",".into()), &empty),
        (Some("mobile-app=".into()), &blank),
        (Some("mobile-app= ".into()), &blank),
        (Some(format!("mobile-app={KEY}").into()), "1 200 mobile-app"),
        (
            Some(format!("mobile-app={KEY}\nci={}\n", KeyDigest::of(OTHER).encode()).into()),
            "2 200 mobile-app",
        ),
    ] {
        assert_eq!(from_env_in_a_child(test, value.as_deref()), expected, "{value:?}");
    }
    #[cfg(unix)]
    {
        let value = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"mobile-app=\xff");
        assert_eq!(from_env_in_a_child(test, Some(value)), unset);
    }
}

#[test]
fn errors_are_errors_with_a_kind_whose_name_is_stable() {
    fn is_error<T: std::error::Error + Send + Sync + 'static>() -> &'static str {
        type_name::<T>()
    }
    is_error::<ConfigError>();
    is_error::<KeyringError>();
    is_error::<ParseDigestError>();
    is_error::<ParseKeyError>();
    is_error::<ParseFormatError>();
    is_error::<tower_api_key::Rejection>();
    let of_config = [
        (ConfigErrorKind::HeaderName, "header_name"),
        (ConfigErrorKind::ReservedHeader, "reserved_header"),
        (ConfigErrorKind::QueryName, "query_name"),
        (ConfigErrorKind::CookieName, "cookie_name"),
        (ConfigErrorKind::Scheme, "scheme"),
        (ConfigErrorKind::DuplicateLocation, "duplicate_location"),
        (ConfigErrorKind::NoLocation, "no_location"),
        (ConfigErrorKind::ExemptPath, "exempt_path"),
        (ConfigErrorKind::Realm, "realm"),
        (ConfigErrorKind::Scope, "scope"),
        (ConfigErrorKind::NoScope, "no_scope"),
        (ConfigErrorKind::DuplicateScope, "duplicate_scope"),
        (ConfigErrorKind::DuplicateHeader, "duplicate_header"),
        (ConfigErrorKind::TakenHeader, "taken_header"),
    ];
    for (kind, name) in of_config {
        assert_eq!(kind.as_str(), name);
        let error = ConfigError::from(kind);
        assert_eq!((error.kind(), error.position()), (kind, None));
        assert!(!error.to_string().is_empty() && format!("{error:?}") == error.to_string());
    }
    let of_texts = [
        (ParseKeyErrorKind::KeyLayout, "key_layout"),
        (ParseKeyErrorKind::ForeignKey, "foreign_key"),
        (ParseKeyErrorKind::Checksum, "checksum"),
    ];
    for (kind, name) in of_texts {
        assert_eq!(kind.as_str(), name);
        let error = ParseKeyError::from(kind);
        assert_eq!(error.kind(), kind);
        assert!(!error.to_string().is_empty() && format!("{error:?}") == error.to_string());
        // A keyring that refuses the key says the same.
        let of_keyring = KeyringError::from(error.clone());
        assert_eq!((of_keyring.kind().as_str(), of_keyring.to_string()), (name, error.to_string()));
    }
    let (digest, format) = (KeyDigest::parse("").unwrap_err(), KeyFormat::new("").unwrap_err());
    for (shown, of_keyring, kind) in [
        (format!("{digest} {digest:?}"), KeyringError::from(digest), Kind::Digest),
        (format!("{format} {format:?}"), KeyringError::from(format), Kind::KeyPrefix),
    ] {
        assert_eq!((of_keyring.kind(), shown), (kind, format!("{of_keyring} {of_keyring:?}")));
    }
    let names = [
        (Kind::BlankKey, "blank_key"),
        (Kind::KeyTooLong, "key_too_long"),
        (Kind::KeyEdge, "key_edge"),
        (Kind::KeyByte, "key_byte"),
        (Kind::DuplicateKey, "duplicate_key"),
        (Kind::Digest, "digest"),
        (Kind::DigestAsKey, "digest_as_key"),
        (Kind::QuotedKey, "quoted_key"),
        (Kind::KeyWithScheme, "key_with_scheme"),
        (Kind::PlaceholderKey, "placeholder_key"),
        (Kind::ClientId, "client_id"),
        (Kind::ClientIdTooLong, "client_id_too_long"),
        (Kind::HiddenInId, "hidden_in_id"),
        (Kind::ClientNameTooLong, "client_name_too_long"),
        (Kind::HiddenInName, "hidden_in_name"),
        (Kind::MetadataKey, "metadata_key"),
        (Kind::MetadataTooLong, "metadata_too_long"),
        (Kind::TooMuchMetadata, "too_much_metadata"),
        (Kind::Scope, "scope"),
        (Kind::EnvironmentUnset, "environment_unset"),
        (Kind::EmptyList, "empty_list"),
        (Kind::ListEntry, "list_entry"),
        (Kind::ListFormat, "list_format"),
        (Kind::ListSeparator, "list_separator"),
        (Kind::ListAssignment, "list_assignment"),
        (Kind::ListComment, "list_comment"),
        (Kind::KeyPrefix, "key_prefix"),
        (Kind::KeyLayout, "key_layout"),
        (Kind::ForeignKey, "foreign_key"),
        (Kind::Checksum, "checksum"),
        (Kind::KeyId, "key_id"),
        (Kind::DuplicateKeyId, "duplicate_key_id"),
        (Kind::UnknownKeyId, "unknown_key_id"),
        (Kind::ImmutableId, "immutable_id"),
        (Kind::DeadKey, "dead_key"),
        (Kind::RevokedKey, "revoked_key"),
        (Kind::Lifetime, "lifetime"),
        (Kind::Randomness, "randomness"),
    ];
    for (kind, name) in names {
        assert_eq!(kind.as_str(), name);
        let error = KeyringError::from(kind);
        assert_eq!((error.kind(), error.entry(), error.position()), (kind, None, None));
        assert!(!error.to_string().is_empty() && format!("{error:?}") == error.to_string());
    }
}

// --------------------------------------------------------------------------------------------
// Changes.

#[test]
fn the_next_request_sees_a_change_by_any_handle() {
    let keys = Keyring::new();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    let (handle, layer_too) = (keys.clone(), layer.clone().optional());
    let outcome = || {
        let request = || Request::get("/").header("x-api-key", KEY);
        assert_eq!(ask(&layer, request()).outcome(), ask(&layer_too, request()).outcome());
        ask(&layer, request()).outcome()
    };
    assert_eq!(outcome(), "401 unknown");
    handle.insert(KEY, Client::new("ci")).unwrap();
    assert_eq!((outcome(), keys.len()), ("200 ci".to_owned(), 1));
    assert_eq!(keys.revoke_client("ci"), 1);
    assert_eq!((outcome(), handle.len()), ("401 revoked".to_owned(), 0));
    assert_eq!(handle.prune(), 1);
    assert_eq!(outcome(), "401 unknown");
    keys.insert(KEY, Client::new("again")).unwrap();
    drop(keys);
    assert_eq!(outcome(), "200 again");
    assert_eq!(handle.remove(&KeyDigest::of(KEY)).as_ref().map(Client::id), Some("again"));
    assert_eq!(outcome(), "401 unknown");
}

#[test]
fn revoke_client_revokes_all_keys_of_a_client_and_returns_their_number() {
    let keys = keys();
    keys.insert("second-key-of-ci", Client::new("ci").with_scopes(["a"])).unwrap();
    keys.insert("third-key-of-ci", Client::new("ci").with_name("CI")).unwrap();
    for unknown in ["", "CI", "c", "ci ", "ci2", OTHER, "unknown"] {
        assert_eq!(
            (keys.revoke_client(unknown), keys.contains_client(unknown)),
            (0, false),
            "{unknown}"
        );
    }
    assert_eq!((keys.len(), keys.contains_client("ci")), (4, true));
    assert_eq!((keys.revoke_client("ci"), keys.revoke_client("ci")), (3, 0));
    assert_eq!((keys.len(), keys.contains_client("ci")), (1, false));
    for key in [OTHER, "second-key-of-ci", "third-key-of-ci"] {
        assert_eq!(outcome(&keys, key), "401 revoked");
    }
    assert_eq!(outcome(&keys, KEY), "200 mobile-app");
}

#[test]
fn remove_removes_one_key_and_returns_its_client() {
    let keys = keys();
    keys.insert("second-key-of-ci", Client::new("ci")).unwrap();
    assert_eq!(keys.remove(&KeyDigest::of(WRONG)), None);
    assert_eq!(keys.remove(&KeyDigest::of(OTHER)), Some(Client::new("ci")));
    assert_eq!(keys.remove(&KeyDigest::of(OTHER)), None);
    assert_eq!(
        (outcome(&keys, OTHER), outcome(&keys, "second-key-of-ci")),
        ("401 unknown".into(), "200 ci".into())
    );
    assert!(keys.contains_client("ci"));
    assert_eq!((keys.revoke_client("ci"), keys.contains_client("ci"), keys.len()), (1, false, 1));
    keys.insert(OTHER, Client::new("ci")).unwrap();
    assert_eq!(keys.remove(&KeyDigest::of(OTHER)).unwrap().id(), "ci");
    assert!(!keys.contains_client("ci"));
}

#[test]
fn retain_keeps_the_chosen_clients_and_its_closure_can_use_the_keyring() {
    let keys = keys();
    keys.insert("key-of-a-third", Client::new("third").with_scopes(["keep"])).unwrap();
    let mut asked = Vec::new();
    let removed = keys.retain(|client| {
        asked.push(client.id().to_owned());
        assert_eq!(keys.len(), 3 + usize::from(keys.contains_client("inside")));
        if client.id() == "ci" {
            keys.insert("key-made-inside", Client::new("inside")).unwrap();
            assert_eq!(outcome(&keys, OTHER), "200 ci");
        }
        client.id() != "ci"
    });
    asked.retain(|id| id != "inside"); // the closure may or may not be called for a key that it adds
    asked.sort();
    assert_eq!((asked, removed), (vec!["ci".into(), "mobile-app".into(), "third".into()], 1));
    assert_eq!((outcome(&keys, OTHER), keys.len()), ("401 unknown".into(), 3));

    assert_eq!(keys.retain(|client| client.has_scope("keep")), 2);
    assert_eq!(keys.retain(|_| true), 0);
    // The index by client is up to date.
    assert_eq!(
        (
            keys.revoke_client("mobile-app"),
            keys.revoke_client("inside"),
            keys.revoke_client("third")
        ),
        (0, 0, 1)
    );
    assert_eq!(keys.retain(|_| unreachable!()), 0);
}

#[test]
fn clients_can_be_listed_and_keys_cannot() {
    let keys = keys();
    keys.insert("second-key-of-ci", Client::new("ci")).unwrap();
    let mut ids: Vec<_> = keys.clients().map(|client| client.id().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["ci", "ci", "mobile-app"]);
    let listed = keys.clients();
    assert_eq!(keys.revoke_client("ci"), 2);
    assert_eq!(listed.count(), 3, "a list holds no lock and does not change");
    assert_eq!(keys.clients().count(), 1);
}

#[test]
fn r42_a_client_holds_its_fields_and_neither_key_nor_digest() {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("ci").with_name("CI").with_scopes(["a", "b"]).with_key_id("k_1"))
        .unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
    let client = reply.client().unwrap();
    assert_eq!((client.id(), client.name(), client.key_id()), ("ci", Some("CI"), Some("k_1")));
    assert_eq!(client.scopes().collect::<Vec<_>>(), ["a", "b"]);
    // Clients are equal even if they used different keys.
    let same = Client::new("ci").with_name("CI").with_scopes(["a", "b"]);
    assert_eq!((client, client), (&same, &same.clone().with_key_id("k_2")));
    for other in [same.clone().with_name("other"), same.with_scopes(["a"]), Client::new("ci")] {
        assert_ne!(*client, other);
    }
}

/// A custom client type without an id.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    seats: u32,
}

#[test]
fn any_type_can_be_the_client() {
    let keys: Keyring<Plan> = Keyring::new();
    keys.insert(KEY, Plan { seats: 1 }).unwrap();
    keys.insert(OTHER, Plan { seats: 2 }).unwrap();
    assert_eq!(keys.insert(KEY, Plan { seats: 3 }).unwrap_err().kind(), Kind::DuplicateKey);
    assert_eq!(keys.insert("", Plan { seats: 3 }).unwrap_err().kind(), Kind::BlankKey);
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    let reply = ask(&layer, Request::get("/").header("x-api-key", OTHER));
    assert_eq!(reply.seen().extensions.get(), Some(&Plan { seats: 2 }));
    assert!(reply.client().is_none());
    assert_eq!(keys.clients().map(|plan| plan.seats).sum::<u32>(), 3);
    assert_eq!(keys.remove(&KeyDigest::of(KEY)), Some(Plan { seats: 1 }));
    assert_eq!((keys.retain(|plan| plan.seats > 2), keys.len()), (1, 0));
}

/// A custom client type with an id.
#[derive(Clone, Debug, PartialEq)]
struct Tenant(String);

impl Identity for Tenant {
    fn id(&self) -> &str {
        &self.0
    }
}

#[test]
fn r5_a_custom_client_type_has_no_scope_and_no_key_id_by_default() {
    let tenant = Tenant("a".to_owned());
    assert!(!tenant.has_scope("") && !tenant.has_scope("a"));
    assert!(tenant.scopes().is_empty());
    assert_eq!(tenant.key_id(), None);
}

#[test]
fn a_custom_client_type_is_revoked_by_its_id_before_and_after_the_first_revocation() {
    let tenant = |id: &str| Tenant(id.to_owned());
    let keys: Keyring<Tenant> = Keyring::new();
    for (key, id) in [("key-1", "a"), ("key-2", "a"), ("key-3", "b"), ("key-4", "c")] {
        keys.insert(key, tenant(id)).unwrap();
    }
    assert_eq!(keys.remove(&KeyDigest::of("key-4")), Some(tenant("c")));
    assert_eq!(
        (keys.revoke_client("c"), keys.revoke_client("a"), keys.revoke_client("a")),
        (0, 2, 0)
    );

    keys.insert("key-5", tenant("b")).unwrap();
    assert_eq!(keys.insert("key-1", tenant("a")).unwrap_err().kind(), Kind::RevokedKey);
    assert!(!keys.contains_client("a"));
    keys.insert("key-6", tenant("a")).unwrap();
    assert!(keys.contains_client("a") && keys.contains_client("b") && !keys.contains_client("c"));
    assert_eq!(keys.retain(|tenant| tenant.0 != "a"), 1);
    assert_eq!((keys.revoke_client("a"), keys.len()), (0, 2));
    assert_eq!(keys.remove(&KeyDigest::of("key-3")), Some(tenant("b")));
    assert_eq!((keys.revoke_client("b"), keys.len()), (1, 0));
    assert!(!keys.contains_client("b"));
}

#[test]
fn a_revocation_misses_no_key_even_after_an_identity_panicked() {
    #[derive(Clone)]
    struct Fragile(Arc<AtomicUsize>);
    impl Identity for Fragile {
        fn id(&self) -> &str {
            assert_ne!(self.0.fetch_add(1, SeqCst), 3, "the fourth time");
            "fragile"
        }
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let keys: Keyring<Fragile> = Keyring::new();
    for number in 0..10 {
        keys.insert(format!("key-{number}"), Fragile(Arc::clone(&calls))).unwrap();
    }
    assert!(catch_unwind(AssertUnwindSafe(|| keys.revoke_client("unknown"))).is_err());
    assert_eq!(keys.revoke_client("fragile"), 10);
    assert!(keys.is_empty());
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

// Both keys are valid during the overlap. A removed key is rejected from then on.
#[test]
fn a_key_is_rotated_while_requests_run_and_none_of_them_is_rejected() {
    const ROUNDS: usize = 300;
    let key = |round: usize| format!("{round:08}-key-of-this-round");
    let keys = Keyring::single(key(0)).unwrap();
    let (current, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let read = || {
        let mut rejected = 0;
        while !done.load(SeqCst) {
            let round = current.load(SeqCst);
            let accepted = outcome(&keys, &key(round)) == "200 default";
            // A key is valid for two more rounds.
            rejected += usize::from(!accepted && current.load(SeqCst) <= round + 1);
        }
        rejected
    };
    let rejected = thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let ending = Ending(&done);
        for round in 1..=ROUNDS {
            keys.insert(key(round), Client::new("default")).unwrap();
            current.store(round, SeqCst);
            assert_eq!(outcome(&keys, &key(round - 1)), "200 default");
            assert_eq!(outcome(&keys, &key(round)), "200 default");
            if let Some(old) = round.checked_sub(2) {
                assert!(keys.remove(&KeyDigest::of(key(old))).is_some());
                assert_eq!(outcome(&keys, &key(old)), "401 unknown");
            }
        }
        drop(ending);
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!((rejected, keys.len()), ([0, 0], 2));
}

#[test]
fn after_revoke_client_returns_no_request_is_accepted() {
    const ROUNDS: usize = 300;
    let key = |round: usize| format!("{round:08}-key-of-this-round");
    let keys: Keyring = Keyring::new();
    let (revoked, used, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let read = || {
        let mut late = 0;
        while !done.load(SeqCst) {
            let round = revoked.load(SeqCst);
            late += usize::from(!outcome(&keys, &key(round)).starts_with("401"));
            if outcome(&keys, &key(round + 1)) == "200 ci" {
                used.fetch_max(round + 1, SeqCst);
            }
            // With more threads than cores, a reader would otherwise hold up the next change for milliseconds.
            thread::yield_now();
        }
        late + usize::from(outcome(&keys, &key(ROUNDS)) != "401 revoked")
    };
    let late = thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let ending = Ending(&done);
        let started = Instant::now();
        for round in 1..=ROUNDS {
            keys.insert(key(round), Client::new("ci")).unwrap();
            // A reader uses each key before its revocation, so that a cached result would be found.
            while used.load(SeqCst) < round {
                assert!(
                    started.elapsed() < Duration::from_secs(60),
                    "no request with the new key was accepted"
                );
                thread::yield_now();
            }
            assert_eq!(keys.revoke_client("ci"), 1);
            revoked.store(round, SeqCst);
        }
        drop(ending);
        readers.map(|reader| reader.join().unwrap())
    });
    assert_eq!(late, [0, 0]);
}

/// Runs a closure in its own thread, and panics if the closure has to wait.
#[track_caller]
fn without_waiting<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    is_done.recv_timeout(Duration::from_secs(20)).expect("the closure had to wait")
}

#[test]
fn a_request_does_not_wait_for_a_closure_of_retain() {
    let keys = keys();
    let mut asked = 0;
    keys.retain(|_| {
        let keys = keys.clone();
        assert_eq!(without_waiting(move || outcome(&keys, KEY)), "200 mobile-app");
        asked += 1;
        true
    });
    assert_eq!(asked, 2);
}

#[test]
fn a_request_does_not_wait_for_an_unfinished_change() {
    struct Gate {
        reached: Barrier,
        opened: Barrier,
        is_armed: AtomicBool,
    }

    #[derive(Clone)]
    struct Stuck(Arc<Gate>);

    impl Identity for Stuck {
        fn id(&self) -> &str {
            if self.0.is_armed.swap(false, SeqCst) {
                self.0.reached.wait();
                self.0.opened.wait();
            }
            "stuck"
        }
    }

    let gate = Arc::new(Gate {
        reached: Barrier::new(2),
        opened: Barrier::new(2),
        is_armed: AtomicBool::new(true),
    });
    let keys: Keyring<Stuck> = Keyring::new();
    keys.insert(KEY, Stuck(Arc::clone(&gate))).unwrap();
    keys.insert(OTHER, Stuck(Arc::clone(&gate))).unwrap();

    let changing = keys.clone();
    let change = thread::spawn(move || changing.revoke_client("unknown"));
    gate.reached.wait();
    // The change has started, and holds its locks.
    let reading = keys.clone();
    let read = without_waiting(move || [KEY, OTHER, WRONG].map(|key| outcome(&reading, key)));
    gate.opened.wait();
    assert_eq!(read, ["200 -", "200 -", "401 unknown"]);
    assert_eq!((change.join().unwrap(), keys.revoke_client("stuck")), (0, 2));
}

#[test]
fn changes_by_many_threads_are_all_applied() {
    let keys: Keyring = Keyring::new();
    thread::scope(|scope| {
        for thread in 0..4 {
            let keys = &keys;
            scope.spawn(move || {
                for number in 0..200 {
                    let key = format!("key-{thread}-{number}");
                    keys.insert(&key, Client::new(format!("client-{}", number % 2))).unwrap();
                    if number % 5 == 0 {
                        assert!(keys.remove(&KeyDigest::of(&key)).is_some());
                    }
                }
            });
        }
    });
    assert_eq!(keys.len(), 4 * 160);
    let zero = keys.revoke_client("client-0");
    assert_eq!((zero, keys.revoke_client("client-1"), keys.len()), (320, 320, 0));
}
