//! The layer compared with the oracle, for requests of any form and layers of any configuration.
//!
//! The oracle is a second implementation of the rules for requests. `fuzz/` uses it too.

use crate::support;

use std::cell::Cell;

#[cfg(feature = "axum")]
use axum::extract::OriginalUri;
use http::{HeaderValue, Request, Response, Uri, header::COOKIE, request};
use http_body_util::Full;
use proptest::prelude::*;
use support::{
    Any, KEY, OTHER, Reply, SPOTS, WRONG, ask, ask_of, escaped, keys,
    oracle::{
        Find, KeyLocation, Left, Reading, Verdict, grpc, is_preflight, status_of, uri_without,
    },
};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, Exempt, KeyDigest, Keyring, Rejection,
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, header, query, scheme,
    },
    rejection::RejectionKind,
    verify::{self, Verify},
};

/// The default for the length of the longest key.
const CAP: usize = 1024;

/// The [`SPOTS`] in the type of the oracle.
const LOCATIONS: [KeyLocation; 6] = [
    KeyLocation::Header("x-api-key"),
    KeyLocation::Query("api_key"),
    KeyLocation::Cookie("sid"),
    KeyLocation::Scheme("Bearer"),
    KeyLocation::Scheme("Token"),
    KeyLocation::Header("x-own"),
];

fn client_of(key: &[u8]) -> Result<&'static str, &'static str> {
    match () {
        () if key == KEY.as_bytes() => Ok("mobile-app"),
        () if key == OTHER.as_bytes() => Ok("ci"),
        () => Err("unknown"),
    }
}

/// Returns the verdict of a layer with defaults.
fn default_verdict(reading: &Reading) -> Verdict {
    reading.verdict(CAP, false, client_of)
}

/// Returns the text of [`Reply::outcome`]. A gRPC rejection has the status 200.
fn outcome(verdict: Verdict, request: &request::Parts) -> String {
    match verdict {
        Verdict::Exempt | Verdict::Preflight | Verdict::Anonymous => "200 -".to_owned(),
        Verdict::Client(client, _) => format!("200 {client}"),
        Verdict::Rejected(reason, _) if grpc(request).is_some() => format!("200 {reason}"),
        Verdict::Rejected(reason, _) => format!("{} {reason}", status_of(reason)),
    }
}

/// Checks that the library and the oracle find the same bytes and decide alike.
fn check_read(
    extractor: impl Extract,
    location: KeyLocation,
    request: impl Fn() -> request::Builder,
) {
    let found = match extractor.extract(RequestHead::of(&request().body(()).unwrap())) {
        Extracted::Absent => Reading::Nothing,
        Extracted::Ambiguous => Reading::TooMany,
        Extracted::Found(found) => Reading::One(found.expose().map(<[u8]>::to_vec), location),
    };
    let before = parts(request());
    assert_eq!(found, location.read(&before));
    let layer = ApiKeyLayer::new(extractor, keys());
    let verdict = default_verdict(&found).with_hint(&before, &[location]);
    assert_eq!(ask(&layer, request()).outcome(), outcome(verdict, &before));
}

/// Checks that these locations are empty and that nothing else was removed.
fn check_stripped(locations: &[KeyLocation], before: &request::Parts, seen: &request::Parts) {
    let left = Left::of(seen);
    assert_eq!(left, Left::without(locations.iter().copied(), before));
    assert_eq!(left, Left::without(locations.iter().copied(), seen));
}

fn parts(request: request::Builder) -> request::Parts {
    request.body(()).unwrap().into_parts().0
}

// --------------------------------------------------------------------------------------------
// The query.

/// Returns queries with many mistakes.
fn queries() -> impl Strategy<Value = String> {
    const NAMES: [&str; 9] = [
        "api_key",
        "%61pi_key",
        "api%5fkey",
        "api_ke%79",
        "API_KEY",
        "api_key2",
        "api+key",
        "x",
        "",
    ];
    const VALUES: [&str; 15] = [
        KEY,
        OTHER,
        "%EF%BF%BD",
        "%FF",
        "%00",
        "%zz",
        "%",
        "%4",
        "+",
        "%20",
        "%2B",
        "=",
        ";",
        "?",
        "/",
    ];
    let value = prop_oneof![
        4 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => Just(escaped(KEY.as_bytes())),
        1 => Just(KEY.replace('-', "%2d")),
        1 => Just(format!("{KEY}%")),
        1 => Just("k".repeat(1025)),
        2 => "[!$-;=?-Z\\\\_a-z~|{}^`\u{e9}\u{2603}]{0,6}",
    ];
    let name = prop_oneof![
        6 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => "[!$-;?-Z_a-z%+]{0,4}",
    ];
    let pair = (name, prop::option::weighted(0.9, value)).prop_map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name,
    });
    prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
}

proptest! {
    #![proptest_config(support::cases(2000))]

    // R22. For the query this shows R8, R9, R10 and R21 too.
    #[test]
    fn r22_a_query_is_read_as_the_url_standard_says(query in queries()) {
        let Ok(uri) = format!("/p?{query}").parse::<Uri>() else { return Ok(()) };
        check_read(extract::query("api_key"), KeyLocation::Query("api_key"), || Request::get(&uri));
    }

    // Kong, Envoy, APISIX and Tyk encode the whole query again.
    #[test]
    fn r23_the_query_loses_exactly_the_matching_pairs(
        before in prop_oneof![
            Just("/"), Just("//h/p"), Just("/a%2fb/../%zz;x"), Just("http://u@h/"),
            Just("http://example.com:80/p"),
        ],
        query in queries(),
    ) {
        let text = format!("{before}?{query}");
        let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
        let layer = ApiKeyLayer::new((extract::query("api_key"), header("x")), keys());
        let reply = ask(&layer.exempt_if(|_| true), Request::get(&uri));
        prop_assert_eq!(reply.seen().uri.to_string(), uri_without(&text, "api_key"));
        check_stripped(&[KeyLocation::Query("api_key")], &parts(Request::get(uri)), reply.seen());
    }
}

// --------------------------------------------------------------------------------------------
// Cookies.

fn cookie_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        3 => Just(b"sid=".to_vec()),
        2 => Just(KEY.as_bytes().to_vec()),
        1 => Just(OTHER.as_bytes().to_vec()),
        3 => Just(b"; ".to_vec()),
        1 => prop::sample::select(vec![";", " ", "\t", "=", "\"", ",", "SID=", "a=1", "\u{e9}", "sid"])
            .prop_map(Vec::from),
    ];
    let line = prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat());
    prop::collection::vec(line, 0..6)
}

fn with_cookies(lines: &[Vec<u8>]) -> request::Builder {
    lines.iter().fold(Request::get("/"), |request, line| request.header(COOKIE, &**line))
}

proptest! {
    #![proptest_config(support::cases(2000))]

    #[test]
    fn r10_cookies_are_read_as_rfc_6265_says(lines in cookie_lines()) {
        check_read(cookie("sid"), KeyLocation::Cookie("sid"), || with_cookies(&lines));
    }

    #[test]
    fn r23_cookie_lines_lose_the_pair_and_keep_all_others_in_their_order(lines in cookie_lines()) {
        let layer = ApiKeyLayer::new(cookie("sid"), keys()).exempt_if(|_| true);
        let reply = ask(&layer, with_cookies(&lines));
        check_stripped(&[KeyLocation::Cookie("sid")], &parts(with_cookies(&lines)), reply.seen());
    }
}

// --------------------------------------------------------------------------------------------
// `Authorization`.

proptest! {
    #![proptest_config(support::cases(2000))]

    #[test]
    fn r7_r21_authorization_is_read_as_rfc_9110_says(pieces in prop::collection::vec(
        prop_oneof![
            4 => prop::sample::select(vec!["Bearer", "bearer", "BEARER "]).prop_map(Vec::from),
            4 => Just(KEY.as_bytes().to_vec()),
            4 => Just(b" ".to_vec()),
            1 => Just("k".repeat(1025).into_bytes()),
            3 => prop::collection::vec(0x20_u8..=0xFF, 0..3),
            1 => prop::sample::select(vec!["Basic ", "\t", "=", "==", ",", "\"", "Bea", "rer"])
                .prop_map(Vec::from),
        ], 0..6)
    ) {
        let Ok(line) = HeaderValue::from_bytes(&pieces.concat()) else { return Ok(()) };
        let request = || Request::get("/").header("authorization", &line);
        check_read(bearer(), KeyLocation::Scheme("Bearer"), request);
    }
}

// --------------------------------------------------------------------------------------------
// Requests of any form.

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "X-OWN"];

const NAMES: [&str; 14] = [
    "x-api-key",
    "x-own",
    "authorization",
    "cookie",
    "origin",
    "access-control-request-method",
    "content-type",
    "host",
    "connection",
    "x-other",
    "content-length",
    "transfer-encoding",
    "forwarded",
    "x-forwarded-proto",
];

const VALUES: [&str; 18] = [
    KEY,
    "",
    " ",
    "Bearer ",
    "Basic dTpw",
    "sid=",
    ";",
    ",",
    "\"",
    "application/grpc",
    "application/grpc-web+proto",
    "POST",
    "http://example.com",
    "x-api-key",
    "a=1",
    "\t",
    "=",
    "%",
];

/// Headers of well-behaved callers.
const SENT: [(&str, &str); 15] = [
    ("x-api-key", "KEY"),
    ("x-own", " KEY\t"),
    ("authorization", "bearer KEY"),
    ("authorization", "Token  KEY"),
    ("cookie", "sid=KEY"),
    ("cookie", "a=1; sid=\"KEY\"; b=2"),
    ("content-type", "application/grpc"),
    ("content-type", "application/grpc-web+proto"),
    ("content-type", "application/grpc+"),
    ("content-type", "application/grpc;x"),
    ("content-type", "APPLICATION/gRPC-Web-Text ; x=y"),
    ("x-api-key", "bEARER KEY"),
    ("authorization", "KEY"),
    ("authorization", "Basic dTpw"),
    ("x-forwarded-proto", "https"),
];

const PREFLIGHT: [(&str, &str); 2] =
    [("origin", "http://example.com"), ("access-control-request-method", "PUT")];

/// One path that can be exempt, and similar paths.
const PATHS: [&str; 8] =
    ["/open", "/open", "/open", "/open/", "//open", "/Open", "/%6fpen", "/open;x"];

#[derive(Clone, Debug)]
struct Shape {
    method: &'static str,
    uri: String,
    headers: Vec<(&'static str, Vec<u8>)>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let piece = prop_oneof![
        3 => prop::sample::select(&VALUES[..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let value = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    let sent =
        (prop::sample::select(&SENT[..]), prop::sample::select(&[KEY, KEY, OTHER, WRONG][..]));
    let header = prop_oneof![
        1 => (prop::sample::select(&NAMES[..]), value),
        1 => sent.prop_map(|((name, value), key)| (name, value.replace("KEY", key).into_bytes())),
    ];
    let target = prop_oneof![
        4 => queries().prop_map(|query| format!("/p?{query}")),
        3 => (prop::sample::select(&PATHS[..]), queries())
            .prop_map(|(path, query)| format!("{path}?{query}")),
        1 => Just("*".to_owned()),
        1 => Just("example.com:443".to_owned()),
        1 => queries().prop_map(|query| format!("http://example.com?{query}")),
        1 => "/?\\PC{0,20}",
    ];
    let headers = prop::collection::vec(header, 0..5);
    let is_preflight = prop::bool::weighted(0.1);
    (prop::sample::select(&METHODS[..]), target, headers, is_preflight).prop_map(
        |(mut method, uri, mut headers, is_preflight)| {
            if is_preflight {
                method = "OPTIONS";
                headers.extend(PREFLIGHT.map(|(name, value)| (name, value.into())));
            }
            Shape { method, uri, headers }
        },
    )
}

/// Returns `None` if no server could have parsed the request.
fn request(shape: &Shape) -> Option<request::Builder> {
    let uri: Uri = shape.uri.parse().ok()?;
    let request = Request::builder().method(shape.method).uri(uri);
    let headers = shape
        .headers
        .iter()
        .map(|(name, value)| HeaderValue::from_bytes(value).ok().map(|value| (*name, value)));
    headers.collect::<Option<Vec<_>>>().map(|headers| {
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    })
}

type Five = [tower_api_key::KeyLocation; 5];

fn all() -> Five {
    [header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token")]
}

fn as_seen(parts: &request::Parts) -> request::Builder {
    let request = Request::builder().method(parts.method.clone()).uri(parts.uri.clone());
    parts.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

proptest! {
    #![proptest_config(support::cases(2000))]

    #[test]
    fn r28_r38_no_request_panics_and_only_the_right_requests_are_accepted(shape in shapes()) {
        let Some(builder) = request(&shape) else { return Ok(()) };
        let before = parts(builder);
        let ask = |layer: &ApiKeyLayer<_, _>| ask(layer, request(&shape).unwrap());
        let five = &LOCATIONS[..5];
        let find = || five.iter().copied().map(Find::At).collect();
        let reading = Find::OneOf(find()).read(&before);

        let plain = ApiKeyLayer::new(all(), keys());
        let reply = ask(&plain);
        prop_assert_eq!(reply.outcome(), outcome(default_verdict(&reading).with_hint(&before, five), &before), "{:?}", reading);

        if let Some(rejection) = reply.rejection() {
            let is_grpc = !reply.lines("grpc-status").is_empty();
            prop_assert_eq!(is_grpc, grpc(&before).is_some());
            prop_assert_eq!(reply.status(), if is_grpc { 200 } else { rejection.status().as_u16() });
            prop_assert!(reply.status() != 401 || !reply.lines("www-authenticate").is_empty());
            prop_assert_eq!(reply.lines("cache-control"), ["no-store"]);
            prop_assert!(!reply.wire().contains(KEY) && !reply.wire().contains(OTHER));
        }
        if let Some(seen) = &reply.seen {
            // The request that the inner service received has no key.
            prop_assert!(five.iter().all(|location| location.read(seen) == Reading::Nothing));
            check_stripped(five, &before, seen);
            let again = support::ask(&plain, as_seen(seen));
            prop_assert_eq!(again.rejection().map(Rejection::kind), Some(RejectionKind::Missing));
        }

        let optional = ask(&plain.clone().optional());
        let verdict = reading.verdict(CAP, true, client_of).with_hint(&before, five);
        prop_assert_eq!(optional.outcome(), outcome(verdict, &before), "{:?}", reading);

        let first = support::ask(&ApiKeyLayer::new(first_of(all()), keys()), request(&shape).unwrap());
        let reading = Find::FirstOf(find()).read(&before);
        prop_assert_eq!(first.outcome(), outcome(default_verdict(&reading).with_hint(&before, five), &before), "{:?}", reading);

        let forwarding = ask(&plain.clone().forward_key().optional());
        if let Some(seen) = &forwarding.seen {
            prop_assert_eq!((&seen.uri, &seen.headers), (&before.uri, &before.headers));
        }
        let exempt = ask(&plain.exempt_if(|_| true));
        prop_assert_eq!(exempt.outcome(), "200 -");
    }
}

// --------------------------------------------------------------------------------------------
// Layers of any configuration.

#[derive(Clone, Copy, Debug)]
enum VerifierKind {
    Keys,
    KeysLater,
    NoKeys,
    Failing,
    FailingLater,
}

#[derive(Clone, Debug)]
struct Configuration {
    /// Indices of [`SPOTS`], in their order.
    locations: Vec<usize>,
    is_first_of: bool,
    verifier: VerifierKind,
    cap: usize,
    optional: bool,
    exempt_path: bool,
    exempt_if: bool,
    pass_preflight: bool,
    forward_key: bool,
    /// `None` if no secure connection is required, or whether the connection is secure.
    secure: Option<bool>,
    report_only: bool,
}

/// The mark of a secure connection.
#[derive(Clone)]
struct Secure;

fn configurations() -> impl Strategy<Value = Configuration> {
    use VerifierKind::{Failing, FailingLater, Keys, KeysLater, NoKeys};

    let locations = (Just((0..SPOTS.len()).collect::<Vec<_>>()).prop_shuffle(), 1..=SPOTS.len());
    let verifier = prop::sample::select(
        &[Keys, Keys, Keys, KeysLater, KeysLater, NoKeys, Failing, FailingLater][..],
    );
    let seldom = || prop::bool::weighted(0.25);
    (
        (locations, any::<bool>(), verifier, prop::sample::select(&[CAP, CAP, CAP, 40, 8][..])),
        (any::<bool>(), seldom(), seldom(), any::<bool>(), seldom()),
        (prop::option::weighted(0.3, any::<bool>()), seldom()),
    )
        .prop_map(
            |((locations, is_first_of, verifier, cap), switches, (secure, report_only))| {
                let (mut locations, how_many) = locations;
                locations.truncate(how_many);
                let (optional, exempt_path, exempt_if, pass_preflight, forward_key) = switches;
                Configuration {
                    locations,
                    is_first_of,
                    verifier,
                    cap,
                    optional,
                    exempt_path,
                    exempt_if,
                    pass_preflight,
                    forward_key,
                    secure,
                    report_only,
                }
            },
        )
}

impl Configuration {
    /// Sends a request through a layer of this configuration.
    fn ask(&self, request: request::Builder) -> Reply {
        let later = verify::from_async_fn(|digest| async move {
            tokio::task::yield_now().await;
            let client = [(KEY, "mobile-app"), (OTHER, "ci")]
                .into_iter()
                .find(|(key, _)| digest == KeyDigest::of(key));
            client.map(|(_, id)| Client::new(id))
        });
        match self.verifier {
            VerifierKind::Keys => self.ask_with(keys(), request),
            VerifierKind::KeysLater => self.ask_with(Keyring::new().or(later), request),
            VerifierKind::NoKeys => self.ask_with(Keyring::new(), request),
            VerifierKind::Failing => {
                self.ask_with(verify::from_fn(|_| Err::<Option<Client>, _>("down")), request)
            }
            VerifierKind::FailingLater => {
                let fails = |_| async { Err::<Option<Client>, _>("down") };
                self.ask_with(verify::from_async_fn(fails), request)
            }
        }
    }

    fn ask_with<V>(&self, verify: V, request: request::Builder) -> Reply
    where
        V: Verify<Client = Client>,
    {
        let extractors = self.locations.iter().map(|spot| (SPOTS[*spot].extract)());
        let two = |one: Any, two: Any| -> Any {
            if self.is_first_of { Box::new(first_of((one, two))) } else { Box::new((one, two)) }
        };
        let mut layer = ApiKeyLayer::new(extractors.reduce(two).unwrap(), verify);
        layer = layer.max_key_len(self.cap);
        if self.optional {
            layer = layer.optional();
        }
        if self.exempt_path {
            layer = layer.exempt_path("/open");
        }
        if self.exempt_if {
            layer = layer.exempt_if(|head| head.headers().contains_key("x-other"));
        }
        if self.pass_preflight {
            layer = layer.pass_preflight();
        }
        if self.forward_key {
            layer = layer.forward_key();
        }
        let mut request = request.extension(Client::new("planted"));
        if let Some(secure) = self.secure {
            layer = layer.require_secure(|head| head.extensions().get::<Secure>().is_some());
            request = if secure { request.extension(Secure) } else { request };
        }
        if self.report_only {
            layer = layer.dangerous_report_only();
        }
        let calls = Cell::new(0);
        #[cfg(feature = "axum")]
        let request = {
            let whole = OriginalUri(request.uri_ref().unwrap().clone());
            request.extension(whole)
        };
        let reply = ask_of(&layer, request, |_| {
            calls.set(calls.get() + 1);
            Response::new(Full::from("hello"))
        });
        assert_eq!(
            calls.get(),
            usize::from(reply.seen.is_some()),
            "the service is called once or never"
        );
        reply
    }

    /// Returns the expected outcome, and the reason that the inner service should find in report-only mode.
    fn expected(&self, request: &request::Parts) -> (String, Option<&'static str>) {
        match self.verdict(request) {
            Verdict::Rejected(reason, _) if self.report_only => ("200 -".to_owned(), Some(reason)),
            verdict => (outcome(verdict, request), None),
        }
    }

    fn verdict(&self, request: &request::Parts) -> Verdict {
        let is_exempt = (self.exempt_path && request.uri.path() == "/open")
            || (self.exempt_if && request.headers.contains_key("x-other"));
        match () {
            () if is_exempt => Verdict::Exempt,
            () if self.secure == Some(false) => Verdict::Rejected("insecure", None),
            () if self.pass_preflight && is_preflight(request) => Verdict::Preflight,
            () => {
                let reading = self.find().read(request);
                let verdict = reading.verdict(self.cap, self.optional, |key| self.client_of(key));
                verdict.with_hint(request, &self.find().locations())
            }
        }
    }

    fn find(&self) -> Find {
        let locations = self.locations.iter().map(|spot| Find::At(LOCATIONS[*spot])).collect();
        if self.is_first_of { Find::FirstOf(locations) } else { Find::OneOf(locations) }
    }

    fn client_of(&self, key: &[u8]) -> Result<&'static str, &'static str> {
        match self.verifier {
            VerifierKind::Keys | VerifierKind::KeysLater => client_of(key),
            VerifierKind::NoKeys => Err("unknown"),
            VerifierKind::Failing | VerifierKind::FailingLater => Err("failed"),
        }
    }

    /// Checks that a guard inside returns the rejection that the layer only reported.
    fn check_reported(&self, sent: request::Builder, seen: &request::Parts) {
        let anonymous = seen.extensions.get::<Anonymous>().unwrap();
        let strict = Self { report_only: false, ..self.clone() }.ask(sent);
        let (head, body) = anonymous.reject(RequestHead::of_parts(seen)).into_parts();
        let reported = Reply { head, body, ended: true, seen: None };
        assert_eq!(reported.wire(), strict.wire());
        assert_eq!(reported.reason(), strict.reason());
    }

    /// Compares the request that the inner service received with the one that was sent.
    fn check_rest(&self, before: &request::Parts, seen: &request::Parts) {
        let verdict = self.verdict(before);
        let locations = self.find().locations().into_iter();
        let (stay, go): (Vec<_>, Vec<_>) =
            locations.partition(|location| location.stays(self.forward_key, &verdict));
        check_stripped(&go, before, seen);
        let exempt = seen.extensions.get::<Exempt>();
        assert_eq!(exempt.is_some(), matches!(verdict, Verdict::Exempt | Verdict::Preflight));
        #[cfg(feature = "axum")]
        assert_eq!(
            seen.extensions.get::<OriginalUri>().unwrap().0.to_string(),
            seen.uri.to_string()
        );
        for (name, line) in &seen.headers {
            let may_hold_a_key =
                stay.iter().any(|location| location.header() == Some(name.as_str()));
            assert_eq!(line.is_sensitive(), may_hold_a_key, "{name}");
        }
    }
}

proptest! {
    #![proptest_config(support::cases(3000))]

    #[test]
    fn r23_r38_any_layer_accepts_the_right_requests_and_removes_only_keys(
        configuration in configurations(),
        shape in shapes(),
    ) {
        let Some(builder) = request(&shape) else { return Ok(()) };
        let before = parts(builder);
        let reply = configuration.ask(request(&shape).unwrap());
        let (outcome, reported) = configuration.expected(&before);
        prop_assert_eq!(reply.outcome(), outcome);
        if let Some(seen) = &reply.seen {
            configuration.check_rest(&before, seen);
            let rejection = seen.extensions.get::<Rejection>();
            prop_assert_eq!(rejection.map(|it| it.reason().as_str()), reported);
            if reported.is_some() {
                configuration.check_reported(request(&shape).unwrap(), seen);
            }
        }
    }
}
