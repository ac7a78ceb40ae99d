//! The layer among tower's own.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, pending, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::BoxBody};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    buffer::Buffer,
    limit::{ConcurrencyLimit, ConcurrencyLimitLayer},
    load_shed::{LoadShed, error::Overloaded},
    service_fn,
    timeout::{Timeout, error::Elapsed},
    util::{
        BoxCloneService, BoxCloneSyncService, BoxCloneSyncServiceLayer, BoxLayer, BoxService,
        MapResponseLayer, option_layer,
    },
};
use tower_api_key::{
    Anonymous, ApiKeyLayer, ApiKeyService, Client, KeyLocation, Keyring, Rejection, ResponseBody,
    extract::{header, query},
    verify,
};

const KEY: &str = "12345abcde";

type KeyLayer = ApiKeyLayer<KeyLocation, Keyring>;

fn layer() -> KeyLayer {
    ApiKeyLayer::new(header("x-api-key"), Keyring::single(KEY).unwrap())
}

/// Answers with the client's id.
#[allow(clippy::needless_pass_by_value, reason = "`service_fn` hands it over")]
fn who(request: Request<String>) -> Ready<Result<Response<String>, Infallible>> {
    let client = request.extensions().get::<Client>();
    ready(Ok(Response::new(client.map_or("nobody", Client::id).to_owned())))
}

fn with_key(key: &str) -> Request<String> {
    Request::builder().header("x-api-key", key).body(String::new()).unwrap()
}

/// Lets the key in and keeps everybody else out, many times over, on one handle.
async fn guards<S, B>(mut service: S)
where
    S: Service<Request<String>, Response = Response<B>>,
    S::Error: Debug,
    B: http_body::Body<Error: Debug>,
{
    for _ in 0..20 {
        for (request, status, body) in [
            (with_key(KEY), StatusCode::OK, "default"),
            (with_key("wrong"), StatusCode::UNAUTHORIZED, r#"{"error":"Unauthorized access"}"#),
            (Request::default(), StatusCode::UNAUTHORIZED, r#"{"error":"Unauthorized access"}"#),
        ] {
            let ready = tokio::time::timeout(Duration::from_secs(10), service.ready());
            let ready = ready.await.expect("a permit was lost").unwrap();
            let response = ready.call(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// ===== ServiceBuilder, and boxes =====

#[tokio::test]
async fn a_service_builder_takes_the_layer_at_any_place() {
    guards(layer().layer(service_fn(who))).await;
    guards(ServiceBuilder::new().layer(layer()).service_fn(who)).await;
    let between = ServiceBuilder::new()
        .concurrency_limit(1)
        .map_err(BoxError::from)
        .layer(layer())
        .concurrency_limit(1)
        .load_shed()
        .service_fn(who);
    guards(between).await;
    // As one layer made of several.
    let both = ServiceBuilder::new().layer(layer()).concurrency_limit(1).into_inner();
    guards(both.layer(service_fn(who))).await;
}

#[tokio::test]
async fn oneshot_makes_it_ready_by_itself() {
    let service = layer().layer(ConcurrencyLimit::new(service_fn(who), 1));
    for (key, status) in [("wrong", StatusCode::UNAUTHORIZED), (KEY, StatusCode::OK)] {
        assert_eq!(service.clone().oneshot(with_key(key)).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn the_service_goes_into_tower_s_boxes() {
    let service = layer().layer(service_fn(who));
    guards(BoxCloneSyncService::new(service.clone())).await;
    guards(BoxCloneService::new(service.clone())).await;
    guards(BoxService::new(service.clone())).await;
    guards(service.boxed_clone()).await;
    // And around them.
    guards(layer().layer(BoxCloneSyncService::new(service_fn(who)))).await;
    guards(layer().layer(BoxCloneService::new(service_fn(who)))).await;
}

#[tokio::test]
async fn the_layer_goes_into_tower_s_boxes() {
    guards(BoxLayer::new(layer()).layer(service_fn(who))).await;
    guards(BoxCloneSyncServiceLayer::new(layer()).layer(service_fn(who))).await;
}

#[tokio::test]
async fn a_boxed_asynchronous_verifier_is_the_same_to_its_callers() {
    let keys = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == tower_api_key::KeyDigest::of(KEY)).then(|| Client::new("default"))
    });
    let service = ApiKeyLayer::new(header("x-api-key"), keys).layer(service_fn(who));
    guards(service.clone()).await;
    guards(BoxCloneSyncService::new(service)).await;
}

// ===== limits and queues, inside and outside =====

#[tokio::test]
async fn r39_a_concurrency_limit_of_one_inside_or_outside_hangs_nobody() {
    guards(layer().layer(ConcurrencyLimit::new(service_fn(who), 1))).await;
    guards(ConcurrencyLimit::new(layer().layer(service_fn(who)), 1)).await;
    let both = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(who);
    guards(both).await;
}

#[tokio::test]
async fn r39_a_buffer_inside_or_outside_loses_no_slot() {
    guards(Buffer::new(layer().layer(service_fn(who)), 1)).await;
    // The one slot that was reserved for a refused request is there again.
    guards(layer().layer(Buffer::new(service_fn(who), 1))).await;
    guards(Buffer::new(layer().layer(Buffer::new(service_fn(who), 1)), 1)).await;
}

#[tokio::test]
async fn r39_a_handle_that_was_refused_keeps_nothing_from_the_others() {
    async fn check<
        S: Service<Request<String>, Response = Response<String>, Error: Debug> + Clone,
    >(
        inner: S,
    ) {
        let service = layer().layer(inner);
        let mut refused = service.clone();
        let _ = refused.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
        guards(service).await;
        guards(refused).await;
    }
    check(ConcurrencyLimit::new(service_fn(who), 1)).await;
    check(Buffer::new(service_fn(who), 1)).await;
}

#[tokio::test]
async fn a_load_shed_inside_sheds_clients_and_one_outside_sheds_everybody() {
    let never = |_: Request<String>| pending::<Result<Response<String>, Infallible>>();
    let busy = || async {
        let limit = ConcurrencyLimit::new(service_fn(never), 1);
        let mut first = limit.clone();
        let call = first.ready().await.unwrap().call(Request::default());
        (limit, call)
    };

    let (limit, _call) = busy().await;
    let mut inside = layer().layer(LoadShed::new(limit));
    let shed = inside.ready().await.unwrap().call(with_key(KEY)).await.unwrap_err();
    assert!(shed.is::<Overloaded>());
    let refused = inside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    let (limit, _call) = busy().await;
    let mut outside = LoadShed::new(layer().layer(limit));
    for key in [KEY, "wrong"] {
        let shed = outside.ready().await.unwrap().call(with_key(key)).await.unwrap_err();
        assert!(shed.is::<Overloaded>());
    }

    guards(LoadShed::new(layer().layer(service_fn(who)))).await;
    guards(layer().layer(LoadShed::new(service_fn(who)))).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_ends_a_verifier_that_never_answers_and_its_permit_is_free() {
    let never = verify::from_async_fn(|_| pending::<Option<Client>>());
    let limit = ConcurrencyLimit::new(service_fn(who), 1);
    let guarded = ApiKeyLayer::new(header("x-api-key"), never).layer(limit.clone());
    let mut service = Timeout::new(guarded, Duration::from_secs(1));
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(with_key(KEY)).await.unwrap_err();
        assert!(error.is::<Elapsed>());
    }
    assert!(poll(pin!({ limit }.ready())).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_is_the_inner_service_s_alone() {
    // Two seconds in the verifier count for nothing.
    let slow = verify::from_async_fn(|_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Some(Client::new("default"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), slow);
    let inner = Timeout::new(service_fn(who), Duration::from_secs(1));
    let response = layer.layer(inner).oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let never = |_: Request<String>| pending::<Result<Response<String>, Infallible>>();
    let inner = Timeout::new(service_fn(never), Duration::from_secs(1));
    let error = layer.layer(inner).oneshot(with_key(KEY)).await.unwrap_err();
    assert!(error.is::<Elapsed>());
}

#[tokio::test]
async fn a_rate_limit_outside_counts_refused_requests_and_one_inside_does_not() {
    let hour = Duration::from_secs(3600);
    let inner = ServiceBuilder::new().layer(layer()).service_fn(who);
    let mut outside = ServiceBuilder::new().rate_limit(1, hour).service(inner);
    let _ = outside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    assert!(poll(pin!(outside.ready())).is_pending());

    // It cannot be cloned: a buffer does that.
    let limited = ServiceBuilder::new().buffer(8).rate_limit(1, hour).service_fn(who);
    let mut inside = layer().layer(limited);
    for _ in 0..3 {
        let _ = inside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    }
    let accepted = async { inside.ready().await.unwrap().call(with_key(KEY)).await.unwrap() };
    let response = tokio::time::timeout(Duration::from_secs(10), accepted).await;
    assert_eq!(response.expect("the limit was used up").status(), StatusCode::OK);
}

// ===== option_layer, and bodies of one type =====

/// A response has one type with and without the layer once its body is boxed.
fn boxed<B>(response: Response<B>) -> Response<BoxBody<Bytes, Infallible>>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    response.map(BodyExt::boxed)
}

#[tokio::test]
async fn option_layer_takes_the_layer_where_the_body_stays_what_it_is() {
    let guarded = |layer: Option<KeyLayer>| {
        let layer = layer.map(|it| (MapResponseLayer::new(boxed::<ResponseBody<_>>), it));
        ServiceBuilder::new().layer(option_layer(layer)).map_response(boxed).service_fn(who)
    };
    guards(guarded(Some(layer()))).await;
    // Nobody is asked, and nobody is known.
    let response = guarded(None).oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "nobody");
}

#[tokio::test]
async fn r41_an_inner_optional_layer_hands_on_no_client_of_an_outer_one() {
    // The client that an outer layer found is not handed on by an inner one that found none.
    let inner = ApiKeyLayer::new(query("k"), Keyring::single("other-key").unwrap()).optional();
    let service = ServiceBuilder::new().layer(layer()).layer(inner).service_fn(who);
    let response = service.oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "nobody");
}

// ===== the layer twice =====

#[tokio::test]
async fn the_layer_twice_on_one_place_refuses_since_the_outer_has_taken_the_key() {
    let twice = ServiceBuilder::new().layer(layer()).layer(layer()).service_fn(who);
    let response = twice.oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let reason = response.extensions().get::<Rejection>().unwrap().reason();
    assert_eq!(reason, tower_api_key::rejection::Reason::Missing);

    let forwarded = ServiceBuilder::new().layer(layer().forward_key()).layer(layer());
    guards(forwarded.service_fn(who)).await;
}

#[tokio::test]
async fn two_layers_on_two_places_want_two_keys_and_the_inner_names_the_client() {
    let second = Keyring::new();
    second.insert("second-key", Client::new("second")).unwrap();
    let second: ApiKeyLayer<KeyLocation, Keyring> = ApiKeyLayer::new(query("k"), second);
    let service = ServiceBuilder::new().layer(layer()).layer(second).service_fn(who);
    let request = |uri: &str| Request::get(uri).header("x-api-key", KEY).body(String::new());
    for (uri, status) in [
        ("/?k=second-key", StatusCode::OK),
        ("/?k=wrong", StatusCode::UNAUTHORIZED),
        ("/", StatusCode::UNAUTHORIZED),
    ] {
        let response = service.clone().oneshot(request(uri).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{uri}");
    }
    let response = service.oneshot(request("/?k=second-key").unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "second");
}

/// `Anonymous` says that a request came without a key, which is not so of one that has a client.
#[tokio::test]
async fn an_outer_layer_s_anonymous_mark_is_gone_once_an_inner_layer_knows_the_client() {
    let inner = ApiKeyLayer::new(query("k"), Keyring::single(KEY).unwrap());
    let seen = |request: Request<String>| {
        assert!(request.extensions().get::<Client>().is_some());
        let is_marked = request.extensions().get::<Anonymous>().is_some();
        ready(Ok::<_, Infallible>(Response::new(is_marked.to_string())))
    };
    let service = ServiceBuilder::new().layer(layer().optional()).layer(inner).service_fn(seen);
    let request = Request::get(format!("/?k={KEY}")).body(String::new()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "false");
}

#[tokio::test]
async fn one_layer_guards_many_services_with_one_set_of_keys() {
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("ci")).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    let services: [ApiKeyService<_, _, _>; 2] = [(); 2].map(|()| layer.layer(service_fn(who)));
    for (revoked, status) in [(false, StatusCode::OK), (true, StatusCode::UNAUTHORIZED)] {
        if revoked {
            assert_eq!(keys.revoke_client("ci"), 1);
        }
        for service in services.clone() {
            assert_eq!(service.oneshot(with_key(KEY)).await.unwrap().status(), status);
        }
    }
}
