//! An observer is told of each decision once, with what there is to know, before anything else is.

mod support;

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{Request, Response, request};
use http_body_util::Full;
use support::{KEY, OTHER, WRONG, ask, ask_of, keys};
use tower_api_key::{
    ApiKeyLayer, Client, Identity, KeyDigest, Keyring,
    extract::{bearer, header, query},
    observe::{Decision, Observe},
    verify::{self, Presented, Record, Refusal},
};

/// Notes every decision as a line of text.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<C: Identity> Observe<C> for Notes {
    fn decided(&self, event: &Decision<'_, C>) {
        let rejection = event.rejection();
        self.0.lock().unwrap().push(format!(
            "{} {} {}: client {}, key {}, {}, {}",
            event.outcome().as_str(),
            event.method(),
            event.path(),
            event.client().map_or("-", C::id),
            event.key_id().unwrap_or("-"),
            event.place().map_or("nowhere".to_owned(), ToString::to_string),
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
fn each_decision_is_told_once_with_what_there_is_to_know() {
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
    let verifier = keys.or(verify::from_fn(|key: Presented<'_>| match key.expose() {
        b"expired" => Err(Refusal::expired()),
        b"broken" => Err(Refusal::failed("down")),
        b"with-an-id" => Ok(Some(Client::new("ci").with_key_id("k_17"))),
        _ => Ok(None),
    }));
    let layer = ApiKeyLayer::new((header("x-api-key"), query("api_key"), bearer()), verifier)
        .exempt_path("/open")
        .pass_preflight()
        .observe(notes.clone());
    let get = || Request::get("/p?x");
    for (request, told) in [
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
        assert_eq!(notes.taken(), [told]);
    }
    let optional = layer.optional();
    ask(&optional, get());
    assert_eq!(notes.taken(), ["anonymous GET /p: client -, key -, nowhere, no rejection"]);
}

#[test]
fn a_decision_that_takes_its_time_is_told_once_and_when_it_is_made() {
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
fn it_is_told_before_the_inner_service_is_called_or_the_responder_writes() {
    let order = Notes::default();
    let (inner, responder) = (order.clone(), order.clone());
    let layer = ApiKeyLayer::new(header("x-api-key"), keys())
        .respond_with(move |_| {
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

/// Keeps what a failed verifier failed with, and how long decisions took.
#[derive(Clone, Default)]
struct Operator(Arc<Mutex<Vec<Told>>>);

#[derive(Debug)]
struct Told {
    cause: Option<String>,
    elapsed: Duration,
}

impl<C> Observe<C> for Operator {
    fn decided(&self, event: &Decision<'_, C>) {
        let cause =
            event.rejection().and_then(|rejection| rejection.source()).map(ToString::to_string);
        let elapsed = event.elapsed();
        assert!(event.elapsed() >= elapsed);
        self.0.lock().unwrap().push(Told { cause, elapsed });
    }
}

// R36: the failure is an event. Gateways A3.12: why, to the operator; one and the same, to the caller.
#[test]
fn r36_a_failure_is_told_to_the_operator_with_its_cause() {
    let operator = Operator::default();
    let failing = verify::from_fn(|_| Err::<Option<Client>, _>(io::Error::other("store is down")));
    let layer = ApiKeyLayer::new(header("x-api-key"), failing).observe(operator.clone());
    let reply = ask(&layer, Request::get("/").header("x-api-key", KEY));
    assert!(!reply.wire().contains("store is down"));
    assert_eq!(operator.0.lock().unwrap()[0].cause.as_deref(), Some("store is down"));
}

#[test]
fn elapsed_holds_the_verifiers_own_time() {
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
    assert!(taken.len() == 2 && taken.iter().all(|told| told.elapsed >= while_busy), "{taken:?}");
}

#[test]
fn a_client_type_of_ones_own_is_what_is_told_and_the_last_observer_counts() {
    #[derive(Clone)]
    struct Tenant(u8);

    #[derive(Clone, Default)]
    struct Tenants(Arc<Mutex<Vec<u8>>>);

    impl Observe<Tenant> for Tenants {
        fn decided(&self, event: &Decision<'_, Tenant>) {
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
fn the_path_is_the_callers_own_and_never_has_the_query() {
    let notes = Notes::default();
    let layer =
        ApiKeyLayer::new((query("api_key"), header("x-api-key")), keys()).observe(notes.clone());
    ask(&layer, Request::get(format!("http://h/%0a/x;y?api_key={KEY}")));
    ask(&layer, Request::get(format!("/%0a?api_key={WRONG}#f")));
    for told in notes.taken() {
        assert!(
            told.contains("/%0a") && !told.contains(['?', '\n']) && !told.contains(KEY),
            "{told}"
        );
    }
}
