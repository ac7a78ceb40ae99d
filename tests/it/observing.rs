//! An observer receives each decision once, with its details, before the service is called.

use crate::support;

use std::{
    convert::Infallible,
    error::Error,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, middleware, routing::get};
use http::{Request, Response, request};
use http_body_util::Full;
use support::{KEY, OTHER, WRONG, ask, ask_of, keys};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring, PropagateClientLayer, Rejection,
    extract::{bearer, header, query},
    observe::{Decision, Observe, Outcome},
    propagate_client::PropagateClientService,
    record::Record,
    verify::{self, PresentedKey, Verify as _, VerifyError},
};

/// Records every decision as a line of text.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<C: Identity> Observe<C> for Notes {
    fn on_decision(&self, event: &Decision<'_, C>) {
        let rejection = event.rejection();
        self.0.lock().unwrap().push(format!(
            "{} {} {}: client {}, key {}, {}, {}",
            event.outcome().as_str(),
            event.method(),
            event.path(),
            event.client().map_or("-", C::id),
            event.key_id().unwrap_or("-"),
            event.location().map_or("nowhere".to_owned(), ToString::to_string),
            rejection.map_or("no rejection", |it| it.reason().as_str()),
        ));
    }
}

fn preflight() -> request::Builder {
    Request::options("/p?x")
        .header("origin", "http://o")
        .header("access-control-request-method", "PUT")
}

#[test]
fn an_observer_receives_each_decision_once_with_its_details() {
    let notes = Notes::default();
    let keys = Keyring::new();
    for (key, id, client) in [
        (KEY, "MobileK1", Client::new("mobile-app")),
        (OTHER, "CiCiCiK2", Client::new("ci")),
        ("key-to-be-revoked", "FormerK3", Client::new("former")),
        ("named-elsewhere", "OddOneK4", Client::new("odd").with_key_id("the-odd-one")),
    ] {
        let record = Record::new(KeyDigest::of(key), client).with_id(id).unwrap();
        keys.insert_record(record).unwrap();
    }
    assert!(keys.revoke_key("FormerK3"));
    let verifier = keys.or(verify::from_fn(|key: &PresentedKey<'_>| match key.expose() {
        b"expired" => Err(VerifyError::expired()),
        b"broken" => Err(VerifyError::failed("down")),
        b"with-an-id" => Ok(Some(Client::new("ci").with_key_id("k_17"))),
        _ => Ok(None),
    }));
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key"), bearer()), verifier)
        .exempt_path("/open")
        .pass_preflight()
        .observe(notes.clone());
    let get = || Request::get("/p?x");
    for (request, expected) in [
        (
            get().header("x-api-key", KEY),
            "accepted GET /p: client mobile-app, key MobileK1, header `x-api-key`, no rejection",
        ),
        (
            get().header("x-api-key", "with-an-id"),
            "accepted GET /p: client ci, key k_17, header `x-api-key`, no rejection",
        ),
        (
            Request::put(format!("/q?api_key={OTHER}")),
            "accepted PUT /q: client ci, key CiCiCiK2, query `api_key`, no rejection",
        ),
        (
            get().header("authorization", format!("Bearer {KEY}")),
            "accepted GET /p: client mobile-app, key MobileK1, scheme `Bearer`, no rejection",
        ),
        (
            get().header("x-api-key", "named-elsewhere"),
            "accepted GET /p: client odd, key the-odd-one, header `x-api-key`, no rejection",
        ),
        (
            get().header("x-api-key", "key-to-be-revoked"),
            "rejected GET /p: client -, key FormerK3, header `x-api-key`, revoked",
        ),
        (get(), "rejected GET /p: client -, key -, nowhere, missing"),
        (
            get().header("x-api-key", WRONG),
            "rejected GET /p: client -, key -, header `x-api-key`, unknown",
        ),
        (
            get().header("x-api-key", "expired"),
            "rejected GET /p: client -, key -, header `x-api-key`, expired",
        ),
        (
            get().header("x-api-key", "broken"),
            "rejected GET /p: client -, key -, header `x-api-key`, failed",
        ),
        (
            get().header("x-api-key", "k".repeat(1025)),
            "rejected GET /p: client -, key -, header `x-api-key`, too_long",
        ),
        (
            get().header("authorization", "Bearer a b"),
            "rejected GET /p: client -, key -, scheme `Bearer`, malformed",
        ),
        (
            get().header("x-api-key", KEY).header("x-api-key", KEY),
            "rejected GET /p: client -, key -, nowhere, ambiguous",
        ),
        (
            Request::get("/open").header("x-api-key", KEY),
            "exempt GET /open: client -, key -, nowhere, no rejection",
        ),
        (preflight(), "exempt OPTIONS /p: client -, key -, nowhere, no rejection"),
    ] {
        ask(&layer, request);
        assert_eq!(notes.taken(), [expected]);
    }
    let optional = layer.optional();
    ask(&optional, get());
    assert_eq!(notes.taken(), ["anonymous GET /p: client -, key -, nowhere, no rejection"]);
}

#[test]
fn a_pending_decision_is_received_once_and_after_the_verification() {
    let notes = Notes::default();
    let verifier = verify::from_async_fn(|digest: tower_api_key::KeyDigest| async move {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        (digest == tower_api_key::KeyDigest::of(KEY)).then(|| Client::new("later"))
    });
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), verifier).observe(notes.clone());
    ask(&layer, Request::get("/p").header("x-api-key", KEY));
    assert_eq!(
        notes.taken(),
        ["accepted GET /p: client later, key -, header `x-api-key`, no rejection"]
    );
    ask(&layer, Request::get("/p").header("authorization", format!("Bearer {WRONG}")));
    assert_eq!(notes.taken(), ["rejected GET /p: client -, key -, scheme `Bearer`, unknown"]);
}

#[test]
fn a_request_that_is_cancelled_during_verification_is_no_decision() {
    let notes = Notes::default();
    let verifier = verify::from_async_fn(|_| std::future::pending::<Option<Client>>());
    let layer = ApiKeyLayer::new(header("x-api-key"), verifier).observe(notes.clone());
    let inner = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let request = Request::get("/").header("x-api-key", KEY).body(()).unwrap();
    let mut answer = Box::pin(layer.layer(inner).oneshot(request));
    let mut waiting = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(answer.as_mut().poll(&mut waiting).is_pending());
    drop(answer);
    assert!(notes.taken().is_empty());
}

#[test]
fn an_observer_is_called_before_the_inner_service_and_the_responder() {
    let order = Notes::default();
    let (inner, responder) = (order.clone(), order.clone());
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .respond(move |_: &Rejection| {
            responder.0.lock().unwrap().push("responder".to_owned());
            Response::new("")
        })
        .observe(order.clone());
    ask_of(&layer, Request::get("/").header("x-api-key", KEY), |_| {
        inner.0.lock().unwrap().push("inner".to_owned());
        Response::new(Full::default())
    });
    let taken = order.taken();
    assert!(taken[0].starts_with("accepted") && taken[1..] == ["inner"], "{taken:?}");
    ask(&layer, Request::get("/"));
    let taken = order.taken();
    assert!(taken[0].starts_with("rejected") && taken[1..] == ["responder"], "{taken:?}");
}

/// Records the error of a failed verifier, and the time of each decision.
#[derive(Clone, Default)]
struct Operator(Arc<Mutex<Vec<Noted>>>);

#[derive(Debug)]
struct Noted {
    cause: Option<String>,
    elapsed: Duration,
}

impl<C> Observe<C> for Operator {
    fn on_decision(&self, event: &Decision<'_, C>) {
        let cause =
            event.rejection().and_then(|rejection| rejection.source()).map(ToString::to_string);
        let elapsed = event.elapsed();
        assert!(event.elapsed() >= elapsed);
        self.0.lock().unwrap().push(Noted { cause, elapsed });
    }
}

// R36: the failure is an event. The operator learns why, and the caller does not.
#[test]
fn r36_an_observer_receives_a_failure_with_its_cause() {
    let operator = Operator::default();
    let failing = verify::from_fn(|_| Err::<Option<Client>, _>(io::Error::other("store is down")));
    let layer = ApiKeyLayer::new(header("x-api-key"), failing).observe(operator.clone());
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
    assert!(!reply.wire().contains("store is down"));
    assert_eq!(operator.0.lock().unwrap()[0].cause.as_deref(), Some("store is down"));
}

#[test]
fn elapsed_includes_the_time_of_the_verifier() {
    let while_busy = Duration::from_millis(2);
    let busy = move || {
        let started = Instant::now();
        while started.elapsed() < while_busy {
            std::hint::spin_loop();
        }
    };
    let operator = Operator::default();
    let at_once = verify::from_fn(move |_| {
        busy();
        Some(Client::new("slow"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), at_once).observe(operator.clone());
    ask(&layer, Request::get("/").header("x-api-key", KEY));
    let later = verify::from_async_fn(move |_| async move {
        tokio::task::yield_now().await;
        busy();
        Some(Client::new("slow"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), later).observe(operator.clone());
    ask(&layer, Request::get("/").header("x-api-key", KEY));
    let taken = operator.0.lock().unwrap();
    assert!(taken.len() == 2 && taken.iter().all(|it| it.elapsed >= while_busy), "{taken:?}");
}

#[test]
fn an_observer_receives_a_custom_client_type_and_the_last_observer_wins() {
    #[derive(Clone)]
    struct Tenant(u8);

    #[derive(Clone, Default)]
    struct Tenants(Arc<Mutex<Vec<u8>>>);

    impl Observe<Tenant> for Tenants {
        fn on_decision(&self, event: &Decision<'_, Tenant>) {
            self.0.lock().unwrap().extend(event.client().map(|tenant| tenant.0));
        }
    }

    let keys: Keyring<Tenant> = Keyring::new();
    keys.insert(KEY, Tenant(7)).unwrap();
    let (first, last) = (Tenants::default(), Tenants::default());
    let layer =
        ApiKeyLayer::new(header("x-api-key"), keys).observe(first.clone()).observe(last.clone());
    ask(&layer, Request::get("/").header("x-api-key", KEY));
    assert_eq!((first.0.lock().unwrap().len(), &**last.0.lock().unwrap()), (0, &[7][..]));
}

#[test]
fn the_path_is_raw_and_has_no_query() {
    let notes = Notes::default();
    let layer =
        ApiKeyLayer::new((query("api_key"), header("x-api-key")), keys()).observe(notes.clone());
    ask(&layer, Request::get(format!("http://h/%0a/x;y?api_key={KEY}")));
    ask(&layer, Request::get(format!("/%0a?api_key={WRONG}#f")));
    for line in notes.taken() {
        assert!(
            line.contains("/%0a") && !line.contains(['?', '\n']) && !line.contains(KEY),
            "{line}"
        );
    }
}

// Several observers.

/// Records its own name.
struct Named(&'static str, Notes);

impl<C> Observe<C> for Named {
    fn on_decision(&self, _: &Decision<'_, C>) {
        self.1.0.lock().unwrap().push(self.0.to_owned());
    }
}

#[test]
fn each_observer_of_a_tuple_is_called_once_and_in_order() {
    let notes = Notes::default();
    let named = |name| Named(name, notes.clone());
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe((
        named("a"),
        (named("b"), ()),
        (Box::new(named("c")) as Box<dyn Observe>, Arc::new(named("d")), named("e")),
        (named("f"), named("g"), named("h"), named("i")),
    ));
    for request in [Request::get("/"), Request::get("/").header("x-api-key", KEY)] {
        ask(&layer, request);
        assert_eq!(notes.taken(), ["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    }
}

/// If no observer needs the time, the service reads no clock.
#[test]
fn a_tuple_of_empty_observers_reads_no_clock() {
    fn starts(observer: &impl Observe) -> bool {
        observer.start().is_some()
    }
    assert!(!starts(&()) && !starts(&((), ())) && !starts(&((), ((), ()), (), ())));
    let notes = Notes::default();
    assert!(starts(&((), notes.clone())) && starts(&(notes.clone(), ())) && starts(&notes));
}

// An observer that panics or blocks. The layer accepts no request because of it.

struct PanicsAt(&'static str);

impl<C> Observe<C> for PanicsAt {
    fn on_decision(&self, event: &Decision<'_, C>) {
        assert!(event.path() != self.0, "the observer's own panic");
    }
}

#[tokio::test]
async fn an_observer_that_panics_ends_only_its_request_and_accepts_none() {
    let entered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&entered);
    let inner = Router::new().fallback(get(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        "hello"
    }));
    let at_once = ApiKeyLayer::new(header("x-api-key"), keys()).observe(PanicsAt("/bad"));
    let later = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("later"))
    });
    let in_time = ApiKeyLayer::new(header("x-api-key"), later).observe(((), PanicsAt("/bad")));
    for app in [inner.clone().layer(at_once), inner.layer(in_time)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        let ask = async |path: &str, key: &str| {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
            stream.write_all(format!("{head}x-api-key: {key}\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        entered.store(0, Ordering::SeqCst);
        for key in [KEY, WRONG] {
            assert_eq!(ask("/bad", key).await, "", "the connection ends without an answer");
        }
        assert_eq!(entered.load(Ordering::SeqCst), 0);
        assert!(ask("/good", KEY).await.starts_with("HTTP/1.1 200 "));
        assert!(ask("/good", WRONG).await.starts_with("HTTP/1.1 401 "));
        assert_eq!(entered.load(Ordering::SeqCst), 1);
        server.abort();
    }
}

#[test]
fn an_observer_that_blocks_delays_the_request_and_accepts_none() {
    /// The longest wait, if the test fails.
    const TOO_LONG: Duration = Duration::from_secs(30);

    /// Reports the call, and blocks until it is released.
    struct Blocks(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);

    impl<C> Observe<C> for Blocks {
        fn on_decision(&self, _: &Decision<'_, C>) {
            self.0.send(()).unwrap();
            self.1.lock().unwrap().recv_timeout(TOO_LONG).unwrap();
        }
    }

    for (key, status, accepted) in [(KEY, 200, 1), (WRONG, 401, 0)] {
        let ((report, reported), (release, released)) = (mpsc::channel(), mpsc::channel());
        let layer = ApiKeyLayer::new(header("x-api-key"), keys())
            .observe(Blocks(report, Mutex::new(released)));
        let entered = AtomicUsize::new(0);
        let answer = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let request = Request::get("/").header("x-api-key", key);
                let answer = ask_of(&layer, request, |_| {
                    entered.fetch_add(1, Ordering::SeqCst);
                    Response::default()
                });
                answer.status()
            });
            reported.recv_timeout(TOO_LONG).unwrap();
            assert_eq!(entered.load(Ordering::SeqCst), 0);
            assert!(!asking.is_finished());
            release.send(()).unwrap();
            asking.join().unwrap()
        });
        assert_eq!((answer, entered.into_inner()), (status, accepted));
    }
}

// An access log outside of the layer.

#[tokio::test]
async fn the_client_is_in_the_extensions_of_the_response() {
    let notes = Notes::default();
    let log = notes.clone();
    let access_log = move |request: axum::extract::Request, next: middleware::Next| {
        let log = log.clone();
        async move {
            let response = next.run(request).await;
            let client: Option<&Client> = response.extensions().get();
            let rejection: Option<&Rejection> = response.extensions().get();
            log.0.lock().unwrap().push(format!(
                "{} {} {} {}",
                response.status().as_u16(),
                client.map_or("-", Client::id),
                client.and_then(Client::key_id).unwrap_or("-"),
                rejection.map_or("-", |it| it.reason().as_str()),
            ));
            response
        }
    };
    let keys = Keyring::new();
    let record = Record::new(KeyDigest::of(KEY), Client::new("mobile-app"));
    keys.insert_record(record.with_id("MobileK1").unwrap()).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys).optional().exempt_path("/health");
    let app = Router::new()
        .fallback(get(async || "hello"))
        .layer(PropagateClientLayer::new())
        .layer(layer)
        .layer(middleware::from_fn(access_log));
    for (path, key, expected) in [
        ("/", Some(KEY), "200 mobile-app MobileK1 -"),
        ("/", Some(WRONG), "401 - - unknown"),
        ("/", None, "200 - - -"),
        ("/health", Some(KEY), "200 - - -"),
    ] {
        let request =
            key.into_iter().fold(Request::get(path), |it, key| it.header("x-api-key", key));
        let request = request.extension(Client::new("planted"));
        app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(notes.taken(), [expected]);
    }
}

#[tokio::test]
async fn a_custom_client_type_is_in_the_extensions_of_the_response() {
    #[derive(Clone, Debug, PartialEq)]
    struct Tenant(u8);

    let inner = tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let layer = PropagateClientLayer::new().client_type::<Tenant>();
    for (client, expected) in [(Some(Tenant(7)), Some(&Tenant(7))), (None, None)] {
        let mut request = Request::new(());
        request.extensions_mut().insert(Client::new("another"));
        if let Some(client) = client {
            request.extensions_mut().insert(client);
        }
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.extensions().get::<Tenant>(), expected);
        assert!(response.extensions().get::<Client>().is_none());
    }

    fn own() {}
    let mut service: PropagateClientService<fn(), Tenant> = layer.layer(own as fn());
    let _: (&fn(), fn()) = (service.get_ref(), service.clone().into_inner());
    let _: &mut fn() = service.get_mut();

    let failing = tower::service_fn(async |_: Request<()>| Err::<Response<()>, _>("inner error"));
    assert_eq!(layer.layer(failing).oneshot(Request::new(())).await.unwrap_err(), "inner error");
}

#[test]
fn a_closure_is_an_observer_in_any_pointer() {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let tell = {
        let outcomes = Arc::clone(&outcomes);
        move |decision: &Decision<'_>| outcomes.lock().unwrap().push(decision.outcome())
    };
    let boxed = Box::new(tell.clone()) as Box<dyn Observe + Send + Sync>;
    let function = Box::new(tell.clone()) as Box<dyn Fn(&Decision<'_>) + Send + Sync>;
    let all = (tell.clone(), Box::new(tell.clone()), (boxed, function, Arc::new(tell)));
    let layer = ApiKeyLayer::new(header("x-api-key"), keys()).observe(all);
    ask(&layer, Request::get("/").header("x-api-key", KEY));
    assert_eq!(*outcomes.lock().unwrap(), [Outcome::Accepted; 5]);
}
