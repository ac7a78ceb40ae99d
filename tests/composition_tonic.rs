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
    transport::{
        Channel, Endpoint, Server,
        server::{Router, TcpIncoming},
    },
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_client::HealthClient, health_server::Health,
    health_server::HealthServer,
};
use tower::{Layer, ServiceBuilder};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring, Rejection,
    extract::{Header, bearer, header},
    respond::Text,
    verify,
};

const KEY: &str = "12345abcde";
const GUARDED: &str = "guarded";

type KeyLayer = ApiKeyLayer<Header, Keyring>;

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

async fn serve<L>(router: Router<L>) -> Channel
where
    L: Layer<tonic::service::Routes> + Clone + Send + 'static,
    L::Service: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
        > + Clone
        + Send
        + 'static,
{
    let _ = router;
    unimplemented!()
}
