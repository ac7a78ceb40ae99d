//! Minted keys: their layout, their randomness, and the formats of a keyring.

use crate::support;

use std::{collections::HashSet, fmt};

use http::{Request, request};
use proptest::{collection::vec, prelude::*};
use support::{SPOTS, ask, cases};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring,
    error::{
        KeyringError, KeyringErrorKind, ParseFormatError, ParseKeyError, ParseKeyErrorKind as Kind,
    },
    extract::header,
    key::{KeyFormat, MintedKey},
    rejection::Reason,
};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn format(prefix: &str) -> KeyFormat {
    KeyFormat::new(prefix).unwrap()
}

fn shown(minted: MintedKey) -> String {
    minted.reveal(str::to_owned)
}

#[track_caller]
fn kind<T: fmt::Debug>(result: Result<T, ParseKeyError>) -> Kind {
    result.unwrap_err().kind()
}

fn outcome(keys: &Keyring, key: &[u8]) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

// --------------------------------------------------------------------------------------------
// The layout, shown by keys of another implementation. Python 3.12 computed the checksums:
//
//     import zlib
//
//     DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
//
//     def base62(number):
//         text = ""
//         for _ in range(6):
//             number, text = number // 62, DIGITS[number % 62] + text
//         return text
//
//     def key(prefix, id, secret):
//         text = f"{prefix}_{id}_{secret}"
//         return text + base62(zlib.crc32(text.encode()))

const VECTORS: [(&str, &str, &str); 9] = [
    ("sk_live", "0a1B2c3D", "sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBU"),
    ("key", "00000000", "key_00000000_00000000000000000000003U3IkL"),
    // This checksum begins with two zeros.
    ("key", "LeadZero", "key_LeadZero_000000000000000000011900XOL7"),
    ("a", "zzzzzzzz", "a_zzzzzzzz_zzzzzzzzzzzzzzzzzzzzzz12zGTT"),
    ("0", "12345678", "0_12345678_987654321098765432109803ZePx"),
    ("Z9", "ABCDEFGH", "Z9_ABCDEFGH_ABCDEFGHIJKLMNOPQRSTUV1Kcwh0"),
    ("acme_eu_1_live", "hgfedcba", "acme_eu_1_live_hgfedcba_vutsrqponmlkjihgfedcba4J0Wje"),
    (
        "a_b_c_d_e_f_g_h_i_j_k_l_m_n_o_pq",
        "qP0oN1mL",
        "a_b_c_d_e_f_g_h_i_j_k_l_m_n_o_pq_qP0oN1mL_2kJ3iH4gF5eD6cB7aZ8yX93JNzz7",
    ),
    (
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "7Gh2Kd9Q",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_7Gh2Kd9Q_Lw0Zr5Ty8Bn3Mq6Vc1Xs4P45Hg1v",
    ),
];

/// Computes CRC-32/ISO-HDLC bit by bit: reflected, 0xEDB88320, all ones before and after.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

/// Returns six digits, which are enough for 2^32.
fn base62(number: u64) -> String {
    let digit = |power| DIGITS[(number / 62_u64.pow(power) % 62) as usize];
    (0..6).rev().map(|power| char::from(digit(power))).collect()
}

/// Appends the right checksum.
fn sealed(text: &str) -> String {
    format!("{text}{}", base62(crc32(text.as_bytes()).into()))
}

#[test]
fn r49_keys_of_another_implementation_are_parsed() {
    // The check value of CRC-32/ISO-HDLC.
    assert_eq!((crc32(b"123456789"), base62(0xCBF4_3926)), (0xCBF4_3926, "3jZRME".into()));
    for (prefix, id, key) in VECTORS {
        assert_eq!(format(prefix).parse(key).unwrap(), id);
        assert_eq!(format(prefix).parse(key.as_bytes()).unwrap(), id);
        assert_eq!(sealed(&key[..key.len() - 6]), key);
        for (other, ..) in VECTORS.iter().filter(|(other, ..)| *other != prefix) {
            assert_eq!(kind(format(other).parse(key)), Kind::ForeignKey, "{other} {key}");
        }
        // A keyring uses the id of the key.
        let keys = Keyring::builder().format(format(prefix)).build();
        keys.insert(key, Client::new("ci")).unwrap();
        let record = keys.record(id).unwrap();
        assert_eq!((record.id(), record.format()), (Some(id), Some(&format(prefix))));
        assert_eq!(outcome(&keys, key.as_bytes()), "200 ci");
    }
}

#[test]
fn r48_a_minted_key_is_prefix_id_secret_and_checksum() {
    for prefix in ["sk_live", "key", "a", "0", "acme_eu_1_live", &"x".repeat(32)] {
        let format = format(prefix);
        assert_eq!(format.prefix(), prefix);
        for _ in 0..50 {
            let minted = format.mint().unwrap();
            let (id, digest) = (minted.id().to_owned(), minted.digest());
            let key = shown(minted);
            let tail = key.strip_prefix(prefix).unwrap().strip_prefix('_').unwrap();
            let (found, tail) = tail.split_once('_').unwrap();
            assert_eq!((found, id.len(), tail.len()), (&*id, 8, 22 + 6));
            assert!(id.bytes().chain(tail.bytes()).all(|byte| byte.is_ascii_alphanumeric()));
            // A double click and the `\b` of a scanner find both ends.
            assert!(key.starts_with(char::is_alphanumeric) && key.ends_with(char::is_alphanumeric));
            assert_eq!(sealed(&key[..key.len() - 6]), key);
            assert_eq!(format.parse(&key).unwrap(), id);
            assert_eq!(digest, tower_api_key::KeyDigest::of(&key));
        }
    }
    let bits = 22.0 * 62_f64.log2();
    assert!(
        (130.9..131.0).contains(&bits),
        "the bits of the secret, without id and checksum: {bits}"
    );
    assert_eq!(KeyFormat::default(), format("key"));
}

#[test]
fn r48_a_prefix_is_words_of_letters_and_digits_with_single_underscores() {
    let (most, over) = ("x".repeat(32), "x".repeat(33));
    for good in ["a", "0", "sk", "sk_live", "SK_LIVE_2", "a_b_c", "1_2", &most] {
        assert_eq!(format(good).prefix(), good);
        assert_eq!(format(good).parse(&shown(format(good).mint().unwrap())).unwrap().len(), 8);
    }
    for bad in [
        "",
        "_",
        "_sk",
        "sk_",
        "sk__live",
        "sk-live",
        "sk.live",
        "sk live",
        " sk",
        "sk\n",
        "sk\0",
        "caf\u{e9}",
        "\u{ff11}",
        "sk:live",
        "sk/live",
        &over,
        &format!("{most}_"),
    ] {
        let error: ParseFormatError = KeyFormat::new(bad).unwrap_err();
        assert_eq!(
            KeyringError::from(error.clone()).kind(),
            KeyringErrorKind::KeyPrefix,
            "{bad:?}"
        );
        assert!(bad.len() < 3 || !error.to_string().contains(bad));
    }
}

// --------------------------------------------------------------------------------------------
// The pattern for scanners.

/// Finds all matches of a pattern in ASCII text, as a scanner does.
///
/// A pattern has only `\b`, classes with a count, and plain characters.
fn matches<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    (0..text.len())
        .filter_map(|start| Some(&text[start..end_of_match(pattern, text, start)?]))
        .collect()
}

fn end_of_match(mut pattern: &str, text: &str, start: usize) -> Option<usize> {
    let is_word = |at: usize| {
        text.as_bytes().get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let mut at = start;
    while !pattern.is_empty() {
        if let Some(rest) = pattern.strip_prefix(r"\b") {
            if (at > 0 && is_word(at - 1)) == is_word(at) {
                return None;
            }
            pattern = rest;
        } else if let Some(rest) = pattern.strip_prefix("[0-9A-Za-z]{") {
            let (count, rest) = rest.split_once('}').unwrap();
            let end = at + count.parse::<usize>().unwrap();
            let run = text.as_bytes().get(at..end)?;
            if !run.iter().all(u8::is_ascii_alphanumeric) {
                return None;
            }
            (at, pattern) = (end, rest);
        } else {
            assert!(pattern.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_'));
            if text.as_bytes().get(at) != pattern.as_bytes().first() {
                return None;
            }
            (at, pattern) = (at + 1, &pattern[1..]);
        }
    }
    Some(at)
}

#[test]
fn r48_the_pattern_finds_only_whole_minted_keys() {
    let sk_live = format("sk_live");
    assert_eq!(sk_live.pattern(), r"\bsk_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{28}\b");
    for prefix in ["sk_live", "key", "a_1"] {
        let format = format(prefix);
        for _ in 0..50 {
            let key = shown(format.mint().unwrap());
            for text in [
                key.clone(),
                format!("API_KEY=\"{key}\""),
                format!("curl -H 'x-api-key: {key}' https://h/?k={key}&x"),
                format!("{key}.{key},{key}\n{key}"),
            ] {
                let found = matches(&format.pattern(), &text);
                assert_eq!(found, vec![&*key; text.matches(&*key).count()], "{text}");
            }
            for text in [
                format!("x{key}"),
                format!("_{key}"),
                format!("{key}0"),
                format!("{key}_"),
                key[..key.len() - 1].to_owned(),
                key[1..].to_owned(),
                key.replacen('_', "-", 1),
            ] {
                assert!(matches(&format.pattern(), &text).is_empty(), "{text}");
            }
        }
    }
    for (prefix, _, key) in VECTORS {
        assert_eq!(matches(&format(prefix).pattern(), key), [key]);
    }
}

// --------------------------------------------------------------------------------------------
// Randomness.

/// The values of the random digits of a key: eight of its id and 22 of its secret.
type Random = [u8; 30];

/// Bounds that a chi-squared statistic passes by chance once in 10^11 times.
///
/// The bound is 166.5 for 61 degrees of freedom and 4,460.5 for 3,843. [`is_uniform`] computes 32 statistics,
/// so a false alarm occurs less than once in 3 · 10^9 runs.
const MOST: [(usize, f64); 2] = [(62, 167.0), (62 * 62, 4_461.0)];

fn chi_squared(counts: &[u32]) -> f64 {
    let all: f64 = counts.iter().copied().map(f64::from).sum();
    let expected = all / counts.len() as f64;
    counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

/// Returns an error if some digits are more frequent than others.
///
/// This counts digits at each of the 30 positions, at all positions together, and in pairs of neighbours. All
/// positions together show a small bias. Pairs show a digit that depends on the one before.
fn is_uniform(keys: &[Random]) -> Result<(), String> {
    let mut positions = vec![vec![0; 62]; 30];
    let (mut all, mut pairs) = (vec![0; 62], vec![0; 62 * 62]);
    for key in keys {
        for (position, digit) in positions.iter_mut().zip(key) {
            position[usize::from(*digit)] += 1;
            all[usize::from(*digit)] += 1;
        }
        for pair in key.chunks_exact(2) {
            pairs[usize::from(pair[0]) * 62 + usize::from(pair[1])] += 1;
        }
    }
    positions.extend([all, pairs]);
    for (number, counts) in positions.iter().enumerate() {
        let (_, most) = MOST.into_iter().find(|(cells, _)| *cells == counts.len()).unwrap();
        let statistic = chi_squared(counts);
        if statistic > most {
            return Err(format!("{statistic:.1} of {most} in count {number}"));
        }
    }
    Ok(())
}

/// Mints this number of keys, and checks that ids and secrets are different.
fn minted(keys: usize) -> Vec<Random> {
    let format = format("sk_live");
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).unwrap() as u8;
    let keys: Vec<_> = (0..keys)
        .map(|_| {
            format.mint().unwrap().reveal(|key| {
                let (id, secret) = (&key.as_bytes()[8..16], &key.as_bytes()[17..39]);
                let mut random = [0; 30];
                for (to, digit) in random.iter_mut().zip(id.iter().chain(secret)) {
                    *to = value(*digit);
                }
                random
            })
        })
        .collect();
    let secrets: HashSet<_> = keys.iter().map(|key| &key[8..]).collect();
    assert_eq!(secrets.len(), keys.len());
    // Two of 62^8 ids can be equal by chance. Among a million keys this happens once in 440 runs.
    let ids: HashSet<_> = keys.iter().map(|key| &key[..8]).collect();
    assert!(ids.len() + 1 >= keys.len());
    keys
}

#[test]
fn r48_a_hundred_thousand_keys_are_different_and_their_digits_uniform() {
    is_uniform(&minted(100_000)).unwrap();
}

/// `cargo test --release --all-features --test it a_million_keys -- --ignored`
#[test]
#[ignore = "takes a while in a debug build"]
fn r48_a_million_keys_are_different_and_their_digits_uniform() {
    is_uniform(&minted(1_000_000)).unwrap();
}

/// Returns uniform bytes by SplitMix64, the same ones in every run.
fn bytes() -> impl Iterator<Item = u8> {
    let words = (1_u64..).map(|number| {
        let word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    });
    words.flat_map(u64::to_le_bytes)
}

#[test]
fn the_check_accepts_uniform_digits_and_finds_each_kind_of_bias() {
    let keys = |mut digits: Box<dyn Iterator<Item = u8>>| -> Vec<Random> {
        (0..100_000).map(|_| [(); 30].map(|()| digits.next().unwrap())).collect()
    };
    let good = || bytes().filter(|byte| *byte < 248).map(|byte| byte % 62);
    let good_keys = keys(Box::new(good()));
    is_uniform(&good_keys).unwrap();
    // The remainder of a byte by 62 is biased, also if only one value too many is kept.
    is_uniform(&keys(Box::new(bytes().map(|byte| byte % 62)))).unwrap_err();
    is_uniform(&keys(Box::new(bytes().filter(|byte| *byte <= 248).map(|it| it % 62)))).unwrap_err();
    // One digit never occurs, only 36 digits occur, or a digit follows from the one before.
    is_uniform(&keys(Box::new(good().map(|digit| digit.min(60))))).unwrap_err();
    is_uniform(&keys(Box::new(bytes().map(|byte| byte % 36)))).unwrap_err();
    is_uniform(&keys(Box::new(good().flat_map(|digit| [digit, (digit + 1) % 62])))).unwrap_err();
    // Only one position is biased.
    let others: Vec<_> = bytes().skip(4_000_000).take(good_keys.len()).collect();
    for position in [0, 7, 8, 29] {
        let mut keys = good_keys.clone();
        for (key, byte) in keys.iter_mut().zip(&others) {
            key[position] = byte % 62;
        }
        is_uniform(&keys).unwrap_err();
    }
}

// --------------------------------------------------------------------------------------------
// Rejected keys.

#[test]
fn r49_an_invalid_key_is_an_error_with_a_kind_and_without_the_value() {
    let format = format("sk_live");
    let (rest, checksum) = ("sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o", "0XLaBU");
    let crc = u64::from(crc32(rest.as_bytes()));
    let key = |checksum: &str| format!("{rest}{checksum}");
    let good = key(checksum);
    assert_eq!(format.parse(&good).unwrap(), "0a1B2c3D");

    let long = good.repeat(100);
    for (text, wrong) in [
        (key("0XLaBV"), Kind::Checksum),
        (key("000000"), Kind::Checksum),
        (key("UBaLX0"), Kind::Checksum),
        (key("0xlabu"), Kind::Checksum),
        // The checksum is above 32 bits. Some of these are equal to the right one in the lower 32 bits.
        (key("zzzzzz"), Kind::Checksum),
        (key(&base62(1 << 32)), Kind::Checksum),
        (key(&base62(crc + (1 << 32))), Kind::Checksum),
        (key(&base62(crc + (5 << 32))), Kind::Checksum),
        // The checksum of a part, or of another spelling.
        (key(&base62(crc32(&rest.as_bytes()[8..]).into())), Kind::Checksum),
        (key(&base62(crc32(rest.to_uppercase().as_bytes()).into())), Kind::Checksum),
        (good.replace("0a1B2c3D", "0a1B2c3d"), Kind::Checksum),
        (good.replace("4e5F", "4f5E"), Kind::Checksum),
        // Another prefix, with a right or a wrong checksum.
        (sealed(&rest.replace("live", "test")), Kind::ForeignKey),
        (sealed(&rest.replace("sk_live", "SK_LIVE")), Kind::ForeignKey),
        (sealed(&rest.replace("sk_live", "x_sk_live")), Kind::ForeignKey),
        (sealed(&rest.replace("sk_live", "sk")), Kind::ForeignKey),
        (good.replace("live", "test"), Kind::ForeignKey),
        // Other layouts with the right checksum.
        (sealed(&rest[8..]), Kind::KeyLayout),
        (sealed(&rest[7..]), Kind::KeyLayout),
        (sealed(&rest.replace("_live", "__live")), Kind::KeyLayout),
        (sealed(&rest.replace("sk_", "_sk_")), Kind::KeyLayout),
        (sealed(&rest.replace("sk_", "sk-")), Kind::KeyLayout),
        (sealed(&rest.replace("_4e", "4e")), Kind::KeyLayout),
        (sealed(&rest.replace("_4e", "-4e")), Kind::KeyLayout),
        (sealed(&rest.replace("_0a", "-0a")), Kind::KeyLayout),
        (sealed(&rest.replace("0a1B", "0a1-")), Kind::KeyLayout),
        (sealed(&rest.replace("6g7H", "6_7H")), Kind::KeyLayout),
        (sealed(&rest.replace("6g7H", "6 7H")), Kind::KeyLayout),
        (sealed(&rest[..rest.len() - 1]), Kind::KeyLayout),
        (sealed(&format!("{rest}0")), Kind::KeyLayout),
        (sealed(&rest.replace("4e5", "4\u{e9}")), Kind::KeyLayout),
        (sealed(&rest.replace("sk_live", "s\u{e9}")), Kind::KeyLayout),
        (sealed(&rest.replace("sk_live", &"x".repeat(33))), Kind::KeyLayout),
        (sealed(""), Kind::KeyLayout),
        // Copies that are incomplete or too long.
        (good[..good.len() - 1].to_owned(), Kind::KeyLayout),
        (good[1..].to_owned(), Kind::ForeignKey),
        (rest.to_owned(), Kind::KeyLayout),
        (format!("{good} "), Kind::KeyLayout),
        (format!(" {good}"), Kind::KeyLayout),
        (format!("{good}\n"), Kind::KeyLayout),
        (format!("{good}{good}"), Kind::KeyLayout),
        (long.clone(), Kind::KeyLayout),
        (String::new(), Kind::KeyLayout),
        ("_".repeat(45), Kind::KeyLayout),
        ("0".repeat(45), Kind::KeyLayout),
        ("12345abcde".to_owned(), Kind::KeyLayout),
    ] {
        let error = format.parse(&text).unwrap_err();
        assert_eq!(error.kind(), wrong, "{text}");
        let message = format!("{error} {error:?}");
        assert!(
            !message.contains("0a1B2c3D")
                && !message.contains("4e5F")
                && !message.contains("0XLaBU")
        );
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        for wrong in [0, 0x7F, 0x80, 0xFF] {
            bytes[at] = wrong;
            format.parse(&bytes).unwrap_err();
        }
        format.parse(&good[..at]).unwrap_err();
    }
}

#[test]
fn r49_a_keyring_with_formats_rejects_other_forms_like_any_wrong_key() {
    let (live, test) = (format("sk_live"), format("sk_test"));
    for (keys, formats) in [
        (Keyring::builder().format(live.clone()).build(), &[&live][..]),
        (Keyring::builder().format(live.clone()).format(test.clone()).build(), &[&live, &test]),
    ] {
        let good: Vec<_> = formats
            .iter()
            .map(|format| shown(keys.issue(format, Client::new("ci")).unwrap()))
            .collect();
        // This key is well-formed, but was not issued.
        let unissued = shown(live.mint().unwrap());
        let mut typo = good[0].clone().into_bytes();
        let last = typo.last_mut().unwrap();
        *last = if *last == b'x' { b'y' } else { b'x' };
        let typo = String::from_utf8(typo).unwrap();
        let cut = &good[0][..good[0].len() - 1];
        let foreign = shown(format("other").mint().unwrap());
        let forged = sealed("sk_live_00000000_0000000000000000000000");
        // A lookup would find these keys, but the check of their form comes first.
        for unseen in [&*typo, cut, &foreign, "12345abcde"] {
            keys.insert_digest(tower_api_key::KeyDigest::of(unseen), Client::new("unseen"))
                .unwrap();
        }
        for spot in SPOTS {
            for form in [
                || Request::get("/"),
                || Request::post("/").header("content-type", "application/grpc"),
            ] as [fn() -> request::Builder; 2]
            {
                let layer = spot.layer(keys.clone());
                let ask = |key: &str| ask(&layer, (spot.put)(form(), key.as_bytes()));
                for good in &good {
                    assert_eq!(ask(good).outcome(), "200 ci", "{}", spot.name);
                }
                let answer = ask(&unissued).wire();
                for wrong in [&*unissued, &typo, cut, &foreign, &forged, "12345abcde", "-"] {
                    let reply = ask(wrong);
                    assert_eq!(reply.wire(), answer, "{} {wrong}", spot.name);
                    assert_eq!(reply.reason(), Some(Reason::Unknown), "{} {wrong}", spot.name);
                    assert_eq!(reply.rejection().unwrap().key_id(), None);
                }
            }
        }
        // A keyring without formats looks up such a key.
        assert_eq!(outcome(&Keyring::new(), typo.as_bytes()), "401 unknown");
    }
}

#[test]
fn r49_a_key_that_is_known_by_its_digest_is_rejected_if_it_has_none_of_the_formats() {
    let plain = Keyring::new();
    let strict = Keyring::builder().format(format("sk_live")).build();
    plain.insert("12345abcde", Client::new("old")).unwrap();
    strict.replace(plain.records()).unwrap();
    assert_eq!(outcome(&plain, b"12345abcde"), "200 old");
    assert_eq!(outcome(&strict, b"12345abcde"), "401 unknown");
    assert_eq!(outcome(&strict.clone(), b"12345abcde"), "401 unknown");
    let key = shown(strict.issue(&format("sk_live"), Client::new("new")).unwrap());
    plain.replace(strict.records()).unwrap();
    for keys in [&plain, &strict] {
        assert_eq!((outcome(keys, key.as_bytes()), keys.len()), ("200 new".to_owned(), 2));
    }
}

#[test]
fn r49_a_keyring_with_formats_neither_inserts_nor_issues_a_key_of_another_form() {
    use KeyringErrorKind as Kind;

    let keys = Keyring::builder().format(format("sk_live")).format(format("sk_test")).build();
    let good = shown(format("sk_test").mint().unwrap());
    let typo = |key: &str| {
        let (rest, last) = key.split_at(key.len() - 1);
        format!("{rest}{}", if last == "x" { "y" } else { "x" })
    };
    for (key, wrong) in [
        ("12345abcde".to_owned(), Kind::KeyLayout),
        (good[..20].to_owned(), Kind::KeyLayout),
        (shown(format("sk_prod").mint().unwrap()), Kind::ForeignKey),
        (typo(&shown(format("sk_prod").mint().unwrap())), Kind::ForeignKey),
        // A typo in a key of either format is a wrong checksum.
        (typo(&good), Kind::Checksum),
        (typo(&shown(format("sk_live").mint().unwrap())), Kind::Checksum),
        // Text that is no key at all has its own error.
        (format!("{good}\n"), Kind::KeyEdge),
        (String::new(), Kind::BlankKey),
        (tower_api_key::KeyDigest::of(&good).encode(), Kind::DigestAsKey),
    ] {
        let error = keys.insert(&key, Client::new("ci")).unwrap_err();
        assert_eq!(error.kind(), wrong, "{key}");
        let message = format!("{error} {error:?}");
        assert!(key.is_empty() || !message.contains(&key), "{message}");
        assert!(keys.is_empty());
    }
    let other = keys.issue(&format("sk_prod"), Client::new("ci")).unwrap_err();
    assert_eq!((other.kind(), keys.len()), (Kind::ForeignKey, 0));
    keys.insert(&good, Client::new("ci")).unwrap();
    keys.issue(&format("sk_live"), Client::new("ci")).unwrap().reveal(|key| {
        assert_eq!(outcome(&keys, key.as_bytes()), "200 ci");
    });
    assert_eq!((keys.len(), outcome(&keys, good.as_bytes())), (2, "200 ci".into()));
}

#[test]
fn issue_rejects_an_invalid_client_as_insert_does_and_changes_nothing() {
    let keys = Keyring::new();
    for client in [Client::new(" "), Client::new("a\nb"), Client::new("ci").with_scopes(["a b"])] {
        let inserted = keys.insert("12345abcde", client.clone()).unwrap_err();
        assert_eq!(keys.issue(&KeyFormat::default(), client).unwrap_err(), inserted);
        assert_eq!((keys.len(), keys.records().count()), (0, 0));
    }
}

// --------------------------------------------------------------------------------------------
// Output of a minted key.

/// If a type is `Clone` or `Display`, it has two of these methods, so a call of `some` does not compile.
trait Neither<A> {
    fn some() {}
}

struct IsClone;
struct IsDisplay;

impl<T: ?Sized> Neither<()> for T {}
impl<T: Clone> Neither<IsClone> for T {}
impl<T: fmt::Display> Neither<IsDisplay> for T {}

#[test]
fn a_minted_key_is_revealed_once_and_prints_only_its_id() {
    <MintedKey as Neither<_>>::some();
    // `reveal` consumes the key, so it cannot be called twice.
    let reveal_once: fn(MintedKey, fn(&str) -> String) -> _ = MintedKey::reveal;

    let minted = format("sk_live").mint().unwrap();
    let id = minted.id().to_owned();
    assert_eq!(format!("{minted:?}"), format!("MintedKey({id:?}, ..)"));
    let printed = format!("{minted:?} {minted:#?} {minted:x?}");
    let key = reveal_once(minted, str::to_owned);
    assert!(key.contains(&id) && printed.contains(&id));
    let secret = &key["sk_live_01234567_".len()..];
    assert!((0..secret.len() - 6).all(|at| !printed.contains(&secret[at..at + 6])), "{printed}");
    assert_eq!(format!("{:?}", format("sk_live")), r#"KeyFormat("sk_live")"#);
}

// --------------------------------------------------------------------------------------------
// Properties.

fn prefixes() -> impl Strategy<Value = String> {
    "[0-9A-Za-z]{1,4}(_[0-9A-Za-z]{1,4}){0,5}"
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn r49_every_minted_key_is_parsed(prefix in prefixes()) {
        let format = format(&prefix);
        let minted = format.mint().unwrap();
        let id = minted.id().to_owned();
        let key = shown(minted);
        prop_assert_eq!(format.parse(&key).unwrap(), id);
        prop_assert_eq!(matches(&format.pattern(), &key), [&*key]);
    }

    #[test]
    fn r49_arbitrary_bytes_cause_no_panic(key in vec(any::<u8>(), 0..100), prefix in ".{0,40}") {
        let format = KeyFormat::new(&prefix).unwrap_or_default();
        prop_assert!(format.parse(&key).is_err());
        let keys = Keyring::builder().format(format).build();
        prop_assert!(keys.insert(&key, Client::new("ci")).is_err());
        let _ = Keyring::new().insert(&key, Client::new("ci"));
    }

    #[test]
    fn r49_an_almost_valid_key_causes_no_panic(
        key in "[0-9A-Za-z_]{0,12}_[0-9A-Za-z_\u{e9}]{7,9}_[0-9A-Za-z_\u{e9}]{27,29}",
    ) {
        prop_assert!(format("a").parse(&key).is_err());
        let keys = Keyring::new();
        keys.insert(&key, Client::new("ci")).ok();
        prop_assert!(keys.records().all(|record| record.format().is_none()));
    }
}

proptest! {
    #![proptest_config(cases(20))]

    // A CRC finds every change of up to four consecutive bytes, and a wrong length moves an underscore. So
    // the test can try all changes.
    #[test]
    fn r49_any_change_of_one_character_is_rejected(prefix in prefixes()) {
        let format = format(&prefix);
        let key = shown(format.mint().unwrap());
        let keys = Keyring::builder().format(format.clone()).build();
        let is_rejected = |changed: &str| {
            let parsed = format.parse(changed).map_err(|error| error.kind());
            matches!(parsed, Err(Kind::KeyLayout | Kind::ForeignKey | Kind::Checksum))
                && keys.insert(changed, Client::new("ci")).is_err()
        };
        let others = DIGITS.iter().chain(b"_- ~").map(|byte| char::from(*byte));
        for at in 0..=key.len() {
            let (before, after) = key.split_at(at);
            for other in others.clone() {
                let inserted = format!("{before}{other}{after}");
                prop_assert!(is_rejected(&inserted), "{}", inserted);
                if !after.is_empty() && !after.starts_with(other) {
                    let replaced = format!("{before}{other}{}", &after[1..]);
                    prop_assert!(is_rejected(&replaced), "{}", replaced);
                }
            }
            if !after.is_empty() {
                let deleted = format!("{before}{}", &after[1..]);
                prop_assert!(is_rejected(&deleted), "{}", deleted);
            }
            if after.len() > 1 && after.as_bytes()[0] != after.as_bytes()[1] {
                let swapped = format!("{before}{}{}{}", &after[1..2], &after[..1], &after[2..]);
                prop_assert!(is_rejected(&swapped), "{}", swapped);
            }
        }
        prop_assert!(keys.is_empty() && format.parse(&key).is_ok());
    }
}
