//! Challenges, read by an independent parser. Every 401 has one challenge for each location.

use crate::support;

use http::{Request, header::WWW_AUTHENTICATE, request};
use proptest::prelude::*;
use support::{Any, KEY, Reply, WRONG, ask, escaped, keys, strict, value};
use tower_api_key::{
    ApiKeyLayer, KeyLocation,
    error::ConfigErrorKind,
    extract::{bearer, cookie, first_of, header, query, scheme},
    location::LocationKind,
    respond::{Problem, Text},
};

const HTTP: fn() -> request::Builder = || Request::get("/");

/// One challenge of RFC 9110 §11.6.1: `auth-scheme [ 1*SP #auth-param ]`, one to a line.
#[derive(Debug, PartialEq)]
struct Challenge {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// Parses a line that is exactly one challenge.
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

/// Returns the text between the quotes (RFC 9110 §5.6.4), and the rest behind them.
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

fn challenges_of(reply: &Reply) -> Vec<Challenge> {
    let lines = reply.head.headers.get_all(WWW_AUTHENTICATE).iter();
    lines
        .map(|line| {
            let line = line.to_str().unwrap();
            Challenge::parse(line).unwrap_or_else(|| panic!("no challenge: {line}"))
        })
        .collect()
}

#[test]
fn the_test_parser_detects_a_bad_challenge() {
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

// Each location has one challenge line, with its name quoted and escaped.
#[test]
fn r1_r3_every_401_has_one_challenge_line_for_each_location_and_bearer_first() {
    let locations =
        (header("X-Api-Key"), query("api_key"), scheme("Token"), cookie("sid"), bearer());
    let layer = ApiKeyLayer::new(first_of(locations), strict());
    for request in [
        HTTP(),
        HTTP().header("x-api-key", WRONG),
        HTTP().header("x-api-key", "k".repeat(2000)),
        HTTP().header("x-api-key", value("malformed")),
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
        for challenge in challenges_of(&reply) {
            for (name, _) in &challenge.params {
                assert!(challenge.param(name).is_some());
            }
        }
    }
}

#[test]
fn r5_only_a_bearer_challenge_has_an_error_code_and_every_challenge_has_a_realm() {
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
        let challenges = challenges_of(&reply);
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
    assert_eq!((failed.status(), challenges_of(&failed).len()), (503, 0));
    let no_bearer = ApiKeyLayer::new(header("x-api-key"), keys());
    let reply = ask(&no_bearer, HTTP().header("x-api-key", KEY).header("x-api-key", KEY));
    assert_eq!((reply.status(), challenges_of(&reply).len()), (400, 0));
}

#[test]
fn r2_a_realm_is_quoted_and_an_invalid_realm_is_an_error() {
    let layer = || ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
    for realm in
        ["", "api", "two words", "a \"b\"", "\\", "\"", "a\\\"b", "a, b=\"c\"", "\t", "{}%"]
    {
        let reply = ask(&layer().realm(realm), HTTP());
        for challenge in challenges_of(&reply) {
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
        let error = layer().try_realm(realm).unwrap_err();
        assert_eq!((error.kind(), error.position()), (ConfigErrorKind::Realm, Some(at)));
        assert!(!error.to_string().contains("caf"));
    }
}

proptest! {
    #![proptest_config(support::cases(1000))]

    #[test]
    fn r2_any_realm_round_trips_or_is_an_error_when_the_layer_is_built(
        realm in prop_oneof![any::<String>(), "[ -~\t]{0,20}", "[\"\\\\,= a]{0,8}"],
    ) {
        let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), cookie("sid")), keys());
        let is_valid = realm.chars().all(|char| matches!(char, '\t' | ' '..='~'));
        match layer.try_realm(realm.clone()) {
            Err(error) => prop_assert!(!is_valid && error.kind() == ConfigErrorKind::Realm),
            Ok(layer) => {
                prop_assert!(is_valid);
                let challenges = challenges_of(&ask(&layer, HTTP()));
                prop_assert_eq!(challenges.len(), 3);
                for challenge in challenges {
                    prop_assert_eq!(challenge.param("realm"), Some(realm.as_str()));
                }
            }
        }
    }

    #[test]
    fn r1_any_name_of_a_location_round_trips(name in "[!-~]{1,12}") {
        let layer = ApiKeyLayer::new(query(&name), keys());
        let challenges = challenges_of(&ask(&layer, HTTP()));
        prop_assert_eq!(challenges.len(), 1);
        prop_assert_eq!(challenges[0].param("name"), Some(name.as_str()));
        prop_assert_eq!(challenges[0].param("in"), Some("query"));
        if let Ok(location) = KeyLocation::try_cookie(&name) {
            let layer = ApiKeyLayer::new(cookie(location.name()), keys());
            let challenges = challenges_of(&ask(&layer, HTTP()));
            prop_assert_eq!(challenges[0].param("name"), Some(name.as_str()));
            let layer = ApiKeyLayer::new(scheme(&name), keys());
            let challenges = challenges_of(&ask(&layer, HTTP()));
            prop_assert!(challenges[0].scheme.eq_ignore_ascii_case(&name));
        }
    }
}

// --------------------------------------------------------------------------------------------
// Layers with any locations and configuration.

#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    Wrong,
    Malformed,
    TooLong,
    Twice,
}

/// One to five different locations of any kinds and names.
fn locations() -> impl Strategy<Value = Vec<KeyLocation>> {
    let token = || "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,10}";
    let location = prop_oneof![
        2 => token().prop_filter_map("reserved", |name| KeyLocation::try_header(&name).ok()),
        2 => "[!-~]{1,10}".prop_map(|name| KeyLocation::query(&name)),
        2 => token().prop_map(|name| KeyLocation::cookie(&name)),
        2 => token().prop_map(|name| KeyLocation::scheme(&name)),
        1 => Just(KeyLocation::bearer()),
    ];
    prop::collection::vec(location, 1..6).prop_map(|mut locations| {
        let mut seen = std::collections::HashSet::new();
        locations.retain(|location| seen.insert(location.clone()));
        locations
    })
}

fn extractor(location: &KeyLocation) -> Any {
    match location.kind() {
        LocationKind::Header => Box::new(header(location.name())),
        LocationKind::Query => Box::new(query(location.name())),
        LocationKind::Cookie => Box::new(cookie(location.name())),
        LocationKind::Scheme => Box::new(scheme(location.name())),
        other => panic!("a kind of location without an extractor here: {other:?}"),
    }
}

fn put(request: request::Builder, location: &KeyLocation, key: &str) -> request::Builder {
    let name = location.name();
    match location.kind() {
        LocationKind::Header => request.header(name, key),
        LocationKind::Cookie => request.header("cookie", format!("{name}={key}")),
        LocationKind::Scheme => request.header("authorization", format!("{name} {key}")),
        _ => {
            let uri = request.uri_ref().unwrap().to_string();
            let before = if uri.contains('?') { '&' } else { '?' };
            let (name, key) = (escaped(name.as_bytes()), escaped(key.as_bytes()));
            request.uri(format!("{uri}{before}{name}={key}"))
        }
    }
}

proptest! {
    #![proptest_config(support::cases(1000))]

    #[test]
    fn r1_r3_r5_any_layer_challenges_for_exactly_its_locations(
        (locations, at) in (locations(), any::<prop::sample::Index>()),
        realm in "[ -~\t]{0,16}",
        sent in prop::sample::select(
            &[Sent::Nothing, Sent::Wrong, Sent::Malformed, Sent::TooLong, Sent::Twice][..]
        ),
        (takes_first, optional, responder) in (any::<bool>(), any::<bool>(), 0..4),
    ) {
        let two = |one: Any, two: Any| -> Any {
            if takes_first { Box::new(first_of((one, two))) } else { Box::new((one, two)) }
        };
        let find = locations.iter().map(extractor).reduce(two).unwrap();
        let mut layer = ApiKeyLayer::new(find, keys()).realm(realm.clone());
        layer = match responder {
            0 => layer.respond(Problem::default()),
            1 => layer.respond(Text::default()),
            2 => layer.respond(|rejection: &tower_api_key::Rejection| {
                let mut response = http::Response::new("no");
                *response.status_mut() = rejection.status();
                response
            }),
            _ => layer,
        };
        let is_missing = matches!(sent, Sent::Nothing);
        if optional && !is_missing {
            layer = layer.optional();
        }

        let location = at.get(&locations);
        let put = |request, key| put(request, location, key);
        let request = match sent {
            Sent::Nothing => HTTP(),
            Sent::Wrong => put(HTTP(), WRONG),
            Sent::Malformed => put(HTTP(), "what\u{e9}ver"),
            Sent::TooLong => put(HTTP(), &"k".repeat(1025)),
            Sent::Twice => put(put(HTTP(), KEY), KEY),
        };
        let reply = ask(&layer, request);
        let is_ambiguous = matches!(sent, Sent::Twice);
        prop_assert_eq!(reply.status(), if is_ambiguous { 400 } else { 401 });

        let owned = |params: &[(&str, &str)]| -> Vec<(String, String)> {
            params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let code = match sent {
            Sent::Nothing => None,
            Sent::Twice => Some("invalid_request"),
            _ => location.is_bearer().then_some("invalid_token"),
        };
        let (bearers, others): (Vec<_>, Vec<_>) =
            locations.iter().partition(|location| location.is_bearer());
        let expected: Vec<_> = bearers
            .into_iter()
            .map(|_| {
                let realm = ("realm", &*realm);
                let params = code.map_or(owned(&[realm]), |code| owned(&[realm, ("error", code)]));
                Challenge { scheme: "Bearer".to_owned(), params }
            })
            .chain(others.into_iter().filter(|_| !is_ambiguous).map(|location| {
                let (kind, name) = (location.kind(), location.name());
                if kind == LocationKind::Scheme {
                    let params = owned(&[("realm", &realm)]);
                    return Challenge { scheme: name.to_owned(), params };
                }
                let params = owned(&[("realm", &realm), ("in", kind.as_str()), ("name", name)]);
                Challenge { scheme: "ApiKey".to_owned(), params }
            }))
            .collect();
        prop_assert_eq!(challenges_of(&reply), expected);
    }
}
