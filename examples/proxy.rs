//! A reverse proxy that keeps the keys to itself: the upstream learns which client calls, and never
//! with which key.
//!
//! ```sh
//! python3 -m http.server 8000 &
//! UPSTREAM=127.0.0.1:8000 API_KEYS='mobile-app=12345abcde' cargo run --example proxy
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. From another terminal:
//!
//! ```sh
//! curl -H 'Authorization: Bearer 12345abcde' http://127.0.0.1:3000/
//! curl 'http://127.0.0.1:3000/?api_key=12345abcde&page=2'      # the upstream sees /?page=2
//! curl -i http://127.0.0.1:3000/                               # 401, and the upstream sees nothing
//! ```
//!
//! Bodies are streamed both ways. Left out, to keep it short: `Upgrade` (and so WebSockets), TLS,
//! `Forwarded`, and the joining of cookies that HTTP/2 has split.

use std::{convert::Infallible, env, error::Error, pin::pin, process::ExitCode, time::Duration};

use http_body_util::Either;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
    http::uri::Authority,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    signal,
    time::{sleep, timeout},
};
use tower::{ServiceBuilder, service_fn};
use tower_api_key::{
    ApiKeyLayer, ClientHeaderLayer, Keyring,
    extract::{bearer, header, query},
};

/// What is meant for the next hop alone, beside what `Connection` names (RFC 9110 §7.6.1).
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
    /// The upstream's response as it comes, or a 502.
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
        keep_end_to_end(headers);
        headers.remove(HOST); // the upstream's own is set in its place

        let mut response = self.http.request(request).await?;
        *response.version_mut() = Version::HTTP_11;
        keep_end_to_end(response.headers_mut());
        Ok(response)
    }
}

fn keep_end_to_end(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION).iter().flat_map(HeaderValue::to_str);
    let names = lines.flat_map(|line| line.split(',')).flat_map(|name| name.trim().parse());
    for name in names.chain(HOP_BY_HOP).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let keys = Keyring::from_env("API_KEYS")?;
    let layer = ApiKeyLayer::new((bearer(), header("x-api-key"), query("api_key")), keys);

    let authority = env::var("UPSTREAM").unwrap_or_default().parse().map_err(|error| {
        format!("UPSTREAM: {error}; set it to host and port, as in UPSTREAM=127.0.0.1:8000")
    })?;
    let http = legacy::Client::builder(TokioExecutor::new()).build_http();
    let upstream = Upstream { authority, http };
    let service = ServiceBuilder::new()
        .layer(layer)
        // The upstream is told who calls, and by nobody else.
        .layer(ClientHeaderLayer::new("x-client-id"))
        .service(service_fn(move |request| upstream.clone().answer(request)));

    let addr = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}; set ADDR to listen elsewhere")
    })?;
    println!("Listening on http://{} until Ctrl-C", listener.local_addr()?);

    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut ctrl_c = pin!(signal::ctrl_c());
    loop {
        let accepted = tokio::select! {
            biased; // Ctrl-C is heard before anybody is served
            pressed = &mut ctrl_c => break pressed?,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files, most likely: some may be closed soon.
            sleep(Duration::from_secs(1)).await;
            continue;
        };
        let service = TowerToHyperService::new(service.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        // It fails where the caller breaks off, which is no concern of ours.
        tokio::spawn(connections.watch(connection.into_owned()));
    }

    // Nobody new is let in, and requests that run may end.
    drop(listener);
    let _ = timeout(Duration::from_secs(5), connections.shutdown()).await;
    Ok(())
}
