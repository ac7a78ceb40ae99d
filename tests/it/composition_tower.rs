//! The layer with other layers of tower.

use crate::composition::{KEY, KeyLayer, UNAUTHORIZED, layer, never, slow};

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

/// Returns the id of the client.
#[allow(clippy::needless_pass_by_value, reason = "`service_fn` hands it over")]
fn whoami(request: Request<String>) -> Ready<Result<Response<String>, Infallible>> {
    let client = request.extensions().get::<Client>();
    ready(Ok(Response::new(client.map_or("anonymous", Client::id).to_owned())))
}

fn with_key(key: &str) -> Request<String> {
    Request::builder().header("x-api-key", key).body(String::new()).unwrap()
}

/// Checks that a service accepts the key and rejects other requests, many times on one handle.
async fn assert_guarded<S, B>(mut service: S)
where
    S: Service<Request<String>, Response = Response<B>>,
    S::Error: Debug,
    B: http_body::Body<Error: Debug>,
{
    for _ in 0..20 {
        for (request, status, body) in [
            (with_key(KEY), StatusCode::OK, "default"),
            (with_key("wrong"), StatusCode::UNAUTHORIZED, UNAUTHORIZED),
            (Request::default(), StatusCode::UNAUTHORIZED, UNAUTHORIZED),
        ] {
            let ready = tokio::time::timeout(Duration::from_secs(10), service.ready());
            let ready = ready.await.expect("a permit is lost").unwrap();
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
async fn a_service_builder_accepts_the_layer_in_any_position() {
    assert_guarded(layer().layer(service_fn(whoami))).await;
    assert_guarded(ServiceBuilder::new().layer(layer()).service_fn(whoami)).await;
    let between = ServiceBuilder::new()
        .concurrency_limit(1)
        .map_err(BoxError::from)
        .layer(layer())
        .concurrency_limit(1)
        .load_shed()
        .service_fn(whoami);
    assert_guarded(between).await;
    // A stack of layers is one layer.
    let both = ServiceBuilder::new().layer(layer()).concurrency_limit(1).into_inner();
    assert_guarded(both.layer(service_fn(whoami))).await;
}

#[tokio::test]
async fn oneshot_waits_for_readiness() {
    let service = layer().layer(ConcurrencyLimit::new(service_fn(whoami), 1));
    for (key, status) in [("wrong", StatusCode::UNAUTHORIZED), (KEY, StatusCode::OK)] {
        assert_eq!(service.clone().oneshot(with_key(key)).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn towers_boxes_can_hold_the_service() {
    let service = layer().layer(service_fn(whoami));
    assert_guarded(BoxCloneSyncService::new(service.clone())).await;
    assert_guarded(BoxCloneService::new(service.clone())).await;
    assert_guarded(BoxService::new(service.clone())).await;
    assert_guarded(service.boxed_clone()).await;
    // The layer is around a box.
    assert_guarded(layer().layer(BoxCloneSyncService::new(service_fn(whoami)))).await;
    assert_guarded(layer().layer(BoxCloneService::new(service_fn(whoami)))).await;
}

#[tokio::test]
async fn towers_boxes_can_hold_the_layer() {
    assert_guarded(BoxLayer::new(layer()).layer(service_fn(whoami))).await;
    assert_guarded(BoxCloneSyncServiceLayer::new(layer()).layer(service_fn(whoami))).await;
}

#[tokio::test]
async fn a_boxed_service_with_an_asynchronous_verifier_guards_alike() {
    let service = ApiKeyLayer::new(header("x-api-key"), slow()).layer(service_fn(whoami));
    assert_guarded(service.clone()).await;
    assert_guarded(BoxCloneSyncService::new(service)).await;
}

// ===== limits and queues, inside and outside =====

#[tokio::test]
async fn r39_a_concurrency_limit_of_one_inside_or_outside_blocks_no_request() {
    assert_guarded(layer().layer(ConcurrencyLimit::new(service_fn(whoami), 1))).await;
    assert_guarded(ConcurrencyLimit::new(layer().layer(service_fn(whoami)), 1)).await;
    let both = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(whoami);
    assert_guarded(both).await;
}

#[tokio::test]
async fn r39_a_buffer_inside_or_outside_loses_no_slot() {
    assert_guarded(Buffer::new(layer().layer(service_fn(whoami)), 1)).await;
    // A rejected request gives its slot back.
    assert_guarded(layer().layer(Buffer::new(service_fn(whoami), 1))).await;
    assert_guarded(Buffer::new(layer().layer(Buffer::new(service_fn(whoami), 1)), 1)).await;
}

#[tokio::test]
async fn r39_a_rejected_handle_keeps_no_permit_from_its_clones() {
    async fn check<
        S: Service<Request<String>, Response = Response<String>, Error: Debug> + Clone,
    >(
        inner: S,
    ) {
        let service = layer().layer(inner);
        let mut rejected = service.clone();
        let _ = rejected.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
        assert_guarded(service).await;
        assert_guarded(rejected).await;
    }
    check(ConcurrencyLimit::new(service_fn(whoami), 1)).await;
    check(Buffer::new(service_fn(whoami), 1)).await;
}

#[tokio::test]
async fn a_load_shed_inside_sheds_accepted_requests_and_one_outside_sheds_all() {
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
    let rejected = inside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);

    let (limit, _call) = busy().await;
    let mut outside = LoadShed::new(layer().layer(limit));
    for key in [KEY, "wrong"] {
        let shed = outside.ready().await.unwrap().call(with_key(key)).await.unwrap_err();
        assert!(shed.is::<Overloaded>());
    }

    assert_guarded(LoadShed::new(layer().layer(service_fn(whoami)))).await;
    assert_guarded(layer().layer(LoadShed::new(service_fn(whoami)))).await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_ends_a_verifier_that_never_returns_and_frees_its_permit() {
    let limit = ConcurrencyLimit::new(service_fn(whoami), 1);
    let guarded = ApiKeyLayer::new(header("x-api-key"), never()).layer(limit.clone());
    let mut service = Timeout::new(guarded, Duration::from_secs(1));
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(with_key(KEY)).await.unwrap_err();
        assert!(error.is::<Elapsed>());
    }
    assert!(poll(pin!({ limit }.ready())).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_limits_only_the_inner_service() {
    // The time in the verifier does not count.
    let slow = verify::from_async_fn(|_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Some(Client::new("default"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), slow);
    let inner = Timeout::new(service_fn(whoami), Duration::from_secs(1));
    let response = layer.layer(inner).oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    let never = |_: Request<String>| pending::<Result<Response<String>, Infallible>>();
    let inner = Timeout::new(service_fn(never), Duration::from_secs(1));
    let error = layer.layer(inner).oneshot(with_key(KEY)).await.unwrap_err();
    assert!(error.is::<Elapsed>());
}

#[tokio::test]
async fn a_rate_limit_outside_counts_rejected_requests_and_one_inside_does_not() {
    let hour = Duration::from_secs(3600);
    let inner = ServiceBuilder::new().layer(layer()).service_fn(whoami);
    let mut outside = ServiceBuilder::new().rate_limit(1, hour).service(inner);
    let _ = outside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    assert!(poll(pin!(outside.ready())).is_pending());

    // A rate limit cannot be cloned, so a buffer is around it.
    let limited = ServiceBuilder::new().buffer(8).rate_limit(1, hour).service_fn(whoami);
    let mut inside = layer().layer(limited);
    for _ in 0..3 {
        let _ = inside.ready().await.unwrap().call(with_key("wrong")).await.unwrap();
    }
    let accepted = async { inside.ready().await.unwrap().call(with_key(KEY)).await.unwrap() };
    let response = tokio::time::timeout(Duration::from_secs(10), accepted).await;
    assert_eq!(response.expect("the limit was used up").status(), StatusCode::OK);
}

// ===== option_layer, and bodies of one type =====

/// Boxes the body, so that a response has the same type with and without the layer.
fn boxed<B>(response: Response<B>) -> Response<BoxBody<Bytes, Infallible>>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    response.map(BodyExt::boxed)
}

#[tokio::test]
async fn option_layer_accepts_the_layer_if_its_body_is_boxed() {
    let guarded = |layer: Option<KeyLayer>| {
        let layer = layer.map(|it| (MapResponseLayer::new(boxed::<ResponseBody<_>>), it));
        ServiceBuilder::new().layer(option_layer(layer)).map_response(boxed).service_fn(whoami)
    };
    assert_guarded(guarded(Some(layer()))).await;
    // Without the layer the request needs no key and has no client.
    let response = guarded(None).oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "anonymous");
}

#[tokio::test]
async fn r41_an_inner_optional_layer_removes_the_client_of_an_outer_layer() {
    // The inner layer accepts the request without a client, so it removes the client of the outer layer.
    let inner = ApiKeyLayer::new(query("k"), Keyring::single("other-key").unwrap()).optional();
    let service = ServiceBuilder::new().layer(layer()).layer(inner).service_fn(whoami);
    let response = service.oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "anonymous");
}

// ===== the layer twice =====

#[tokio::test]
async fn a_second_layer_on_one_location_rejects_because_the_first_strips_the_key() {
    let twice = ServiceBuilder::new().layer(layer()).layer(layer()).service_fn(whoami);
    let response = twice.oneshot(with_key(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let reason = response.extensions().get::<Rejection>().unwrap().reason();
    assert_eq!(reason, tower_api_key::rejection::Reason::Missing);

    let forwarded = ServiceBuilder::new().layer(layer().forward_key()).layer(layer());
    assert_guarded(forwarded.service_fn(whoami)).await;
}

#[tokio::test]
async fn two_layers_on_two_locations_require_two_keys_and_the_inner_one_sets_the_client() {
    let second = Keyring::new();
    second.insert("second-key", Client::new("second")).unwrap();
    let second: ApiKeyLayer<KeyLocation, Keyring> = ApiKeyLayer::new(query("k"), second);
    let service = ServiceBuilder::new().layer(layer()).layer(second).service_fn(whoami);
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

/// `Anonymous` marks a request without a key, so a request with a client must not have it.
#[tokio::test]
async fn an_inner_layer_that_accepts_removes_the_anonymous_mark_of_an_outer_layer() {
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
    let services: [ApiKeyService<_, _, _>; 2] = [(); 2].map(|()| layer.layer(service_fn(whoami)));
    for (revoked, status) in [(false, StatusCode::OK), (true, StatusCode::UNAUTHORIZED)] {
        if revoked {
            assert_eq!(keys.revoke_client("ci"), 1);
        }
        for service in services.clone() {
            assert_eq!(service.oneshot(with_key(KEY)).await.unwrap().status(), status);
        }
    }
}
