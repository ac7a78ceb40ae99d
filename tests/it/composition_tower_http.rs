//! The layer with layers of tower-http, in both orders if the order matters.

use crate::{
    composition::{KEY, never},
    support::log::Log,
};

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ORIGIN,
        VARY, WWW_AUTHENTICATE,
    },
};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring, Rejection,
    extract::{header, query},
    respond::Text,
    verify,
};
use tower_http::{
    classify::{GrpcFailureClass, ServerErrorsFailureClass},
    compression::CompressionLayer,
    cors::CorsLayer,
    limit::RequestBodyLimitLayer,
    timeout::TimeoutLayer,
    trace::{DefaultMakeSpan, DefaultOnRequest, DefaultOnResponse, TraceLayer},
};
use tracing::{Level, Span};

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn layer() -> ApiKeyLayer<(KeyLocation, KeyLocation), Keyring> {
    ApiKeyLayer::new((header("x-api-key"), query("k")), Keyring::single(KEY).unwrap())
}

/// Returns the id of the client, and enough text for a compression.
#[allow(clippy::needless_pass_by_value, reason = "`service_fn` hands it over")]
fn whoami<B>(request: Request<B>) -> Answer {
    let client = request.extensions().get::<Client>().map_or("anonymous", Client::id);
    ready(Ok(Response::new(format!("{client}{}", " hello".repeat(20)).into())))
}

fn with_key(key: &str) -> Request<Full<Bytes>> {
    Request::builder().header("x-api-key", key).body(Full::default()).unwrap()
}

async fn ask<S, Q, B>(service: &S, request: Request<Q>) -> Response<B>
where
    S: Service<Request<Q>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
{
    service.clone().oneshot(request).await.unwrap()
}

async fn bytes<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Returns the members of all lines of `Vary`.
fn vary(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(VARY).iter().flat_map(|line| line.to_str().unwrap().split(','));
    let mut names: Vec<_> = lines.map(|name| name.trim().to_ascii_lowercase()).collect();
    names.sort();
    names
}

// ===== trace =====

#[tokio::test]
async fn a_trace_layer_outside_sees_every_rejection_and_its_reason() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (answers, failures) = (Arc::clone(&seen), Arc::clone(&seen));
    let trace = TraceLayer::new_for_http()
        .on_response(move |response: &Response<_>, _: Duration, _: &Span| {
            let reason = response.extensions().get::<Rejection>().map(|it| it.reason().as_str());
            let line = format!("{} {}", response.status().as_u16(), reason.unwrap_or("-"));
            answers.lock().unwrap().push(line);
        })
        .on_failure(move |class: ServerErrorsFailureClass, _: Duration, _: &Span| {
            failures.lock().unwrap().push(format!("failure: {class}"));
        });
    let keys = verify::from_fn(|key| match key.expose() {
        b"12345abcde" => Ok(Some(Client::new("default"))),
        b"key-while-down" => Err(io::Error::other("store is down")),
        _ => Ok(None),
    });
    let service = ServiceBuilder::new()
        .layer(trace)
        .layer(ApiKeyLayer::new(header("x-api-key"), keys))
        .service_fn(whoami::<Full<Bytes>>);

    let _ = ask(&service, with_key(KEY)).await;
    let _ = ask(&service, Request::new(Full::default())).await;
    let _ = ask(&service, with_key("wrong")).await;
    let mut twice = with_key(KEY);
    twice.headers_mut().append("x-api-key", KEY.parse().unwrap());
    let _ = ask(&service, twice).await;
    let _ = ask(&service, with_key("key-while-down")).await;
    let lines = seen.lock().unwrap().clone();
    assert_eq!(
        lines,
        [
            "200 -",
            "401 missing",
            "401 unknown",
            "400 ambiguous",
            "503 failed",
            "failure: Status code: 503 Service Unavailable",
        ]
    );
}

#[tokio::test]
async fn a_grpc_trace_layer_outside_counts_a_rejection_as_unauthenticated() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let failures = Arc::clone(&seen);
    let trace = TraceLayer::new_for_grpc().on_failure(move |class, _: Duration, _: &Span| {
        let GrpcFailureClass::Status(status) = class else { panic!("{class}") };
        failures.lock().unwrap().push((status.code_raw(), status.message().map(str::to_owned)));
    });
    let service =
        ServiceBuilder::new().layer(trace).layer(layer()).service_fn(whoami::<Full<Bytes>>);
    let call = Request::post("/a.B/C").header("content-type", "application/grpc");
    let _ = ask(&service, call.body(Full::default()).unwrap()).await;
    assert_eq!(*seen.lock().unwrap(), [(16, Some("Unauthorized access".to_owned()))]);
}

fn verbose_trace()
-> TraceLayer<tower_http::classify::SharedClassifier<tower_http::classify::ServerErrorsAsFailures>>
{
    TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::TRACE).include_headers(true))
        .on_request(DefaultOnRequest::new().level(Level::TRACE))
        .on_response(DefaultOnResponse::new().level(Level::TRACE).include_headers(true))
}

#[tokio::test]
async fn r26_a_trace_layer_inside_sees_no_key_in_headers_or_uri() {
    let log = Log::default();
    let _guard = log.capture();
    let service = ServiceBuilder::new()
        .layer(layer())
        .layer(verbose_trace())
        .service_fn(whoami::<Full<Bytes>>);
    let _ = ask(&service, with_key(KEY)).await;
    let in_query = Request::get(format!("/reports?k={KEY}&page=2")).body(Full::default());
    let _ = ask(&service, in_query.unwrap()).await;
    let text = log.text();
    assert!(text.contains("/reports?page=2") && text.contains("finished processing"), "{text}");
    assert!(!text.contains(KEY), "{text}");
}

#[tokio::test]
async fn r25_a_trace_layer_inside_prints_a_forwarded_key_as_sensitive() {
    let log = Log::default();
    let _guard = log.capture();
    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single(KEY).unwrap()).forward_key();
    let service =
        ServiceBuilder::new().layer(layer).layer(verbose_trace()).service_fn(whoami::<Full<Bytes>>);
    let _ = ask(&service, with_key(KEY)).await;
    let text = log.text();
    assert!(text.contains(r#""x-api-key": Sensitive"#), "{text}");
    assert!(!text.contains(KEY), "{text}");
}

#[tokio::test]
async fn r26_the_layer_itself_never_logs_a_key() {
    let log = Log::default();
    let _guard = log.capture();
    let service = layer().layer(service_fn(whoami::<Full<Bytes>>));
    tracing::info!("the log is on");
    for key in [KEY, "wrong-key-of-a-caller"] {
        let _ = ask(&service, with_key(key)).await;
        let in_query = Request::get(format!("/?k={key}")).header("x-api-key", key);
        let _ = ask(&service, in_query.body(Full::default()).unwrap()).await;
    }
    let text = log.text();
    assert!(text.contains("the log is on"));
    assert!(!text.contains(KEY) && !text.contains("wrong-key-of-a-caller"), "{text}");
}

// ===== CORS =====

const PAGE: &str = "https://app.example";

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin([PAGE.parse().unwrap()])
        .allow_headers(["x-api-key".parse().unwrap()])
        .allow_methods([Method::GET])
}

fn preflight() -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::OPTIONS)
        .header(ORIGIN, PAGE)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .body(Full::default())
        .unwrap()
}

fn from_page(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert(ORIGIN, PAGE.parse().unwrap());
    request
}

#[tokio::test]
async fn r33_a_cors_layer_outside_answers_preflights_and_lets_pages_read_rejections() {
    let service = ServiceBuilder::new().layer(cors()).layer(layer()).service_fn(whoami);
    let response = ask(&service, preflight()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-api-key");

    let response = ask(&service, from_page(with_key("wrong"))).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");

    let response = ask(&service, from_page(with_key(KEY))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    let vary = vary(response.headers());
    assert!(vary.contains(&"x-api-key".to_owned()) && vary.contains(&"origin".to_owned()));
}

#[tokio::test]
async fn r33_a_cors_layer_inside_answers_preflights_only_if_the_layer_passes_them() {
    let strict = ServiceBuilder::new().layer(layer()).layer(cors()).service_fn(whoami);
    let response = ask(&strict, preflight()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));

    let layer = layer().pass_preflight();
    let passing = ServiceBuilder::new().layer(layer).layer(cors()).service_fn(whoami);
    let response = ask(&passing, preflight()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);

    // A request without one of these headers is no preflight.
    for missing in [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD] {
        let mut plain = preflight();
        plain.headers_mut().remove(missing);
        assert_eq!(ask(&passing, plain).await.status(), StatusCode::UNAUTHORIZED);
    }
    let mut get = preflight();
    *get.method_mut() = Method::GET;
    assert_eq!(ask(&passing, get).await.status(), StatusCode::UNAUTHORIZED);

    let response = ask(&passing, from_page(with_key(KEY))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
    let vary = vary(response.headers());
    assert!(vary.contains(&"x-api-key".to_owned()) && vary.contains(&"origin".to_owned()));
}

// ===== timeout =====

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_outside_ends_a_verifier_that_never_returns() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(1)))
        .layer(ApiKeyLayer::new(header("x-api-key"), never()))
        .service_fn(whoami);
    let response = ask(&service, with_key(KEY)).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(bytes(response).await.is_empty());
    // A rejection without a verification takes no time.
    let response = ask(&service, Request::new(Full::default())).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_inside_limits_only_the_inner_service() {
    let slow = verify::from_async_fn(|_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Some(Client::new("default"))
    });
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(1));
    let layers =
        ServiceBuilder::new().layer(ApiKeyLayer::new(header("x-api-key"), slow)).layer(timeout);
    let service = layers.clone().service_fn(whoami);
    assert_eq!(ask(&service, with_key(KEY)).await.status(), StatusCode::OK);

    let never = |_: Request<_>| pending::<Result<Response<Full<Bytes>>, Infallible>>();
    let service = layers.service_fn(never);
    assert_eq!(ask(&service, with_key(KEY)).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

// ===== compression =====

fn asks_for_gzip(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().insert(ACCEPT_ENCODING, "gzip".parse().unwrap());
    request
}

const GZIP: [u8; 2] = [0x1f, 0x8b];

#[tokio::test]
async fn compression_outside_compresses_responses_and_keeps_the_headers_of_rejections() {
    let text = "A key is required: send yours in the x-api-key header of the request, please.";
    let layer = layer().respond(Text::default().message(text));
    let service =
        ServiceBuilder::new().layer(CompressionLayer::new()).layer(layer).service_fn(whoami);

    let response = ask(&service, asks_for_gzip(with_key(KEY))).await;
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(vary(response.headers()), ["accept-encoding", "x-api-key"]);
    assert_eq!(response.headers()[CACHE_CONTROL], "private");
    assert!(bytes(response).await.starts_with(&GZIP));

    // A long rejection is compressed too, and keeps its headers.
    let response = ask(&service, asks_for_gzip(with_key("wrong"))).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert!(bytes(response).await.starts_with(&GZIP));

    let response = ask(&service, with_key("wrong")).await;
    assert_eq!(bytes(response).await, text);
}

#[tokio::test]
async fn compression_inside_compresses_responses_and_never_a_rejection() {
    let layer = layer().respond(Text::default().message(&"no ".repeat(100)));
    let service =
        ServiceBuilder::new().layer(layer).layer(CompressionLayer::new()).service_fn(whoami);

    let response = ask(&service, asks_for_gzip(with_key(KEY))).await;
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(vary(response.headers()), ["accept-encoding", "x-api-key"]);
    assert!(bytes(response).await.starts_with(&GZIP));

    let response = ask(&service, asks_for_gzip(with_key("wrong"))).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(!response.headers().contains_key(CONTENT_ENCODING));
    assert_eq!(bytes(response).await, "no ".repeat(100));
}

// ===== body limit =====

fn of_length(key: &str, bytes: usize) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("x-api-key", key)
        .header(CONTENT_LENGTH, bytes)
        .body(vec![b'x'; bytes].into())
        .unwrap()
}

/// Reads the body, and returns its length or a 413.
async fn length<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data: Send, Error: Into<BoxError>>,
{
    Ok(match request.into_body().collect().await.map_err(Into::into) {
        Ok(body) => Response::new(body.to_bytes().len().to_string().into()),
        Err(error) => {
            assert!(error.is::<LengthLimitError>());
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
    })
}

#[tokio::test]
async fn a_body_limit_inside_applies_to_clients_and_one_outside_to_all_callers() {
    let limit = RequestBodyLimitLayer::new(10);
    let inside = ServiceBuilder::new().layer(layer()).layer(limit).service_fn(length);
    let outside = ServiceBuilder::new().layer(limit).layer(layer()).service_fn(length);
    for (key, bytes, when_inside, when_outside) in [
        (KEY, 10, StatusCode::OK, StatusCode::OK),
        (KEY, 11, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE),
        ("wrong", 10, StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        ("wrong", 11, StatusCode::UNAUTHORIZED, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let response = ask(&inside, of_length(key, bytes)).await;
        assert_eq!(response.status(), when_inside, "inside: {key} {bytes}");
        let response = ask(&outside, of_length(key, bytes)).await;
        assert_eq!(response.status(), when_outside, "outside: {key} {bytes}");
    }
}

#[tokio::test]
async fn r40_a_body_without_a_length_is_limited_on_either_side_and_not_read_on_rejection() {
    /// Returns a request whose body counts its polls.
    fn streamed(
        key: &str,
        polls: &Arc<Mutex<usize>>,
    ) -> Request<impl Body<Data = Bytes, Error = Infallible> + use<>> {
        let polls = Arc::clone(polls);
        let body = http_body_util::Full::new(Bytes::from_static(b"twelve bytes"));
        let body = body.map_frame(move |frame| {
            *polls.lock().unwrap() += 1;
            frame
        });
        Request::post("/").header("x-api-key", key).body(body).unwrap()
    }
    let limit = RequestBodyLimitLayer::new(10);
    let inside = ServiceBuilder::new().layer(layer()).layer(limit).service_fn(length);
    let outside = ServiceBuilder::new().layer(limit).layer(layer()).service_fn(length);
    let polls = Arc::default();
    let (one, two) = (streamed("wrong", &polls), streamed("wrong", &polls));
    assert_eq!(ask(&inside, one).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&outside, two).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(*polls.lock().unwrap(), 0);
    let (one, two) = (streamed(KEY, &polls), streamed(KEY, &polls));
    assert_eq!(ask(&inside, one).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(ask(&outside, two).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(*polls.lock().unwrap(), 2);
}

// ===== all layers =====

#[tokio::test]
async fn the_recommended_order_of_layers_works() {
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(9)))
        .layer(cors())
        .layer(layer())
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(10))
        .service_fn(length);
    assert_eq!(ask(&service, preflight()).await.status(), StatusCode::OK);
    assert_eq!(ask(&service, of_length("wrong", 3)).await.status(), StatusCode::UNAUTHORIZED);
    let response = ask(&service, of_length(KEY, 11)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bytes(ask(&service, of_length(KEY, 3)).await).await, "3");
}
