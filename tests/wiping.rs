//! The library wipes memory that held a key before it frees it. An allocator inspects freed blocks.
#![allow(unsafe_code, reason = "a global allocator that inspects freed memory is unsafe to write")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::{Cell, UnsafeCell},
    convert::Infallible,
    future::{Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    slice,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tower::{Layer, Service};
use tower_api_key::{
    ApiKeyLayer, Client, KeyLocation, Keyring,
    extract::{self, Extract, first_of, header, query},
    key::KeyFormat,
    verify::Verify,
};

struct Inspecting;

const CAPACITY: usize = 1 << 18;

thread_local! {
    static IS_INSPECTING: Cell<bool> = const { Cell::new(false) };
    static LEN: Cell<usize> = const { Cell::new(0) };
    static FREED: UnsafeCell<[u8; CAPACITY]> = const { UnsafeCell::new([0; CAPACITY]) };
}

// SAFETY: every call goes to `System`. A freed block is read before.
unsafe impl GlobalAlloc for Inspecting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The block is zeroed, so that every byte can be read when it is freed. `realloc` calls this and
        // `dealloc`, so that the old block of a growing vector is inspected too.
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if IS_INSPECTING.get() {
            let at = LEN.get();
            // SAFETY: the block has this size and no other user, and every byte is initialized.
            let freed = unsafe { slice::from_raw_parts(pointer, layout.size()) };
            FREED.with(|kept| {
                // SAFETY: the value belongs to this thread. Nothing here allocates, so this is not reentered.
                let kept = unsafe { &mut *kept.get() };
                if let Some(kept) = kept.get_mut(at..at + freed.len()) {
                    kept.copy_from_slice(freed);
                }
            });
            LEN.set(at + freed.len());
        }
        // SAFETY: the caller keeps the contract of this method.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Inspecting = Inspecting;

/// Returns the bytes of all blocks that a closure frees in this thread.
fn freed<T>(act: impl FnOnce() -> T) -> (T, Vec<u8>) {
    LEN.set(0);
    IS_INSPECTING.set(true);
    let result = act();
    IS_INSPECTING.set(false);
    assert!(LEN.get() <= CAPACITY, "{} bytes were freed", LEN.get());
    // SAFETY: the value belongs to this thread, and the inspection has ended.
    let freed = FREED.with(|freed| unsafe { &*freed.get() }[..LEN.get()].to_vec());
    (result, freed)
}

/// Returns whether the freed bytes contain any six consecutive bytes of a secret.
fn is_in(secret: &[u8], freed: &[u8]) -> bool {
    let parts: std::collections::HashSet<_> = secret.windows(6).collect();
    freed.windows(6).any(|window| parts.contains(window))
}

/// The secret of a key. It is on the stack and is never freed.
type Secret = [u8; 28];

fn secret(key: &str) -> Secret {
    *key.as_bytes().last_chunk().expect("a minted key")
}

#[test]
fn the_search_finds_copies_that_are_not_wiped() {
    let format = KeyFormat::new("sk_live").unwrap();
    let copied = |copy: fn(&str)| {
        let (secret, freed) = freed(|| {
            format.mint().unwrap().reveal(|key| {
                copy(key);
                secret(key)
            })
        });
        is_in(&secret, &freed)
    };
    assert!(!copied(|_| {}));
    assert!(copied(|key| drop(key.to_owned())), "a copy");
    assert!(copied(|key| drop(key[16..24].to_owned())), "a part");
    assert!(copied(|key| drop(vec![1, 2, 3].into_iter().chain(key.bytes()).collect::<Vec<_>>())));
    let grown = |key: &str| {
        let mut grown = String::with_capacity(key.len());
        grown.push_str(key);
        grown.reserve(1_000);
        // The last block is wiped, but the block before is not.
        drop(zeroize::Zeroizing::new(grown));
    };
    assert!(copied(grown), "the old block of a growing string");
    assert!(!copied(|key| drop(zeroize::Zeroizing::new(key.to_owned()))), "a copy that is wiped");
}

#[test]
fn r27_a_minted_key_is_wiped() {
    let format = KeyFormat::new("sk_live").unwrap();
    for _ in 0..20 {
        let (secret, freed) = freed(|| format.mint().unwrap().reveal(secret));
        assert!(!is_in(&secret, &freed), "minted and revealed");
    }
    let keys = Keyring::builder().format(format.clone()).build();
    for _ in 0..20 {
        let (secret, freed) = freed(|| {
            let minted = keys.issue(&format, Client::new("ci")).unwrap();
            let _ = (format!("{minted:?}"), minted.digest().encode());
            let id = minted.id().to_owned();
            let first = minted.reveal(secret);
            let rotated = keys.rotate(&id, Duration::ZERO).unwrap();
            keys.revoke_key(rotated.id());
            [first, rotated.reveal(secret)]
        });
        assert!(!freed.is_empty());
        assert!(secret.iter().all(|secret| !is_in(secret, &freed)), "issued, rotated and revealed");
    }
    for _ in 0..20 {
        // The caller's own copy is not inspected.
        let mut held = String::with_capacity(1_000);
        format.mint().unwrap().reveal(|key| held.push_str(key));
        let ((), freed) = freed(|| keys.insert(&held, Client::new("ci")).unwrap());
        assert!(!is_in(&secret(&held), &freed), "inserted");
        let list = format!("# A list.\nci={held}");
        let (keys, freed) = self::freed(|| list.parse::<Keyring>().unwrap());
        assert!(keys.len() == 1 && !is_in(&secret(&held), &freed), "listed");
    }
}

#[test]
fn r27_a_minted_key_that_is_not_revealed_is_wiped() {
    // Only the prefix of such a key is known, so the test searches for it.
    let format = KeyFormat::new("wiped_when_dropped").unwrap();
    let begin = b"wiped_when_dropped_";
    let is_left = |freed: &[u8]| {
        let keys = freed.windows(begin.len() + 10).filter(|window| window.starts_with(begin));
        keys.filter(|key| key[key.len() - 2] == b'_' && key[key.len() - 1] != 0).count()
    };
    let keys = Keyring::new();
    let ((), dropped) = freed(|| drop(keys.issue(&format, Client::new("ci")).unwrap()));
    assert_eq!(is_left(&dropped), 0);
    let ((), copied) = freed(|| format.mint().unwrap().reveal(|key| drop(key.to_owned())));
    assert_eq!(is_left(&copied), 1);

    // The key is wiped also if the closure that receives it panics.
    let mut revealed = None;
    let ((), panicked) = freed(|| {
        let minted = format.mint().unwrap();
        let show = AssertUnwindSafe(|| {
            minted.reveal(|key| {
                revealed = Some(secret(key));
                // This panic prints no message.
                std::panic::resume_unwind(Box::new(()));
            });
        });
        assert!(catch_unwind(show).is_err());
    });
    assert_eq!(is_left(&panicked), 0);
    assert!(!is_in(&revealed.unwrap(), &panicked));
}

// --------------------------------------------------------------------------------------------
// Keys in requests. The memory of a request belongs to the server. The library wipes a key that it decodes.

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

/// Returns the status of one request, and the bytes that were freed meanwhile.
fn freed_by<E: Extract, V: Verify>(
    layer: &ApiKeyLayer<E, V>,
    request: Request<()>,
) -> (u16, Vec<u8>) {
    let mut service = layer.layer(Inner);
    let mut context = Context::from_waker(Waker::noop());
    freed(|| match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response.status().as_u16(),
        _ => panic!("the response is not ready"),
    })
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

const KEY: &str = "Qx7Lm2Zr9Tk4Vb8Yp5Nc";
const SPACED: &str = "Qx7Lm2 Zr9Tk4 Vb8Yp5 Nc3Hd6";

/// Encodes spaces and every third character, so that no six characters are equal to those of the key.
fn escaped(key: &str) -> String {
    let third = |(at, byte): (usize, u8)| match (at % 3, byte) {
        (0, _) | (_, b' ') => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    key.bytes().enumerate().map(third).collect()
}

#[test]
fn r27_a_key_that_is_decoded_from_a_query_is_wiped() {
    let layers = |key| ApiKeyLayer::new(query("api_key"), Keyring::single(key).unwrap());
    for key in [KEY, SPACED] {
        let layer = layers(key);
        for (form, layer) in [
            ("plain", layer.clone()),
            ("forwarding", layer.clone().forward_key()),
            ("optional", layer.clone().optional()),
        ] {
            let (status, freed) = freed_by(&layer, get(&format!("/?api_key={}", escaped(key))));
            assert_eq!((status, is_in(key.as_bytes(), &freed)), (200, false), "{form}");
        }
        // If the query has a `+`, decoding has one more step, which only restores the spaces.
        let plus = SPACED.replace(' ', "+");
        let (status, freed) = freed_by(&layer, get(&format!("/?api_key={plus}")));
        assert_eq!(status, if key == SPACED { 200 } else { 401 });
        // The request contains the parts between two spaces, so the test searches across a space.
        for at in [3, 10, 17] {
            assert!(!is_in(&SPACED.as_bytes()[at..at + 8], &freed), "{}", &SPACED[at..at + 8]);
        }
    }
    // A rejected key can be a valid key with a typo.
    let layer = layers(OTHER);
    for (uri, expected) in [
        (format!("/?api_key={}", escaped(KEY)), 401),
        (format!("/?api_key={}%FF", escaped(KEY)), 401),
        (format!("/?api_key={}%0A", escaped(KEY)), 401),
        (format!("/?api_key={}", escaped(&KEY.repeat(60))), 401),
        (format!("/?api_key={}", escaped(&format!(" {KEY} "))), 401),
    ] {
        let (status, freed) = freed_by(&layer, get(&uri));
        assert_eq!((status, is_in(KEY.as_bytes(), &freed)), (expected, false), "{uri}");
    }
}

const OTHER: &str = "uE6sJ1gXo0KaRiVfBwCq";

#[test]
fn r27_a_key_that_is_decoded_beside_another_key_is_wiped() {
    let encoded = escaped(KEY);
    let beside = || Request::get(format!("/?api_key={encoded}")).header("x-api-key", OTHER);
    let both = ApiKeyLayer::new((query("api_key"), header("x-api-key")), Keyring::<Client>::new());
    let (status, freed) = freed_by(&both, beside().body(()).unwrap());
    assert_eq!((status, is_in(KEY.as_bytes(), &freed)), (400, false), "two locations");
    let first = first_of((header("x-api-key"), query("api_key")));
    let first = ApiKeyLayer::new(first, Keyring::single(OTHER).unwrap());
    let (status, freed) = freed_by(&first, beside().body(()).unwrap());
    assert_eq!((status, is_in(KEY.as_bytes(), &freed)), (200, false), "the first of two locations");
}

#[test]
fn r27_a_key_from_a_custom_extractor_is_wiped() {
    for (key, expected) in [(KEY, 200), (OTHER, 401)] {
        let reversed = extract::from_fn(
            KeyLocation::header("x-reversed"),
            |head: extract::RequestHead<'_>| {
                let line = head.headers().get("x-reversed").and_then(|line| line.to_str().ok());
                line.map(|line| {
                    // The string must not grow, because the library cannot wipe its old block.
                    let mut key = String::with_capacity(line.len());
                    line.bytes().rev().for_each(|byte| key.push(char::from(byte)));
                    key
                })
                .into()
            },
        );
        let layer = ApiKeyLayer::new(reversed, Keyring::single(KEY).unwrap());
        let line: String = key.chars().rev().collect();
        let mut request = get("/");
        request.headers_mut().insert("x-reversed", HeaderValue::from_str(&line).unwrap());
        let (status, freed) = freed_by(&layer, request);
        assert_eq!((status, is_in(key.as_bytes(), &freed)), (expected, false));
        assert!(is_in(line.as_bytes(), &freed), "the memory of the request is inspected");
    }
}

#[test]
fn r27_two_keys_that_are_decoded_in_one_location_are_wiped() {
    let layer = ApiKeyLayer::new(query("api_key"), Keyring::<Client>::new());
    for twice in [[KEY, KEY], [KEY, OTHER], [OTHER, KEY], [KEY, ""]] {
        let [one, two] = twice.map(escaped);
        let (status, freed) = freed_by(&layer, get(&format!("/?api_key={one}&api_key={two}")));
        assert_eq!((status, is_in(KEY.as_bytes(), &freed)), (400, false), "{twice:?}");
    }
}
