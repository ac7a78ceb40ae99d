//! Every built-in extractor, alone, in tuples and in `first_of`, over arbitrary heads: the oracle finds
//! the same, and the same is left.
//!
//! The first line is of places: see [`find`].

#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_api_key_fuzz::{agree, find, first_line, request};

fuzz_target!(|input: &[u8]| {
    let (places, text) = first_line(input);
    if let Some(request) = request(text) {
        agree(&find(places), &request);
    }
});
