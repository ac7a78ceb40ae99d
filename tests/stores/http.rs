//! A guarded axum server on a real socket, and a client of it.

use std::net::SocketAddr;

use axum::{Router, body::Body, http::Request, routing::get};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower_api_key::{ApiKeyLayer, Client, extract::header, verify::Verify};

/// A server that accepts the keys of a verifier.
pub(crate) struct Server {
    address: SocketAddr,
    client: HyperClient<HttpConnector, Body>,
}

impl Server {
    pub(crate) async fn start<V>(keys: V) -> Self
    where
        V: Verify<Client = Client> + Clone + Send + Sync + 'static,
        V::Future: Send,
    {
        let app = Router::new()
            .route("/", get(async || "accepted"))
            .layer(ApiKeyLayer::new(header("x-api-key"), keys));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let client = HyperClient::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { address, client }
    }

    /// Sends a request with this key and returns the status of the response.
    pub(crate) async fn status(&self, key: &str) -> u16 {
        let request = Request::builder()
            .uri(format!("http://{}/", self.address))
            .header("x-api-key", key)
            .body(Body::empty())
            .unwrap();
        self.client.request(request).await.unwrap().status().as_u16()
    }
}
