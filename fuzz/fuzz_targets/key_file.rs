//! Arbitrary bytes as a file of keys: either all of it is taken, as the oracle reads it, and stays itself
//! through changes; or none, the keys stay as they were, and the error repeats nothing.

#![no_main]

use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use http::Request;
use libfuzzer_sys::fuzz_target;
use tower_api_key::{
    Client,
    extract::RequestHead,
    key::KeyFormat,
    key_file::{KeyFile, KeyFileError, KeyFileErrorKind},
    verify::{PresentedKey, Verify},
};
use tower_api_key_fuzz::{
    CANARY,
    file::{Key, as_written, read},
};

/// The key `canary-of-mobile-app`.
const BEFORE: &str = r#"{"v":1}
{"id":"0a1B2c3D","client":"mobile-app","digest":"sha256:d326a4d7d1ece6c58b4305692e0f7bbecd79b98450c5c7bb822fa506a863dd31","created":"2026-11-24T12:00:00Z"}
"#;

static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("keys-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder.join("keys.jsonl")
});

fuzz_target!(|input: &[u8]| {
    write(BEFORE.as_bytes());
    let keys = open().expect("a good file");
    let before = held(&keys);

    write(input);
    let keys_of_input = read(input);
    match keys.update(|_| Ok(())) {
        Err(error) => {
            let text = shown(&error);
            assert_eq!(keys_of_input, None, "{text}");
            assert_eq!(error.kind(), KeyFileErrorKind::Content);
            assert!(!text.contains(CANARY), "{text}");
            assert_eq!(shown(&open().expect_err("not taken here either")), text);
            assert_eq!(held(&keys), before);
            let request = Request::new(());
            let key = PresentedKey::new(b"canary-of-mobile-app", RequestHead::of(&request));
            assert_eq!(
                keys.verify(&key).into_result().ok().as_ref().map(Client::id),
                Some("mobile-app")
            );
        }
        Ok(()) => {
            assert_eq!(Some(held(&keys)), keys_of_input);
            assert_eq!(fs::read(&*PATH).expect("the file"), input);
            change(&keys, input);
        }
    }
});

/// After any change the file says what is held, and all else about a key is as it was.
fn change(keys: &KeyFile, input: &[u8]) {
    let minted = changes(keys, &[], || keys.issue(&KeyFormat::default(), Client::new("new")));
    let minted = minted.expect("a new key");
    let text = input.strip_prefix("\u{feff}".as_bytes()).unwrap_or(input);
    assert!(fs::read(&*PATH).expect("the file").starts_with(text));
    for key in held(keys).iter().take(3) {
        let fields = ["retires", "rotated", "replaced_by"];
        let rotate = || keys.rotate(&key["id"], Duration::from_secs(60));
        if let Err(error) = changes(keys, &fields, rotate) {
            assert_eq!(error.kind(), KeyFileErrorKind::Refused);
        }
    }
    for key in held(keys) {
        changes(keys, &["revoked"], || keys.revoke_client(&key["client"])).expect("written");
    }
    assert!(keys.records().all(|record| record.revoked().is_some()));
    assert!(keys.records().any(|record| record.id() == Some(minted.id())));
    keys.prune().expect("written");
    assert_eq!(held(&open().expect("a good file")), held(keys));
    assert_eq!(keys.records().count(), 0);
}

/// A change that leaves all fields of all keys but these.
fn changes<T>(keys: &KeyFile, fields: &[&str], change: impl FnOnce() -> T) -> T {
    let before = held(keys);
    let done = change();
    let after = held(keys);
    assert_eq!(held(&open().expect("a good file")), after);
    for mut key in before {
        let mut now = after.iter().find(|it| it["id"] == key["id"]).expect("it stays").clone();
        for field in fields {
            key.remove(field);
            now.remove(field);
        }
        assert_eq!(now, key);
    }
    done
}

fn open() -> Result<KeyFile, KeyFileError> {
    // In 2027.
    let clock = || UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    KeyFile::options().follow(false).clock(clock).open(&*PATH)
}

fn write(text: &[u8]) {
    fs::write(&*PATH, text).expect("a file");
}

fn held(keys: &KeyFile) -> Vec<Key> {
    let mut held: Vec<_> = keys.records().map(|record| as_written(&record)).collect();
    held.sort();
    held
}

fn shown(error: &KeyFileError) -> String {
    let source = error.source().map(|source| format!("{source} {source:?}"));
    format!("{error} {error:?} {source:?}")
}
