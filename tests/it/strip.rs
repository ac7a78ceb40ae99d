//! The layer strips keys from every location on every path, and changes no other byte.

use crate::support;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Version,
    header::{AUTHORIZATION, COOKIE},
    request,
};
use support::{KEY, OTHER, Reply, SPOTS, WRONG, ask, keys};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring,
    extract::{self, bearer, cookie, first_of, header, query, scheme},
    location::LocationKind,
    verify,
};

/// A layer for five locations, several of which a request can use.
fn layer() -> ApiKeyLayer<impl extract::Extract, Keyring> {
    let locations =
        (header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token"));
    ApiKeyLayer::new(first_of(locations), keys())
}

/// A request with keys in all five locations, and other values beside them.
fn full(method: &str) -> request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("/p?x=1&api_key={KEY}&%61pi_key={OTHER}&y=%2f"))
        .header("x-api-key", KEY)
        .header("x-other", "stays")
        .header(COOKIE, format!("a=1; sid={KEY}; b=2"))
        .header(COOKIE, format!("sid=\"{OTHER}\""))
        .header(AUTHORIZATION, "Basic dTpw")
        .header(AUTHORIZATION, format!("bEARER {KEY}"))
        .header(AUTHORIZATION, format!("token   {KEY}, and more"))
}

fn preflight(method: &str) -> request::Builder {
    full(method).header("origin", "http://o").header("access-control-request-method", "PUT")
}

fn lines(parts: &request::Parts, name: impl http::header::AsHeaderName) -> Vec<&str> {
    parts.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
}

#[track_caller]
fn assert_stripped(reply: &Reply, name: &str) {
    let seen = reply.seen();
    assert_eq!(seen.uri, "/p?x=1&y=%2f", "{name}");
    assert_eq!(lines(seen, "x-api-key"), [""; 0], "{name}");
    assert_eq!(lines(seen, COOKIE), ["a=1; b=2"], "{name}");
    assert_eq!(lines(seen, "x-other"), ["stays"], "{name}");
}

// Other gateways leave the key in the request on some of these paths.
#[test]
fn r24_keys_are_stripped_from_all_locations_on_every_path_through_the_layer() {
    let everyone = |_| async { Some(Client::new("anyone")) };
    let locations = || {
        first_of((header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token")))
    };
    let later = ApiKeyLayer::new(locations(), verify::from_async_fn(everyone));
    for (name, reply, authorization) in [
        ("accepted", ask(&layer(), full("GET")), "out"),
        ("accepted where keys are optional", ask(&layer().optional(), full("POST")), "out"),
        ("accepted after a wait", ask(&later, full("GET")), "out"),
        ("exempt by path", ask(&layer().exempt_path("/p"), full("GET")), "stays"),
        ("exempt by predicate", ask(&layer().exempt_if(|_| true), full("PUT")), "stays"),
        ("preflight", ask(&layer().pass_preflight(), preflight("OPTIONS")), "not asked here"),
    ] {
        assert_stripped(&reply, name);
        let basic = "Basic dTpw".to_owned();
        let ours = [format!("bEARER {KEY}"), format!("token   {KEY}, and more")];
        match authorization {
            "out" => assert_eq!(lines(reply.seen(), AUTHORIZATION), [basic], "{name}"),
            "stays" => {
                let [bearer, token] = ours;
                assert_eq!(lines(reply.seen(), AUTHORIZATION), [basic, bearer, token], "{name}");
            }
            _ => {}
        }
    }
}

#[test]
fn r24_authorization_stays_only_on_exempt_paths_and_is_stripped_from_preflights() {
    let reply = ask(&layer().pass_preflight(), preflight("OPTIONS"));
    assert_eq!(lines(reply.seen(), AUTHORIZATION), ["Basic dTpw"]);
}

#[test]
fn r24_blank_and_foreign_values_are_stripped_if_the_layer_is_optional() {
    let locations = (header("x-api-key"), query("api_key"), cookie("sid"));
    let layer = ApiKeyLayer::new(locations, keys()).optional();
    let blank =
        Request::get("/?api_key=&x").header("x-api-key", " ").header(COOKIE, "sid=\"\"; a=1");
    let reply = ask(&layer, blank);
    assert_eq!(reply.outcome(), "200 -");
    assert_eq!(reply.seen().uri, "/?x");
    assert_eq!(lines(reply.seen(), COOKIE), ["a=1"]);
    assert!(!reply.seen().headers.contains_key("x-api-key"));

    let layer = ApiKeyLayer::new(bearer(), keys()).optional();
    for (line, left) in [("Bearer", &[][..]), ("bearer ", &[]), ("Basic dTpw", &["Basic dTpw"])] {
        let reply = ask(&layer, Request::get("/").header(AUTHORIZATION, line));
        assert_eq!(reply.outcome(), "200 -");
        assert_eq!(lines(reply.seen(), AUTHORIZATION), left);
    }
}

#[test]
fn r24_first_of_strips_the_locations_that_it_does_not_read() {
    let layer =
        ApiKeyLayer::new(first_of((query("api_key"), header("x-api-key"), bearer())), keys());
    let request = Request::get(format!("/?api_key={KEY}"))
        .header("x-api-key", WRONG)
        .header("x-api-key", HeaderValue::from_bytes(b"\xff").unwrap())
        .header(AUTHORIZATION, "Bearer not one token")
        .header(AUTHORIZATION, "Digest nonce=\"x\"");
    let reply = ask(&layer, request);
    assert_eq!(reply.outcome(), "200 mobile-app");
    assert_eq!(reply.seen().uri, "/");
    assert!(!reply.seen().headers.contains_key("x-api-key"));
    assert_eq!(lines(reply.seen(), AUTHORIZATION), ["Digest nonce=\"x\""]);
}

#[test]
fn r24_another_scheme_stays_if_the_key_is_in_another_location() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), scheme("Token")), keys());
    for line in
        ["Basic dTpw", "Digest username=\"u\"", "Bearerish x", "Tok x", "Negotiate YII=", "\"", ""]
    {
        let reply =
            ask(&layer, Request::get("/").header("x-api-key", KEY).header(AUTHORIZATION, line));
        assert_eq!(reply.outcome(), "200 mobile-app", "{line}");
        assert_eq!(lines(reply.seen(), AUTHORIZATION), [line]);
    }
}

#[test]
fn r24_the_location_of_a_closure_extractor_is_stripped() {
    for location in [
        KeyLocation::header("x-own"),
        KeyLocation::query("own"),
        KeyLocation::cookie("own"),
        KeyLocation::scheme("Own"),
    ] {
        let find = extract::from_fn(location, |_| Some(KEY).into());
        let request = Request::get("/?own=1&x=1")
            .header("x-own", "1")
            .header(COOKIE, "own=1; a=1")
            .header(AUTHORIZATION, "own 1");
        let reply = ask(&ApiKeyLayer::new(find, keys()), request);
        let seen = reply.seen();
        let left = [
            seen.headers.contains_key("x-own"),
            seen.uri == "/?own=1&x=1",
            lines(seen, COOKIE) == ["own=1; a=1"],
            seen.headers.contains_key(AUTHORIZATION),
        ];
        assert_eq!(left.iter().filter(|stayed| **stayed).count(), 3, "{left:?}");
    }
}

#[test]
fn r23_all_lines_pairs_and_cookies_of_the_name_are_stripped() {
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key"), cookie("sid")), keys());
    let request = Request::get("/?api_key&api_key=1&%61%70%69_key=%zz&api_key=a=b&API_KEY=stays")
        .header("X-API-Key", "1")
        .header("x-api-key", "2")
        .header(COOKIE, "sid=1;sid=2; SID=stays; sid=\"3\"")
        .header(COOKIE, "sid=4")
        .header(COOKIE, "sid");
    let reply = ask(&layer.exempt_if(|_| true), request);
    assert_eq!(reply.seen().uri, "/?API_KEY=stays");
    assert!(!reply.seen().headers.contains_key("x-api-key"));
    assert_eq!(lines(reply.seen(), COOKIE), ["SID=stays", "sid"]);
}

// Kong#14808 changes the query even if the key is in a header.
#[test]
fn r23_the_rest_of_the_uri_stays_byte_for_byte() {
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key")), keys());
    for (uri, left) in [
        ("/p?api_key=K", "/p"),
        ("/p?api_key=K&", "/p?"),
        ("/p?&api_key=K", "/p?"),
        ("/p?a=%65+b%20c&api_key=K&d=%zz;e", "/p?a=%65+b%20c&d=%zz;e"),
        ("/p?b=1&a=1&api_key=K&b=2&A=%2F%2f", "/p?b=1&a=1&b=2&A=%2F%2f"),
        ("/%70//q/../r;s?api_key=K&x", "/%70//q/../r;s?x"),
        ("/p?x?y=1&api_key=K", "/p?x?y=1"),
        ("//h/p?api_key=K", "//h/p"),
        ("http://User:Pw@Example.COM:80/P?api_key=K&X=1", "http://User:Pw@Example.COM:80/P?X=1"),
        ("https://[::1]:8443/?api_key=K", "https://[::1]:8443/"),
        ("/p?\u{e9}=\u{2603}&api_key=K", "/p?\u{e9}=\u{2603}"),
    ] {
        let reply = ask(&layer, Request::get(uri.replace('K', KEY)));
        assert_eq!(reply.outcome(), "200 mobile-app");
        assert_eq!(reply.seen().uri.to_string(), left);
    }
    for uri in ["/p", "/p?", "/p?a=%65+b&&;=&api_key2=K", "*", "http://h/?A=+", "/?x=api_key"] {
        let reply = ask(&layer, Request::get(uri).header("x-api-key", KEY));
        assert_eq!(reply.seen().uri.to_string(), uri);
    }
}

#[test]
fn only_the_key_is_removed_from_a_request() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let request = Request::patch("/p?q")
        .version(Version::HTTP_2)
        .header("x-b", "1")
        .header("x-a", HeaderValue::from_bytes(b"\xff").unwrap())
        .header("x-b", "2")
        .header("x-api-key", KEY)
        .header(AUTHORIZATION, format!("Bearer {OTHER}"))
        .header(COOKIE, format!("api_key={OTHER}"))
        .extension("an extension");
    let (before, ()) = request.body(()).unwrap().into_parts();
    let again = Request::from_parts(before.clone(), ());
    let builder = again.headers().iter().fold(
        Request::patch("/p?q").version(Version::HTTP_2).extension("an extension"),
        |request, (name, value)| request.header(name, value),
    );
    let reply = ask(&layer, builder);
    let seen = reply.seen();
    let mut headers = before.headers;
    headers.remove("x-api-key");
    assert_eq!(
        (&seen.method, &seen.uri, seen.version),
        (&before.method, &before.uri, before.version)
    );
    assert_eq!(seen.headers, headers);
    assert_eq!(seen.extensions.get(), Some(&"an extension"));
    assert!(!seen.headers[AUTHORIZATION].is_sensitive());
}

// R25: forwarded keys stay byte for byte, and `Debug` shows none of them.
#[test]
fn r25_a_forwarded_key_is_marked_sensitive() {
    for spot in SPOTS {
        let layer = spot.layer(keys()).forward_key();
        let (before, ()) = spot.get(&[KEY]).body(()).unwrap().into_parts();
        let reply = ask(&layer, spot.get(&[KEY]));
        let seen = reply.seen();
        assert_eq!((&seen.uri, &seen.headers), (&before.uri, &before.headers), "{}", spot.name);
        assert!(seen.headers.values().all(HeaderValue::is_sensitive), "{}", spot.name);
        assert!(!format!("{:?}", seen.headers).contains(KEY), "{}", spot.name);
    }
    let reply = ask(&layer().forward_key(), full("GET"));
    assert!(!format!("{:?}", reply.seen().headers).contains(KEY));
    assert!(!reply.seen().headers["x-other"].is_sensitive());
    let open = ask(&layer().forward_key().exempt_path("/p"), full("GET"));
    assert!(!format!("{:?}", open.seen().headers).contains(KEY));
}

#[test]
fn r25_authorization_on_an_exempt_path_is_marked_sensitive() {
    let reply = ask(&layer().exempt_path("/p"), full("GET"));
    let lines: Vec<_> = reply.seen().headers.get_all(AUTHORIZATION).iter().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.is_sensitive()));
    assert!(!format!("{:?}", reply.seen().headers).contains(KEY));
}

#[test]
fn r25_a_line_that_an_outer_layer_marked_sensitive_stays_sensitive() {
    let secret = |text: &str| {
        let mut value = HeaderValue::from_str(text).unwrap();
        value.set_sensitive(true);
        value
    };
    let request = Request::get("/")
        .header("x-api-key", secret(KEY))
        .header(AUTHORIZATION, secret("Basic dTpw"))
        .header(COOKIE, secret("session=abc; sid=x"))
        .header(COOKIE, secret("other=def"));
    let layer = ApiKeyLayer::new(first_of((header("x-api-key"), bearer(), cookie("sid"))), keys());
    let reply = ask(&layer, request);
    assert_eq!(lines(reply.seen(), COOKIE), ["session=abc", "other=def"]);
    for name in [AUTHORIZATION, COOKIE] {
        let all = reply.seen().headers.get_all(&name).iter().all(HeaderValue::is_sensitive);
        assert!(all, "{name}: {:?}", reply.seen().headers);
    }
}

#[test]
fn r28_a_full_header_map_causes_no_panic() {
    let locations = first_of((header("x-api-key"), bearer(), cookie("sid")));
    let layer = ApiKeyLayer::new(locations, keys());
    for layer in [layer.clone(), layer.clone().forward_key(), layer.exempt_path("/")] {
        let mut request = Request::get("/")
            .header("x-api-key", KEY)
            .header("authorization", format!("Bearer {KEY}"))
            .header("authorization", "Basic dTpw")
            .header("cookie", format!("sid={KEY}"))
            .header("cookie", format!("a=1; sid={KEY}"));
        fill(request.headers_mut().unwrap());
        assert_eq!(ask(&layer, request).status(), 200);
    }

    // The layer removes no other entry, which would make room for the remaining lines.
    let layer = ApiKeyLayer::new(cookie("sid"), keys()).optional();
    let mut request =
        Request::get("/").header("cookie", "sid=").header("cookie", "a=1").header("cookie", "b=2");
    fill(request.headers_mut().unwrap());
    assert_eq!(ask(&layer, request).status(), 200);
}

fn fill(headers: &mut HeaderMap) {
    for number in 0.. {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if headers.try_append(name, number.into()).is_err() {
            break;
        }
    }
    assert!(headers.len() > 20_000);
}

#[cfg(feature = "axum")]
mod original_uri {
    use axum::extract::OriginalUri;

    use super::*;

    fn original(reply: &Reply) -> String {
        reply.seen().extensions.get::<OriginalUri>().unwrap().0.to_string()
    }

    fn get(query: &str) -> request::Builder {
        let whole = OriginalUri(format!("http://h/api/p?{query}").parse().unwrap());
        Request::get(format!("/p?{query}")).extension(whole)
    }

    #[test]
    fn r23_the_key_is_stripped_from_axums_original_uri_on_every_path_through_the_layer() {
        let layer = ApiKeyLayer::new((query("api_key"), query("key2"), bearer()), keys());
        let both = format!("x=%65&api_key={KEY}&key2=");
        for layer in [
            layer.clone(),
            layer.clone().optional(),
            layer.clone().exempt_path("/p"),
            layer.clone().exempt_if(|_| true),
        ] {
            let reply = ask(&layer, get(&both));
            assert_eq!(original(&reply), "http://h/api/p?x=%65");
            assert_eq!(reply.seen().uri, "/p?x=%65");
        }
        let anonymous = ask(&layer.clone().optional(), get("x&api_key&key2=+"));
        assert_eq!(original(&anonymous), "http://h/api/p?x");

        let preflight = get(&both).method("OPTIONS").header("origin", "http://o");
        let preflight = preflight.header("access-control-request-method", "PUT");
        assert_eq!(
            original(&ask(&layer.clone().pass_preflight(), preflight)),
            "http://h/api/p?x=%65"
        );

        let forwarding = ask(&layer.forward_key(), get(&both));
        assert_eq!(original(&forwarding), format!("http://h/api/p?{both}"));
    }
}

/// Finds the key anywhere in the request, and names this location.
fn anywhere(location: KeyLocation) -> impl extract::Extract + Clone {
    extract::from_fn(location, |head| {
        let pairs = head.uri().query().unwrap_or_default().split('&').map(str::as_bytes);
        let lines = head.headers().values().map(HeaderValue::as_bytes);
        let holds = |text: &[u8]| {
            let parts = text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
            parts.filter(|part| *part == KEY.as_bytes()).count() > 0
        };
        let is_there = lines.chain(pairs).any(holds);
        let key = is_there.then(|| KEY.as_bytes());
        key.into()
    })
}

#[derive(Debug, PartialEq)]
struct Left {
    uri: String,
    authorization: Vec<String>,
    cookie: Vec<String>,
}

impl Left {
    fn of(reply: &Reply) -> Self {
        let all = |name| lines(reply.seen(), name).into_iter().map(str::to_owned).collect();
        let uri = reply.seen().uri.to_string();
        Self { uri, authorization: all(AUTHORIZATION), cookie: all(COOKIE) }
    }
}

#[test]
fn a_key_that_the_rule_of_the_location_leaves_is_stripped_with_its_whole_line() {
    type Case = (
        KeyLocation,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        [&'static str; 3],
    );
    let cases: [Case; 15] = [
        // The key has no scheme or another scheme, or is part of other credentials.
        (KeyLocation::bearer(), "/", &["@"], &["a=1"], ["/", "", "a=1"]),
        (KeyLocation::bearer(), "/?x=1", &["Key @"], &[], ["/?x=1", "", ""]),
        (KeyLocation::scheme("Token"), "/", &["Digest nonce=1, key=@"], &[], ["/", "", ""]),
        // The rule removes its own line, and no other line.
        (KeyLocation::bearer(), "/", &["bearer @"], &["a=1"], ["/", "", "a=1"]),
        // The cookie has another name, another case or no name. The line that holds the key is removed.
        (KeyLocation::cookie("sid"), "/", &["Basic x"], &["SID=@; a=1"], ["/", "Basic x", ""]),
        (KeyLocation::cookie("sid"), "/", &[], &["a=1; b=2", "@"], ["/", "", "a=1; b=2"]),
        (KeyLocation::cookie("sid"), "/", &[], &["c=3", "sid=1; s=@"], ["/", "", "c=3"]),
        (KeyLocation::cookie("sid"), "/", &[], &["a=1; sid=v1.@; b=2"], ["/", "", "a=1; b=2"]),
        (KeyLocation::cookie("sid"), "/", &[], &["sid=\"@\""], ["/", "", ""]),
        // The pair that holds the key is removed, and the others stay byte for byte.
        (KeyLocation::query("key"), "/?KEY=@&a=%2f", &["Basic x"], &[], ["/?a=%2f", "Basic x", ""]),
        (KeyLocation::query("key"), "/p?a=1&@&b", &[], &[], ["/p?a=1&b", "", ""]),
        (KeyLocation::query("key"), "/?a&%4bEY=v1.@", &[], &[], ["/?a", "", ""]),
        (KeyLocation::query("key"), "/?key=1&k2=@", &[], &[], ["/", "", ""]),
        (KeyLocation::query("key"), "/?a=1&key=@&b=2", &[], &[], ["/?a=1&b=2", "", ""]),
        (KeyLocation::query("key"), "/?@", &[], &["a=1"], ["/", "", "a=1"]),
    ];
    for (location, uri, authorization, cookies, left) in cases {
        let with_key = |text: &str| text.replace('@', KEY);
        let request = || {
            let authorization = authorization.iter().map(|line| (AUTHORIZATION, line));
            let lines = authorization.chain(cookies.iter().map(|line| (COOKIE, line)));
            lines.fold(Request::get(with_key(uri)), |request, (name, line)| {
                request.header(name, with_key(line))
            })
        };
        let [uri, authorization, cookie] = left;
        let list = |line: &str| if line.is_empty() { Vec::new() } else { vec![line.to_owned()] };
        let left =
            Left { uri: uri.to_owned(), authorization: list(authorization), cookie: list(cookie) };
        let find = || anywhere(location.clone());
        let later = verify::from_async_fn(|digest| async move {
            tokio::task::yield_now().await;
            (digest == KeyDigest::of(KEY)).then(|| Client::new("mobile-app"))
        });
        let reporting = ApiKeyLayer::new(find(), Keyring::<Client>::new()).dangerous_report_only();
        for (name, reply) in [
            ("accepted", ask(&ApiKeyLayer::new(find(), keys()), request())),
            ("one of two", ask(&ApiKeyLayer::new((find(), header("x-own")), keys()), request())),
            ("accepted after a wait", ask(&ApiKeyLayer::new(find(), later), request())),
            ("reported", ask(&reporting, request())),
        ] {
            assert_eq!(Left::of(&reply), left, "{name}, {location:?}");
            assert!(!format!("{:?}", reply.seen().uri).contains(KEY), "{name}, {location:?}");
        }
        // If keys stay, they are marked sensitive.
        let reply = ask(&ApiKeyLayer::new(find(), keys()).forward_key(), request());
        let seen = reply.seen();
        assert_eq!(seen.uri, *request().uri_ref().unwrap(), "{location:?}");
        let sensitive =
            |name: HeaderName| seen.headers.get_all(name).iter().all(|it| it.is_sensitive());
        match location.kind() {
            LocationKind::Scheme => assert!(sensitive(AUTHORIZATION)),
            LocationKind::Cookie => assert!(sensitive(COOKIE)),
            _ => {}
        }
    }
}

#[test]
fn all_lines_are_stripped_for_a_decoded_key_unless_the_rule_removes_some() {
    // No text in the request equals the key.
    let decoded = |location: KeyLocation| {
        ApiKeyLayer::new(extract::from_fn(location, |_| Some(KEY).into()), keys())
    };
    let request = |query: &str| {
        let request = Request::get(format!("/p{query}")).header(AUTHORIZATION, "Basic a2V5");
        request.header(COOKIE, "a=1; SID=a2V5").header(COOKIE, "b=2")
    };
    let basic = vec!["Basic a2V5".to_owned()];
    let cookies = vec!["a=1; SID=a2V5".to_owned(), "b=2".to_owned()];
    let left = |reply: Reply| Left::of(&reply);
    let wanted = |uri: &str, authorization: &Vec<String>, cookie: &Vec<String>| Left {
        uri: uri.to_owned(),
        authorization: authorization.clone(),
        cookie: cookie.clone(),
    };
    let none = Vec::new();
    for (location, query, wanted) in [
        (KeyLocation::bearer(), "?q", wanted("/p?q", &none, &cookies)),
        (KeyLocation::scheme("basic"), "?q", wanted("/p?q", &none, &cookies)),
        (KeyLocation::cookie("sid"), "?q", wanted("/p?q", &basic, &none)),
        (KeyLocation::query("key"), "?q&KEY=a2V5", wanted("/p", &basic, &cookies)),
        (KeyLocation::header("x-own"), "?q", wanted("/p?q", &basic, &cookies)),
        (
            KeyLocation::cookie("SID"),
            "?q",
            wanted("/p?q", &basic, &vec!["a=1".to_owned(), "b=2".to_owned()]),
        ),
        (KeyLocation::query("key"), "?q&key=a2V5", wanted("/p?q", &basic, &cookies)),
    ] {
        assert_eq!(left(ask(&decoded(location), request(query))), wanted);
    }
}

/// Reads two locations, and does not name the location of the key.
struct Unnamed;

impl extract::Extract for Unnamed {
    fn locations(&self) -> Vec<KeyLocation> {
        vec![KeyLocation::bearer(), KeyLocation::cookie("sid"), KeyLocation::header("x-own")]
    }

    fn extract<'a>(&'a self, head: extract::RequestHead<'a>) -> extract::Extracted<'a> {
        let lines = [&AUTHORIZATION, &COOKIE, &HeaderName::from_static("x-own")]
            .map(|name| head.headers().get(name).and_then(|line| line.to_str().ok()));
        let key =
            lines.into_iter().flatten().find_map(|line| line.split(' ').find(|it| *it == KEY));
        key.into()
    }
}

#[test]
fn a_key_without_a_named_location_is_stripped_from_the_location_that_holds_it() {
    let layer = ApiKeyLayer::new(Unnamed, keys());
    for (name, line, authorization, cookies) in [
        ("authorization", KEY, "", "a=1"),
        ("cookie", KEY, "Basic x", ""),
        ("x-own", KEY, "Basic x", "a=1"),
    ] {
        let mut request = Request::get("/").header(name, line);
        if name != "authorization" {
            request = request.header(AUTHORIZATION, "Basic x");
        }
        if name != "cookie" {
            request = request.header(COOKIE, "a=1");
        }
        let reply = ask(&layer, request);
        assert_eq!(lines(reply.seen(), AUTHORIZATION).concat(), authorization, "{name}");
        assert_eq!(lines(reply.seen(), COOKIE).concat(), cookies, "{name}");
        assert!(!reply.seen().headers.contains_key("x-own"), "{name}");
    }
}
