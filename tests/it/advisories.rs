//! What went wrong with API keys elsewhere, and does not here: one test for each published mistake,
//! named after its number, that fails on that mistake. Where only a part of it can be seen from
//! outside, the test says what shows the rest. The last test holds the list complete.

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
    error::ConfigErrorKind,
    extract::{Extract, bearer, first_of, header, query},
    observe::{Decision, Observe},
    verify::{self, PresentedKey, Verify as _, VerifyError},
};

fn by_header() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// What comes of a GET with one key in the header.
fn opens(keys: &Keyring, key: &str) -> bool {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).seen.is_some()
}

// --------------------------------------------------------------------------------------------
// Comparing keys.

/// vLLM compared keys with `==` (CVE-2025-59425, GHSA-wr9h-g72x-mwhm). Here there is no key to
/// compare with: a keyring that was never told the key knows it by its digest. That digests are
/// compared whole, in constant time, is counted beside their `==` and shown with valgrind.
#[test]
fn cve_2025_59425_there_is_no_key_to_compare_a_key_with() {
    let told = Keyring::new();
    told.insert_digest(KeyDigest::of(KEY), Client::new("ci")).unwrap();
    assert!(opens(&told, KEY));
    for at in 0..KEY.len() {
        let mut near = KEY.as_bytes().to_vec();
        near[at] ^= 1;
        assert!(!opens(&told, std::str::from_utf8(&near).unwrap()), "byte {at}");
    }
}

/// So did totp-rs (RUSTSEC-2022-0018, CVE-2022-29185), osin (CVE-2021-4294), Rails' Basic
/// authentication (CVE-2015-7576) and Hono's (GHSA-gq3j-xvxp-8hrf). A verifier of one's own compares
/// digests, whose `==` looks at all of them: the last byte counts as the first does.
#[test]
fn rustsec_2022_0018_digests_are_equal_whole_or_not_at_all() {
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

        // The map of a keyring finds a slot by eight of the bytes.
        let keys = Keyring::new();
        keys.insert_digest(stored, Client::new("me")).unwrap();
        assert_eq!(opens(&keys, KEY), at.is_none(), "byte {at:?}");
    }
}

/// fastapi-api-key waited a random time, on failure only (CVE-2026-23996, GHSA-95c6-p277-p87g). Here
/// nothing waits: without a runtime or a timer every answer is there when it is first asked for.
#[test]
fn cve_2026_23996_a_refusal_waits_no_longer_than_an_acceptance() {
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
fn rustsec_2024_0010_a_part_of_a_key_opens_nothing() {
    let keys = Keyring::single(KEY).unwrap();
    for end in 0..KEY.len() {
        assert!(!opens(&keys, &KEY[..end]), "{end}");
        assert!(!opens(&keys, &KEY[end + 1..]), "{end}");
    }
    assert!(!opens(&keys, &format!("{KEY}{KEY}")) && !opens(&keys, &format!("{KEY}0")));
    assert!(opens(&keys, KEY));
}

/// AspNetCore.Authentication.ApiKey compared keys with `OrdinalIgnoreCase`.
#[test]
fn aspnetcore_authentication_apikey_case_counts() {
    let keys = Keyring::single("aBc-KEY").unwrap();
    for key in ["abc-key", "ABC-KEY", "abc-KEY", "aBc-KEy", "aBc-\u{212a}EY"] {
        assert!(!opens(&keys, key), "{key}");
    }
    assert!(opens(&keys, "aBc-KEY"));
}

/// Devise looked a token up that was typed as the number 0, which MySQL found equal to most texts
/// (CVE-2013-0233). Keys are bytes, whatever they look like.
#[test]
fn cve_2013_0233_a_key_has_no_other_type_than_bytes() {
    let looks = ["0", "0.0", "-0", "00", "0x0", "1", "true", "false", "null", "[]", "{}", "*", "%"];
    let text = Keyring::single("abcdef").unwrap();
    let number = Keyring::single("0").unwrap();
    let hashed = Keyring::single("0e462097431906509019562988736854").unwrap();
    for key in looks {
        assert!(!opens(&text, key) && !opens(&hashed, key), "{key}");
        assert_eq!(opens(&number, key), key == "0", "{key}");
    }
    let another = "0e830400451993494058024219903391"; // the same number in floating point
    assert!(!opens(&hashed, another));
}

// --------------------------------------------------------------------------------------------
// Which requests are asked for a key.

/// vLLM skipped authentication unless the path, put together from the `Host` header, began with `/v1`
/// (CVE-2026-48746, GHSA-94f4-hr76-p5j6).
#[test]
fn cve_2026_48746_no_header_and_no_prefix_opens_a_path() {
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

/// Flowise guarded `/api/v1`, and not `/API/v1`, which its router took for the same (CVE-2024-31621,
/// GHSA-v5w9-prxf-w882). Here a path that is not exempt is guarded, in whatever case.
#[test]
fn cve_2024_31621_another_case_is_another_path_and_guarded() {
    let layer = by_header().exempt_path("/open");
    for path in ["/Open", "/OPEN", "/opeN", "/API/v1", "/api/v1"] {
        assert_eq!(ask(&layer, Request::get(path)).outcome(), "401 missing", "{path}");
    }
}

/// @fastify/middie and its router read a path in two ways (CVE-2026-22031, CVE-2026-2880).
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

/// opa-envoy took the beginning of `//admin` for an authority (CVE-2026-26205). The path is compared
/// as the inner service sees it, which sees it as it came.
#[test]
fn cve_2026_26205_two_slashes_begin_a_path_and_no_authority() {
    let layer = by_header().exempt_path("/open").exempt_path("/");
    for uri in ["//open", "//x/open", "//admin", "///", "//x@y/open", "//x:80/"] {
        assert_eq!(ask(&layer, Request::get(uri)).outcome(), "401 missing", "{uri}");
        let reply = ask(&layer, Request::get(uri).header("x-api-key", KEY));
        assert_eq!(reply.seen().uri.path(), uri);
    }
}

/// Traefik let `Connection` take away headers that it had set itself (CVE-2024-45410). A header that
/// is not there is no reason to let anybody in, and no header takes a key or a client away.
#[test]
fn cve_2024_45410_what_is_absent_is_not_trusted() {
    for names in ["x-api-key", "x-api-key, authorization", "close, X-API-Key", "host, te"] {
        let request = || Request::get("/").header("connection", names);
        assert_eq!(ask(&by_header(), request()).outcome(), "401 missing");
        let with_key = request().header("x-api-key", KEY).extension(Client::new("planted"));
        assert_eq!(ask(&by_header(), with_key).outcome(), "200 mobile-app");
        let nobody = request().extension(Client::new("planted"));
        assert_eq!(ask(&by_header().optional(), nobody).outcome(), "200 -");
    }
}

// --------------------------------------------------------------------------------------------
// More than one key.

/// Envoy looked at the first of several header lines alone (CVE-2020-25017).
#[test]
fn cve_2020_25017_several_values_are_refused_whichever_is_good() {
    for spot in SPOTS {
        for values in [&[KEY, WRONG][..], &[WRONG, KEY], &[KEY, KEY], &[KEY, ""], &["", "", KEY]] {
            let reply = ask(&spot.layer(keys()), spot.get(values));
            assert_eq!(reply.outcome(), "400 ambiguous", "{} {values:?}", spot.name);
        }
    }
}

/// Envoy and Istio joined several lines to `true,true`, which an exact match did not know
/// (CVE-2026-26308, GHSA-ghc4-35x6-crw5, CVE-2026-31838). Here nothing is joined and nothing split: a
/// denied key does not get in by coming twice.
#[test]
fn cve_2026_26308_values_are_neither_joined_nor_split() {
    let denied = verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"true" => Err(VerifyError::revoked()),
        _ => Ok::<_, VerifyError>(Some(Client::new("anybody else"))),
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), denied);
    let twice = Request::get("/").header("x-api-key", "true").header("x-api-key", "true");
    assert_eq!(ask(&layer, twice).outcome(), "400 ambiguous");
    for joined in [format!("{KEY},{KEY}"), format!("{KEY}, {OTHER}"), format!(",{KEY}")] {
        assert!(!opens(&keys(), &joined), "{joined}");
    }
}

// --------------------------------------------------------------------------------------------
// Whose key it is.

/// Better Auth's plugin took the owner of a key from the request's body (CVE-2025-61928). Here a
/// client comes of a verified key, and whatever else a request says of itself is nobody's word.
#[test]
fn cve_2025_61928_only_a_verified_key_says_who_a_client_is() {
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

/// APISIX shipped with a key that works everywhere (CVE-2020-13945). A keyring comes empty, and an
/// empty one refuses everything, the tutorial's key above all.
#[test]
fn cve_2020_13945_no_key_works_that_nobody_inserted() {
    let known = ["edd1c9f034335f136f87ad84b625c8f1", "12345abcde", "default", "admin", "test"];
    for key in known.into_iter().chain(["sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBU", KEY]) {
        assert!(!opens(&Keyring::new(), key) && !opens(&Keyring::default(), key), "{key}");
        assert!(!opens(&Keyring::single("another").unwrap(), key), "{key}");
    }
}

/// An unset variable made the empty text a key, an empty list an open door, or a guard of the form
/// `if API_KEY && …` no guard at all: Empire #274, emfcamp #1775, ai-memory #1903, Prism #20,
/// open-computer-use #612, otto #256.
#[test]
fn empire_274_an_empty_key_is_an_error_and_never_one_that_opens() {
    use ConfigErrorKind::{BlankKey, EmptyList, EnvironmentUnset};

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
    // Even where somebody forces it in, by its digest.
    let forced = keys();
    forced.insert_digest(KeyDigest::of(""), Client::new("nobody")).unwrap();
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

/// LiteLLM put the key into SQL, on the way to an error message, before anybody was known
/// (CVE-2026-42208, GHSA-r75f-5x8p-qvmc). Here a store is given a digest, and not even that of what can
/// be no key; its errors are not for the caller.
#[test]
fn cve_2026_42208_a_store_never_sees_what_was_presented() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let store = verify::from_async_fn(move |digest: KeyDigest| {
        told.lock().unwrap().push(digest.encode());
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

/// NocoDB went on accepting a deleted token for three days (CVE-2026-46554, GHSA-f76x-f9vj-92jv).
#[test]
fn cve_2026_46554_the_next_request_sees_that_a_key_is_gone() {
    let revoke: fn(&Keyring) = |keys| assert_eq!(keys.revoke_client("mobile-app"), 1);
    let revoke_key: fn(&Keyring) = |keys| {
        let id = keys.record_by_digest(&KeyDigest::of(KEY)).unwrap().id().unwrap().to_owned();
        assert!(keys.revoke_key(&id));
    };
    let remove: fn(&Keyring) = |keys| assert!(keys.remove(&KeyDigest::of(KEY)).is_some());
    let retain: fn(&Keyring) = |keys| assert_eq!(keys.retain(|client| client.id() == "ci"), 1);
    let replace: fn(&Keyring) = |keys| keys.replace([]).unwrap();
    for gone in [revoke, revoke_key, remove, retain, replace] {
        let keys = keys();
        let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
        let outcome = || ask(&layer, Request::get("/").header("x-api-key", KEY)).status();
        assert_eq!([outcome(), outcome()], [200, 200]);
        gone(&keys);
        assert_eq!([outcome(), outcome()], [401, 401]);
    }
}

/// Prometheus' exporter-toolkit kept results under a text put together of user and password, so that
/// one could be made to look like another's (CVE-2022-46146). What was answered before is no part of
/// an answer here, and the client no part of what a key is found by.
#[test]
fn cve_2022_46146_an_earlier_answer_opens_nothing() {
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
// Where a key ends up.

/// Directus read `access_token` from the query, and logged the query (CVE-2024-47822,
/// GHSA-vw58-ph65-6rxp). No query is read that was not named; of one that was, neither the inner
/// service nor an observer sees the key.
#[test]
fn cve_2024_47822_a_key_in_the_query_is_read_where_it_is_named_and_logged_nowhere() {
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

/// Grafana handed tokens on to the services behind it (CVE-2022-31130, CVE-2023-1387).
#[test]
fn cve_2022_31130_the_inner_service_never_gets_a_key() {
    for spot in SPOTS {
        let open = spot.layer(keys()).exempt_if(|_| true);
        for (layer, is_exempt) in [(spot.layer(keys()), false), (open, true)] {
            let reply = ask(&layer, spot.get(&[KEY]));
            let seen = reply.seen();
            let in_headers = seen.headers.values().any(|line| {
                line.as_bytes().windows(KEY.len()).any(|window| window == KEY.as_bytes())
            });
            // On exempt paths `Authorization` may be meant for somebody else.
            assert_eq!(in_headers, is_exempt && spot.name.starts_with("scheme"), "{}", spot.name);
            assert!(!seen.uri.to_string().contains(KEY), "{}", spot.name);
        }
    }
}

/// Secrets were printed by `Debug` and by errors (RUSTSEC-2023-0125, RUSTSEC-2024-0358,
/// RUSTSEC-2026-0225), or could be read through a public trait (RUSTSEC-2022-0089). All that is public
/// is printed in `leaks.rs`; this is the shortest of it.
#[test]
fn rustsec_2023_0125_nothing_prints_a_key() {
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
// The forms of requests and answers.

/// nostr's NIP-98 and vLLM decoded headers of any length before they knew who had sent them
/// (RUSTSEC-2026-0229, CVE-2025-48956).
#[test]
fn rustsec_2026_0229_what_is_too_long_is_neither_hashed_nor_looked_up() {
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

/// http-types took challenges and parameters that are not ASCII (RUSTSEC-2026-0174). A realm or a name
/// that cannot stand in a header is an error before the first request, and none ends its line.
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

/// `AsyncRequireAuthorization` called a clone, and not the service that it had made ready
/// (tower-http #561): behind a limit on concurrency that panics.
#[test]
fn tower_http_561_the_service_that_was_made_ready_is_the_one_called() {
    let now = verify::from_fn(|key: &PresentedKey<'_>| {
        (key.digest() == KeyDigest::of(KEY)).then(|| Client::new("me"))
    });
    let later = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("me"))
    });
    let places = || -> Box<dyn Extract> { Box::new(header("x-api-key")) };
    let inner = || {
        let hello = service_fn(|_: Request<()>| async { Ok::<_, ()>(Response::new(())) });
        ConcurrencyLimit::new(hello, 1)
    };
    fn works<S, B>(mut service: S)
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
    works(ApiKeyLayer::new(places(), now).layer(inner()));
    works(ApiKeyLayer::new(places(), later).layer(inner()));
}

// --------------------------------------------------------------------------------------------

/// All of them, a row for each test, which is named after the first.
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
fn every_advisory_has_its_test_and_every_test_its_advisory() {
    let (text, _) = include_str!("advisories.rs").split_once("const ROWS").unwrap();
    let named = |id: &str| {
        let name = id.to_ascii_lowercase().replace(" #", "-").replace(['-', '.'], "_");
        format!("fn {name}_")
    };
    // What is told of a test stands between it and the one before.
    let tests: Vec<_> = text.split("#[test]\n").collect();
    for row in ROWS {
        let at = tests.iter().position(|test| test.starts_with(&named(row[0])));
        let at = at.unwrap_or_else(|| panic!("{} has no test of its name", row[0]));
        let (_, told) = tests[at - 1].rsplit_once("\n\n").unwrap();
        for id in row {
            assert!(told.replace("\n/// ", " ").contains(id), "{id} is not named: {told}");
        }
    }
    assert_eq!(tests.len() - 1, ROWS.len(), "a test that belongs to no row");
}
