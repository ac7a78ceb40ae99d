//! The number of allocations of a request, and the memory of a key.
#![allow(unsafe_code, reason = "a global allocator that counts is unsafe to write")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    sync::atomic::{AtomicIsize, Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Request, Response, header};
use tower::{Layer, Service};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, KeyDigest, Keyring, RequireScopeLayer,
    extract::{Extract, bearer, cookie, header, query, scheme},
    key::KeyFormat,
    record::Record,
    verify::{self, Verify, VerifyError},
};

struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Returns the bytes that glibc uses for an allocation. It adds 8 bytes and rounds up to a multiple of 16.
fn footprint(layout: Layout) -> isize {
    isize::try_from((layout.size() + 8).next_multiple_of(16).max(32)).expect("a size")
}

// SAFETY: every call goes to `System`. This only changes counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.fetch_add(footprint(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(footprint(layout), Ordering::Relaxed);
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

fn once<E, V>(service: &mut ApiKeyService<Inner, E, V>, request: Request<()>) -> (u16, usize)
where
    E: Extract,
    V: Verify,
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

// In the worst case each client has one key, so the index by client has an entry for every key.
// The two numbers are just under and just over seven eighths of 2^20, where hash tables grow.
#[test]
fn a_key_costs_at_most_200_bytes_beside_its_client_with_record_and_all_indices() {
    let clients: Vec<_> = (0..1_000_000).map(|id| Client::new(format!("client-{id}"))).collect();
    let format = KeyFormat::new("sk_live").expect("a prefix");
    let expiry = SystemTime::now() + Duration::from_secs(86_400);
    let ring = Keyring::new();
    let before = BYTES.load(Ordering::Relaxed);
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
        if keys == 900_000 || keys == 1_000_000 {
            let bytes = BYTES.load(Ordering::Relaxed) - before;
            let each = bytes as f64 / keys as f64;
            println!("{keys} keys: {each:.1} bytes each");
            assert!(each <= 200.0, "{keys} keys: {each:.1} bytes each");
            assert!(each >= 100.0, "{keys} keys: {each:.1} bytes each: no byte was counted");
        }
    }
}
