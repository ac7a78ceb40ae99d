//! What a caller is told who is turned away, and what only the operator learns.

mod support;

use std::{error::Error, io};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::WWW_AUTHENTICATE, request};
use http_body_util::Full;
use proptest::prelude::*;
use support::{Any, KEY, OTHER, Reply, SPOTS, Spot, WRONG, ask, ask_of, keys};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring, Place, Rejection,
    error::ConfigErrorKind,
    extract::{bearer, cookie, first_of, header, query, scheme},
    rejection::{Reason, RejectionKind},
    respond::{Json, Problem, Respond, Text},
    verify::{self, Presented, Refusal, Verify},
};

const MALFORMED: &[u8] = b"what\xffever";
const CASES: [&str; 8] = [
    "unknown",
    "revoked",
    "removed",
    "expired",
    "not_yet_valid",
    "told_revoked",
    "malformed",
    "over_long",
];

/// A keyring behind which a verifier tells more, by the key.
fn strict() -> impl Verify<Answer = Result<Client, Refusal>> + Clone {
    let keys = keys();
    keys.insert("key-to-be-revoked", Client::new("former")).unwrap();
    keys.insert("key-to-be-removed", Client::new("another")).unwrap();
    assert_eq!(keys.revoke("former"), 1);
    assert!(keys.remove(&tower_api_key::KeyDigest::of("key-to-be-removed")).is_some());
    keys.or(verify::from_fn(|key: Presented<'_>| match key.expose() {
        b"key-that-has-expired" => Err(Refusal::expired()),
        b"key-that-is-not-yet-valid" => Err(Refusal::not_yet_valid()),
        b"key-that-was-revoked" => Err(Refusal::revoked()),
        b"key-of-a-store-that-is-down" => {
            Err(Refusal::failed(io::Error::other("connection refused")))
        }
        _ => Ok(None),
    }))
}

fn value(case: &str) -> Vec<u8> {
    match case {
        "unknown" => WRONG.into(),
        "revoked" => "key-to-be-revoked".into(),
        "removed" => "key-to-be-removed".into(),
        "expired" => "key-that-has-expired".into(),
        "not_yet_valid" => "key-that-is-not-yet-valid".into(),
        "told_revoked" => "key-that-was-revoked".into(),
        "malformed" => MALFORMED.into(),
        "over_long" => "k".repeat(1025).into(),
        "failed" => "key-of-a-store-that-is-down".into(),
        "good" => KEY.into(),
        _ => unreachable!("{case}"),
    }
}

fn reason(case: &str) -> Reason {
    match case {
        "expired" => Reason::Expired,
        "not_yet_valid" => Reason::NotYetValid,
        "told_revoked" => Reason::Revoked,
        "malformed" => Reason::Malformed,
        "over_long" => Reason::TooLong,
        // A keyring keeps nothing of a key that is gone.
        _ => Reason::Unknown,
    }
}

const HTTP: fn() -> request::Builder = || Request::get("/");
const GRPC: fn() -> request::Builder =
    || Request::post("/").header("content-type", "application/grpc");
const GRPC_WEB: fn() -> request::Builder =
    || Request::post("/").header("content-type", "application/grpc-web+proto");
const GRPC_WEB_TEXT: fn() -> request::Builder =
    || Request::post("/").header("content-type", "application/grpc-web-text");

fn send<V: Verify>(
    layer: &ApiKeyLayer<Any, V>,
    spot: Spot,
    form: fn() -> request::Builder,
    case: &str,
) -> Reply {
    ask(layer, (spot.put)(form(), &value(case)))
}

// Peers §7.9: malformed and invalid are one and the same to the caller, and distinct in the extension.
#[test]
fn r6_every_wrong_key_gets_one_and_the_same_answer_byte_for_byte() {
    for spot in SPOTS {
        for form in [HTTP, GRPC, GRPC_WEB, GRPC_WEB_TEXT] {
            for layer in [
                spot.layer(strict()),
                spot.layer(strict()).respond(Problem::default()),
                spot.layer(strict()).respond(Text::default()),
                spot.layer(strict()).respond(Json::default().message("No")),
                spot.layer(strict()).optional(),
            ] {
                let first = send(&layer, spot, form, CASES[0]).wire();
                for case in CASES {
                    let reply = send(&layer, spot, form, case);
                    assert_eq!(reply.wire(), first, "{} {case}", spot.name);
                    assert_eq!(reply.reason(), Some(reason(case)), "{} {case}", spot.name);
                    assert_eq!(reply.rejection().unwrap().kind(), RejectionKind::Refused);
                    assert_eq!(reply.rejection().unwrap().place().unwrap().to_string(), spot.name);
                }
            }
        }
    }
}

#[test]
fn r6_a_verifier_that_takes_its_time_gives_the_same_answer_as_one_that_does_not() {
    for spot in SPOTS {
        let at_once = spot.layer(verify::from_fn(|_| None::<Client>));
        let later = spot.layer(verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            Err::<Option<Client>, _>(Refusal::expired())
        }));
        let (one, other) = (ask(&at_once, spot.get(&[WRONG])), ask(&later, spot.get(&[WRONG])));
        assert_eq!(one.wire(), other.wire());
        assert_eq!(other.outcome(), "401 expired");
        assert_eq!(other.rejection().unwrap().place(), at_once.places().first());
    }
}

#[test]
fn without_bearer_even_a_missing_key_gets_the_answer_of_a_wrong_one() {
    for spot in SPOTS.into_iter().filter(|spot| spot.name != "scheme `Bearer`") {
        let layer = spot.layer(keys());
        let (missing, wrong) = (ask(&layer, HTTP()), ask(&layer, spot.get(&[WRONG])));
        assert_eq!(missing.wire(), wrong.wire());
        assert_eq!(
            (missing.reason(), wrong.reason()),
            (Some(Reason::Missing), Some(Reason::Unknown))
        );
    }
}

// --------------------------------------------------------------------------------------------
// The table of defaults, DESIGN §5.

#[test]
fn r4_the_table_of_defaults_over_http() {
    let spot = SPOTS[0];
    let layer = spot.layer(strict());
    let twice = || (spot.put)((spot.put)(HTTP(), KEY.as_bytes()), KEY.as_bytes());
    for (request, status, body, kind) in [
        (HTTP(), 401, r#"{"error":"Unauthorized access"}"#, "missing"),
        (spot.get(&[WRONG]), 401, r#"{"error":"Unauthorized access"}"#, "refused"),
        (twice(), 400, r#"{"error":"More than one API key in the request"}"#, "ambiguous"),
        ((spot.put)(HTTP(), &value("failed")), 503, r#"{"error":"Service unavailable"}"#, "failed"),
    ] {
        let reply = ask(&layer, request);
        let rejection = reply.rejection().unwrap();
        assert_eq!((reply.status(), reply.text()), (status, body));
        assert_eq!(reply.lines("content-type"), ["application/json"]);
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
        assert_eq!(rejection.kind().as_str(), kind);
        assert_eq!(rejection.status().as_u16(), status);
        assert!(body.contains(rejection.message()));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap()["error"],
            rejection.message()
        );
    }
}

// Peers §7.10: HTTP 200, `grpc-status: 16`, `application/grpc`, no body; gRPC-Web likewise.
#[test]
fn r34_r35_the_table_of_defaults_over_grpc_and_grpc_web() {
    let spot = SPOTS[0];
    let layer = spot.layer(strict()).respond_with(|_| Response::new("no gRPC caller reads this"));
    for (form, content_type) in [
        (GRPC, "application/grpc"),
        (GRPC_WEB, "application/grpc-web"),
        (GRPC_WEB_TEXT, "application/grpc-web-text"),
    ] {
        let put = |case| (spot.put)(form(), &value(case));
        for (request, code, message, reason) in [
            (form(), "16", "Unauthorized access", Reason::Missing),
            (put("unknown"), "16", "Unauthorized access", Reason::Unknown),
            (put("over_long"), "16", "Unauthorized access", Reason::TooLong),
            (
                (spot.put)(put("good"), b"x"),
                "3",
                "More than one API key in the request",
                Reason::Ambiguous,
            ),
            (put("failed"), "14", "Service unavailable", Reason::Failed),
        ] {
            let reply = ask(&layer, request);
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.lines("content-type"), [content_type]);
            assert_eq!(reply.lines("grpc-status"), [code]);
            let [line] = reply.lines("grpc-message")[..] else { panic!("{}", reply.wire()) };
            assert_eq!(percent_decoded(line), message);
            assert_eq!(reply.lines("cache-control"), ["no-store"]);
            // Trailers-only: one HEADERS frame that ends the stream.
            assert!(reply.ended && reply.body.is_empty());
            assert_eq!(reply.reason(), Some(reason));
        }
        let accepted = ask(&layer, put("good"));
        assert_eq!((accepted.outcome(), accepted.text()), ("200 mobile-app".to_owned(), "hello"));
        assert!(accepted.lines("grpc-status").is_empty());
    }
}

/// The gRPC specification's `Percent-Byte-Unencoded`, which is 0x20 to 0x7E but for `%`.
fn percent_decoded(message: &str) -> String {
    let mut bytes = message.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        assert!((0x20..=0x7E).contains(&byte), "{message}");
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).unwrap()
}

#[test]
fn r35_nothing_but_a_grpc_call_gets_a_200() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    for (method, content_type, status) in [
        ("POST", "application/grpc", 200),
        ("POST", "application/grpc+proto", 200),
        ("POST", "application/grpc+json", 200),
        ("POST", "application/grpc-web", 200),
        ("POST", "application/grpc-web+proto", 200),
        ("POST", "application/grpc-web-text+proto", 200),
        ("GET", "application/grpc", 401),
        ("HEAD", "application/grpc", 401),
        ("PUT", "application/grpc+proto", 401),
        ("OPTIONS", "application/grpc-web", 401),
        ("POSTS", "application/grpc", 401),
        ("post", "application/grpc", 401),
        ("POST", "application/grpcx", 401),
        ("POST", "application/grpc-webx", 401),
        ("POST", "application/grpc-", 401),
        ("POST", "application/grpc;charset=utf-8", 401),
        ("POST", "APPLICATION/GRPC+proto", 401),
        ("POST", "application/json, application/grpc", 401),
        ("POST", "text/plain", 401),
        ("POST", "application/grp", 401),
        ("POST", "", 401),
    ] {
        let request =
            Request::builder().method(method).uri("/").header("Content-Type", content_type);
        let reply = ask(&layer, request);
        assert_eq!(
            (reply.status(), reply.reason()),
            (status, Some(Reason::Missing)),
            "{method} {content_type}"
        );
        assert_eq!(reply.lines("grpc-status").is_empty(), status == 401);
        assert_eq!(reply.lines("www-authenticate").is_empty(), status == 200);
    }
    let two = Request::post("/")
        .header("content-type", "application/grpc")
        .header("content-type", "text/plain");
    assert_eq!(ask(&layer, two).status(), 401);
}

#[test]
fn r32_head_has_the_headers_of_get() {
    let spot = SPOTS[0];
    for layer in [
        spot.layer(strict()),
        spot.layer(strict()).respond(Problem::default()),
        spot.layer(strict()).respond(Text::default()),
    ] {
        for case in [None, Some("unknown"), Some("malformed"), Some("failed")] {
            let request = |method| {
                let request = HTTP().method(method);
                case.map_or(Request::builder().method(method).uri("/"), |case| {
                    (spot.put)(request, &value(case))
                })
            };
            let (get, head) = (ask(&layer, request("GET")), ask(&layer, request("HEAD")));
            assert_eq!(
                (get.head.status, &get.head.headers),
                (head.head.status, &head.head.headers)
            );
        }
    }
}

// R29, gateways A3.8.
#[test]
fn r29_no_rejection_is_stored_whatever_the_responder_says() {
    let layer = ApiKeyLayer::new(header("x-api-key"), strict());
    for (theirs, sent) in [
        (&[][..], &["no-store"][..]),
        (&["max-age=60"], &["max-age=60", "no-store"]),
        (&["public, s-maxage=9"], &["public, s-maxage=9", "no-store"]),
        (&["no-store"], &["no-store"]),
        (&["private, No-Store"], &["private, No-Store"]),
        (&["private", "no-store,max-age=0"], &["private", "no-store,max-age=0"]),
        (&["no-store-at-all"], &["no-store-at-all", "no-store"]),
        (&["x=no-store"], &["x=no-store", "no-store"]),
    ] {
        for layer in [layer.clone(), layer.clone().no_cache_headers()] {
            let theirs = theirs.to_vec();
            let layer = layer.respond_with(move |rejection| {
                let mut response = Response::new("no");
                *response.status_mut() = rejection.status();
                for line in &theirs {
                    response.headers_mut().append("cache-control", line.parse().unwrap());
                }
                response
            });
            for case in [None, Some("unknown"), Some("failed")] {
                let request = case.map_or(HTTP(), |case| HTTP().header("x-api-key", value(case)));
                assert_eq!(ask(&layer, request).lines("cache-control"), sent);
            }
            let ambiguous = HTTP().header("x-api-key", KEY).header("x-api-key", KEY);
            assert_eq!(ask(&layer, ambiguous).lines("cache-control"), sent);
        }
    }
}

// --------------------------------------------------------------------------------------------
// Challenges, read by a parser of its own.

/// One challenge of RFC 9110 §11.6.1: `auth-scheme [ 1*SP #auth-param ]`, one to a line.
#[derive(Debug, PartialEq)]
struct Challenge {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// A whole line that is one challenge and nothing else.
    fn parse(line: &str) -> Option<Self> {
        let (scheme, mut rest) = token(line)?;
        let mut params = Vec::new();
        while !rest.is_empty() {
            rest = match params.len() {
                0 => rest.strip_prefix(' ')?.trim_start_matches(' '),
                _ => rest
                    .trim_start_matches([' ', '\t'])
                    .strip_prefix(',')?
                    .trim_start_matches([' ', '\t']),
            };
            let (name, after) = token(rest)?;
            let (value, after) = match after.strip_prefix('=')?.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                None => token(&after[1..]).map(|(value, after)| (value.to_owned(), after))?,
            };
            params.push((name.to_ascii_lowercase(), value));
            rest = after;
        }
        Some(Self { scheme: scheme.to_owned(), params })
    }

    fn param(&self, name: &str) -> Option<&str> {
        let mut values = self.params.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_tchar = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
    let end = text.find(|char| !is_tchar(char)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// What stands between the quotes (RFC 9110 §5.6.4), and what follows the second.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            '\t' | ' '..='~' => value.push(char),
            _ => return None,
        }
    }
    None
}

fn challenges(reply: &Reply) -> Vec<Challenge> {
    let lines = reply.head.headers.get_all(WWW_AUTHENTICATE).iter();
    lines
        .map(|line| {
            let line = line.to_str().unwrap();
            Challenge::parse(line).unwrap_or_else(|| panic!("no challenge: {line}"))
        })
        .collect()
}

#[test]
fn the_parser_itself_knows_a_bad_challenge() {
    let good = Challenge::parse(r#"ApiKey realm="a \"b\\", in=header"#).unwrap();
    assert_eq!(good.param("realm"), Some(r#"a "b\"#));
    assert_eq!((good.param("in"), good.param("name")), (Some("header"), None));
    for bad in [
        "",
        " Bearer",
        "Bearer realm",
        "Bearer realm=",
        "Bearer realm=\"a",
        "Bearer realm=\"a\"b\"",
        "Bearer realm=\"a\" x=\"b\"",
        "Bearer, realm=\"a\"",
        "Bearer realm=\"a\", Basic realm=\"b\"",
        "Bearer realm=\"a\\\"",
    ] {
        assert_eq!(Challenge::parse(bad), None, "{bad}");
    }
}

// Gateways A3.7: one challenge line a place, with the place named, quoted and escaped.
#[test]
fn r1_r3_every_401_challenges_for_each_place_in_a_line_of_its_own_and_bearer_first() {
    let places = (header("X-Api-Key"), query("api_key"), scheme("Token"), cookie("sid"), bearer());
    let layer = ApiKeyLayer::new(first_of(places), strict());
    for request in [
        HTTP(),
        HTTP().header("x-api-key", WRONG),
        HTTP().header("x-api-key", "k".repeat(2000)),
        HTTP().header("x-api-key", MALFORMED),
        HTTP().header("authorization", "Basic x"),
    ] {
        let reply = ask(&layer, request);
        assert_eq!(reply.status(), 401);
        assert_eq!(
            reply.lines("www-authenticate"),
            [
                r#"Bearer realm="api""#,
                r#"ApiKey realm="api", in="header", name="x-api-key""#,
                r#"ApiKey realm="api", in="query", name="api_key""#,
                r#"Token realm="api""#,
                r#"ApiKey realm="api", in="cookie", name="sid""#,
            ]
        );
        for challenge in challenges(&reply) {
            for (name, _) in &challenge.params {
                assert!(challenge.param(name).is_some());
            }
        }
    }
}

#[test]
fn r5_only_a_bearer_challenge_carries_an_error_code_and_it_always_has_a_realm() {
    let layer = ApiKeyLayer::new((bearer(), header("x-api-key"), scheme("Token")), strict());
    let by_bearer = |value: &[u8]| HTTP().header("authorization", [b"Bearer ", value].concat());
    for (request, status, code) in [
        (HTTP(), 401, None),
        (HTTP().header("authorization", "Basic x"), 401, None),
        (HTTP().header("authorization", "Bearer"), 401, None),
        (by_bearer(b"wrong"), 401, Some("invalid_token")),
        (by_bearer(&value("expired")), 401, Some("invalid_token")),
        (by_bearer(&value("over_long")), 401, Some("invalid_token")),
        (by_bearer(b"a b"), 401, Some("invalid_token")),
        (HTTP().header("x-api-key", WRONG), 401, None),
        (HTTP().header("authorization", "Token wrong"), 401, None),
        (by_bearer(KEY.as_bytes()).header("x-api-key", KEY), 400, Some("invalid_request")),
        (
            by_bearer(KEY.as_bytes()).header("authorization", "Basic x"),
            400,
            Some("invalid_request"),
        ),
        (HTTP().header("x-api-key", KEY).header("x-api-key", KEY), 400, Some("invalid_request")),
    ] {
        let shown = format!("{request:?}");
        let reply = ask(&layer, request);
        assert_eq!(reply.status(), status, "{shown}");
        let challenges = challenges(&reply);
        let (bearer, others) = challenges.split_first().unwrap();
        assert_eq!(
            (bearer.scheme.as_str(), bearer.param("realm")),
            ("Bearer", Some("api")),
            "{shown}"
        );
        assert_eq!(bearer.param("error"), code, "{shown}");
        assert!(others.iter().all(|other| other.param("error").is_none()));
        assert_eq!(others.len(), if status == 401 { 2 } else { 0 });
    }
    let failed = ask(&layer, by_bearer(&value("failed")));
    assert_eq!((failed.status(), challenges(&failed).len()), (503, 0));
    let no_bearer = ApiKeyLayer::new(header("x-api-key"), keys());
    let reply = ask(&no_bearer, HTTP().header("x-api-key", KEY).header("x-api-key", KEY));
    assert_eq!((reply.status(), challenges(&reply).len()), (400, 0));
}

#[test]
fn r2_a_realm_is_quoted_and_what_cannot_stand_in_a_header_is_an_error() {
    let layer = || ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
    for realm in
        ["", "api", "two words", "a \"b\"", "\\", "\"", "a\\\"b", "a, b=\"c\"", "\t", "{}%"]
    {
        let reply = ask(&layer().realm(realm).unwrap(), HTTP());
        for challenge in challenges(&reply) {
            assert_eq!(challenge.param("realm"), Some(realm));
        }
    }
    for (realm, at) in [
        ("a\r\nSet-Cookie: x", 1),
        ("\n", 0),
        ("ab\0", 2),
        ("\u{7f}", 0),
        ("caf\u{e9}", 3),
        ("\u{1f512}", 0),
    ] {
        let error = layer().realm(realm).unwrap_err();
        assert_eq!((error.kind(), error.position()), (ConfigErrorKind::Realm, Some(at)));
        assert!(!error.to_string().contains("caf"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn r2_any_realm_comes_back_as_it_was_or_is_refused_when_the_layer_is_built(
        realm in prop_oneof![any::<String>(), "[ -~\t]{0,20}", "[\"\\\\,= a]{0,8}"],
    ) {
        let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), cookie("sid")), keys());
        let can_stand = realm.chars().all(|char| matches!(char, '\t' | ' '..='~'));
        match layer.realm(realm.clone()) {
            Err(error) => prop_assert!(!can_stand && error.kind() == ConfigErrorKind::Realm),
            Ok(layer) => {
                prop_assert!(can_stand);
                let challenges = challenges(&ask(&layer, HTTP()));
                prop_assert_eq!(challenges.len(), 3);
                for challenge in challenges {
                    prop_assert_eq!(challenge.param("realm"), Some(realm.as_str()));
                }
            }
        }
    }

    #[test]
    fn r1_any_name_of_a_place_comes_back_as_it_was(name in "[!-~]{1,12}") {
        let layer = ApiKeyLayer::new(query(&name), keys());
        let challenges = challenges(&ask(&layer, HTTP()));
        prop_assert_eq!(challenges.len(), 1);
        prop_assert_eq!(challenges[0].param("name"), Some(name.as_str()));
        prop_assert_eq!(challenges[0].param("in"), Some("query"));
        if let Ok(place) = Place::try_cookie(&name) {
            let layer = ApiKeyLayer::new(cookie(place.name()), keys());
            let told = self::challenges(&ask(&layer, HTTP()));
            prop_assert_eq!(told[0].param("name"), Some(name.as_str()));
            let layer = ApiKeyLayer::new(scheme(&name), keys());
            let told = self::challenges(&ask(&layer, HTTP()));
            prop_assert!(told[0].scheme.eq_ignore_ascii_case(&name));
        }
    }
}

// --------------------------------------------------------------------------------------------
// Responders.

fn body_of(
    respond: impl Respond + Send + Sync + 'static,
    request: request::Builder,
) -> (String, String) {
    let reply = ask(&ApiKeyLayer::new(header("x-api-key"), strict()).respond(respond), request);
    let [content_type] = reply.lines("content-type")[..] else { panic!("{}", reply.wire()) };
    (content_type.to_owned(), reply.text().to_owned())
}

#[test]
fn text_is_the_message_alone() {
    let twice = || HTTP().header("x-api-key", KEY).header("x-api-key", KEY);
    for (request, text) in [
        (HTTP(), "Unauthorized access"),
        (HTTP().header("x-api-key", WRONG), "Unauthorized access"),
        (twice(), "More than one API key in the request"),
        (HTTP().header("x-api-key", value("failed")), "Service unavailable"),
    ] {
        let sent = body_of(Text::default(), request);
        assert_eq!(sent, ("text/plain; charset=utf-8".to_owned(), text.to_owned()));
    }
}

#[test]
fn r31_problem_details_say_the_status_and_nothing_of_the_reason() {
    let twice = || HTTP().header("x-api-key", KEY).header("x-api-key", KEY);
    for (request, body) in [
        (
            HTTP(),
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}"#,
        ),
        (
            HTTP().header("x-api-key", value("expired")),
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Unauthorized access"}"#,
        ),
        (
            twice(),
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"More than one API key in the request"}"#,
        ),
        (
            HTTP().header("x-api-key", value("failed")),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Service unavailable"}"#,
        ),
    ] {
        let layer = ApiKeyLayer::new(header("x-api-key"), strict()).respond(Problem::default());
        let reply = ask(&layer, request);
        assert_eq!(reply.lines("content-type"), ["application/problem+json"]);
        assert_eq!(reply.text(), body);
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem["status"], reply.status());
    }
}

#[test]
fn a_message_of_ones_own_changes_the_401_for_missing_and_wrong_keys_and_nothing_else() {
    let text = "No \"key\",\n no \\ \u{1}\u{e9}\u{1f511}";
    for request in
        [|| HTTP(), || HTTP().header("x-api-key", WRONG), || HTTP().header("x-api-key", MALFORMED)]
    {
        assert_eq!(body_of(Text::default().message(text), request()).1, text);
        let json: serde_json::Value =
            serde_json::from_str(&body_of(Json::default().message(text), request()).1).unwrap();
        assert_eq!(json["error"], text);
        let problem: serde_json::Value =
            serde_json::from_str(&body_of(Problem::default().message(text), request()).1).unwrap();
        assert_eq!((&problem["detail"], &problem["status"]), (&text.into(), &401.into()));
    }
    for request in [
        || HTTP().header("x-api-key", KEY).header("x-api-key", KEY),
        || HTTP().header("x-api-key", value("failed")),
    ] {
        assert_eq!(
            body_of(Text::default().message(text), request()),
            body_of(Text::default(), request())
        );
        assert_eq!(
            body_of(Json::default().message(text), request()),
            body_of(Json::default(), request())
        );
        assert_eq!(
            body_of(Problem::default().message(text), request()),
            body_of(Problem::default(), request())
        );
    }
}

#[test]
fn one_responder_answers_every_kind_in_turn_and_mixes_nothing_up() {
    let layer = ApiKeyLayer::new(header("x-api-key"), strict());
    for layer in
        [layer.clone(), layer.clone().respond(Problem::default()), layer.respond(Text::default())]
    {
        let requests: [fn() -> request::Builder; 4] = [
            || HTTP(),
            || HTTP().header("x-api-key", KEY).header("x-api-key", KEY),
            || HTTP().header("x-api-key", value("failed")),
            || HTTP().header("x-api-key", WRONG),
        ];
        let first = requests.map(|request| ask(&layer, request()).wire());
        let again = requests.map(|request| ask(&layer, request()).wire());
        assert_eq!(first, again);
        assert_eq!(first[0], first[3]);
        assert!(first[1] != first[0] && first[2] != first[0] && first[1] != first[2]);
    }
}

/// Says nothing of what it should.
#[derive(Debug)]
struct Bare;

impl Respond for Bare {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(b"bare"));
        *response.status_mut() = rejection.status();
        response
    }
}

#[test]
fn a_users_responder_cannot_lose_the_challenge_no_store_or_the_rejection() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), strict()).respond(Bare);
    for (request, status, lines) in [
        (HTTP(), 401, 2),
        (HTTP().header("x-api-key", WRONG), 401, 2),
        (HTTP().header("x-api-key", KEY).header("x-api-key", KEY), 400, 1),
        (HTTP().header("x-api-key", value("failed")), 503, 0),
    ] {
        let reply = ask(&layer, request);
        assert_eq!((reply.status(), reply.text()), (status, "bare"));
        assert_eq!(challenges(&reply).len(), lines);
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
        assert_eq!(reply.rejection().unwrap().status().as_u16(), status);
    }
}

#[test]
fn a_responder_may_add_a_challenge_and_choose_another_status() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let with = |status: u16, challenge: Option<&'static str>| {
        layer.clone().respond_with(move |_| {
            let mut response = Response::builder().status(status);
            if let Some(challenge) = challenge {
                response = response.header("www-authenticate", challenge);
            }
            response.body("theirs").unwrap()
        })
    };
    let ours = r#"ApiKey realm="api", in="header", name="x-api-key""#;
    let theirs = r#"Basic realm="other""#;
    assert_eq!(ask(&with(401, None), HTTP()).lines("www-authenticate"), [ours]);
    assert_eq!(ask(&with(401, Some(theirs)), HTTP()).lines("www-authenticate"), [theirs, ours]);
    assert_eq!(ask(&with(401, Some(ours)), HTTP()).lines("www-authenticate"), [ours]);

    // To hide a route: a 404 has no challenge, is not stored (R29), and is still counted as what it is.
    for status in [404, 403, 200, 302] {
        let reply = ask(&with(status, None), HTTP());
        assert_eq!((reply.status(), reply.text()), (status, "theirs"));
        assert!(reply.lines("www-authenticate").is_empty());
        assert_eq!(reply.lines("cache-control"), ["no-store"]);
        assert_eq!((reply.reason(), reply.seen.is_none()), (Some(Reason::Missing), true));
    }
}

#[test]
fn a_closure_may_answer_text_bytes_or_nothing() {
    fn sent<T: Into<Bytes> + 'static>(body: fn() -> T) -> Bytes {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys());
        let layer = layer.respond_with(move |_| Response::new(body()));
        ask(&layer, HTTP()).body
    }
    assert_eq!(sent(|| "text"), "text");
    assert_eq!(sent(|| "text".to_owned()), "text");
    assert_eq!(sent(|| b"bytes".to_vec()), "bytes");
    assert_eq!(sent(|| Bytes::from_static(b"bytes")), "bytes");
    assert_eq!(sent(Bytes::new), "");
}

#[test]
fn a_rejection_planted_by_a_responder_is_replaced_by_the_true_one() {
    let told =
        ask(&ApiKeyLayer::new(header("x-api-key"), keys()), HTTP()).rejection().unwrap().clone();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).respond_with(move |_| {
        let mut response = Response::new("");
        response.extensions_mut().insert(told.clone());
        response
    });
    assert_eq!(ask(&layer, HTTP().header("x-api-key", WRONG)).reason(), Some(Reason::Unknown));
}

// --------------------------------------------------------------------------------------------
// What the operator learns.

#[test]
fn r6_the_extension_tells_kind_reason_and_place_by_stable_names() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), strict());
    let place = Place::header("x-api-key");
    for (case, kind, reason, text) in [
        ("unknown", "refused", "unknown", "the key is unknown"),
        ("malformed", "refused", "malformed", "the key is malformed"),
        ("over_long", "refused", "too_long", "the key is too long"),
        ("expired", "refused", "expired", "the key has expired"),
        ("not_yet_valid", "refused", "not_yet_valid", "the key is not yet valid"),
        ("told_revoked", "refused", "revoked", "the key was revoked"),
        ("failed", "failed", "failed", "the key could not be verified"),
    ] {
        let reply = ask(&layer, HTTP().header("x-api-key", value(case)));
        let rejection = reply.rejection().unwrap();
        assert_eq!(rejection.kind().as_str(), kind);
        assert_eq!(rejection.reason().as_str(), reason);
        assert_eq!(rejection.to_string(), text);
        assert_eq!(rejection.place(), Some(&place));
        assert_eq!(rejection.source().is_some(), kind == "failed");
        let told = format!("{rejection:?}");
        assert!(told.contains("x-api-key") && told.contains(&format!("{:?}", rejection.reason())));
    }
    let missing = ask(&layer, HTTP());
    assert_eq!(missing.rejection().unwrap().kind().as_str(), "missing");
    assert_eq!(missing.rejection().unwrap().to_string(), "no key in the request");
    let two = ask(
        &layer,
        HTTP().header("x-api-key", KEY).header("authorization", format!("Bearer {OTHER}")),
    );
    assert_eq!(two.rejection().unwrap().reason().as_str(), "ambiguous");
    assert_eq!(two.rejection().unwrap().to_string(), "more than one key in the request");
    assert!(
        missing.rejection().unwrap().place().is_none()
            && two.rejection().unwrap().place().is_none()
    );
}

#[test]
fn the_cause_of_a_failure_is_the_rejections_source_and_nowhere_else() {
    let layer = ApiKeyLayer::new(header("x-api-key"), strict());
    for layer in
        [layer.clone(), layer.clone().respond(Problem::default()), layer.respond(Text::default())]
    {
        let reply = ask(&layer, HTTP().header("x-api-key", value("failed")));
        let rejection = reply.rejection().unwrap();
        let cause = rejection.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.to_string(), "connection refused");
        for told in [
            reply.wire(),
            format!("{rejection:?}"),
            format!("{rejection:#?}"),
            rejection.to_string(),
        ] {
            assert!(!told.contains("connection"), "{told}");
        }
        let kept = rejection.clone();
        assert!(kept.source().is_some());
        let as_error: Box<dyn Error + Send + Sync> = Box::new(kept);
        assert!(as_error.downcast_ref::<Rejection>().is_some());
    }
}

#[test]
fn an_accepted_response_passes_as_it_is_with_no_rejection() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).no_cache_headers();
    for status in [200, 204, 301, 401, 403, 500] {
        let reply = ask_of(&layer, HTTP().header("x-api-key", KEY), |_| {
            let response =
                Response::builder().status(status).header("x-own", "1").header("x-own", "2");
            response.extension("an extension").body(Full::from("theirs")).unwrap()
        });
        assert_eq!(reply.head.status, StatusCode::from_u16(status).unwrap());
        assert_eq!((reply.lines("x-own"), reply.head.headers.len()), (vec!["1", "2"], 2));
        assert_eq!((reply.text(), reply.head.extensions.get()), ("theirs", Some(&"an extension")));
        assert!(reply.rejection().is_none());
    }
}

#[test]
fn a_keyring_without_keys_answers_as_one_with_keys_does() {
    let (empty, full) = (Keyring::<Client>::new(), keys());
    for spot in SPOTS {
        let (empty, full) = (spot.layer(empty.clone()), spot.layer(full.clone()));
        assert_eq!(ask(&empty, spot.get(&[WRONG])).wire(), ask(&full, spot.get(&[WRONG])).wire());
    }
}
