//! Code that all examples share: one line for an error, the address from `ADDR`, and the end by Ctrl-C.

#![allow(dead_code, reason = "each example takes what it needs")]

use std::{env, error::Error, io, process::ExitCode};

use axum::Router;
use tokio::{net::TcpListener, signal};

pub(crate) type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Runs an example. Its error is one line on standard error and exit code 1.
pub(crate) async fn exit_code(example: impl Future<Output = Result>) -> ExitCode {
    match example.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Binds `ADDR`, or this address if `ADDR` is not set.
pub(crate) async fn bind(default: &str) -> Result<TcpListener> {
    let addr = env::var("ADDR").unwrap_or_else(|_| default.to_owned());
    let listener = TcpListener::bind(&addr).await;
    Ok(listener.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}; set ADDR to listen elsewhere")
    })?)
}

/// Binds an address as [`bind`] does, and prints it.
pub(crate) async fn listen(default: &str) -> Result<TcpListener> {
    let listener = bind(default).await?;
    announce(&listener)?;
    Ok(listener)
}

/// Prints where an example listens.
pub(crate) fn announce(listener: &TcpListener) -> Result {
    println!("Listening on http://{} until Ctrl-C", listener.local_addr()?);
    Ok(())
}

/// Serves an axum app until the process is told to stop.
pub(crate) async fn serve(listener: TcpListener, app: Router) -> Result {
    until_stopped(axum::serve(listener, app).into_future()).await
}

/// Runs a server until the process is told to stop.
pub(crate) async fn until_stopped<E: Into<Box<dyn Error>>>(
    server: impl Future<Output = Result<(), E>>,
) -> Result {
    tokio::select! {
        biased; // the signals are heard before anybody is served
        stopped = stopped() => Ok(stopped?),
        served = server => served.map_err(Into::into),
    }
}

/// Waits for Ctrl-C, or for the signal that `kill` and container runtimes send.
pub(crate) async fn stopped() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        tokio::select! {
            pressed = signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}
