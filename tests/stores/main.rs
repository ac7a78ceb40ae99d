//! Keys in a store that several processes share.

#[cfg(feature = "test-util")]
mod conformance;
mod faulty;
mod http;
#[cfg(feature = "file")]
mod key_file;
mod mirrored;
mod mirrored_faults;
mod mirrored_load;
mod mirrored_observed;
#[cfg(feature = "test-util")]
mod mistaken;
