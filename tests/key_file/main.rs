//! Tests of key files: reading, following and writing.

#[path = "../support/mod.rs"]
mod support;

mod following;
mod reading;
mod writing;
