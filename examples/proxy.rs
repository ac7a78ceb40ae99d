//! A reverse proxy that strips keys and forwards the client's id to the upstream.
//!
//! Start an upstream and the proxy:
//!
//! ```sh
//! python3 -m http.server 8000 &
//! UPSTREAM=127.0.0.1:8000 API_KEYS='mobile-app=12345abcde' cargo run --example proxy
//! ```
//!
//! The proxy listens on 127.0.0.1:3000, or on `ADDR` if it is set. In another terminal:
//!
//! ```sh
//! curl -H 'Authorization: Bearer 12345abcde' http://127.0.0.1:3000/
//! curl 'http://127.0.0.1:3000/?api_key=12345abcde&page=2'      # the upstream gets /?page=2
//! curl -i http://127.0.0.1:3000/                               # 401, without a call to the upstream
//! ```
//!
//! The proxy streams bodies in both directions. To stay short, it has no `Upgrade` (and no WebSockets), no
//! TLS and no `Forwarded`, and it does not join cookies that HTTP/2 has split.

mod common;
#[path = "common/connections.rs"]
mod connections;

use std::{convert::Infallible, env, error::Error, process::ExitCode};

use http_body_util::Either;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
    http::uri::Authority,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
    service::TowerToHyperService,
};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, Keyring, SetClientHeaderLayer,
    extract::{bearer, header, query},
};

/// Headers for the next hop only, besides those that `Connection` names (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[derive(Clone)]
struct Upstream {
    authority: Authority,
    http: legacy::Client<HttpConnector, Incoming>,
}

impl Upstream {
    /// Returns the upstream's response. If there is none, this returns 502.
    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Either<Incoming, String>>, Infallible> {
        let response = self.forward(request).await.map(|response| response.map(Either::Left));
        Ok(response.unwrap_or_else(|error| {
            eprintln!("no response from upstream: {error:?}");
            let mut response = Response::new(Either::Right("Bad gateway\n".to_owned()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    }

    async fn forward(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
        let path = request.uri().path_and_query().ok_or("the request has no path")?.clone();
        let uri = Uri::builder().scheme("http").authority(self.authority).path_and_query(path);
        *request.uri_mut() = uri.build()?;
        *request.version_mut() = Version::HTTP_11;

        let headers = request.headers_mut();
        remove_hop_by_hop(headers);
        headers.remove(HOST); // the HTTP client sets the upstream's host

        let mut response = self.http.request(request).await?;
        *response.version_mut() = Version::HTTP_11;
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION).iter().flat_map(HeaderValue::to_str);
    let names = lines.flat_map(|line| line.split(',')).flat_map(|name| name.trim().parse());
    for name in names.chain(HOP_BY_HOP).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    common::exit_code(run()).await
}

async fn run() -> common::Result {
    let keys = Keyring::from_env("API_KEYS")?;
    let layer = ApiKeyLayer::new((bearer(), header("x-api-key"), query("api_key")), keys);

    let authority = env::var("UPSTREAM").unwrap_or_default().parse().map_err(|error| {
        format!("UPSTREAM: {error}. Set it to a host and a port, as in UPSTREAM=127.0.0.1:8000")
    })?;
    let http = legacy::Client::builder(TokioExecutor::new()).build_http();
    let upstream = Upstream { authority, http };
    let service = ServiceBuilder::new()
        .layer(layer)
        // This sends the client's id and removes an id that the caller sent.
        .layer(SetClientHeaderLayer::new("x-client-id"))
        .service(service_fn(move |request| upstream.clone().answer(request)));

    let listener = common::listen("127.0.0.1:3000").await?;

    connections::serve(listener, TowerToHyperService::new(service)).await
}
