//! Verifiers: calls, results, errors and failures.

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
    ApiKeyLayer, ApiKeyService, Client, KeyDigest, Keyring,
    extract::header,
    rejection::Reason,
    verify::{self, PresentedKey, Verification, Verify, VerifyError},
};

type Cause = Box<dyn Error + Send + Sync>;

/// The outcome of a request with a key in `x-api-key`.
fn outcome(verifier: impl Verify, key: &str) -> String {
    ask(
        &ApiKeyLayer::new(header("x-api-key"), verifier),
        Request::get("/").header("x-api-key", key),
    )
    .outcome()
}

#[test]
fn a_closure_verifier_returns_an_option_or_a_result_of_an_option() {
    let mine = KeyDigest::of(KEY);
    let option = verify::from_fn(move |key: &PresentedKey<'_>| {
        (key.digest() == mine).then(|| Client::new("me"))
    });
    assert_eq!(outcome(option.clone(), KEY), "200 me");
    assert_eq!(outcome(option, OTHER), "401 unknown");

    let result = verify::from_fn(|key: &PresentedKey<'_>| {
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
fn an_async_closure_verifier_returns_an_option_or_a_result_of_an_option() {
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
    let revoking =
        verify::from_async_fn(|_| async { Err::<Option<Client>, _>(VerifyError::revoked()) });
    assert_eq!(outcome(revoking, KEY), "401 revoked");
}

#[test]
fn r50_an_async_closure_receives_the_digest_and_never_the_key() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let rows = Arc::clone(&asked);
    let hostile = "' OR 1=1; --";
    // The closure gets a `KeyDigest`, which holds 32 bytes and no text.
    let look_up = verify::from_async_fn(move |digest: KeyDigest| {
        rows.lock().unwrap().push(digest.to_bytes());
        ready(None::<Client>)
    });
    assert_eq!(outcome(look_up, hostile), "401 unknown");
    assert_eq!(*asked.lock().unwrap(), [KeyDigest::of(hostile).to_bytes()]);
}

#[test]
fn a_verifier_sees_key_digest_location_and_head() {
    for spot in SPOTS {
        let layer = spot.layer(verify::from_fn(|key: &PresentedKey<'_>| {
            assert_eq!(key.expose(), KEY.as_bytes());
            assert_eq!(key.digest(), KeyDigest::of(KEY));
            assert_eq!(key.location().unwrap().to_string(), spot.name);
            assert_eq!((key.head().method().as_str(), key.head().uri().path()), ("GET", "/"));
            assert_eq!(key.head().extensions().get(), Some(&7_u8));
            Some(Client::new("seen"))
        }));
        assert_eq!(ask(&layer, spot.get(&[KEY]).extension(7_u8)).outcome(), "200 seen");
    }
}

#[test]
fn a_verifier_is_called_once_and_only_for_a_well_formed_key() {
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

/// A custom error.
#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store is down")
    }
}

impl Error for Down {}

/// A custom verifier, in which `?` means that verification failed.
struct Store(fn() -> Result<Option<Client>, Down>);

impl Store {
    fn find(&self) -> Result<Client, VerifyError> {
        self.0()?.ok_or_else(VerifyError::unknown)
    }
}

impl Verify for Store {
    type Client = Client;
    type Future = verify::Never<Client>;

    fn verify(&self, _: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future> {
        self.find().into()
    }
}

// A failed store is a 503, and never a 401.
#[test]
fn r36_a_failed_verification_is_a_503_and_the_inner_service_is_not_called() {
    let failing = || verify::from_fn(|_| Err::<Option<Client>, _>(Down));
    let later = || verify::from_async_fn(|_| async { Err::<Option<Client>, _>(Down) });
    assert_eq!(outcome(Store(|| Err(Down)), KEY), "503 failed");
    assert_eq!(outcome(Store(|| Ok(None)), KEY), "401 unknown");
    assert_eq!(outcome(failing(), KEY), "503 failed");
    assert_eq!(outcome(later(), KEY), "503 failed");
    assert_eq!(outcome(failing().or(keys()), KEY), "503 failed");
    assert_eq!(outcome(Keyring::new().or(later()), KEY), "503 failed");
    assert_eq!(
        outcome(verify::from_fn(|_| Err::<Option<Client>, _>(VerifyError::failed("x"))), KEY),
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
fn r36_a_deadline_of_the_verifier_is_a_503() {
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
fn r36_a_cancelled_verification_accepts_no_request() {
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
fn r36_a_verifier_that_panics_accepts_no_request() {
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
fn every_error_converts_into_a_failed_verification() {
    for error in [
        VerifyError::from("text"),
        VerifyError::from("text".to_owned()),
        VerifyError::from(io::Error::other("io")),
        VerifyError::from(Cause::from("boxed")),
        VerifyError::failed(Down),
    ] {
        assert_eq!(error.reason(), Reason::Failed);
    }
    let all = [
        VerifyError::unknown(),
        VerifyError::expired(),
        VerifyError::not_yet_valid(),
        VerifyError::revoked(),
    ];
    let reasons = [Reason::Unknown, Reason::Expired, Reason::NotYetValid, Reason::Revoked];
    assert_eq!(all.map(|error| error.reason()), reasons);
}

#[test]
fn or_asks_the_second_verifier_only_about_an_unknown_key() {
    for (first, asked_next, outcome) in [
        (Ok(Some(Client::new("first"))), 0, "200 first"),
        (Ok(None), 1, "200 next"),
        (Err(VerifyError::unknown()), 1, "200 next"),
        (Err(VerifyError::expired()), 0, "401 expired"),
        (Err(VerifyError::revoked()), 0, "401 revoked"),
        (Err(VerifyError::not_yet_valid()), 0, "401 not_yet_valid"),
        (Err(VerifyError::failed(Down)), 0, "503 failed"),
    ] {
        let first = Mutex::new(Some(first));
        let asked = AtomicUsize::new(0);
        let next = verify::from_fn(|key: &PresentedKey<'_>| {
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
fn or_chains_a_keyring_and_two_slow_verifiers() {
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
    for (key, expected) in [
        (KEY, "200 mobile-app"),
        ("in-the-second", "200 default"),
        ("in-the-database", "200 row"),
        ("down", "503 failed"),
        (WRONG, "401 unknown"),
    ] {
        assert_eq!(outcome(all(), key), expected);
    }
}

/// A cache in front of a slow store.
struct Cached(AtomicUsize);

impl Verify for Cached {
    type Client = Client;
    type Future = Pin<Box<dyn Future<Output = Result<Client, VerifyError>> + Send>>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future> {
        match key.expose() {
            b"hit" => Verification::Ready(Ok(Client::new("hit"))),
            b"negative" => Verification::Ready(Err(VerifyError::unknown())),
            _ => {
                self.0.fetch_add(1, SeqCst);
                Verification::Pending(Box::pin(async {
                    tokio::task::yield_now().await;
                    Ok(Client::new("looked-up"))
                }))
            }
        }
    }
}

#[test]
fn a_verification_is_ready_or_pending() {
    let cached = Arc::new(Cached(AtomicUsize::new(0)));
    assert_eq!(outcome(Arc::clone(&cached), "hit"), "200 hit");
    assert_eq!(outcome(Arc::clone(&cached), "negative"), "401 unknown");
    assert_eq!(cached.0.load(SeqCst), 0);
    assert_eq!(outcome(Arc::clone(&cached), "other"), "200 looked-up");
    assert_eq!(cached.0.load(SeqCst), 1);

    // A known result is ready at the first poll.
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
fn a_verifier_future_that_is_not_send_works_in_a_local_set() {
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
fn a_handler_reads_the_verifiers_own_client_type() {
    let layer = ApiKeyLayer::new(
        header("x-api-key"),
        verify::from_fn(|key: &PresentedKey<'_>| {
            std::str::from_utf8(key.expose()).ok()?.parse::<u32>().ok()
        }),
    );
    let reply = ask(&layer, Request::get("/").header("x-api-key", "17"));
    assert_eq!(reply.seen().extensions.get(), Some(&17_u32));
    assert_eq!(ask(&layer, Request::get("/").header("x-api-key", "x")).outcome(), "401 unknown");
}

#[test]
fn keys_are_stripped_before_a_pending_verification() {
    // The verifier's future outlives the head. The inner service gets the stripped request.
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
fn an_error_of_the_inner_service_passes_through() {
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

/// A custom client type, converted from the keyring's.
#[derive(Clone, Debug, PartialEq)]
struct Tenant(String);

impl From<Client> for Tenant {
    fn from(client: Client) -> Self {
        Self(client.id().to_owned())
    }
}

/// The tenant that a handler finds, or the reason of the rejection.
fn tenant(verifier: impl Verify<Client = Tenant>, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier);
    let reply = ask(&layer, Request::get("/").header("x-api-key", key));
    match reply.reason() {
        Some(reason) => format!("{} {}", reply.status(), reason.as_str()),
        None => {
            assert!(reply.client().is_none(), "both client types are in the extensions");
            reply.seen().extensions.get::<Tenant>().unwrap().0.clone()
        }
    }
}

/// Accepts one key after a delay.
fn slow() -> impl Verify<Client = Client> + Clone {
    verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of("slow-key")).then(|| Client::new("slow"))
    })
}

#[test]
fn map_client_changes_the_client_that_handlers_read() {
    for (key, found) in [(KEY, "mobile-app"), (WRONG, "401 unknown")] {
        assert_eq!(tenant(keys().map_client(Tenant::from), key), found);
    }
    for (key, found) in [("slow-key", "slow"), (WRONG, "401 unknown")] {
        assert_eq!(tenant(slow().map_client(Tenant::from), key), found);
    }
    // A mapped keyring still answers at once, so it can be the first of two.
    let both = keys().map_client(Tenant::from).or(slow().map_client(Tenant::from));
    for (key, found) in [(KEY, "mobile-app"), ("slow-key", "slow"), (WRONG, "401 unknown")] {
        assert_eq!(tenant(both.clone(), key), found);
    }
}

#[test]
fn try_map_client_rejects_with_its_own_reason_and_fails_on_other_errors() {
    let only_ci = |client: Client| match client.id() {
        "ci" | "slow" => Ok(Tenant::from(client)),
        _ => Err(VerifyError::expired()),
    };
    let down = |_: Client| Err::<Tenant, _>(io::Error::other("down"));
    assert_eq!(tenant(keys().try_map_client(only_ci), OTHER), "ci");
    assert_eq!(tenant(keys().try_map_client(only_ci), KEY), "401 expired");
    assert_eq!(tenant(keys().try_map_client(down), KEY), "503 failed");
    assert_eq!(tenant(keys().try_map_client(down), WRONG), "401 unknown");
    assert_eq!(tenant(slow().try_map_client(only_ci), "slow-key"), "slow");
    assert_eq!(tenant(slow().try_map_client(down), "slow-key"), "503 failed");
    let both = keys().try_map_client(only_ci).or(slow().try_map_client(down));
    for (key, found) in [(OTHER, "ci"), (KEY, "401 expired"), ("slow-key", "503 failed")] {
        assert_eq!(tenant(both.clone(), key), found);
    }
}

#[test]
fn a_verifier_can_name_the_reason_and_the_id_of_a_rejected_key() {
    for reason in [Reason::Unknown, Reason::Expired, Reason::NotYetValid, Reason::Revoked] {
        for key_id in [None, Some("k_42 of our own store")] {
            let verifier = verify::from_fn(move |_| {
                let error = VerifyError::from(reason);
                Err::<Option<Client>, _>(match key_id {
                    Some(key_id) => error.with_key_id(key_id),
                    None => error,
                })
            });
            let layer = ApiKeyLayer::new(header("x-api-key"), verifier);
            let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
            let rejection = reply.rejection().unwrap();
            assert_eq!((rejection.reason(), rejection.key_id()), (reason, key_id));
            assert!(!reply.wire().contains("k_42"), "{}", reply.wire());
        }
    }
    let failed = VerifyError::failed(Down).with_key_id("k_43");
    let failed = Mutex::new(Some(failed));
    let verifier =
        verify::from_fn(move |_| Err::<Option<Client>, _>(failed.lock().unwrap().take().unwrap()));
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier);
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
    let rejection = reply.rejection().unwrap();
    assert_eq!((rejection.reason(), rejection.key_id()), (Reason::Failed, Some("k_43")));
    assert!(rejection.source().unwrap().is::<Down>(), "the cause is lost");
}

#[test]
fn the_size_of_a_response_future_stays_small() {
    type Future<V> =
        <ApiKeyService<Inner, tower_api_key::KeyLocation, V> as Service<Request<()>>>::Future;
    type Inner = tower::util::BoxCloneService<Request<()>, Response<()>, Infallible>;
    fn size<V: Verify>(_: &V) -> usize {
        size_of::<Future<V>>() - size_of::<<Inner as Service<Request<()>>>::Future>()
    }
    // The size is the same for a slow verifier, because its state is in one allocation.
    let (at_once, pending) = (size(&keys()), size(&slow()));
    assert_eq!(at_once, pending);
    assert!(at_once <= 80, "{at_once}");
}
