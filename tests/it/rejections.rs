//! Rejections have a response for the caller and details for the operator.

use crate::support;

use std::{
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use http::{Request, Response, StatusCode, request};
use http_body_util::Full;
use proptest::prelude::*;
use support::{Any, KEY, OTHER, Reply, SPOTS, Spot, WRONG, ask, ask_of, keys, strict, value};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring, Rejection,
    extract::{RequestHead, bearer, cookie, first_of, header, query},
    key::KeyFormat,
    record::Record,
    rejection::{Reason, RejectionKind},
    respond::{Json, Problem, Text},
    verify::{self, Verify, VerifyError},
};

const CASES: [&str; 9] = [
    "unknown",
    "revoked",
    "removed",
    "expired",
    "not_yet_valid",
    "paused",
    "revoked_by_verifier",
    "malformed",
    "over_long",
];

fn reason(case: &str) -> Reason {
    match case {
        "expired" => Reason::Expired,
        "not_yet_valid" => Reason::NotYetValid,
        "paused" => Reason::Paused,
        // A keyring keeps the record of a revoked key, but not of a removed key.
        "revoked" | "revoked_by_verifier" => Reason::Revoked,
        "malformed" => Reason::Malformed,
        "over_long" => Reason::TooLong,
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

// The response does not distinguish malformed and unknown keys. The extension does.
#[test]
fn r6_every_wrong_key_gets_the_same_response_byte_for_byte() {
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
                    assert_eq!(reply.rejection().unwrap().kind(), RejectionKind::InvalidKey);
                    assert_eq!(
                        reply.rejection().unwrap().location().unwrap().to_string(),
                        spot.name
                    );
                }
            }
        }
    }
}

#[test]
fn r6_a_slow_verifier_gets_the_same_response_as_a_fast_one() {
    for spot in SPOTS {
        let at_once = spot.layer(verify::from_fn(|_| None::<Client>));
        let later = spot.layer(verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            Err::<Option<Client>, _>(VerifyError::expired())
        }));
        let (one, other) = (ask(&at_once, spot.get(&[WRONG])), ask(&later, spot.get(&[WRONG])));
        assert_eq!(one.wire(), other.wire());
        assert_eq!(other.outcome(), "401 expired");
        assert_eq!(other.rejection().unwrap().location(), at_once.locations().first());
    }
}

#[test]
fn without_bearer_a_missing_key_gets_the_response_of_a_wrong_key() {
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
// The table of defaults in the README.

#[test]
fn r4_http_rejections_follow_the_table_of_defaults() {
    let spot = SPOTS[0];
    let layer = spot.layer(strict());
    let twice = || (spot.put)((spot.put)(HTTP(), KEY.as_bytes()), KEY.as_bytes());
    for (request, status, body, kind) in [
        (HTTP(), 401, r#"{"error":"Unauthorized access"}"#, "missing"),
        (spot.get(&[WRONG]), 401, r#"{"error":"Unauthorized access"}"#, "invalid_key"),
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

// HTTP 200, `grpc-status: 16`, `application/grpc` and no body. gRPC-Web likewise.
#[test]
fn r34_r35_grpc_and_grpc_web_rejections_follow_the_table_of_defaults() {
    let spot = SPOTS[0];
    let layer =
        spot.layer(strict()).respond(|_: &Rejection| Response::new("no gRPC caller reads this"));
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

/// The gRPC specification's `Percent-Byte-Unencoded`, which is 0x20 to 0x7E without `%`.
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
fn r35_only_a_rejected_grpc_request_gets_a_200() {
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
        ("POST", "application/grpc+;x=y", 401),
        ("GET", "APPLICATION/GRPC;x=y", 401),
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
fn r32_a_rejected_head_request_has_the_headers_of_a_get_request() {
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

#[test]
fn r29_every_rejection_is_no_store_even_if_the_responder_decided_otherwise() {
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
            let layer = layer.respond(move |rejection: &Rejection| {
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
// Details for the operator.

#[test]
fn r6_the_rejection_extension_has_stable_names_for_kind_reason_and_location() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), strict());
    let location = KeyLocation::header("x-api-key");
    for (case, kind, reason, text) in [
        ("unknown", "invalid_key", "unknown", "the key is unknown"),
        ("malformed", "invalid_key", "malformed", "the key is malformed"),
        ("over_long", "invalid_key", "too_long", "the key is too long"),
        ("expired", "invalid_key", "expired", "the key has expired"),
        ("not_yet_valid", "invalid_key", "not_yet_valid", "the key is not yet valid"),
        ("paused", "invalid_key", "paused", "the key is paused"),
        ("revoked", "invalid_key", "revoked", "the key was revoked"),
        ("revoked_by_verifier", "invalid_key", "revoked", "the key was revoked"),
        ("failed", "failed", "failed", "the key could not be verified"),
    ] {
        let reply = ask(&layer, HTTP().header("x-api-key", value(case)));
        let rejection = reply.rejection().unwrap();
        assert_eq!(rejection.kind().as_str(), kind);
        assert_eq!(rejection.reason().as_str(), reason);
        assert_eq!(rejection.to_string(), text);
        assert_eq!(rejection.location(), Some(&location));
        assert_eq!(rejection.source().is_some(), kind == "failed");
        // Only records of the keyring have a public id.
        assert_eq!(rejection.key_id().is_some(), ["revoked", "paused"].contains(&case));
        let shown = format!("{rejection:?}");
        assert!(
            shown.contains("x-api-key") && shown.contains(&format!("{:?}", rejection.reason()))
        );
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
        missing.rejection().unwrap().location().is_none()
            && two.rejection().unwrap().location().is_none()
    );
}

#[test]
fn the_cause_of_a_failure_is_only_in_the_source_of_the_rejection() {
    let layer = ApiKeyLayer::new(header("x-api-key"), strict());
    for layer in
        [layer.clone(), layer.clone().respond(Problem::default()), layer.respond(Text::default())]
    {
        let reply = ask(&layer, HTTP().header("x-api-key", value("failed")));
        let rejection = reply.rejection().unwrap();
        let cause = rejection.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.to_string(), "connection refused");
        for shown in [
            reply.wire(),
            format!("{rejection:?}"),
            format!("{rejection:#?}"),
            rejection.to_string(),
        ] {
            assert!(!shown.contains("connection"), "{shown}");
        }
        let kept = rejection.clone();
        assert!(kept.source().is_some());
        let as_error: Box<dyn Error + Send + Sync> = Box::new(kept);
        assert!(as_error.downcast_ref::<Rejection>().is_some());
    }
}

#[test]
fn an_accepted_response_is_unchanged_and_has_no_rejection() {
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
fn a_keyring_without_keys_rejects_like_one_with_keys() {
    let (empty, full) = (Keyring::<Client>::new(), keys());
    for spot in SPOTS {
        let (empty, full) = (spot.layer(empty.clone()), spot.layer(full.clone()));
        assert_eq!(ask(&empty, spot.get(&[WRONG])).wire(), ask(&full, spot.get(&[WRONG])).wire());
    }
}

// --------------------------------------------------------------------------------------------
// Any two wrong keys, before any layer.

/// The history of a key.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Unknown,
    Revoked,
    Removed,
    Expired,
    NotYetValid,
    Paused,
    /// It has the layout of a minted key and a wrong checksum.
    Mistyped,
}

#[derive(Clone, Debug)]
enum Wrong {
    Text(String, Fate),
    Bytes(Vec<u8>),
    Long(usize),
}

fn wrong() -> impl Strategy<Value = Wrong> {
    use Fate::{Expired, Mistyped, NotYetValid, Paused, Removed, Revoked, Unknown};

    let fates = &[Unknown, Revoked, Removed, Expired, NotYetValid, Paused, Mistyped][..];
    prop_oneof![
        4 => ("x[A-Za-z0-9._~+/-]{0,38}", prop::sample::select(fates))
            .prop_map(|(key, fate)| Wrong::Text(key, fate)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Wrong::Bytes),
        1 => (1025_usize..3000).prop_map(Wrong::Long),
    ]
}

impl Wrong {
    /// Applies the history to the keyring and returns the key to present.
    fn meet(self, keys: &Keyring) -> Vec<u8> {
        let (key, fate) = match self {
            // No server passes control characters on, and a query is always escaped.
            Self::Bytes(bytes) => {
                let visible =
                    bytes.into_iter().map(|it| if it < 0x20 || it == 0x7F { 0xFF } else { it });
                return b"x".iter().copied().chain(visible).collect();
            }
            Self::Long(length) => return vec![b'k'; length],
            Self::Text(key, fate) => (key, fate),
        };
        let digest = KeyDigest::of(&key);
        let record = Record::new(digest, Client::new("ci"));
        let hour = Duration::from_secs(3600);
        match fate {
            Fate::Unknown => {}
            Fate::Mistyped => return format!("sk_live_0a1B2c3D_{:0>28}", key.len()).into_bytes(),
            Fate::Expired => {
                let record = record.with_created(SystemTime::UNIX_EPOCH);
                keys.insert_record(record.with_expires(SystemTime::UNIX_EPOCH + hour)).unwrap();
            }
            Fate::NotYetValid => {
                keys.insert_record(record.with_not_before(SystemTime::now() + hour)).unwrap();
            }
            Fate::Paused => {
                keys.insert_record(record.with_id("0a1B2c3D").unwrap()).unwrap();
                keys.pause("0a1B2c3D").unwrap();
            }
            Fate::Revoked | Fate::Removed => {
                keys.insert_record(record.with_id("0a1B2c3D").unwrap()).unwrap();
                if matches!(fate, Fate::Revoked) {
                    assert!(keys.revoke_key("0a1B2c3D"));
                } else {
                    assert!(keys.remove(&digest).is_some());
                }
            }
        }
        key.into_bytes()
    }
}

/// The configuration of a layer and the form of a request.
#[derive(Clone, Debug)]
struct Setting {
    /// The location of the key and one other location, two of the [`SPOTS`].
    locations: (usize, usize),
    realm: String,
    cap: usize,
    responder: u8,
    is_slow: bool,
    has_format: bool,
    takes_first: bool,
    optional: bool,
    forwards: bool,
    form: usize,
    method: &'static str,
}

fn settings() -> impl Strategy<Value = Setting> {
    let methods = &["GET", "HEAD", "POST", "OPTIONS", "X-OWN"][..];
    (
        (0..SPOTS.len(), 0..SPOTS.len()),
        ("[ -~]{0,12}", prop::sample::select(&[8_usize, 1024, 1024, 1024][..]), 0..4_u8),
        any::<[bool; 5]>(),
        (0..6_usize, prop::sample::select(methods)),
    )
        .prop_map(|(locations, (realm, cap, responder), switches, (form, method))| {
            let [is_slow, has_format, takes_first, optional, forwards] = switches;
            Setting {
                locations,
                realm,
                cap,
                responder,
                is_slow,
                has_format,
                takes_first,
                optional,
                forwards,
                form,
                method,
            }
        })
}

impl Setting {
    fn respond(&self, wrong: Wrong) -> Reply {
        let mut keys = keys();
        let key = wrong.meet(&keys);
        if self.has_format {
            let strict = Keyring::builder().format(KeyFormat::new("sk_live").unwrap()).build();
            strict.replace(keys.records()).unwrap();
            keys = strict;
        }
        if !self.is_slow {
            return self.ask(keys, &key);
        }
        let unknown = verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            None::<Client>
        });
        self.ask(keys.or(unknown), &key)
    }

    fn ask<V: Verify>(&self, verify: V, key: &[u8]) -> Reply {
        let (spot, neighbour) = (SPOTS[self.locations.0], SPOTS[self.locations.1]);
        let find: Any = match ((spot.extract)(), (neighbour.extract)()) {
            (one, _) if spot.name == neighbour.name => one,
            (one, two) if self.takes_first => Box::new(first_of((two, one))),
            two => Box::new(two),
        };
        let mut layer = ApiKeyLayer::new(find, verify).realm(&self.realm);
        layer = layer.max_key_len(self.cap);
        layer = match self.responder {
            0 => layer.respond(Problem::default().message("No")),
            1 => layer.respond(Text::default()),
            2 => layer.respond(|rejection: &Rejection| {
                let mut response = Response::new(rejection.message());
                *response.status_mut() = rejection.status();
                response
            }),
            _ => layer,
        };
        if self.optional {
            layer = layer.optional();
        }
        if self.forwards {
            layer = layer.forward_key();
        }
        let request = match self.form {
            0 => GRPC(),
            1 => GRPC_WEB(),
            2 => GRPC_WEB_TEXT(),
            _ => HTTP().method(self.method),
        };
        ask(&layer, (spot.put)(request, key))
    }
}

proptest! {
    #![proptest_config(support::cases(1500))]

    #[test]
    fn r6_any_two_wrong_keys_get_the_same_response_byte_for_byte(
        setting in settings(),
        (one, other) in (wrong(), wrong()),
    ) {
        let (one, other) = (setting.respond(one), setting.respond(other));
        for reply in [&one, &other] {
            prop_assert_eq!(reply.rejection().unwrap().kind(), RejectionKind::InvalidKey);
            prop_assert!(reply.seen.is_none());
            prop_assert!(!reply.wire().contains("0a1B2c3D"));
        }
        prop_assert_eq!(one.wire(), other.wire());
        prop_assert_eq!(one.ended, other.ended);
    }
}

#[test]
fn a_grpc_request_is_recognised_by_its_media_type_in_any_case_and_with_any_parameters() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    for (sent, expected) in [
        ("application/grpc;x=y", "application/grpc"),
        ("application/grpc; charset=utf-8", "application/grpc"),
        ("APPLICATION/GRPC", "application/grpc"),
        ("APPLICATION/GRPC+proto", "application/grpc"),
        ("application/gRPC+proto ;a=b;c", "application/grpc"),
        ("Application/Grpc-Web", "application/grpc-web"),
        ("application/grpc-web+proto;x", "application/grpc-web"),
        ("APPLICATION/GRPC-WEB-TEXT+PROTO; x=y", "application/grpc-web-text"),
    ] {
        for key in ["", WRONG] {
            let call = Request::post("/").header("content-type", sent).header("x-api-key", key);
            let reply = ask(&layer, call);
            assert_eq!(reply.status(), 200, "{sent}");
            assert_eq!(reply.lines("content-type"), [expected], "{sent}");
            assert_eq!(reply.lines("grpc-status"), ["16"], "{sent}");
        }
        let get = Request::get("/").header("content-type", sent);
        assert_eq!(ask(&layer, get).status(), 401, "GET {sent}");
    }
}

#[test]
fn the_reason_shows_how_the_key_was_sent_and_the_response_does_not() {
    let later = || {
        verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            None::<Client>
        })
    };
    for form in [HTTP, GRPC] {
        for optional in [false, true] {
            let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
            let layer = if optional { layer.optional() } else { layer };
            let waiting = ApiKeyLayer::new((header("x-api-key"), bearer()), later());
            let missing = ask(&layer, form());
            for (line, reason) in [
                (KEY.to_owned(), "no_scheme"),
                (format!(" {KEY} "), "no_scheme"),
                (format!("Basic {KEY}"), "other_scheme"),
                (format!("Token {KEY}"), "other_scheme"),
                ("Bearer".to_owned(), "missing"),
                (String::new(), "missing"),
            ] {
                let reply = ask(&layer, form().header("authorization", &line));
                assert_eq!(reply.wire(), missing.wire(), "{line}");
                if optional {
                    let anonymous = reply.seen().extensions.get::<Anonymous>().unwrap();
                    let (head, _) =
                        anonymous.reject(RequestHead::of_parts(reply.seen())).into_parts();
                    let shown = head.extensions.get::<Rejection>().unwrap();
                    assert_eq!(shown.reason().as_str(), reason, "{line}");
                } else {
                    let rejection = reply.rejection().unwrap();
                    assert_eq!(rejection.reason().as_str(), reason, "{line}");
                    assert_eq!(rejection.kind(), RejectionKind::Missing, "{line}");
                    assert_eq!(rejection.location(), None, "{line}");
                }
            }
            let wrong = ask(&layer, form().header("x-api-key", WRONG));
            for (line, reason) in [
                (format!("Bearer {KEY}"), "scheme_in_header"),
                (format!("bEARER {WRONG}"), "scheme_in_header"),
                ("Bearer".to_owned(), "unknown"),
                ("Bearer-".to_owned() + KEY, "unknown"),
                (format!("Basic {KEY}"), "unknown"),
            ] {
                let get = || form().header("x-api-key", &line);
                for reply in [ask(&layer, get()), ask(&waiting, get())] {
                    assert_eq!(reply.wire(), wrong.wire(), "{line}");
                    let rejection = reply.rejection().unwrap();
                    assert_eq!(rejection.reason().as_str(), reason, "{line}");
                    assert_eq!(rejection.kind(), RejectionKind::InvalidKey, "{line}");
                }
            }
        }
    }
    // A layer without a scheme ignores `Authorization`, and a scheme in a cookie.
    let elsewhere = ApiKeyLayer::new((cookie("sid"), query("k")), keys());
    let reply = ask(&elsewhere, HTTP().header("authorization", KEY));
    assert_eq!(reply.outcome(), "401 missing");
    let reply = ask(&elsewhere, HTTP().header("cookie", format!("sid=Bearer {KEY}")));
    assert_eq!(reply.outcome(), "401 unknown");
}

#[test]
fn a_key_that_begins_with_a_scheme_is_verified_and_keeps_the_reason_of_its_record() {
    let named = [("Bearer in-use", "mobile-app"), ("Bearer revoked", "former")];
    let keys = Keyring::new();
    for (key, client) in named {
        // A keyring rejects the text of such a key, because it is usually a mistake.
        keys.insert_digest(KeyDigest::of(key), Client::new(client)).unwrap();
    }
    assert_eq!(keys.revoke_client("former"), 1);
    let failing = keys.clone().or(verify::from_fn(|_| Err::<Option<Client>, _>("down")));
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let get = |key: &str| Request::get("/").header("x-api-key", key);
    assert_eq!(ask(&layer, get("Bearer in-use")).outcome(), "200 mobile-app");
    assert_eq!(ask(&layer, get("Bearer revoked")).outcome(), "401 revoked");
    assert_eq!(ask(&layer, get("Bearer other")).outcome(), "401 scheme_in_header");
    let layer = ApiKeyLayer::new(header("x-api-key"), failing);
    assert_eq!(ask(&layer, get("Bearer other")).outcome(), "503 failed");
}
