//! Requests that need no key: optional routes, exempt paths and CORS preflights. Only the layer's own
//! client is in the extensions.

use crate::support;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use http::{Method, Request, request};
use support::{KEY, OTHER, SPOTS, WRONG, ask, keys};
use tower_api_key::{
    Anonymous, ApiKeyLayer, ApiKeyService, Client, Identity, Keyring,
    error::ConfigErrorKind,
    extract::{RequestHead, bearer, header, query},
    verify::{self, VerifyError},
};

// Kong, APISIX, Flask and Echo treat a wrong key like no key.
#[test]
fn r37_an_optional_layer_accepts_no_key_as_anonymous_and_rejects_a_wrong_key() {
    for spot in SPOTS {
        let layer = spot.layer(keys()).optional();
        for (values, outcome) in [
            (&[][..], "200 -"),
            (&[""], "200 -"),
            (&[KEY], "200 mobile-app"),
            (&[WRONG], "401 unknown"),
            (
                &["a b"],
                if spot.name.starts_with("scheme") { "401 malformed" } else { "401 unknown" },
            ),
            (&[KEY, KEY], "400 ambiguous"),
        ] {
            let reply = ask(&layer, spot.get(values));
            assert_eq!(reply.outcome(), outcome, "{} {values:?}", spot.name);
        }
    }
    type Cause = Box<dyn Error + Send + Sync>;
    let failing = verify::from_fn(|_| Err::<Option<Client>, Cause>("down".into()));
    let layer = ApiKeyLayer::new(header("x-api-key"), failing).optional();
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", KEY)).outcome(), "503 failed");
    assert_eq!(ask(&layer, Request::get("/")).outcome(), "200 -");
}

#[test]
fn r37_an_inner_guard_can_reject_an_anonymous_request_like_the_layer() {
    let strict = ApiKeyLayer::new((header("x-api-key"), bearer()), keys()).realm("r");
    for request in [
        || Request::get("/"),
        || Request::head("/"),
        || Request::post("/").header("content-type", "application/grpc"),
        || Request::post("/").header("content-type", "application/grpc-web+proto"),
    ] {
        let theirs = ask(&strict, request());
        let let_by = ask(&strict.clone().optional(), request());
        let anonymous = let_by.seen().extensions.get::<Anonymous>().unwrap();
        let (head, body) = anonymous.reject(RequestHead::of_parts(let_by.seen())).into_parts();
        let ours = support::Reply { head, body, ended: theirs.ended, seen: None };
        assert_eq!(ours.wire(), theirs.wire());
        assert_eq!(ours.outcome(), theirs.outcome());
    }
    let accepted = ask(&strict.optional(), Request::get("/").header("x-api-key", KEY));
    assert!(accepted.seen().extensions.get::<Anonymous>().is_none());
}

// An exempt path never matches by prefix.
#[test]
fn r52_an_exempt_path_is_exact_and_compared_with_the_raw_path() {
    let layer =
        ApiKeyLayer::new(header("x-api-key"), keys()).exempt_path("/health").exempt_path("/a%20b");
    for (uri, outcome) in [
        ("/health", "200 -"),
        ("/health?", "200 -"),
        ("/health?x=/../admin", "200 -"),
        ("http://example.com/health", "200 -"),
        ("http://example.com:81/health?x", "200 -"),
        ("/a%20b", "200 -"),
        ("/Health", "401 missing"),
        ("/HEALTH", "401 missing"),
        ("/%68ealth", "401 missing"),
        ("/healt%68", "401 missing"),
        ("/health%00", "401 missing"),
        ("/health%2f", "401 missing"),
        ("/health%3f", "401 missing"),
        ("/health/", "401 missing"),
        ("//health", "401 missing"),
        ("///health", "401 missing"),
        ("/./health", "401 missing"),
        ("/%2e/health", "401 missing"),
        ("/x/../health", "401 missing"),
        ("/health/../x", "401 missing"),
        ("/health/%2e%2e/x", "401 missing"),
        ("/health/x", "401 missing"),
        ("/health;x", "401 missing"),
        ("/health;", "401 missing"),
        ("/healthy", "401 missing"),
        ("/health.json", "401 missing"),
        ("/health+", "401 missing"),
        ("/x/health", "401 missing"),
        ("/healt", "401 missing"),
        ("/", "401 missing"),
        ("*", "401 missing"),
        ("http://health", "401 missing"),
        ("http://health/", "401 missing"),
        ("http://health/x", "401 missing"),
        ("http://example.com//health", "401 missing"),
        ("/x?/health", "401 missing"),
        ("/a%20b/", "401 missing"),
        ("/a+b", "401 missing"),
        ("/a%2520b", "401 missing"),
    ] {
        assert_eq!(ask(&layer, Request::get(uri)).outcome(), outcome, "{uri}");
    }
    let connect = Request::builder().method("CONNECT").uri("health:443");
    assert_eq!(ask(&layer, connect).outcome(), "401 missing");
}

#[test]
fn r52_no_header_can_name_another_path_or_host() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).exempt_path("/health");
    for (name, value) in [
        ("host", "/health"),
        ("host", "example.com/health"),
        ("host", "example.com/health?"),
        ("x-original-url", "/health"),
        ("x-rewrite-url", "/health"),
        ("x-forwarded-uri", "/health"),
        ("x-forwarded-prefix", "/health"),
        ("forwarded", "for=127.0.0.1;host=health"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-http-method-override", "OPTIONS"),
        ("connection", "x-api-key, close"),
        ("referer", "http://example.com/health"),
    ] {
        let reply = ask(&layer, Request::get("/admin").header(name, value));
        assert_eq!(reply.outcome(), "401 missing", "{name}: {value}");
    }
}

#[test]
fn an_exempt_path_is_bypassed_for_every_method_and_every_key() {
    let verifier = verify::from_fn(|_| -> Option<Client> { panic!("asked") });
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), verifier).exempt_path("/health");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X-OWN"] {
        let to_health = || Request::builder().method(method).uri("/health");
        for request in [
            to_health(),
            to_health().header("x-api-key", KEY),
            to_health().header("x-api-key", WRONG).header("x-api-key", KEY),
            to_health().header("authorization", "Bearer a b").header("x-api-key", "k".repeat(2000)),
        ] {
            assert_eq!(ask(&layer, request).outcome(), "200 -", "{method}");
        }
    }
}

#[test]
fn a_predicate_sees_the_head_and_each_of_several_predicates_can_exempt() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .exempt_if(|head: RequestHead<'_>| head.method() == Method::HEAD)
        .exempt_if(|head| {
            head.uri().path().strip_prefix("/id/").is_some_and(|id| id.parse::<u8>().is_ok())
        })
        .exempt_if(|head| head.extensions().get::<u16>() == Some(&7))
        .exempt_if(|head| head.headers().contains_key("x-open"));
    for (request, outcome) in [
        (Request::head("/"), "200 -"),
        (Request::get("/id/255"), "200 -"),
        (Request::get("/id/256"), "401 missing"),
        (Request::get("/").extension(7_u16), "200 -"),
        (Request::get("/").extension(8_u16), "401 missing"),
        (Request::get("/").header("x-open", ""), "200 -"),
        (Request::get("/").header("x-api-key", KEY), "200 mobile-app"),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(ask(&layer, request).outcome(), outcome, "{shown}");
    }
}

#[test]
fn an_exempt_path_that_matches_no_request_is_an_error_at_start_up() {
    for (path, at) in [
        ("", 0),
        ("health", 0),
        ("*", 0),
        ("http://h/health", 0),
        ("/health?x", 7),
        ("/health#x", 7),
        ("/docs/*", 6),
        ("/docs/**", 6),
        ("/docs/*rest", 6),
        ("/docs/{*rest}", 6),
        ("/docs/{page}/edit", 6),
        ("/docs/:page", 6),
        ("/:page", 1),
        ("/a b", 2),
        ("/a\n", 2),
        ("/caf\u{e9}", 4),
        ("/100%", 4),
        ("/%4", 1),
        ("/a%zz", 2),
        ("/a\\b", 2),
        ("/<page>", 1),
    ] {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys());
        let error = layer.clone().try_exempt_path(path).expect_err(path);
        assert_eq!(error.kind(), ConfigErrorKind::ExemptPath, "{path}");
        assert_eq!(error.position(), Some(at), "{path}");
        assert!(path.len() < 5 || !error.to_string().contains(path), "{error}");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(layer.exempt_path(path))
        }));
        let message = *panic.expect_err(path).downcast::<String>().unwrap();
        assert_eq!(message, error.to_string());
    }
}

#[test]
fn an_exempt_path_that_a_request_can_have_is_bypassed() {
    for path in [
        "/",
        "/health",
        "//health",
        "/health/",
        "/a%20b/%2F",
        "/v1/jobs:cancel",
        "/grpc.health.v1.Health/Check",
        "/~a!$&'()+,;=@-._",
    ] {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys());
        let layer = layer.try_exempt_path(path).expect(path);
        assert_eq!(ask(&layer, Request::get(path)).outcome(), "200 -", "{path}");
        assert_eq!(ask(&layer, Request::get("/elsewhere")).outcome(), "401 missing", "{path}");
    }
}

// OPTIONS without CORS headers is still authenticated.
#[test]
fn r33_only_a_cors_preflight_bypasses_the_layer_and_only_if_configured() {
    let strict = ApiKeyLayer::new(header("x-api-key"), keys());
    let open = strict.clone().pass_preflight();
    for method in ["OPTIONS", "GET", "POST", "HEAD", "options"] {
        for origin in [None, Some("http://example.com"), Some("null"), Some("")] {
            for requested in [None, Some("PUT"), Some("")] {
                let request = || {
                    let mut request = Request::builder().method(method).uri("/p");
                    if let Some(origin) = origin {
                        request = request.header("Origin", origin);
                    }
                    if let Some(requested) = requested {
                        request = request.header("Access-Control-Request-Method", requested);
                    }
                    request
                };
                let is_preflight = method == "OPTIONS" && origin.is_some() && requested.is_some();
                let outcome = if is_preflight { "200 -" } else { "401 missing" };
                let case = (method, origin, requested);
                assert_eq!(ask(&open, request()).outcome(), outcome, "{case:?}");
                assert_eq!(ask(&strict, request()).outcome(), "401 missing", "{case:?}");
                // A preflight needs no key, so a wrong key changes nothing. A valid key is accepted.
                let with_key = |key| request().header("x-api-key", key);
                let expected = if is_preflight { "200 -" } else { "401 unknown" };
                assert_eq!(ask(&open, with_key(WRONG)).outcome(), expected, "{case:?}");
                let accepted = if is_preflight { "200 -" } else { "200 mobile-app" };
                assert_eq!(ask(&open, with_key(KEY)).outcome(), accepted, "{case:?}");
            }
        }
    }
    let headers_alone = Request::options("/").header("origin", "http://o");
    let headers_alone = headers_alone.header("access-control-request-headers", "x-api-key");
    assert_eq!(ask(&open, headers_alone).outcome(), "401 missing");
}

fn preflight() -> request::Builder {
    Request::options("/p")
        .header("origin", "http://o")
        .header("access-control-request-method", "PUT")
}

// An outer layer can insert a client.
#[test]
fn r41_a_client_of_an_outer_layer_is_removed_on_every_path_through_the_layer() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let planted = || Client::new("planted");
    for (name, layer, request) in [
        ("optional", layer.clone().optional(), Request::get("/")),
        ("exempt path", layer.clone().exempt_path("/p"), Request::get("/p")),
        ("exempt by predicate", layer.clone().exempt_if(|_| true), Request::get("/")),
        ("preflight", layer.clone().pass_preflight(), preflight()),
        ("forwarding", layer.clone().forward_key().optional(), Request::get("/")),
    ] {
        let reply = ask(&layer, request.extension(planted()).extension("another"));
        assert_eq!(reply.outcome(), "200 -", "{name}");
        assert_eq!(reply.seen().extensions.get(), Some(&"another"), "{name}");
    }
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY).extension(planted()));
    assert_eq!(reply.outcome(), "200 mobile-app");
    let later = verify::from_async_fn(|_| async { Some(Client::new("found")) });
    let later = ApiKeyLayer::new(header("x-api-key"), later);
    let reply = ask(&later, Request::get("/").header("x-api-key", KEY).extension(planted()));
    assert_eq!(reply.outcome(), "200 found");
    assert_eq!(ask(&layer, Request::get("/").extension(planted())).outcome(), "401 missing");
}

#[test]
fn r41_the_anonymous_extension_of_an_outer_layer_is_removed() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).exempt_path("/open");
    let outer = ask(&layer.clone().optional(), Request::get("/"));
    let mark = || outer.seen().extensions.get::<Anonymous>().unwrap().clone();
    let accepted = Request::get("/").header("x-api-key", KEY).extension(mark());
    for reply in [ask(&layer, accepted), ask(&layer, Request::get("/open").extension(mark()))] {
        assert!(reply.seen().extensions.get::<Anonymous>().is_none(), "{}", reply.outcome());
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Tenant(&'static str);

impl Identity for Tenant {
    fn id(&self) -> &str {
        self.0
    }
}

#[test]
fn r41_a_client_of_a_custom_type_is_removed() {
    let keys: Keyring<Tenant> = Keyring::new();
    keys.insert(KEY, Tenant("acme")).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);

    let reply =
        ask(&layer, Request::get("/").header("x-api-key", KEY).extension(Tenant("planted")));
    assert_eq!(reply.seen().extensions.get(), Some(&Tenant("acme")));
    let reply = ask(&layer.optional(), Request::get("/").extension(Tenant("planted")));
    assert_eq!(reply.seen().extensions.get::<Tenant>(), None);
}

#[test]
fn the_order_is_exempt_preflight_extract_length_verify() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let layer = ApiKeyLayer::new(
        (header("x-api-key"), query("api_key")),
        verify::from_fn(move |_| {
            count.fetch_add(1, SeqCst);
            None::<Client>
        }),
    )
    .exempt_path("/open")
    .pass_preflight()
    .max_key_len(40);
    let two =
        |request: request::Builder| request.header("x-api-key", KEY).header("x-api-key", OTHER);
    assert_eq!(ask(&layer, two(Request::get("/open"))).outcome(), "200 -");
    assert_eq!(ask(&layer, two(preflight())).outcome(), "200 -");
    assert_eq!(ask(&layer, two(Request::get("/"))).outcome(), "400 ambiguous");
    let long = "k".repeat(41);
    let long_twice = Request::get(format!("/?api_key={long}")).header("x-api-key", &long);
    assert_eq!(ask(&layer, long_twice).outcome(), "400 ambiguous");
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", &long)).outcome(), "401 too_long");
    assert_eq!(asked.load(SeqCst), 0);
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", KEY)).outcome(), "401 unknown");
    assert_eq!(asked.load(SeqCst), 1);
}

#[test]
fn a_layer_is_configured_in_any_order_and_a_clone_is_independent() {
    let plain = ApiKeyLayer::new(header("x-api-key"), keys());
    let optional = plain.clone().optional();
    let open = optional.clone().exempt_path("/open").realm("r");
    assert_eq!(ask(&plain, Request::get("/open")).outcome(), "401 missing");
    assert_eq!(ask(&optional, Request::get("/")).outcome(), "200 -");
    assert_eq!(ask(&open, Request::get("/").header("x-api-key", WRONG)).outcome(), "401 unknown");
    let keys = keys();
    let revoking = ApiKeyLayer::new(header("x-api-key"), keys.clone()).forward_key().clone();
    keys.revoke_client("mobile-app");
    assert_eq!(ask(&revoking, Request::get("/").header("x-api-key", KEY)).outcome(), "401 revoked");
    let reply = ask(&revoking, Request::get("/").header("x-api-key", OTHER));
    assert_eq!(reply.seen().headers["x-api-key"], OTHER);
}

#[test]
fn a_service_can_be_built_without_a_layer_and_returns_its_inner_service() {
    let mut service = ApiKeyService::new("inner".to_owned(), header("x-api-key"), keys());
    assert_eq!(service.get_ref(), "inner");
    service.get_mut().push('!');
    assert_eq!(service.clone().into_inner(), "inner!");
}

#[test]
fn a_verifier_can_read_the_head_and_return_any_reason() {
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_fn(|key: &verify::PresentedKey<'_>| match key.head().uri().path() {
            "/expired" => Err(VerifyError::expired()),
            "/revoked" => Err(VerifyError::revoked()),
            "/early" => Err(VerifyError::not_yet_valid()),
            "/down" => Err(VerifyError::failed("down")),
            "/unknown" => Err(VerifyError::unknown()),
            "/none" => Ok(None),
            path => Ok(Some(Client::new(path))),
        }),
    );
    for (path, outcome) in [
        ("/expired", "401 expired"),
        ("/revoked", "401 revoked"),
        ("/early", "401 not_yet_valid"),
        ("/down", "503 failed"),
        ("/unknown", "401 unknown"),
        ("/none", "401 unknown"),
        ("/me", "200 /me"),
    ] {
        assert_eq!(ask(&layer, Request::get(path).header("x-api-key", KEY)).outcome(), outcome);
    }
}
