//! Writes the counts into a sink, off the path of requests.

mod error;
mod signal;
mod thread;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

pub use self::error::UsageError;
use self::{error::Fault, signal::Signal};
use super::{SinkError, Usage, UsageSink, shared::Shared};

/// The time after which the writer gives up a call of the sink.
const MAX_WRITE: Duration = Duration::from_secs(60);

/// The time between two batches.
const INTERVAL: Duration = Duration::from_secs(10);

impl Usage {
    /// Returns a builder of a writer, to move the counts into a sink every ten seconds.
    ///
    /// A `Usage` has at most one writer at a time. If you need the counts in two stores, write a sink that calls
    /// two sinks, or give the layer two `Usage`s in a tuple.
    ///
    /// # Example: a file
    ///
    /// ```no_run
    /// use tower_api_key::usage::{JsonLines, Usage};
    ///
    /// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    /// let usage = Usage::new();
    /// let writer = usage.flush_to(JsonLines::open("usage.jsonl")?).in_thread()?;
    /// // Serve requests here. At the end, write the last counts:
    /// writer.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn flush_to<S: UsageSink>(&self, sink: S) -> UsageWriterBuilder<S> {
        UsageWriterBuilder { shared: Arc::clone(&self.shared), sink, interval: INTERVAL }
    }
}

/// Builds a [`UsageWriter`]. [`Usage::flush_to`] creates it.
#[must_use = "it writes nothing until `in_thread` or `in_task` is called"]
pub struct UsageWriterBuilder<S> {
    shared: Arc<Shared>,
    sink: S,
    interval: Duration,
}

impl<S: UsageSink> UsageWriterBuilder<S> {
    /// Sets the time between two batches, from a millisecond to a day. The default is ten seconds.
    ///
    /// Each interval is up to a tenth shorter or longer, and the first one is a random part of it. So a thousand
    /// replicas that start at once do not write at once.
    pub fn every(self, interval: Duration) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { interval: interval.clamp(Duration::from_millis(1), DAY), ..self }
    }

    /// Writes in a thread.
    ///
    /// Use this for a sink that blocks, such as [`JsonLines`](super::JsonLines). If the sink needs an
    /// asynchronous runtime, use [`in_task`](Self::in_task).
    ///
    /// # Errors
    ///
    /// Returns an error if the `Usage` has a writer already, or if the operating system starts no thread.
    pub fn in_thread(self) -> Result<UsageWriter, UsageError> {
        let (writer, driver) = self.split()?;
        thread::spawn(driver).map_err(|error| Fault::Thread(Arc::new(error)))?;
        Ok(writer)
    }

    /// Returns a writer and the future of its work. Spawn the future in your runtime.
    ///
    /// The argument returns a future that waits, because this crate depends on no runtime.
    ///
    /// ```
    /// # use tower_api_key::usage::{Usage, UsageSink};
    /// async fn write_to(usage: &Usage, sink: impl UsageSink) -> Result<(), Box<dyn std::error::Error>> {
    ///     let (writer, task) = usage.flush_to(sink).in_task(tokio::time::sleep)?;
    ///     tokio::spawn(task);
    ///     // Serve requests here. At the end, write the last counts:
    ///     writer.flush().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the `Usage` has a writer already.
    pub fn in_task<F, T>(
        self,
        sleep: F,
    ) -> Result<(UsageWriter, impl Future<Output = ()> + Send + use<S, F, T>), UsageError>
    where
        F: Fn(Duration) -> T + Send + Sync + 'static,
        T: Future + Send + 'static,
    {
        let (writer, driver) = self.split()?;
        Ok((writer, driver.run(sleep)))
    }

    fn split(self) -> Result<(UsageWriter, Driver<S>), UsageError> {
        let Self { shared, sink, interval } = self;
        if !shared.add_writer() {
            return Err(Fault::HasWriter.into());
        }
        let signal = Arc::new(Signal::default());
        let end = End { shared, signal: Arc::clone(&signal) };
        Ok((UsageWriter { signal }, Driver { end, sink, interval }))
    }
}

/// Shows the interval.
impl<S> fmt::Debug for UsageWriterBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageWriterBuilder")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Moves the counts of a [`Usage`] into a sink, in the background.
///
/// If the sink fails or hangs, the counts stay in memory, and the writer tries again after the next interval. No
/// count is lost or written twice. Memory stays bounded by the number of keys and hours. If the sink fails longer
/// than the kept hours, the counts of the oldest hour move to the next one.
///
/// A crash of the process loses the counts of the last interval. If you drop the writer, it writes once more and
/// ends, but a process that exits does not wait for that.
#[must_use = "a writer that is dropped ends"]
pub struct UsageWriter {
    signal: Arc<Signal>,
}

impl UsageWriter {
    /// Writes all counts now. Call this at shutdown, after the last request.
    ///
    /// If the sink hangs, this waits. Set a deadline of your own, such as `tokio::time::timeout`. You can drop
    /// the future at any time, and no count is lost.
    ///
    /// # Errors
    ///
    /// Returns the error of the sink. Returns an error as well if the sink panics, or if the task of the writer
    /// has ended. An error of [`maintain`](UsageSink::maintain) comes after all counts are written.
    pub async fn flush(&self) -> Result<(), UsageError> {
        self.signal.flush().await
    }

    /// Returns the error of the last interval, or `None` if the sink stored all counts.
    ///
    /// If the text begins with `the usage was written`, the counts are stored, and
    /// [`maintain`](UsageSink::maintain) failed.
    ///
    /// With the feature `tracing` the log has a line when writing begins to fail, and another when it works
    /// again.
    #[must_use]
    pub fn last_error(&self) -> Option<UsageError> {
        self.signal.last_error()
    }
}

impl Drop for UsageWriter {
    fn drop(&mut self) {
        self.signal.close();
    }
}

/// Shows the last error.
impl fmt::Debug for UsageWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageWriter")
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}

/// The background work of a writer.
struct Driver<S> {
    end: End,
    sink: S,
    interval: Duration,
}

/// Tells the writer when its background work ends, even if the future is dropped.
struct End {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.remove_writer();
        self.signal.end();
    }
}

impl<S: UsageSink> Driver<S> {
    async fn run<F: Fn(Duration) -> T, T: Future>(self, sleep: F) {
        let Self { end, sink, interval } = self;
        let random = RandomState::new();
        let mut wait = interval.mul_f64(fraction(&random, 0));
        for number in 1_u64.. {
            _ = race(end.signal.wanted(), sleep(wait)).await;
            let (ticket, is_closed) = end.signal.begin();
            let result = write_all(&end.shared, &sink, &sleep).await;
            end.signal.finish(ticket, result);
            if is_closed {
                return;
            }
            wait = interval.mul_f64(0.9 + fraction(&random, number) / 5.0);
        }
    }
}

/// Returns a random number from 0 to 1.
fn fraction(random: &RandomState, number: u64) -> f64 {
    // The cast loses nothing that matters to a wait.
    (random.hash_one(number) % 1000) as f64 / 1000.0
}

/// Writes the pending batch, and then all new counts.
async fn write_all<F: Fn(Duration) -> T, T: Future>(
    shared: &Shared,
    sink: &impl UsageSink,
    sleep: &F,
) -> Result<(), UsageError> {
    // If a batch was pending, the second one has the counts since then.
    for _ in 0..2 {
        let Some(batch) = shared.next_batch() else { break };
        call(async { sink.write(&batch).await }, sleep).await?;
        shared.acknowledge(&batch);
    }
    let maintained = call(async { sink.maintain().await }, sleep).await;
    maintained.map_err(UsageError::after_writing)
}

/// Waits for a call of the sink, up to a maximum time.
async fn call<F: Fn(Duration) -> T, T: Future>(
    call: impl Future<Output = Result<(), SinkError>>,
    sleep: &F,
) -> Result<(), UsageError> {
    match race(catch_panic(call), sleep(MAX_WRITE)).await {
        First::Left(Ok(result)) => Ok(result.map_err(|error| Fault::Sink(error.into()))?),
        First::Left(Err(Panicked)) => Err(Fault::Panicked.into()),
        First::Right(_) => Err(Fault::TimedOut.into()),
    }
}

struct Panicked;

/// Returns an error if the future panics, so that the writer goes on.
async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx));
        match catch_unwind(poll) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

enum First<A, B> {
    Left(A),
    Right(B),
}

/// Waits for the first of two futures.
async fn race<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right): (Pin<&mut A>, Pin<&mut B>) = (pin!(left), pin!(right));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = left.as_mut().poll(cx) {
            return Poll::Ready(First::Left(output));
        }
        right.as_mut().poll(cx).map(First::Right)
    })
    .await
}
