use std::{error::Error, fmt, pin::Pin, sync::Arc};

use super::UsageRow;

/// The error of a sink. The writer logs its text, so name no secret in it.
pub type SinkError = Box<dyn Error + Send + Sync>;

/// The future of the methods of [`UsageSink`].
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Stores batches of counts, for example in a database.
///
/// A [`UsageWriter`](super::UsageWriter) calls the sink, and never two calls at the same time.
///
/// # Example: apply each batch exactly once
///
/// A store of counters needs a column for the last sequence number of each instance. It must set that number and
/// add the rows in one transaction.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
/// use tower_api_key::usage::{Counts, SinkFuture, UsageBatch, UsageSink};
///
/// #[derive(Default)]
/// struct Total(Mutex<(HashMap<String, u64>, Counts)>);
///
/// impl UsageSink for Total {
///     fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
///         Box::pin(async move {
///             let mut transaction = self.0.lock().map_err(|_| "the total is lost")?;
///             let (applied, total) = &mut *transaction;
///             let last = applied.entry(batch.instance().to_owned()).or_default();
///             if batch.sequence() > *last {
///                 *last = batch.sequence();
///                 batch.rows().iter().for_each(|row| *total += row.counts());
///             }
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait UsageSink: Send + Sync + 'static {
    /// Stores a batch.
    ///
    /// If this returns an error, the writer calls it again with the same batch. The first call may have stored
    /// the batch although its answer was lost. So a store must ignore a batch whose sequence number is not above
    /// the last one of its instance.
    ///
    /// The writer drops the future after 60 seconds, or when the writer's task ends. This counts as an error.
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a>;

    /// Does other work of the sink. By default this does nothing.
    ///
    /// The writer calls this in each interval after the batches, even if there is no batch. So a store can note
    /// that the service still counts. The writer reports an error in
    /// [`last_error`](super::UsageWriter::last_error), and no batch is written again. If your sink contains
    /// another, call the other's `maintain` here.
    fn maintain(&self) -> SinkFuture<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl<S: UsageSink + ?Sized> UsageSink for Arc<S> {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        (**self).write(batch)
    }

    fn maintain(&self) -> SinkFuture<'_> {
        (**self).maintain()
    }
}

impl<S: UsageSink + ?Sized> UsageSink for Box<S> {
    fn write<'a>(&'a self, batch: &'a UsageBatch) -> SinkFuture<'a> {
        (**self).write(batch)
    }

    fn maintain(&self) -> SinkFuture<'_> {
        (**self).maintain()
    }
}

/// The counts since the previous batch.
///
/// No two rows have the same subject and hour, and the rows are sorted, so that two stores lock their rows in
/// the same order.
#[derive(Clone, PartialEq, Eq)]
pub struct UsageBatch {
    instance: Box<str>,
    sequence: u64,
    rows: Box<[UsageRow]>,
}

impl UsageBatch {
    /// Creates a batch, for the test of a sink.
    #[must_use]
    pub fn new(instance: impl Into<Box<str>>, sequence: u64, rows: Vec<UsageRow>) -> Self {
        Self { instance: instance.into(), sequence, rows: rows.into() }
    }

    /// Returns the random name of the [`Usage`](super::Usage). It is new at each start of a process.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Returns the number of the batch within its instance. The first batch has the number 1.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the rows. A store adds their counts to its own.
    ///
    /// A store must keep the later one of its last use and the row's.
    #[must_use]
    pub fn rows(&self) -> &[UsageRow] {
        &self.rows
    }
}

/// Shows the number of rows.
impl fmt::Debug for UsageBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageBatch")
            .field("instance", &self.instance)
            .field("sequence", &self.sequence)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}
