//! The tests of a file of keys: reading it, following it, and writing it.

#[path = "../support/mod.rs"]
mod support;

mod following;
mod reading;
mod writing;
