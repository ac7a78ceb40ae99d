//! Limits the requests of each client, key or peer.
//!
//! [`ClientLimitLayer`] limits the requests of each client, and [`FailureLimitLayer`] limits the rejected keys of
//! each peer. Both have a page of their own: [`client_limit`] and [`failure_limit`]. To limit anything else, ask
//! a limiter yourself.
//!
//! A [`Limiter`] counts requests for each subject. A [`Limit`] is a quota for a second, a minute or an hour, or for
//! a day or a month of the calendar. [`Limits`] are the limits of one plan. A request takes all limits of its plan together or not at all.
//!
//! # Examples
//!
//! ```
//! use tower_api_key::limit::{Ask, Limit, Limiter, Limits, Outcome, Subject};
//!
//! static FREE: Limits = Limits::new(&[Limit::per_minute("burst", 60).burst(20), Limit::per_hour("hour", 1_000)]);
//!
//! let limiter = Limiter::in_process();
//! let ask = Ask::new(Subject::Client("ci"), &FREE);
//! match limiter.take(&ask).ready().map(|taken| taken.outcome()) {
//!     Some(Outcome::Passed) => {}
//!     Some(Outcome::Limited { limit, wait }) => println!("{} in {wait:?}", FREE.as_slice()[limit].name()),
//!     other => println!("{other:?}"),
//! }
//! ```

mod ask;
mod calendar;
pub mod client_limit;
mod clock;
mod every;
pub mod failure_limit;
mod gcra;
mod in_process;
#[allow(clippy::module_inception, reason = "the file holds the type `Limit`")]
mod limit;
mod limiter;
mod limits;
mod name;
pub mod peer;
mod store;
mod subject;
mod table;
mod taken;

pub use self::{
    ask::{Ask, Subject},
    calendar::CalendarWindow,
    client_limit::{ClientLimitLayer, RateLimitHeaders},
    failure_limit::FailureLimitLayer,
    limit::Limit,
    limiter::Limiter,
    limits::Limits,
    peer::Peer,
    store::LimitStore,
    taken::{LimitState, Outcome, Taken, Taking},
};
