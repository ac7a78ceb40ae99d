//! Headers for caches between the layer and its callers. R29 for rejections is in `rejections.rs`.

use crate::support;

use http::{Request, Response, request};
use http_body_util::Full;
use support::{KEY, Reply, ask, ask_of, keys};
use tower_api_key::{
    ApiKeyLayer, Keyring,
    extract::{Extract, bearer, cookie, first_of, header, query, scheme},
};

fn layer() -> ApiKeyLayer<impl Extract, Keyring> {
    let locations = (
        header("X-Api-Key"),
        cookie("sid"),
        query("api_key"),
        cookie("sid2"),
        bearer(),
        scheme("Token"),
    );
    ApiKeyLayer::new(first_of(locations), keys()).exempt_path("/open")
}

const VARY: [&[&str]; 8] = [
    &[],
    &["*"],
    &["Accept-Encoding"],
    &["accept, x-API-key"],
    &["Cookie ,X-Api-Key", "origin"],
    &["accept", "*"],
    &["authorization"],
    &["x-api-keys, cookies"],
];

/// The caches that may store the response, by its own headers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum For {
    Unsaid,
    One,
    All,
}

const CACHE_CONTROL: [(&[&str], For); 16] = [
    (&[], For::Unsaid),
    (&["max-age=60"], For::Unsaid),
    (&["no-cache"], For::Unsaid),
    (&["must-revalidate, max-age=0"], For::Unsaid),
    (&["max-age=60", "no-transform"], For::Unsaid),
    (&["x-private, publicly, s-max-age=1"], For::Unsaid),
    (&["private=\"set-cookie\""], For::Unsaid),
    (&["private"], For::One),
    (&["Private, max-age=60"], For::One),
    (&["no-store"], For::One),
    (&["max-age=1 , NO-STORE"], For::One),
    (&["public"], For::All),
    (&["s-maxage=9"], For::All),
    (&["max-age=1", "S-MaxAge = 9"], For::All),
    (&["max-age=1", "no-transform,Public"], For::All),
    (&["private", "s-maxage=9"], For::All),
];

const REFERRER: [&[&str]; 2] = [&[], &["origin"]];

struct Case {
    name: &'static str,
    request: fn(&str) -> request::Builder,
    cookies_and_headers: bool,
    key: bool,
    in_url: bool,
}

const CASES: [Case; 7] = [
    Case {
        name: "by header",
        request: |method| Request::builder().method(method).uri("/p").header("x-api-key", KEY),
        cookies_and_headers: true,
        key: true,
        in_url: false,
    },
    Case {
        name: "by cookie",
        request: |method| {
            Request::builder().method(method).uri("/p").header("cookie", format!("sid={KEY}"))
        },
        cookies_and_headers: true,
        key: true,
        in_url: false,
    },
    Case {
        name: "by bearer",
        request: |method| {
            Request::builder()
                .method(method)
                .uri("/p")
                .header("authorization", format!("Bearer {KEY}"))
        },
        cookies_and_headers: true,
        key: true,
        in_url: false,
    },
    Case {
        name: "by query",
        request: |method| Request::builder().method(method).uri(format!("/p?api_key={KEY}")),
        cookies_and_headers: true,
        key: true,
        in_url: true,
    },
    Case {
        name: "anonymous",
        request: |method| Request::builder().method(method).uri("/p"),
        cookies_and_headers: true,
        key: false,
        in_url: false,
    },
    Case {
        name: "exempt",
        request: |method| Request::builder().method(method).uri("/open").header("x-api-key", KEY),
        cookies_and_headers: false,
        key: false,
        in_url: false,
    },
    Case {
        name: "exempt, with a key in the URL",
        request: |method| Request::builder().method(method).uri(format!("/open?api_key={KEY}")),
        cookies_and_headers: false,
        key: false,
        in_url: false,
    },
];

fn responding(lines: [(&'static str, &[&str]); 3]) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::new(Full::default());
    for (name, values) in lines {
        for value in values {
            response.headers_mut().append(name, value.parse().unwrap());
        }
    }
    response
}

/// The members of a list header, in lower case.
fn members(lines: &[&str]) -> Vec<String> {
    lines.iter().flat_map(|line| line.split(',')).map(|it| it.trim().to_lowercase()).collect()
}

/// The expected headers, computed without the library.
fn wanted_vary(theirs: &[&str]) -> Vec<String> {
    let mut wanted = members(theirs);
    if !wanted.contains(&"*".to_owned()) {
        for name in ["x-api-key", "cookie", "authorization"] {
            if !wanted.iter().any(|it| it == name) {
                wanted.push(name.to_owned());
            }
        }
    }
    wanted
}

// Successful responses have `private` and `Vary`. Other gateways set neither.
#[test]
fn r30_cache_headers_merge_with_those_of_the_inner_service() {
    for optional in [false, true] {
        let layer = if optional { layer().optional() } else { layer() };
        for case in CASES.iter().filter(|case| optional || case.name != "anonymous") {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "X-OWN"] {
                for vary in VARY {
                    for (cache, said) in CACHE_CONTROL {
                        for referrer in REFERRER {
                            let reply = ask_of(&layer, (case.request)(method), |_| {
                                responding([
                                    ("vary", vary),
                                    ("cache-control", cache),
                                    ("referrer-policy", referrer),
                                ])
                            });
                            let step = (case.name, method, optional, vary, cache, referrer);
                            let cacheable =
                                matches!(method, "GET" | "HEAD") && case.cookies_and_headers;

                            let sent = reply.lines("vary");
                            if cacheable {
                                let wanted = wanted_vary(vary);
                                assert_eq!(members(&sent), wanted, "{step:?}");
                                assert_eq!(
                                    sent.len(),
                                    1,
                                    "one line that begins with that of the service: {step:?}"
                                );
                                assert!(sent[0].starts_with(&vary.join(", ")), "{step:?}");
                            } else {
                                assert_eq!(sent, vary, "{step:?}");
                            }

                            let unsaid = said == For::Unsaid;
                            let private: &[_] =
                                if cacheable && case.key && unsaid { &["private"] } else { &[] };
                            assert_eq!(
                                reply.lines("cache-control"),
                                [cache, private].concat(),
                                "{step:?}"
                            );

                            let no_referrer: &[_] = match referrer {
                                [] if cacheable && case.in_url => &["no-referrer"],
                                theirs => theirs,
                            };
                            assert_eq!(reply.lines("referrer-policy"), no_referrer, "{step:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn r30_no_cache_headers_turns_the_headers_off() {
    let layer = layer().no_cache_headers().optional();
    for case in &CASES {
        assert!(ask(&layer, (case.request)("GET")).head.headers.is_empty(), "{}", case.name);
    }
}

#[test]
fn r30_responses_of_every_status_get_cache_headers() {
    for status in [200, 204, 206, 301, 304, 401, 404, 500] {
        let reply = ask_of(&layer(), Request::get(format!("/p?api_key={KEY}")), |_| {
            Response::builder().status(status).body(Full::default()).unwrap()
        });
        assert_eq!(reply.lines("vary"), ["x-api-key, cookie, authorization"], "{status}");
        assert_eq!(reply.lines("cache-control"), ["private"], "{status}");
        assert_eq!(reply.lines("referrer-policy"), ["no-referrer"], "{status}");
    }
}

#[test]
fn r30_a_layer_without_header_locations_adds_no_vary() {
    let layer = ApiKeyLayer::new(query("api_key"), keys()).optional();
    let by_key = ask(&layer, Request::get(format!("/?api_key={KEY}")));
    assert_eq!((by_key.lines("vary").len(), by_key.lines("cache-control")), (0, vec!["private"]));
    let anonymous = ask(&layer, Request::get("/"));
    assert!(anonymous.head.headers.is_empty());
}

// A shared cache keeps no response to `Authorization` (RFC 9111 §3.5), unless a field of this cache
// overrides the rule. After `X-Accel-Expires`, nginx gave one client's body to another.
#[test]
fn vary_names_authorization_if_a_scheme_is_read_and_the_response_allows_caching() {
    for (name, line) in [
        ("x-other", "other"),
        ("cache-control", "public"),
        ("cache-control", "s-maxage=60"),
        ("cache-control", "max-age=60"),
        ("x-accel-expires", "60"),
        ("cdn-cache-control", "max-age=600"),
        ("cdn-cache-control", "public, max-age=600"),
        ("cloudflare-cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=600"),
        ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ] {
        let required = ApiKeyLayer::new(bearer(), keys());
        for layer in [
            required.clone(),
            required.clone().optional(),
            required.clone().exempt_if(|_| true),
            required.dangerous_report_only(),
        ] {
            for method in ["GET", "HEAD", "POST"] {
                let request = Request::builder().method(method).uri("/p");
                let request = request.header("authorization", format!("Bearer {KEY}"));
                let reply = ask_of(&layer, request, |_| {
                    Response::builder().header(name, line).body(Full::default()).unwrap()
                });
                let vary: &[_] = if method == "POST" { &[] } else { &["authorization"] };
                assert_eq!(reply.lines("vary"), vary, "{method} {name}: {line}");
            }
        }
    }
}

// nginx before 1.23 reads only the last line, and gave one client's response to all callers without a cookie.
#[test]
fn r30_vary_is_one_line() {
    for (theirs, sent) in [
        (&[][..], "x-api-key, cookie, authorization"),
        (&["accept"], "accept, x-api-key, cookie, authorization"),
        (&["accept", "origin"], "accept, origin, x-api-key, cookie, authorization"),
        (&["cookie, x-api-key", "origin"], "cookie, x-api-key, origin, authorization"),
        (&["*", "origin"], "*, origin"),
    ] {
        let reply = ask_of(&layer(), Request::get("/p").header("x-api-key", KEY), |_| {
            responding([("vary", theirs), ("cache-control", &[]), ("referrer-policy", &[])])
        });
        assert_eq!(reply.lines("vary"), [sent], "{theirs:?}");
    }
}

// An exempt path is exempt for all callers. A predicate can exempt one caller and not another.
#[test]
fn r30_a_response_after_exempt_if_is_private() {
    let layer = layer().exempt_if(|head| head.headers().contains_key("x-internal"));
    let reply = ask(&layer, Request::get("/report").header("x-internal", "1"));
    assert_eq!((reply.status(), reply.lines("cache-control")), (200, vec!["private"]));
    assert_eq!(reply.lines("vary"), ["x-api-key, cookie, authorization"]);
    assert!(ask(&layer, Request::get("/open")).head.headers.is_empty());
}

#[test]
fn r30_grpc_requests_and_preflights_get_no_cache_headers() {
    let layer = layer().pass_preflight();
    let call =
        Request::post("/p").header("content-type", "application/grpc").header("x-api-key", KEY);
    assert!(ask(&layer, call).head.headers.is_empty());
    let preflight = Request::options("/p").header("origin", "http://o");
    let preflight =
        preflight.header("access-control-request-method", "PUT").header("x-api-key", KEY);
    assert!(ask(&layer, preflight).head.headers.is_empty());
    // A content type alone makes no gRPC request, so the response gets cache headers.
    let get =
        Request::get("/p").header("content-type", "application/grpc").header("x-api-key", KEY);
    assert_eq!(ask(&layer, get).lines("cache-control"), ["private"]);
}

#[test]
fn r30_a_header_line_that_is_not_text_stays() {
    let reply: Reply = ask_of(&layer(), Request::get("/p").header("x-api-key", KEY), |_| {
        let mut response =
            responding([("vary", &[]), ("cache-control", &[]), ("referrer-policy", &[])]);
        let headers = response.headers_mut();
        headers.append("vary", http::HeaderValue::from_bytes(b"\xff, cookie").unwrap());
        headers.append("cache-control", http::HeaderValue::from_bytes(b"\xff").unwrap());
        response
    });
    let all = |name: &str| -> Vec<_> {
        reply.head.headers.get_all(name).iter().map(|line| line.as_bytes().to_vec()).collect()
    };
    assert_eq!(all("vary"), [&b"\xff, cookie, x-api-key, cookie, authorization"[..]]);
    assert_eq!(all("cache-control"), [&b"\xff"[..], b"private"]);
}
