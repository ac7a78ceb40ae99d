//! Tests of the inner service: readiness, permits, bodies and unchanged messages.

use crate::support;

use std::{
    cell::Cell,
    collections::VecDeque,
    convert::Infallible,
    error::Error,
    fmt,
    future::{Ready, pending, poll_fn, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use support::services::Strict;
use tokio::sync::{Barrier, Semaphore, oneshot};
use tower::{
    Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn, util::BoxCloneSyncService,
};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, KeyDigest, KeyLocation, Keyring, Rejection, ResponseBody,
    extract::{header, query},
    observe::{Decision, Observe},
    rejection::RejectionKind,
    verify::{self, IntoVerifyResult, PresentedKey, Verification, Verify, VerifyError},
};
use tower_test::{assert_request_eq, mock};

const KEY: &str = "12345abcde";

// ===== services, verifiers and requests for the tests =====

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Broken {}

fn keys() -> Keyring {
    Keyring::single(KEY).unwrap()
}

fn find(digest: KeyDigest) -> Option<Client> {
    (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
}

/// Returns the result once the gate is open. `Semaphore::close` opens it.
fn behind_gate(
    gate: &Arc<Semaphore>,
) -> impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + use<>>
+ use<> {
    let gate = Arc::clone(gate);
    verify::from_async_fn(move |digest| {
        let gate = Arc::clone(&gate);
        async move {
            let _ = gate.acquire().await;
            find(digest)
        }
    })
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// An asynchronous verifier that is pending once.
fn in_two_polls()
-> impl Verify<Client = Client, Future = impl Future<Output = Result<Client, VerifyError>> + Send>
+ Clone
+ Send
+ Sync {
    verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        find(digest)
    })
}

/// An asynchronous verifier that is never pending.
struct Cached;

impl Verify for Cached {
    type Client = Client;
    type Future = Ready<Result<Client, VerifyError>>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future> {
        Verification::Ready(find(key.digest()).into_result())
    }
}

fn without_key() -> Request<()> {
    Request::new(())
}

fn with_key(key: &str) -> Request<()> {
    Request::builder().header("x-api-key", key).body(()).unwrap()
}

/// One request for each kind of rejection, without failures of the verifier.
fn rejected() -> [(Request<()>, StatusCode); 5] {
    let mut twice = with_key(KEY);
    twice.headers_mut().append("x-api-key", KEY.parse().unwrap());
    [
        (without_key(), StatusCode::UNAUTHORIZED),
        (with_key("  "), StatusCode::UNAUTHORIZED),
        (with_key("wrong"), StatusCode::UNAUTHORIZED),
        (with_key(&"k".repeat(2000)), StatusCode::UNAUTHORIZED),
        (twice, StatusCode::BAD_REQUEST),
    ]
}

/// Waits until the service is ready, which is at once because no other test uses it.
async fn ask<S, B, B2>(service: &mut S, request: Request<B>) -> Response<B2>
where
    S: Service<Request<B>, Response = Response<B2>, Error = Infallible>,
{
    assert!(poll(pin!(service.ready())).is_ready(), "a permit was lost");
    service.call(request).await.unwrap()
}

async fn text<B: Body<Error: fmt::Debug>>(response: Response<B>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_ready<S: Service<Request<()>>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

// ===== R38: the inner service is called if and only if the key was verified =====

#[test]
fn r38_the_inner_service_is_called_after_the_verification_and_not_after_a_rejection() {
    for (key, calls) in [(KEY, 1), ("wrong", 0)] {
        let gate = gate();
        let (strict, counts) = Strict::new();
        let mut service = ApiKeyService::new(strict, header("x-api-key"), behind_gate(&gate));
        assert!(is_ready(&mut service));
        let mut response = pin!(service.call(with_key(key)));
        for _ in 0..3 {
            assert!(poll(response.as_mut()).is_pending());
            assert_eq!(counts.calls(), 0, "called before the key was verified");
        }
        gate.close();
        assert!(poll(response.as_mut()).is_ready());
        assert_eq!(counts.calls(), calls);
    }
}

#[derive(Clone, Copy, Debug)]
enum Doorman {
    AtOnce,
    Cached,
    Later,
    Failing,
    FailingLater,
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: &'static str,
    headers: Vec<String>,
    pairs: Vec<String>,
    optional: bool,
    doorman: Doorman,
}

impl Asked {
    fn request(&self) -> Request<()> {
        let pairs: Vec<_> = self.pairs.iter().map(|value| format!("k={value}")).collect();
        let uri = format!("{}?{}", self.path, pairs.join("&"));
        let mut request = Request::builder().method(&self.method).uri(uri);
        for value in &self.headers {
            request = request.header("x-api-key", value);
        }
        request.body(()).unwrap()
    }

    /// Computes the expected status and client without the library.
    fn expected(&self) -> (StatusCode, &'static str) {
        let one = |values: &[String]| match values {
            [] => Ok(None),
            [value] => Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty())),
            _ => Err(()),
        };
        let blank_as_empty: Vec<_> = self.pairs.iter().map(|it| it.replace("%20", " ")).collect();
        if self.path == "/open" {
            return (StatusCode::OK, "anonymous");
        }
        let key = match (one(&self.headers), one(&blank_as_empty)) {
            (Err(()), _) | (_, Err(())) | (Ok(Some(_)), Ok(Some(_))) => {
                return (StatusCode::BAD_REQUEST, "");
            }
            (Ok(a), Ok(b)) => a.or(b),
        };
        match (key, self.doorman) {
            (None, _) if self.optional => (StatusCode::OK, "anonymous"),
            (None, _) => (StatusCode::UNAUTHORIZED, ""),
            (Some(key), _) if key.len() > 1024 => (StatusCode::UNAUTHORIZED, ""),
            (_, Doorman::Failing | Doorman::FailingLater) => (StatusCode::SERVICE_UNAVAILABLE, ""),
            (Some(key), _) if key == KEY => (StatusCode::OK, "default"),
            _ => (StatusCode::UNAUTHORIZED, ""),
        }
    }
}

fn a_request() -> impl Strategy<Value = Asked> {
    let value = prop_oneof![
        4 => Just(KEY.to_owned()),
        2 => "[a-z0-9]{1,12}",
        1 => (0..KEY.len()).prop_map(|end| KEY[..end].to_owned()),
        1 => Just(format!("{KEY}x")),
        1 => Just(KEY.to_uppercase()),
        1 => Just("k".repeat(1025)),
    ];
    let of_header = prop_oneof![5 => value.clone(), 1 => Just("  ".to_owned())];
    let of_query = prop_oneof![5 => value, 1 => Just("%20".to_owned())];
    (
        prop::sample::select(vec![Method::GET, Method::POST, Method::HEAD, Method::OPTIONS]),
        prop::sample::select(vec!["/", "/open", "/open/", "//open", "/Open", "/%6fpen", "/open;x"]),
        prop::collection::vec(of_header, 0..3),
        prop::collection::vec(of_query, 0..3),
        any::<bool>(),
        prop::sample::select(vec![
            Doorman::AtOnce,
            Doorman::Cached,
            Doorman::Later,
            Doorman::Failing,
            Doorman::FailingLater,
        ]),
    )
        .prop_map(|(method, path, headers, pairs, optional, doorman)| Asked {
            method,
            path,
            headers,
            pairs,
            optional,
            doorman,
        })
}

type Boxed = BoxCloneSyncService<Request<()>, Response<ResponseBody<String>>, Infallible>;

fn doorman_before(inner: Strict, asked: &Asked) -> Boxed {
    fn before<V>(inner: Strict, asked: &Asked, verify: V) -> Boxed
    where
        V: Verify + Send + Sync + 'static,
        V::Future: Send,
        ApiKeyService<Strict, (KeyLocation, KeyLocation), V>: Service<
                Request<()>,
                Response = Response<ResponseBody<String>>,
                Error = Infallible,
                Future: Send,
            >,
    {
        let layer = ApiKeyLayer::new((header("x-api-key"), query("k")), verify);
        let layer = layer.exempt_path("/open");
        BoxCloneSyncService::new(if asked.optional { layer.optional() } else { layer }.layer(inner))
    }
    match asked.doorman {
        Doorman::AtOnce => before(inner, asked, keys()),
        Doorman::Cached => before(inner, asked, Cached),
        Doorman::Later => before(inner, asked, in_two_polls()),
        Doorman::Failing => {
            before(inner, asked, verify::from_fn(|_| Err::<Option<Client>, _>(Broken("store"))))
        }
        Doorman::FailingLater => before(
            inner,
            asked,
            verify::from_async_fn(|_| async {
                tokio::task::yield_now().await;
                Err::<Option<Client>, _>(Broken("store"))
            }),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn r38_the_inner_service_is_called_if_and_only_if_the_request_is_accepted_or_bypasses(
        asked in a_request(),
    ) {
        let (strict, counts) = Strict::new();
        let mut service = doorman_before(strict, &asked);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (status, body) = runtime.block_on(async {
            let response = ask(&mut service, asked.request()).await;
            (response.status(), text(response).await)
        });
        let (expected, client) = asked.expected();
        prop_assert_eq!(status, expected);
        prop_assert_eq!(counts.calls(), usize::from(expected == StatusCode::OK));
        if expected == StatusCode::OK {
            prop_assert_eq!(body, client);
        }
    }
}

// ===== R39: readiness, clones and permits =====

#[tokio::test]
async fn r39_the_instance_that_returned_ready_is_the_one_that_is_called() {
    async fn check<V: Verify>(verify: V) {
        let (strict, counts) = Strict::new();
        let layer = ApiKeyLayer::new(header("x-api-key"), verify).optional().exempt_path("/open");
        let mut service = layer.layer(strict);
        for calls in [1, 2, 3] {
            let response = ask(&mut service, with_key(KEY)).await;
            assert_eq!((text(response).await, counts.calls()), ("default".to_owned(), calls));
        }
        // The same holds for bypassed requests and after a rejection.
        let _ = ask(&mut service, with_key("wrong")).await;
        let _ = ask(&mut service, without_key()).await;
        let _ = ask(&mut service, Request::builder().uri("/open").body(()).unwrap()).await;
        assert_eq!(counts.calls(), 5);
    }
    check(keys()).await;
    check(Cached).await;
    check(in_two_polls()).await;
}

#[tokio::test]
async fn r39_a_ready_verification_does_not_clone_the_inner_service() {
    async fn check<V: Verify>(verify: V) {
        let (strict, counts) = Strict::new();
        let layer = ApiKeyLayer::new(header("x-api-key"), verify).optional().exempt_path("/open");
        let mut service = layer.layer(strict);
        let open = Request::builder().uri("/open").body(()).unwrap();
        for request in [with_key(KEY), without_key(), open, with_key(KEY)] {
            assert_eq!(ask(&mut service, request).await.status(), StatusCode::OK);
        }
        assert_eq!((counts.calls(), counts.clones()), (4, 0));
    }
    check(keys()).await;
    check(Cached).await;
}

#[tokio::test]
async fn r39_a_pending_verification_clones_the_inner_service_once() {
    for key in [KEY, "wrong"] {
        let (strict, counts) = Strict::new();
        let mut service = ApiKeyService::new(strict, header("x-api-key"), in_two_polls());
        let _ = ask(&mut service, with_key(key)).await;
        assert_eq!(counts.clones(), 1);
    }
}

#[tokio::test]
async fn r39_a_rejected_request_gives_its_permit_back_before_the_response() {
    async fn check<V: Verify>(verify: V) {
        let (limit, permits, counts) = Strict::behind(1);
        let mut service = ApiKeyService::new(limit, header("x-api-key"), verify);
        for _ in 0..100 {
            for (request, status) in rejected() {
                assert!(is_ready(&mut service), "a permit was lost");
                assert_eq!(permits.available_permits(), 0);
                let response = service.call(request);
                // The caller can poll the response late or never.
                assert_eq!(permits.available_permits(), 1);
                assert_eq!(response.await.unwrap().status(), status);
            }
        }
        assert_eq!(counts.calls(), 0);
        // Another handle takes the permit, and this handle takes it again.
        let mut another = service.clone();
        for service in [&mut another, &mut service] {
            assert_eq!(ask(service, with_key(KEY)).await.status(), StatusCode::OK);
        }
        assert_eq!((counts.calls(), permits.available_permits()), (2, 1));
    }
    check(keys()).await;
    check(Cached).await;
}

#[tokio::test]
async fn r39_a_slow_verifier_does_not_delay_a_rejection_that_needs_no_verifier() {
    let (limit, permits, _) = Strict::behind(1);
    let mut service = ApiKeyService::new(limit, header("x-api-key"), behind_gate(&gate()));
    for (request, status) in rejected() {
        if request.headers().get("x-api-key").is_some_and(|it| it == "wrong") {
            continue;
        }
        assert!(is_ready(&mut service));
        let response = service.call(request);
        assert_eq!(permits.available_permits(), 1);
        assert_eq!(response.await.unwrap().status(), status);
    }
}

#[test]
fn r39_a_pending_verification_holds_the_permit_and_a_rejection_gives_it_back() {
    let gate = gate();
    let (limit, permits, counts) = Strict::behind(1);
    let mut service = ApiKeyService::new(limit, header("x-api-key"), behind_gate(&gate));
    let mut another = service.clone();
    assert!(is_ready(&mut service));
    let mut response = pin!(service.call(with_key("wrong")));
    assert!(poll(response.as_mut()).is_pending());
    assert_eq!(permits.available_permits(), 0);
    assert!(!is_ready(&mut another) && !is_ready(&mut service));
    gate.close();
    assert!(poll(response.as_mut()).is_ready());
    // The finished future still exists and holds no permit, so the first waiter is ready.
    assert!(is_ready(&mut another));
    assert!(poll(pin!(another.call(with_key(KEY)))).is_ready());
    assert!(is_ready(&mut service));
    assert_eq!(counts.calls(), 1);
}

#[test]
fn r39_a_hundred_rejections_of_a_slow_verifier_lose_no_permit() {
    let gate = gate();
    gate.close();
    let (limit, permits, counts) = Strict::behind(1);
    let mut service = ApiKeyService::new(limit, header("x-api-key"), behind_gate(&gate));
    for _ in 0..100 {
        assert!(is_ready(&mut service), "a permit was lost");
        assert!(poll(pin!(service.call(with_key("wrong")))).is_ready());
    }
    assert!(is_ready(&mut service));
    assert!(poll(pin!(service.call(with_key(KEY)))).is_ready());
    assert_eq!((counts.calls(), permits.available_permits()), (1, 1));
}

#[test]
fn r39_a_dropped_request_gives_its_permit_back() {
    // The future is dropped before a poll, and during the verification.
    for polls in [0, 1, 2] {
        let (limit, permits, counts) = Strict::behind(1);
        let mut service = ApiKeyService::new(limit, header("x-api-key"), behind_gate(&gate()));
        assert!(is_ready(&mut service));
        {
            let mut response = pin!(service.call(with_key(KEY)));
            for _ in 0..polls {
                assert!(poll(response.as_mut()).is_pending());
            }
            assert_eq!(permits.available_permits(), 0);
        }
        assert_eq!((permits.available_permits(), counts.calls()), (1, 0));
        assert!(is_ready(&mut service));
    }
}

#[test]
fn r39_a_request_dropped_inside_the_inner_service_gives_its_permit_back() {
    fn check<V: Verify>(verify: V) {
        let permits = Arc::new(Semaphore::new(1));
        let never = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
        let limit = ConcurrencyLimit::with_semaphore(never, Arc::clone(&permits));
        let mut service = ApiKeyService::new(limit, header("x-api-key"), verify);
        assert!(is_ready(&mut service));
        {
            let mut response = pin!(service.call(with_key(KEY)));
            assert!(poll(response.as_mut()).is_pending());
            assert_eq!(permits.available_permits(), 0);
        }
        assert_eq!(permits.available_permits(), 1);
    }
    let open = gate();
    open.close();
    check(keys());
    check(Cached);
    check(behind_gate(&open));
}

/// The number of requests inside at once, and the maximum.
#[derive(Default)]
struct Crowd {
    calls: AtomicUsize,
    inside: AtomicUsize,
    most: AtomicUsize,
}

/// Delays each request. At `/together` it waits for seven requests.
#[derive(Clone)]
struct Crowded(Arc<Crowd>, Arc<Barrier>);

/// A request inside the service, until it is dropped.
struct Inside(Arc<Crowd>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

impl Service<Request<()>> for Crowded {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let Self(crowd, barrier) = self.clone();
        crowd.calls.fetch_add(1, SeqCst);
        Box::pin(async move {
            crowd.most.fetch_max(crowd.inside.fetch_add(1, SeqCst) + 1, SeqCst);
            let _inside = Inside(crowd);
            tokio::task::yield_now().await;
            if request.uri() == "/together" {
                barrier.wait().await;
            }
            Ok(Response::new(String::new()))
        })
    }
}

/// Requests that are accepted, rejected or dropped, at different stages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r39_thousands_of_concurrent_requests_lose_no_permit_and_take_none_twice() {
    async fn check<V>(verify: V, is_slow: bool)
    where
        V: Verify + Send + Sync + 'static,
        ApiKeyService<ConcurrencyLimit<Crowded>, KeyLocation, V>: Service<
                Request<()>,
                Response = Response<ResponseBody<String>>,
                Error = Infallible,
                Future: Send,
            > + Clone
            + Send
            + 'static,
    {
        const SIXTH: usize = 700;
        const PERMITS: usize = 7;
        let (crowd, barrier) = (Arc::new(Crowd::default()), Arc::new(Barrier::new(PERMITS)));
        let permits = Arc::new(Semaphore::new(PERMITS));
        let inner = Crowded(Arc::clone(&crowd), barrier);
        let limit = ConcurrencyLimit::with_semaphore(inner, Arc::clone(&permits));
        let service = ApiKeyService::new(limit, header("x-api-key"), verify);
        // Returns the status of each request that is not dropped after some polls.
        let send = async |requests: Vec<(Request<()>, Option<usize>)>| {
            let task = |(request, polls): (Request<()>, Option<usize>)| {
                let mut service = service.clone();
                tokio::spawn(async move {
                    let mut response = pin!(service.ready().await.unwrap().call(request));
                    let Some(polls) = polls else { return Some(response.await.unwrap().status()) };
                    for _ in 0..polls {
                        poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_ready())).await;
                    }
                    None
                })
            };
            let tasks: Vec<_> = requests.into_iter().map(task).collect();
            let all = async {
                let mut statuses = Vec::new();
                for task in tasks {
                    statuses.extend(task.await.unwrap());
                }
                statuses
            };
            let minute = Duration::from_secs(60);
            tokio::time::timeout(minute, all).await.expect("permits were lost")
        };

        let mixed = (0..6 * SIXTH).map(|number| match number % 6 {
            0 => (with_key(KEY), None),
            1 => (with_key("wrong"), None),
            2 => (without_key(), None),
            given_up => (with_key(KEY), Some(given_up - 3)),
        });
        let statuses = send(mixed.collect()).await;
        let count = |status| statuses.iter().filter(|it| **it == status).count();
        assert_eq!((count(StatusCode::OK), count(StatusCode::UNAUTHORIZED)), (SIXTH, 2 * SIXTH));
        // A slow verifier returns at the second poll, so a request that was dropped before never got inside.
        assert_eq!(crowd.calls.load(SeqCst), if is_slow { 2 } else { 4 } * SIXTH);
        assert_eq!(permits.available_permits(), PERMITS);

        // No request holds two permits. All seven are accepted at once, and never an eighth.
        let together = || {
            let mut request = with_key(KEY);
            *request.uri_mut() = "/together".parse().unwrap();
            (request, None)
        };
        let statuses = send((0..PERMITS).map(|_| together()).collect()).await;
        assert_eq!(statuses, [StatusCode::OK; PERMITS]);
        assert_eq!(crowd.most.load(SeqCst), PERMITS);
        assert_eq!(permits.available_permits(), PERMITS);
    }
    check(keys(), false).await;
    check(Cached, false).await;
    check(in_two_polls(), true).await;
}

/// A clone of tower-test's mock is not ready, and a call before readiness panics.
#[tokio::test]
async fn r39_every_readiness_state_passes_through_and_the_next_request_is_served() {
    async fn check<V: Verify>(verify: V, is_slow: bool) {
        let layer = ApiKeyLayer::new(header("x-api-key"), verify);
        let (mut service, mut handle) =
            mock::spawn_layer::<Request<()>, Response<String>, _>(layer);
        let cause = |error: Box<dyn Error + Send + Sync>| error.downcast_ref::<Broken>().copied();

        // The service is pending and then ready.
        handle.allow(0);
        assert!(service.poll_ready::<Request<()>>().is_pending() && !service.is_woken());
        handle.allow(1);
        assert!(service.is_woken() && service.poll_ready::<Request<()>>().is_ready());

        // The future is dropped at once, in a slow verifier, or in the inner service.
        for polls in 0..3 {
            handle.allow(1);
            assert!(service.poll_ready::<Request<()>>().is_ready());
            let mut response = Box::pin(service.call(with_key(KEY)));
            for _ in 0..polls {
                assert!(poll(response.as_mut()).is_pending());
            }
            drop(response);
            let was_inside = handle.poll_request().is_ready();
            assert_eq!(was_inside, !is_slow || polls == 2);
        }

        // The service returns an error from `poll_ready`, and from the call.
        handle.send_error(Broken("not ready"));
        let Poll::Ready(Err(error)) = service.poll_ready::<Request<()>>() else { panic!() };
        assert_eq!(cause(error), Some(Broken("not ready")));
        handle.allow(2);
        assert!(service.poll_ready::<Request<()>>().is_ready());
        let (response, ()) = tokio::join!(service.call(with_key(KEY)), async {
            handle.next_request().await.unwrap().1.send_error(Broken("no answer"));
        });
        assert_eq!(cause(response.err().unwrap()), Some(Broken("no answer")));

        // The next request gets a response.
        assert!(service.poll_ready::<Request<()>>().is_ready());
        let (response, ()) = tokio::join!(service.call(with_key(KEY)), async {
            let (_, respond) = handle.next_request().await.unwrap();
            respond.send_response(Response::new("hello".to_owned()));
        });
        assert_eq!(text(response.unwrap()).await, "hello");

        // The mock is dropped during a call.
        handle.allow(1);
        assert!(service.poll_ready::<Request<()>>().is_ready());
        let mut response = pin!(service.call(with_key(KEY)));
        assert!(poll(response.as_mut()).is_pending());
        drop(handle);
        assert!(response.await.is_err());
        assert!(matches!(service.poll_ready::<Request<()>>(), Poll::Ready(Err(_))));
    }
    check(keys(), false).await;
    check(Cached, false).await;
    check(in_two_polls(), true).await;
}

#[tokio::test]
async fn r39_backpressure_passes_through() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Response<String>, _>(layer);
    handle.allow(0);
    assert!(service.poll_ready::<Request<()>>().is_pending());
    assert!(!service.is_woken());
    handle.allow(1);
    assert!(service.is_woken(), "the inner service's wake-up is ours");
    assert!(service.poll_ready::<Request<()>>().is_ready());

    let response = service.call(with_key(KEY));
    let (request, respond) = handle.next_request().await.unwrap();
    assert_eq!(request.extensions().get::<Client>().unwrap().id(), "default");
    respond.send_response(Response::new("hello".to_owned()));
    assert_eq!(text(response.await.unwrap()).await, "hello");
    assert!(service.poll_ready::<Request<()>>().is_pending());
}

#[tokio::test]
async fn r39_a_rejected_request_never_reaches_the_inner_service_and_the_next_request_does() {
    let layer = ApiKeyLayer::new(header("x-api-key"), in_two_polls());
    let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Response<String>, _>(layer);
    // One clone of the mock is ready, and a call of another clone panics.
    handle.allow(1);
    for (request, status) in rejected() {
        assert!(service.poll_ready::<Request<()>>().is_ready());
        let response = tokio::time::timeout(Duration::from_secs(10), service.call(request));
        let response = response.await.expect("the inner service was asked").unwrap();
        assert_eq!(response.status(), status);
        assert!(handle.poll_request().is_pending());
    }
    assert!(service.poll_ready::<Request<()>>().is_ready());
    let (response, ()) = tokio::join!(service.call(with_key(KEY)), async {
        let (_, respond) = handle.next_request().await.unwrap();
        respond.send_response(Response::new("hello".to_owned()));
    });
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

/// Fails in `poll_ready` or in the call.
#[derive(Clone)]
struct Faulty {
    at_readiness: bool,
}

impl Service<Request<()>> for Faulty {
    type Response = Response<String>;
    type Error = Broken;
    type Future = Ready<Result<Response<String>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(if self.at_readiness { Err(Broken("not ready")) } else { Ok(()) })
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err(Broken("no answer")))
    }
}

#[tokio::test]
async fn r39_errors_of_the_inner_service_pass_through_unchanged() {
    async fn check<V: Verify + Clone>(verify: V) {
        let layer = ApiKeyLayer::new(header("x-api-key"), verify);
        let mut service = layer.layer(Faulty { at_readiness: true });
        let not_ready: Broken = service.ready().await.err().unwrap();
        assert_eq!(not_ready, Broken("not ready"));

        let mut service = layer.layer(Faulty { at_readiness: false });
        let response = service.ready().await.unwrap().call(with_key(KEY)).await;
        assert_eq!(response.err(), Some(Broken("no answer")));
        // A rejection is a response and no error.
        let response = service.ready().await.unwrap().call(with_key("wrong")).await;
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    check(keys()).await;
    check(in_two_polls()).await;

    // The mock of tower-test boxes its errors.
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let (mut service, mut handle) = mock::spawn_layer::<Request<()>, Response<String>, _>(layer);
    handle.send_error(Broken("down"));
    let Poll::Ready(Err(error)) = service.poll_ready::<Request<()>>() else { panic!("no error") };
    assert_eq!(error.downcast_ref(), Some(&Broken("down")));
}

#[tokio::test]
async fn r39_the_inner_service_receives_the_request_without_the_key() {
    let layer = ApiKeyLayer::new(header("x-api-key"), in_two_polls()).no_cache_headers();
    let inner = |mock: mock::Mock<_, Response<String>>| {
        ServiceExt::<(String, HeaderMap, String)>::map_request(mock, |request: Request<String>| {
            let (parts, body) = request.into_parts();
            (format!("{} {} {:?}", parts.method, parts.uri, parts.version), parts.headers, body)
        })
    };
    let (mut service, mut handle) = mock::spawn_with(|mock| layer.layer(inner(mock)));
    assert!(service.poll_ready().is_ready());
    let request = Request::builder()
        .method(Method::PUT)
        .uri("http://example.com/a%2Fb?c=d")
        .version(http::Version::HTTP_2)
        .header("x-api-key", KEY)
        .header("x-other", "one")
        .header("x-other", "two")
        .body("body".to_owned())
        .unwrap();
    let line = "PUT http://example.com/a%2Fb?c=d HTTP/2.0".to_owned();
    let mut headers = HeaderMap::new();
    headers.append("x-other", "one".parse().unwrap());
    headers.append("x-other", "two".parse().unwrap());
    let teapot = Response::builder().status(418).header("x", "y").body(String::new()).unwrap();
    let (response, ()) = tokio::join!(service.call(request), async {
        assert_request_eq!(handle, (line, headers, "body".to_owned())).send_response(teapot);
    });
    let response = response.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (418, 1));
    assert_eq!(response.headers()["x"], "y");
}

#[test]
fn r39_a_finished_rejection_that_is_polled_again_does_not_panic() {
    let mut service = ApiKeyService::new(Strict::default(), header("x-api-key"), keys());
    assert!(is_ready(&mut service));
    let mut response = pin!(service.call(without_key()));
    assert!(poll(response.as_mut()).is_ready());
    assert!(poll(response.as_mut()).is_pending());
}

// ===== R40: bodies =====

/// A body that panics at every access.
struct Untouchable;

impl Body for Untouchable {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body was polled")
    }

    fn is_end_stream(&self) -> bool {
        panic!("the body was asked whether it ends")
    }

    fn size_hint(&self) -> SizeHint {
        panic!("`size_hint` was called")
    }
}

#[tokio::test]
async fn r40_the_layer_never_polls_a_request_s_body() {
    async fn check<V: Verify>(verify: V, with_key: StatusCode) {
        let layer = ApiKeyLayer::new(header("x-api-key"), verify).exempt_path("/open");
        let mut service = layer.layer(Strict::default());
        for (request, status) in rejected() {
            let wrong = request.headers().get("x-api-key").is_some_and(|it| it == "wrong");
            let status = if wrong && with_key.is_server_error() { with_key } else { status };
            let response = ask(&mut service, request.map(|()| Untouchable)).await;
            assert_eq!(response.status(), status);
        }
        let response = ask(&mut service, self::with_key(KEY).map(|()| Untouchable)).await;
        assert_eq!(response.status(), with_key);
        let open = Request::builder().uri("/open").body(Untouchable).unwrap();
        assert_eq!(ask(&mut service, open).await.status(), StatusCode::OK);
    }
    check(keys(), StatusCode::OK).await;
    check(Cached, StatusCode::OK).await;
    check(in_two_polls(), StatusCode::OK).await;
    let fails = verify::from_fn(|_| Err::<Option<Client>, _>(Broken("store")));
    check(fails, StatusCode::SERVICE_UNAVAILABLE).await;
}

/// A body with scripted frames, pauses and errors, and hints of the remaining size.
#[derive(Clone)]
struct Script(VecDeque<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Data(&'static str),
    Trailers(HeaderMap),
    Pause,
    Fail(Broken),
}

impl Script {
    fn new() -> Self {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        let frames = [Part::Data("one"), Part::Pause, Part::Data(""), Part::Data("three")];
        Self(frames.into_iter().chain([Part::Trailers(trailers)]).collect())
    }

    fn failing() -> Self {
        Self(VecDeque::from([Part::Data("one"), Part::Fail(Broken("torn"))]))
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.0.pop_front() {
            Some(Part::Data(data)) => Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))),
            Some(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Part::Fail(error)) => Some(Err(error)),
            Some(Part::Pause) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left: usize = self
            .0
            .iter()
            .map(|part| if let Part::Data(data) = part { data.len() } else { 0 })
            .sum();
        let mut hint = SizeHint::new();
        hint.set_lower(left as u64);
        hint.set_upper(left as u64 + 7);
        hint
    }
}

fn same<B: Body<Data = Bytes, Error = Broken>>(body: B, mut script: Script) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        assert_eq!(body.is_end_stream(), script.is_end_stream());
        let (hint, scripted) = (body.size_hint(), script.size_hint());
        assert_eq!((hint.lower(), hint.upper()), (scripted.lower(), scripted.upper()));
        let frame = body.as_mut().poll_frame(&mut cx);
        let scripted = Pin::new(&mut script).poll_frame(&mut cx);
        assert_eq!(format!("{frame:?}"), format!("{scripted:?}"));
        if let Poll::Ready(None) = frame {
            return;
        }
    }
}

fn echo<B>(request: Request<B>) -> Ready<Result<Response<B>, Infallible>> {
    ready(Ok(Response::new(request.into_body())))
}

#[tokio::test]
async fn r40_frames_trailers_hints_and_the_end_of_the_stream_pass_through_both_ways() {
    async fn check<V: Verify>(verify: V) {
        let mut service =
            ApiKeyService::new(service_fn(echo::<Script>), header("x-api-key"), verify);
        for script in [Script::new(), Script::failing(), Script(VecDeque::new())] {
            let response = ask(&mut service, with_key(KEY).map(|()| script.clone())).await;
            same(response.into_body(), script);
        }
    }
    check(keys()).await;
    check(in_two_polls()).await;
}

#[tokio::test]
async fn r40_the_inner_service_receives_the_whole_body() {
    let reads = service_fn(|request: Request<Script>| async {
        let collected = request.into_body().collect().await?;
        let sum = collected.trailers().and_then(|it| it.get("x-sum")).cloned();
        Ok::<_, Broken>(Response::new(format!("{:?} {sum:?}", collected.to_bytes())))
    });
    let service = ApiKeyService::new(reads, header("x-api-key"), in_two_polls());
    let request = with_key(KEY).map(|()| Script::new());
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(text(response).await, r#"b"onethree" Some("42")"#);
}

#[tokio::test]
async fn r40_the_body_of_a_rejection_has_an_exact_size_and_an_end() {
    let service = ApiKeyService::new(service_fn(echo::<Script>), header("x-api-key"), keys());
    let response = service.clone().oneshot(without_key().map(|()| Script::new())).await.unwrap();
    let mut body = response.into_body();
    let expected = r#"{"error":"Unauthorized access"}"#;
    assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none() && body.frame().await.is_none());

    // gRPC sends only headers, which end the stream.
    let grpc = Request::builder().method("POST").header("content-type", "application/grpc");
    let response = service.oneshot(grpc.body(Script::new()).unwrap()).await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
}

#[test]
fn a_response_body_has_a_default_if_the_inner_body_has_one() {
    let body = ResponseBody::<String>::default();
    assert!(body.is_end_stream());
}

// ===== bounds of types =====

/// Not `Send`, not `'static` and no `Body`.
struct Local<'a>(&'a str, Rc<Cell<u32>>);

#[test]
fn bodies_and_inner_services_need_not_be_send_or_static_or_a_body() {
    let count = Rc::new(Cell::new(0));
    let word = String::from("borrowed");
    let inner = service_fn(|request: Request<Local<'_>>| {
        let Local(word, count) = request.into_body();
        count.set(count.get() + 1);
        ready(Ok::<_, Infallible>(Response::new((word.len(), Rc::clone(&count)))))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let request = with_key(KEY).map(|()| Local(&word, Rc::clone(&count)));
    let response = poll(pin!(layer.layer(inner).oneshot(request)));
    let Poll::Ready(Ok(response)) = response else { panic!("no answer") };
    assert_eq!((response.status(), count.get()), (StatusCode::OK, 1));
}

#[tokio::test(flavor = "current_thread")]
async fn a_verifier_whose_future_is_not_send_works_on_one_thread() {
    let asked = Rc::new(Cell::new(0));
    let local = {
        let asked = Rc::clone(&asked);
        verify::from_async_fn(move |digest| {
            let asked = Rc::clone(&asked);
            async move {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                asked.set(asked.get() + 1);
                find(digest)
            }
        })
    };
    let service = ApiKeyService::new(Strict::default(), header("x-api-key"), local);

    // The service is called directly, and as a task of a `LocalSet`.
    let response = service.clone().oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(text(response).await, "default");
    let tasks = tokio::task::LocalSet::new();
    let task = tasks.run_until(async move {
        tokio::task::spawn_local(service.oneshot(with_key("wrong"))).await.unwrap().unwrap()
    });
    assert_eq!(task.await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(asked.get(), 4);
}

#[test]
fn layer_and_service_are_clone_send_and_sync_and_futures_are_send() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send + 'static>(_: &T) {}
    fn check<V>(verify: V)
    where
        V: Verify + Send + Sync + 'static,
        ApiKeyService<Strict, KeyLocation, V>: Service<Request<Vec<u8>>, Future: Send + 'static>,
    {
        let layer = ApiKeyLayer::new(header("x-api-key"), verify);
        is_shared(&layer);
        let mut service = layer.layer(Strict::default());
        is_shared(&service);
        let _ = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        is_sent(&service.call(with_key(KEY).map(|()| Vec::new())));
    }
    fn is_body<T: Send + Sync + Unpin + 'static>() {}
    check(keys());
    check(Cached);
    check(verify::from_async_fn(|digest| async move { find(digest) }));
    is_body::<ResponseBody<String>>();
    is_shared(&rejection_of(StatusCode::UNAUTHORIZED));
}

fn rejection_of(status: StatusCode) -> Rejection {
    let fails = status == StatusCode::SERVICE_UNAVAILABLE;
    let verify =
        verify::from_fn(move |_| if fails { Err(Broken("store")) } else { Ok(None::<Client>) });
    let mut service = ApiKeyService::new(Strict::default(), header("x-api-key"), verify);
    assert!(is_ready(&mut service));
    let Poll::Ready(Ok(response)) = poll(pin!(service.call(with_key(KEY)))) else { panic!() };
    assert_eq!(response.status(), status);
    response.extensions().get::<Rejection>().unwrap().clone()
}

#[test]
fn accessors_reach_the_inner_service() {
    let mut service = ApiKeyService::new(41, header("x-api-key"), keys());
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 42);
    assert_eq!(service.into_inner(), 42);
}

// ===== R36: a failed verification accepts no request =====

/// Asserts a 503 without a call of the inner service. Only the observer sees the cause.
async fn fails<V: Verify<Client = Client>>(verify: V, cause: &str) {
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Observe for Seen {
        fn on_decision(&self, event: &Decision<'_>) {
            let rejection = event.rejection().unwrap();
            assert_eq!(rejection.kind(), RejectionKind::Failed);
            self.0.lock().unwrap().push(rejection.source().unwrap().to_string());
        }
    }

    let seen = Arc::default();
    let (limit, permits, counts) = Strict::behind(1);
    let layer = ApiKeyLayer::new(header("x-api-key"), verify).optional();
    let mut service = layer.observe(Seen(Arc::clone(&seen))).layer(limit);
    for key in [KEY, "wrong"] {
        let response = ask(&mut service, with_key(key)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers().contains_key("www-authenticate"));
        assert_eq!(response.headers()["cache-control"], "no-store");
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.source().unwrap().to_string(), cause);
        assert_eq!(text(response).await, r#"{"error":"Service unavailable"}"#);

        let grpc = Request::builder().method("POST").header("content-type", "application/grpc");
        let grpc = grpc.header("x-api-key", key).body(()).unwrap();
        let response = ask(&mut service, grpc).await;
        assert_eq!(response.headers()["grpc-status"], "14");
    }
    assert_eq!((counts.calls(), permits.available_permits()), (0, 1));
    assert_eq!(*seen.lock().unwrap(), [cause; 4]);
}

#[tokio::test]
async fn r36_a_verifier_error_is_a_503() {
    fails(verify::from_fn(|_| Err::<Option<Client>, _>(Broken("store is down"))), "store is down")
        .await;
    let later = verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Err::<Option<Client>, _>(io::Error::other("store is down"))
    });
    fails(later, "store is down").await;
    fails(verify::from_fn(|_| Err::<Option<Client>, _>(VerifyError::failed("why not"))), "why not")
        .await;
}

#[tokio::test(start_paused = true)]
async fn r36_a_deadline_inside_the_verifier_is_a_503() {
    let never = verify::from_async_fn(|_| async {
        let row = tokio::time::timeout(Duration::from_secs(2), pending::<Option<Client>>());
        Ok::<_, Box<dyn Error + Send + Sync>>(row.await?)
    });
    fails(never, "deadline has elapsed").await;
}

#[tokio::test]
async fn r36_a_verification_whose_task_was_aborted_is_a_503() {
    // The sender of the result was dropped.
    let aborted = verify::from_async_fn(|_| async {
        let (sender, receiver) = oneshot::channel::<Option<Client>>();
        drop(sender);
        receiver.await
    });
    fails(aborted, "channel closed").await;
    // The task was aborted.
    let aborted = verify::from_async_fn(|_| async {
        let task = tokio::spawn(pending::<Option<Client>>());
        task.abort();
        task.await.map_err(|error| if error.is_cancelled() { "cancelled" } else { "panicked" })
    });
    fails(aborted, "cancelled").await;
    let panicked = verify::from_async_fn(|_| async {
        let task = tokio::spawn(async { panic!("in the verifier's own task") });
        let outcome: Result<Option<Client>, _> = task.await;
        outcome.map_err(|error| if error.is_panic() { "panicked" } else { "cancelled" })
    });
    fails(panicked, "panicked").await;
}

#[tokio::test]
async fn r36_a_verifier_that_panics_accepts_no_request_and_the_next_request_is_served() {
    let panics_at = |key: &'static str| {
        move |digest| {
            assert!(digest != KeyDigest::of(key), "in the verifier");
            find(digest)
        }
    };

    // The call itself panics.
    let verify = verify::from_fn(move |key| panics_at("boom")(key.digest()));
    let (limit, permits, counts) = Strict::behind(1);
    let mut service = ApiKeyService::new(limit, header("x-api-key"), verify);
    assert!(is_ready(&mut service));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(with_key("boom"))))).is_err());
    assert_eq!(counts.calls(), 0);
    assert_eq!(ask(&mut service, with_key(KEY)).await.status(), StatusCode::OK);
    assert_eq!((counts.calls(), permits.available_permits()), (1, 1));

    // The waiting task panics.
    let verify = verify::from_async_fn(move |digest| async move {
        tokio::task::yield_now().await;
        panics_at("boom")(digest)
    });
    let (limit, permits, counts) = Strict::behind(1);
    let mut service = ApiKeyService::new(limit, header("x-api-key"), verify);
    let task = tokio::spawn(service.clone().oneshot(with_key("boom")));
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!((counts.calls(), permits.available_permits()), (0, 1));
    assert_eq!(ask(&mut service, with_key(KEY)).await.status(), StatusCode::OK);
}
