//! `observe::Tracing`: one structured event for each decision. A caller cannot forge an event.

#![cfg(feature = "tracing")]

use crate::support;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, io,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, Uri, request};
use http_body_util::Full;
use support::{KEY, WRONG, ask, ask_of, log::Log};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring, Rejection,
    extract::{bearer, cookie, header, query},
    observe::{Decision, Observe, Tracing},
    record::Record,
    rejection::Reason,
    verify::{self, PresentedKey, Verify, VerifyError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Empty, Field, Visit},
    info_span,
    span::{Attributes, Id, Record as Recorded},
};
use tracing_subscriber::{Layer, Registry, layer::Context, prelude::*, registry::LookupSpan};

// Events.

type Fields = BTreeMap<String, String>;

/// Records all events, and the last values of the fields of spans.
#[derive(Clone, Default)]
struct Kept {
    events: Arc<Mutex<Vec<(Level, String, Fields)>>>,
    spans: Arc<Mutex<BTreeMap<u64, Fields>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        assert!((0.0..60.0).contains(&value), "{field} is {value}");
        self.0.insert(field.name().to_owned(), "in time".to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        self.events.lock().unwrap().push((level, target, fields));
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        span.record(&mut Into(self.spans.lock().unwrap().entry(id.into_u64()).or_default()));
    }

    fn on_record(&self, id: &Id, fields: &Recorded<'_>, _: Context<'_, S>) {
        fields.record(&mut Into(self.spans.lock().unwrap().entry(id.into_u64()).or_default()));
    }
}

impl Kept {
    fn during(&self, run: impl FnOnce()) {
        tracing::subscriber::with_default(Registry::default().with(self.clone()), run);
    }

    /// Returns the only event since the last call.
    #[track_caller]
    fn event(&self) -> (Level, Fields) {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        let [(level, target, fields)] = <[_; 1]>::try_from(events).unwrap();
        assert_eq!(target, Tracing::TARGET);
        (level, fields)
    }
}

/// Returns a verifier with a key for each reason.
fn verifier() -> impl Verify<Client = Client, Future = verify::Never<Client>> + Clone {
    let keys = Keyring::new();
    for (key, id) in [(KEY, "MobileK1"), ("key-to-be-revoked", "FormerK3")] {
        let record = Record::new(KeyDigest::of(key), Client::new("mobile-app"));
        keys.insert_record(record.with_id(id).unwrap()).unwrap();
    }
    assert!(keys.revoke_key("FormerK3"));
    keys.or(verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"expired" => Err(VerifyError::expired()),
        b"early" => Err(VerifyError::not_yet_valid()),
        b"broken" => Err(VerifyError::failed(io::Error::other("connection refused"))),
        b"nameless" => Ok(Some(Client::new("nameless"))),
        _ => Ok(None),
    }))
}

fn get() -> request::Builder {
    Request::get("/jobs/7?page=2")
}

#[test]
fn r54_each_decision_emits_one_structured_event() {
    let kept = Kept::default();
    let layer = ApiKeyLayer::new(
        (header("x-api-key"), query("api_key"), bearer(), cookie("k")),
        verifier(),
    )
    .exempt_path("/health")
    .observe(Tracing);
    let optional = layer.clone().optional();

    let header = |key: &str| get().header("X-Api-Key", key);
    let of_header = "api_key.location=header x-api-key";
    for (level, request, expected) in [
        (
            Level::DEBUG,
            header(KEY),
            &["accepted", of_header, "api_key.client.id=mobile-app", "api_key.id=MobileK1"][..],
        ),
        (Level::DEBUG, header("nameless"), &["accepted", of_header, "api_key.client.id=nameless"]),
        (
            Level::DEBUG,
            Request::get(format!("/jobs/7?api_key={KEY}")),
            &[
                "accepted",
                "api_key.location=query api_key",
                "api_key.client.id=mobile-app",
                "api_key.id=MobileK1",
            ],
        ),
        (Level::DEBUG, Request::get("/health"), &["exempt", "url.path=/health"]),
        (Level::INFO, get(), &["rejected", "api_key.reason=missing"]),
        (
            Level::INFO,
            header(KEY).header("x-api-key", KEY),
            &["rejected", "api_key.reason=ambiguous"],
        ),
        (
            Level::INFO,
            get().header("authorization", format!("Bearer {WRONG}")),
            &["rejected", "api_key.reason=unknown", "api_key.location=scheme Bearer"],
        ),
        (
            Level::INFO,
            get().header("cookie", "k=a\tb"),
            &["rejected", "api_key.reason=malformed", "api_key.location=cookie k"],
        ),
        (
            Level::INFO,
            header(&"k".repeat(1025)),
            &["rejected", "api_key.reason=too_long", of_header],
        ),
        (Level::INFO, header("early"), &["rejected", "api_key.reason=not_yet_valid", of_header]),
        (Level::INFO, header("expired"), &["rejected", "api_key.reason=expired", of_header]),
        (
            Level::INFO,
            header("key-to-be-revoked"),
            &["rejected", "api_key.reason=revoked", of_header, "api_key.id=FormerK3"],
        ),
        (
            Level::ERROR,
            header("broken"),
            &[
                "rejected",
                "api_key.reason=failed",
                of_header,
                "error.type=failed",
                "exception.message=connection refused",
            ],
        ),
    ] {
        kept.during(|| drop(ask(&layer, request)));
        expect(&kept, level, expected);
    }
    kept.during(|| drop(ask(&optional, get())));
    expect(&kept, Level::DEBUG, &["anonymous"]);
}

#[test]
fn a_reported_rejection_has_a_message_of_its_own() {
    let kept = Kept::default();
    let layer = ApiKeyLayer::new(bearer(), Keyring::single(KEY).unwrap())
        .dangerous_report_only()
        .observe(Tracing);
    kept.during(|| drop(ask(&layer, get())));
    let (level, fields) = kept.event();
    assert_eq!((level, &*fields["api_key.outcome"]), (Level::INFO, "reported"));
    assert_eq!(fields["message"], "request would be rejected (report-only)");
}

/// Checks for one event with these fields and the common ones.
#[track_caller]
fn expect(kept: &Kept, level: Level, fields: &[&str]) {
    let (found_level, found) = kept.event();
    let message = match level {
        Level::DEBUG => "request accepted",
        Level::INFO => "request rejected",
        _ => "API key not verified",
    };
    let mut expected: Fields = [
        ("message", message),
        ("api_key.outcome", fields[0]),
        ("api_key.duration", "in time"),
        ("http.request.method", "GET"),
        ("url.path", "/jobs/7"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for field in &fields[1..] {
        let (name, value) = field.split_once('=').unwrap();
        expected.insert(name.to_owned(), value.to_owned());
    }
    assert_eq!((found_level, found), (level, expected));
}

#[test]
fn an_asynchronous_verifier_emits_one_event_with_its_client_type() {
    #[derive(Clone)]
    struct Tenant;

    impl Identity for Tenant {
        fn id(&self) -> &str {
            "acme"
        }
    }

    let kept = Kept::default();
    let later = verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Some(Tenant)
    });
    let layer = ApiKeyLayer::new(bearer(), later).observe(Tracing);
    kept.during(|| drop(ask(&layer, get().header("authorization", format!("Bearer {KEY}")))));
    let (level, fields) = kept.event();
    assert_eq!((level, &*fields["api_key.client.id"]), (Level::DEBUG, "acme"));
}

#[test]
fn the_event_of_a_failure_has_the_cause_and_its_sources() {
    #[derive(Debug)]
    struct Wrapped(&'static str, Option<Box<Self>>);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    /// This error is its own source.
    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    let kept = Kept::default();
    let message = |error: fn() -> VerifyError| {
        let failing = verify::from_fn(move |_| Err::<Option<Client>, _>(error()));
        let layer = ApiKeyLayer::new(header("x-api-key"), failing).observe(Tracing);
        kept.during(|| drop(ask(&layer, get().header("x-api-key", KEY))));
        kept.event().1["exception.message"].clone()
    };
    let wrapped = || {
        let innermost = Wrapped("os error 111\n\x1b[2J", None);
        let inner = Wrapped("no \"connection\"", Some(Box::new(innermost)));
        VerifyError::failed(Wrapped("can't ask the store", Some(Box::new(inner))))
    };
    assert_eq!(
        message(wrapped),
        r#"can't ask the store: no "connection": os error 111\n\u{1b}[2J"#
    );
    assert_eq!(message(|| VerifyError::failed(Circle)), ["round"; 8].join(": "));
    assert_eq!(message(|| VerifyError::failed("x".repeat(4000))).chars().count(), 1025);
}

// The span of a request.

#[test]
fn a_span_that_declares_the_fields_has_the_client_and_the_key() {
    let kept = Kept::default();
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier()).observe(Tracing);
    kept.during(|| {
        let span = info_span!(
            "request",
            api_key.client.id = Empty,
            api_key.id = Empty,
            api_key.outcome = Empty,
            api_key.reason = Empty,
        );
        span.in_scope(|| ask(&layer, get().header("x-api-key", KEY)));
        let rejected = info_span!("request", api_key.id = Empty, api_key.reason = Empty);
        rejected.in_scope(|| ask(&layer, get().header("x-api-key", "key-to-be-revoked")));
        let other = info_span!("other", client = "other");
        other.in_scope(|| ask(&layer, get().header("x-api-key", KEY)));
        for (span, expected) in [
            (
                span,
                &[
                    ("api_key.client.id", "mobile-app"),
                    ("api_key.id", "MobileK1"),
                    ("api_key.outcome", "accepted"),
                ][..],
            ),
            (rejected, &[("api_key.id", "FormerK3"), ("api_key.reason", "revoked")]),
            (other, &[("client", "other")]),
        ] {
            let spans = kept.spans.lock().unwrap();
            let fields = &spans[&span.id().unwrap().into_u64()];
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(fields, expected);
        }
    });
}

/// Returns the log of a closure as lines of text, without the time.
fn lines_of(run: impl FnOnce()) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.writer())
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    log.text()
}

#[tokio::test]
async fn every_log_line_in_the_span_of_tower_http_names_the_client() {
    use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
    use tower_http::trace::TraceLayer;

    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.writer())
        .with_max_level(Level::INFO)
        .with_ansi(false)
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let later = verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Some(Client::new("later").with_key_id("k_17"))
    });
    let handle = tower::service_fn(async |_: Request<String>| {
        tracing::info!("the handler's own line");
        Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    });
    let span =
        |_: &Request<String>| info_span!("request", api_key.client.id = Empty, api_key.id = Empty);
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(ApiKeyLayer::new(header("x-api-key"), later).observe(Tracing))
        .into_inner();
    let request = get().header("x-api-key", KEY).body(String::new()).unwrap();
    layers.layer(handle).oneshot(request).await.unwrap();
    let log = log.text();
    let line = log.lines().find(|line| line.contains("the handler's own line")).unwrap();
    let span = r#"request{api_key.client.id="later" api_key.id="k_17"}"#;
    assert!(line.contains(span), "{log}");
}

// Text in a path, a method or a header adds no line to the log.

#[test]
fn r54_text_from_a_caller_is_escaped_and_clipped() {
    // `Uri` rejects only the control characters of ASCII. All other bytes reach a service.
    let mut hostile = b"/".to_vec();
    hostile.extend(
        (0x21..=0x7F)
            .filter(|byte| !b"?#".contains(byte))
            .filter(|byte| Uri::try_from([b"/", &[*byte][..]].concat()).is_ok()),
    );
    assert!(br#""\{|}"#.iter().all(|byte| hostile.contains(byte)));
    hostile.extend("\u{9b}2J\u{85}\u{202e}\u{2028}ä".as_bytes());
    let path = String::from_utf8(hostile).unwrap();
    let long = format!("/{}", "a".repeat(9000));
    let method = "M".repeat(300);
    let method_of_many_signs = "!#$%&'*+-.^_`|~0";

    let verifier =
        verify::from_fn(|_| Some(Client::new("a\x1b[2J\nINFO forged").with_key_id("\u{9b}")));
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier).observe(Tracing);
    for (path, method) in [(&path, method_of_many_signs), (&long, &method)] {
        let log = lines_of(|| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = Request::builder().method(method).uri(Uri::try_from(path).unwrap());
            let request =
                request.header("user-agent", "forged\tby header").header("x-api-key", KEY);
            assert_eq!(ask(&layer, request).status(), 200);
        });
        assert_eq!(log.matches('\n').count(), 1, "{log}");
        let seen = |char: char| char == '\n' || char == '…' || matches!(char, ' '..='~');
        assert!(log.chars().all(seen) && !log.contains("forged by"), "{log}");
        assert!(log.contains(r#"http.request.method="_OTHER""#), "{log}");
        assert!(!log.contains(&"a".repeat(257)) && !log.contains(&"M".repeat(257)), "{log}");
        assert!(log.len() < 2000, "{log}");
    }

    let kept = Kept::default();
    kept.during(|| {
        let request = Request::builder().method(method_of_many_signs).uri(&path);
        ask(&layer, request.header("x-api-key", KEY));
    });
    let (_, fields) = kept.event();
    assert!(fields["url.path"].ends_with("~%C2%9B2J%C2%85%E2%80%AE%E2%80%A8%C3%A4"), "{fields:?}");
    assert_eq!(fields["http.request.method_original"], method_of_many_signs);
    assert_eq!(fields["api_key.client.id"], r"a\u{1b}[2J\nINFO forged");
    assert_eq!(fields["api_key.id"], r"\u{9b}");
}

#[test]
fn the_log_has_no_key_and_no_query() {
    let layer =
        ApiKeyLayer::new((query("api_key"), header("x-api-key")), verifier()).observe(Tracing);
    for key in [KEY, WRONG, "key-to-be-revoked"] {
        let log = lines_of(|| {
            ask(&layer, Request::get(format!("/p?api_key={key}&name=value")));
            ask(&layer, get().header("x-api-key", key));
            ask_of(&layer, get().header("x-api-key", key), |_| Response::default());
        });
        let digest = KeyDigest::of(key).encode();
        let secret = [key, "name=value", "page=2", digest.split_once(':').unwrap().1];
        assert_eq!(log.lines().count(), 3);
        assert!(!secret.iter().any(|secret| log.contains(secret)), "{log}");
    }
}

#[test]
fn a_limited_request_names_its_limits_which_no_reader_of_lines_obeys() {
    let kept = Kept::default();
    for (names, field) in
        [(&[][..], None), (&["hour"], Some("hour")), (&["hour", "a\nb"], Some(r"hour, a\nb"))]
    {
        let rejection = Rejection::new(Reason::Limited).with_violated_limits(names.to_vec());
        kept.during(|| Tracing.on_guard(&Decision::<Client>::by_guard(&rejection, None)));
        let (level, fields) = kept.event();
        assert_eq!((level, &*fields["message"]), (Level::INFO, "request limited"));
        assert_eq!(fields.get("api_key.limit").map(String::as_str), field);
    }
}

#[test]
fn the_event_of_a_guard_has_the_name_of_the_guard() {
    let kept = Kept::default();
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier()).observe(Tracing);
    let client = Client::new("mobile-app");
    for (guard, expected) in [(Some("region"), Some("region")), (None, None)] {
        let rejection = Rejection::new(Reason::Forbidden);
        let rejection = guard.map_or(rejection.clone(), |name| rejection.with_guard(name));
        kept.during(|| Tracing.on_guard(&Decision::by_guard(&rejection, Some(&client))));
        let (level, fields) = kept.event();
        assert_eq!(level, Level::INFO);
        assert_eq!(fields.get("api_key.guard").map(String::as_str), expected);
        assert_eq!(fields["api_key.client.id"], "mobile-app");
    }
    kept.during(|| drop(ask(&layer, get())));
    assert!(!kept.event().1.contains_key("api_key.guard"));
}
