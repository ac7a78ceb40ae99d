//! The examples of the README and of the manual, as doctests.
//!
//! They are here, because they use frameworks that the library does not depend on.

#![cfg(all(
    doctest,
    feature = "axum",
    feature = "file",
    feature = "limit",
    feature = "metrics",
    feature = "test-util",
    feature = "tracing",
    feature = "usage"
))]

#[doc = include_str!("../README.md")]
pub mod readme {}

#[path = "../src/guide/mod.rs"]
pub mod guide;
