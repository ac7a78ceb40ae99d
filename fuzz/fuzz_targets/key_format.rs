//! Minted keys: any text as a prefix, any bytes as a key; and no change of one character goes unseen.
//!
//! The first line is a prefix, the rest a key.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_api_key::{KeyDigest, error::ParseKeyError, key::KeyFormat};
use tower_api_key_fuzz::{first_line, minted};

fuzz_target!(|input: &[u8]| {
    let (prefix, key) = first_line(input);
    check_digest(key);
    let Ok(prefix) = std::str::from_utf8(prefix) else { return };
    let format = KeyFormat::new(prefix);
    assert_eq!(format.is_ok(), minted::is_prefix(prefix));
    let Ok(format) = format else { return };
    assert_eq!(format.prefix(), prefix);
    check_key(&format, key);

    let ours = format.mint().expect("random bytes");
    let id = ours.id().to_owned();
    let ours = ours.reveal(str::to_owned);
    assert_eq!(format.parse(&ours).ok(), Some(&*id));
    for good in [ours, minted::made_of(prefix, key)] {
        check_key(&format, good.as_bytes());
        assert!(format.parse(&good).is_ok());
        let other = key.first().copied().unwrap_or(b'0');
        for at in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[at] = if changed[at] == other { b'_' } else { other };
            if changed != good.as_bytes() {
                check_key(&format, &changed);
                assert!(format.parse(&changed).is_err(), "changed at {at}: {good}");
            }
            assert!(format.parse(&good[..at]).is_err() && format.parse(&good[at + 1..]).is_err());
        }
    }
});

fn check_key(format: &KeyFormat, key: &[u8]) {
    let read = format.parse(key);
    let kind = |error: &ParseKeyError| error.kind().as_str();
    assert_eq!(read.as_ref().copied().map_err(kind), minted::read(format.prefix(), key));
    if let (Err(error), Ok(key)) = (read, std::str::from_utf8(key)) {
        let shown = format!("{error} {error:?}");
        assert!(key.len() < 20 || !shown.contains(key), "{shown}");
    }
}

/// A digest is read as it is written, and nothing else is.
fn check_digest(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let is_hex = |hex: &str| hex.len() == 64 && hex.chars().all(|char| char.is_ascii_hexdigit());
    let is_digest = text.strip_prefix("sha256:").is_some_and(is_hex);
    let digest = KeyDigest::parse(text);
    assert_eq!(digest.as_ref().ok().map(KeyDigest::encode), is_digest.then(|| text.to_lowercase()));
}
