//! A log in memory.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Level,
    subscriber::{self, DefaultGuard},
};

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Writes every event of this thread to this log until the guard is dropped.
    pub(crate) fn capture(&self) -> DefaultGuard {
        static OTHERS: Once = Once::new();
        // If another thread without a subscriber is the first at a place in the code, `tracing` skips the place.
        OTHERS.call_once(|| {
            let sink = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(io::sink);
            subscriber::set_global_default(sink.finish()).unwrap();
        });
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone());
        subscriber::set_default(subscriber.finish())
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
