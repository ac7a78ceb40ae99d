//! Guards of any crate: written here with the public API alone, inside and outside of a layer.

use crate::support;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::WWW_AUTHENTICATE};
use http_body_util::Full;
use support::services::ask;
use tower::{Layer, Service, ServiceExt, layer::layer_fn, service_fn, util::BoxCloneSyncService};
use tower_api_key::{
    Anonymous, ApiKeyLayer, Client, Identity, KeyLocation, Keyring, Rejection, ResponseBody,
    extract::{RequestHead, bearer, header},
    observe::{Decision, Observe, Outcome},
    rejection::{Reason, RejectionKind},
    respond::{self, Problem, RejectionWriter, Text},
    verify::VerifyError,
};

const KEY: &str = "key-of-the-client-0123456789";

fn keys() -> Keyring {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("ci").with_key_id("k_42")).unwrap();
    keys
}

fn layer() -> ApiKeyLayer<KeyLocation, Keyring> {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

type Inner = BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;

fn inner() -> Inner {
    Inner::new(service_fn(async |_| Ok(Response::new(Full::from("done")))))
}

/// A guard that rejects every client for one reason, as a guard of another crate would.
#[derive(Clone)]
struct Guard<S> {
    inner: S,
    rejection: Rejection,
    style: Option<RejectionWriter>,
}

impl<S, B, B2> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<B2>, Future: Send + 'static> + Clone,
    S::Error: Send + 'static,
    B2: From<Bytes> + Send + 'static,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B2>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::of(&request);
        let client = head.extensions().get::<Client>();
        let anonymous = Anonymous::of::<Client>(head.extensions());
        let response = match (client, anonymous) {
            (Some(client), _) if client.has_scope("anything") => {
                return Box::pin(self.inner.call(request));
            }
            (None, Some(anonymous)) => anonymous.reject(head),
            (None, None) if self.style.is_none() => {
                respond::server_error(head, "Add 100% of an `ApiKeyLayer`.")
            }
            _ => match &self.style {
                Some(writer) => writer.write(head, self.rejection.clone()),
                None => respond::reject(head, self.rejection.clone()),
            },
        };
        self.inner = self.inner.clone();
        Box::pin(async { Ok(response.map(Into::into)) })
    }
}

fn guard(reason: Reason) -> impl Layer<Inner, Service = Guard<Inner>> + Clone {
    with_style(Rejection::new(reason), None)
}

fn with_style(
    rejection: Rejection,
    style: Option<RejectionWriter>,
) -> impl Layer<Inner, Service = Guard<Inner>> + Clone {
    layer_fn(move |inner| Guard { inner, rejection: rejection.clone(), style: style.clone() })
}

fn get() -> Request<()> {
    Request::get("/jobs?secret=1").header("x-api-key", KEY).body(()).unwrap()
}

fn grpc() -> Request<()> {
    let request = Request::post("/jobs").header("content-type", "application/grpc");
    request.header("x-api-key", KEY).body(()).unwrap()
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note<C: Identity>(&self, event: &str, decision: &Decision<'_, C>) {
        let client = decision.client().map_or("-", C::id);
        self.0.lock().unwrap().push(format!(
            "{event} {} {client} {} {} {}",
            decision.outcome().as_str(),
            decision.key_id().unwrap_or("-"),
            decision.method(),
            decision.path(),
        ));
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<C: Identity> Observe<C> for Notes {
    fn on_decision(&self, decision: &Decision<'_, C>) {
        self.note("decision", decision);
    }

    fn on_guard(&self, decision: &Decision<'_, C>) {
        self.note("guard", decision);
    }
}

// The style of a rejection.

#[tokio::test]
async fn a_guard_inside_rejects_in_the_style_of_the_layer() {
    let styled = ApiKeyLayer::new((bearer(), header("x-api-key")), keys())
        .realm("jobs")
        .respond(Problem::default());
    let reply = ask(styled.layer(guard(Reason::InsufficientScope).layer(inner())), get()).await;
    assert_eq!((reply.status, reply.reason), (403, Some(Reason::InsufficientScope)));
    assert_eq!(reply.line("content-type"), "application/problem+json");
    assert!(reply.body.starts_with(br#"{"type":"about:blank","title":"Forbidden""#));
    let challenge = r#"Bearer realm="jobs", error="insufficient_scope""#;
    let lines: Vec<_> = reply.headers.get_all(WWW_AUTHENTICATE).iter().collect();
    assert_eq!(lines, [challenge]);
    assert_eq!(reply.line("cache-control"), "no-store");

    // A responder can turn a 403 into a 401, which has a line for each location.
    let hidden = styled
        .respond(|_: &Rejection| Response::builder().status(401).body("who are you?").unwrap());
    let reply = ask(hidden.layer(guard(Reason::Forbidden).layer(inner())), get()).await;
    assert_eq!((reply.status, &*reply.body), (401, &b"who are you?"[..]));
    let lines = reply.headers.get_all(WWW_AUTHENTICATE).iter();
    let lines: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
    assert_eq!(
        lines,
        [r#"Bearer realm="jobs""#, r#"ApiKey realm="jobs", in="header", name="x-api-key""#]
    );
}

#[tokio::test]
async fn each_reason_of_a_guard_has_a_status_for_http_and_grpc() {
    for (reason, status, code, body) in [
        (Reason::Forbidden, 403, "7", r#"{"error":"Forbidden"}"#),
        (Reason::Limited, 429, "8", r#"{"error":"Too many requests"}"#),
        (Reason::TooManyFailures, 429, "8", r#"{"error":"Too many requests"}"#),
        (Reason::Failed, 503, "14", r#"{"error":"Service unavailable"}"#),
    ] {
        let service = layer().layer(guard(reason).layer(inner()));
        let reply = ask(service.clone(), get()).await;
        assert_eq!((reply.status, &*reply.body), (status, body.as_bytes()));
        assert_eq!((reply.reason, reply.line("cache-control")), (Some(reason), "no-store"));
        assert!(!reply.headers.contains_key(WWW_AUTHENTICATE));
        assert_eq!(reply.line("retry-after"), if status == 429 { "1" } else { "" });

        let reply = ask(service, grpc()).await;
        assert_eq!((reply.status, reply.line("grpc-status")), (200, code));
        assert_eq!((reply.line("content-type"), reply.body.len()), ("application/grpc", 0));
        assert_eq!(reply.line("grpc-retry-pushback-ms"), if code == "8" { "1000" } else { "" });
    }
    assert_eq!(Rejection::new(Reason::Limited).kind(), RejectionKind::Limited);
}

#[tokio::test]
async fn a_cost_above_the_limit_is_429_without_a_time_because_no_retry_can_succeed() {
    let service = layer().retry_after(Duration::from_secs(7));
    let service = service.layer(guard(Reason::CostAboveLimit).layer(inner()));
    let reply = ask(service.clone(), get()).await;
    assert_eq!((reply.status, reply.reason), (429, Some(Reason::CostAboveLimit)));
    assert_eq!(&*reply.body, br#"{"error":"Too many requests"}"#);
    let grpc = ask(service, grpc()).await;
    assert_eq!((grpc.status, grpc.line("grpc-status")), (200, "8"));
    for name in ["retry-after", "grpc-status-details-bin"] {
        assert!(!reply.headers.contains_key(name) && !grpc.headers.contains_key(name), "{name}");
    }
    // A negative pushback means that a stub must not retry (gRFC A6).
    assert_eq!(
        (reply.line("grpc-retry-pushback-ms"), grpc.line("grpc-retry-pushback-ms")),
        ("", "-1")
    );
    let rejection = Rejection::new(Reason::CostAboveLimit);
    assert_eq!((rejection.kind(), rejection.retry_after()), (RejectionKind::Limited, None));
}

#[tokio::test]
async fn a_problem_of_a_limit_has_the_type_of_the_draft_and_the_names_of_violated_limits() {
    let quota = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    let start = |status: u16| {
        format!(r#"{{"type":"{quota}","title":"The request exceeds a quota","status":{status},"#)
    };
    for (reason, names, end) in [
        (Reason::Limited, &[][..], ""),
        (Reason::Limited, &["hour"], r#","violated-policies":["hour"]"#),
        (
            Reason::CostAboveLimit,
            &["hour", "a \"b\""],
            r#","violated-policies":["hour","a \"b\""]"#,
        ),
        (Reason::TooManyFailures, &["failures"], r#","violated-policies":["failures"]"#),
    ] {
        let rejection = Rejection::new(reason).with_violated_limits(names.iter().copied());
        let service = layer().respond(Problem::default().type_uri("https://example.com/401"));
        let reply = ask(service.layer(with_style(rejection, None).layer(inner())), get()).await;
        let body = format!(r#"{}"detail":"Too many requests"{end}}}"#, start(429));
        assert_eq!((reply.status, &*reply.body), (429, body.as_bytes()));
        assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok());
    }
    // A rejection for another reason keeps its type.
    let forbidden = Rejection::new(Reason::Forbidden).with_violated_limits(["odd"]);
    let service = layer().respond(Problem::default());
    let reply = ask(service.layer(with_style(forbidden, None).layer(inner())), get()).await;
    assert!(reply.body.starts_with(br#"{"type":"about:blank","title":"Forbidden","status":403"#));
}

#[test]
fn names_of_limits_stay_with_the_cause_and_the_id_of_a_key() {
    let failed = Rejection::from(VerifyError::failed("down").with_key_id("k_7"));
    let clone = failed.clone();
    let limited =
        failed.with_violated_limits(vec!["day".to_owned()]).with_violated_limits(["hour"]);
    assert!(limited.violated_limits().eq(["hour"]) && clone.violated_limits().eq([""; 0]));
    for rejection in [limited, clone] {
        assert_eq!(rejection.key_id(), Some("k_7"));
        assert_eq!(std::error::Error::source(&rejection).unwrap().to_string(), "down");
    }
}

#[tokio::test]
async fn retry_after_of_a_rejection_is_in_whole_seconds_and_at_least_one() {
    for (wait, seconds, millis) in [
        (Duration::ZERO, "1", "1000"),
        (Duration::from_millis(1001), "2", "2000"),
        (Duration::from_secs(120), "120", "120000"),
        (Duration::MAX, "4294967295", "2147483647"),
    ] {
        for reason in [Reason::Limited, Reason::Failed, Reason::Forbidden] {
            let rejection = Rejection::new(reason).with_retry_after(wait);
            // The time of the layer is for rejections without a time.
            let service = layer().retry_after(Duration::from_secs(7));
            let service = service.layer(with_style(rejection, None).layer(inner()));
            assert_eq!(ask(service.clone(), get()).await.line("retry-after"), seconds);
            let reply = ask(service, grpc()).await;
            assert_eq!(reply.line("grpc-retry-pushback-ms"), millis);
        }
    }
    let service = layer().retry_after(Duration::from_secs(7));
    let reply = ask(service.layer(guard(Reason::Failed).layer(inner())), get()).await;
    assert_eq!(reply.line("retry-after"), "7");
}

#[tokio::test]
async fn a_guard_outside_rejects_in_the_style_of_the_layer_by_its_writer() {
    let styled = ApiKeyLayer::new(bearer(), keys()).realm("jobs").respond(Problem::default());
    let writer = styled.rejection_writer();
    assert_eq!(format!("{writer:?}"), r#"RejectionWriter { realm: "jobs", .. }"#);
    for (writer, content_type, challenge) in [
        (writer.clone(), "application/problem+json", r#"Bearer realm="jobs""#),
        (
            writer.with_responder(Text::default()),
            "text/plain; charset=utf-8",
            r#"Bearer realm="jobs""#,
        ),
        (RejectionWriter::default(), "application/json", ""),
    ] {
        let outside = Rejection::new(Reason::Expired);
        let service = with_style(outside, Some(writer.clone())).layer(inner());
        let reply = ask(service, Request::default()).await;
        assert_eq!((reply.status, reply.line("content-type")), (401, content_type));
        assert_eq!(reply.line("www-authenticate"), challenge);
        assert_eq!(
            (reply.line("cache-control"), reply.reason),
            ("no-store", Some(Reason::Expired))
        );

        // Inside of a layer of another style, the writer wins.
        let inside = with_style(Rejection::new(Reason::Forbidden), Some(writer));
        let reply = ask(layer().respond(Text::default()).layer(inside.layer(inner())), get()).await;
        assert_eq!((reply.status, reply.line("content-type")), (403, content_type));
    }
}

#[tokio::test]
async fn a_rewritten_response_keeps_the_headers_of_the_guard_and_drops_those_of_its_body() {
    let added = [
        ("ratelimit", "\"burst\";r=0"),
        ("etag", "\"x\""),
        ("content-digest", "sha-256=:x:"),
        ("content-encoding", "gzip"),
        ("content-length", "21"),
        ("www-authenticate", "Guard one"),
    ];
    let between = |guarded: Guard<Inner>| {
        guarded.map_response(move |mut response: Response<Full<Bytes>>| {
            for (name, line) in added {
                response.headers_mut().insert(name, line.parse().unwrap());
            }
            response
        })
    };
    let styled = ApiKeyLayer::new(header("x-api-key"), keys()).respond(Problem::default());
    let reply = ask(styled.layer(between(guard(Reason::Limited).layer(inner()))), get()).await;
    assert_eq!((reply.status, reply.line("content-type")), (429, "application/problem+json"));
    assert_eq!(reply.line("ratelimit"), "\"burst\";r=0");
    assert_eq!(reply.line("www-authenticate"), "Guard one");
    for name in ["etag", "content-digest", "content-encoding", "content-length"] {
        assert!(!reply.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_response_that_a_layer_between_has_changed_stays_as_it_is() {
    let styled = || ApiKeyLayer::new(bearer(), keys()).respond(Problem::default());
    let keyed = || {
        let request = Request::get("/").header("authorization", format!("Bearer {KEY}"));
        request.body(()).unwrap()
    };
    let notes = Notes::default();
    let guarded = guard(Reason::Forbidden).layer(inner());
    let hidden = guarded.clone().map_response(|mut response: Response<Full<Bytes>>| {
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response.map(|_| Full::from("nothing here"))
    });
    let reply = ask(styled().observe(notes.clone()).layer(hidden), keyed()).await;
    assert_eq!((reply.status, &*reply.body), (404, &b"nothing here"[..]));
    assert_eq!(notes.taken().len(), 2);
    let page = guarded.map_response(|mut response: Response<Full<Bytes>>| {
        response.headers_mut().insert("content-type", "text/html".parse().unwrap());
        response.map(|_| Full::from("<h1>no</h1>"))
    });
    let reply = ask(styled().layer(page), keyed()).await;
    assert_eq!((reply.status, &*reply.body), (403, &b"<h1>no</h1>"[..]));
}

#[tokio::test]
async fn a_guard_without_a_client_rejects_as_the_optional_layer_or_reports_the_order_of_layers() {
    let service = layer().realm("jobs").optional().layer(guard(Reason::Limited).layer(inner()));
    let reply = ask(service, Request::default()).await;
    assert_eq!((reply.status, reply.reason), (401, Some(Reason::Missing)));
    assert!(reply.line("www-authenticate").contains("jobs"));

    let alone = guard(Reason::Limited).layer(inner());
    let reply = ask(alone.clone(), get()).await;
    assert_eq!((reply.status, &*reply.body), (500, &b"Add 100% of an `ApiKeyLayer`."[..]));
    assert_eq!((reply.line("cache-control"), reply.reason), ("no-store", None));
    let reply = ask(alone, grpc()).await;
    assert_eq!((reply.status, reply.line("grpc-status")), (200, "13"));
    assert_eq!(reply.line("grpc-message"), "Add 100%25 of an `ApiKeyLayer`.");
}

#[tokio::test]
async fn a_response_with_extensions_of_its_own_is_not_rewritten() {
    let inner = service_fn(async |_: Request<()>| {
        let mut response = Response::builder().status(403).body(Full::from("mine")).unwrap();
        response.extensions_mut().insert(Rejection::new(Reason::Forbidden));
        Ok::<_, Infallible>(response)
    });
    let notes = Notes::default();
    let service = layer().respond(Problem::default()).observe(notes.clone()).layer(inner);
    let reply = ask(service, get()).await;
    assert_eq!((reply.status, &*reply.body), (403, &b"mine"[..]));
    assert_eq!(notes.taken(), ["decision accepted ci k_42 GET /jobs"]);
}

#[tokio::test]
async fn the_nearest_layer_outside_rewrites_and_observes() {
    let (outer, nearest) = (Notes::default(), Notes::default());
    let service = layer().respond(Text::default()).observe(outer.clone()).forward_key().layer(
        layer()
            .respond(Problem::default())
            .observe(nearest.clone())
            .layer(guard(Reason::Forbidden).layer(inner())),
    );
    let reply = ask(service, get()).await;
    assert_eq!(reply.line("content-type"), "application/problem+json");
    assert_eq!(outer.taken(), ["decision accepted ci k_42 GET /jobs"]);
    assert_eq!(nearest.taken().len(), 2);
}

#[tokio::test]
async fn the_head_of_a_rewritten_get_is_that_of_a_head_request() {
    let styled = || layer().respond(Problem::default());
    let service = || styled().layer(guard(Reason::Limited).layer(inner()));
    let mut head = get();
    *head.method_mut() = http::Method::HEAD;
    let (get, head) = (ask(service(), get()).await, ask(service(), head).await);
    assert_eq!((get.status, get.headers), (head.status, head.headers));
    // Another client must not get this rejection from a cache.
    assert_eq!(get.reason, Some(Reason::Limited));
}

// The events of a guard.

#[tokio::test]
async fn a_guard_emits_an_event_of_its_own_beside_the_one_decision() {
    let notes = Notes::default();
    for (reason, outcome) in [
        (Reason::InsufficientScope, "forbidden"),
        (Reason::Forbidden, "forbidden"),
        (Reason::Limited, "limited"),
        (Reason::TooManyFailures, "limited"),
        (Reason::Failed, "rejected"),
    ] {
        let observed = layer().observe(((), Arc::new(notes.clone())));
        ask(observed.layer(guard(reason).layer(inner())), get()).await;
        let event = format!("guard {outcome} ci k_42 GET /jobs");
        assert_eq!(notes.taken(), ["decision accepted ci k_42 GET /jobs", &*event]);
    }
    // A guard with its own responder emits the same event.
    let boxed: Box<dyn Observe + Send + Sync> = Box::new(notes.clone());
    let own = with_style(Rejection::new(Reason::Limited), Some(RejectionWriter::default()));
    ask(layer().observe(boxed).layer(own.layer(inner())), get()).await;
    let event = "guard limited ci k_42 GET /jobs";
    assert_eq!(notes.taken(), ["decision accepted ci k_42 GET /jobs", event]);
    // An observer that ignores guards counts each request once.
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    let counting = layer().observe(move |_: &Decision<'_>| *counter.lock().unwrap() += 1);
    ask(counting.layer(guard(Reason::Limited).layer(inner())), get()).await;
    assert_eq!(*count.lock().unwrap(), 1);
}

#[test]
fn a_decision_can_be_built_for_the_test_of_an_observer() {
    let client = Client::new("ci").with_key_id("k_1");
    let location = KeyLocation::header("x-api-key");
    let rejection = Rejection::from(VerifyError::revoked().with_key_id("k_2"));
    let decisions = [
        (Decision::accepted(&client), Outcome::Accepted, Some("k_1")),
        (Decision::anonymous(), Outcome::Anonymous, None),
        (Decision::exempt(), Outcome::Exempt, None),
        (Decision::rejected(&rejection), Outcome::Rejected, Some("k_2")),
        (Decision::reported(&rejection), Outcome::Reported, Some("k_2")),
        (Decision::by_guard(&rejection, Some(&client)), Outcome::Rejected, Some("k_1")),
    ];
    for (decision, outcome, key_id) in decisions {
        assert_eq!((decision.method(), decision.path()), (&http::Method::GET, "/"));
        assert_eq!((decision.elapsed(), decision.location()), (Duration::ZERO, None));
        let decision = decision
            .with_method(&http::Method::PUT)
            .with_path("/jobs")
            .with_location(&location)
            .with_elapsed(Duration::from_secs(3));
        assert_eq!((decision.outcome(), decision.key_id()), (outcome, key_id));
        assert_eq!((decision.method(), decision.path()), (&http::Method::PUT, "/jobs"));
        assert_eq!(decision.elapsed(), Duration::from_secs(3));
        assert_eq!(decision.location(), Some(&location));
    }
}

#[test]
fn a_rejection_of_a_guard_can_have_a_cause_and_the_id_of_a_key() {
    let rejection = Rejection::from(VerifyError::failed("the store is down").with_key_id("k_7"));
    assert_eq!((rejection.kind(), rejection.key_id()), (RejectionKind::Failed, Some("k_7")));
    assert_eq!(std::error::Error::source(&rejection).unwrap().to_string(), "the store is down");
    assert_eq!(rejection.retry_after(), None);
}

/// The body of a layer. A guard with this body can be inside another guard.
#[allow(dead_code, reason = "it compiles")]
fn types(
    service: Guard<Inner>,
) -> impl Service<Request<()>, Response = Response<ResponseBody<Full<Bytes>>>> {
    layer().layer(service)
}
