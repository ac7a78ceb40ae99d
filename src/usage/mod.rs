//! Counts the requests of each key by hour. Requires the feature `usage`.
//!
//! A [`Usage`] is an observer. It answers four questions. How often did each client call? Which requests were
//! rejected or limited? When was a key last used? Which keys are unused, so that you can revoke them?
//!
//! # Examples
//!
//! ```
//! use tower_api_key::{ApiKeyLayer, Client, Keyring, extract::header};
//! use tower_api_key::usage::{Counts, Usage, UsageRow};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = Keyring::new();
//! keys.insert("sk_live_0123456789abcdef", Client::new("ci"))?;
//!
//! let usage = Usage::new();
//! let layer = ApiKeyLayer::new(header("x-api-key"), keys).observe(usage.clone());
//!
//! // In an admin route:
//! for row in usage.of_client("ci") {
//!     println!("{:?} {:?} {}", row.hour(), row.key_id(), row.counts().accepted);
//! }
//! let total: Counts = usage.snapshot().iter().map(UsageRow::counts).sum();
//! let last_used = usage.last_used("0a1B2c3D");
//! # Ok(())
//! # }
//! ```
//!
//! With other observers, write a tuple, such as `.observe((Tracing, Metrics::new(), usage.clone()))`. One `Usage` can
//! observe several layers.
//!
//! # Example: keep counts in a file
//!
//! ```no_run
//! use tower_api_key::usage::{JsonLines, Usage};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let usage = Usage::new();
//! let writer = usage.flush_to(JsonLines::open("usage.jsonl")?).in_thread()?;
//! // Serve requests, with `usage.clone()` as the observer of the layer. At the end:
//! writer.flush().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The command `apikey usage` of the package `tower-api-key-cli` prints the file as a table. `apikey list` shows the
//! last use of each key, and `apikey list --unused 90d` lists keys for you to revoke. To keep the counts in a
//! database, implement [`UsageSink`].
//!
//! # What is counted?
//!
//! | event | count |
//! |---|---|
//! | the layer accepted a key | [`accepted`](Counts::accepted), and the last use of the key |
//! | the layer rejected a known key, which is expired, revoked, paused or not yet valid | [`rejected`](Counts::rejected) |
//! | the layer rejected an unknown, malformed, ambiguous or missing key | `rejected` in one total, [`Subject::Unknown`] |
//! | a guard rejected an accepted request because of a limit | [`limited`](Counts::limited) as well |
//! | a guard rejected an accepted request with a 403 | [`forbidden`](Counts::forbidden) as well |
//! | a guard rejected an accepted request for another reason, for example because a store is down | not counted again |
//! | the request was exempt, anonymous or a preflight, or the layer only reports | not counted |
//!
//! So `accepted + rejected` is the number of requests, and no request is counted twice. The counts of `Metrics` are
//! the same numbers. A rejection does not change the last use of a key, because the key was of no use.
//!
//! Keys are counted by their public id and their client. If a verifier of your own knows no ids of keys, the keys
//! of a client are counted together ([`Subject::Client`]). A rejection does not name the client. If the same key was
//! accepted before, or if the reader of the file finds its client in another row, the row has the client.
//!
//! # How much memory does it take?
//!
//! A key takes about 120 bytes for its first hour and 40 bytes for each further hour. Hours leave the memory after 48
//! hours ([`UsageBuilder::hours`]). The last use stays. At most 100,000 keys have counts of their own
//! ([`UsageBuilder::max_keys`]), and all further keys share one total, [`Subject::Overflow`]. If the table is nearly
//! full, reading and writing remove the keys whose hours are over, and so does the first new key of an hour if the
//! table is full. Strangers cannot fill the memory, because unknown keys are one total. A verifier of your own must
//! give an id only to a rejected key that it has found.
//!
//! # How long does it take?
//!
//! Counting an event of a known key takes about 25 ns and allocates no memory. It takes no lock, except for the first
//! event of a key in each hour. If many threads count one key at the same time, they share one cache line.
//!
//! Each event reads the clock. On Linux this is the coarse clock of the kernel. It is up to 4 ms late and takes a
//! third of the time of the exact clock. So the hours are right with and without a writer. If the clock steps back or
//! jumps ahead, events count in the hour on the clock, and no count is lost. The last use is the minute on the clock
//! at the last request.
//!
//! # What happens if a sink fails?
//!
//! The writer keeps the batch and tries again after the next interval. New counts go into the next batch. Each batch
//! has the random name of its `Usage` and a sequence number, so that a store can apply it exactly once. See
//! [`UsageSink`] and [`UsageWriter`].

mod clock;
mod counts;
mod entry;
mod handle;
mod json_lines;
mod owner;
mod past;
mod row;
mod shared;
mod sink;
mod table;
mod writer;

pub use self::{
    counts::Counts,
    handle::{Usage, UsageBuilder},
    json_lines::{JsonLines, JsonLinesOptions, UsageFileError, UsageFileErrorKind, UsageHistory},
    row::{LastUse, Subject, UsageRow},
    sink::{SinkError, SinkFuture, UsageBatch, UsageSink},
    writer::{UsageError, UsageWriter, UsageWriterBuilder},
};
