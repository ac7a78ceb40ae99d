//! Names of locations. A bad name is an error before the first request.

use crate::support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::Request;
use support::{Any, KEY, ask, keys};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, KeyLocation, Keyring,
    error::{ConfigError, ConfigErrorKind},
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, header, query, scheme,
    },
    location::LocationKind,
};

#[test]
fn a_header_is_named_in_any_case() {
    for name in ["x-api-key", "X-Api-Key", "X-API-KEY"] {
        let layer = ApiKeyLayer::new(header(name), keys());
        assert_eq!(layer.locations()[0].name(), "x-api-key");
        assert_eq!(ask(&layer, Request::get("/").header("x-Api-kEy", KEY)).status(), 200);
    }
}

#[test]
fn a_bad_name_is_an_error_that_does_not_repeat_the_name() {
    use ConfigErrorKind as Kind;

    fn kind<T>(name: &str, made: Result<T, ConfigError>) -> ConfigErrorKind {
        let error = made.err().unwrap_or_else(|| panic!("{name:?} was accepted"));
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(name.trim().len() < 8 || !text.contains(name), "{text}");
        }
        error.kind()
    }

    for name in ["", " ", "with blank", "with:colon", "with\nbreak", "caf\u{e9}-header"] {
        assert_eq!(kind(name, KeyLocation::try_header(name)), Kind::HeaderName);
        assert_eq!(kind(name, KeyLocation::try_header(name)), Kind::HeaderName);
        assert_eq!(kind(name, KeyLocation::try_cookie(name)), Kind::CookieName);
        assert_eq!(kind(name, KeyLocation::try_cookie(name)), Kind::CookieName);
        assert_eq!(kind(name, KeyLocation::try_scheme(name)), Kind::Scheme);
        assert_eq!(kind(name, KeyLocation::try_scheme(name)), Kind::Scheme);
    }
    for name in ["", " ", "with blank", "with\nbreak", "caf\u{e9}-query"] {
        assert_eq!(kind(name, KeyLocation::try_query(name)), Kind::QueryName);
        assert_eq!(kind(name, KeyLocation::try_query(name)), Kind::QueryName);
    }
    for name in ["authorization", "Authorization", "COOKIE", "cookie"] {
        assert_eq!(kind("", KeyLocation::try_header(name)), Kind::ReservedHeader);
        let text = KeyLocation::try_header(name).unwrap_err().to_string();
        assert!(["bearer()", "scheme(", "cookie("].iter().all(|it| text.contains(it)), "{text}");
    }
    for good in ["a", "api_key", "api[key]", "k\"\\&=+%"] {
        assert!(KeyLocation::try_query(good).is_ok(), "{good}");
    }
    for good in ["__Host-key", "a", "!#$%&'*+-.^_`|~09azAZ"] {
        assert!(
            KeyLocation::try_cookie(good).is_ok() && KeyLocation::try_scheme(good).is_ok(),
            "{good}"
        );
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
        || drop(KeyLocation::header("")),
        || drop(KeyLocation::query("a b")),
        || drop(KeyLocation::cookie("")),
        || drop(KeyLocation::scheme("")),
        || drop(ApiKeyLayer::new((query("a"), query("a")), Keyring::<Client>::new())),
        || drop(ApiKeyService::new((), (bearer(), scheme("bearer")), Keyring::<Client>::new())),
    ] as [fn(); 12]
    {
        assert!(catch_unwind(AssertUnwindSafe(build)).is_err());
    }
}

#[test]
fn a_duplicate_location_is_an_error() {
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
        any((header("a"), extract::from_fn(KeyLocation::header("A"), |_| Extracted::Absent))),
    ] {
        let error = ApiKeyLayer::try_new(twice, keys()).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::DuplicateLocation);
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
fn an_extractor_without_a_location_is_an_error() {
    struct Nowhere;
    impl Extract for Nowhere {
        fn locations(&self) -> Vec<KeyLocation> {
            Vec::new()
        }

        fn extract<'a>(&'a self, _: RequestHead<'a>) -> Extracted<'a> {
            Extracted::Absent
        }
    }
    let error = ApiKeyLayer::try_new(Nowhere, keys()).unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::NoLocation);
}

#[test]
fn locations_provide_the_fields_of_an_openapi_document() {
    let all = (header("X-Api-Key"), query("api_key"), cookie("sid"), bearer(), scheme("Token"));
    let layer = ApiKeyLayer::new(all, keys());
    let fields: Vec<_> = layer
        .locations()
        .iter()
        .map(|location| (location.kind().as_str(), location.name(), location.is_bearer()))
        .collect();
    assert_eq!(
        fields,
        [
            ("header", "x-api-key", false),
            ("query", "api_key", false),
            ("cookie", "sid", false),
            ("scheme", "Bearer", true),
            ("scheme", "Token", false),
        ]
    );
    assert!(KeyLocation::scheme("bEARER").is_bearer());
    assert_eq!(KeyLocation::scheme("bEARER"), KeyLocation::bearer());
    assert_eq!(KeyLocation::header("X-Key"), KeyLocation::header("x-key"));
    assert_eq!(KeyLocation::query("a").kind(), LocationKind::Query);
}

#[test]
fn a_header_with_another_meaning_cannot_be_a_location() {
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
        for error in
            [KeyLocation::try_header(name).map(drop), KeyLocation::try_header(name).map(drop)]
        {
            let error = error.expect_err(name);
            assert_eq!(error.kind(), ConfigErrorKind::TakenHeader, "{name}");
            assert!(error.to_string().contains("`x-api-key`"), "{error}");
        }
        assert!(catch_unwind(|| header(name)).is_err(), "{name}");
    }
    for name in ["x-api-key", "x-host", "x-goog-api-key", "ocp-apim-subscription-key", "api-key"] {
        assert!(KeyLocation::try_header(name).is_ok(), "{name}");
    }
}
