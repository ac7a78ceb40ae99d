//! Locations and extractors. A value is a key, no key, one of several keys, or malformed.

use crate::support;

use std::{
    pin::pin,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, header::COOKIE};
use support::{KEY, OTHER, SPOTS, WRONG, ask, escaped, keys};
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring,
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, header, query, scheme,
    },
    verify::{self, PresentedKey},
};

#[test]
fn a_good_key_is_accepted_from_every_location_and_the_verifier_sees_the_location() {
    for spot in SPOTS {
        let layer = spot.layer(verify::from_fn(|key: &PresentedKey<'_>| {
            assert_eq!(key.expose(), KEY.as_bytes());
            key.location().map(|location| Client::new(location.to_string()))
        }));
        assert_eq!(ask(&layer, spot.get(&[KEY])).outcome(), format!("200 {}", spot.name));
        assert_eq!(ask(&layer, spot.get(&[])).outcome(), "401 missing", "{}", spot.name);
    }
}

// The layer accepts `bearer`, `BEARER` and two spaces, but not `Bearerish`, `Bearer\t` and `Basic`.
#[test]
fn r7_a_scheme_matches_in_any_case_and_another_scheme_counts_as_no_key() {
    for name in ["Bearer", "Token", "x!#$%&'*+-.^_`|~9"] {
        let layer = ApiKeyLayer::new(scheme(name), keys());
        let outcome =
            |line: &str| ask(&layer, Request::get("/").header("authorization", line)).outcome();
        let mixed = format!("{}{}", name[..2].to_lowercase(), name[2..].to_uppercase());
        for case in [name.to_owned(), name.to_uppercase(), name.to_lowercase(), mixed] {
            for line in ["S K", "S  K", "S          K", " \t S K \t"] {
                let line = line.replace('K', KEY).replace('S', &case);
                assert_eq!(outcome(&line), "200 mobile-app", "{case}: {line:?}");
            }
            for (line, reason) in [
                ("", "missing"),
                (" ", "missing"),
                ("S", "missing"),
                ("S ", "missing"),
                ("S   ", "missing"),
                ("S\t", "missing"),
                ("Sish K", "other_scheme"),
                ("SK", "no_scheme"),
                ("S-K", "no_scheme"),
                ("S_ K", "other_scheme"),
                ("Basic K", "other_scheme"),
                ("K", "no_scheme"),
                ("Basic S K", "other_scheme"),
                ("Digest username=\"K\"", "other_scheme"),
            ] {
                let line = line.replace('K', KEY).replace('S', &case);
                assert_eq!(outcome(&line), format!("401 {reason}"), "{case}: {line:?}");
            }
        }
        assert_eq!(outcome(&format!("{} {KEY}", &name[1..])), "401 other_scheme");
    }
}

#[test]
fn r21_a_scheme_without_exactly_one_token68_is_a_malformed_key() {
    let layer = ApiKeyLayer::new(bearer(), keys());
    for line in [
        "Bearer KEY KEY",
        "Bearer KEY x",
        "Bearer KEY, Bearer KEY",
        "Bearer KEY,",
        "Bearer ,KEY",
        "Bearer \"KEY\"",
        "Bearer token=KEY",
        "Bearer token=\"KEY\"",
        "Bearer KEY=x",
        "Bearer =KEY",
        "Bearer =",
        "Bearer KEY;",
        "Bearer KEY\tx",
        "Bearer \tKEY",
        "Bearer\tKEY",
        "Bearer:KEY",
        "Bearer: KEY",
        "Bearer/KEY",
        "Bearer %6BKEY",
        "Bearer \u{e9}KEY",
        "Bearer\u{e9} KEY",
    ] {
        let line = HeaderValue::from_bytes(line.replace("KEY", KEY).as_bytes()).unwrap();
        let reply = ask(&layer, Request::get("/").header("authorization", &line));
        assert_eq!(reply.outcome(), "401 malformed", "{line:?}");
    }
    // Padding is part of the token, so a padded token is another key.
    let reply = ask(&layer, Request::get("/").header("authorization", format!("Bearer {KEY}=")));
    assert_eq!(reply.outcome(), "401 unknown");
}

#[test]
fn a_key_that_is_not_a_token68_is_rejected_behind_a_scheme() {
    for key in ["two words", "a\"b", "a=b", "a:b", "=a", "a,b"] {
        let keys = Keyring::single(key).unwrap();
        let by_header = ApiKeyLayer::new(header("x-api-key"), keys.clone());
        assert_eq!(ask(&by_header, Request::get("/").header("x-api-key", key)).status(), 200);
        let by_scheme = ApiKeyLayer::new(bearer(), keys);
        let reply =
            ask(&by_scheme, Request::get("/").header("authorization", format!("Bearer {key}")));
        assert_eq!(reply.outcome(), "401 malformed", "{key}");
    }
}

// Two credentials, in both orders. Other gateways do not return 400.
#[test]
fn r8_two_values_in_one_location_are_rejected_even_if_all_are_valid() {
    for spot in SPOTS {
        let layer = spot.layer(verify::from_fn(|_| -> Option<Client> { panic!("asked") }));
        for values in [
            [KEY, KEY],
            [KEY, OTHER],
            [OTHER, KEY],
            [KEY, WRONG],
            [WRONG, KEY],
            [KEY, ""],
            ["", KEY],
            ["", ""],
            [" ", KEY],
        ] {
            let reply = ask(&layer, spot.get(&values));
            assert_eq!(reply.outcome(), "400 ambiguous", "{} {values:?}", spot.name);
        }
        assert_eq!(ask(&layer, spot.get(&[KEY, KEY, KEY])).outcome(), "400 ambiguous");
        let optional = spot.layer(keys()).optional();
        assert_eq!(ask(&optional, spot.get(&[KEY, KEY])).outcome(), "400 ambiguous");
    }
}

#[test]
fn r8_two_locations_at_once_are_rejected_even_if_both_are_valid() {
    for one in SPOTS {
        for two in SPOTS.into_iter().filter(|two| two.name != one.name) {
            let layer = ApiKeyLayer::new(((one.extract)(), (two.extract)()), keys());
            for values in [[KEY, KEY], [KEY, OTHER], [KEY, WRONG], [WRONG, KEY], [WRONG, WRONG]] {
                let [first, second] = values.map(str::as_bytes);
                let request = (two.put)((one.put)(Request::get("/"), first), second);
                let outcome = ask(&layer, request).outcome();
                assert_eq!(outcome, "400 ambiguous", "{}, {}: {values:?}", one.name, two.name);
            }
            for spot in [one, two] {
                assert_eq!(ask(&layer, spot.get(&[KEY])).outcome(), "200 mobile-app");
                assert_eq!(ask(&layer, spot.get(&[KEY, KEY])).outcome(), "400 ambiguous");
            }
        }
    }
}

#[test]
fn r8_a_malformed_value_still_counts_as_a_value() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys());
    for request in [
        Request::get("/?api_key=%zz").header("x-api-key", KEY),
        Request::get("/").header("x-api-key", KEY).header("authorization", "Bearer a b"),
        Request::get("/")
            .header("x-api-key", "a\tb")
            .header("authorization", format!("Bearer {KEY}")),
        Request::get(format!("/?api_key={KEY}")).header("x-api-key", "k".repeat(5000)),
    ] {
        assert_eq!(ask(&layer, request).outcome(), "400 ambiguous");
    }
}

#[test]
fn r8_two_authorization_lines_of_any_schemes_are_ambiguous() {
    let ours = format!("Bearer {KEY}");
    for lines in [[&*ours, "Basic x"], ["Basic x", &ours], ["Basic x", "Digest y"], [&ours, ""]] {
        let request = lines
            .iter()
            .fold(Request::get("/"), |request, line| request.header("Authorization", *line));
        let layer = ApiKeyLayer::new(bearer(), keys());
        assert_eq!(ask(&layer, request).outcome(), "400 ambiguous", "{lines:?}");
    }
}

#[test]
fn r8_two_query_pairs_or_cookies_are_ambiguous_in_any_spelling() {
    let layer = ApiKeyLayer::new((query("api_key"), cookie("sid")), keys());
    for query in
        ["api_key=K&api_key=K", "api_key=K&%61pi_key=K", "api%5fkey=K&api_key", "api_key&api_key"]
    {
        let reply = ask(&layer, Request::get(format!("/?x=1&{}", query.replace('K', KEY))));
        assert_eq!(reply.outcome(), "400 ambiguous", "{query}");
    }
    for lines in [
        &["sid=K; sid=K"][..],
        &["sid=K;sid="],
        &["sid=K", "a=1; sid=\"K\""],
        &["sid=;", " sid = "],
    ] {
        let request = lines.iter().fold(Request::get("/"), |request, line| {
            request.header(COOKIE, line.replace('K', KEY))
        });
        assert_eq!(ask(&layer, request).outcome(), "400 ambiguous", "{lines:?}");
    }
}

#[test]
fn r9_a_comma_joined_line_is_one_value_and_equals_none_of_its_parts() {
    for spot in SPOTS {
        let layer = spot.layer(keys());
        for joined in ["KEY,KEY", "KEY, KEY", "KEY,OTHER", "OTHER , KEY", ",KEY", "KEY,"] {
            let value = joined.replace("KEY", KEY).replace("OTHER", OTHER);
            let reply = ask(&layer, spot.get(&[&value]));
            assert_eq!(
                (reply.status(), reply.seen.is_none()),
                (401, true),
                "{} {joined}",
                spot.name
            );
        }
    }
    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("a, b").unwrap());
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", "a, b")).outcome(), "200 default");
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", "a,b")).outcome(), "401 unknown");
}

// `Some("")`, and `Bearer ` without a value.
#[test]
fn r10_an_empty_or_blank_value_is_no_key_in_any_location_and_reaches_no_verifier() {
    for spot in SPOTS {
        let layer = spot.layer(verify::from_fn(|_| -> Option<Client> { panic!("asked") }));
        for blank in ["", " ", "\t", "  ", " \t "] {
            let outcome = ask(&layer, spot.get(&[blank])).outcome();
            assert_eq!(outcome, "401 missing", "{} {blank:?}", spot.name);
            let outcome = ask(&layer.clone().optional(), spot.get(&[blank])).outcome();
            assert_eq!(outcome, "200 -", "{} {blank:?}", spot.name);
        }
    }
    let layer = ApiKeyLayer::new((query("api_key"), cookie("sid")), keys()).optional();
    for (uri, line) in [
        ("/?api_key", ""),
        ("/?api_key=+", ""),
        ("/?api_key=%20%09+", ""),
        ("/", "sid=\"\""),
        ("/", "sid=\" \t\""),
        ("/", "sid = "),
        ("/", "sid"),
    ] {
        let reply = ask(&layer, Request::get(uri).header(COOKIE, line));
        assert_eq!(reply.outcome(), "200 -", "{uri} {line}");
    }
}

#[test]
fn r10_a_blank_location_is_ignored() {
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key"), bearer()), keys());
    let request = Request::get("/?api_key=+").header("x-api-key", " ");
    let request = request.header("authorization", format!("Bearer {KEY}"));
    assert_eq!(ask(&layer, request).outcome(), "200 mobile-app");
}

#[test]
fn r10_only_space_and_tab_around_a_header_value_are_trimmed() {
    for spot in SPOTS.into_iter().filter(|spot| spot.name.starts_with("header")) {
        let layer = spot.layer(keys());
        for value in [" K", "K ", "\tK", "K\t", " \t K\t  "] {
            let reply = ask(&layer, spot.get(&[&value.replace('K', KEY)]));
            assert_eq!(reply.outcome(), "200 mobile-app", "{value:?}");
        }
        for value in ["\u{a0}K", "K\u{a0}", "\u{3000}K", "\"K\"", "K;", "'K'"] {
            assert_eq!(
                ask(&layer, spot.get(&[&value.replace('K', KEY)])).status(),
                401,
                "{value:?}"
            );
        }
    }
    let layer = ApiKeyLayer::new((query("api_key"), cookie("sid")), keys());
    for value in ["+K", "K+", "%20K", "K%09", "K%0A", "%22K%22"] {
        let reply = ask(&layer, Request::get(format!("/?api_key={}", value.replace('K', KEY))));
        assert_eq!(reply.status(), 401, "{value}");
    }
    for value in ["\" K\"", "\"K \"", "\"\"K\"\"", "'K'"] {
        let line = format!("sid={}", value.replace('K', KEY));
        assert_eq!(ask(&layer, Request::get("/").header(COOKIE, line)).status(), 401, "{value}");
    }
}

#[test]
fn r12_keys_are_equal_byte_for_byte() {
    let others = [
        KEY.to_uppercase(),
        KEY.replacen('k', "K", 1),
        KEY.replacen('k', "%6B", 1),
        KEY.replacen('k', "%6b", 1),
        KEY.replacen('-', "+", 1),
        KEY.replacen('-', "_", 1),
        KEY.replacen('0', "O", 1),
        KEY.replacen('k', "\u{212a}", 1), // KELVIN SIGN, which lower-cases to k
        KEY.replacen('e', "e\u{301}", 1),
        format!("{KEY}."),
        format!("{KEY}/"),
        format!("\"{KEY}\""),
        format!("0{KEY}"),
        KEY.chars().rev().collect(),
    ];
    for spot in SPOTS {
        let layer = spot.layer(keys());
        for other in &others {
            let reply = ask(&layer, spot.get(&[other]));
            // One pair of quotes is not part of a cookie's value.
            let quoted_cookie = spot.name.starts_with("cookie") && other.starts_with('"');
            assert_eq!(
                reply.status(),
                if quoted_cookie { 200 } else { 401 },
                "{} {other}",
                spot.name
            );
        }
    }
}

#[test]
fn r13_r16_every_prefix_and_extension_of_a_key_is_rejected() {
    for spot in SPOTS {
        let layer = spot.layer(keys());
        for end in 1..KEY.len() {
            for part in [&KEY[..end], &KEY[end..]] {
                // `-` is blank in no location, and it is the key of no client.
                assert_eq!(ask(&layer, spot.get(&[part])).outcome(), "401 unknown", "{part}");
            }
        }
        for more in ["0", "a", "-", "==", KEY, OTHER] {
            let longer = format!("{KEY}{more}");
            assert_eq!(ask(&layer, spot.get(&[&longer])).outcome(), "401 unknown", "{longer}");
        }
        for at in 0..KEY.len() {
            let mut near = KEY.as_bytes().to_vec();
            near[at] ^= 1;
            let near = String::from_utf8(near).unwrap();
            assert_eq!(ask(&layer, spot.get(&[&near])).status(), 401, "{near}");
        }
    }
}

// `max_key_len` rejects a 64 KiB key before it is hashed.
#[test]
fn r16_r20_only_the_length_of_the_presented_key_decides_if_it_is_looked_up() {
    let asked = AtomicUsize::new(0);
    let layer = ApiKeyLayer::new(
        (header("x-api-key"), query("api_key")),
        verify::from_fn(|key: &PresentedKey<'_>| {
            asked.fetch_add(1, SeqCst);
            assert!(key.expose().len() <= 1024);
            None::<Client>
        }),
    );
    for length in [1, 2, 15, 16, 31, 32, 33, 64, 1023, 1024] {
        let reply = ask(&layer, Request::get("/").header("x-api-key", "k".repeat(length)));
        assert_eq!(reply.outcome(), "401 unknown", "{length}");
    }
    assert_eq!(asked.swap(0, SeqCst), 10);
    for length in [1025, 1026, 2048, 4096, 65_536] {
        let reply = ask(&layer, Request::get("/").header("x-api-key", "k".repeat(length)));
        assert_eq!(reply.outcome(), "401 too_long", "{length}");
    }
    assert_eq!(asked.load(SeqCst), 0);
}

#[test]
fn r20_max_key_len_counts_decoded_bytes_and_is_configurable() {
    let key = |length: usize| "k".repeat(length);
    let keys = || Keyring::single(key(1024)).unwrap();
    for spot in SPOTS {
        let layer = spot.layer(keys());
        assert_eq!(ask(&layer, spot.get(&[&key(1024)])).outcome(), "200 default", "{}", spot.name);
        assert_eq!(ask(&layer, spot.get(&[&key(1025)])).outcome(), "401 too_long", "{}", spot.name);
        let lower = layer.clone().max_key_len(1023);
        assert_eq!(ask(&lower, spot.get(&[&key(1024)])).outcome(), "401 too_long", "{}", spot.name);
        let higher = layer.max_key_len(1025);
        assert_eq!(ask(&higher, spot.get(&[&key(1025)])).outcome(), "401 unknown", "{}", spot.name);
    }
    let by_query = ApiKeyLayer::new(query("api_key"), keys());
    let encoded = Request::get(format!("/?api_key={}", "%6b".repeat(1024)));
    assert_eq!(ask(&by_query, encoded).outcome(), "200 default");
    let by_header = ApiKeyLayer::new(header("x-api-key"), keys());
    let blanks = format!("{0}{1}{0}", " ".repeat(600), key(1024));
    assert_eq!(ask(&by_header, Request::get("/").header("x-api-key", blanks)).status(), 200);
    let none = ApiKeyLayer::new(header("x-api-key"), keys()).max_key_len(0);
    assert_eq!(ask(&none, Request::get("/").header("x-api-key", "k")).outcome(), "401 too_long");
    assert_eq!(ask(&none, Request::get("/").header("x-api-key", "")).outcome(), "401 missing");
}

// Non-ASCII header bytes are rejected without a panic.
#[test]
fn r21_only_the_bytes_0x20_to_0x7e_can_be_part_of_a_key() {
    let pass = verify::from_fn(|_| Some(Client::new("anyone")));
    for spot in SPOTS {
        let layer = spot.layer(pass.clone());
        for byte in 0..=u8::MAX {
            let is_query = spot.name.starts_with("query");
            if !is_query && HeaderValue::from_bytes(&[b'a', byte, b'a']).is_err() {
                continue; // no server lets it come this far
            }
            let is_token = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            let is_key = match spot.name {
                name if name.starts_with("scheme") => is_token,
                name if name.starts_with("cookie") && byte == b';' => true, // it ends the value
                _ => matches!(byte, 0x20..=0x7E),
            };
            let reply = ask(&layer, (spot.put)(Request::get("/"), &[b'a', byte, b'z']));
            let outcome = if is_key { "200 anyone" } else { "401 malformed" };
            assert_eq!(reply.outcome(), outcome, "{} {byte:#x}", spot.name);
        }
    }
}

#[test]
fn r22_only_configured_locations_are_read() {
    for named in SPOTS {
        let layer = named.layer(keys());
        for other in SPOTS.into_iter().filter(|other| other.name != named.name) {
            let reply = ask(&layer, other.get(&[KEY]));
            let are_schemes = [named, other].iter().all(|spot| spot.name.starts_with("scheme"));
            let outcome = if are_schemes { "401 other_scheme" } else { "401 missing" };
            assert_eq!(reply.outcome(), outcome, "{} for {}", other.name, named.name);
        }
    }
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key"), cookie("sid")), keys());
    for request in [
        Request::get("/").header("x-api-keys", KEY),
        Request::get("/").header("api-key", KEY),
        Request::get("/").header("x_api_key", KEY),
        Request::get(format!("/?API_KEY={KEY}")),
        Request::get(format!("/?api-key={KEY}&apikey={KEY}&api_key[]={KEY}&xapi_key={KEY}")),
        Request::get(format!("/?x=1;api_key={KEY}")),
        Request::get(format!("/?x=api_key={KEY}")),
        Request::get(format!("/api_key={KEY}")),
        Request::get(format!("/;api_key={KEY}")),
        Request::get("/").header(COOKIE, format!("SID={KEY}; sid2={KEY}; xsid={KEY}; a=sid={KEY}")),
        Request::get("/").header("set-cookie", format!("sid={KEY}")),
        Request::get("/").header("referer", format!("http://h/?api_key={KEY}")),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(ask(&layer, request).outcome(), "401 missing", "{shown}");
    }
}

#[test]
fn r22_query_names_and_values_are_form_decoded_once_to_raw_bytes() {
    let keys = Keyring::single("a b+c%20d").unwrap();
    let layer = ApiKeyLayer::new(query("api_key"), keys);
    for (pair, outcome) in [
        ("api_key=a+b%2Bc%2520d", "200 default"),
        ("api_key=a%20b%2bc%2520d", "200 default"),
        ("api_key=%61%20%62%2B%63%25%32%30%64", "200 default"),
        ("%61pi_key=a+b%2Bc%2520d", "200 default"),
        ("%61%70%69%5f%6B%65%79=a+b%2Bc%2520d", "200 default"),
        ("api_key=a+b+c%2520d", "401 unknown"), // `+` is a space
        ("api_key=a+b%2Bc%20d", "401 unknown"), // decoded once
        ("api_key=a+b%2Bc%252520d", "401 unknown"),
        ("api%255fkey=a+b%2Bc%2520d", "401 missing"),
        ("api_key==a+b%2Bc%2520d", "401 unknown"), // only the first `=` parts
        ("api_key=a+b%2Bc%2520d=", "401 unknown"),
        ("api_key=a+b%2Bc%2520d?", "401 unknown"),
        ("api_key=%FF", "401 malformed"),
        ("api_key=%EF%BF%BD", "401 malformed"),
        ("api_key=a%00b", "401 malformed"),
        ("api_key=a%0d%0ab", "401 malformed"),
        ("api_key=%zz", "401 malformed"),
        ("api_key=a%2", "401 malformed"),
        ("api_key=%", "401 malformed"),
    ] {
        assert_eq!(ask(&layer, Request::get(format!("/p?{pair}"))).outcome(), outcome, "{pair}");
    }
}

#[test]
fn r22_an_encoded_ff_is_one_byte_and_not_u_fffd() {
    let layer = ApiKeyLayer::new(query("api_key"), keys()).max_key_len(8);
    let eight = Request::get(format!("/?api_key={}", "%FF".repeat(8)));
    assert_eq!(ask(&layer, eight).outcome(), "401 malformed");
    let twenty_four = Request::get(format!("/?api_key={}", "%EF%BF%BD".repeat(8)));
    assert_eq!(ask(&layer, twenty_four).outcome(), "401 too_long");
}

#[test]
fn r22_a_bad_escape_is_malformed_even_if_a_key_has_the_same_text() {
    for key in ["%zz", "100%", "a%4", "%%41", "a%4g"] {
        let layer = ApiKeyLayer::new(
            (query("api_key"), header("x-api-key")),
            Keyring::single(key).unwrap(),
        );
        let raw = ask(&layer, Request::get(format!("/?api_key={key}")));
        assert_eq!(raw.outcome(), "401 malformed", "{key}");
        let encoded = ask(&layer, Request::get(format!("/?api_key={}", escaped(key.as_bytes()))));
        assert_eq!(encoded.outcome(), "200 default", "{key}");
        let plain = ask(&layer, Request::get("/").header("x-api-key", key));
        assert_eq!(plain.outcome(), "200 default", "{key}");
    }
}

#[test]
fn r22_a_query_name_is_compared_only_in_decoded_form() {
    // If a name holds `+` or `%`, its raw spelling is the name of another parameter.
    for (name, spelled, another) in [("a+b", "a%2Bb", "a+b"), ("a%20b", "a%2520b", "a%20b")] {
        let layer = ApiKeyLayer::new(query(name), keys());
        let reply = ask(&layer, Request::get(format!("/?{spelled}={KEY}")));
        assert_eq!(reply.outcome(), "200 mobile-app", "{name} as {spelled}");
        let reply = ask(&layer, Request::get(format!("/?{another}={KEY}")));
        assert_eq!(reply.outcome(), "401 missing", "{name} as {another}");
    }
}

#[test]
fn every_form_of_request_target_is_read() {
    let layer = ApiKeyLayer::new(query("api_key"), keys());
    for uri in [
        "http://example.com/p?api_key=K",
        "https://example.com:8443?api_key=K",
        "//example.com/p?api_key=K",
        "/p/../q;x/%2e?api_key=K",
        "/?api_key=K#fragment",
        "/?&&api_key=K&",
    ] {
        let reply = ask(&layer, Request::get(uri.replace('K', KEY)));
        assert_eq!(reply.outcome(), "200 mobile-app", "{uri}");
    }
    let connect = Request::builder().method("CONNECT").uri("example.com:443");
    assert_eq!(ask(&layer, connect).outcome(), "401 missing");
    assert_eq!(ask(&layer, Request::options("*")).outcome(), "401 missing");
}

#[test]
fn a_cookie_is_found_in_several_cookie_lines() {
    let layer = ApiKeyLayer::new(cookie("sid"), keys());
    for (lines, outcome) in [
        (&["sid=K"][..], "200 mobile-app"),
        (&["a=1", "sid=K", "b=2"], "200 mobile-app"),
        (&["a=1; sid=K; b=2"], "200 mobile-app"),
        (&["a=1;sid=K;b=2"], "200 mobile-app"),
        (&["sid=\"K\""], "200 mobile-app"),
        (&["; ;;sid=K;;"], "200 mobile-app"),
        (&["\u{e9}=\u{e9}; sid=K"], "200 mobile-app"),
        (&["sid=\"K"], "401 unknown"),
        (&["sid==K"], "401 unknown"),
        (&["sid=K=K"], "401 unknown"),
        (&["sid=%6BK"], "401 unknown"),
        (&["sid=K, b=2"], "401 unknown"),
        (&["a=\"; sid=K\""], "401 unknown"),
        (&["sid=\u{e9}"], "401 malformed"),
        (&["Sid=K; SID=K"], "401 missing"),
        (&["sid"], "401 missing"),
        (&["sid K"], "401 missing"),
        (&["=K", ";", "=", "a"], "401 missing"),
    ] {
        let request = lines.iter().fold(Request::get("/"), |request, line| {
            request.header(COOKIE, line.replace('K', KEY).as_bytes())
        });
        assert_eq!(ask(&layer, request).outcome(), outcome, "{lines:?}");
    }
}

#[test]
fn first_of_decides_by_the_first_location_with_a_value() {
    let layer =
        ApiKeyLayer::new(first_of((header("x-api-key"), bearer(), query("api_key"))), keys());
    for (key, authorization, uri, outcome) in [
        (Some(KEY), None, "/", "200 mobile-app"),
        (None, Some("Bearer O"), "/", "200 ci"),
        (None, None, "/?api_key=K", "200 mobile-app"),
        (Some(KEY), Some("Bearer O"), "/", "200 mobile-app"),
        (Some(KEY), Some("Bearer a b"), "/?api_key=%zz&api_key", "200 mobile-app"),
        (Some(WRONG), Some("Bearer O"), "/?api_key=K", "401 unknown"),
        (Some("a\tb"), Some("Bearer O"), "/", "401 malformed"),
        (Some(" "), Some("Bearer O"), "/", "200 ci"),
        (None, Some("Bearer a b"), "/?api_key=K", "401 malformed"),
        (None, Some("Bearer"), "/?api_key=K", "200 mobile-app"),
        (None, Some("Basic x"), "/?api_key=K", "200 mobile-app"),
        (None, None, "/?api_key=K&api_key=K", "400 ambiguous"),
        (None, None, "/", "401 missing"),
    ] {
        let mut request = Request::get(uri.replace('K', KEY));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        if let Some(line) = authorization {
            request = request.header("authorization", line.replace('O', OTHER));
        }
        let case = (key, authorization, uri);
        assert_eq!(ask(&layer, request).outcome(), outcome, "{case:?}");
    }
    let two_lines = Request::get("/").header("x-api-key", KEY).header("x-api-key", KEY);
    let request = two_lines.header("authorization", format!("Bearer {KEY}"));
    assert_eq!(ask(&layer, request).outcome(), "400 ambiguous");
}

#[test]
fn tuples_hold_two_to_eight_extractors_and_nest() {
    let eight = || {
        (
            header("h1"),
            header("h2"),
            query("q1"),
            query("q2"),
            cookie("c1"),
            cookie("c2"),
            bearer(),
            scheme("Token"),
        )
    };
    let nested = (header("h0"), eight(), first_of((query("q3"), query("q4"))));
    let layer = ApiKeyLayer::new(nested, keys());
    let names: Vec<_> = layer.locations().iter().map(KeyLocation::name).collect();
    assert_eq!(names, ["h0", "h1", "h2", "q1", "q2", "c1", "c2", "Bearer", "Token", "q3", "q4"]);

    assert_eq!(ask(&layer, Request::get("/").header("h0", KEY)).outcome(), "200 mobile-app");
    let by_scheme = Request::get("/").header("authorization", format!("token {KEY}"));
    assert_eq!(ask(&layer, by_scheme).outcome(), "200 mobile-app");
    // Inside `first_of` the first value decides. The tuple around it still rejects two values.
    let two = Request::get(format!("/?q3={KEY}&q4={WRONG}"));
    assert_eq!(ask(&layer, two).outcome(), "200 mobile-app");
    let two = Request::get(format!("/?q4={KEY}")).header("h0", KEY);
    assert_eq!(ask(&layer, two).outcome(), "400 ambiguous");

    let first = ApiKeyLayer::new(first_of(eight()), keys());
    let all = Request::get(format!("/?q1={WRONG}")).header("h2", KEY).header("h1", OTHER);
    assert_eq!(ask(&first, all).outcome(), "200 ci");
}

/// Each list of these three locations, as a `Vec`, an array or a tuple, and nested.
fn lists() -> [(&'static str, Box<dyn Extract>); 6] {
    let [a, b, c] = [header("x-api-key"), bearer(), query("api_key")];
    let all = [a.clone(), b.clone(), c.clone()];
    [
        ("a vector", Box::new(all.to_vec())),
        ("an array", Box::new(all.clone())),
        ("a box of a slice", Box::new(all.to_vec().into_boxed_slice())),
        ("a vector in a tuple", Box::new((vec![a.clone(), b.clone()], c.clone()))),
        (
            "vectors in a vector",
            Box::new(vec![vec![a.clone()], vec![b.clone(), c.clone()], vec![]]),
        ),
        ("boxes in an array", Box::new([Box::new(a) as Box<dyn Extract>, Box::new((b, c))])),
    ]
}

#[test]
fn a_list_of_extractors_reads_all_locations_and_accepts_one_key() {
    for (name, list) in lists() {
        let layer = ApiKeyLayer::new(list, keys());
        let locations: Vec<_> = layer.locations().iter().map(ToString::to_string).collect();
        assert_eq!(
            locations,
            ["header `x-api-key`", "scheme `Bearer`", "query `api_key`"],
            "{name}"
        );
        let good = [
            Request::get("/").header("x-api-key", KEY),
            Request::get("/").header("authorization", format!("Bearer {KEY}")),
            Request::get(format!("/?api_key={KEY}")),
        ];
        for request in good {
            let reply = ask(&layer, request);
            assert_eq!(reply.outcome(), "200 mobile-app", "{name}");
            assert!(reply.seen().headers.is_empty() && reply.seen().uri == "/", "{name}");
        }
        assert_eq!(ask(&layer, Request::get("/")).outcome(), "401 missing", "{name}");
        let two = Request::get(format!("/?api_key={KEY}")).header("x-api-key", KEY);
        assert_eq!(ask(&layer, two).outcome(), "400 ambiguous", "{name}");
    }
}

#[test]
fn first_of_a_list_takes_the_first_location_with_a_value() {
    let all = [header("x-api-key"), bearer(), query("api_key")];
    let lists: [Box<dyn Extract>; 2] =
        [Box::new(first_of(all.to_vec())), Box::new(first_of(all.clone()))];
    for list in lists {
        let layer = ApiKeyLayer::new(list, keys());
        assert_eq!(layer.locations(), all);
        let request = |uri: String, key: &str| Request::get(uri).header("x-api-key", key);
        let two = request(format!("/?api_key={OTHER}"), KEY);
        assert_eq!(ask(&layer, two).outcome(), "200 mobile-app");
        let wrong_first = request(format!("/?api_key={KEY}"), WRONG);
        assert_eq!(ask(&layer, wrong_first).outcome(), "401 unknown");
        let blank_first = request(format!("/?api_key={OTHER}"), " ");
        assert_eq!(ask(&layer, blank_first).outcome(), "200 ci");
        assert_eq!(ask(&layer, Request::get("/")).outcome(), "401 missing");
    }
}

#[test]
fn a_list_without_a_location_or_with_one_twice_is_an_error_at_start_up() {
    use tower_api_key::error::ConfigErrorKind as Kind;

    let none: Vec<KeyLocation> = Vec::new();
    for (list, kind) in [
        (none, Kind::NoLocation),
        (vec![bearer(), header("x-key"), bearer()], Kind::DuplicateLocation),
    ] {
        let error = ApiKeyLayer::try_new(list.clone(), keys()).unwrap_err();
        assert_eq!(error.kind(), kind);
        let error = ApiKeyLayer::try_new((header("x-other"), vec![list]), keys());
        assert_eq!(error.is_ok(), kind == Kind::NoLocation);
    }
}

#[test]
fn a_closure_can_return_bytes_text_or_a_header_value_and_blank_is_absent() {
    fn outcome<F>(find: F) -> String
    where
        F: for<'a> Fn(RequestHead<'a>) -> Extracted<'a>,
    {
        let layer = ApiKeyLayer::new(extract::from_fn(KeyLocation::header("x-own"), find), keys());
        ask(&layer, Request::get("/").header("x-own", format!(" {KEY}"))).outcome()
    }
    let text =
        |head: RequestHead<'_>| head.headers().get("x-own")?.to_str().ok().map(str::to_owned);

    assert_eq!(outcome(|head| head.headers().get("x-own").into()), "200 mobile-app");
    assert_eq!(
        outcome(move |head| text(head).map(|it| it.trim().to_owned()).into()),
        "200 mobile-app"
    );
    assert_eq!(outcome(|_| Some(KEY).into()), "200 mobile-app");
    assert_eq!(outcome(|_| Some(KEY.as_bytes()).into()), "200 mobile-app");
    // A value that the closure itself makes is not trimmed.
    assert_eq!(outcome(move |head| text(head).into()), "401 malformed");
    assert_eq!(outcome(|_| Some("").into()), "401 missing");
    assert_eq!(outcome(|_| Some(" \t").into()), "401 missing");
    assert_eq!(outcome(|_| None::<&str>.into()), "401 missing");
    assert_eq!(outcome(|_| Extracted::Ambiguous), "400 ambiguous");
    assert_eq!(outcome(|head| Some(head.method().as_str()).into()), "401 unknown");
}

#[test]
fn a_closure_extractor_reports_its_own_location_or_another_of_the_layer() {
    static ANOTHER: LazyLock<KeyLocation> = LazyLock::new(|| KeyLocation::header("another"));

    fn outcome_of<F>(find: F) -> String
    where
        F: for<'a> Fn(RequestHead<'a>) -> Extracted<'a>,
    {
        let verify_location =
            |key: &PresentedKey<'_>| key.location().map(|location| Client::new(location.name()));
        let two = (extract::from_fn(KeyLocation::header("x-own"), find), header("another"));
        ask(&ApiKeyLayer::new(two, verify::from_fn(verify_location)), Request::get("/")).outcome()
    }

    assert_eq!(outcome_of(|_| Some(KEY).into()), "200 x-own");
    assert_eq!(outcome_of(|_| Extracted::found(KEY.as_bytes(), &ANOTHER)), "200 another");
}

/// An extractor that reads a part of the value of another.
struct Behind<E>(&'static [u8], E);

impl<E: Extract> Extract for Behind<E> {
    fn locations(&self) -> Vec<KeyLocation> {
        self.1.locations()
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        match self.1.extract(head) {
            Extracted::Found(found) => match (found.location(), found.expose()) {
                (Some(location), Some(value)) => match value.strip_prefix(self.0) {
                    Some(key) => Extracted::found(key.to_vec(), location),
                    None => Extracted::malformed(location),
                },
                _ => Extracted::Found(found),
            },
            other => other,
        }
    }
}

#[test]
fn an_extractor_can_read_a_part_of_the_value_of_another() {
    let layer =
        ApiKeyLayer::new((Behind(b"v1.", bearer()), Behind(b"v1.", query("api_key"))), keys());
    let bearer = |line: &str| Request::get("/").header("authorization", format!("Bearer {line}"));
    for (request, outcome) in [
        (bearer(&format!("v1.{KEY}")), "200 mobile-app"),
        (bearer(KEY), "401 malformed"),
        (bearer("v1.what ever"), "401 malformed"),
        (bearer("v1."), "401 missing"),
        (bearer(""), "401 missing"),
        (Request::get(format!("/?api_key=v%31.{OTHER}")), "200 ci"),
    ] {
        assert_eq!(ask(&layer, request).outcome(), outcome);
    }
}

/// Reads a key behind a version, in a declared location.
struct Versioned(KeyLocation, AtomicUsize);

impl Extract for Versioned {
    fn locations(&self) -> Vec<KeyLocation> {
        self.1.fetch_add(1, SeqCst);
        vec![self.0.clone()]
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        match head.headers().get("x-key").map(|line| line.as_bytes().strip_prefix(b"v1:")) {
            None => Extracted::Absent,
            Some(Some(key)) => Extracted::found(key, &self.0),
            Some(None) => Extracted::malformed(&self.0),
        }
    }
}

#[test]
fn a_custom_extractor_can_do_everything_that_built_in_extractors_can() {
    let find = Versioned(KeyLocation::header("x-key"), AtomicUsize::new(0));
    let layer = ApiKeyLayer::new(find, keys()).optional();
    let layer = layer.realm("own").max_key_len(100);
    let get = |line: &str| Request::get("/").header("x-key", line);

    let reply = ask(&layer, get(&format!("v1:{KEY}")));
    assert_eq!(reply.outcome(), "200 mobile-app");
    assert!(!reply.seen().headers.contains_key("x-key"));
    assert_eq!(reply.lines("vary"), ["x-key"]);

    let reply = ask(&layer, get("v2:what"));
    assert_eq!(reply.outcome(), "401 malformed");
    assert_eq!(reply.rejection().unwrap().location(), Some(&KeyLocation::header("x-key")));
    assert_eq!(
        reply.lines("www-authenticate"),
        [r#"ApiKey realm="own", in="header", name="x-key""#]
    );

    assert_eq!(ask(&layer, get(&format!("v1:{WRONG}"))).outcome(), "401 unknown");
    assert_eq!(ask(&layer, get(&format!("v1:{}", "k".repeat(101)))).outcome(), "401 too_long");
    assert_eq!(ask(&layer, get("v1: ")).outcome(), "200 -");
    assert_eq!(ask(&layer, Request::get("/")).outcome(), "200 -");
}

#[test]
fn locations_are_requested_once_when_the_layer_is_built() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    struct Counting;
    impl Extract for Counting {
        fn locations(&self) -> Vec<KeyLocation> {
            ASKED.fetch_add(1, SeqCst);
            vec![KeyLocation::header("x-key")]
        }

        fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
            head.headers().get("x-key").into()
        }
    }
    let layer = ApiKeyLayer::new(Counting, keys()).optional().clone();
    for _ in 0..3 {
        assert_eq!(ask(&layer, Request::get("/").header("x-key", KEY)).outcome(), "200 mobile-app");
        assert_eq!(ask(&layer, Request::get("/").header("x-key", WRONG)).outcome(), "401 unknown");
    }
    assert_eq!(layer.locations().len(), 1);
    assert_eq!(ASKED.load(SeqCst), 1);
}

#[test]
fn r19_a_rejection_is_ready_at_the_first_poll() {
    // There is no runtime, no timer and no waker, so the future is ready at the first poll or never.
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let mut service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(()))
    }));
    for value in [KEY, WRONG, "", "a\tb", &"k".repeat(2000)] {
        let request = Request::get("/").header("x-api-key", value).body(()).unwrap();
        let mut reply = pin!(service.call(request));
        let polled = reply.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(_))));
    }
}
