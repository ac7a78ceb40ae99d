//! The support code finds leaked keys.

use tower_api_key::key::KeyFormat;

use crate::support::{Folder, find_minted_keys};

#[test]
fn the_search_for_leaked_keys_finds_them() {
    let minted = KeyFormat::new("sk_live").unwrap().mint().unwrap();
    let digest = minted.digest().encode();
    let key = minted.reveal(str::to_owned);
    assert_eq!(find_minted_keys(&format!("a \"{key}\", b\n{key}")), [&*key, &*key]);
    assert!(find_minted_keys("Issued 0a1B2c3D. some_other_words").is_empty());
    let folder = Folder::new();
    folder.keep_secret(&key);
    for text in [&*key, &key[key.len() - 28..], &digest] {
        let outcome = || folder.shell("printf %s \"$1\"").arg(text).exits(0);
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(outcome));
        assert!(looked.is_err(), "{text}");
    }
}
