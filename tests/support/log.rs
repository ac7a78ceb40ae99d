//! A log in memory, for tests that search it.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, Once},
};

use tower_api_key::observe::{Decision, Observe};
use tracing::{Level, Subscriber, subscriber::DefaultGuard};

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns a subscriber that writes every event to this log.
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        static OTHERS: Once = Once::new();
        // If another thread without a subscriber is the first at a place in the code, `tracing` skips the place.
        OTHERS.call_once(|| {
            let sink = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(io::sink);
            tracing::subscriber::set_global_default(sink.finish()).unwrap();
        });
        tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .with_writer(self.writer())
            .finish()
    }

    /// Returns a writer for a subscriber with other settings.
    pub(crate) fn writer(&self) -> impl Fn() -> Self + Send + Sync + use<> {
        let log = self.clone();
        move || log.clone()
    }

    /// Writes every event of this thread to this log until the guard is dropped.
    pub(crate) fn capture(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.subscriber())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs every detail of each decision.
pub(crate) struct Logging;

impl Observe for Logging {
    fn on_decision(&self, event: &Decision<'_>) {
        let error = event.rejection().map(|rejection| rejection as &dyn Error);
        tracing::info!(?event, error, client = ?event.client(), key = event.key_id(), "decided");
    }
}
