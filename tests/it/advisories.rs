//! Published mistakes with API keys in other projects, and one test for each.
//!
//! A test has the number of the advisory in its name and fails if the library makes the same mistake. If a
//! test can show only a part, its comment names the proof of the rest. The last test keeps the list complete.

use crate::support;

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use http::{HeaderValue, Request, Response, header::COOKIE};
use support::{KEY, OTHER, SPOTS, WRONG, ask, escaped, keys};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring,
    error::{ConfigErrorKind, KeyringErrorKind},
    extract::{Extract, bearer, first_of, header, query},
    observe::{Decision, Observe},
    verify::{self, PresentedKey, Verify as _, VerifyError},
};

fn by_header() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// Returns whether a GET with this key in the header is accepted.
fn is_accepted(keys: &Keyring, key: &str) -> bool {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).seen.is_some()
}

// --------------------------------------------------------------------------------------------
// Comparison of keys.

/// vLLM compared keys with `==` (CVE-2025-59425, GHSA-wr9h-g72x-mwhm). A keyring stores no key. It accepts
/// a key that was inserted only by its digest. A unit test and valgrind show that digests are compared
/// completely and in constant time.
#[test]
fn cve_2025_59425_a_keyring_stores_no_key_to_compare_with() {
    let keyring = Keyring::new();
    keyring.insert_digest(KeyDigest::of(KEY), Client::new("ci")).unwrap();
    assert!(is_accepted(&keyring, KEY));
    for at in 0..KEY.len() {
        let mut near = KEY.as_bytes().to_vec();
        near[at] ^= 1;
        assert!(!is_accepted(&keyring, std::str::from_utf8(&near).unwrap()), "byte {at}");
    }
}

/// The same mistake was in totp-rs (RUSTSEC-2022-0018, CVE-2022-29185), osin (CVE-2021-4294), Basic
/// authentication in Rails (CVE-2015-7576) and in Hono (GHSA-gq3j-xvxp-8hrf). A custom verifier compares
/// digests with `==`, which compares every byte.
#[test]
fn rustsec_2022_0018_digests_are_equal_only_if_all_bytes_are() {
    for at in [None, Some(0), Some(7), Some(8), Some(15), Some(16), Some(30), Some(31)] {
        let mut stored = KeyDigest::of(KEY).to_bytes();
        if let Some(at) = at {
            stored[at] ^= 1;
        }
        let stored = KeyDigest::from_bytes(stored);
        let mine =
            move |key: &PresentedKey<'_>| (key.digest() == stored).then(|| Client::new("me"));
        let layer = ApiKeyLayer::new(header("x-api-key"), verify::from_fn(mine));
        let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
        assert_eq!(reply.seen.is_some(), at.is_none(), "byte {at:?}");

        // The map of a keyring finds an entry by eight of the bytes.
        let keys = Keyring::new();
        keys.insert_digest(stored, Client::new("me")).unwrap();
        assert_eq!(is_accepted(&keys, KEY), at.is_none(), "byte {at:?}");
    }
}

/// fastapi-api-key waited a random time, on failure only (CVE-2026-23996, GHSA-95c6-p277-p87g). The layer
/// never waits. Without a runtime or a timer, every response is ready at the first poll.
#[test]
fn cve_2026_23996_a_rejection_waits_no_longer_than_an_acceptance() {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, ()>(Response::new(())) });
    for key in [KEY, WRONG, "", "\u{e9}", &"k".repeat(5000)] {
        let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
        let mut reply = pin!(by_header().layer(inner).oneshot(request));
        let polled = reply.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready(), "{key}");
    }
}

/// svix compared up to the shorter length (RUSTSEC-2024-0010, CVE-2024-21491).
#[test]
fn rustsec_2024_0010_a_part_of_a_key_is_rejected() {
    let keys = Keyring::single(KEY).unwrap();
    for end in 0..KEY.len() {
        assert!(!is_accepted(&keys, &KEY[..end]), "{end}");
        assert!(!is_accepted(&keys, &KEY[end + 1..]), "{end}");
    }
    assert!(!is_accepted(&keys, &format!("{KEY}{KEY}")) && !is_accepted(&keys, &format!("{KEY}0")));
    assert!(is_accepted(&keys, KEY));
}

/// AspNetCore.Authentication.ApiKey compared keys with `OrdinalIgnoreCase`.
#[test]
fn aspnetcore_authentication_apikey_keys_are_case_sensitive() {
    let keys = Keyring::single("aBc-KEY").unwrap();
    for key in ["abc-key", "ABC-KEY", "abc-KEY", "aBc-KEy", "aBc-\u{212a}EY"] {
        assert!(!is_accepted(&keys, key), "{key}");
    }
    assert!(is_accepted(&keys, "aBc-KEY"));
}

/// Devise looked up a token that had the type of the number 0. MySQL compares 0 as equal to most texts
/// (CVE-2013-0233). The library compares keys only as bytes.
#[test]
fn cve_2013_0233_a_key_is_compared_as_bytes() {
    let looks = ["0", "0.0", "-0", "00", "0x0", "1", "true", "false", "null", "[]", "{}", "*", "%"];
    let text = Keyring::single("abcdef").unwrap();
    let number = Keyring::single("0").unwrap();
    let hashed = Keyring::single("0e462097431906509019562988736854").unwrap();
    for key in looks {
        assert!(!is_accepted(&text, key) && !is_accepted(&hashed, key), "{key}");
        assert_eq!(is_accepted(&number, key), key == "0", "{key}");
    }
    let another = "0e830400451993494058024219903391"; // the same number in floating point
    assert!(!is_accepted(&hashed, another));
}

// --------------------------------------------------------------------------------------------
// Requests that need a key.

/// vLLM built the path from the `Host` header, and skipped authentication if the path did not begin with
/// `/v1` (CVE-2026-48746, GHSA-94f4-hr76-p5j6).
#[test]
fn cve_2026_48746_no_header_and_no_prefix_exempts_a_path() {
    let layer = by_header().exempt_path("/health");
    for host in ["/health", "x/health?", "health", "x/health#", "a@b/health", "/v1", ""] {
        let reply = ask(&layer, Request::get("/admin").header("host", host));
        assert_eq!(reply.outcome(), "401 missing", "{host}");
    }
    for uri in ["/healthz", "/health/admin", "http://health/admin", "http://x/admin?/health", "*"] {
        assert_eq!(ask(&layer, Request::get(uri)).outcome(), "401 missing", "{uri}");
    }
    assert_eq!(ask(&layer, Request::get("http://x/health")).outcome(), "200 -");
}

/// Flowise guarded `/api/v1` but not `/API/v1`, and its router treats both as the same (CVE-2024-31621,
/// GHSA-v5w9-prxf-w882). The layer guards every path except the exact exempt path.
#[test]
fn cve_2024_31621_an_exempt_path_is_case_sensitive() {
    let layer = by_header().exempt_path("/open");
    for path in ["/Open", "/OPEN", "/opeN", "/API/v1", "/api/v1"] {
        assert_eq!(ask(&layer, Request::get(path)).outcome(), "401 missing", "{path}");
    }
}

/// @fastify/middie and its router parsed a path differently (CVE-2026-22031, CVE-2026-2880).
#[test]
fn cve_2026_22031_no_other_spelling_of_an_exempt_path_is_exempt() {
    let layer = by_header().exempt_path("/open");
    for path in [
        "/%6fpen",
        "/ope%6E",
        "//open",
        "/open//",
        "/open/",
        "/open;x",
        "/;/open",
        "/./open",
        "/admin/../open",
        "/open/../admin",
        "/open%2f..%2fadmin",
        "/open%00",
    ] {
        assert_eq!(ask(&layer, Request::get(path)).outcome(), "401 missing", "{path}");
    }
}

/// opa-envoy parsed the beginning of `//admin` as an authority (CVE-2026-26205). The layer compares the same
/// path that the inner service sees, and does not change it.
#[test]
fn cve_2026_26205_two_slashes_begin_a_path_and_no_authority() {
    let layer = by_header().exempt_path("/open").exempt_path("/");
    for uri in ["//open", "//x/open", "//admin", "///", "//x@y/open", "//x:80/"] {
        assert_eq!(ask(&layer, Request::get(uri)).outcome(), "401 missing", "{uri}");
        let reply = ask(&layer, Request::get(uri).header("x-api-key", KEY));
        assert_eq!(reply.seen().uri.path(), uri);
    }
}

/// In Traefik, `Connection` could remove headers that Traefik had set (CVE-2024-45410). The layer accepts no
/// request because a header is missing, and no header removes a key or a client.
#[test]
fn cve_2024_45410_the_connection_header_removes_no_key_and_no_client() {
    for names in ["x-api-key", "x-api-key, authorization", "close, X-API-Key", "host, te"] {
        let request = || Request::get("/").header("connection", names);
        assert_eq!(ask(&by_header(), request()).outcome(), "401 missing");
        let with_key = request().header("x-api-key", KEY).extension(Client::new("planted"));
        assert_eq!(ask(&by_header(), with_key).outcome(), "200 mobile-app");
        let without_key = request().extension(Client::new("planted"));
        assert_eq!(ask(&by_header().optional(), without_key).outcome(), "200 -");
    }
}

// --------------------------------------------------------------------------------------------
// More than one key.

/// Envoy read only the first of several header lines (CVE-2020-25017).
#[test]
fn cve_2020_25017_several_values_are_rejected_even_if_one_is_valid() {
    for spot in SPOTS {
        for values in [&[KEY, WRONG][..], &[WRONG, KEY], &[KEY, KEY], &[KEY, ""], &["", "", KEY]] {
            let reply = ask(&spot.layer(keys()), spot.get(values));
            assert_eq!(reply.outcome(), "400 ambiguous", "{} {values:?}", spot.name);
        }
    }
}

/// Envoy and Istio joined several lines to `true,true`, which did not equal the denied value
/// (CVE-2026-26308, GHSA-ghc4-35x6-crw5, CVE-2026-31838). The layer joins and splits no values, so a denied
/// key is rejected also if it is sent twice.
#[test]
fn cve_2026_26308_values_are_neither_joined_nor_split() {
    let denied = verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"true" => Err(VerifyError::revoked()),
        _ => Ok::<_, VerifyError>(Some(Client::new("other"))),
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), denied);
    let twice = Request::get("/").header("x-api-key", "true").header("x-api-key", "true");
    assert_eq!(ask(&layer, twice).outcome(), "400 ambiguous");
    for joined in [format!("{KEY},{KEY}"), format!("{KEY}, {OTHER}"), format!(",{KEY}")] {
        assert!(!is_accepted(&keys(), &joined), "{joined}");
    }
}

// --------------------------------------------------------------------------------------------
// The owner of a key.

/// Better Auth's plugin read the owner of a key from the body of the request (CVE-2025-61928). The layer gets
/// a client only from a verified key, and ignores all other claims in a request.
#[test]
fn cve_2025_61928_only_a_verified_key_identifies_a_client() {
    let layer = by_header().optional().exempt_path("/open");
    for path in ["/", "/open"] {
        let claims = || {
            let request = Request::post(format!("{path}?client=admin&userId=admin"));
            let request = request.header("x-client", "admin").header("x-user-id", "admin");
            let request = request.header(COOKIE, "client=admin");
            request.extension(Client::new("admin")).extension("admin")
        };
        assert_eq!(ask(&layer, claims()).outcome(), "200 -");
        let reply = ask(&layer, claims().header("x-api-key", KEY));
        assert_eq!(reply.outcome(), if path == "/" { "200 mobile-app" } else { "200 -" });
    }
}

/// APISIX shipped with a default key that works everywhere (CVE-2020-13945). A new keyring is empty and
/// rejects every key, also the key of the tutorial.
#[test]
fn cve_2020_13945_a_key_that_was_not_inserted_is_rejected() {
    let known = ["edd1c9f034335f136f87ad84b625c8f1", "12345abcde", "default", "admin", "test"];
    for key in known.into_iter().chain(["sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBU", KEY]) {
        assert!(
            !is_accepted(&Keyring::new(), key) && !is_accepted(&Keyring::default(), key),
            "{key}"
        );
        assert!(!is_accepted(&Keyring::single("another").unwrap(), key), "{key}");
    }
}

/// If a variable was unset, an empty text was a valid key, an empty list accepted all requests, or a
/// condition `if API_KEY && …` was never true. This happened in Empire #274, emfcamp #1775, ai-memory #1903,
/// Prism #20, open-computer-use #612 and otto #256.
#[test]
fn empire_274_an_empty_key_is_an_error_and_is_never_accepted() {
    use KeyringErrorKind::{BlankKey, EmptyList, EnvironmentUnset};

    let unset = Keyring::from_env("TOWER_API_KEY_TEST_THAT_IS_NOT_SET").unwrap_err();
    assert_eq!(unset.kind(), EnvironmentUnset);
    for (list, kind) in
        [("", EmptyList), (" \n,", EmptyList), ("ci=", BlankKey), ("ci= ", BlankKey)]
    {
        assert_eq!(list.parse::<Keyring>().unwrap_err().kind(), kind, "{list:?}");
    }
    for blank in ["", " ", "\t", "\n"] {
        assert_eq!(Keyring::single(blank).unwrap_err().kind(), BlankKey, "{blank:?}");
    }
    // The digest of an empty key can be inserted, and the empty key is still rejected.
    let forced = keys();
    forced.insert_digest(KeyDigest::of(""), Client::new("empty")).unwrap();
    for keys in [Keyring::new(), keys(), forced] {
        for spot in SPOTS {
            let layer = spot.layer(keys.clone());
            for blank in ["", " "] {
                assert_eq!(
                    ask(&layer, spot.get(&[blank])).outcome(),
                    "401 missing",
                    "{}",
                    spot.name
                );
            }
        }
    }
}

// --------------------------------------------------------------------------------------------
// Stores and caches.

/// LiteLLM put the key of an unverified caller into SQL while it built an error message (CVE-2026-42208,
/// GHSA-r75f-5x8p-qvmc). A store receives only the digest, and no digest of a malformed key. A caller never
/// sees an error of the store.
#[test]
fn cve_2026_42208_a_store_never_receives_the_presented_key() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&asked);
    let store = verify::from_async_fn(move |digest: KeyDigest| {
        received.lock().unwrap().push(digest.encode());
        async move { Err::<Option<Client>, _>(format!("no row for {}", digest.encode())) }
    });
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key")), keys().or(store));
    let injection = "' OR 1=1; DROP TABLE keys --";
    let reply = ask(&layer, Request::get("/").header("x-api-key", injection));
    assert_eq!(reply.outcome(), "503 failed");
    assert!(!reply.wire().contains("row") && !reply.wire().contains("DROP"));
    assert_eq!(ask(&layer, Request::get("/?api_key=%00'--%0A")).outcome(), "401 malformed");

    let [sent] = &**asked.lock().unwrap() else { panic!("asked once") };
    let hex = sent.strip_prefix("sha256:").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sent}");
}

/// NocoDB accepted a deleted token for three more days (CVE-2026-46554, GHSA-f76x-f9vj-92jv).
#[test]
fn cve_2026_46554_the_next_request_with_a_removed_key_is_rejected() {
    let revoke: fn(&Keyring) = |keys| assert_eq!(keys.revoke_client("mobile-app"), 1);
    let revoke_key: fn(&Keyring) = |keys| {
        let id = keys.record_by_digest(&KeyDigest::of(KEY)).unwrap().id().unwrap().to_owned();
        assert!(keys.revoke_key(&id));
    };
    let remove: fn(&Keyring) = |keys| assert!(keys.remove(&KeyDigest::of(KEY)).is_some());
    let retain: fn(&Keyring) = |keys| assert_eq!(keys.retain(|client| client.id() == "ci"), 1);
    let replace: fn(&Keyring) = |keys| keys.replace([]).unwrap();
    for end in [revoke, revoke_key, remove, retain, replace] {
        let keys = keys();
        let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
        let outcome = || ask(&layer, Request::get("/").header("x-api-key", KEY)).status();
        assert_eq!([outcome(), outcome()], [200, 200]);
        end(&keys);
        assert_eq!([outcome(), outcome()], [401, 401]);
    }
}

/// The exporter-toolkit of Prometheus cached results under a text that joined user and password, so two
/// different pairs could have the same text (CVE-2022-46146). The layer caches no response, and the lookup of
/// a key does not use the name of its client.
#[test]
fn cve_2022_46146_an_earlier_response_decides_no_later_one() {
    let keys = Keyring::new();
    for (client, key) in [("ab", "c:d"), ("a", "bc:d"), ("ab:c", "d"), ("x", KEY)] {
        keys.insert(key, Client::new(client)).unwrap();
    }
    let layer = ApiKeyLayer::new(first_of((header("x-api-key"), query("api_key"))), keys);
    for (key, outcome) in [
        ("c:d", "200 ab"),
        ("bc:d", "200 a"),
        ("d", "200 ab:c"),
        ("abc:d", "401 unknown"),
        ("ab:c:d", "401 unknown"),
        (WRONG, "401 unknown"),
        (KEY, "200 x"),
    ] {
        for _ in 0..2 {
            let reply = ask(&layer, Request::get("/").header("x-api-key", key));
            assert_eq!(reply.outcome(), outcome, "{key}");
            let by_query = Request::get(format!("/?api_key={}", escaped(key.as_bytes())));
            assert_eq!(ask(&layer, by_query).outcome(), outcome, "{key}");
        }
    }
}

// --------------------------------------------------------------------------------------------
// Copies of a key.

/// Directus read `access_token` from the query, and logged the query (CVE-2024-47822,
/// GHSA-vw58-ph65-6rxp). The layer reads only a configured query parameter. Neither the inner service nor an
/// observer sees its key.
#[test]
fn cve_2024_47822_a_query_key_is_read_only_if_configured_and_never_logged() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);
    impl Observe for Log {
        fn on_decision(&self, event: &Decision<'_>) {
            *self.0.lock().unwrap() += &format!("{event:?} {}", event.path());
        }
    }

    for name in ["access_token", "api_key", "x-api-key", "key", "token"] {
        let reply = ask(&by_header(), Request::get(format!("/?{name}={KEY}")));
        assert_eq!(reply.outcome(), "401 missing", "{name}");
    }
    let log = Log::default();
    let layer = ApiKeyLayer::new(query("access_token"), keys()).observe(log.clone());
    let reply = ask(&layer, Request::get(format!("/p?access_token={KEY}&page=2")));
    assert_eq!(reply.seen().uri, "/p?page=2");
    for (query, outcome) in [
        (format!("access_token={WRONG}"), "401 unknown"),
        (format!("access_token={WRONG}&access_token={KEY}"), "400 ambiguous"),
    ] {
        assert_eq!(ask(&layer, Request::get(format!("/p?{query}"))).outcome(), outcome);
    }
    let log = log.0.lock().unwrap();
    assert!(log.contains("/p") && !log.contains(KEY) && !log.contains(WRONG), "{log}");
}

/// Grafana forwarded tokens to its upstream services (CVE-2022-31130, CVE-2023-1387).
#[test]
fn cve_2022_31130_the_inner_service_never_receives_a_key() {
    for spot in SPOTS {
        let exempt = spot.layer(keys()).exempt_if(|_| true);
        for (layer, is_exempt) in [(spot.layer(keys()), false), (exempt, true)] {
            let reply = ask(&layer, spot.get(&[KEY]));
            let seen = reply.seen();
            let in_headers = seen.headers.values().any(|line| {
                line.as_bytes().windows(KEY.len()).any(|window| window == KEY.as_bytes())
            });
            // On exempt paths `Authorization` stays, because another service may need it.
            assert_eq!(in_headers, is_exempt && spot.name.starts_with("scheme"), "{}", spot.name);
            assert!(!seen.uri.to_string().contains(KEY), "{}", spot.name);
        }
    }
}

/// Secrets were printed by `Debug` and by errors (RUSTSEC-2023-0125, RUSTSEC-2024-0358,
/// RUSTSEC-2026-0225), or could be read through a public trait (RUSTSEC-2022-0089). `leaks.rs` prints every
/// public type. This test prints the most common ones.
#[test]
fn rustsec_2023_0125_no_debug_and_no_error_prints_a_key() {
    let printed = Arc::new(Mutex::new(String::new()));
    let print = Arc::clone(&printed);
    let verifier = verify::from_fn(move |key: &PresentedKey<'_>| {
        *print.lock().unwrap() += &format!("{key:?} {:?} {:?}", key.head(), key.digest());
        Err::<Option<Client>, _>(VerifyError::unknown())
    });
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), verifier);
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
    let keys = keys();
    let twice = keys.insert(KEY, Client::new("ci")).unwrap_err();
    let pasted = keys.insert(format!("{KEY}\n"), Client::new("ci")).unwrap_err();
    let printed = printed.lock().unwrap();
    let rejection = reply.rejection().unwrap();
    for text in [
        format!("{printed} {keys:?} {:?} {layer:?}", KeyDigest::of(KEY)),
        format!("{twice} {twice:?} {pasted} {pasted:?} {rejection} {rejection:?}"),
    ] {
        let digest = KeyDigest::of(KEY).encode();
        assert!(!text.contains(KEY) && !text.contains(&digest["sha256:".len()..]), "{text}");
    }
}

// --------------------------------------------------------------------------------------------
// The forms of requests and responses.

/// nostr's NIP-98 and vLLM decoded headers of any length before they had verified the caller
/// (RUSTSEC-2026-0229, CVE-2025-48956).
#[test]
fn rustsec_2026_0229_an_over_long_key_is_neither_hashed_nor_looked_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    for spot in SPOTS {
        let count = Arc::clone(&asked);
        let layer = spot.layer(verify::from_fn(move |_| {
            count.fetch_add(1, SeqCst);
            None::<Client>
        }));
        for length in [1025, 10_000] {
            let outcome = ask(&layer, spot.get(&[&"k".repeat(length)])).outcome();
            assert_eq!(outcome, "401 too_long", "{}", spot.name);
        }
        assert_eq!(asked.swap(0, SeqCst), 0, "{}", spot.name);
        assert_eq!(ask(&layer, spot.get(&[&"k".repeat(1024)])).outcome(), "401 unknown");
        assert_eq!(asked.swap(0, SeqCst), 1, "{}", spot.name);
    }
}

/// http-types accepted challenges and parameters that are not ASCII (RUSTSEC-2026-0174). A realm or a name
/// that is not valid in a header is an error before the first request.
#[test]
fn rustsec_2026_0174_a_challenge_is_one_line_of_ascii() {
    for realm in ["caf\u{e9}", "a\r\nset-cookie: x=y", "\0", "\u{7f}", "\u{202e}"] {
        let error = by_header().try_realm(realm).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Realm, "{realm:?}");
        assert!(KeyLocation::try_header(realm).is_err() && KeyLocation::try_query(realm).is_err());
        assert!(KeyLocation::try_cookie(realm).is_err() && KeyLocation::try_scheme(realm).is_err());
    }
    let layer = ApiKeyLayer::new((query("k\"\\"), bearer()), keys()).realm("a \"b\" \\");
    let reply = ask(&layer, Request::get("/"));
    let lines: Vec<_> = reply.lines("www-authenticate");
    assert_eq!(
        lines,
        [r#"Bearer realm="a \"b\" \\""#, r#"ApiKey realm="a \"b\" \\", in="query", name="k\"\\""#]
    );
    let is_ascii = |line: &HeaderValue| line.as_bytes().iter().all(|it| (b' '..=b'~').contains(it));
    assert!(reply.head.headers.values().all(is_ascii));
}

/// `AsyncRequireAuthorization` polled a service until it was ready and then called a clone (tower-http
/// #561). With a concurrency limit inside, that panics.
#[test]
fn tower_http_561_the_ready_service_is_called() {
    let now = verify::from_fn(|key: &PresentedKey<'_>| {
        (key.digest() == KeyDigest::of(KEY)).then(|| Client::new("me"))
    });
    let later = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("me"))
    });
    let locations = || -> Box<dyn Extract> { Box::new(header("x-api-key")) };
    let inner = || {
        let hello = service_fn(|_: Request<()>| async { Ok::<_, ()>(Response::new(())) });
        ConcurrencyLimit::new(hello, 1)
    };
    fn check<S, B>(mut service: S)
    where
        S: Service<Request<()>, Response = Response<B>, Error = ()>,
    {
        let waker = &mut Context::from_waker(Waker::noop());
        for key in [KEY, WRONG, KEY, WRONG, KEY] {
            assert!(service.poll_ready(waker).is_ready(), "the only permit is lost");
            let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
            let mut reply = pin!(service.call(request));
            let reply = loop {
                if let Poll::Ready(reply) = reply.as_mut().poll(waker) {
                    break reply.unwrap();
                }
            };
            assert_eq!(reply.status(), if key == KEY { 200 } else { 401 });
        }
    }
    check(ApiKeyLayer::new(locations(), now).layer(inner()));
    check(ApiKeyLayer::new(locations(), later).layer(inner()));
}

// --------------------------------------------------------------------------------------------

/// The advisories, one row for each test. The first one is in the name of the test.
const ROWS: [&[&str]; 25] = [
    &["CVE-2025-59425", "GHSA-wr9h-g72x-mwhm"],
    &["CVE-2026-48746", "GHSA-94f4-hr76-p5j6"],
    &["CVE-2026-23996", "GHSA-95c6-p277-p87g"],
    &["CVE-2026-42208", "GHSA-r75f-5x8p-qvmc"],
    &["CVE-2026-46554", "GHSA-f76x-f9vj-92jv"],
    &["CVE-2025-61928"],
    &["CVE-2024-31621", "GHSA-v5w9-prxf-w882"],
    &["CVE-2026-22031", "CVE-2026-2880"],
    &["CVE-2026-26205"],
    &["CVE-2020-25017"],
    &["CVE-2026-26308", "GHSA-ghc4-35x6-crw5", "CVE-2026-31838"],
    &["CVE-2024-45410"],
    &["CVE-2020-13945"],
    &[
        "Empire #274",
        "emfcamp #1775",
        "ai-memory #1903",
        "Prism #20",
        "open-computer-use #612",
        "otto #256",
    ],
    &["RUSTSEC-2024-0010", "CVE-2024-21491"],
    &[
        "RUSTSEC-2022-0018",
        "CVE-2022-29185",
        "CVE-2021-4294",
        "CVE-2015-7576",
        "GHSA-gq3j-xvxp-8hrf",
    ],
    &["CVE-2022-46146"],
    &["CVE-2013-0233"],
    &["CVE-2024-47822", "GHSA-vw58-ph65-6rxp"],
    &["CVE-2022-31130", "CVE-2023-1387"],
    &["RUSTSEC-2023-0125", "RUSTSEC-2024-0358", "RUSTSEC-2026-0225", "RUSTSEC-2022-0089"],
    &["RUSTSEC-2026-0229", "CVE-2025-48956"],
    &["RUSTSEC-2026-0174"],
    &["AspNetCore.Authentication.ApiKey"],
    &["tower-http #561"],
];

#[test]
fn every_advisory_has_a_test_and_every_test_an_advisory() {
    let (text, _) = include_str!("advisories.rs").split_once("const ROWS").unwrap();
    let named = |id: &str| {
        let name = id.to_ascii_lowercase().replace(" #", "-").replace(['-', '.'], "_");
        format!("fn {name}_")
    };
    // The comment of a test is between this test and the one before.
    let tests: Vec<_> = text.split("#[test]\n").collect();
    for row in ROWS {
        let at = tests.iter().position(|test| test.starts_with(&named(row[0])));
        let at = at.unwrap_or_else(|| panic!("{} has no test with its name", row[0]));
        let (_, comment) = tests[at - 1].rsplit_once("\n\n").unwrap();
        for id in row {
            assert!(comment.replace("\n/// ", " ").contains(id), "{id} is not named: {comment}");
        }
    }
    assert_eq!(tests.len() - 1, ROWS.len(), "a test has no row");
}
