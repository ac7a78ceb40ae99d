//! Says that the integration tests are missing. Without `--all-features`, cargo leaves them out silently.

#[test]
#[cfg_attr(not(feature = "run"), ignore = "it did not run. Use `cargo test --all-features`")]
fn every_integration_test() {}
