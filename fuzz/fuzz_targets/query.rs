//! The query, read and rewritten: of an arbitrary request target, nothing but the pairs goes.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use tower_api_key_fuzz::{
    agree, bare,
    oracle::{Find, KeyLocation},
};

fuzz_target!(|target: &[u8]| {
    let Some(request) = bare(Method::GET, target) else { return };
    let [one, other] = ["api_key", "k"].map(|name| Find::At(KeyLocation::Query(name)));
    agree(&one, &request);
    agree(&Find::FirstOf(vec![other, one]), &request);
});
