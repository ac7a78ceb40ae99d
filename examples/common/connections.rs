//! The accept loop of the examples `hyper` and `proxy`, with HTTP/1 and HTTP/2 on one port.

use std::{error::Error, pin::pin, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::common::{Result, stopped};

/// Serves until the process receives a signal to stop. Requests in flight can then complete.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S) -> Result
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut stopped = pin!(stopped());
    loop {
        let accepted = tokio::select! {
            biased; // signals come before connections
            stopped = &mut stopped => break stopped?,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // The usual cause is too many open files, and some files may close soon.
            sleep(Duration::from_secs(1)).await;
            continue;
        };
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        // A connection fails if the caller disconnects. The server ignores this.
        tokio::spawn(connections.watch(connection.into_owned()));
    }

    drop(listener);
    let _ = timeout(Duration::from_secs(5), connections.shutdown()).await;
    Ok(())
}
