use std::{error::Error, fmt, io, sync::Arc};

use crate::macros::debug_as_display;

/// The reason why a writer did not start, or why counts were not written.
///
/// The counts stay in memory, and the writer tries again.
#[derive(Clone)]
pub struct UsageError(Fault);

#[derive(Clone)]
pub(super) enum Fault {
    HasWriter,
    Thread(Arc<io::Error>),
    Sink(Arc<dyn Error + Send + Sync>),
    Maintain(Arc<dyn Error + Send + Sync>),
    TimedOut,
    Panicked,
    Ended,
}

impl UsageError {
    /// Says that the batches were written before the error.
    pub(super) fn after_writing(self) -> Self {
        match self.0 {
            Fault::Sink(error) => Self(Fault::Maintain(error)),
            other => Self(other),
        }
    }
}

impl From<Fault> for UsageError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::HasWriter => f.write_str("this `Usage` has a writer already"),
            Fault::Thread(error) => write!(f, "cannot start the thread that writes usage: {error}"),
            Fault::Sink(error) => write!(f, "the usage was not written: {error}"),
            Fault::Maintain(error) => write!(f, "the usage was written, but: {error}"),
            Fault::TimedOut => {
                f.write_str("the usage was not written: the sink has not answered for 60 seconds")
            }
            Fault::Panicked => f.write_str("the usage was not written: the sink panicked"),
            Fault::Ended => {
                f.write_str("the usage was not written: the task of the writer has ended")
            }
        }
    }
}

debug_as_display! { UsageError }

impl Error for UsageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Fault::Thread(error) => Some(&**error),
            Fault::Sink(error) | Fault::Maintain(error) => Some(&**error),
            _ => None,
        }
    }
}
