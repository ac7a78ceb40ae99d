//! `Authorization`, read and taken out: every line of an input is one of that header.

#![no_main]

use http::{HeaderValue, Method, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use tower_api_key_fuzz::{
    agree, bare,
    oracle::{Find, KeyLocation},
};

fuzz_target!(|lines: &[u8]| {
    let mut request = bare(Method::GET, b"/").expect("a request");
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(line) = HeaderValue::from_bytes(line) else { continue };
        request.headers.append(AUTHORIZATION, line);
    }
    let [one, other] = ["Bearer", "Token"].map(|name| Find::At(KeyLocation::Scheme(name)));
    agree(&one, &request);
    agree(&Find::FirstOf(vec![other, one]), &request);
});
