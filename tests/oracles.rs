//! An independent reading of query, cookies and `Authorization`, spelled out byte by byte from the
//! standards, against which the layer is held; requests of any shape, and layers of any
//! configuration.

mod support;

use std::cell::Cell;

#[cfg(feature = "axum")]
use axum::extract::OriginalUri;
use http::{HeaderValue, Request, Response, Uri, header::COOKIE, request};
use http_body_util::Full;
use proptest::prelude::*;
use support::{Any, KEY, OTHER, Reply, SPOTS, WRONG, ask, ask_of, escaped, keys};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, KeyDigest, Keyring, Rejection,
    extract::{
        self, Cookie, Header, Query, Scheme, bearer, cookie, first_of, header, query, scheme,
    },
    rejection::Reason,
    verify::{self, Answer, Verify},
};

/// The longest key that is read, where nothing else is said.
const CAP: usize = 1024;

/// What stands in a place, by the small print of DESIGN §6.
fn judged(values: &[Option<Vec<u8>>], cap: usize) -> &'static str {
    match values {
        [] => "401 missing",
        [None] => "401 malformed",
        [Some(key)] if key.iter().all(|byte| matches!(byte, b' ' | b'\t')) => "401 missing",
        [Some(key)] if key.len() > cap => "401 too_long",
        [Some(key)] if !key.iter().all(|byte| (0x20..=0x7E).contains(byte)) => "401 malformed",
        [Some(key)] if key.starts_with(b" ") || key.ends_with(b" ") => "401 malformed",
        [Some(key)] if key == KEY.as_bytes() => "200 mobile-app",
        [Some(key)] if key == OTHER.as_bytes() => "200 ci",
        [Some(_)] => "401 unknown",
        _ => "400 ambiguous",
    }
}

// --------------------------------------------------------------------------------------------
// The query: the `application/x-www-form-urlencoded` parser of the WHATWG URL standard, §5.1.

struct Pair<'a> {
    raw: &'a str,
    name: Vec<u8>,
    /// `None` if a `%` is not followed by two hexadecimal digits.
    value: Option<Vec<u8>>,
}

fn pairs(query: &str) -> Vec<Pair<'_>> {
    let pair = |raw| {
        let bytes = str::as_bytes(raw);
        let equals = bytes.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &b""[..]),
        };
        let (value, is_well_escaped) = decoded(value);
        Pair { raw, name: decoded(name).0, value: is_well_escaped.then_some(value) }
    };
    query.split('&').map(pair).collect()
}

fn decoded(text: &[u8]) -> (Vec<u8>, bool) {
    let (mut bytes, mut is_well_escaped, mut at) = (Vec::new(), true, 0);
    while at < text.len() {
        let hex = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'+', ..) => bytes.push(b' '),
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (byte, ..) => {
                is_well_escaped &= byte != b'%';
                bytes.push(byte);
            }
        }
        at += 1;
    }
    (bytes, is_well_escaped)
}

fn judged_query(uri: &Uri, cap: usize) -> &'static str {
    let pairs = pairs(uri.query().unwrap_or_default());
    let ours = pairs.into_iter().filter(|pair| pair.name == b"api_key");
    judged(&ours.map(|pair| pair.value).collect::<Vec<_>>(), cap)
}

fn left_of_query(uri: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let (ours, others): (Vec<_>, Vec<_>) =
        pairs(query).into_iter().partition(|pair| pair.name == b"api_key");
    match (ours.len(), others.len()) {
        (0, _) => uri.to_owned(),
        (_, 0) => path.to_owned(),
        _ => format!("{path}?{}", others.iter().map(|pair| pair.raw).collect::<Vec<_>>().join("&")),
    }
}

/// Queries in which much goes wrong.
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

    // R22, and the query's part of R8, R9, R10 and R21.
    #[test]
    fn r22_a_query_is_read_as_the_url_standard_says(query in queries()) {
        let Ok(uri) = format!("/p?{query}").parse::<Uri>() else { return Ok(()) };
        let layer = ApiKeyLayer::new(extract::query("api_key"), keys());
        prop_assert_eq!(ask(&layer, Request::get(&uri)).outcome(), judged_query(&uri, CAP), "{}", uri);
    }

    // Gateways A3.3: Kong, Envoy, APISIX and Tyk all write the query anew.
    #[test]
    fn r23_the_query_loses_the_matching_pairs_and_not_another_byte(
        before in prop_oneof![
            Just("/"), Just("//h/p"), Just("/a%2fb/../%zz;x"), Just("http://u@h/"),
            Just("http://example.com:80/p"),
        ],
        query in queries(),
    ) {
        let text = format!("{before}?{query}");
        let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
        let layer = ApiKeyLayer::new((extract::query("api_key"), header("x")), keys());
        let reply = ask(&layer.exempt_if(|_| true), Request::get(uri));
        prop_assert_eq!(reply.seen().uri.to_string(), left_of_query(&text));
    }
}

// --------------------------------------------------------------------------------------------
// Cookies: RFC 6265 §5.4 as a server reads it, and the small print.

/// What stands between two semicolons; without a `=` it has no name.
struct Crumb<'a> {
    raw: &'a [u8],
    name: Option<&'a [u8]>,
    value: &'a [u8],
}

fn crumbs(line: &[u8]) -> impl Iterator<Item = Crumb<'_>> {
    line.split(|byte| *byte == b';').map(|raw| {
        let Some(at) = raw.iter().position(|byte| *byte == b'=') else {
            return Crumb { raw, name: None, value: b"" };
        };
        let mut value = raw[at + 1..].trim_ascii();
        if value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"") {
            value = &value[1..value.len() - 1];
        }
        Crumb { raw, name: Some(raw[..at].trim_ascii()), value }
    })
}

fn is_sid(crumb: &Crumb<'_>) -> bool {
    crumb.name == Some(b"sid")
}

fn judged_cookies(lines: &[Vec<u8>], cap: usize) -> &'static str {
    let ours = lines.iter().flat_map(|line| crumbs(line)).filter(is_sid);
    judged(&ours.map(|crumb| Some(crumb.value.to_vec())).collect::<Vec<_>>(), cap)
}

/// The lines that are left, each as the crumbs that hold something.
fn left_of_cookies(lines: &[Vec<u8>]) -> Vec<Vec<&[u8]>> {
    let left = |line| -> Vec<_> {
        let others = crumbs(line).filter(|crumb| !is_sid(crumb));
        others.map(|crumb| crumb.raw.trim_ascii()).filter(|raw| !raw.is_empty()).collect()
    };
    lines.iter().map(|line| left(line)).filter(|line| !line.is_empty()).collect()
}

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
        let layer = ApiKeyLayer::new(cookie("sid"), keys());
        prop_assert_eq!(ask(&layer, with_cookies(&lines)).outcome(), judged_cookies(&lines, CAP));
    }

    #[test]
    fn r23_cookie_lines_lose_the_pair_and_keep_all_others_in_their_order(lines in cookie_lines()) {
        let layer = ApiKeyLayer::new(cookie("sid"), keys()).exempt_if(|_| true);
        let reply = ask(&layer, with_cookies(&lines));
        let left: Vec<_> =
            reply.seen().headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec()).collect();
        prop_assert!(!left.iter().flat_map(|line| crumbs(line)).any(|crumb| is_sid(&crumb)));
        prop_assert_eq!(left_of_cookies(&left), left_of_cookies(&lines));
        if !lines.iter().flat_map(|line| crumbs(line)).any(|crumb| is_sid(&crumb)) {
            prop_assert_eq!(left, lines, "where nothing had to go, not a byte has changed");
        }
    }
}

// --------------------------------------------------------------------------------------------
// `Authorization`: RFC 9110 §11.4, `credentials = auth-scheme [ 1*SP ( token68 / … ) ]`.

fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// The scheme, and what follows it.
fn scheme_of(line: &[u8]) -> (&[u8], &[u8]) {
    let line = trimmed(line);
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    line.split_at(line.iter().take_while(|byte| is_tchar(byte)).count())
}

fn judged_authorization(line: &[u8], ours: &str, cap: usize) -> &'static str {
    let (scheme, rest) = scheme_of(line);
    if !scheme.eq_ignore_ascii_case(ours.as_bytes()) || rest.is_empty() {
        return "401 missing";
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[spaces..];
    let characters = token
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
        .count();
    if spaces == 0 || characters == 0 || token[characters..].iter().any(|byte| *byte != b'=') {
        return "401 malformed";
    }
    judged(&[Some(token.to_vec())], cap)
}

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
        let layer = ApiKeyLayer::new(bearer(), keys());
        let reply = ask(&layer, Request::get("/").header("authorization", &line));
        let outcome = judged_authorization(line.as_bytes(), "Bearer", CAP);
        prop_assert_eq!(reply.outcome(), outcome, "{:?}", line);
    }
}

// --------------------------------------------------------------------------------------------
// Requests of any shape.

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

/// What well-behaved callers send.
const SENT: [(&str, &str); 12] = [
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
    ("authorization", "Basic dTpw"),
    ("x-forwarded-proto", "https"),
];

const PREFLIGHT: [(&str, &str); 2] =
    [("origin", "http://example.com"), ("access-control-request-method", "PUT")];

/// One path that may be open, and some that it is not.
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

/// `None` for what no server could have parsed.
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

fn lines(parts: &request::Parts, name: &str) -> Vec<Vec<u8>> {
    parts.headers.get_all(name).iter().map(|line| line.as_bytes().to_vec()).collect()
}

/// What stands in one of the [`SPOTS`].
fn judged_spot(parts: &request::Parts, spot: usize, cap: usize) -> &'static str {
    let header = |name| {
        let values = lines(parts, name).into_iter().map(|line| Some(trimmed(&line).to_vec()));
        judged(&values.collect::<Vec<_>>(), cap)
    };
    let authorization = |scheme| match &lines(parts, "authorization")[..] {
        [] => "401 missing",
        [line] => judged_authorization(line, scheme, cap),
        _ => "400 ambiguous",
    };
    match spot {
        0 => header("x-api-key"),
        1 => judged_query(&parts.uri, cap),
        2 => judged_cookies(&lines(parts, "cookie"), cap),
        3 => authorization("Bearer"),
        4 => authorization("Token"),
        _ => header("x-own"),
    }
}

/// What stands in each of the five places of [`all`].
fn judged_places(parts: &request::Parts) -> [&'static str; 5] {
    [0, 1, 2, 3, 4].map(|spot| judged_spot(parts, spot, CAP))
}

type Five = (Header, Query, Cookie, Scheme, Scheme);

fn all() -> Five {
    (header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token"))
}

fn as_seen(parts: &request::Parts) -> request::Builder {
    let request = Request::builder().method(parts.method.clone()).uri(parts.uri.clone());
    parts.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn of_grpc(outcome: &str, reply: &Reply) -> String {
    let turned_away_as_grpc = !reply.lines("grpc-status").is_empty();
    if turned_away_as_grpc { format!("200 {}", &outcome[4..]) } else { outcome.to_owned() }
}

proptest! {
    #![proptest_config(support::cases(2000))]

    #[test]
    fn r28_r38_no_request_panics_and_who_comes_in_is_who_should(shape in shapes()) {
        let Some(builder) = request(&shape) else { return Ok(()) };
        let (before, ()) = builder.body(()).unwrap().into_parts();
        let ask = |layer: &ApiKeyLayer<_, _>| ask(layer, request(&shape).unwrap());
        let places = judged_places(&before);
        let mut there = places.into_iter().filter(|place| *place != "401 missing");

        let plain = ApiKeyLayer::new(all(), keys());
        let reply = ask(&plain);
        let outcome = match (there.clone().next(), there.clone().nth(1)) {
            (None, _) => "401 missing",
            (Some(one), None) => one,
            (Some(_), Some(_)) => "400 ambiguous",
        };
        prop_assert_eq!(reply.outcome(), of_grpc(outcome, &reply), "{:?}", places);

        if let Some(rejection) = reply.rejection() {
            let is_grpc = !reply.lines("grpc-status").is_empty();
            prop_assert!(!is_grpc || before.method == "POST");
            prop_assert_eq!(reply.status(), if is_grpc { 200 } else { rejection.status().as_u16() });
            prop_assert!(reply.status() != 401 || !reply.lines("www-authenticate").is_empty());
            prop_assert_eq!(reply.lines("cache-control"), ["no-store"]);
            prop_assert!(!reply.wire().contains(KEY) && !reply.wire().contains(OTHER));
        }
        if let Some(seen) = &reply.seen {
            // Whoever asks with what the inner service was given asks without a key.
            prop_assert_eq!(judged_places(seen), ["401 missing"; 5]);
            prop_assert_eq!(support::ask(&plain, as_seen(seen)).reason(), Some(Reason::Missing));
        }

        let optional = ask(&plain.clone().optional());
        let outcome = if outcome == "401 missing" { "200 -" } else { outcome };
        prop_assert_eq!(optional.outcome(), of_grpc(outcome, &optional), "{:?}", places);

        let first = support::ask(&ApiKeyLayer::new(first_of(all()), keys()), request(&shape).unwrap());
        let outcome = there.next().unwrap_or("401 missing");
        prop_assert_eq!(first.outcome(), of_grpc(outcome, &first), "{:?}", places);

        let forwarding = ask(&plain.clone().forward_key().optional());
        if let Some(seen) = &forwarding.seen {
            prop_assert_eq!((&seen.uri, &seen.headers), (&before.uri, &before.headers));
        }
        let open = ask(&plain.exempt_if(|_| true));
        prop_assert_eq!(open.outcome(), "200 -");
    }
}

// --------------------------------------------------------------------------------------------
// Layers of any configuration.

#[derive(Clone, Copy, Debug)]
enum Doorman {
    Keys,
    KeysLater,
    Nobody,
    Failing,
    FailingLater,
}

#[derive(Clone, Debug)]
struct Configuration {
    /// Which of the [`SPOTS`], in their order.
    places: Vec<usize>,
    takes_first: bool,
    doorman: Doorman,
    cap: usize,
    optional: bool,
    exempt_path: bool,
    exempt_if: bool,
    pass_preflight: bool,
    forward_key: bool,
    /// Where it is wanted, whether the connection is.
    secure: Option<bool>,
    report_only: bool,
}

/// A connection that is secure.
#[derive(Clone)]
struct Secure;

fn configurations() -> impl Strategy<Value = Configuration> {
    use Doorman::{Failing, FailingLater, Keys, KeysLater, Nobody};

    let places = (Just((0..SPOTS.len()).collect::<Vec<_>>()).prop_shuffle(), 1..=SPOTS.len());
    let doorman = prop::sample::select(
        &[Keys, Keys, Keys, KeysLater, KeysLater, Nobody, Failing, FailingLater][..],
    );
    let seldom = || prop::bool::weighted(0.25);
    (
        (places, any::<bool>(), doorman, prop::sample::select(&[CAP, CAP, CAP, 40, 8][..])),
        (any::<bool>(), seldom(), seldom(), any::<bool>(), seldom()),
        (prop::option::weighted(0.3, any::<bool>()), seldom()),
    )
        .prop_map(|((places, takes_first, doorman, cap), switches, (secure, report_only))| {
            let (mut places, how_many) = places;
            places.truncate(how_many);
            let (optional, exempt_path, exempt_if, pass_preflight, forward_key) = switches;
            Configuration {
                places,
                takes_first,
                doorman,
                cap,
                optional,
                exempt_path,
                exempt_if,
                pass_preflight,
                forward_key,
                secure,
                report_only,
            }
        })
}

impl Configuration {
    /// What comes of a request, as [`Reply::outcome`] says it.
    fn ask(&self, request: request::Builder) -> Reply {
        let later = verify::from_async_fn(|digest| async move {
            tokio::task::yield_now().await;
            let client = [(KEY, "mobile-app"), (OTHER, "ci")]
                .into_iter()
                .find(|(key, _)| digest == KeyDigest::of(key));
            client.map(|(_, id)| Client::new(id))
        });
        match self.doorman {
            Doorman::Keys => self.ask_with(keys(), request),
            Doorman::KeysLater => self.ask_with(Keyring::new().or(later), request),
            Doorman::Nobody => self.ask_with(Keyring::new(), request),
            Doorman::Failing => {
                self.ask_with(verify::from_fn(|_| Err::<Option<Client>, _>("down")), request)
            }
            Doorman::FailingLater => {
                let fails = |_| async { Err::<Option<Client>, _>("down") };
                self.ask_with(verify::from_async_fn(fails), request)
            }
        }
    }

    fn ask_with<V>(&self, verify: V, request: request::Builder) -> Reply
    where
        V: Verify<Answer: Answer<Client = Client>>,
    {
        let extractors = self.places.iter().map(|spot| (SPOTS[*spot].extract)());
        let two = |one: Any, two: Any| -> Any {
            if self.takes_first { Box::new(first_of((one, two))) } else { Box::new((one, two)) }
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
        assert_eq!(calls.get(), usize::from(reply.seen.is_some()), "called once or never");
        reply
    }

    fn exempts(&self, parts: &request::Parts) -> bool {
        (self.exempt_path && parts.uri.path() == "/open")
            || (self.exempt_if && parts.headers.contains_key("x-other"))
    }

    /// What should come of it, and what the inner service should find that it would have been.
    fn judged(&self, parts: &request::Parts) -> (String, Option<&'static str>) {
        let outcome = self.decided(parts);
        if outcome.starts_with("200") {
            (outcome.to_owned(), None)
        } else if self.report_only {
            ("200 -".to_owned(), Some(&outcome[4..]))
        } else if is_grpc(parts) {
            (format!("200 {}", &outcome[4..]), None)
        } else {
            (outcome.to_owned(), None)
        }
    }

    fn decided(&self, parts: &request::Parts) -> &'static str {
        let has = |name: &str| parts.headers.contains_key(name);
        let is_preflight =
            parts.method == "OPTIONS" && has("origin") && has("access-control-request-method");
        if self.exempts(parts) {
            return "200 -";
        }
        if self.secure == Some(false) {
            return "403 insecure";
        }
        if self.pass_preflight && is_preflight {
            return "200 -";
        }
        let places = self.places.iter().map(|spot| judged_spot(parts, *spot, self.cap));
        let mut there = places.filter(|place| *place != "401 missing");
        let outcome = match (there.next(), there.next()) {
            (None, _) if self.optional => return "200 -",
            (None, _) => "401 missing",
            (Some(_), Some(_)) if !self.takes_first => "400 ambiguous",
            (Some(first), _) => first,
        };
        match (self.doorman, outcome) {
            (Doorman::Failing | Doorman::FailingLater, known)
                if known.starts_with("200") || known == "401 unknown" =>
            {
                "503 failed"
            }
            (Doorman::Nobody, known) if known.starts_with("200") => "401 unknown",
            (_, outcome) => outcome,
        }
    }

    /// A guard further in answers what this layer would have, had it turned the request away.
    fn check_what_was_held_back(&self, sent: request::Builder, anonymous: &Anonymous) {
        let strict = Self { report_only: false, ..self.clone() }.ask(sent);
        let (head, body) = anonymous.reject().into_parts();
        let held_back = Reply { head, body, ended: true, seen: None };
        assert_eq!(held_back.wire(), strict.wire());
        assert_eq!(held_back.reason(), strict.reason());
    }

    /// Holds the request that came in against the one that was sent.
    fn check_what_is_left(&self, before: &request::Parts, seen: &request::Parts) {
        let exempt = self.exempts(before);
        let has = |spot: usize| self.places.contains(&spot);
        let has_scheme = |line: &[u8]| {
            let (scheme, _) = scheme_of(line);
            (has(3) && scheme.eq_ignore_ascii_case(b"Bearer"))
                || (has(4) && scheme.eq_ignore_ascii_case(b"Token"))
        };
        let uri = before.uri.to_string();
        let taken_out = has(1) && !self.forward_key;
        let left = if taken_out { left_of_query(&uri) } else { uri };
        assert_eq!(seen.uri.to_string(), left);
        #[cfg(feature = "axum")]
        assert_eq!(seen.extensions.get::<OriginalUri>().unwrap().0.to_string(), left);

        for name in NAMES {
            let (mut were, are) = (lines(before, name), lines(seen, name));
            let (is_ours, stays) = match name {
                "x-api-key" => (has(0), self.forward_key),
                "x-own" => (has(5), self.forward_key),
                "cookie" => (has(2), self.forward_key),
                "authorization" => (has(3) || has(4), self.forward_key || exempt),
                _ => (false, true),
            };
            if is_ours && stays {
                let mut lines = seen.headers.get_all(name).iter();
                assert!(lines.all(HeaderValue::is_sensitive), "{name}");
            }
            if is_ours && !stays {
                let holds_ours = were.iter().flat_map(|line| crumbs(line)).any(|it| is_sid(&it));
                match name {
                    "cookie" if holds_ours => {
                        assert_eq!(left_of_cookies(&are), left_of_cookies(&were));
                        assert!(!are.iter().flat_map(|line| crumbs(line)).any(|it| is_sid(&it)));
                        continue;
                    }
                    "cookie" => {}
                    "authorization" => were.retain(|line| !has_scheme(line)),
                    _ => were.clear(),
                }
            }
            assert_eq!(are, were, "{name}");
        }
    }
}

/// What the gRPC specifications call a call.
fn is_grpc(parts: &request::Parts) -> bool {
    let [line] = &lines(parts, "content-type")[..] else { return false };
    let (call, suffix) = match line.iter().position(|byte| *byte == b'+') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (&line[..], None),
    };
    let calls = ["application/grpc", "application/grpc-web", "application/grpc-web-text"];
    parts.method == "POST"
        && calls.iter().any(|it| it.as_bytes() == call)
        && suffix.is_none_or(|suffix| !suffix.is_empty())
}

proptest! {
    #![proptest_config(support::cases(3000))]

    #[test]
    fn r23_r38_any_layer_lets_in_whom_it_should_and_leaves_all_but_keys_byte_for_byte(
        configuration in configurations(),
        shape in shapes(),
    ) {
        let Some(builder) = request(&shape) else { return Ok(()) };
        let (before, ()) = builder.body(()).unwrap().into_parts();
        let reply = configuration.ask(request(&shape).unwrap());
        let (outcome, reported) = configuration.judged(&before);
        prop_assert_eq!(reply.outcome(), outcome);
        if let Some(seen) = &reply.seen {
            configuration.check_what_is_left(&before, seen);
            let rejection = seen.extensions.get::<Rejection>();
            prop_assert_eq!(rejection.map(|it| it.reason().as_str()), reported);
            if reported.is_some() {
                let anonymous = seen.extensions.get::<Anonymous>().unwrap();
                configuration.check_what_was_held_back(request(&shape).unwrap(), anonymous);
            }
        }
    }
}
