//! Keys in a store that several processes share.

mod cached;
mod cached_faults;
mod cached_flights;
mod cached_observed;
mod cached_oracle;
mod cached_races;
mod cached_revoked;
mod cached_times;
mod change;
#[cfg(feature = "test-util")]
mod conformance;
mod faulty;
mod gate;
mod http;
#[cfg(feature = "file")]
mod key_file;
#[cfg(feature = "limit")]
mod limits;
#[cfg(feature = "tracing")]
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../support/log.rs"]
mod log;
mod many;
mod mirrored;
mod mirrored_audit;
mod mirrored_faults;
mod mirrored_first_load;
mod mirrored_load;
mod mirrored_observed;
mod mirrored_reload;
#[cfg(feature = "test-util")]
mod mistaken;
