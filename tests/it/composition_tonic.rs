//! The layer in tonic, asked by a real client over TCP.

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
    codegen::{BoxStream, tokio_stream},
    metadata::MetadataMap,
    service::{InterceptorLayer, LayerExt, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_client::HealthClient, health_server::Health,
    health_server::HealthServer,
};
use tower::ServiceBuilder;
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, KeyLocation, Keyring, Rejection,
    extract::{bearer, header},
    respond::Text,
    verify,
};

const KEY: &str = "12345abcde";
const GUARDED: &str = "guarded";

type KeyLayer = ApiKeyLayer<KeyLocation, Keyring>;

fn keys() -> Keyring {
    Keyring::single(KEY).unwrap()
}

fn layer() -> KeyLayer {
    ApiKeyLayer::new(header("x-api-key"), keys())
}

/// Answers clients with 1 and nobody with 0, and counts its calls.
#[derive(Clone, Default)]
struct Who {
    calls: Arc<AtomicUsize>,
}

impl Who {
    fn status<T>(&self, request: &Request<T>) -> HealthCheckResponse {
        self.calls.fetch_add(1, SeqCst);
        assert!(!request.metadata().contains_key("x-api-key"), "the key was handed on");
        let is_client = request.extensions().get::<Client>().is_some_and(|it| it.id() == "default");
        HealthCheckResponse { status: is_client.into() }
    }

    fn server(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl Health for Who {
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

    /// Three messages, and a status in the trailers.
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

/// A server on a port of its own, and a channel to it.
async fn serve<F>(run: impl FnOnce(TcpIncoming) -> F) -> Caller
where
    F: Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(run(TcpIncoming::from(listener)));
    // A lost permit shows as a status, not as a test that hangs.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.timeout(Duration::from_secs(10));
    Caller { channel: endpoint.connect().await.unwrap(), address }
}

struct Caller {
    channel: Channel,
    address: SocketAddr,
}

fn about<T>(message: T, keys: &[(&'static str, &str)]) -> Request<T> {
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

    /// What `check` answers: 1 for a client, 0 for nobody.
    async fn check(&self, keys: &[(&'static str, &str)]) -> Result<i32, Status> {
        let response = self.client().check(about(named(""), keys)).await?;
        Ok(response.into_inner().status)
    }

    /// What `watch` answers: the messages, then the trailers, or the status in them.
    async fn watch(&self, service: &str, key: &str) -> Result<(Vec<i32>, Status), Status> {
        let request = about(named(service), &[("x-api-key", key)]);
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

    /// Without tonic: the answer as it is on the wire.
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

/// Everything that the layer promises to gRPC callers.
async fn guards(caller: &Caller) {
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

// ===== where the layer can go =====

#[tokio::test]
async fn r34_server_layer_guards_every_service() {
    let who = Who::default();
    let server = who.server();
    let caller = serve(|incoming| {
        Server::builder().layer(layer()).add_service(server).serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
    // R38: of all these, two calls came through.
    assert_eq!(who.calls.load(SeqCst), 2);

    // Without a key nobody learns which methods there are.
    for (key, code) in [(KEY, "12"), ("wrong", "16")] {
        let unknown = http::Request::post(caller.uri("/no.Such/Method"))
            .header("content-type", "application/grpc")
            .header("x-api-key", key);
        assert_eq!(caller.raw(unknown).await.headers()["grpc-status"], code);
    }
}

/// A service with nothing to guard.
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
    let who = Who::default();
    let service = layer().named_layer(who.server());
    let caller = serve(|incoming| {
        Server::builder().add_service(service).add_service(Open).serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
    assert_eq!(who.calls.load(SeqCst), 2);
    let open = http::Request::post(caller.uri("/test.Open/Any"))
        .header("content-type", "application/grpc");
    assert_eq!(caller.raw(open).await.headers()["grpc-status"], "0");
}

#[tokio::test]
async fn a_service_builder_with_limits_guards_a_server_and_a_service() {
    let stack = ServiceBuilder::new().layer(layer()).concurrency_limit(1);
    let service = stack.clone().named_layer(Who::default().server());
    let caller =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    guards(&caller).await;
    guards(&caller).await;

    let caller = serve(|incoming| {
        Server::builder()
            .concurrency_limit_per_connection(1)
            .load_shed(true)
            .layer(stack.into_inner())
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
    guards(&caller).await;
}

// ===== what goes through =====

#[tokio::test]
async fn r40_a_stream_s_messages_and_trailers_and_a_status_pass_through() {
    let caller = serve(|incoming| {
        Server::builder()
            .layer(layer())
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    let (messages, torn) = caller.watch("torn", KEY).await.unwrap();
    assert_eq!(messages, [1, 1, 1]);
    is(&torn, Code::DataLoss, "torn");
    assert_eq!(torn.metadata().get("x-sum").unwrap(), "42");

    let request = about(named("missing"), &[("x-api-key", KEY)]);
    let missing = caller.client().check(request).await.unwrap_err();
    is(&missing, Code::NotFound, "100% missing: ☃");
}

#[tokio::test]
async fn tonic_s_own_health_service_is_guarded_as_it_is() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status(GUARDED, tonic_health::ServingStatus::Serving).await;
    let caller = serve(|incoming| {
        Server::builder().layer(layer()).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    let ask = |service, keys| {
        let mut client = caller.client();
        async move {
            let response = client.check(about(named(service), keys)).await?;
            Ok::<_, Status>(response.into_inner().status)
        }
    };
    assert_eq!(ask(GUARDED, &[("x-api-key", KEY)]).await.unwrap(), 1);
    let status = ask("unheard-of", &[("x-api-key", KEY)]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    is(&ask(GUARDED, &[]).await.unwrap_err(), Code::Unauthenticated, "Unauthorized access");
}

#[tokio::test]
async fn optional_and_exempt_calls_come_through_as_nobody() {
    let optional = layer().optional();
    let caller = serve(|incoming| {
        Server::builder()
            .layer(optional)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    assert_eq!(caller.check(&[]).await.unwrap(), 0);
    assert_eq!(caller.check(&[("x-api-key", KEY)]).await.unwrap(), 1);
    let status = caller.check(&[("x-api-key", "wrong")]).await.unwrap_err();
    is(&status, Code::Unauthenticated, "Unauthorized access");

    let exempt = layer().exempt_path("/grpc.health.v1.Health/Check");
    let caller = serve(|incoming| {
        Server::builder()
            .layer(exempt)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    assert_eq!(caller.check(&[]).await.unwrap(), 0);
    assert_eq!(caller.check(&[("x-api-key", KEY)]).await.unwrap(), 0);
    assert_eq!(caller.watch("", "wrong").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(caller.watch("", KEY).await.unwrap().0, [1, 1, 1]);
}

// ===== verifiers, places, responders =====

#[tokio::test]
async fn r36_a_verifier_that_fails_is_unavailable_and_says_nothing_of_the_cause() {
    let who = Who::default();
    let server = who.server();
    let fails = verify::from_async_fn(|_| async {
        tokio::task::yield_now().await;
        Err::<Option<Client>, _>(std::io::Error::other("the store is gone"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), fails);
    let caller = serve(|incoming| {
        Server::builder().layer(layer).add_service(server).serve_with_incoming(incoming)
    })
    .await;
    for key in [KEY, "wrong"] {
        let status = caller.check(&[("x-api-key", key)]).await.unwrap_err();
        is(&status, Code::Unavailable, "Service unavailable");
        assert!(!format!("{:?}", status.metadata()).contains("gone"));
    }
    assert_eq!(caller.check(&[]).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(who.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn r36_a_verifier_that_never_answers_is_ended_by_the_server_s_timeout() {
    let who = Who::default();
    let server = who.server();
    let never = verify::from_async_fn(|_| std::future::pending::<Option<Client>>());
    let layer = ApiKeyLayer::new(header("x-api-key"), never);
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
    assert_eq!(who.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn an_asynchronous_verifier_guards_a_server_and_a_service() {
    let find = verify::from_async_fn(|digest| async move {
        tokio::task::yield_now().await;
        (digest == KeyDigest::of(KEY)).then(|| Client::new("default"))
    });
    let layer = ApiKeyLayer::new(header("x-api-key"), find);
    let service = layer.named_layer(Who::default().server());
    let caller =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    guards(&caller).await;
    let caller = serve(|incoming| {
        Server::builder()
            .layer(layer)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
}

#[tokio::test]
async fn a_bearer_key_comes_as_metadata_and_another_scheme_is_none() {
    let layer = ApiKeyLayer::new((header("x-api-key"), bearer()), keys());
    let caller = serve(|incoming| {
        Server::builder()
            .layer(layer)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
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
async fn r34_what_is_on_the_wire_ends_with_its_headers_and_only_grpc_is_answered_so() {
    let layer = layer().respond(Text::default());
    let caller = serve(|incoming| {
        Server::builder()
            .layer(layer)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    let check = caller.uri("/grpc.health.v1.Health/Check");
    for (content_type, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
    ] {
        let call = http::Request::post(&check).header("content-type", content_type);
        let response = caller.raw(call).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], answered);
        assert_eq!(headers["grpc-status"], "16");
        assert_eq!(headers["grpc-message"], "Unauthorized access");
        assert_eq!(headers["cache-control"], "no-store");
        let rest = response.into_body().collect().await.unwrap();
        assert!(rest.trailers().is_none());
        assert!(rest.to_bytes().is_empty());
    }
    // A 401 does not become a 200 by a content type.
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
async fn an_interceptor_inside_sees_the_client_and_no_key_and_may_refuse_in_turn() {
    let inspect = |request: Request<()>| {
        assert!(no_key(request.metadata()));
        match request.extensions().get::<Client>() {
            Some(client) if client.has_scope("health:read") => Ok(request),
            Some(_) => Err(Status::permission_denied("no scope")),
            None => Err(Status::internal("nobody")),
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
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    let service = layer.named_layer(InterceptedService::new(Who::default().server(), inspect));
    let over_service =
        serve(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
            .await;
    for caller in [over_server, over_service] {
        guards(&caller).await;
        let status = caller.check(&[("x-api-key", "key-without-scope")]).await.unwrap_err();
        is(&status, Code::PermissionDenied, "no scope");
    }
}

#[tokio::test]
async fn an_interceptor_outside_may_bring_the_key_and_a_client_s_interceptor_sends_it() {
    // For callers that send their key under another name.
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
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
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
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let counting = ServiceBuilder::new()
        .map_response(move |response: http::Response<_>| {
            if response.extensions().get::<Rejection>().is_some() {
                count.fetch_add(1, SeqCst);
            }
            response
        })
        .layer(layer())
        .into_inner();
    let caller = serve(|incoming| {
        Server::builder()
            .layer(counting)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
    guards(&caller).await;
    assert_eq!(refused.load(SeqCst), 5);
}

#[tokio::test]
async fn concurrent_calls_on_one_connection_keep_their_clients_apart() {
    let layer = ServiceBuilder::new().layer(layer()).concurrency_limit(3).into_inner();
    let caller = serve(|incoming| {
        Server::builder()
            .layer(layer)
            .add_service(Who::default().server())
            .serve_with_incoming(incoming)
    })
    .await;
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
