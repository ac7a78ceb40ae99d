//! Verifiers: asked once, with a key that can be one; their no, and that they could not tell.

use crate::support;

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    fmt,
    future::ready,
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

use http::{Request, Response};
use support::{KEY, OTHER, SPOTS, WRONG, ask, ask_of, block_on, keys};
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    extract::header,
    rejection::Reason,
    verify::{self, Later, Presented, Refusal, Verify},
};

type Cause = Box<dyn Error + Send + Sync>;

/// A layer for `x-api-key`, and what comes of a key there.
fn outcome(verifier: impl Verify, key: &str) -> String {
    ask(
        &ApiKeyLayer::new(header("x-api-key"), verifier),
        Request::get("/").header("x-api-key", key),
    )
    .outcome()
}

#[test]
fn a_closure_answers_an_option_or_a_result_of_one() {
    let mine = KeyDigest::of(KEY);
    let option = verify::from_fn(move |key: Presented<'_>| {
        (key.digest() == mine).then(|| Client::new("me"))
    });
    assert_eq!(outcome(option.clone(), KEY), "200 me");
    assert_eq!(outcome(option, OTHER), "401 unknown");

    let result = verify::from_fn(|key: Presented<'_>| {
        let text = std::str::from_utf8(key.expose())?;
        if text == "down" {
            return Err(Cause::from("down"));
        }
        Ok(text.strip_prefix("client-").map(Client::new))
    });
    assert_eq!(outcome(result.clone(), "client-7"), "200 7");
    assert_eq!(outcome(result.clone(), OTHER), "401 unknown");
    assert_eq!(outcome(result, "down"), "503 failed");
}

#[test]
fn an_asynchronous_closure_likewise() {
    async fn look_up(digest: KeyDigest) -> io::Result<Option<Client>> {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        if digest == KeyDigest::of("down") {
            return Err(io::Error::other("connection refused"));
        }
        Ok((digest == KeyDigest::of(KEY)).then(|| Client::new("me")))
    }
    let look_up = verify::from_async_fn(look_up);
    assert_eq!(outcome(look_up.clone(), KEY), "200 me");
    assert_eq!(outcome(look_up.clone(), OTHER), "401 unknown");
    assert_eq!(outcome(look_up, "down"), "503 failed");
    let option = verify::from_async_fn(|_| async { None::<Client> });
    assert_eq!(outcome(option, KEY), "401 unknown");
    let refusing =
        verify::from_async_fn(|_| async { Err::<Option<Client>, _>(Refusal::revoked()) });
    assert_eq!(outcome(refusing, KEY), "401 revoked");
}

#[test]
fn r50_a_store_is_asked_by_the_digest_and_never_by_the_key() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let rows = Arc::clone(&asked);
    let hostile = "' OR 1=1; --";
    // What the closure gets is a `KeyDigest`: there is nothing in it to put into a query but 32 bytes.
    let look_up = verify::from_async_fn(move |digest: KeyDigest| {
        rows.lock().unwrap().push(digest.to_bytes());
        ready(None::<Client>)
    });
    assert_eq!(outcome(look_up, hostile), "401 unknown");
    assert_eq!(*asked.lock().unwrap(), [KeyDigest::of(hostile).to_bytes()]);
}

#[test]
fn a_verifier_is_told_key_digest_place_and_head() {
    for spot in SPOTS {
        let layer = spot.layer(verify::from_fn(|key: Presented<'_>| {
            assert_eq!(key.expose(), KEY.as_bytes());
            assert_eq!(key.digest(), KeyDigest::of(KEY));
            assert_eq!(key.place().unwrap().to_string(), spot.name);
            assert_eq!((key.head().method().as_str(), key.head().uri().path()), ("GET", "/"));
            assert_eq!(key.head().extensions().get(), Some(&7_u8));
            Some(Client::new("told"))
        }));
        assert_eq!(ask(&layer, spot.get(&[KEY]).extension(7_u8)).outcome(), "200 told");
    }
}

#[test]
fn a_verifier_is_asked_once_and_only_about_what_can_be_a_key() {
    for spot in SPOTS {
        let asked = Cell::new(0);
        let layer = spot.layer(verify::from_fn(|_| {
            asked.set(asked.get() + 1); // it need be neither `Send` nor `'static`
            Some(Client::new("anyone"))
        }));
        for values in [&[][..], &[""], &[" "], &[KEY, KEY], &["caf\u{e9}"], &[&*"k".repeat(1025)]] {
            ask(&layer, spot.get(values));
        }
        assert_eq!(asked.get(), 0, "{}", spot.name);
        ask(&layer, spot.get(&[KEY]));
        assert_eq!(asked.get(), 1, "{}", spot.name);
    }
}

/// An error of one's own.
#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is down")
    }
}

impl Error for Down {}

/// A verifier of one's own, in which `?` means failed.
struct Store(fn() -> Result<Option<Client>, Down>);

impl Verify for Store {
    type Answer = Result<Client, Refusal>;

    fn verify(&self, _: Presented<'_>) -> Self::Answer {
        self.0()?.ok_or_else(Refusal::unknown)
    }
}

// A store that fails is a 503, and never a 401.
#[test]
fn r36_a_verifier_that_fails_is_503_and_the_inner_service_is_not_called() {
    let failing = || verify::from_fn(|_| Err::<Option<Client>, _>(Down));
    let later = || verify::from_async_fn(|_| async { Err::<Option<Client>, _>(Down) });
    assert_eq!(outcome(Store(|| Err(Down)), KEY), "503 failed");
    assert_eq!(outcome(Store(|| Ok(None)), KEY), "401 unknown");
    assert_eq!(outcome(failing(), KEY), "503 failed");
    assert_eq!(outcome(later(), KEY), "503 failed");
    assert_eq!(outcome(failing().or(keys()), KEY), "503 failed");
    assert_eq!(outcome(Keyring::new().or(later()), KEY), "503 failed");
    assert_eq!(
        outcome(verify::from_fn(|_| Err::<Option<Client>, _>(Refusal::failed("x"))), KEY),
        "503 failed"
    );

    let layer = ApiKeyLayer::new(header("x-api-key"), later());
    for layer in [layer.clone(), layer.clone().optional(), layer.pass_preflight().forward_key()] {
        let called = AtomicUsize::new(0);
        let reply = ask_of(&layer, Request::get("/").header("x-api-key", KEY), |_| {
            called.fetch_add(1, SeqCst);
            Response::default()
        });
        assert_eq!((reply.status(), called.load(SeqCst)), (503, 0));
        assert!(reply.lines("www-authenticate").is_empty());
        let cause = reply.rejection().unwrap().source().unwrap();
        assert!(cause.is::<Down>());
        assert!(!reply.wire().contains("is down"));
    }
}

#[test]
fn r36_a_deadline_of_the_verifiers_own_is_a_503() {
    let never = verify::from_async_fn(|_| async {
        let row = tokio::time::timeout(
            Duration::from_millis(1),
            std::future::pending::<Option<Client>>(),
        );
        Ok::<_, Cause>(row.await?)
    });
    assert_eq!(outcome(never, KEY), "503 failed");
}

#[test]
fn r36_a_verifier_that_is_given_up_lets_nobody_in() {
    let called = AtomicUsize::new(0);
    let asked = AtomicUsize::new(0);
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_async_fn(|_| {
            asked.fetch_add(1, SeqCst);
            std::future::pending::<Option<Client>>()
        }),
    );
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        called.fetch_add(1, SeqCst);
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    let request = Request::get("/").header("x-api-key", KEY).body(()).unwrap();
    let mut reply = Box::pin(service.call(request));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(reply.as_mut().poll(&mut context).is_pending());
    }
    drop(reply);
    drop(service.call(Request::get("/").header("x-api-key", KEY).body(()).unwrap()));
    assert_eq!((asked.load(SeqCst), called.load(SeqCst)), (2, 0));
}

#[test]
fn r36_a_verifier_that_panics_lets_nobody_in() {
    let called = AtomicUsize::new(0);
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_fn(|_| -> Option<Client> { panic!("a bug of theirs") }),
    );
    let ended = catch_unwind(AssertUnwindSafe(|| {
        ask_of(&layer, Request::get("/").header("x-api-key", KEY), |_| {
            called.fetch_add(1, SeqCst);
            Response::default()
        })
    }));
    assert!(ended.is_err());
    assert_eq!(called.load(SeqCst), 0);
}

#[test]
fn any_error_makes_a_refusal_that_means_failed() {
    for refusal in [
        Refusal::from("text"),
        Refusal::from("text".to_owned()),
        Refusal::from(io::Error::other("io")),
        Refusal::from(Cause::from("boxed")),
        Refusal::failed(Down),
    ] {
        assert_eq!(refusal.reason(), Reason::Failed);
    }
    let all =
        [Refusal::unknown(), Refusal::expired(), Refusal::not_yet_valid(), Refusal::revoked()];
    let reasons = [Reason::Unknown, Reason::Expired, Reason::NotYetValid, Reason::Revoked];
    assert_eq!(all.map(|refusal| refusal.reason()), reasons);
}

#[test]
fn or_asks_the_next_on_unknown_and_on_nothing_else() {
    for (first, asked_next, outcome) in [
        (Ok(Some(Client::new("first"))), 0, "200 first"),
        (Ok(None), 1, "200 next"),
        (Err(Refusal::unknown()), 1, "200 next"),
        (Err(Refusal::expired()), 0, "401 expired"),
        (Err(Refusal::revoked()), 0, "401 revoked"),
        (Err(Refusal::not_yet_valid()), 0, "401 not_yet_valid"),
        (Err(Refusal::failed(Down)), 0, "503 failed"),
    ] {
        let first = Mutex::new(Some(first));
        let asked = AtomicUsize::new(0);
        let next = verify::from_fn(|key: Presented<'_>| {
            asked.fetch_add(1, SeqCst);
            assert_eq!(key.expose(), KEY.as_bytes());
            Some(Client::new("next"))
        });
        let both = verify::from_fn(|_| first.lock().unwrap().take().unwrap()).or(next);
        assert_eq!(self::outcome(both, KEY), outcome);
        assert_eq!(asked.load(SeqCst), asked_next, "{outcome}");
    }
}

#[test]
fn or_goes_from_memory_to_a_database_and_on() {
    let elsewhere = || {
        verify::from_async_fn(|digest| async move {
            tokio::task::yield_now().await;
            match digest {
                digest if digest == KeyDigest::of("in-the-database") => {
                    Ok(Some(Client::new("row")))
                }
                digest if digest == KeyDigest::of("down") => Err(Down),
                _ => Ok(None),
            }
        })
    };
    let second = Keyring::single("in-the-second").unwrap();
    let all = || keys().or(second.clone()).or(elsewhere());
    for (key, told) in [
        (KEY, "200 mobile-app"),
        ("in-the-second", "200 default"),
        ("in-the-database", "200 row"),
        ("down", "503 failed"),
        (WRONG, "401 unknown"),
    ] {
        assert_eq!(outcome(all(), key), told);
    }
}

/// A cache in front of something slow: known now, or to be waited for.
struct Cached(AtomicUsize);

impl Verify for Cached {
    type Answer = Later<Pin<Box<dyn Future<Output = Result<Client, Refusal>> + Send>>>;

    fn verify(&self, key: Presented<'_>) -> Self::Answer {
        match key.expose() {
            b"hit" => Later::Now(Ok(Client::new("hit"))),
            b"negative" => Later::Now(Err(Refusal::unknown())),
            _ => {
                self.0.fetch_add(1, SeqCst);
                Later::Wait(Box::pin(async {
                    tokio::task::yield_now().await;
                    Ok(Client::new("looked-up"))
                }))
            }
        }
    }
}

#[test]
fn an_answer_may_be_known_now_or_be_waited_for() {
    let cached = Arc::new(Cached(AtomicUsize::new(0)));
    assert_eq!(outcome(Arc::clone(&cached), "hit"), "200 hit");
    assert_eq!(outcome(Arc::clone(&cached), "negative"), "401 unknown");
    assert_eq!(cached.0.load(SeqCst), 0);
    assert_eq!(outcome(Arc::clone(&cached), "other"), "200 looked-up");
    assert_eq!(cached.0.load(SeqCst), 1);

    // What is known is there at the first poll.
    let layer = ApiKeyLayer::new(header("x-api-key"), keys().or(cached));
    let mut service =
        layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    for (key, is_ready) in [(KEY, true), ("hit", true), ("negative", true), ("other", false)] {
        let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
        let polled = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(matches!(polled, Poll::Ready(Ok(_))), is_ready, "{key}");
    }
}

#[test]
fn a_future_that_is_not_send_works_where_the_host_allows_it() {
    let count = Rc::new(Cell::new(0));
    let counting = Rc::clone(&count);
    let verifier = verify::from_async_fn(move |_| {
        let count = Rc::clone(&counting);
        async move {
            tokio::task::yield_now().await;
            count.set(count.get() + 1);
            Some(Client::new("local"))
        }
    });
    assert_eq!(outcome(verifier, KEY), "200 local");
    assert_eq!(count.get(), 1);
}

#[test]
fn an_answer_of_a_client_type_of_ones_own_is_what_a_handler_finds() {
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_fn(|key: Presented<'_>| {
            std::str::from_utf8(key.expose()).ok()?.parse::<u32>().ok()
        }),
    );
    let reply = ask(&layer, Request::get("/").header("x-api-key", "17"));
    assert_eq!(reply.seen().extensions.get(), Some(&17_u32));
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", "x")).outcome(), "401 unknown");
}

#[test]
fn a_request_that_waits_has_lost_its_key_already() {
    // The verifier's future outlives the head; the inner service gets the request as it was left.
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            Some(Client::new("later"))
        }),
    );
    let reply = ask(&layer, Request::get("/p?q").header("x-api-key", KEY).header("x-other", "1"));
    assert_eq!(reply.outcome(), "200 later");
    assert_eq!((reply.seen().headers.len(), reply.seen().uri.to_string()), (1, "/p?q".to_owned()));
    assert_eq!(reply.lines("cache-control"), ["private"]);
}

#[test]
fn the_inner_services_error_is_its_own() {
    for verifier in [0, 1] {
        let failing = service_fn(|_: Request<()>| ready(Err::<Response<()>, _>("theirs")));
        let request = Request::get("/").header("x-api-key", KEY).body(()).unwrap();
        let error = match verifier {
            0 => {
                block_on(ApiKeyLayer::new(header("x-api-key"), keys()).layer(failing).call(request))
            }
            _ => {
                let later = verify::from_async_fn(|_| async { Some(Client::new("later")) });
                block_on(ApiKeyLayer::new(header("x-api-key"), later).layer(failing).call(request))
            }
        };
        assert_eq!(error.unwrap_err(), "theirs");
    }
}
