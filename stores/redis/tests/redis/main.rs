//! Limits in real Redis servers.

#[path = "../../../../tests/support/limit_list.rs"]
mod limit_list;
#[cfg(feature = "tracing")]
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../../../../tests/support/log.rs"]
mod log;

mod exact;
mod faults;
mod oracle;
mod over;
mod service;
#[cfg(feature = "tracing")]
mod settings;
mod support;
