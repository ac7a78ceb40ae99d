//! hyper without a framework: HTTP/1 and HTTP/2 on one port.
//!
//! ```sh
//! API_KEYS='mobile-app=12345abcde' cargo run --example hyper
//! ```
//!
//! It listens on 127.0.0.1:3000, or on `ADDR`. From another terminal:
//!
//! ```sh
//! curl -H 'x-api-key: 12345abcde' http://127.0.0.1:3000/
//! curl -H 'x-api-key: 12345abcde' --http2-prior-knowledge http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/                                                  # 401
//! ```

use std::{convert::Infallible, env, error::Error, pin::pin, process::ExitCode, time::Duration};

use hyper::{Request, Response, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    signal,
    time::{sleep, timeout},
};
use tower::ServiceBuilder;
use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};

async fn handle(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    // The layer has put it there: without a client, no request comes this far.
    let client = request.extensions().get::<Client>();
    let name = client.map_or("stranger", Client::id);
    Ok(Response::new(format!("Hello, {name}!\n")))
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
    let layer = ApiKeyLayer::new(header("x-api-key"), keys);
    let service = TowerToHyperService::new(ServiceBuilder::new().layer(layer).service_fn(handle));

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
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        // It fails where the caller breaks off, which is no concern of ours.
        tokio::spawn(connections.watch(connection.into_owned()));
    }

    // Nobody new is let in, and requests that run may end.
    drop(listener);
    let _ = timeout(Duration::from_secs(5), connections.shutdown()).await;
    Ok(())
}
