//! Names of places, from literals and from configuration: told to be bad before the first request.

use crate::support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::Request;
use support::{Any, KEY, ask, keys};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, Keyring, Place,
    error::{ConfigError, ConfigErrorKind},
    extract::{
        self, Cookie, Extract, Extracted, Head, Header, Query, Scheme, bearer, cookie, first_of,
        header, query, scheme,
    },
    place::PlaceKind,
};

#[test]
fn a_header_is_named_in_any_case() {
    for name in ["x-api-key", "X-Api-Key", "X-API-KEY"] {
        let layer = ApiKeyLayer::new(header(name), keys());
        assert_eq!(layer.places()[0].name(), "x-api-key");
        assert_eq!(ask(&layer, Request::get("/").header("x-Api-kEy", KEY)).status(), 200);
    }
}

#[test]
fn bad_names_are_told_before_the_first_request_and_never_repeated() {
    use ConfigErrorKind as Kind;

    fn kind<T>(name: &str, made: Result<T, ConfigError>) -> ConfigErrorKind {
        let error = made.err().unwrap_or_else(|| panic!("{name:?} was taken"));
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(name.trim().len() < 8 || !text.contains(name), "{text}");
        }
        error.kind()
    }

    for name in ["", " ", "with blank", "with:colon", "with\nbreak", "caf\u{e9}-header"] {
        assert_eq!(kind(name, Header::try_new(name)), Kind::HeaderName);
        assert_eq!(kind(name, Place::try_header(name)), Kind::HeaderName);
        assert_eq!(kind(name, Cookie::try_new(name)), Kind::CookieName);
        assert_eq!(kind(name, Place::try_cookie(name)), Kind::CookieName);
        assert_eq!(kind(name, Scheme::try_new(name)), Kind::Scheme);
        assert_eq!(kind(name, Place::try_scheme(name)), Kind::Scheme);
    }
    for name in ["", " ", "with blank", "with\nbreak", "caf\u{e9}-query"] {
        assert_eq!(kind(name, Query::try_new(name)), Kind::QueryName);
        assert_eq!(kind(name, Place::try_query(name)), Kind::QueryName);
    }
    for name in ["authorization", "Authorization", "COOKIE", "cookie"] {
        assert_eq!(kind("", Header::try_new(name)), Kind::ReservedHeader);
        let text = Header::try_new(name).unwrap_err().to_string();
        assert!(["bearer()", "scheme(", "cookie("].iter().all(|it| text.contains(it)), "{text}");
    }
    for good in ["a", "api_key", "api[key]", "k\"\\&=+%"] {
        assert!(Query::try_new(good).is_ok(), "{good}");
    }
    for good in ["__Host-key", "a", "!#$%&'*+-.^_`|~09azAZ"] {
        assert!(Cookie::try_new(good).is_ok() && Scheme::try_new(good).is_ok(), "{good}");
    }
}

#[test]
fn a_bad_literal_panics_at_start_up() {
    for build in [
        || drop(header("with blank")),
        || drop(header("authorization")),
        || drop(header("cookie")),
        || drop(query("")),
        || drop(cookie("a=b")),
        || drop(scheme("two words")),
        || drop(Place::header("")),
        || drop(Place::query("a b")),
        || drop(Place::cookie("")),
        || drop(Place::scheme("")),
        || drop(ApiKeyLayer::new((query("a"), query("a")), Keyring::<Client>::new())),
        || drop(ApiKeyService::new((), (bearer(), scheme("bearer")), Keyring::<Client>::new())),
    ] as [fn(); 12]
    {
        assert!(catch_unwind(AssertUnwindSafe(build)).is_err());
    }
}

#[test]
fn one_place_named_twice_is_refused() {
    fn any(extract: impl Extract + Send + Sync + 'static) -> Any {
        Box::new(extract)
    }
    for twice in [
        any((header("x-api-key"), header("X-API-KEY"))),
        any((query("k"), query("k"))),
        any((cookie("k"), cookie("k"))),
        any((bearer(), scheme("BEARER"))),
        any((scheme("Token"), scheme("token"))),
        any((header("a"), (header("b"), header("a")))),
        any(first_of((query("k"), bearer(), query("k")))),
        any((header("a"), extract::from_fn(Place::header("A"), |_| Extracted::Absent))),
    ] {
        let error = ApiKeyLayer::try_new(twice, keys()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::DuplicatePlace);
    }
    for fine in [
        any((header("k"), (query("k"), cookie("k"), scheme("k")))),
        any((query("k"), query("K"))),
        any((cookie("k"), cookie("K"))),
        any((bearer(), scheme("Token"))),
    ] {
        assert!(ApiKeyLayer::try_new(fine, keys()).is_ok());
    }
}

#[test]
fn an_extractor_without_a_place_is_refused() {
    struct Nowhere;
    impl Extract for Nowhere {
        fn places(&self) -> Vec<Place> {
            Vec::new()
        }

        fn extract<'a>(&'a self, _: Head<'a>) -> Extracted<'a> {
            Extracted::Absent
        }
    }
    let error = ApiKeyLayer::try_new(Nowhere, keys()).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::NoPlace);
}

#[test]
fn places_say_what_an_openapi_document_needs() {
    let all = (header("X-Api-Key"), query("api_key"), cookie("sid"), bearer(), scheme("Token"));
    let layer = ApiKeyLayer::new(all, keys());
    let told: Vec<_> = layer
        .places()
        .iter()
        .map(|place| (place.kind().as_str(), place.name(), place.is_bearer()))
        .collect();
    assert_eq!(
        told,
        [
            ("header", "x-api-key", false),
            ("query", "api_key", false),
            ("cookie", "sid", false),
            ("scheme", "Bearer", true),
            ("scheme", "Token", false),
        ]
    );
    assert!(Place::scheme("bEARER").is_bearer());
    assert_eq!(Place::scheme("bEARER"), Place::bearer());
    assert_eq!(Place::header("X-Key"), Place::header("x-key"));
    assert_eq!(Place::query("a").kind(), PlaceKind::Query);
}

#[test]
fn a_header_that_has_another_meaning_takes_no_key() {
    for name in [
        "proxy-authorization",
        "Proxy-Authorization",
        "proxy-authenticate",
        "www-authenticate",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "content-length",
        "content-type",
        "content-encoding",
        "set-cookie",
        "origin",
    ] {
        for error in [Header::try_new(name).map(drop), Place::try_header(name).map(drop)] {
            let error = error.expect_err(name);
            assert_eq!(error.kind(), ConfigErrorKind::TakenHeader, "{name}");
            assert!(error.to_string().contains("`x-api-key`"), "{error}");
        }
        assert!(catch_unwind(|| header(name)).is_err(), "{name}");
    }
    for name in ["x-api-key", "x-host", "x-goog-api-key", "ocp-apim-subscription-key", "api-key"] {
        assert!(Header::try_new(name).is_ok(), "{name}");
    }
}
