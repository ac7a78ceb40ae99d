//! The layer in tonic, with a real client over TCP.

use crate::composition::{KEY, keys, layer, never, slow};

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::{BoxStream, tokio_stream},
    metadata::MetadataMap,
    service::{InterceptorLayer, LayerExt, Routes, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_client::HealthClient, health_server::Health,
    health_server::HealthServer,
};
use tower::{
    BoxError, Layer, Service, ServiceBuilder,
    layer::util::{Identity, Stack},
};
use tower_api_key::{
    ApiKeyLayer, Client, Keyring, Rejection,
    extract::{bearer, header},
    respond::Text,
    verify,
};

const GUARDED: &str = "guarded";

/// Returns 1 to a client and 0 without a client, and counts its calls.
#[derive(Clone, Default)]
struct WhoAmI {
    calls: Arc<AtomicUsize>,
}

impl WhoAmI {
    fn status<T>(&self, request: &Request<T>) -> HealthCheckResponse {
        self.calls.fetch_add(1, SeqCst);
        assert!(!request.metadata().contains_key("x-api-key"), "the key was forwarded");
        let is_client = request.extensions().get::<Client>().is_some_and(|it| it.id() == "default");
        HealthCheckResponse { status: is_client.into() }
    }

    fn server(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl Health for WhoAmI {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.status(&request);
        match &*request.get_ref().service {
            "missing" => Err(Status::not_found("100% missing: ☃")),
            _ => Ok(Response::new(status)),
        }
    }

    /// Sends three messages, and a status in the trailers.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = self.status(&request);
        let mut torn = Status::data_loss("torn");
        torn.metadata_mut().insert("x-sum", "42".parse().unwrap());
        let end = match &*request.get_ref().service {
            "torn" => Some(Err(torn)),
            _ => None,
        };
        let items = [Ok(status), Ok(status), Ok(status)].into_iter().chain(end);
        Ok(Response::new(Box::pin(tokio_stream::iter(items))))
    }
}

/// Starts a server on a free port, and returns a caller with a channel to it.
async fn serve<F>(run: impl FnOnce(TcpIncoming) -> F) -> Caller
where
    F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(run(TcpIncoming::from(listener)));
    // With a timeout, a lost permit is an error and does not block the test.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.timeout(Duration::from_secs(10));
    Caller { channel: endpoint.connect().await.unwrap(), address }
}

/// Starts a server with one service behind these layers.
async fn serve_behind<L, S, B>(layers: L, whoami: &WhoAmI) -> Caller
where
    L: Clone + Send + 'static,
    Stack<L, Identity>: Layer<Routes, Service = S>,
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S: Service<http::Request<Body>, Error: Into<BoxError> + Send, Future: Send>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let router = Server::builder().layer(layers).add_service(whoami.server());
    serve(|incoming| router.serve_with_incoming(incoming)).await
}

struct Caller {
    channel: Channel,
    address: SocketAddr,
}

fn request<T>(message: T, keys: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, key) in keys {
        request.metadata_mut().append(*name, key.parse().unwrap());
    }
    request
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

impl Caller {
    fn client(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Calls `check`, which returns 1 for a client and 0 without a client.
    async fn check(&self, keys: &[(&'static str, &str)]) -> Result<i32, Status> {
        let response = self.client().check(request(named(""), keys)).await?;
        Ok(response.into_inner().status)
    }

    /// Calls `watch`, and returns the messages and the status in the trailers.
    async fn watch(&self, service: &str, key: &str) -> Result<(Vec<i32>, Status), Status> {
        let request = request(named(service), &[("x-api-key", key)]);
        let mut stream = self.client().watch(request).await?.into_inner();
        let mut messages = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => messages.push(message.status),
                Ok(None) => return Ok((messages, Status::ok(""))),
                Err(status) => return Ok((messages, status)),
            }
        }
    }

    /// Sends a request without tonic, and returns the raw response.
    async fn raw(&self, request: http::request::Builder) -> http::Response<hyper::body::Incoming> {
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        client.request(request).await.unwrap()
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn is(status: &Status, code: Code, message: &str) {
    assert_eq!((status.code(), status.message()), (code, message));
}

/// Checks the promises of the layer to gRPC callers.
async fn assert_guarded(caller: &Caller) {
    assert_eq!(caller.check(&[("x-api-key", KEY)]).await.unwrap(), 1);
    for keys in [&[][..], &[("x-api-key", "wrong")], &[("x-api-key", "")]] {
        let status = caller.check(keys).await.unwrap_err();
        is(&status, Code::Unauthenticated, "Unauthorized access");
    }
    let twice = caller.check(&[("x-api-key", KEY), ("x-api-key", KEY)]).await.unwrap_err();
    is(&twice, Code::InvalidArgument, "More than one API key in the request");
    let status = caller.watch("", "wrong").await.unwrap_err();
    is(&status, Code::Unauthenticated, "Unauthorized access");
    let (messages, status) = caller.watch("", KEY).await.unwrap();
    assert_eq!((messages, status.code()), (vec![1, 1, 1], Code::Ok));
}

// ===== positions of the layer =====

#[tokio::test]
async fn r34_server_layer_guards_every_service() {
    let whoami = WhoAmI::default();
    let caller = serve_behind(layer(), &whoami).await;
    assert_guarded(&caller).await;
    // R38: only the two accepted calls reached the service.
    assert_eq!(whoami.calls.load(SeqCst), 2);

    // A caller without a key does not learn which methods exist.
    for (key, code) in [(KEY, "12"), ("wrong", "16")] {
        let unknown = http::Request::post(caller.uri("/no.Such/Method"))
            .header("content-type", "application/grpc")
            .header("x-api-key", key);
        assert_eq!(caller.raw(unknown).await.headers()["grpc-status"], code);
    }
}

/// A service without a layer.
#[derive(Clone)]
struct Open;

impl tonic::server::NamedService for Open {
    const NAME: &'static str = "test.Open";
}

impl tower::Service<http::Request<tonic::body::Body>> for Open {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
        std::future::ready(Ok(Status::ok("open").into_http()))
    }
}

#[tokio::test]
async fn r34_named_layer_guards_one_service_and_leaves_the_others_open() {
    let whoami = WhoAmI::default();
    let service = layer().named_layer(whoami.server());
    let caller = serve(|incoming| {
        Server::builder().add_service(service).add_service(Open).serve_with_incoming(incoming)
    })
    .await;
    assert_guarded(&caller).await;
    assert_eq!(whoami.calls.load(SeqCst), 2);
    let open = http::Request::post(caller.uri("/test.Open/Any"))
        .header("content-type", "application/grpc");
    assert_eq!(caller.raw(open).await.headers()["grpc-status"], "0");
}

#[tokio::test]
async fn a_service_builder_with_limits_guards_a_server_and_a_service() {
    let stack = ServiceBuilder::new().layer(layer()).concurrency_limit(1);
    let service = stack.clone().named_layer(WhoAmI::default().server());
    let caller =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    assert_guarded(&caller).await;
    assert_guarded(&caller).await;

    let caller = serve(|incoming| {
        Server::builder()
            .concurrency_limit_per_connection(1)
            .load_shed(true)
            .layer(stack.into_inner())
            .add_service(WhoAmI::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    assert_guarded(&caller).await;
    assert_guarded(&caller).await;
}

// ===== accepted calls =====

#[tokio::test]
async fn r40_messages_trailers_and_the_status_of_a_stream_pass_through() {
    let caller = serve_behind(layer(), &WhoAmI::default()).await;
    let (messages, torn) = caller.watch("torn", KEY).await.unwrap();
    assert_eq!(messages, [1, 1, 1]);
    is(&torn, Code::DataLoss, "torn");
    assert_eq!(torn.metadata().get("x-sum").unwrap(), "42");

    let request = request(named("missing"), &[("x-api-key", KEY)]);
    let missing = caller.client().check(request).await.unwrap_err();
    is(&missing, Code::NotFound, "100% missing: ☃");
}

#[tokio::test]
async fn the_layer_guards_the_health_service_of_tonic() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status(GUARDED, tonic_health::ServingStatus::Serving).await;
    let caller = serve(|incoming| {
        Server::builder().layer(layer()).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    let ask = |service, keys| {
        let mut client = caller.client();
        async move {
            let response = client.check(request(named(service), keys)).await?;
            Ok::<_, Status>(response.into_inner().status)
        }
    };
    assert_eq!(ask(GUARDED, &[("x-api-key", KEY)]).await.unwrap(), 1);
    let status = ask("unknown", &[("x-api-key", KEY)]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    is(&ask(GUARDED, &[]).await.unwrap_err(), Code::Unauthenticated, "Unauthorized access");
}

#[tokio::test]
async fn optional_and_exempt_calls_reach_the_service_without_a_client() {
    let optional = layer().optional();
    let caller = serve_behind(optional, &WhoAmI::default()).await;
    assert_eq!(caller.check(&[]).await.unwrap(), 0);
    assert_eq!(caller.check(&[("x-api-key", KEY)]).await.unwrap(), 1);
    let status = caller.check(&[("x-api-key", "wrong")]).await.unwrap_err();
    is(&status, Code::Unauthenticated, "Unauthorized access");

    let exempt = layer().exempt_path("/grpc.health.v1.Health/Check");
    let caller = serve_behind(exempt, &WhoAmI::default()).await;
    assert_eq!(caller.check(&[]).await.unwrap(), 0);
    assert_eq!(caller.check(&[("x-api-key", KEY)]).await.unwrap(), 0);
    assert_eq!(caller.watch("", "wrong").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(caller.watch("", KEY).await.unwrap().0, [1, 1, 1]);
}

// ===== verifiers, locations, responders =====

#[tokio::test]
async fn r36_a_failed_verification_is_unavailable_and_hides_its_cause() {
    let whoami = WhoAmI::default();
    let fails = verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Err::<Option<Client>, _>(std::io::Error::other("the store is down"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), fails);
    let caller = serve_behind(layer, &whoami).await;
    for key in [KEY, "wrong"] {
        let status = caller.check(&[("x-api-key", key)]).await.unwrap_err();
        is(&status, Code::Unavailable, "Service unavailable");
        assert!(!format!("{:?}", status.metadata()).contains("down"));
    }
    assert_eq!(caller.check(&[]).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(whoami.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn r36_the_timeout_of_the_server_ends_a_verifier_that_never_returns() {
    let whoami = WhoAmI::default();
    let server = whoami.server();
    let layer = ApiKeyLayer::new(header("x-api-key"), never());
    let caller = serve(|incoming| {
        Server::builder()
            .timeout(Duration::from_millis(20))
            .layer(layer)
            .add_service(server)
            .serve_with_incoming(incoming)
    })
    .await;
    let status = caller.check(&[("x-api-key", KEY)]).await.unwrap_err();
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
    assert_eq!(whoami.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn an_asynchronous_verifier_guards_a_server_and_a_service() {
    let layer = ApiKeyLayer::new(header("x-api-key"), slow());
    let service = layer.named_layer(WhoAmI::default().server());
    let caller =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    assert_guarded(&caller).await;
    let caller = serve_behind(layer, &WhoAmI::default()).await;
    assert_guarded(&caller).await;
}

#[tokio::test]
async fn a_bearer_key_is_read_from_metadata_and_another_scheme_is_no_key() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
    let caller = serve_behind(layer, &WhoAmI::default()).await;
    let line = format!("Bearer {KEY}");
    assert_eq!(caller.check(&[("authorization", &line)]).await.unwrap(), 1);
    for line in [format!("Basic {KEY}"), "Bearer wrong".to_owned(), KEY.to_owned()] {
        let status = caller.check(&[("authorization", &line)]).await.unwrap_err();
        is(&status, Code::Unauthenticated, "Unauthorized access");
    }
    let both = caller.check(&[("authorization", &line), ("x-api-key", KEY)]).await.unwrap_err();
    is(&both, Code::InvalidArgument, "More than one API key in the request");
}

#[tokio::test]
async fn r34_only_a_grpc_request_gets_a_response_that_ends_with_its_headers() {
    let layer = layer().respond(Text::default());
    let caller = serve_behind(layer, &WhoAmI::default()).await;
    let check = caller.uri("/grpc.health.v1.Health/Check");
    for (content_type, expected) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
    ] {
        let call = http::Request::post(&check).header("content-type", content_type);
        let response = caller.raw(call).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], expected);
        assert_eq!(headers["grpc-status"], "16");
        assert_eq!(headers["grpc-message"], "Unauthorized access");
        assert_eq!(headers["cache-control"], "no-store");
        let rest = response.into_body().collect().await.unwrap();
        assert!(rest.trailers().is_none());
        assert!(rest.to_bytes().is_empty());
    }
    // A request that is no gRPC call gets a 401, with any content type.
    for call in [
        http::Request::get(&check).header("content-type", "application/grpc"),
        http::Request::post(&check).header("content-type", "application/grpcx"),
        http::Request::post(&check),
    ] {
        let response = caller.raw(call).await;
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key("www-authenticate"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "Unauthorized access");
    }
}

// ===== interceptors =====

fn no_key(metadata: &MetadataMap) -> bool {
    !metadata.contains_key("x-api-key")
}

#[tokio::test]
async fn an_interceptor_inside_sees_the_client_and_no_key_and_can_reject() {
    let inspect = |request: Request<()>| {
        assert!(no_key(request.metadata()));
        match request.extensions().get::<Client>() {
            Some(client) if client.has_scope("health:read") => Ok(request),
            Some(_) => Err(Status::permission_denied("no scope")),
            None => Err(Status::internal("no client")),
        }
    };
    let keys = Keyring::new();
    keys.insert(KEY, Client::new("default").with_scopes(["health:read"])).unwrap();
    keys.insert("key-without-scope", Client::new("other")).unwrap();
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);

    let around_all = layer.clone();
    let over_server = serve(|incoming| {
        Server::builder()
            .layer(around_all)
            .layer(InterceptorLayer::new(inspect))
            .add_service(WhoAmI::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    let service = layer.named_layer(InterceptedService::new(WhoAmI::default().server(), inspect));
    let over_service =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    for caller in [over_server, over_service] {
        assert_guarded(&caller).await;
        let status = caller.check(&[("x-api-key", "key-without-scope")]).await.unwrap_err();
        is(&status, Code::PermissionDenied, "no scope");
    }
}

#[tokio::test]
async fn an_interceptor_outside_can_rename_the_key_and_one_of_the_caller_can_send_it() {
    // Some callers send their key in another header.
    let rename = |mut request: Request<()>| {
        if let Some(key) = request.metadata_mut().remove("x-old-key") {
            request.metadata_mut().insert("x-api-key", key);
        }
        Ok(request)
    };
    let caller = serve(|incoming| {
        Server::builder()
            .layer(InterceptorLayer::new(rename))
            .layer(layer())
            .add_service(WhoAmI::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    assert_guarded(&caller).await;
    assert_eq!(caller.check(&[("x-old-key", KEY)]).await.unwrap(), 1);

    let mut client =
        HealthClient::with_interceptor(caller.channel.clone(), |mut request: Request<()>| {
            request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
            Ok(request)
        });
    assert_eq!(client.check(named("")).await.unwrap().into_inner().status, 1);
}

#[tokio::test]
async fn a_layer_outside_finds_the_rejection_of_a_grpc_call() {
    let rejected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rejected);
    let counting = ServiceBuilder::new()
        .map_response(move |response: http::Response<_>| {
            if response.extensions().get::<Rejection>().is_some() {
                count.fetch_add(1, SeqCst);
            }
            response
        })
        .layer(layer())
        .into_inner();
    let caller = serve_behind(counting, &WhoAmI::default()).await;
    assert_guarded(&caller).await;
    assert_eq!(rejected.load(SeqCst), 5);
}

#[tokio::test]
async fn concurrent_calls_on_one_connection_keep_their_clients_apart() {
    let layer = ServiceBuilder::new().layer(layer()).concurrency_limit(3).into_inner();
    let caller = serve_behind(layer, &WhoAmI::default()).await;
    let caller = Arc::new(caller);
    let calls: Vec<_> = (0..300)
        .map(|number| {
            let caller = Arc::clone(&caller);
            tokio::spawn(async move {
                let key = if number % 3 == 0 { KEY } else { "wrong" };
                (number, caller.check(&[("x-api-key", key)]).await)
            })
        })
        .collect();
    for call in calls {
        match call.await.unwrap() {
            (number, Ok(status)) => assert_eq!((number % 3, status), (0, 1)),
            (number, Err(status)) => {
                assert_ne!(number % 3, 0);
                assert_eq!(status.code(), Code::Unauthenticated);
            }
        }
    }
}
