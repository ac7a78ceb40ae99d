//! Shared code of the examples: errors, the address from `ADDR`, and the shutdown by a signal.

#![allow(dead_code, reason = "each example uses only some functions")]

use std::{env, error::Error, io, process::ExitCode};

use axum::Router;
use tokio::{net::TcpListener, signal};

pub(crate) type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Runs an example. If the example fails, this prints one line and returns exit code 1.
pub(crate) async fn exit_code(example: impl Future<Output = Result>) -> ExitCode {
    match example.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Binds `ADDR`. If `ADDR` is not set, this binds the default address.
pub(crate) async fn bind(default: &str) -> Result<TcpListener> {
    let addr = env::var("ADDR").unwrap_or_else(|_| default.to_owned());
    let listener = TcpListener::bind(&addr).await;
    Ok(listener.map_err(|error| {
        format!("cannot listen on {addr:?}: {error}. Set ADDR to another address")
    })?)
}

/// Binds an address as [`bind`] does, and prints the address.
pub(crate) async fn listen(default: &str) -> Result<TcpListener> {
    let listener = bind(default).await?;
    announce(&listener)?;
    Ok(listener)
}

/// Prints the address of a listener.
pub(crate) fn announce(listener: &TcpListener) -> Result {
    println!("Listening on http://{} until Ctrl-C", listener.local_addr()?);
    Ok(())
}

/// Serves an axum app until the process receives a signal to stop.
pub(crate) async fn serve(listener: TcpListener, app: Router) -> Result {
    until_stopped(axum::serve(listener, app).into_future()).await
}

/// Runs a server until the process receives a signal to stop.
pub(crate) async fn until_stopped<E: Into<Box<dyn Error>>>(
    server: impl Future<Output = Result<(), E>>,
) -> Result {
    tokio::select! {
        biased; // signals come before requests
        stopped = stopped() => Ok(stopped?),
        served = server => served.map_err(Into::into),
    }
}

/// Waits for Ctrl-C, or for the signal of `kill` and container runtimes.
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
