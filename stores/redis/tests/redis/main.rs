//! Limits in real Redis servers.

#[path = "../../../../tests/support/limit_list.rs"]
mod limit_list;

mod exact;
mod faults;
#[cfg(feature = "tracing")]
mod log;
mod oracle;
mod over;
mod service;
#[cfg(feature = "tracing")]
mod settings;
mod support;
