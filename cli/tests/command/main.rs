//! Runs the command `apikey` as people and scripts do.
//!
//! After every run, `support` checks that no key leaked. The output has no key except a new one, and no
//! digest. No file has a key.

#![cfg(unix)]

mod database;
mod support;

mod broken_files;
mod check;
mod concurrency;
mod copy;
mod database_usage;
mod edit;
mod escaping;
mod expiry;
mod failed_output;
mod help;
mod import;
mod import_again;
mod import_bulk;
mod issue;
mod json_errors;
mod key_file;
mod key_input;
mod list;
mod prompt;
mod prune;
mod revoke;
mod rotate;
mod store_errors;
mod stores;
mod support_test;
mod unused;
mod unusual_arguments;
mod usage;
mod write_errors;
