//! The tests of the library that can share a process.

#[path = "../support/mod.rs"]
mod support;

mod advisories;
mod auto_traits;
mod axum_feature;
mod bypass;
mod caching;
mod calendar_limits;
mod challenges;
mod client_limit;
mod composition;
mod composition_axum;
mod composition_hyper;
mod composition_tonic;
mod composition_tower;
mod composition_tower_http;
mod contract;
mod examples;
#[cfg(unix)]
mod examples_support;
mod failure_limit;
mod guards;
mod guide;
mod ids;
mod key_format;
mod key_life;
mod key_lists;
mod keys;
mod leaks;
mod leaks_over_sockets;
mod limiter;
mod locations;
mod metrics;
mod names;
mod observing;
mod oracles;
mod own_guards;
mod readiness;
mod records;
mod rejections;
mod report_only;
mod requirements;
mod responders;
mod retry_after;
mod scopes;
mod secure_transport;
mod set_client_header;
mod strip;
mod test_util;
mod tracing;
mod usage;
#[cfg(unix)]
mod usage_file;
#[cfg(unix)]
mod usage_over_a_socket;
mod usage_writer;
mod verifiers;
