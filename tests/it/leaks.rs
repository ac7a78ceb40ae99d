//! No output, log line or response contains a key, its digest or a fragment of them.

use crate::support;
#[cfg(feature = "file")]
use crate::support::key_file as key_file_support;

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::ready,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use http::{
    HeaderValue, Request, Response,
    header::{AUTHORIZATION, COOKIE},
    request,
};
use http_body_util::Full;
use support::{
    ask, ask_of,
    log::{Log, Logging},
    public_types::name_of,
    traces::{CANARY, SECOND, Traces, base64},
};
use tower::{Layer, Service, service_fn};
use tower_api_key::{
    Anonymous, ApiKeyLayer, ApiKeyService, Client, Exempt, KeyDigest, KeyLocation, Keyring,
    KeyringBuilder,
    error::KeyringErrorKind,
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, header, query, scheme,
    },
    key::KeyFormat,
    observe::{Decision, Observe},
    record::Record,
    respond::{Json, Problem, RejectionWriter, Respond, Text},
    verify::{self, PresentedKey, Verification, Verify, VerifyError},
};
use tower_http::trace::{DefaultMakeSpan, MakeSpan};

#[test]
fn the_search_finds_every_form_of_a_leak() {
    let traces = Traces::new();
    let digest = KeyDigest::of(CANARY);
    let words: Vec<_> =
        digest.to_bytes().chunks(8).map(|it| u64::from_ne_bytes(it.try_into().unwrap())).collect();
    for leak in [
        CANARY.to_owned(),
        CANARY[3..11].to_owned(),
        CANARY.to_uppercase().to_lowercase(),
        digest.encode(),
        digest.encode().to_uppercase(),
        format!("{:?}", CANARY.as_bytes()),
        format!("{:#?}", &digest.to_bytes()[9..15]),
        format!("{words:?}"),
        base64(&digest.to_bytes(), b"+/"),
    ] {
        assert!(traces.find(&leak).is_some(), "{leak}");
    }
    assert_eq!((base64(b"Man", b"+/"), base64(b"Ma", b"+/")), ("TWFu".into(), "TWE".into()));
    assert_eq!(traces.find(&format!("{} {:?}", support::KEY, Client::new("mobile-app"))), None);
}

// --------------------------------------------------------------------------------------------
// Values that could leak a key.

fn canary_keys() -> Keyring {
    let keys = Keyring::new();
    keys.insert(CANARY, Client::new("mobile-app").with_scopes(["a"])).unwrap();
    keys.insert_digest(KeyDigest::of(SECOND), Client::new("ci").with_key_id("k_1")).unwrap();
    keys
}

/// Returns an extractor for five locations. A request can use several of them.
fn everywhere() -> impl Extract + fmt::Debug {
    first_of((header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token")))
}

fn full(method: &str) -> request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("/p?api_key={CANARY}"))
        .header("x-api-key", CANARY)
        .header(COOKIE, format!("sid={CANARY}"))
        .header(AUTHORIZATION, format!("Bearer {CANARY}"))
        .header(AUTHORIZATION, format!("Token {SECOND}"))
}

/// Prints values, checks them for traces of a secret, and records their types.
struct Sweep {
    traces: Traces,
    printed: Mutex<Vec<&'static str>>,
}

impl Sweep {
    fn of(traces: Traces) -> Arc<Self> {
        Arc::new(Self { traces, printed: Mutex::default() })
    }

    #[track_caller]
    fn print<T: fmt::Debug>(&self, value: &T) {
        self.traces.are_not_in_debug(value);
        assert_ne!(format!("{value:?}"), "", "{} prints nothing", name_of(value));
        self.printed.lock().unwrap().push(name_of(value));
    }

    fn printed(&self) -> Vec<&'static str> {
        self.printed.lock().unwrap().clone()
    }
}

/// Prints every value that an observer, extractor, verifier or responder receives.
struct Printer(Arc<Sweep>);

impl Observe for Printer {
    fn on_decision(&self, event: &Decision<'_>) {
        self.0.print(event);
        self.0.print(&event.outcome());
        self.0.print(&(event.client(), event.key_id(), event.location(), event.path()));
    }
}

impl Extract for Printer {
    fn locations(&self) -> Vec<KeyLocation> {
        vec![KeyLocation::header("x-own"), KeyLocation::query("own")]
    }

    fn extract<'a>(&'a self, head: RequestHead<'a>) -> Extracted<'a> {
        self.0.print(&head);
        let extracted = Extracted::from(head.headers().get("x-own"));
        self.0.print(&extracted);
        if let Extracted::Found(found) = &extracted {
            self.0.print(found);
        }
        extracted
    }
}

impl Verify for Printer {
    type Client = Client;
    type Future = verify::Never<Client>;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future> {
        self.0.print(key);
        self.0.print(&key.head());
        self.0.print(&key.digest());
        let error = VerifyError::unknown();
        self.0.print(&error);
        let client = Client::new("printed");
        let known = if key.expose() == CANARY.as_bytes() { Ok(client) } else { Err(error) };
        let known = known.into();
        self.0.print(&known);
        known
    }
}

impl Respond for Printer {
    fn respond(&self, rejection: &tower_api_key::Rejection) -> Response<bytes::Bytes> {
        self.0.print(rejection);
        self.0.traces.are_not_in_error(rejection);
        Json::default().respond(rejection)
    }
}

#[test]
fn r26_no_value_that_user_code_receives_prints_the_key() {
    let sweep = Sweep::of(Traces::new());
    let printer = || Printer(Arc::clone(&sweep));
    let layer = ApiKeyLayer::new(printer(), printer()).respond(printer()).observe(printer());
    let optional = layer.clone().optional().exempt_path("/open");
    for (layer, request, outcome) in [
        (&layer, Request::get("/p").header("x-own", CANARY), "200 printed"),
        (&layer, Request::get("/p").header("x-own", SECOND), "401 unknown"),
        (&layer, Request::get(format!("/p?own={SECOND}")).header("x-other", "1"), "401 missing"),
        (&layer, Request::get("/p").header("x-own", format!("{CANARY}\u{e9}")), "401 malformed"),
        (&layer, Request::get("/p").header("x-own", CANARY.repeat(50)), "401 too_long"),
        (&optional, Request::get(format!("/p?own={SECOND}")), "200 -"),
        (&optional, Request::get(format!("/open?own={SECOND}")).header("x-own", CANARY), "200 -"),
    ] {
        let reply = ask(layer, request);
        assert_eq!(reply.outcome(), outcome);
        sweep.traces.are_not_in_reply(&reply);
    }
    assert!(sweep.printed().len() > 30);
}

// `{:?}` of layer, service, keyring, client and error.
#[test]
fn r26_no_public_type_prints_a_key_or_a_digest() {
    let traces = Traces::new();
    let keys = canary_keys();
    traces.are_not_in_debug(&keys);
    traces.are_not_in_debug(&KeyDigest::of(CANARY));
    traces.are_not_in_debug(&Some([KeyDigest::of(CANARY), KeyDigest::of(SECOND)]));
    traces.are_not_in_debug(&keys.clients().collect::<Vec<_>>());
    traces.are_not_in_debug(&keys.clone().or(canary_keys()));

    // `Debug` of a closure shows no captured key.
    let captured = CANARY.to_owned();
    let from_fn = verify::from_fn(move |key: &PresentedKey<'_>| {
        (key.expose() == captured.as_bytes()).then(|| Client::new("x"))
    });
    traces.are_not_in_debug(&from_fn);
    let digest = KeyDigest::of(CANARY);
    let from_async_fn =
        verify::from_async_fn(move |it| ready((it == digest).then(|| Client::new("x"))));
    traces.are_not_in_debug(&from_async_fn);
    traces.are_not_in_debug(&keys.clone().or(from_async_fn.clone()));
    let captured = CANARY.to_owned();
    let find =
        extract::from_fn(KeyLocation::header("x-own"), move |_| Some(captured.clone()).into());
    traces.are_not_in_debug(&find);
    traces.are_not_in_debug(&(everywhere(), find));

    let captured = CANARY.to_owned();
    let layer = ApiKeyLayer::new(everywhere(), keys.or(from_async_fn))
        .realm("r")
        .respond(move |_: &tower_api_key::Rejection| Response::new(captured.clone()))
        .exempt_if(|head| head.uri().query() == Some(CANARY))
        .exempt_path("/open");
    traces.are_not_in_debug(&layer);
    traces.are_not_in_debug(&layer.locations());
    // `Debug` of the layered service does not print the inner service, which can hold a key.
    let service =
        layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    traces.are_not_in_debug(&service);
    let held = ApiKeyService::new(CANARY.to_owned(), header("x-api-key"), canary_keys());
    traces.are_not_in_debug(&held);
    for responder in [
        Box::new(Json::default()) as Box<dyn fmt::Debug>,
        Box::new(Problem::default().message("No")),
        Box::new(Text::default()),
    ] {
        traces.are_not_in_debug(&responder);
    }
}

/// Prints at least one value of every public type. Add a value here for each new type.
#[cfg(all(
    feature = "axum",
    feature = "file",
    feature = "limit",
    feature = "metrics",
    feature = "store",
    feature = "test-util",
    feature = "tracing",
    feature = "usage"
))]
#[test]
fn r26_every_public_type_is_printed_and_shows_neither_key_nor_digest() {
    use axum::extract::FromRequestParts;
    use tower_api_key::{
        ClientOf, PropagateClientLayer, RequireScopeLayer, SetClientHeaderLayer,
        key_file::{KeyFile, KeyFileErrorKind},
        limit::{
            Ask, CalendarWindow, ClientLimitLayer, FailureLimitLayer, Limit, Limiter, Limits, Peer,
            RateLimitHeaders, Subject,
        },
        location::LocationKind,
        observe::{Metrics, Tracing},
        rejection::{Reason, Rejection, RejectionKind},
        test_util::unprotected,
        usage::{JsonLines, Usage, UsageBatch, UsageFileErrorKind},
    };

    let sweep = Sweep::of(Traces::new());
    let printer = || Printer(Arc::clone(&sweep));
    let keys = canary_keys();

    // Values of one request: head, extracted key, presented key, decision, outcome and rejection.
    let layer = ApiKeyLayer::new(printer(), printer()).respond(printer()).observe(printer());
    for key in [CANARY, SECOND] {
        ask(&layer, Request::get("/p").header("x-own", key));
    }
    let waits = verify::from_async_fn(|_| async { None::<Client> });
    let asking = waits.clone();
    let mapped = waits.clone().map_client(|client| client);
    let try_mapped = waits.clone().try_map_client(Ok::<_, VerifyError>);
    sweep.print(&mapped);
    sweep.print(&try_mapped);
    let inside = Arc::clone(&sweep);
    let asked = verify::from_fn(move |key: &PresentedKey<'_>| {
        let Verification::Pending(answer) = asking.verify(key) else { return None };
        inside.print(&answer);
        let Verification::Pending(answer) = mapped.verify(key) else { return None };
        inside.print(&answer);
        let Verification::Pending(answer) = try_mapped.verify(key) else { return None };
        inside.print(&answer);
        None::<Client>
    });
    ask(&ApiKeyLayer::new(everywhere(), asked), full("GET"));

    // Parts of a service.
    sweep.print(&header("x-api-key"));
    sweep.print(&query("api_key"));
    sweep.print(&cookie("sid"));
    sweep.print(&bearer());
    sweep.print(&first_of((bearer(), scheme("Token"))));
    sweep.print(&extract::from_fn(KeyLocation::header("x-own"), |_| Some(CANARY).into()));
    sweep.print(&verify::from_fn(|_| None::<Client>));
    sweep.print(&waits);
    sweep.print(&keys);
    sweep.print(&keys.clone().or(waits));
    sweep.print(&Json::default());
    sweep.print(&Problem::default());
    sweep.print(&Text::default());
    sweep.print(&RejectionWriter::default().with_responder(printer()));
    let layer = ApiKeyLayer::new(everywhere(), keys.clone()).optional();
    sweep.print(&layer);
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new("hello"))));
    let mut service = layer.layer(inner);
    sweep.print(&service);
    let scoped = RequireScopeLayer::all(["a"]);
    sweep.print(&scoped);
    let mut scoped = scoped.layer(inner);
    sweep.print(&scoped);
    sweep.print(&scoped.call(full("GET").body(()).unwrap()));
    sweep.print(&SetClientHeaderLayer::new("x-client"));
    sweep.print(&SetClientHeaderLayer::new("x-client").layer(inner));
    sweep.print(&PropagateClientLayer::new());
    let mut propagating = PropagateClientLayer::new().layer(inner);
    sweep.print(&propagating);
    sweep.print(&propagating.call(full("GET").body(()).unwrap()));
    sweep.print(&Metrics::new().by_client().by_key_id());
    sweep.print(&Tracing);
    let open_requests = unprotected(&inner, [full("GET").body(()).unwrap()]);
    sweep.print(&support::block_on(open_requests)[0]);
    let future = service.call(full("GET").body(()).unwrap());
    sweep.print(&future);
    sweep.print(support::block_on(future).unwrap().body());

    // Values for handlers, logs and callers of the keyring.
    let reply = ask(&layer, Request::get("/"));
    sweep.print(reply.seen().extensions.get::<Anonymous>().unwrap());
    let exempt = ask(&layer.clone().exempt_if(|_| true), full("GET"));
    sweep.print(exempt.seen().extensions.get::<Exempt>().unwrap());
    sweep.print(&Client::new("ci").with_key_id("k_1").with_metadata(CANARY, CANARY));
    let builder: KeyringBuilder = Keyring::builder();
    sweep.print(&builder);
    sweep.print(&ClientOf(Client::new("ci")));
    sweep.print(&Rejection::new(Reason::Unknown));
    sweep.print(&Reason::Unknown);
    sweep.print(&RejectionKind::InvalidKey);
    sweep.print(&KeyLocation::query("api_key"));
    sweep.print(&LocationKind::Query);
    sweep.print(&KeyDigest::of(CANARY));
    sweep.print(&Record::new(KeyDigest::of(CANARY), Client::new("ci")));
    let format = KeyFormat::new("sk_live").unwrap();
    sweep.print(&format);
    sweep.print(&format.mint().unwrap());
    let error = keys.insert(CANARY, Client::new("ci")).unwrap_err();
    sweep.print(&error);
    sweep.print(&KeyringErrorKind::DuplicateKey);
    let error = format.parse(CANARY).unwrap_err();
    sweep.print(&error);
    sweep.print(&error.kind());
    sweep.print(&KeyFormat::new(format!("{CANARY}-")).unwrap_err());
    sweep.print(&KeyDigest::parse(CANARY).unwrap_err());
    let error = KeyLocation::try_header(&format!("{CANARY} ")).unwrap_err();
    sweep.print(&error);
    sweep.print(&error.kind());
    let forwarded = full("GET").body(()).unwrap().into_parts().0;
    for mut parts in [reply.seen().clone(), Request::new(()).into_parts().0, forwarded] {
        let client = <Client as FromRequestParts<_>>::from_request_parts(&mut parts, &());
        let error = support::block_on(client).unwrap_err();
        sweep.print(&error);
        sweep.traces.are_not_in_error(&error);
    }

    // Limits.
    let limits = Limits::try_new([Limit::per_hour("hour", 1)]).unwrap();
    let (limiter, peek) = (Limiter::in_process(), Ask::peek(Subject::Client("ci"), &limits));
    let taken = limiter.take(&peek).ready().unwrap();
    sweep.print(&limiter);
    sweep.print(&peek);
    sweep.print(&peek.subject());
    sweep.print(&limits);
    sweep.print(&limits.as_slice()[0]);
    sweep.print(&limiter.take(&peek));
    sweep.print(&taken);
    sweep.print(&taken.outcome());
    sweep.print(&taken.states(&limits).next().unwrap());
    let limits = Arc::new(limits);
    let limit = ClientLimitLayer::new(limiter, move |_: &Client| Arc::clone(&limits));
    sweep.print(&limit);
    sweep.print(&limit.status_service());
    let mut limited = limit.layer(inner);
    sweep.print(&limited);
    sweep.print(&limited.call(full("GET").body(()).unwrap()));
    sweep.print(&RateLimitHeaders::Always);
    sweep.print(&CalendarWindow::Day);
    let peer = Peer::from(std::net::Ipv4Addr::LOCALHOST);
    sweep.print(&peer);
    let per_hour = Limit::per_hour("failures", 1);
    let failures = FailureLimitLayer::new(per_hour, move |_| Some(peer), layer.rejection_writer());
    sweep.print(&failures);
    let mut failures = failures.layer(inner);
    sweep.print(&failures);
    sweep.print(&failures.call(full("GET").body(()).unwrap()));

    // The key file.
    let folder = key_file_support::Folder::quick();
    let observer = Arc::clone(&sweep);
    let options = KeyFile::options().create(true).observe(move |event| observer.print(event));
    sweep.print(&options);
    let file = options.open(folder.file()).unwrap();
    file.update(|keys| keys.insert(CANARY, Client::new("ci"))).unwrap();
    sweep.print(&file);
    std::fs::write(folder.file(), format!("{{\"v\":1}}\n{CANARY}\n")).unwrap();
    let look = |_| {
        std::thread::sleep(Duration::from_millis(20));
        file.status().problem().cloned()
    };
    let problem = (0..3000).find_map(look).expect("the broken file is noticed within a minute");
    sweep.print(&problem);
    sweep.print(problem.error());
    sweep.traces.are_not_in_error(problem.error());
    sweep.print(&file.status());
    sweep.print(&KeyFileErrorKind::Content);

    // Usage, and its file.
    let usage = Usage::new();
    let counted = ApiKeyLayer::new(everywhere(), canary_keys()).observe(usage.clone());
    for key in [CANARY, SECOND, "wrong"] {
        ask(&counted, Request::get("/p").header("x-api-key", key));
    }
    let rows = usage.snapshot();
    assert!(rows.iter().any(|row| row.key_id().is_some()));
    rows.iter().for_each(|row| sweep.print(row));
    sweep.print(rows[0].subject());
    sweep.print(&rows[0].counts());
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    sweep.print(&usage.unused_since(tomorrow)[0]);
    sweep.print(&usage);
    sweep.print(&Usage::builder());
    sweep.print(&UsageBatch::new("instance", 1, rows));
    let path = folder.file().with_file_name("usage.jsonl");
    let options = JsonLines::options();
    sweep.print(&options);
    let sink = options.open(&path).unwrap();
    sweep.print(&sink);
    let builder = usage.flush_to(sink);
    sweep.print(&builder);
    let writer = builder.in_thread().unwrap();
    sweep.print(&writer);
    sweep.print(&usage.flush_to(JsonLines::open(&path).unwrap()).in_thread().unwrap_err());
    support::block_on(writer.flush()).unwrap();
    sweep.print(&JsonLines::read([&path]).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() > 2);
    sweep.traces.are_not_in(&text);
    std::fs::write(&path, format!("{text}{{\"key\":{CANARY:?},,}}\n")).unwrap();
    sweep.print(&JsonLines::read([&path]).unwrap_err());
    sweep.print(&UsageFileErrorKind::Content);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(print_stores(&sweep));

    let missing = support::public_types::missing(sweep.printed());
    assert!(missing.is_empty(), "print a value of these here: {missing:#?}");
}

#[cfg(all(feature = "file", feature = "store", feature = "test-util"))]
async fn print_stores(sweep: &Arc<Sweep>) {
    use tower_api_key::store::{
        Cached, CachedEvent, Change, Cursor, KeyStore, MemoryStore, Mirrored, MirroredEvent, Page,
        Start, Target,
    };
    use tower_api_key::verify::{PresentedKey, Verification, Verify as _};

    let store = MemoryStore::new();
    sweep.print(&store);
    let insert = Change::insert(Record::new(KeyDigest::of(CANARY), Client::new("ci")));
    sweep.print(&insert);
    sweep.print(&insert.apply([]).unwrap().writes()[0]);
    sweep.print(&insert.apply([]).unwrap());
    sweep.print(&store.change(insert.clone()).await.unwrap());
    sweep.print(&Change::insert_if_absent([Record::new(KeyDigest::of(SECOND), Client::new("x"))]));
    sweep.print(insert.target());
    sweep.print(&Target::Digests([KeyDigest::of(CANARY)].into()));
    sweep.print(&Page::new());
    sweep.print(&Start::Everything);
    sweep.print(&Cursor::new("1"));
    let error = store.change(insert.clone()).await.unwrap_err();
    sweep.print(&error);
    sweep.traces.are_not_in_error(&error);
    sweep.print(&error.kind());
    let observer = Arc::clone(sweep);
    let options = Cached::options().observe(move |event| {
        observer.print(event);
        if let CachedEvent::Changed(change) = event {
            observer.print(change);
        }
    });
    sweep.print(&options);
    let keys = options.open(store.clone()).await.unwrap();
    let pending = {
        let request = http::Request::new(());
        keys.verify(&PresentedKey::new(CANARY.as_bytes(), RequestHead::of(&request)))
    };
    let Verification::Pending(future) = pending else { panic!("it is not in memory") };
    sweep.print(&future);
    assert!(future.await.is_ok());
    let note = Change::update(store.list(&Page::new()).await.unwrap()[0].id().unwrap(), |record| {
        record.with_note("a note")
    });
    keys.change(note).await.unwrap();
    sweep.print(&keys);
    sweep.print(&keys.status());

    let observer = Arc::clone(sweep);
    let options = Mirrored::options().observe(move |event| {
        observer.print(event);
        if let MirroredEvent::Changed(change) = event {
            observer.print(change);
            observer.print(&change.kind());
        }
    });
    sweep.print(&options);
    let keys = options.open(store).await.unwrap();
    sweep.print(&keys);
    keys.revoke_client("ci").await.unwrap();
    sweep.print(&keys.status());
    sweep.print(&tower_api_key::test_util::store_behaviours()[0]);

    // A file that breaks while it is followed.
    let folder = key_file_support::Folder::quick();
    let file =
        tower_api_key::key_file::KeyFile::options().create(true).open(folder.file()).unwrap();
    let keys = Mirrored::open(file).await.unwrap();
    std::fs::write(folder.file(), format!("{{\"v\":1}}\n{CANARY}\n")).unwrap();
    let mut problem = None;
    for _ in 0..3000 {
        problem = keys.status().problem().cloned();
        if problem.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let problem = problem.expect("the broken file is noticed within a minute");
    sweep.print(&problem);
    sweep.traces.are_not_in_error(problem.error());
}

/// A minted key, which a test inserts into a keyring.
const MINTED: &str = "sk_live_0a1B2c3D_4e5F6g7H8i9J0k1L2m3N4o0XLaBU";

#[test]
fn r26_a_minted_key_and_its_record_print_only_the_id() {
    let format = KeyFormat::new("sk_live").unwrap();
    let minted = [(); 2].map(|()| format.mint().unwrap());
    let issuing = Keyring::builder().format(format.clone()).build();
    let issued = issuing.issue(&format, Client::new("ci")).unwrap();
    let rotated = issuing.rotate(issued.id(), Duration::MAX).unwrap();
    let printed = [format!("{minted:?}"), format!("{issued:#?}"), format!("{rotated:x?}")];
    for minted in minted.into_iter().chain([issued, rotated]) {
        let record = Record::of(&minted, Client::new("ci")).with_note("a note");
        let record = record
            .with_expires(SystemTime::now() + Duration::from_secs(3_600))
            .with_format(format.clone());
        let id = minted.id().to_owned();
        let (debug, mut texts) = (format!("{record:?} {record:#?}"), printed.to_vec());
        texts.push(format!("{minted:?} {minted:#?} {minted:x?} {minted:#X?}"));
        texts.push(format!("{:?} {:?}", minted.digest(), Some(minted.digest())));
        let keys = Keyring::builder().format(format.clone()).build();
        keys.insert_record(record).unwrap();
        texts.push(format!("{keys:?} {:?}", keys.records().collect::<Vec<_>>()));
        keys.revoke_key(&id);
        texts.push(format!("{keys:#?} {:#?}", keys.record(&id)));
        assert!(debug.contains(&id) && texts[3].contains(&id));
        texts.push(debug);
        minted.reveal(|key| {
            let traces = Traces::of_minted(key);
            assert!(traces.find(key).is_some() && traces.find(&key[20..29]).is_some());
            traces.are_not_in_debug(&format);
            traces.are_not_in(&format.pattern());
            traces.are_not_in_debug(&issuing);
            traces.are_not_in_debug(&issuing.records().collect::<Vec<_>>());
            traces.are_not_in_debug(&issuing.clients().collect::<Vec<_>>());
            texts.iter().for_each(|text| traces.are_not_in(text));
        });
    }
}

#[test]
fn r26_a_rejected_minted_key_shows_its_id_only_to_the_operator() {
    let sweep = Sweep::of(Traces::of_minted(MINTED));
    let traces = &sweep.traces;
    let keys = Keyring::builder().format(KeyFormat::new("sk_live").unwrap()).build();
    keys.insert(MINTED, Client::new("ci")).unwrap();
    let layer = ApiKeyLayer::new(everywhere(), keys.clone()).observe(Printer(Arc::clone(&sweep)));
    let get = |key: &str| ask(&layer, Request::get("/p").header("x-api-key", key));
    let (typo, cut) = (MINTED.replace("4e5F", "4e5G"), &MINTED[..MINTED.len() - 1]);
    for (is_revoked, outcome) in [(false, "200 ci"), (true, "401 revoked")] {
        assert!(!is_revoked || keys.revoke_key("0a1B2c3D"));
        let reply = get(MINTED);
        assert_eq!(reply.outcome(), outcome);
        traces.are_not_in_reply(&reply);
        assert!(!reply.wire().contains("0a1B2c3D"));
        traces.are_not_in_debug(&layer);
        for wrong in [&*typo, cut] {
            let reply = get(wrong);
            assert_eq!(reply.outcome(), "401 unknown");
            traces.are_not_in_reply(&reply);
        }
    }
    assert!(sweep.printed().len() > 10);
}

#[test]
fn r26_no_error_about_minted_keys_and_records_repeats_a_value() {
    use KeyringErrorKind::{
        Checksum, DeadKey, Digest, DuplicateKey, DuplicateKeyId, ForeignKey, KeyId, KeyLayout,
        KeyPrefix, Lifetime, RevokedKey, UnknownKeyId,
    };

    let (canary, minted) = (Traces::new(), Traces::of_minted(MINTED));
    let (live, test) = (KeyFormat::new("sk_live").unwrap(), KeyFormat::new("sk_test").unwrap());
    let (typo, cut) = (MINTED.replace("4e5F", "4e5G"), &MINTED[..MINTED.len() - 1]);
    let keys = Keyring::new();
    let built =
        |format: &KeyFormat| -> Keyring { Keyring::builder().format(format.clone()).build() };
    let strict = built(&test);
    let client = || Client::new("ci");
    keys.insert(MINTED, client()).unwrap();
    let record = |key: &str| Record::new(KeyDigest::of(key), client());
    let now = SystemTime::now();
    let is_silent = |error: &(dyn std::error::Error + 'static)| {
        canary.are_not_in_error(error);
        minted.are_not_in_error(error);
    };
    let told = |error: &tower_api_key::error::KeyringError, kind| {
        assert_eq!(error.kind(), kind);
        is_silent(error);
    };
    let over = record(CANARY).with_not_before(now + Duration::from_secs(1)).with_expires(now);
    for (error, kind) in [
        (strict.insert(CANARY, client()).unwrap_err(), KeyLayout),
        (strict.insert(MINTED, client()).unwrap_err(), ForeignKey),
        (built(&live).insert(&typo, client()).unwrap_err(), Checksum),
        (keys.insert(MINTED, client()).unwrap_err(), DuplicateKey),
        // A caller passes the key instead of its id.
        (record(CANARY).with_id(MINTED).unwrap_err(), KeyId),
        (record(CANARY).with_id(CANARY).unwrap_err(), KeyId),
        (keys.rotate(MINTED, Duration::ZERO).unwrap_err(), UnknownKeyId),
        (keys.rotate(CANARY, Duration::ZERO).unwrap_err(), UnknownKeyId),
        (keys.insert_record(over.clone()).unwrap_err(), Lifetime),
        (keys.replace([over]).unwrap_err(), Lifetime),
        (keys.replace([record(MINTED), record(MINTED)]).unwrap_err(), DuplicateKey),
        (
            keys.insert_record(record(CANARY).with_id("0a1B2c3D").unwrap()).unwrap_err(),
            DuplicateKeyId,
        ),
        (strict.issue(&live, client()).unwrap_err(), ForeignKey),
    ] {
        told(&error, kind);
    }
    for (error, kind) in [
        (live.parse(CANARY).unwrap_err(), KeyLayout),
        (live.parse(cut).unwrap_err(), KeyLayout),
        (live.parse(&typo).unwrap_err(), Checksum),
        (test.parse(MINTED).unwrap_err(), ForeignKey),
    ] {
        assert_eq!(error.kind().as_str(), kind.as_str());
        is_silent(&error);
        told(&error.into(), kind);
    }
    for (text, end) in [(CANARY, "-"), (MINTED, "_")] {
        let prefix = KeyFormat::new(format!("{text}{end}")).unwrap_err();
        is_silent(&prefix);
        told(&prefix.into(), KeyPrefix);
        let digest = KeyDigest::parse(text).unwrap_err();
        is_silent(&digest);
        told(&digest.into(), Digest);
    }
    assert!(keys.revoke_key("0a1B2c3D"));
    told(&keys.insert(MINTED, client()).unwrap_err(), RevokedKey);
    told(&keys.rotate("0a1B2c3D", Duration::ZERO).unwrap_err(), DeadKey);
}

#[test]
fn r26_no_future_and_no_body_prints_a_key() {
    let traces = Traces::new();
    let layer = ApiKeyLayer::new(
        everywhere(),
        canary_keys().or(verify::from_async_fn(|_| async {
            tokio::task::yield_now().await;
            None::<Client>
        })),
    );
    let mut service = layer
        .layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new("hello")))));
    for key in [CANARY, &CANARY[..20], "", &CANARY.repeat(50)] {
        let request =
            Request::get(format!("/?api_key={key}")).header("x-api-key", key).body(()).unwrap();
        let mut reply = pin!(service.call(request));
        traces.are_not_in_debug(&reply);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            traces.are_not_in_debug(&reply);
            if let Poll::Ready(reply) = reply.as_mut().poll(&mut context) {
                let reply = reply.unwrap();
                traces.are_not_in_debug(&reply);
                traces.are_not_in_debug(reply.body());
                break;
            }
        }
    }
}

#[test]
fn r26_no_error_of_a_configuration_repeats_a_value() {
    let traces = Traces::new();
    let digest = KeyDigest::of(CANARY).encode();
    let keys = canary_keys();
    let client = || Client::new("ci");
    for error in [
        keys.insert(CANARY, client()).unwrap_err(),
        keys.insert_digest(KeyDigest::of(SECOND), client()).unwrap_err(),
        keys.insert(format!("{CANARY}\n"), client()).unwrap_err(),
        keys.insert(format!("{CANARY}\0{SECOND}"), client()).unwrap_err(),
        keys.insert(CANARY.repeat(50), client()).unwrap_err(),
        keys.insert("fine", Client::new("ci").with_scopes([format!("{CANARY} x")])).unwrap_err(),
        keys.insert("fine", Client::new(format!("{CANARY}\n"))).unwrap_err(),
        CANARY.parse::<Keyring>().unwrap_err(),
        format!("a={CANARY},b={CANARY}").parse::<Keyring>().unwrap_err(),
        format!("a={digest},b={CANARY}").parse::<Keyring>().unwrap_err(),
        format!("a={digest}x").parse::<Keyring>().unwrap_err(),
        format!("a=k,={CANARY}").parse::<Keyring>().unwrap_err(),
        format!("a={CANARY} ").parse::<Keyring>().unwrap_err(),
        Keyring::from_env("TOWER_API_KEY_TEST_THAT_IS_NOT_SET").unwrap_err(),
    ] {
        traces.are_not_in_error(&error);
    }
    for error in [
        KeyDigest::parse(&format!("{digest}0")).unwrap_err(),
        KeyDigest::parse(CANARY).unwrap_err(),
    ] {
        traces.are_not_in_error(&error);
    }
    // A caller passes the key instead of a name.
    for error in [
        KeyLocation::try_header(&format!("{CANARY} x")).unwrap_err(),
        KeyLocation::try_query(&format!("{CANARY} x")).unwrap_err(),
        KeyLocation::try_cookie(&format!("{CANARY} x")).unwrap_err(),
        KeyLocation::try_scheme(&format!("{CANARY} x")).unwrap_err(),
        ApiKeyLayer::try_new((header(CANARY), header(CANARY)), canary_keys()).unwrap_err(),
        ApiKeyLayer::new(bearer(), canary_keys()).try_realm(format!("{CANARY}\n")).unwrap_err(),
    ] {
        traces.are_not_in_error(&error);
    }
}

#[test]
fn r26_no_panic_message_repeats_a_value() {
    let traces = Traces::new();
    let builds: [fn(); 7] = [
        || drop(header(&format!("{CANARY} x"))),
        || drop(query(&format!("{CANARY} x"))),
        || drop(cookie(&format!("{CANARY} x"))),
        || drop(scheme(&format!("{CANARY} x"))),
        || drop(KeyLocation::header(&format!("{CANARY} x"))),
        || drop(ApiKeyLayer::new((query(CANARY), query(CANARY)), Keyring::<Client>::new())),
        || {
            drop(
                ApiKeyLayer::new(bearer(), Keyring::<Client>::new())
                    .exempt_path(format!("/?k={CANARY}")),
            )
        },
    ];
    for build in builds {
        let panic = catch_unwind(AssertUnwindSafe(build)).unwrap_err();
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap();
        traces.are_not_in(message);
    }
}

#[test]
fn r26_no_response_repeats_the_presented_key() {
    let traces = Traces::new();
    let layer = ApiKeyLayer::new(everywhere(), Keyring::<Client>::new());
    let strict = (header("x-api-key"), query("api_key"), cookie("sid"), bearer(), scheme("Token"));
    let strict = ApiKeyLayer::new(strict, canary_keys());
    let failing = verify::from_fn(|key: &PresentedKey<'_>| {
        let key = String::from_utf8_lossy(key.expose());
        Err::<Option<Client>, _>(io::Error::other(format!("SELECT … WHERE key = '{key}'")))
    });
    let failing = ApiKeyLayer::new(everywhere(), failing);
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for content_type in ["text/plain", "application/grpc", "application/grpc-web-text"] {
            let full = || full(method).header("content-type", content_type);
            traces.are_not_in_reply(&ask(&layer, full()));
            traces.are_not_in_reply(&ask(&layer.clone().respond(Problem::default()), full()));
            traces.are_not_in_reply(&ask(&layer.clone().respond(Text::default()), full()));
            traces.are_not_in_reply(&ask(&strict, full()));
            // The error of this verifier contains the key. No response and no `Debug` shows the error.
            let reply = ask(&failing, full());
            traces.are_not_in(&reply.wire());
            traces.are_not_in_debug(&reply.head);
            let rejection = reply.rejection().unwrap();
            traces.are_not_in_debug(rejection);
            traces.are_not_in(&rejection.to_string());
            assert!(
                traces.find(&rejection.source().unwrap().to_string()).is_some(),
                "only the source shows the verifier's own error"
            );
        }
    }
}

// R25: a key header that stays in the request prints as `Sensitive`.
#[test]
fn r25_r26_the_request_that_the_inner_service_prints_shows_no_key() {
    let traces = Traces::new();
    let layer = ApiKeyLayer::new(everywhere(), canary_keys());
    let preflight =
        full("OPTIONS").header("origin", "http://o").header("access-control-request-method", "PUT");
    for (layer, request) in [
        (layer.clone(), full("GET")),
        (layer.clone().optional(), full("GET")),
        (layer.clone().exempt_path("/p"), full("GET")),
        (layer.clone().exempt_if(|_| true), full("POST")),
        (layer.clone().pass_preflight(), preflight),
    ] {
        traces.are_not_in_reply(&ask(&layer, request));
    }
    // A forwarded key stays visible in the query, which cannot be marked. Headers do not show it.
    for layer in [layer.clone().forward_key(), layer.forward_key().exempt_path("/p")] {
        let reply = ask(&layer, full("GET"));
        let headers = &reply.seen().headers;
        traces.are_not_in_debug(headers);
        assert_eq!(headers["x-api-key"], CANARY);
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }
    let reply = ask(&ApiKeyLayer::new(everywhere(), canary_keys()).optional(), Request::get("/"));
    traces.are_not_in_debug(reply.seen().extensions.get::<Anonymous>().unwrap());
}

#[cfg(feature = "axum")]
#[test]
fn r26_the_types_and_responses_of_the_feature_axum_show_no_key() {
    use axum::{Router, body::Body, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    use tower_api_key::ClientOf;

    let traces = Traces::new();
    let layer = ApiKeyLayer::new(everywhere(), canary_keys()).exempt_path("/p");
    let whoami = |client: Client| async move { format!("{:?}", ClientOf(client)) };
    let app: Router = Router::new().route("/p", get(whoami)).route("/q", get(whoami)).layer(layer);
    for (path, status) in [("/p", 500), ("/q", 200)] {
        let uri = format!("{path}?api_key={CANARY}");
        let request = full("GET").uri(uri).body(Body::empty()).unwrap();
        let response = support::block_on(app.clone().oneshot(request)).unwrap();
        assert_eq!(response.status(), status);
        traces.are_not_in_debug(&response);
        let body = support::block_on(response.into_body().collect()).unwrap().to_bytes();
        traces.are_not_in(std::str::from_utf8(&body).unwrap());
    }
}

// --------------------------------------------------------------------------------------------
// Logs.

#[test]
fn r26_the_trace_log_of_a_whole_run_shows_no_key() {
    let traces = Traces::new();
    let log = Log::default();
    let verifier = canary_keys().or(verify::from_fn(|key: &PresentedKey<'_>| {
        tracing::debug!(?key, head = ?key.head(), "asked");
        if key.expose() == &CANARY.as_bytes()[1..] {
            Err(io::Error::other("down"))
        } else {
            Ok(None)
        }
    }));
    let layer = ApiKeyLayer::new(everywhere(), verifier)
        .exempt_path("/open")
        .pass_preflight()
        .observe(Logging);
    let preflight =
        full("OPTIONS").header("origin", "http://o").header("access-control-request-method", "PUT");

    let outcomes: Vec<_> = tracing::subscriber::with_default(log.subscriber(), || {
        let log = |seen: &request::Parts| {
            // The span of tower-http, which here prints headers too.
            let request = Request::from_parts(seen.clone(), ());
            let mut span =
                DefaultMakeSpan::new().include_headers(true).level(tracing::Level::TRACE);
            span.make_span(&request).in_scope(|| tracing::trace!(?request, "inner"));
            Response::new(Full::from("hello"))
        };
        let mut outcomes = Vec::new();
        for (layer, request) in [
            (layer.clone(), full("GET")),
            (layer.clone(), Request::get(format!("/p?api_key={}&x", &CANARY[..20]))),
            (layer.clone(), Request::get("/p").header("x-api-key", &CANARY[1..])),
            (layer.clone(), Request::get("/p").header("x-api-key", CANARY.repeat(50))),
            (
                layer.clone(),
                Request::get("/p").header(AUTHORIZATION, format!("Bearer {CANARY} {SECOND}")),
            ),
            (layer.clone(), Request::get(format!("/p?api_key={CANARY}&api_key={SECOND}"))),
            (
                layer.clone(),
                Request::post("/p")
                    .header("content-type", "application/grpc")
                    .header("x-api-key", &SECOND[1..]),
            ),
            (layer.clone().optional(), Request::get("/p?api_key=")),
            (layer.clone(), full("GET").uri(format!("/open?api_key={CANARY}"))),
            (layer.clone(), preflight),
        ] {
            let reply = ask_of(&layer, request, log);
            let outcome = reply.outcome();
            tracing::trace!(head = ?reply.head, body = ?reply.body, outcome, "answered");
            outcomes.push(outcome);
        }
        outcomes
    });
    assert_eq!(
        outcomes,
        [
            "200 mobile-app",
            "401 unknown",
            "503 failed",
            "401 too_long",
            "401 malformed",
            "400 ambiguous",
            "200 unknown",
            "200 -",
            "200 -",
            "200 -",
        ]
    );
    let log = log.text();
    for line in log.lines() {
        traces.are_not_in(line);
    }
    // The log covers the whole run.
    for part in [
        "decided",
        "asked",
        "inner",
        "answered",
        "mobile-app",
        "request{method=GET",
        "Sensitive",
        "down",
    ] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
}
