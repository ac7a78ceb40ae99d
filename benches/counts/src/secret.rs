//! Stored digests made secret: to memcheck they are undefined, wherever they lie.

use tower_api_key::KeyDigest;

use crate::{arena, client_request};

/// Marks every word in memory that is one of these digests', and says how many there were.
pub fn mark(digests: &[KeyDigest]) -> usize {
    let mut secret: Vec<u64> = digests.iter().flat_map(words).collect();
    secret.sort_unstable();
    let mut may_be = vec![false; 1 << 16];
    secret.iter().for_each(|word| may_be[*word as usize & 0xFFFF] = true);

    let is_secret = |word: &*mut u64| {
        client_request::define(*word);
        // SAFETY: the memory is there for good, and nothing else runs.
        let value = unsafe { word.read_volatile() };
        may_be[value as usize & 0xFFFF] && secret.binary_search(&value).is_ok()
    };
    let found: Vec<_> = arena::words().filter(is_secret).collect();
    found.iter().for_each(|word| client_request::undefine(*word));
    found.len()
}

pub fn words(digest: &KeyDigest) -> [u64; 4] {
    let bytes = digest.to_bytes();
    std::array::from_fn(|at| u64::from_ne_bytes(bytes[8 * at..][..8].try_into().expect("eight")))
}
