//! The number of allocations of a request, and the memory of a key.
#![allow(unsafe_code, reason = "a global allocator that counts is unsafe to write")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Request, Response, header};
use tower::{Layer, Service};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, KeyDigest, Keyring, RequireScopeLayer,
    extract::{Extract, bearer, cookie, header, query, scheme},
    key::KeyFormat,
    observe::Observe,
    record::Record,
    verify::{self, Verify, VerifyError},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// What this thread requested and did not free. Other tests run at the same time.
    static BYTES: Cell<isize> = const { Cell::new(0) };
    /// The bytes that this thread has requested and not given back.
    static REQUESTED: Cell<isize> = const { Cell::new(0) };
}

/// Returns the bytes that glibc uses for an allocation. It adds 8 bytes and rounds up to a multiple of 16.
fn footprint(layout: Layout) -> isize {
    isize::try_from((layout.size() + 8).next_multiple_of(16).max(32)).expect("a size")
}

// SAFETY: every call goes to `System`. This only changes counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        REQUESTED.set(REQUESTED.get() + layout.size() as isize);
        BYTES.set(BYTES.get() + footprint(layout));
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        REQUESTED.set(REQUESTED.get() - layout.size() as isize);
        BYTES.set(BYTES.get() - footprint(layout));
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An inner service without allocations.
#[derive(Clone)]
struct Inner;

impl<B> Service<Request<B>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

const KEY: &str = "sk_live_0123456_4f0pGQ8mLz2RxV7nYbT1dK";

fn count<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.get();
    let result = act();
    (result, ALLOCATIONS.get() - before)
}

/// Returns the status and the number of allocations of one request, after a first request.
fn allocations<E, V>(layer: &ApiKeyLayer<E, V>, request: impl Fn() -> Request<()>) -> (u16, usize)
where
    E: Extract,
    V: Verify,
{
    let mut service = layer.layer(Inner);
    once(&mut service, request());
    once(&mut service, request())
}

fn once<E, V, O>(service: &mut ApiKeyService<Inner, E, V, O>, request: Request<()>) -> (u16, usize)
where
    E: Extract,
    V: Verify,
    O: Observe<V::Client>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let (response, allocations) = count(|| {
        assert!(Service::<Request<()>>::poll_ready(service, &mut cx).is_ready());
        match pin!(service.call(request)).poll(&mut cx) {
            Poll::Ready(Ok(response)) => response,
            _ => panic!("the response is not ready"),
        }
    });
    (response.status().as_u16(), allocations)
}

fn with(name: &'static str, value: &str) -> impl Fn() -> Request<()> {
    let value = HeaderValue::from_str(value).expect("a header's value");
    move || {
        let mut request = Request::new(());
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        request.headers_mut().insert(name, value.clone());
        request
    }
}

fn get(uri: &str) -> impl Fn() -> Request<()> {
    let uri: http::Uri = uri.parse().expect("a URI");
    move || {
        let mut request = Request::new(());
        *request.uri_mut() = uri.clone();
        request
    }
}

fn keys() -> Keyring {
    Keyring::single(KEY).expect("a valid key")
}

/// Returns the number of allocations if a client is inserted into the extensions of a request.
fn allocations_of_insert() -> usize {
    let (mut request, client) = (Request::new(()), Client::new("default"));
    count(|| request.extensions_mut().insert(client)).1
}

#[test]
fn an_accepted_request_allocates_at_most_two_times_beside_its_client() {
    let insert = allocations_of_insert();
    let bare = |layer: &dyn Fn() -> (u16, usize), locations: &str, more: usize| {
        let (status, allocations) = layer();
        assert_eq!(status, 200, "{locations}");
        assert!(allocations <= insert + more, "{locations}: {allocations}, insert {insert}");
        assert!(allocations >= insert, "{locations}: no allocation was counted");
    };
    let by = format!("Bearer {KEY}");
    let token = format!("Token {KEY}");
    let line = format!("a=1; key={KEY}; b=2");
    let uri = format!("/?a=1&key={KEY}&b=2");
    macro_rules! layer {
        ($extract:expr) => {
            &ApiKeyLayer::new($extract, keys()).no_cache_headers()
        };
    }
    bare(&|| allocations(layer!(header("x-api-key")), with("x-api-key", KEY)), "header", 0);
    bare(&|| allocations(layer!(bearer()), with("authorization", &by)), "bearer", 0);
    bare(&|| allocations(layer!(scheme("Token")), with("authorization", &token)), "scheme", 0);
    let several = layer!((header("x-api-key"), bearer(), query("key")));
    bare(&|| allocations(several, with("x-api-key", KEY)), "header of three", 0);
    bare(&|| allocations(layer!(cookie("key")), with("cookie", &line)), "cookie", 2);
    bare(&|| allocations(layer!(query("key")), get(&uri)), "query", 2);
}

#[test]
fn an_encoded_name_in_the_query_allocates_nothing() {
    let layer = ApiKeyLayer::new(query("key"), keys());
    let unguarded = |name: &str| allocations(&layer, get(&format!("/?{}", [name; 50].join("&"))));
    let plain = unguarded("nay=1");
    assert_eq!(plain.0, 401);
    for name in ["n%61y=1", "%6e%61%79=1", "n+a+y=1", "%zz=1", "ke%79s=1", "%"] {
        assert_eq!(unguarded(name), plain, "{name}");
    }
    let accepted = |name: &str| allocations(&layer, get(&format!("/?a=1&{name}={KEY}")));
    assert_eq!(accepted("%6b%65%79"), accepted("key"));
    assert_eq!(accepted("key").0, 200);
}

#[test]
fn cache_headers_allocate_as_much_as_two_headers() {
    let two_headers = count(|| {
        let mut headers = header::HeaderMap::new();
        headers.append(header::VARY, HeaderValue::from_static("x-api-key"));
        headers.append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let (status, allocations) = allocations(&layer, with("x-api-key", KEY));
    assert_eq!((status, allocations), (200, allocations_of_insert() + two_headers.1));
}

#[test]
fn all_reasons_of_one_status_allocate_alike() {
    let rejected = |error: fn() -> VerifyError| {
        let verify = verify::from_fn(move |_| Err::<Option<Client>, _>(error()));
        allocations(&ApiKeyLayer::new(header("x-api-key"), verify), with("x-api-key", KEY))
    };
    let by_keyring = |value: &str| {
        allocations(&ApiKeyLayer::new(header("x-api-key"), keys()), with("x-api-key", value))
    };
    let of_a_record = |with: fn(Record) -> Record| {
        let keys = Keyring::new();
        let record = Record::new(KeyDigest::of(KEY), Client::new("default"));
        keys.insert_record(with(record)).expect("a record");
        allocations(&ApiKeyLayer::new(header("x-api-key"), keys), self::with("x-api-key", KEY))
    };
    let unknown = by_keyring("sk_live_unknown");
    assert_eq!(unknown.0, 401);
    for other in [
        rejected(VerifyError::unknown),
        rejected(VerifyError::expired),
        rejected(VerifyError::not_yet_valid),
        rejected(VerifyError::revoked),
        of_a_record(|record| record.with_revoked(SystemTime::now())),
        of_a_record(|record| record.with_created(UNIX_EPOCH).with_expires(UNIX_EPOCH)),
        of_a_record(|record| {
            record.with_not_before(SystemTime::now() + Duration::from_secs(3_600))
        }),
        by_keyring("mal\tformed"),
        by_keyring(&"k".repeat(2000)),
    ] {
        assert_eq!(other, unknown);
    }
    // A response with three headers, a body, and the rejection in its extensions.
    let response = count(|| {
        let mut response = Response::new(bytes::Bytes::from(String::from("{\"error\":\"…\"}")));
        for name in [header::CONTENT_TYPE, header::WWW_AUTHENTICATE, header::CACHE_CONTROL] {
            response.headers_mut().append(name, HeaderValue::from_static("x"));
        }
        response.extensions_mut().insert(0_u64);
        response
    });
    assert!(unknown.1 <= response.1 + 3, "{} for {}", unknown.1, response.1);
}

#[test]
fn a_layered_service_and_its_clone_allocate_nothing() {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys());
    let (service, allocations) = count(|| layer.layer(Inner));
    assert_eq!(allocations, 0);
    assert_eq!(count(|| service.clone()).1, 0);
}

#[test]
fn a_required_scope_costs_a_client_with_the_scope_no_allocation() {
    let scope = RequireScopeLayer::all(["jobs:read", "jobs:write"]);
    let (mut service, allocations) = count(|| scope.layer(Inner));
    assert_eq!((allocations, count(|| service.clone()).1), (0, 0));
    let mut ask = |scopes: &[&str]| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Client::new("ci").with_scopes(scopes.to_vec()));
        let mut cx = Context::from_waker(Waker::noop());
        let (response, allocations) =
            count(|| pin!(service.call(request)).as_mut().poll(&mut cx).map(Result::unwrap));
        let Poll::Ready(response) = response else { panic!("the response is not ready") };
        (response.status().as_u16(), allocations)
    };
    assert_eq!(ask(&["jobs:write", "jobs:read"]), (200, 0));
    let (status, rejected) = ask(&["jobs:read"]);
    assert!(status == 403 && rejected > 0, "no allocation was counted");
}

#[cfg(feature = "store")]
#[test]
fn a_hit_of_a_cache_allocates_nothing_beside_its_client() {
    use tower_api_key::store::{Cached, Change, MemoryStore};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let keys = runtime.block_on(async {
        let store = MemoryStore::new();
        let record = Record::new(KeyDigest::of(KEY), Client::new("default"));
        Change::insert(record).commit(&store).await.unwrap();
        let keys = Cached::open(store).await.unwrap();
        let mut service = ApiKeyLayer::new(header("x-api-key"), keys.clone()).layer(Inner);
        let response = service.call(with("x-api-key", KEY)()).await.unwrap();
        assert_eq!(response.status(), 200, "a miss");
        keys
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).no_cache_headers();
    assert_eq!(allocations(&layer, with("x-api-key", KEY)), (200, allocations_of_insert()));
}

#[cfg(feature = "limit")]
mod limits {
    use std::net::Ipv4Addr;

    use tower_api_key::{
        ClientLimitLayer, FailureLimitLayer,
        limit::{Limit, Limiter, Limits, Peer, RateLimitHeaders},
    };

    use super::*;

    static PLAN: Limits =
        Limits::new(&[Limit::per_minute("burst", 60).burst(20), Limit::per_hour("hour", 1_000)]);

    /// A service whose response has a header, so that its map is there.
    #[derive(Clone)]
    struct WithHeader;

    impl Service<Request<()>> for WithHeader {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let mut response = Response::new(String::new());
            response.headers_mut().insert(header::SERVER, HeaderValue::from_static("x"));
            ready(Ok(response))
        }
    }

    /// Returns the status of the second response, and its allocations.
    fn second<S, B>(mut service: S) -> (u16, usize)
    where
        S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    {
        let mut cx = Context::from_waker(Waker::noop());
        let mut answers = (0..2).map(|_| {
            let mut request = Request::new(());
            request.extensions_mut().insert(Client::new("ci"));
            let (response, allocations) =
                count(|| pin!(service.call(request)).as_mut().poll(&mut cx).map(Result::unwrap));
            let Poll::Ready(response) = response else { panic!("not at once") };
            (response.status().as_u16(), allocations)
        });
        answers.next();
        answers.next().expect("a second response")
    }

    #[test]
    fn a_limit_allocates_nothing_and_its_headers_allocate_once() {
        let limit = || ClientLimitLayer::new(Limiter::in_process(), |_: &Client| &PLAN);
        let (_, bare) = second(WithHeader);
        let (mut service, layered) = count(|| limit().layer(WithHeader));
        assert_eq!(second(&mut service), (200, bare));
        assert!(layered > 0, "counts nothing");
        assert_eq!(count(|| service.clone()).1, 0);
        let headers = limit().headers(RateLimitHeaders::Always);
        assert_eq!(second(headers.layer(WithHeader)), (200, bare + 1));
    }

    #[test]
    fn a_limit_of_failures_allocates_nothing_for_an_accepted_request_and_for_a_new_peer() {
        let layer = ApiKeyLayer::new(header("x-api-key"), keys());
        let peer = |head: tower_api_key::extract::RequestHead<'_>| {
            let number = head.headers().get("peer").and_then(|it| it.to_str().ok()?.parse().ok());
            Some(Peer::from(Ipv4Addr::from_bits(number.unwrap_or(0))))
        };
        let limit = FailureLimitLayer::new(
            Limit::per_minute("failures", 10),
            peer,
            layer.rejection_writer(),
        );
        let answer = |service: &mut dyn FnMut(Request<()>) -> (u16, usize), key, peer: u32| {
            let mut request = with("x-api-key", key)();
            request.headers_mut().insert("peer", peer.into());
            service(request)
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut bare = layer.layer(WithHeader);
        let mut limited = limit.layer(layer.layer(WithHeader));
        macro_rules! once {
            ($service:ident) => {
                &mut |request| {
                    let (response, allocations) =
                        count(|| pin!($service.call(request)).as_mut().poll(&mut cx));
                    let Poll::Ready(Ok(response)) = response else { panic!("not at once") };
                    (response.status().as_u16(), allocations)
                }
            };
        }
        // The table has room for 65,536 peers that failed.
        for (key, peers) in [(KEY, 10_000), ("wrong", 70_000)] {
            answer(once!(bare), key, 0);
            let expected = answer(once!(bare), key, 0);
            for peer in 0..peers {
                assert_eq!(answer(once!(limited), key, peer), expected);
            }
        }
    }
}

// In the worst case each client has one key, so the index by client has an entry for every key.
// The two numbers are just under and just over seven eighths of 2^17, where hash tables grow.
#[test]
fn a_key_costs_at_most_200_bytes_beside_its_client_with_record_and_all_indices() {
    let clients: Vec<_> = (0..125_000).map(|id| Client::new(format!("client-{id}"))).collect();
    let format = KeyFormat::new("sk_live").expect("a prefix");
    let expiry = SystemTime::now() + Duration::from_secs(86_400);
    let ring = Keyring::new();
    let before = BYTES.get();
    for (number, client) in (0_u32..).zip(clients) {
        let mut digest = [0; 32];
        let slot = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        digest[..8].copy_from_slice(&slot.to_ne_bytes());
        let mut record = Record::new(KeyDigest::from_bytes(digest), client);
        if number % 2 == 0 {
            // Every second record has the fields of a minted key.
            record = record.with_id(&format!("{number:08}")).expect("an id");
            record = record.with_format(format.clone()).with_expires(expiry);
        }
        ring.insert_record(record).expect("a new key");
        let keys = ring.len();
        if keys == 112_500 || keys == 125_000 {
            let bytes = BYTES.get() - before;
            let each = bytes as f64 / keys as f64;
            println!("{keys} keys: {each:.1} bytes each");
            assert!(each <= 200.0, "{keys} keys: {each:.1} bytes each");
            assert!(each >= 100.0, "{keys} keys: {each:.1} bytes each: no byte was counted");
        }
    }
}

#[cfg(feature = "limit")]
mod limiter {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Outcome, Subject};

    use super::*;

    static ONE: Limits = Limits::new(&[Limit::per_hour("hour", 1_000)]);
    static TWO: Limits =
        Limits::new(&[Limit::per_minute("minute", 60).burst(5), Limit::per_hour("hour", 1_000)]);

    /// A limiter with a clock of whole seconds.
    fn limiter() -> (Limiter, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = seconds.clone();
        (Limiter::with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed))), seconds)
    }

    fn outcome(limiter: &Limiter, ask: &Ask<'_>) -> Outcome {
        limiter.take(ask).ready().expect("in the process").outcome()
    }

    /// Counts a request of each new client, and returns the bytes for each.
    fn fill(limiter: &Limiter, limits: &Limits, clients: std::ops::Range<u32>) -> f64 {
        let (before, count) = (BYTES.get(), clients.len());
        for number in clients {
            let id = format!("client-{number}");
            assert_eq!(outcome(limiter, &Ask::new(Subject::Client(&id), limits)), Outcome::Passed);
        }
        (BYTES.get() - before) as f64 / count as f64
    }

    #[test]
    fn takes_peeks_and_refunds_of_known_subjects_allocate_nothing() {
        // The id of the second is too long to be held in the counter itself.
        for id in ["ci", "0192d3a4-5b6c-7d8e-9f01-23456789abcd"] {
            let (limiter, _) = limiter();
            let ask = Ask::new(Subject::Client(id), &TWO);
            let (first, allocations) = count(|| outcome(&limiter, &ask));
            assert!(first == Outcome::Passed && allocations > 0, "counts nothing");
            let known = |act: &dyn Fn() -> Outcome| assert_eq!(count(act).1, 0, "{id}");
            for _ in 0..10 {
                known(&|| outcome(&limiter, &ask));
                known(&|| outcome(&limiter, &ask.with_state()));
            }
            assert!(matches!(outcome(&limiter, &ask), Outcome::Limited { limit: 0, .. }));
            known(&|| outcome(&limiter, &ask.with_cost(u32::MAX)));
            known(&|| {
                limiter.refund(&ask);
                Outcome::Passed
            });
            let states = count(|| {
                let taken = limiter.peek(ask.subject(), &TWO).ready().expect("in the process");
                taken.states(&TWO).map(|state| state.remaining).sum::<u32>()
            });
            assert_eq!(states, (997, 0));
            // A stranger is not counted before its first request.
            let stranger = Ask::peek(Subject::Peer("10.0.0.1"), &TWO);
            assert_eq!(count(|| outcome(&limiter, &stranger)), (Outcome::Passed, 0));
        }
    }

    #[test]
    fn a_counter_takes_at_most_64_bytes_at_any_number_of_clients() {
        let (one, two) = (limiter().0, limiter().0);
        let (mut bytes, mut bytes_of_two, step) = (0.0, 0.0, 5_000);
        for clients in (step..=100_000).step_by(step as usize) {
            let new = clients - step..clients;
            bytes += fill(&one, &ONE, new.clone()) * f64::from(step);
            bytes_of_two += fill(&two, &TWO, new) * f64::from(step);
            let (each, of_two) =
                (bytes / f64::from(clients), bytes_of_two / f64::from(clients) / 2.0);
            println!("{clients} clients: {each:.1} bytes each, {of_two:.1} for each of two limits");
            assert!(each <= 64.0 && of_two <= 64.0, "{clients}: {each:.1} and {of_two:.1}");
            assert!(each >= 30.0, "counts nothing");
        }
    }

    #[test]
    fn memory_shrinks_after_a_million_clients_fall_silent() {
        let empty = BYTES.get();
        let (limiter, seconds) = limiter();
        let bytes = |empty: isize| BYTES.get() - empty;
        let before = bytes(empty);
        assert!(fill(&limiter, &ONE, 0..1_000_000) <= 64.0);
        let full = bytes(empty);
        // All limits are full again, and one client sends a request each second.
        let mut now = 5;
        let (mut requests, mut last) = (0, full);
        while bytes(empty) - before > 100_000 {
            seconds.store(now, Ordering::Relaxed);
            outcome(&limiter, &Ask::new(Subject::Client("alone"), &ONE));
            (now, requests) = (now + 1, requests + 1);
            assert!(requests < 3_000, "{} of {full} bytes after {requests}", bytes(empty));
            // Step by step: a request frees a part of one shard.
            assert!(last - bytes(empty) < 1_000_000, "{}", last - bytes(empty));
            last = bytes(empty);
        }
        println!("{requests} requests freed {full} bytes");
        assert!(requests > 1_000, "a sweep ran as a whole");
        drop(limiter);
        assert!(bytes(empty) < 100, "the clock alone is left");
    }

    #[test]
    fn newcomers_evict_counters_of_full_limits() {
        let (limiter, seconds) = limiter();
        let before = BYTES.get();
        // Each client sends one request, of which the limit is full again after four seconds.
        for second in 0..200 {
            seconds.store(second, Ordering::Relaxed);
            let first = second as u32 * 1_000;
            fill(&limiter, &ONE, first..first + 1_000);
            let bytes = BYTES.get() - before;
            assert!(bytes <= 4_000 * 3 * 64 + 100_000, "{bytes} at {second} s");
        }
    }
}

#[cfg(feature = "usage")]
mod usage {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tower_api_key::{
        Rejection,
        observe::Decision,
        rejection::Reason,
        usage::{SinkFuture, Usage, UsageBatch, UsageSink},
    };

    use super::*;

    #[test]
    fn counting_a_known_key_allocates_nothing() {
        let clock = Arc::new(AtomicU64::new(1_795_953_600));
        let now = Arc::clone(&clock);
        let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
        let usage = Usage::builder().clock(now).build();
        let keys = keys();
        let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone()).no_cache_headers();
        let request = with("x-api-key", KEY);
        let plain = allocations(&layer, &request);
        let observed = layer.observe(usage.clone());
        let mut service = observed.layer(Inner);
        let mut ask = || once(&mut service, request());
        assert!(ask().1 > plain.1, "counts nothing");
        assert_eq!(ask(), plain);
        // Another minute of the same hour, and then another hour, which the first request moves.
        clock.fetch_add(60, Ordering::Relaxed);
        assert_eq!(ask(), plain);
        clock.fetch_add(3600, Ordering::Relaxed);
        assert!(ask().1 > plain.1);
        assert_eq!(ask(), plain);
        // The first event of each kind makes an entry, and the other kinds of a known key do not.
        let client = Client::new("default").with_key_id("0a1B2c3D");
        let limited = Rejection::new(Reason::Limited);
        usage.on_decision(&Decision::accepted(&client));
        let counted = count(|| {
            usage.on_decision(&Decision::accepted(&client));
            usage.on_guard(&Decision::by_guard(&limited, Some(&client)));
            let unknown = Rejection::new(Reason::Unknown);
            Observe::<Client>::on_decision(&usage, &Decision::rejected(&unknown));
        });
        assert_eq!(counted.1, 0);
    }

    /// A sink that stores nothing.
    struct Nowhere;

    impl UsageSink for Nowhere {
        fn write<'a>(&'a self, _: &'a UsageBatch) -> SinkFuture<'a> {
            Box::pin(ready(Ok(())))
        }
    }

    #[test]
    fn a_key_and_hour_of_usage_requests_at_most_120_bytes() {
        const KEYS: u32 = 25_000;

        let clock = Arc::new(AtomicU64::new(1_795_953_600));
        let now = Arc::clone(&clock);
        let now = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
        // Each client has one key, and a name of the usual length.
        let clients: Vec<_> = (0..KEYS)
            .map(|id| Client::new(format!("client-{id}")).with_key_id(format!("{id:08}")))
            .collect();
        let before = REQUESTED.get();
        let usage = Usage::builder().max_keys(1_000_000).clock(now).build();
        for hours in 1..=8_u32 {
            clients.iter().for_each(|client| usage.on_decision(&Decision::accepted(client)));
            let bytes = REQUESTED.get() - before;
            let each = bytes as f64 / f64::from(KEYS * hours);
            println!("{KEYS} keys, {hours} hours: {each:.1} bytes for each key and hour");
            assert!(each <= 120.0, "{hours} hours: {each:.1} bytes for each key and hour");
            assert!(each >= 36.0, "{each:.1} bytes: counts nothing");
            clock.fetch_add(3600, Ordering::Relaxed);
        }
        // The hours are over, so that only the last use of each key stays.
        clock.fetch_add(100 * 3600, Ordering::Relaxed);
        let (writer, task) =
            usage.flush_to(Nowhere).in_task(|_| std::future::pending::<()>()).unwrap();
        let mut task = Box::pin(task);
        let mut cx = Context::from_waker(Waker::noop());
        let mut flush = pin!(writer.flush());
        while flush.as_mut().poll(&mut cx).is_pending() {
            assert!(task.as_mut().poll(&mut cx).is_pending());
        }
        let each = (REQUESTED.get() - before) as f64 / f64::from(KEYS);
        println!("{KEYS} keys without hours: {each:.1} bytes each");
        assert!(each <= 120.0, "{each:.1} bytes for each key without hours");
    }

    #[test]
    fn unknown_keys_take_no_memory() {
        let usage = Usage::new();
        let ask = |number: u32| {
            let rejection = Rejection::new(Reason::Unknown);
            let path = format!("/{number}");
            let decision = Decision::rejected(&rejection).with_path(&path);
            Observe::<Client>::on_decision(&usage, &decision);
        };
        (0..100_000).for_each(ask);
        let before = REQUESTED.get();
        (0..1_000_000).for_each(ask);
        assert_eq!(REQUESTED.get(), before);
        assert_eq!(usage.snapshot()[0].counts().rejected, 1_100_000);
    }
}
