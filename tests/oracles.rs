//! An independent reading of query, cookies and `Authorization`, spelled out byte by byte from the
//! standards, against which the layer is held; and requests of any shape.

mod support;

use http::{HeaderValue, Request, Uri, header::COOKIE, request};
use proptest::prelude::*;
use support::{KEY, OTHER, Reply, ask, escaped, keys};
use tower_api_key::{
    ApiKeyLayer,
    extract::{
        self, Cookie, Header, Query, Scheme, bearer, cookie, first_of, header, query, scheme,
    },
    rejection::Reason,
};

/// What stands in a place, by the small print of DESIGN §6.
fn judged(values: &[Option<Vec<u8>>]) -> &'static str {
    match values {
        [] => "401 missing",
        [None] => "401 malformed",
        [Some(key)] if key.iter().all(|byte| matches!(byte, b' ' | b'\t')) => "401 missing",
        [Some(key)] if key.len() > 1024 => "401 too_long",
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

fn judged_query(uri: &Uri) -> &'static str {
    let pairs = pairs(uri.query().unwrap_or_default());
    let ours = pairs.into_iter().filter(|pair| pair.name == b"api_key");
    judged(&ours.map(|pair| pair.value).collect::<Vec<_>>())
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
        prop_assert_eq!(ask(&layer, Request::get(&uri)).outcome(), judged_query(&uri), "{}", uri);
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

fn is_ours(crumb: &Crumb<'_>) -> bool {
    crumb.name == Some(b"sid")
}

fn judged_cookies(lines: &[Vec<u8>]) -> &'static str {
    let ours = lines.iter().flat_map(|line| crumbs(line)).filter(is_ours);
    judged(&ours.map(|crumb| Some(crumb.value.to_vec())).collect::<Vec<_>>())
}

/// The lines that are left, each as the crumbs that hold something.
fn left_of_cookies(lines: &[Vec<u8>]) -> Vec<Vec<&[u8]>> {
    let left = |line| -> Vec<_> {
        let others = crumbs(line).filter(|crumb| !is_ours(crumb));
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
    prop::collection::vec(line, 0..3)
}

fn with_cookies(lines: &[Vec<u8>]) -> request::Builder {
    lines.iter().fold(Request::get("/"), |request, line| request.header(COOKIE, &**line))
}

proptest! {
    #![proptest_config(support::cases(2000))]

    #[test]
    fn r10_cookies_are_read_as_rfc_6265_says(lines in cookie_lines()) {
        let layer = ApiKeyLayer::new(cookie("sid"), keys());
        prop_assert_eq!(ask(&layer, with_cookies(&lines)).outcome(), judged_cookies(&lines));
    }

    #[test]
    fn r23_cookie_lines_lose_the_pair_and_keep_all_others_in_their_order(lines in cookie_lines()) {
        let layer = ApiKeyLayer::new(cookie("sid"), keys()).exempt_if(|_| true);
        let reply = ask(&layer, with_cookies(&lines));
        let left: Vec<_> =
            reply.seen().headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec()).collect();
        prop_assert!(!left.iter().flat_map(|line| crumbs(line)).any(|crumb| is_ours(&crumb)));
        prop_assert_eq!(left_of_cookies(&left), left_of_cookies(&lines));
        if !lines.iter().flat_map(|line| crumbs(line)).any(|crumb| is_ours(&crumb)) {
            prop_assert_eq!(left, lines, "where nothing had to go, not a byte has changed");
        }
    }
}

// --------------------------------------------------------------------------------------------
// `Authorization`: RFC 9110 §11.4, `credentials = auth-scheme [ 1*SP ( token68 / … ) ]`.

fn judged_authorization(line: &[u8], ours: &str) -> &'static str {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    let line = &line[start..end];

    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let scheme = line.iter().take_while(|byte| is_tchar(byte)).count();
    if !line[..scheme].eq_ignore_ascii_case(ours.as_bytes()) || line.len() == scheme {
        return "401 missing";
    }
    let spaces = line[scheme..].iter().take_while(|byte| **byte == b' ').count();
    let token = &line[scheme + spaces..];
    let characters = token
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
        .count();
    if spaces == 0 || characters == 0 || token[characters..].iter().any(|byte| *byte != b'=') {
        return "401 malformed";
    }
    judged(&[Some(token.to_vec())])
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
        let outcome = judged_authorization(line.as_bytes(), "Bearer");
        prop_assert_eq!(reply.outcome(), outcome, "{:?}", line);
    }
}

// --------------------------------------------------------------------------------------------
// Requests of any shape.

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "X-OWN"];

const NAMES: [&str; 12] = [
    "x-api-key",
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
    let target = prop_oneof![
        4 => queries().prop_map(|query| format!("/p?{query}")),
        1 => Just("*".to_owned()),
        1 => Just("example.com:443".to_owned()),
        1 => queries().prop_map(|query| format!("http://example.com?{query}")),
        1 => "/?\\PC{0,20}",
    ];
    let headers = prop::collection::vec((prop::sample::select(&NAMES[..]), value), 0..5);
    (prop::sample::select(&METHODS[..]), target, headers).prop_map(|(method, uri, headers)| Shape {
        method,
        uri,
        headers,
    })
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

/// What stands in each of the five places of [`all`].
fn judged_places(parts: &request::Parts) -> [&'static str; 5] {
    let lines = |name: &str| -> Vec<Vec<u8>> {
        parts.headers.get_all(name).iter().map(|line| line.as_bytes().to_vec()).collect()
    };
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trimmed = |line: Vec<u8>| {
        let start = line.iter().take_while(|byte| is_blank(byte)).count();
        let end = line.iter().rev().take_while(|byte| is_blank(byte)).count();
        Some(line[start..line.len().max(start + end) - end].to_vec())
    };
    let authorization = |scheme| match &lines("authorization")[..] {
        [] => "401 missing",
        [line] => judged_authorization(line, scheme),
        _ => "400 ambiguous",
    };
    [
        judged(&lines("x-api-key").into_iter().map(trimmed).collect::<Vec<_>>()),
        judged_query(&parts.uri),
        judged_cookies(&lines("cookie")),
        authorization("Bearer"),
        authorization("Token"),
    ]
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
