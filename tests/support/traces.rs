//! Two keys for tests of leaks, and a search for every form of them.

use std::{
    collections::{BTreeSet, HashSet},
    error::Error,
    fmt,
};

use http::Request;
use tower_api_key::KeyDigest;

use super::{Reply, escaped};

/// The key that tests present in every location. Most keyrings of these tests contain it.
pub(crate) const CANARY: &str = "Zk3xQ9mWv7Lr2Tb8Yp5Nc4Hd";

/// A second key.
pub(crate) const SECOND: &str = "uE6sJ1gXo0Ka.Ri/Vf+Bw~Cq";

/// Texts that would leak a secret.
///
/// These are the secret and its digest as text, hexadecimal, base64 or lists of numbers, and any eight
/// consecutive characters of the first three.
pub(crate) struct Traces {
    fragments: BTreeSet<String>,
    /// The beginnings of the fragments. Most texts contain none of them and need no further search.
    beginnings: HashSet<Vec<u8>>,
}

/// The shortest fragment is `1,2,3,4`.
const SHORTEST: usize = 7;

impl Traces {
    pub(crate) fn new() -> Self {
        Self::of(&[CANARY, SECOND].map(|key| (key, KeyDigest::of(key))))
    }

    /// Returns the traces of a minted key. Its prefix and id are not secret.
    pub(crate) fn of_minted(key: &str) -> Self {
        let (_, secret) = key.rsplit_once('_').unwrap();
        Self::of(&[(secret, KeyDigest::of(key))])
    }

    fn of(secrets: &[(&str, KeyDigest)]) -> Self {
        let mut fragments = BTreeSet::new();
        for (key, digest) in secrets {
            let digest = digest.to_bytes();
            let texts = [
                (*key).to_owned(),
                key.to_lowercase(),
                hex(key.as_bytes()),
                hex(&digest),
                base64(key.as_bytes(), b"+/"),
                base64(&digest, b"+/"),
                base64(&digest, b"-_"),
                escaped(key.as_bytes()),
            ];
            for text in texts {
                fragments.extend((0..=text.len() - 8).map(|at| text[at..at + 8].to_owned()));
            }
            // `{:?}` prints bytes and words like this, and `find` removes the white space of `{:#?}`.
            for bytes in [key.as_bytes(), &digest] {
                let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
                fragments.extend(numbers.windows(4).map(|window| window.join(",")));
            }
            for word in digest.chunks_exact(8).map(|word| <[u8; 8]>::try_from(word).unwrap()) {
                fragments.extend(
                    [u64::from_ne_bytes(word), u64::from_be_bytes(word)].map(|it| it.to_string()),
                );
                fragments.insert(i64::from_ne_bytes(word).to_string());
            }
        }
        let beginning = |fragment: &String| fragment.as_bytes()[..SHORTEST].to_vec();
        Self { beginnings: fragments.iter().map(beginning).collect(), fragments }
    }

    pub(crate) fn find(&self, text: &str) -> Option<&str> {
        let dense: String = text.split_whitespace().collect();
        let lower = dense.to_lowercase();
        let may_hold_one = |text: &str| {
            text.as_bytes().windows(SHORTEST).any(|window| self.beginnings.contains(window))
        };
        if !may_hold_one(&dense) && !may_hold_one(&lower) {
            return None;
        }
        let found =
            |fragment: &&String| dense.contains(&***fragment) || lower.contains(&***fragment);
        self.fragments.iter().find(found).map(String::as_str)
    }

    #[track_caller]
    pub(crate) fn are_not_in(&self, text: &str) {
        if let Some(fragment) = self.find(text) {
            panic!("{fragment} is in {text}");
        }
    }

    #[track_caller]
    pub(crate) fn are_not_in_debug(&self, value: &impl fmt::Debug) {
        for text in [
            format!("{value:?}"),
            format!("{value:#?}"),
            format!("{value:x?}"),
            format!("{value:#X?}"),
        ] {
            self.are_not_in(&text);
            assert!(!text.is_empty());
        }
    }

    #[track_caller]
    pub(crate) fn are_not_in_error(&self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.are_not_in(&error.to_string());
            self.are_not_in_debug(&error);
            next = error.source();
        }
    }

    #[track_caller]
    pub(crate) fn are_not_in_reply(&self, reply: &Reply) {
        self.are_not_in(&reply.wire());
        self.are_not_in_debug(&reply.head);
        if let Some(rejection) = reply.rejection() {
            self.are_not_in_debug(rejection);
            self.are_not_in_error(rejection);
        }
        if let Some(seen) = &reply.seen {
            self.are_not_in_debug(seen);
            self.are_not_in_debug(&Request::from_parts(seen.clone(), ()));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn base64(bytes: &[u8], last_two: &[u8; 2]) -> String {
    let alphabet: Vec<u8> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last_two).collect();
    let sextets = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        let digits =
            [18, 12, 6, 0].map(|shift| char::from(alphabet[(bits >> shift & 63) as usize]));
        digits.into_iter().take(chunk.len() + 1).collect::<String>()
    };
    bytes.chunks(3).map(sextets).collect()
}
