//! The agreed names, each used like its users do.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_api_key::{
    ApiKeyLayer, ApiKeyService, Client, Identity, KeyDigest, KeyLocation, Keyring, Rejection,
    RequireScopeLayer, ResponseBody, ResponseFuture, SetClientHeaderLayer,
    extract::{
        self, Extract, Extracted, RequestHead, bearer, cookie, first_of, header, query, scheme,
    },
    observe::{Decision, Observe},
    respond::{Json, Problem, Respond, Text},
    verify::{self, PresentedKey, Verification, Verify, VerifyError},
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Clone)]
struct Tenant(&'static str);

impl Identity for Tenant {
    fn id(&self) -> &str {
        self.0
    }
}

struct Silent;

impl<C> Observe<C> for Silent {
    fn on_decision(&self, _: &Decision<'_, C>) {}
}

struct Own;

impl Respond for Own {
    fn respond(&self, rejection: &Rejection) -> Response<Bytes> {
        Json::default().respond(rejection)
    }
}

async fn handle(request: Request<String>) -> std::result::Result<Response<String>, Infallible> {
    let client = request.extensions().get::<Client>().map(Client::id);
    Ok(Response::new(client.unwrap_or("anonymous").to_owned()))
}

async fn status<L>(layer: L, request: http::request::Builder) -> StatusCode
where
    L: Layer<tower::util::BoxCloneSyncService<Request<String>, Response<String>, Infallible>>,
    L::Service: Service<Request<String>, Response = Response<ResponseBody<String>>>,
    <L::Service as Service<Request<String>>>::Error: std::fmt::Debug,
{
    let inner = tower::util::BoxCloneSyncService::new(tower::service_fn(handle));
    let request = request.body(String::new()).unwrap();
    layer.layer(inner).oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn every_setting_of_a_layer_has_its_agreed_name() -> Result {
    let keys = Keyring::new();
    keys.insert("sk_live_0", Client::new("mobile-app").with_scopes(["reports:read"]))?;
    keys.insert_digest(KeyDigest::parse(&KeyDigest::of("ci-key").encode())?, Client::new("ci"))?;
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer(), query("api_key")), keys.clone())
        .realm("reports")
        .respond(Problem::default())
        .respond(Text::default())
        .respond(Own)
        .respond(|rejection: &Rejection| {
            let mut response = Response::new("no");
            *response.status_mut() = rejection.status();
            response
        })
        .optional()
        .exempt_path("/health")
        .exempt_if(|head| head.uri().path() == "/version")
        .require_secure(|head| !head.headers().contains_key("x-plain"))
        .pass_preflight()
        .forward_key()
        .max_key_len(2048)
        .no_cache_headers()
        .retry_after(Duration::from_secs(10))
        .observe(Silent);
    assert_eq!(layer.locations().len(), 3);

    let asked = || Request::get("/").header("authorization", "Bearer ci-key");
    assert_eq!(status(layer.clone(), asked()).await, StatusCode::OK);
    assert_eq!(keys.revoke_client("ci"), 1);
    assert_eq!(status(layer.clone(), asked()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(layer.clone(), Request::get("/")).await, StatusCode::OK);
    let plain = Request::get("/").header("x-plain", "");
    assert_eq!(status(layer.clone(), plain).await, StatusCode::FORBIDDEN);
    assert_eq!(status(layer.dangerous_report_only(), asked()).await, StatusCode::OK);

    keys.retain(|client| client.id() != "mobile-app");
    assert!(keys.remove(&KeyDigest::of("sk_live_0")).is_none());
    assert!(keys.is_empty() && !keys.contains_client("ci") && keys.clients().next().is_none());
    Ok(())
}

#[tokio::test]
async fn closures_verify_keys() -> Result {
    let good = || Request::get("/").header("x-key", "k");
    let find = || {
        extract::from_fn(KeyLocation::header("x-key"), |head: RequestHead<'_>| {
            head.headers().get("x-key").into()
        })
    };
    let known = |key: &PresentedKey<'_>| (key.expose() == b"k").then(|| Client::new("me"));
    let layer = ApiKeyLayer::new(find(), verify::from_fn(known));
    assert_eq!(status(layer, good()).await, StatusCode::OK);

    async fn lookup(digest: KeyDigest) -> io::Result<Option<Client>> {
        if digest == KeyDigest::of("k") { Ok(Some(Client::new("me"))) } else { Ok(None) }
    }
    let layer = ApiKeyLayer::new(find(), verify::from_async_fn(lookup));
    assert_eq!(status(layer, good()).await, StatusCode::OK);

    let down = verify::from_async_fn(|_| async { Err::<Option<Client>, _>("the store is down") });
    let layer = ApiKeyLayer::new(find(), Keyring::single("other")?.or(down));
    assert_eq!(status(layer, good()).await, StatusCode::SERVICE_UNAVAILABLE);

    let tenants: Keyring<Tenant> = Keyring::new();
    tenants.insert("k", Tenant("acme"))?;
    let layer = ApiKeyLayer::new(first_of((cookie("sid"), scheme("Key"), find())), tenants.clone());
    assert_eq!(status(layer, good()).await, StatusCode::OK);
    assert_eq!(tenants.revoke_client("acme"), 1);
    Ok(())
}

#[tokio::test]
async fn a_route_requires_a_scope() -> Result {
    use axum::{Extension, Router, body::Body, routing::post};

    async fn submit(Extension(client): Extension<Client>) -> String {
        format!("hello {}", client.id())
    }
    let keys = Keyring::new();
    keys.insert("k1", Client::new("writer").with_scopes(["jobs:write"]))?;
    keys.insert("k2", Client::new("reader").with_scopes(["jobs:read"]))?;
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys);
    let like = RequireScopeLayer::any(["jobs:write", "admin"]);
    let own = RequireScopeLayer::all(["jobs:write"]).client_type::<Tenant>().respond(Own);
    let app = Router::new()
        .route("/own", post(submit).layer(own))
        .route("/like", post(submit).layer(like))
        .route("/jobs", post(submit).layer(RequireScopeLayer::all(["jobs:write"])))
        .layer(SetClientHeaderLayer::new("x-client-id").scopes("x-client-scopes"))
        .layer(layer);
    for (path, key, status) in [
        ("/jobs", "k1", 200),
        ("/jobs", "k2", 403),
        ("/jobs", "k3", 401),
        ("/like", "k1", 200),
        ("/like", "k2", 403),
        ("/own", "k1", 500),
    ] {
        let request = Request::post(path).header("x-api-key", key).body(Body::empty())?;
        assert_eq!(app.clone().oneshot(request).await?.status(), status, "{path} {key}");
    }
    Ok(())
}

#[test]
fn types_implement_the_agreed_traits() -> Result {
    fn debug_clone_send_sync<T: std::fmt::Debug + Clone + Send + Sync + 'static>(_: &T) {}
    fn is_verify<V: Verify<Client = Client> + ?Sized>() {}
    type Verified = std::result::Result<Client, VerifyError>;
    is_verify::<dyn Verify<Client = Client, Future = verify::Never<Client>>>();
    is_verify::<dyn Verify<Client = Client, Future = std::future::Ready<Verified>>>();
    let _ = [
        Verification::<Client>::Ready(Err(VerifyError::unknown())),
        Verified::Ok(Client::new("me")).into(),
    ];
    let _ = VerifyError::from(tower_api_key::rejection::Reason::Revoked).with_key_id("k_1");

    let _: Box<dyn Extract> = Box::new((header("a"), query("b")));
    let _: fn(Option<&'static [u8]>) -> Extracted<'static> = Extracted::from;
    let _ = [
        VerifyError::unknown(),
        VerifyError::expired(),
        VerifyError::revoked(),
        VerifyError::not_yet_valid(),
    ];
    let _ = (VerifyError::failed("down"), VerifyError::from(io::Error::other("down")));
    let _ = ResponseBody::<Full<Bytes>>::default();

    let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?);
    debug_clone_send_sync(&layer);
    let service: ApiKeyService<_, _, _> =
        ApiKeyService::new(tower::service_fn(handle), bearer(), Keyring::single("k")?);
    let _: &_ = service.get_ref();
    let mut service = ServiceBuilder::new().layer(layer).service(service.into_inner());
    let _: &mut _ = service.get_mut();
    let future: ResponseFuture<_, _> = service.call(Request::new(String::new()));
    drop(future);
    Ok(())
}
